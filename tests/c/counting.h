/* What the tests of contention.c share: a clock of their own, so that every wait is as long as they say, and a record of which
 * each step says what is in it. Ops are polled by hand. */
#ifndef COUNTING_H
#define COUNTING_H

#include "notifying.h"
#include "revoke.h"

#include <stddef.h>
#include <sys/syscall.h>

static _Atomic int64_t now = 1; /* what the core is told of the time */

int clock_gettime(clockid_t clock, struct timespec *t)
{
    int64_t at = now; /* the keeper looks, too */
    if (clock != CLOCK_MONOTONIC && clock != CLOCK_MONOTONIC_COARSE)
        return (int)syscall(SYS_clock_gettime, clock, t);
    *t = (struct timespec){at / 1000000000, at % 1000000000};
    return 0;
}

static lots_contention record;

/* All counters but the buckets, which add up to `acquired`. */
static inline void counted(uint64_t acquired, uint64_t handoffs, uint64_t timeouts, uint64_t cancellations, uint64_t revocations,
                    uint64_t waited_ns, uint64_t longest_ns)
{
    uint64_t sum = 0;
    CHECK_EQ(record.acquired, acquired);
    CHECK_EQ(record.handoffs, handoffs);
    CHECK_EQ(record.timeouts, timeouts);
    CHECK_EQ(record.cancellations, cancellations);
    CHECK_EQ(record.revocations, revocations);
    CHECK_EQ(record.waited_ns, waited_ns);
    CHECK_EQ(record.longest_ns, longest_ns);
    for (int i = 0; i < LOTS_WAIT_BUCKETS; i++)
        sum += record.buckets[i];
    CHECK_EQ(sum, acquired);
}

static inline void counted_queue(lots_op *op, uint32_t mode, char cookie, uint64_t wanted)
{
    task(op, &word, mode, m, cookie);
    lots_op_counts(op, &record);
    CHECK_EQ(lots_op_poll(op), LOTS_PARKED);
    CHECK_WORD(&word, wanted);
    CHECK_EQ(lots_op_waited(op), 0);
}

static inline void begin(void) { record = (lots_contention){0}; }

static inline int64_t since(const lots_op *op)
{
    lots_waiter_info info[8];
    size_t n = lots_for_each(NULL, info, 8);
    for (size_t i = 0; i < n && i < 8; i++)
        if (info[i].cookie == op_waiter((lots_op *)op)->cookie)
            return info[i].since;
    CHECK(!"it is in no queue");
    return 0;
}

static inline void run_with_a_loop(void (*tests)(void))
{
    watchdog(30);
    m = lots_mailbox_new();
    lots_revoke_after(INT64_MAX / 2);
    find_keys();
    tests();
    lots_mailbox_close(m);
    lots_mailbox_free(m);
}

#endif
