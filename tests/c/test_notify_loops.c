/* Notifications and loops that cannot run: late, blocked, closed; and the way from one queue to another. */
#include "notifying.h"

#include "revoke.h"

static void who_cannot_run_is_passed_over_and_nudged_afterwards(void)
{
    lots_waiter_info list[2];
    park(0, m);
    park(1, NULL);
    lots_mailbox_block(m);
    CHECK_EQ(notify(1, 1), 1);
    is_told(1, 1);
    CHECK_EQ(notify(1, 2), 0); /* nobody can have it */
    CHECK_EQ(lots_for_each(NULL, list, 2), 1);
    CHECK_EQ(list[0].skipped, 1);
    CHECK_EQ(list[0].expects, 1);
    lots_mailbox_unblock(m);
    CHECK_STR(mail(m, 1), "a");
    CHECK_EQ(lots_op_poll(&ops[0]), LOTS_PARKED);
    CHECK_EQ(notify(1, 3), 1);
    is_told(0, 3);
    nobody_is_left();
}

static void a_late_task_loses_it_only_to_somebody_else(void)
{
    for (int other = 0; other < 2; other++) {
        uint64_t before = lots_revocations();
        park(0, m);
        if (other)
            park(1, NULL);
        CHECK_EQ(notify(1, 7), 1);
        CHECK_EQ(revoke_late(INT64_MAX, 1), 1);
        CHECK_EQ(lots_revocations(), before + (uint64_t)other);
        CHECK_EQ(mailbox_cannot_run(m), other);
        if (other) {
            is_told(1, 7);
            CHECK_EQ(lots_op_state(&ops[0]), LOTS_QUEUED);
            CHECK_STR(mail(m, 1), "a");
            CHECK_EQ(lots_op_poll(&ops[0]), LOTS_PARKED); /* a sign of life, but it was not told */
            CHECK(!mailbox_cannot_run(m));
            CHECK_EQ(notify(1, 8), 1);
        }
        is_told(0, other ? 8 : 7);
        nobody_is_left();
    }
}

/* The next in line is a task of the very loop that was too late: it could not use it either. */
static void a_late_task_does_not_lose_it_to_its_own_loop(void)
{
    uint64_t before = lots_revocations();
    park(0, m);
    park(1, m);
    CHECK_EQ(notify(1, 7), 1);
    CHECK_EQ(revoke_late(INT64_MAX, 1), 1);
    CHECK_EQ(lots_revocations(), before);
    CHECK_EQ(lots_op_state(&ops[0]), LOTS_NORMAL);
    park(2, NULL); /* but now there is somebody */
    CHECK_EQ(revoke_late(INT64_MAX, 1), 1);
    is_told(2, 7);
    CHECK_STR(mail(m, 1), "a");
    CHECK_EQ(lots_op_poll(&ops[0]), LOTS_PARKED);
    CHECK_STR(mail(m, 1), "ab"); /* both were passed over */
    CHECK_EQ(notify(2, 8), 2);
    is_told(0, 8);
    is_told(1, 8);
    nobody_is_left();
}

/* The walk of lots_mailbox_close goes from bucket to bucket: nobody may be moved to one that it has left behind. */
static void nobody_of_a_closed_loop_is_moved(void)
{
    lots_mailbox *closing = lots_mailbox_new();
    size_t moved;
    int mail_;
    park(0, closing);
    park(1, NULL);
    a32_store(&closing->closed, 1, RELAXED);
    CHECK_EQ(lots_requeue(here, far, 0, 9, 0, NULL, &mail_, &moved), 0);
    CHECK_EQ(moved, 1);
    CHECK_EQ(lots_notify(far, 9, 0, 3, NULL, &mail_), 1);
    is_told(1, 3);
    lots_mailbox_close(closing);
    CHECK_EQ(lots_op_state(&ops[0]), LOTS_GONE);
    lots_mailbox_free(closing);
    nobody_is_left();
}

/* A task that was late looks once: that is the sign of life, and only that one. */
static void a_look_after_a_revocation_is_a_sign_of_life_once(void)
{
    static lots_word other;
    lots_op late;
    park(0, m);
    park(1, NULL);
    CHECK_EQ(lots_op_poll(&ops[0]), LOTS_PARKED);
    CHECK_EQ(notify(1, 7), 1);
    CHECK_EQ(revoke_late(INT64_MAX, 1), 1);
    is_told(1, 7);
    CHECK_EQ(lots_op_poll(&ops[0]), LOTS_PARKED);
    CHECK(!mailbox_cannot_run(m));
    CHECK_EQ(lots_try(&other, LOTS_MUTEX), 1);
    task(&late, &other, LOTS_MUTEX, m, 'l');
    CHECK_EQ(lots_op_poll(&late), LOTS_PARKED);
    CHECK_EQ(lots_release(&other, LOTS_MUTEX, 1, NULL), LOTS_READY);
    CHECK_EQ(revoke_late(INT64_MAX, 1), 1);
    CHECK(mailbox_cannot_run(m));
    CHECK_EQ(lots_op_poll(&ops[0]), LOTS_PARKED);
    CHECK(mailbox_cannot_run(m));
    CHECK_EQ(lots_op_cancel(&ops[0], LOTS_BY_CANCEL, NULL), LOTS_WITHDRAWN);
    CHECK(mailbox_cannot_run(m));
    CHECK_EQ(lots_op_poll(&late), LOTS_READY);
    CHECK_EQ(lots_op_release(&late, 0, NULL), LOTS_READY);
    nobody_is_left();
}

/* Late since this very moment: it keeps it all the same, for nobody else is there. */
static void who_is_late_just_now_keeps_it_too(void)
{
    park(0, m);
    CHECK_EQ(notify(1, 7), 1);
    CHECK_EQ(revoke_late(op_waiter(&ops[0])->woken_at, 1), 1);
    CHECK_EQ(lots_op_state(&ops[0]), LOTS_NORMAL);
    is_told(0, 7);
    nobody_is_left();
}

/* Behind one that keeps its late wake, another that loses its own. */
static void a_late_one_that_keeps_it_hides_no_other(void)
{
    int mail_;
    park(0, m);
    CHECK_EQ(notify(1, 7), 1);
    expect_at(&ops[1], NULL, LOTS_PARK, m, 'b', near_);
    expect_at(&ops[2], NULL, LOTS_PARK, NULL, 'c', near_);
    CHECK_EQ(lots_notify(near_, 1, 0, 8, NULL, &mail_), 1);
    CHECK_EQ(revoke_late(op_waiter(&ops[0])->woken_at - 1, 1), 1);
    CHECK_EQ(lots_op_state(&ops[1]), LOTS_NORMAL);
    CHECK_EQ(revoke_late(INT64_MAX, 1), 1);
    CHECK_EQ(lots_op_state(&ops[1]), LOTS_QUEUED);
    is_told(2, 8);
    is_told(0, 7);
    withdrawn(1);
    CHECK(!mailbox_cannot_run(m));
    nobody_is_left();
}

static void blocking_a_loop_recalls_it_if_somebody_can_have_it(void)
{
    for (int other = 0; other < 2; other++) {
        park(0, m);
        if (other)
            park(1, NULL);
        CHECK_EQ(notify(1, 7), 1);
        lots_mailbox_block(m);
        CHECK_EQ(lots_op_state(&ops[0]), other ? LOTS_QUEUED : LOTS_NORMAL);
        if (other)
            is_told(1, 7);
        lots_mailbox_unblock(m);
        if (other)
            withdrawn(0);
        else
            is_told(0, 7);
        nobody_is_left();
    }
}

static void closing_a_loop_passes_it_on(void)
{
    lots_mailbox *closing = lots_mailbox_new();
    park(0, closing);
    park(1, closing);
    park(2, NULL);
    CHECK_EQ(notify(1, 7), 1);
    lots_mailbox_close(closing);
    CHECK_EQ(lots_op_poll(&ops[0]), LOTS_CLOSED);
    CHECK_EQ(lots_op_poll(&ops[1]), LOTS_CLOSED);
    is_told(2, 7);
    lots_op_init(&ops[3], NULL, LOTS_PARK, closing, 'd', 0);
    lots_op_expect(&ops[3], here);
    CHECK_EQ(lots_op_poll(&ops[3]), LOTS_CLOSED);
    CHECK_EQ(lots_op_state(&ops[3]), LOTS_GONE);
    lots_mailbox_free(closing);
    nobody_is_left();
}

/* With nobody in line there is nobody to wake; but the op, which outlives its loop, says that it had been told. */
static void a_closed_loop_swallows_no_notification(void)
{
    lots_mailbox *closing = lots_mailbox_new();
    park(0, closing);
    park(1, closing);
    CHECK_EQ(notify(1, 7), 1);
    lots_mailbox_close(closing);
    CHECK_EQ(lots_op_state(&ops[0]), LOTS_GONE);
    CHECK_EQ(lots_op_notified(&ops[0]), 1);
    CHECK_EQ(lots_op_token(&ops[0]), 7);
    CHECK_EQ(lots_op_notified(&ops[1]), 0);
    CHECK_EQ(lots_op_poll(&ops[0]), LOTS_CLOSED);
    lots_mailbox_free(closing);
    nobody_is_left();
}

/* --- from one queue to another ------------------------------------------------------------------------------------------ */

static size_t requeue(uintptr_t to, size_t most_woken, size_t most, size_t *moved)
{
    int mail_ = 7;
    size_t done = lots_requeue(here, to, most_woken, most, 9, NULL, &mail_, moved);
    CHECK_EQ(mail_, 0);
    return done;
}

static size_t notify_at(uintptr_t key, size_t most)
{
    int mail_;
    return lots_notify(key, most, 0, 4, NULL, &mail_);
}

static void some_are_told_some_are_moved_some_stay(void)
{
    uintptr_t to[] = {near_, far};
    for (int n = 0; n < 2; n++) {
        size_t moved;
        for (int i = 0; i < 6; i++)
            park(i, i % 2 ? m : NULL);
        CHECK_EQ(requeue(to[n], 0, 0, &moved), 0);
        CHECK_EQ(moved, 0);
        CHECK_EQ(requeue(to[n], 2, 2, &moved), 2);
        CHECK_EQ(moved, 2);
        is_told(0, 9);
        is_told(1, 9);
        CHECK_EQ(notify(1, 5), 1);
        is_told(4, 5);
        CHECK_EQ(notify_at(to[n], 1), 1);
        is_told(2, 4);
        CHECK_EQ(requeue(to[n], 0, SIZE_MAX, &moved), 0); /* behind those who are there */
        CHECK_EQ(moved, 1);
        CHECK_EQ(notify(SIZE_MAX, 5), 0);
        CHECK_EQ(notify_at(to[n], 1), 1);
        is_told(3, 4);
        CHECK_EQ(lots_op_state(&ops[5]), LOTS_QUEUED);
        withdrawn(5); /* it is found where it is now */
        nobody_is_left();
    }
}

static void nobody_is_moved_to_where_he_is(void)
{
    size_t moved;
    park(0, NULL);
    park(1, NULL);
    CHECK_EQ(requeue(here, 1, SIZE_MAX, &moved), 1);
    CHECK_EQ(moved, 0);
    is_told(0, 9);
    CHECK_EQ(notify(1, 5), 1);
    is_told(1, 5);
    nobody_is_left();
}

static void a_crowd_is_told_batch_by_batch_and_the_rest_is_moved(void)
{
    size_t moved;
    for (int i = 0; i < MOST; i++)
        park(i, NULL);
    CHECK_EQ(requeue(far, MOST - 2, 1, &moved), MOST - 2);
    CHECK_EQ(moved, 1);
    for (int i = 0; i < MOST - 2; i++)
        is_told(i, 9);
    CHECK_EQ(notify(9, 5), 1);
    is_told(MOST - 1, 5);
    CHECK_EQ(notify_at(far, 9), 1);
    is_told(MOST - 2, 4);
    nobody_is_left();
}

/* Whoever asks for a lock, and who cannot run, stays where he is. */
static void some_are_not_moved_and_not_told(void)
{
    size_t moved;
    expect_at(&ops[0], &word, LOTS_READ, NULL, 'a', here);
    park(1, m);
    park(2, NULL);
    lots_mailbox_block(m);
    CHECK_EQ(requeue(far, 5, 5, &moved), 1);
    CHECK_EQ(moved, 0);
    is_told(2, 9);
    lots_mailbox_unblock(m);
    CHECK_STR(mail(m, 1), "b");
    CHECK_EQ(requeue(far, 0, 5, &moved), 0);
    CHECK_EQ(moved, 1);
    withdrawn(0);
    CHECK_EQ(notify_at(far, 5), 1);
    is_told(1, 4);
    nobody_is_left();
}

static void who_is_moved_into_the_own_loops_mail_rings_nothing(void)
{
    size_t moved;
    int mail_ = 0;
    park(0, m);
    CHECK_EQ(lots_requeue(here, far, 1, 0, 3, m, &mail_, &moved), 1);
    CHECK_EQ(mail_, 1);
    CHECK_EQ(rings(m), 0);
    CHECK_STR(mail(m, 0), "a");
    is_told(0, 3);
    nobody_is_left();
}

int main(void)
{
    watchdog(30);
    find_keys();
    m = lots_mailbox_new();
    lots_revoke_after(INT64_MAX / 2); /* late is who revoke_late is called for */
    RUN(who_cannot_run_is_passed_over_and_nudged_afterwards);
    RUN(a_late_task_loses_it_only_to_somebody_else);
    RUN(a_late_task_does_not_lose_it_to_its_own_loop);
    RUN(nobody_of_a_closed_loop_is_moved);
    RUN(a_look_after_a_revocation_is_a_sign_of_life_once);
    RUN(who_is_late_just_now_keeps_it_too);
    RUN(a_late_one_that_keeps_it_hides_no_other);
    RUN(blocking_a_loop_recalls_it_if_somebody_can_have_it);
    RUN(closing_a_loop_passes_it_on);
    RUN(a_closed_loop_swallows_no_notification);
    RUN(some_are_told_some_are_moved_some_stay);
    RUN(nobody_is_moved_to_where_he_is);
    RUN(a_crowd_is_told_batch_by_batch_and_the_rest_is_moved);
    RUN(some_are_not_moved_and_not_told);
    RUN(who_is_moved_into_the_own_loops_mail_rings_nothing);
    lots_mailbox_close(m);
    lots_mailbox_free(m);
    return 0;
}
