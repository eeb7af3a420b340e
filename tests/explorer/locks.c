/* csrc/bucket_lock.h and the rest of csrc/parker_futex.c: the futex kind of the bucket lock, over the explorer's atomics and
 * its futex. Everywhere else the explorer has a lock of its own. The programs:
 *
 *   !lock N      N fibers that each take it twice; N is at most 4
 *   !pair        two of them, one lock inside the other, as a bucket's and a mailbox's are */
#include "memory.h"

#include "waiter.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

void mc_reset_seam(const void *word0, const void *word1, int stale);
void mc_futex_wake(const uint32_t *address);
int mc_futex_wait(const uint32_t *address, uint32_t value, const int64_t *deadline);

static long futex_syscall(const uint32_t *address, int op, uint32_t value, const struct timespec *deadline)
{
    (void)deadline; /* a bucket lock has none */
    if ((op & FUTEX_CMD_MASK) == FUTEX_WAKE_BITSET)
        mc_futex_wake(address);
    else {
        mc_point("futex wait", address);
        if ((errno = mc_futex_wait(address, value, NULL)))
            return -1;
    }
    return 0;
}
#define syscall(number, address, op, value, deadline, address2, mask) futex_syscall(address, op, value, deadline)

/* The real lock, in the place of the explorer's that waiter.h has brought along; and again without the parker. */
#undef LOTS_MODEL
#undef LOTS_BUCKET_LOCK_H
#define bucket_lock futex_lock
#define bucket_lock_init futex_lock_init
#define bucket_lock_acquire futex_lock_acquire
#define bucket_lock_release futex_lock_release
#define bucket_lock_sleep futex_lock_sleep
#define bucket_lock_wake futex_lock_wake
#define parker_prepare unused_prepare
#define parker_finish unused_finish
#define parker_publish unused_publish
#define parker_wake unused_wake
#define parker_relax unused_relax
#define parker_sleep unused_sleep
#include "bucket_lock.h"
#include "parker_futex.c"

static futex_lock outer, inner;
static int inside, fibers_, nested;
static char datum;

static void take(futex_lock *l)
{
    futex_lock_acquire(l);
    if (inside++)
        mc_fail("exclusion: two hold the lock");
    mc_wr(&datum);
    mc_point("holds", l);
    inside--;
    futex_lock_release(l);
}

static void twice(void *unused)
{
    (void)unused;
    for (int i = 0; i < 2; i++) {
        if (nested)
            futex_lock_acquire(&outer);
        take(&inner);
        if (nested)
            futex_lock_release(&outer);
    }
}

static void setup(void)
{
    mc_reset_seam(NULL, NULL, mc_stale_budget());
    inside = 0;
    memset(&outer, 0, sizeof outer);
    memset(&inner, 0, sizeof inner);
    for (int i = 0; i < fibers_; i++)
        mc_spawn("fiber", twice, NULL);
}

static void check(void)
{
    if (inner.state.value_ || outer.state.value_)
        mc_fail("everybody has left and the lock is %u, %u", inner.state.value_, outer.state.value_);
}

mc_result lock_explore(const char *which, const mc_limits *limits, const char *replay)
{
    nested = !strcmp(which, "pair");
    fibers_ = nested ? 2 : which[strlen(which) - 1] - '0';
    return replay ? mc_replay(setup, check, limits, replay) : mc_explore(setup, check, limits);
}
