/* What waiting has cost who did not get the lock, whose wake was taken away, and who waited for a notification first. */
#include "counting.h"

/* --- did not get it ------------------------------------------------------------------------------------------------ */

static void who_leaves_is_counted_by_why(void)
{
    for (int how = 0; how < 3; how++) { /* queued; told, and the lock is taken; told */
        for (uint32_t why = LOTS_BY_TIMEOUT; why <= LOTS_BY_CANCEL; why++) {
            lots_op a;
            begin();
            hold(LOTS_MUTEX);
            counted_queue(&a, LOTS_MUTEX, 'a', 0x09);
            now += 7;
            if (how) {
                release(LOTS_MUTEX, 0, 0);
                hold(LOTS_MUTEX);
            }
            if (how == 2)
                release(LOTS_MUTEX, 0, 0);
            cancel(&a, why, LOTS_WITHDRAWN, how == 2 ? 0 : 0x08);
            counted(0, 0, why == LOTS_BY_TIMEOUT, why == LOTS_BY_CANCEL, 0, 0, 7);
            CHECK_EQ(lots_op_waited(&a), 7);
            CHECK_EQ(lots_op_cancel(&a, why, NULL), LOTS_MISUSE);
            counted(0, 0, why == LOTS_BY_TIMEOUT, why == LOTS_BY_CANCEL, 0, 0, 7);
            if (how < 2)
                release(LOTS_MUTEX, 0, 0);
            clean();
        }
    }
}

static void a_handoff_that_came_first_is_kept_or_given_back(void)
{
    lots_op a;
    begin();
    hold(LOTS_MUTEX);
    counted_queue(&a, LOTS_MUTEX, 'a', 0x09);
    now += 7;
    release(LOTS_MUTEX, 1, 0x08);
    cancel(&a, LOTS_BY_TIMEOUT, LOTS_READY, 0x08);
    counted(1, 1, 0, 0, 0, 7, 7);
    let_go(&a, 0);
    hold(LOTS_MUTEX);
    counted_queue(&a, LOTS_MUTEX, 'a', 0x09);
    release(LOTS_MUTEX, 1, 0x08);
    cancel(&a, LOTS_BY_CANCEL, LOTS_WITHDRAWN, 0);
    counted(1, 1, 0, 1, 0, 7, 7);
    clean();
}

static void the_end_of_a_loop_is_a_cancellation(void)
{
    lots_mailbox *other = lots_mailbox_new();
    lots_op a, b;
    begin();
    hold(LOTS_MUTEX);
    task(&a, &word, LOTS_MUTEX, other, 'a');
    lots_op_counts(&a, &record);
    CHECK_EQ(lots_op_poll(&a), LOTS_PARKED);
    now += 3;
    lots_mailbox_close(other);
    counted(0, 0, 0, 1, 0, 0, 3);
    CHECK_EQ(lots_op_state(&a), LOTS_GONE);
    task(&b, &word, LOTS_MUTEX, other, 'b'); /* too late to wait */
    lots_op_counts(&b, &record);
    CHECK_EQ(lots_op_poll(&b), LOTS_CLOSED);
    counted(0, 0, 0, 1, 0, 0, 3);
    release(LOTS_MUTEX, 0, 0);
    lots_mailbox_free(other);
    clean();
}

/* A thread leaves the queue while its signal handlers run, and comes back: that is neither a timeout nor two waits. */
static void interrupted(lots_op *op)
{
    begin();
    hold(LOTS_MUTEX);
    lots_op_init(op, &word, LOTS_MUTEX, NULL, 0, 0);
    lots_op_counts(op, &record);
    CHECK_EQ(lots_op_poll(op), LOTS_PARKED);
    now += 5;
    CHECK_EQ(lots_op_interrupt(op), LOTS_INTERRUPTED);
    CHECK_WORD(&word, 0x08);
    counted(0, 0, 0, 0, 0, 0, 0);
    CHECK_EQ(lots_op_waited(op), 0);
    now += 5;
}

static void an_interruption_is_part_of_the_wait(void)
{
    lots_op a;
    interrupted(&a);
    release(LOTS_MUTEX, 0, 0);
    CHECK_EQ(lots_op_wait(&a, LOTS_NEVER), LOTS_READY);
    counted(1, 0, 0, 0, 0, 10, 10);
    let_go(&a, 0);
    clean();
}

static void who_does_not_come_back_from_an_interruption_has_given_up(void)
{
    for (uint32_t why = LOTS_BY_TIMEOUT; why <= LOTS_BY_CANCEL; why++) {
        lots_op a;
        interrupted(&a);
        cancel(&a, why, LOTS_WITHDRAWN, 0x08);
        counted(0, 0, why == LOTS_BY_TIMEOUT, why == LOTS_BY_CANCEL, 0, 0, 10);
        release(LOTS_MUTEX, 0, 0);
        clean();
    }
}

static void an_interruption_that_comes_after_the_lock_is_none(void)
{
    lots_op a;
    begin();
    hold(LOTS_MUTEX);
    lots_op_init(&a, &word, LOTS_MUTEX, NULL, 0, 0);
    lots_op_counts(&a, &record);
    CHECK_EQ(lots_op_poll(&a), LOTS_PARKED);
    now += 5;
    release(LOTS_MUTEX, 1, 0x08);
    CHECK_EQ(lots_op_interrupt(&a), LOTS_READY);
    counted(1, 1, 0, 0, 0, 5, 5);
    let_go(&a, 0);
    clean();
}

/* --- revoked ------------------------------------------------------------------------------------------------------- */

static void a_wake_that_is_taken_away_is_counted(void)
{
    for (int fair = 0; fair < 2; fair++) {
        lots_op a;
        begin();
        hold(LOTS_MUTEX);
        counted_queue(&a, LOTS_MUTEX, 'a', 0x09);
        release(LOTS_MUTEX, fair, fair ? 0x08 : 0);
        now += 4;
        CHECK_EQ(revoke_late(INT64_MAX, 1), 1);
        counted(0, 0, 0, 0, 1, 0, 0);
        poll_ready(&a, 0x08); /* it has come, and competes */
        counted(1, 0, 0, 0, 1, 4, 4);
        let_go(&a, 0);
        clean();
    }
}

/* --- notified ------------------------------------------------------------------------------------------------------ */

static void counted_expect(lots_op *op, uint32_t mode, char cookie)
{
    lots_op_init(op, &word, mode, m, (uint64_t)cookie, 0);
    lots_op_counts(op, &record);
    lots_op_expect(op, here);
    CHECK_EQ(lots_op_poll(op), LOTS_PARKED);
}

/* What is waited for first is no lock, and nobody contends for it. */
static void a_wait_for_a_lock_begins_with_the_notification(void)
{
    lots_op a;
    int64_t came = now;
    begin();
    hold(LOTS_MUTEX);
    counted_expect(&a, LOTS_MUTEX, 'a');
    CHECK_EQ(since(&a), came);
    now += 100;
    CHECK_EQ(lots_op_poll(&a), LOTS_PARKED); /* a nudge */
    CHECK_EQ(since(&a), came);
    CHECK_EQ(notify(1, 0), 1);
    CHECK_EQ(since(&a), came + 100);
    now += 30;
    release(LOTS_MUTEX, 0, 0);
    poll_ready(&a, 0x08);
    counted(1, 0, 0, 0, 0, 30, 30);
    let_go(&a, 0);
    clean();
}

static void who_is_notified_of_an_open_lock_waits_only_if_it_loses(void)
{
    for (int loses = 0; loses < 2; loses++) {
        lots_op a;
        begin();
        counted_expect(&a, LOTS_MUTEX, 'a');
        now += 100;
        CHECK_EQ(notify(1, 0), 1);
        CHECK_EQ(lots_op_state(&a), LOTS_NORMAL);
        now += 100;
        if (loses) {
            hold(LOTS_MUTEX);
            CHECK_EQ(lots_op_poll(&a), LOTS_PARKED);
            CHECK_EQ(since(&a), now);
            now += 6;
            release(LOTS_MUTEX, 0, 0);
        }
        poll_ready(&a, 0x08);
        counted(loses, 0, 0, 0, 0, loses ? 6 : 0, loses ? 6 : 0);
        let_go(&a, 0);
        clean();
    }
}

static void a_fair_mutex_that_comes_with_the_notification_was_not_waited_for(void)
{
    lots_op a;
    begin();
    counted_expect(&a, LOTS_FAIR_MUTEX, 'a');
    now += 100;
    CHECK_EQ(notify(1, 0), 1);
    CHECK_EQ(lots_op_state(&a), LOTS_HANDOFF);
    poll_ready(&a, 0x08);
    counted(0, 0, 0, 0, 0, 0, 0);
    let_go(&a, 0);
    clean();
}

static void who_is_never_notified_has_not_waited_for_the_lock(void)
{
    for (uint32_t why = LOTS_BY_TIMEOUT; why <= LOTS_BY_CANCEL; why++) {
        lots_op a;
        begin();
        counted_expect(&a, LOTS_MUTEX, 'a');
        now += 100;
        cancel(&a, why, LOTS_WITHDRAWN, 0);
        counted(0, 0, 0, 0, 0, 0, 0);
        clean();
    }
}

static void what_is_no_lock_is_not_counted(void)
{
    begin();
    for (int i = 0; i < 2; i++) {
        lots_op_init(&ops[i], NULL, LOTS_PARK, i ? NULL : m, (uint64_t)('a' + i), 0);
        lots_op_counts(&ops[i], &record);
        lots_op_expect(&ops[i], here);
        CHECK_EQ(lots_op_poll(&ops[i]), LOTS_PARKED);
    }
    now += 100;
    CHECK_EQ(notify(1, 7), 1);
    CHECK_EQ(revoke_late(INT64_MAX, 1), 1); /* the notification goes to the other one */
    is_told(1, 7);
    withdrawn(0);
    counted(0, 0, 0, 0, 0, 0, 0);
    nobody_is_left();
}

static void tests(void)
{
    RUN(who_leaves_is_counted_by_why);
    RUN(a_handoff_that_came_first_is_kept_or_given_back);
    RUN(the_end_of_a_loop_is_a_cancellation);
    RUN(an_interruption_is_part_of_the_wait);
    RUN(who_does_not_come_back_from_an_interruption_has_given_up);
    RUN(an_interruption_that_comes_after_the_lock_is_none);
    RUN(a_wake_that_is_taken_away_is_counted);
    RUN(a_wait_for_a_lock_begins_with_the_notification);
    RUN(who_is_notified_of_an_open_lock_waits_only_if_it_loses);
    RUN(a_fair_mutex_that_comes_with_the_notification_was_not_waited_for);
    RUN(who_is_never_notified_has_not_waited_for_the_lock);
    RUN(what_is_no_lock_is_not_counted);
}

int main(void)
{
    run_with_a_loop(tests);
    return 0;
}
