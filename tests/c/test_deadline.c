/* A wake that comes just as the deadline does, or a signal: after the kernel has decided, before the thread has looked. The
 * kernel is ours here (Linux): a futex wait ends as the test says, and something may happen in it. */
#define _GNU_SOURCE
#include "steps.h"

#if defined(__linux__) && !defined(LOTS_PARKER_PTHREAD)
#include <errno.h>
#include <linux/futex.h>
#include <stdarg.h>
#include <sys/syscall.h>

static void (*in_the_wait)(void);
static int futexes, waits, ends_with; /* errno; 0: woken */
static int64_t told;         /* the deadline; -1: none */

long syscall(long number, ...)
{
    long a[6], answer;
    va_list rest;
    va_start(rest, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(rest, long);
    va_end(rest);
    futexes += number == SYS_futex;
    if (number == SYS_futex && (a[1] & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET && in_the_wait) {
        const struct timespec *t = (const struct timespec *)a[3];
        CHECK_EQ(a[1] & FUTEX_PRIVATE_FLAG, FUTEX_PRIVATE_FLAG);
        CHECK(!(a[1] & FUTEX_CLOCK_REALTIME));
        CHECK_EQ(*(uint32_t *)a[0], a[2]); /* else it would not have slept */
        waits++;
        told = t ? t->tv_sec * 1000000000 + t->tv_nsec : -1;
        in_the_wait();
        if (!ends_with)
            return 0; /* errno is what it was */
        errno = ends_with;
        return -1;
    }
    if (number == SYS_futex) { /* a wake, or a bucket lock: nobody sleeps in this test */
        CHECK_EQ(a[1], FUTEX_WAKE_BITSET | FUTEX_PRIVATE_FLAG);
        CHECK_EQ(a[2], 1); /* its one thread */
        return 0;
    }
    answer = -1;
    errno = ENOSYS;
    return answer;
}

static lots_op op;

static void nothing(void) {}
static void hand_over(void) { CHECK_EQ(lots_release(&word, LOTS_WRITE, 1, NULL), LOTS_READY); }
static void only_tell(void) { CHECK_EQ(lots_release(&word, LOTS_WRITE, 0, NULL), LOTS_READY); }
static void tell_at_the_third(void)
{
    ends_with = waits < 3 ? EAGAIN : 0;
    if (waits == 3)
        only_tell();
}

static int wait_for(uint32_t mode, int64_t deadline, void (*meanwhile)(void), int end)
{
    hold(LOTS_WRITE);
    lots_op_init(&op, &word, mode, NULL, 0, 0);
    waits = 0;
    in_the_wait = meanwhile;
    ends_with = end;
    return lots_op_wait(&op, deadline);
}

static void a_deadline_that_comes_with_a_grant_keeps_it(void)
{
    for (uint32_t mode = 0; mode <= LOTS_UPGRADABLE; mode++) {
        uint64_t held = mode == LOTS_READ || mode == LOTS_READ_RECURSIVE ? 0x10 : mode == LOTS_UPGRADABLE ? 0x14 : 0x08;
        CHECK_EQ(wait_for(mode, 5, hand_over, ETIMEDOUT), LOTS_READY);
        CHECK_WORD(&word, held);
        CHECK_EQ(lots_op_state(&op), LOTS_HELD);
        let_go(&op, 0);
        CHECK_EQ(wait_for(mode, LOTS_NEVER, hand_over, EINTR), LOTS_READY); /* so does a signal */
        CHECK_WORD(&word, held);
        CHECK_EQ(lots_op_state(&op), LOTS_HELD);
        let_go(&op, 0);
    }
}

static void a_deadline_that_comes_with_a_wake_is_a_timeout(void)
{
    CHECK_EQ(wait_for(LOTS_READ, 5, only_tell, ETIMEDOUT), LOTS_TIMED_OUT);
    CHECK_WORD(&word, 0);
    CHECK_EQ(lots_op_state(&op), LOTS_GONE);
    CHECK_EQ(lots_for_each(NULL, NULL, 0), 0);
}

static void a_signal_that_comes_with_a_wake_is_answered_first(void)
{
    CHECK_EQ(wait_for(LOTS_READ, LOTS_NEVER, only_tell, EINTR), LOTS_INTERRUPTED);
    CHECK_WORD(&word, 0);
    CHECK_EQ(lots_op_state(&op), LOTS_ACQUIRING);
    CHECK_EQ(lots_op_wait(&op, LOTS_NEVER), LOTS_READY);
    let_go(&op, 0);
}

/* A draining writer that was interrupted owns nothing while the signal's handler runs. */
static void an_interrupted_writer_begins_again(void)
{
    hold(LOTS_READ);
    lots_op_init(&op, &word, LOTS_WRITE, NULL, 0, 0);
    in_the_wait = nothing;
    ends_with = EINTR;
    for (int i = 0; i < 3; i++) {
        waits = 0;
        CHECK_EQ(lots_op_wait(&op, LOTS_NEVER), LOTS_INTERRUPTED);
        CHECK_EQ(waits, 1);
        CHECK_EQ(told, -1);
        CHECK_WORD(&word, 0x10);
        CHECK_EQ(lots_op_state(&op), LOTS_ACQUIRING);
        CHECK_EQ(lots_try(&word, LOTS_READ), 1);
        release(LOTS_READ, 0, 0x10);
    }
    release(LOTS_READ, 0, 0);
    CHECK_EQ(lots_op_wait(&op, LOTS_NEVER), LOTS_READY);
    let_go(&op, 0);
}

/* Who waits for a notification stays where it may be notified; but its handler may want the lock, so it stands aside. */
static void an_interrupted_wait_for_a_notification_stays_queued(void)
{
    static uint64_t key;
    int mail_;
    for (int has_word = 0; has_word < 2; has_word++) {
        lots_op_init(&op, has_word ? &word : NULL, has_word ? LOTS_READ : LOTS_PARK, NULL, 0, 0);
        lots_op_expect(&op, (uintptr_t)&key);
        in_the_wait = nothing;
        ends_with = EINTR;
        for (int i = 0; i < 3; i++) {
            waits = 0;
            CHECK_EQ(lots_op_wait(&op, LOTS_NEVER), LOTS_INTERRUPTED);
            CHECK_EQ(waits, 1);
            CHECK_EQ(lots_op_state(&op), LOTS_QUEUED);
            CHECK_EQ(op_waiter(&op)->aside, 1);
            CHECK_EQ(lots_op_notified(&op), 0);
        }
        if (has_word) {
            hold(LOTS_WRITE);
            CHECK_EQ(lots_notify((uintptr_t)&key, 1, 0, 0, NULL, &mail_), 1);
            CHECK_EQ(lots_op_state(&op), LOTS_NORMAL); /* not in the lock's queue */
            CHECK_WORD(&word, 0x08);
            ends_with = ETIMEDOUT;
            CHECK_EQ(lots_op_wait(&op, 1), LOTS_TIMED_OUT);
            release(LOTS_WRITE, 0, 0);
        } else {
            ends_with = ETIMEDOUT;
            CHECK_EQ(lots_op_wait(&op, 1), LOTS_TIMED_OUT);
        }
        CHECK_EQ(op_waiter(&op)->aside, 0);
        CHECK_EQ(lots_for_each(NULL, NULL, 0), 0);
    }
}

/* For a signal that no sleep has seen: who looks stays queued, until it knows that there is one. */
static void a_look_leaves_it_queued_and_an_interrupt_does_not(void)
{
    hold(LOTS_READ);
    lots_op_init(&op, &word, LOTS_WRITE, NULL, 0, 0);
    in_the_wait = nothing;
    ends_with = ETIMEDOUT;
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(lots_op_look_wait(&op, i < 2 ? LOTS_NEVER : 6, 5), LOTS_LOOK);
        CHECK_EQ(told, 5);
        CHECK_EQ(lots_op_state(&op), LOTS_QUEUED);
        CHECK_WORD(&word, 0x1a);
    }
    CHECK_EQ(lots_op_interrupt(&op), LOTS_INTERRUPTED);
    CHECK_EQ(lots_op_state(&op), LOTS_ACQUIRING);
    CHECK_WORD(&word, 0x10);
    CHECK_EQ(lots_op_look_wait(&op, 5, 5), LOTS_TIMED_OUT);
    release(LOTS_READ, 0, 0);
    hold(LOTS_WRITE);
    lots_op_init(&op, &word, LOTS_READ, NULL, 0, 0);
    CHECK_EQ(lots_op_look_wait(&op, LOTS_NEVER, 5), LOTS_LOOK);
    release(LOTS_WRITE, 1, 0x10);
    CHECK_EQ(lots_op_interrupt(&op), LOTS_READY); /* it was handed over just before */
    let_go(&op, 0);
}

static void notify_it(void)
{
    int mail_;
    CHECK_EQ(lots_notify((uintptr_t)&op, 1, 0, 7, NULL, &mail_), 1);
}

static void a_notification_that_comes_with_a_deadline_or_a_signal_is_kept(void)
{
    static const int ends[] = {ETIMEDOUT, EINTR};
    for (int i = 0; i < 2; i++) {
        lots_op_init(&op, NULL, LOTS_PARK, NULL, 0, 0);
        lots_op_expect(&op, (uintptr_t)&op);
        in_the_wait = notify_it;
        ends_with = ends[i];
        CHECK_EQ(lots_op_wait(&op, LOTS_NEVER), LOTS_READY);
        CHECK_EQ(lots_op_token(&op), 7);
        CHECK_EQ(lots_op_release(&op, 0, NULL), LOTS_READY);
    }
}

/* Nobody else is there: the tiny lock, and a queue, are no business of the kernel's. */
static void without_contention_the_kernel_is_not_asked(void)
{
    lots_op other;
    futexes = 0;
    for (int i = 0; i < 3; i++)
        CHECK_EQ(lots_for_each(&word, NULL, 0), 0);
    CHECK_EQ(futexes, 0);
    hold(LOTS_WRITE);
    lots_op_init(&other, &word, LOTS_READ, NULL, 0, 0);
    CHECK_EQ(lots_op_poll(&other), LOTS_PARKED);
    CHECK_EQ(futexes, 0);
    release(LOTS_WRITE, 1, 0x10);
    CHECK_EQ(futexes, 1); /* its wake */
    CHECK_EQ(lots_op_poll(&other), LOTS_READY);
    let_go(&other, 0);
    CHECK_EQ(futexes, 1);
}

/* Who finds it free after all takes it as anybody does: 1, not 2, so that nobody has to be woken afterwards. */
static void a_tiny_lock_that_is_free_again_is_taken_without_sleep(void)
{
    bucket_lock lock;
    bucket_lock_init(&lock);
    futexes = 0;
    bucket_lock_sleep(&lock);
    CHECK_EQ(lock.state.value_, 1);
    CHECK_EQ(futexes, 0);
    bucket_lock_release(&lock);
    CHECK_EQ(futexes, 0);
    lock.state.value_ = 2;
    bucket_lock_release(&lock);
    CHECK_EQ(futexes, 1); /* somebody may sleep on it */
    CHECK_EQ(lock.state.value_, 0);
}

static void the_kernel_is_told_the_deadline(void)
{
    static const int64_t times[][2] = {
        {5, 5}, {0, 0}, {-3, 0}, {1000000000, 1000000000}, {3999999999, 3999999999}, {INT64_MAX - 1, INT64_MAX - 1},
        {LOTS_NEVER, -1}, {INT64_MIN, 0},
    };
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        CHECK_EQ(wait_for(LOTS_MUTEX, times[i][0], only_tell, 0), LOTS_READY);
        CHECK_EQ(told, times[i][1]);
        let_go(&op, 0);
    }
}

static void an_old_errno_is_not_believed(void)
{
    static const int old[] = {ETIMEDOUT, EINTR};
    for (int i = 0; i < 2; i++) {
        errno = old[i];
        CHECK_EQ(wait_for(LOTS_MUTEX, LOTS_NEVER, only_tell, 0), LOTS_READY);
        let_go(&op, 0);
    }
}

static void who_wakes_for_nothing_sleeps_again(void)
{
    CHECK_EQ(wait_for(LOTS_MUTEX, LOTS_NEVER, tell_at_the_third, EAGAIN), LOTS_READY);
    CHECK_EQ(waits, 3);
    let_go(&op, 0);
}

int main(void)
{
    watchdog(30);
    RUN(a_deadline_that_comes_with_a_grant_keeps_it);
    RUN(a_deadline_that_comes_with_a_wake_is_a_timeout);
    RUN(a_signal_that_comes_with_a_wake_is_answered_first);
    RUN(an_interrupted_writer_begins_again);
    RUN(an_interrupted_wait_for_a_notification_stays_queued);
    RUN(a_look_leaves_it_queued_and_an_interrupt_does_not);
    RUN(a_notification_that_comes_with_a_deadline_or_a_signal_is_kept);
    RUN(without_contention_the_kernel_is_not_asked);
    RUN(a_tiny_lock_that_is_free_again_is_taken_without_sleep);
    RUN(the_kernel_is_told_the_deadline);
    RUN(an_old_errno_is_not_believed);
    RUN(who_wakes_for_nothing_sleeps_again);
    return 0;
}
#else
int main(void) { return 0; } /* the other parker's sleep has a lock of its own: test_cancel_woken.c races there */
#endif
