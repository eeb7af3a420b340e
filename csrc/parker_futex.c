/* Linux: threads sleep on the waiter's state word by futex(2), with an absolute deadline on CLOCK_MONOTONIC.
 * Private futexes: keys are addresses in this process.
 *
 * A signal ends the sleep, EINTR, but only one that comes while the thread sleeps: its C handler may as well have run an
 * instruction before, or on another thread, and futex(2) has no mask to close that gap, as sem_clockwait has none, on which
 * CPython's own locks sleep. CPython lives with it. Here Ctrl-C is not lost: a front has its main thread look now and then
 * (lots_op_look_wait, csrc/python/nogil_wait.h), so it is late by half a second at most. Other signals' handlers that fall into
 * the gap run when the wait ends. */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "bucket_lock.h"
#include "waiter.h"

#define SPINS 40 /* the bucket lock is held for some dozen instructions; on one core spinning only burns the slice */

static long futex(uint32_t *address, int op, uint32_t value, const struct timespec *deadline)
{
    return syscall(SYS_futex, address, op | FUTEX_PRIVATE_FLAG, value, deadline, NULL, FUTEX_BITSET_MATCH_ANY);
}

void parker_prepare(lots_waiter *w) { (void)w; }
void parker_finish(lots_waiter *w) { (void)w; }

parker_handle parker_publish(lots_waiter *w, uint32_t state)
{
    parker_handle handle = {&w->state.value_};
    /* RELEASE pairs with the ACQUIRE in parker_sleep: the waiter sees what its waker did before it. */
    a32_store(&w->state, state, RELEASE);
    return handle;
}

void parker_wake(parker_handle handle) { futex(handle.what, FUTEX_WAKE_BITSET, 1, NULL); }

void parker_relax(unsigned turn)
{
    if (turn >= 3)
        sched_yield();
    else
        for (unsigned i = 0; i < 4u << turn; i++)
            cpu_relax();
}

int parker_sleep(lots_waiter *w, int64_t deadline_ns)
{
    int64_t at = deadline_ns < 0 ? 0 : deadline_ns; /* a negative timespec is an error, not a time in the past */
    struct timespec deadline = {at / 1000000000, at % 1000000000};
    /* ACQUIRE pairs with the RELEASE in parker_publish. */
    while (a32_load(&w->state, ACQUIRE) == LOTS_QUEUED) {
        if (!futex(&w->state.value_, FUTEX_WAIT_BITSET, LOTS_QUEUED, deadline_ns == LOTS_NEVER ? NULL : &deadline))
            continue;
        if (errno == ETIMEDOUT)
            return PARKER_TIMED_OUT;
        if (errno == EINTR)
            return PARKER_INTERRUPTED;
    }
    return PARKER_WOKEN;
}

void bucket_lock_sleep(bucket_lock *l)
{
    for (int i = 0; i < SPINS; i++) {
        uint32_t free = 0;
        if (a32_load(&l->state, RELAXED) == 0 && a32_cas(&l->state, &free, 1, ACQUIRE)) /* as in bucket_lock_acquire */
            return;
    }
    for (;;) {
        uint32_t seen = a32_load(&l->state, RELAXED);
        if (seen == 0) {
            /* 2, not 1: others may sleep still. ACQUIRE as in bucket_lock_acquire. */
            if (a32_cas(&l->state, &seen, 2, ACQUIRE))
                return;
        } else if (seen == 2 || a32_cas(&l->state, &seen, 2, RELAXED)) {
            futex(&l->state.value_, FUTEX_WAIT_BITSET, 2, NULL);
        }
    }
}

void bucket_lock_wake(bucket_lock *l)
{
    /* RELEASE pairs with the ACQUIRE of the next holder. */
    a32_store(&l->state, 0, RELEASE);
    futex(&l->state.value_, FUTEX_WAKE_BITSET, 1, NULL);
}
