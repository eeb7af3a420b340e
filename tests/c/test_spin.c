/* Before it queues a thread tries for a moment, and only then, and not past those who queue. sched_yield is ours here: it
 * counts the turns, and something may happen in one of them. */
#include "steps.h"

static int yields;
static void (*at_a_yield)(void);

int sched_yield(void)
{
    yields++;
    if (at_a_yield)
        at_a_yield();
    return 0;
}

static lots_op op;

/* Wait with no time at all; return how often it has yielded. */
static int yields_of_a_wait(int answer)
{
    yields = 0;
    CHECK_EQ(lots_op_wait(&op, 0), answer);
    return yields;
}

static void a_thread_tries_ten_times_before_it_queues(void)
{
    for (uint32_t mode = 0; mode <= LOTS_UPGRADABLE; mode++) {
        hold(LOTS_WRITE);
        lots_op_init(&op, &word, mode, NULL, 0, 0);
        CHECK_EQ(yields_of_a_wait(LOTS_TIMED_OUT), 7); /* the first three are too short for it */
        CHECK_EQ(yields_of_a_wait(LOTS_MISUSE), 0);
        release(LOTS_WRITE, 0, 0);
    }
}

static void after_a_try_it_spins_too(void)
{
    hold(LOTS_WRITE);
    lots_op_init(&op, &word, LOTS_READ, NULL, 0, 0);
    CHECK_EQ(lots_op_try(&op), LOTS_PARKED);
    CHECK_EQ(yields_of_a_wait(LOTS_TIMED_OUT), 7);
    release(LOTS_WRITE, 0, 0);
}

static void it_does_not_try_to_pass_those_who_queue(void)
{
    lots_op first;
    hold(LOTS_WRITE);
    queue(&first, LOTS_READ, 'a', 0x09);
    lots_op_init(&op, &word, LOTS_READ, NULL, 0, 0);
    CHECK_EQ(yields_of_a_wait(LOTS_TIMED_OUT), 0);
    cancel(&first, LOTS_BY_CANCEL, LOTS_WITHDRAWN, 0x08);
    release(LOTS_WRITE, 0, 0);
    hold(LOTS_READ);
    queue(&first, LOTS_WRITE, 'a', 0x1a); /* one that drains is not passed by waiting; it queues at another key */
    lots_op_init(&op, &word, LOTS_READ, NULL, 0, 0);
    CHECK_EQ(yields_of_a_wait(LOTS_TIMED_OUT), 7);
    cancel(&first, LOTS_BY_CANCEL, LOTS_WITHDRAWN, 0x10);
    release(LOTS_READ, 0, 0);
    clean();
}

static void what_it_may_enter_it_does_not_spin_for(void)
{
    lots_op_init(&op, &word, LOTS_MUTEX, NULL, 0, 0);
    CHECK_EQ(yields_of_a_wait(LOTS_READY), 0);
    CHECK_EQ(yields_of_a_wait(LOTS_MISUSE), 0);
    let_go(&op, 0);
    CHECK_EQ(yields_of_a_wait(LOTS_MISUSE), 0);
    hold(LOTS_READ); /* a writer owns WRITER at once, and sleeps for the readers to leave */
    lots_op_init(&op, &word, LOTS_WRITE, NULL, 0, 0);
    CHECK_EQ(yields_of_a_wait(LOTS_TIMED_OUT), 0);
    CHECK_WORD(&word, 0x10);
    release(LOTS_READ, 0, 0);
}

static void it_queues_only_once_it_has_waited_before(void)
{
    hold(LOTS_WRITE);
    lots_op_init(&op, &word, LOTS_READ, NULL, 0, 0);
    CHECK_EQ(lots_op_poll(&op), LOTS_PARKED);
    CHECK_EQ(yields_of_a_wait(LOTS_TIMED_OUT), 0); /* it was queued already */
    release(LOTS_WRITE, 0, 0);
    /* As after a signal: out of the queue, but its ticket keeps its place. */
    hold(LOTS_WRITE);
    lots_op_init(&op, &word, LOTS_READ, NULL, 0, 0);
    CHECK_EQ(lots_op_try(&op), LOTS_PARKED);
    op_waiter(&op)->ticket = 1;
    CHECK_EQ(yields_of_a_wait(LOTS_TIMED_OUT), 0);
    release(LOTS_WRITE, 0, 0);
    clean();
}

static void release_at_the_third(void)
{
    if (yields == 3)
        release(LOTS_WRITE, 0, 0);
}

static void a_lock_that_opens_meanwhile_is_taken_without_queueing(void)
{
    hold(LOTS_WRITE);
    lots_op_init(&op, &word, LOTS_WRITE, NULL, 0, 0);
    at_a_yield = release_at_the_third;
    CHECK_EQ(yields_of_a_wait(LOTS_READY), 3);
    CHECK_EQ(op_waiter(&op)->ticket, 0);
    at_a_yield = NULL;
    let_go(&op, 0);
}

static lots_op comer;
static void another_queues(void)
{
    if (yields == 2)
        queue(&comer, LOTS_READ, 'a', 0x09);
}

static void one_who_queues_meanwhile_ends_it(void)
{
    hold(LOTS_WRITE);
    lots_op_init(&op, &word, LOTS_WRITE, NULL, 0, 0);
    at_a_yield = another_queues;
    CHECK_EQ(yields_of_a_wait(LOTS_TIMED_OUT), 2);
    at_a_yield = NULL;
    cancel(&comer, LOTS_BY_CANCEL, LOTS_WITHDRAWN, 0x08);
    release(LOTS_WRITE, 0, 0);
    clean();
}

int main(void)
{
    watchdog(30);
    m = lots_mailbox_new();
    RUN(a_thread_tries_ten_times_before_it_queues);
    RUN(after_a_try_it_spins_too);
    RUN(it_does_not_try_to_pass_those_who_queue);
    RUN(what_it_may_enter_it_does_not_spin_for);
    RUN(it_queues_only_once_it_has_waited_before);
    RUN(a_lock_that_opens_meanwhile_is_taken_without_queueing);
    RUN(one_who_queues_meanwhile_ends_it);
    lots_mailbox_close(m);
    lots_mailbox_free(m);
    return 0;
}
