/* Waits for a notification (notify.c): who is told, and in which order, and what a cancel does. Who then asks for a lock is in
 * test_notify_lock.c. */
#include "notifying.h"


/* --- no lock ------------------------------------------------------------------------------------------------------------ */

static void so_many_are_told_in_order_of_arrival(void)
{
    for (int is_task = 0; is_task < 2; is_task++) {
        lots_mailbox *whose = is_task ? m : NULL;
        CHECK_EQ(notify(SIZE_MAX, 1), 0); /* kept for nobody */
        for (int i = 0; i < 5; i++)
            park(i, whose);
        CHECK_EQ(notify(0, 2), 0);
        CHECK_EQ(notify(1, 3), 1);
        is_told(0, 3);
        CHECK_EQ(notify(2, 4), 2);
        is_told(1, 4);
        is_told(2, 4);
        CHECK_EQ(lots_op_state(&ops[3]), LOTS_QUEUED);
        CHECK_EQ(lots_op_poll(&ops[3]), LOTS_PARKED); /* looks for nothing, and keeps its place */
        CHECK_EQ(notify(SIZE_MAX, 5), 2);
        is_told(3, 5);
        is_told(4, 5);
        nobody_is_left();
    }
}

static void a_try_says_that_it_must_wait(void)
{
    lots_op_init(&ops[0], NULL, LOTS_PARK, NULL, 0, 0);
    lots_op_expect(&ops[0], here);
    CHECK_EQ(lots_op_try(&ops[0]), LOTS_PARKED);
    CHECK_EQ(lots_op_state(&ops[0]), LOTS_ACQUIRING);
    CHECK_EQ(notify(1, 0), 0); /* not there yet */
    CHECK_EQ(lots_op_poll(&ops[0]), LOTS_PARKED);
    CHECK_EQ(notify(1, 9), 1);
    is_told(0, 9);
    nobody_is_left();
    lots_op_init(&ops[0], &word, LOTS_READ, NULL, 0, 0); /* free, but first it waits */
    lots_op_expect(&ops[0], here);
    CHECK_EQ(lots_op_try(&ops[0]), LOTS_PARKED);
    CHECK_WORD(&word, 0);
    withdrawn(0);
    nobody_is_left();
}

static void one_of_them_is_named_by_its_ticket(void)
{
    lots_waiter_info list[3];
    int mail_;
    for (int i = 0; i < 3; i++)
        park(i, m);
    CHECK_EQ(lots_for_each(NULL, list, 3), 3);
    CHECK_EQ(list[1].cookie, 'b');
    CHECK_EQ(list[1].key, here);
    CHECK_EQ(list[1].word, 0);
    CHECK_EQ(list[1].expects, 1);
    CHECK_EQ(lots_notify(here, 5, list[1].ticket, 3, NULL, &mail_), 1);
    CHECK_EQ(lots_notify(here, 5, list[1].ticket, 3, NULL, &mail_), 0);
    is_told(1, 3);
    withdrawn(0);
    CHECK_EQ(notify(1, 4), 1);
    is_told(2, 4);
    nobody_is_left();
}

static void more_than_one_batch_is_told(void)
{
    static const int sizes[] = {BATCH_THREADS - 1, BATCH_THREADS, BATCH_THREADS + 1, MOST};
    for (size_t s = 0; s < 4; s++)
        for (int tasks = 0; tasks < 2; tasks++) {
            for (int i = 0; i < sizes[s]; i++)
                park(i, tasks && i % 2 ? m : NULL);
            CHECK_EQ(notify(SIZE_MAX, 6), sizes[s]);
            for (int i = 0; i < sizes[s]; i++)
                is_told(i, 6);
            nobody_is_left();
        }
}

static void queues_that_share_a_bucket_are_told_apart(void)
{
    int mail_;
    expect_at(&ops[0], NULL, LOTS_PARK, NULL, 'a', here);
    expect_at(&ops[1], NULL, LOTS_PARK, NULL, 'b', near_);
    expect_at(&ops[2], NULL, LOTS_PARK, NULL, 'c', far);
    CHECK_EQ(lots_notify(near_, 9, 0, 1, NULL, &mail_), 1);
    is_told(1, 1);
    CHECK_EQ(lots_notify(far, 9, 0, 2, NULL, &mail_), 1);
    is_told(2, 2);
    CHECK_EQ(notify(9, 3), 1);
    is_told(0, 3);
    nobody_is_left();
}

/* No key may be a lock's word; whoever notifies there all the same wakes nobody who waits for the lock. */
static void who_waits_for_a_lock_is_not_notified(void)
{
    lots_op reader;
    int mail_;
    CHECK_EQ(lots_try(&word, LOTS_WRITE), 1);
    lots_op_init(&reader, &word, LOTS_READ, m, 'a', 0);
    CHECK_EQ(lots_op_poll(&reader), LOTS_PARKED);
    CHECK_EQ(lots_notify((uintptr_t)&word, 9, 0, 1, NULL, &mail_), 0);
    CHECK_EQ(lots_op_state(&reader), LOTS_QUEUED);
    CHECK_EQ(lots_op_cancel(&reader, LOTS_BY_CANCEL, NULL), LOTS_WITHDRAWN);
    CHECK_EQ(lots_release(&word, LOTS_WRITE, 0, NULL), LOTS_READY);
    nobody_is_left();
}

static void mail_to_the_callers_own_loop_rings_nothing(void)
{
    lots_mailbox *other = lots_mailbox_new();
    int mail_ = 0;
    park(0, m);
    park(1, other);
    CHECK_EQ(lots_notify(here, 9, 0, 0, m, &mail_), 2);
    CHECK_EQ(mail_, 1);
    CHECK_EQ(rings(m), 0);
    CHECK_EQ(rings(other), 1);
    CHECK_STR(mail(m, 0), "a");
    CHECK_STR(mail(other, 1), "b");
    is_told(0, 0);
    is_told(1, 0);
    nobody_is_left();
    lots_mailbox_close(other);
    lots_mailbox_free(other);
}

/* --- who is there ------------------------------------------------------------------------------------------------------------ */

static void those_at_one_key_are_listed(void)
{
    lots_waiter_info info[3];
    park(0, NULL);
    park(1, m);
    expect_at(&ops[2], NULL, LOTS_PARK, NULL, 'c', near_); /* in the same bucket */
    CHECK_EQ(lots_for_key(here, info, 3), 2);
    CHECK_EQ(info[0].cookie, 'a');
    CHECK_EQ(info[1].cookie, 'b');
    CHECK_EQ(info[1].key, here);
    CHECK_EQ(lots_for_key(near_, info, 0), 1);
    CHECK_EQ(lots_for_key(far, info, 3), 0);
    CHECK_EQ(lots_op_key(&ops[2]), near_);
    CHECK_EQ(lots_expected(near_), 1);
    CHECK_EQ(lots_expected(far), 0);
    withdrawn(0);
    CHECK_EQ(notify(1, 4), 1);
    CHECK_EQ(lots_for_key(here, info, 3), 1); /* a task that has not looked */
    CHECK_EQ(info[0].state, LOTS_NORMAL);
    CHECK_EQ(lots_expected(here), 0);
    is_told(1, 4);
    withdrawn(2);
    nobody_is_left();
}

/* --- cancel --------------------------------------------------------------------------------------------------------------- */

static void who_gives_up_passes_it_on_who_times_out_keeps_it(void)
{
    for (int is_task = 0; is_task < 2; is_task++) {
        lots_mailbox *whose = is_task ? m : NULL;
        for (int i = 0; i < 3; i++)
            park(i, whose);
        CHECK_EQ(notify(1, 8), 1);
        withdrawn(0);
        CHECK_EQ(lots_op_state(&ops[1]), LOTS_NORMAL);
        CHECK_EQ(lots_op_state(&ops[2]), LOTS_QUEUED);
        CHECK_EQ(lots_op_cancel(&ops[1], LOTS_BY_TIMEOUT, NULL), LOTS_READY);
        CHECK_EQ(lots_op_token(&ops[1]), 8); /* the same notification */
        CHECK_EQ(lots_op_state(&ops[1]), LOTS_HELD);
        CHECK_EQ(lots_op_release(&ops[1], 0, NULL), LOTS_READY);
        CHECK_EQ(lots_op_state(&ops[2]), LOTS_QUEUED);
        CHECK_EQ(lots_op_cancel(&ops[2], LOTS_BY_TIMEOUT, NULL), LOTS_WITHDRAWN);
        CHECK_EQ(lots_op_notified(&ops[2]), 0);
        park(0, whose);
        CHECK_EQ(notify(1, 8), 1);
        withdrawn_with(0, 8); /* nobody is there to have it */
        nobody_is_left();
    }
}

/* Who asks for a lock must not take a bare notification for it: it would hold nothing. */
static void it_is_passed_on_to_no_one_who_asks_for_a_lock(void)
{
    for (int other = 0; other < 2; other++) {
        park(0, NULL);
        expect_at(&ops[1], &word, LOTS_WRITE, NULL, 'b', here);
        if (other)
            park(2, NULL);
        CHECK_EQ(notify(1, 8), 1);
        if (other)
            withdrawn(0);
        else
            withdrawn_with(0, 8);
        CHECK_EQ(lots_op_state(&ops[1]), LOTS_QUEUED);
        if (other)
            is_told(2, 8);
        withdrawn(1);
        nobody_is_left();
    }
}

/* The pthread kind's parker is made for a thread that queues, and gone when its op has ended; a task has none. */
static void only_a_thread_has_a_parker(void)
{
    park(0, NULL);
    park(1, m);
#ifdef LOTS_PARKER_PTHREAD
    CHECK_EQ(op_waiter(&ops[0])->parker.made, 1);
    CHECK_EQ(op_waiter(&ops[1])->parker.made, 0);
#endif
    withdrawn(0);
    withdrawn(1);
#ifdef LOTS_PARKER_PTHREAD
    CHECK_EQ(op_waiter(&ops[0])->parker.made, 0);
#endif
    nobody_is_left();
}

static void waiting_with_a_deadline(void)
{
    lots_op_init(&ops[0], NULL, LOTS_PARK, NULL, 0, 0);
    lots_op_expect(&ops[0], here);
    CHECK_EQ(lots_op_wait(&ops[0], 0), LOTS_TIMED_OUT);
    nobody_is_left();
    lots_op_init(&ops[0], &word, LOTS_WRITE, NULL, 0, 0);
    lots_op_expect(&ops[0], here);
    CHECK_EQ(lots_op_wait(&ops[0], 1), LOTS_TIMED_OUT);
    CHECK_EQ(lots_op_notified(&ops[0]), 0);
    nobody_is_left();
}

int main(void)
{
    watchdog(30);
    find_keys();
    m = lots_mailbox_new();
    RUN(so_many_are_told_in_order_of_arrival);
    RUN(a_try_says_that_it_must_wait);
    RUN(one_of_them_is_named_by_its_ticket);
    RUN(more_than_one_batch_is_told);
    RUN(queues_that_share_a_bucket_are_told_apart);
    RUN(who_waits_for_a_lock_is_not_notified);
    RUN(mail_to_the_callers_own_loop_rings_nothing);
    RUN(those_at_one_key_are_listed);
    RUN(who_gives_up_passes_it_on_who_times_out_keeps_it);
    RUN(it_is_passed_on_to_no_one_who_asks_for_a_lock);
    RUN(only_a_thread_has_a_parker);
    RUN(waiting_with_a_deadline);
    lots_mailbox_close(m);
    lots_mailbox_free(m);
    return 0;
}
