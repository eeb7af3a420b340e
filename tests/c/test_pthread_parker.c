/* The pthread kind's parker: between a wake's publication and the wake its waiter's mutex is held, so that the waiter cannot
 * leave. The condition variable's wait is ours here: it looks at what it was given, and wakes for nothing, soon. */
#include "steps.h"

#if defined(LOTS_PARKER_PTHREAD) && !defined(__SANITIZE_THREAD__)
#include "admit.h"

#include <errno.h>

static _Atomic int waits;
static _Atomic int64_t latest; /* how long the last wait would have been */

int pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex, const struct timespec *at)
{
    (void)cond;
    CHECK_EQ(pthread_mutex_trylock(mutex), EBUSY);
    CHECK(at->tv_nsec >= 0 && at->tv_nsec < 1000000000);
    latest = (int64_t)at->tv_sec * 1000000000 + at->tv_nsec - now_ns();
    waits++;
    pthread_mutex_unlock(mutex);
    nanosleep(&(struct timespec){0, 500000}, NULL);
    pthread_mutex_lock(mutex);
    return 0;
}

static lots_op op;

static int is_held(lots_op *o)
{
    pthread_mutex_t *mutex = &op_waiter(o)->parker.mutex;
    if (pthread_mutex_trylock(mutex))
        return 1;
    pthread_mutex_unlock(mutex);
    return 0;
}

/* The lock goes to those who queue, who are not woken yet. */
static void publish(int fair, lots_batch *batch)
{
    lots_bucket *b = lot_lock((uintptr_t)&word);
    CHECK_EQ(admit(b, &word, 8, 0, fair, batch), 0);
    lot_unlock(b);
}

static void *wait_for_it(void *ended)
{
    CHECK_EQ(lots_op_wait(&op, LOTS_NEVER), LOTS_READY);
    *(_Atomic int *)ended = 1;
    return NULL;
}

/* That it does not return can only be waited for; if nothing held it up, it would be gone long before. */
static void a_waiter_does_not_leave_before_its_waker_is_done(void)
{
    lots_batch batch = {0};
    _Atomic int ended = 0;
    pthread_t thread;
    hold(LOTS_WRITE);
    lots_op_init(&op, &word, LOTS_WRITE, NULL, 0, 0);
    CHECK_EQ(lots_op_poll(&op), LOTS_PARKED);
    publish(1, &batch);
    CHECK_EQ(lots_op_state(&op), LOTS_HANDOFF);
    CHECK_EQ(is_held(&op), 1);
    CHECK(!pthread_create(&thread, NULL, wait_for_it, &ended));
    nanosleep(&(struct timespec){0, 30000000}, NULL);
    CHECK_EQ(ended, 0);
    batch_wake(&batch);
    CHECK(!pthread_join(thread, NULL));
    CHECK_EQ(ended, 1);
    CHECK_EQ(op_waiter(&op)->parker.made, 0);
    let_go(&op, 0);
}

/* It lost the race for the lock, and queues again while its first waker is about to wake it: it is the same mutex still. */
static void who_queues_again_keeps_its_mutex(void)
{
    lots_batch batch = {0};
    hold(LOTS_WRITE);
    lots_op_init(&op, &word, LOTS_WRITE, NULL, 0, 0);
    CHECK_EQ(lots_op_poll(&op), LOTS_PARKED);
    publish(0, &batch);
    CHECK_EQ(lots_op_state(&op), LOTS_NORMAL);
    CHECK_EQ(lots_try(&word, LOTS_WRITE), 1);
    CHECK_EQ(lots_op_poll(&op), LOTS_PARKED);
    CHECK_EQ(is_held(&op), 1);
    batch_wake(&batch);
    CHECK_EQ(is_held(&op), 0);
    release(LOTS_WRITE, 1, 8);
    CHECK_EQ(lots_op_wait(&op, LOTS_NEVER), LOTS_READY);
    let_go(&op, 0);
}

/* A sleep is cut in slices, and ends at the deadline. */
static void a_sleep_is_as_long_as_it_may_be(void)
{
    static const int64_t times[] = {10000000, 3000000000, INT64_MAX};
    for (size_t i = 0; i < 3; i++) {
        int64_t from = now_ns(), deadline = times[i] == INT64_MAX ? LOTS_NEVER : from + times[i];
        int answer;
        hold(LOTS_WRITE);
        lots_op_init(&op, &word, LOTS_READ, NULL, 0, 0);
        waits = 0;
        answer = lots_op_wait(&op, deadline);
        CHECK_EQ(answer, i ? LOTS_INTERRUPTED : LOTS_TIMED_OUT);
        CHECK(now_ns() - from >= (i ? 50000000 : 10000000));
        CHECK(waits >= 1);
        CHECK(latest < (i ? 50000000 : 10000000));
        CHECK_EQ(op_waiter(&op)->parker.made, i > 0);
        if (i)
            CHECK_EQ(lots_op_cancel(&op, LOTS_BY_CANCEL, NULL), LOTS_WITHDRAWN);
        release(LOTS_WRITE, 0, 0);
        clean();
    }
}

int main(void)
{
    watchdog(30);
    m = lots_mailbox_new();
    RUN(a_waiter_does_not_leave_before_its_waker_is_done);
    RUN(who_queues_again_keeps_its_mutex);
    RUN(a_sleep_is_as_long_as_it_may_be);
    lots_mailbox_close(m);
    lots_mailbox_free(m);
    return 0;
}
#else
int main(void) { return 0; }
#endif
