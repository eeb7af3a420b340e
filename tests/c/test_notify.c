/* Waits for a notification (notify.c): who is told, what becomes of those who then ask for a lock, and who steps aside. */
#include "notifying.h"

#include "notify.h"

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
        withdrawn(0); /* nobody is there to have it */
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
        withdrawn(0);
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

/* --- then for a lock -------------------------------------------------------------------------------------------------------- */

/* The lock is free: one is woken for it, the others go from queue to queue. */
static void of_a_crowd_that_asks_for_a_mutex_one_is_woken(void)
{
    lots_word *locks[] = {&word, near_word};
    for (int n = 0; n < 2; n++) {
        lots_word *w = locks[n];
        set_fairness(w, FAIR_NEVER);
        for (int i = 0; i < 4; i++)
            expect_at(&ops[i], w, LOTS_MUTEX, i % 2 ? m : NULL, 'x', here);
        CHECK_EQ(notify(3, 5), 3);
        CHECK_WORD(w, 1);
        CHECK_EQ(lots_for_each(w, NULL, 0), 2); /* woken as a thread, so in no list */
        CHECK_EQ(lots_op_state(&ops[3]), LOTS_QUEUED);
        CHECK_EQ(lots_op_notified(&ops[3]), 0);
        for (int i = 0; i < 3; i++) {
            CHECK_EQ(lots_op_state(&ops[i]), i ? LOTS_QUEUED : LOTS_NORMAL);
            CHECK_EQ(lots_op_notified(&ops[i]), 1);
            CHECK_EQ(lots_op_token(&ops[i]), 5);
        }
        for (int i = 0; i < 3; i++) {
            CHECK_EQ(lots_op_poll(&ops[i]), LOTS_READY);
            CHECK_WORD(w, i < 2 ? 9 : 8);
            CHECK_EQ(lots_op_release(&ops[i], 0, NULL), LOTS_READY);
            CHECK_WORD(w, i < 1 ? 1 : 0);
        }
        withdrawn(3);
        nobody_is_left();
    }
}

static void who_asks_for_a_held_lock_sleeps_on(void)
{
    lots_word *locks[] = {&word, near_word};
    for (int n = 0; n < 2; n++) {
        lots_word *w = locks[n];
        set_fairness(w, FAIR_NEVER);
        CHECK_EQ(lots_try(w, LOTS_WRITE), 1);
        for (int i = 0; i < 3; i++)
            expect_at(&ops[i], w, LOTS_READ, m, 'x', here);
        CHECK_EQ(notify(2, 5), 2);
        CHECK_WORD(w, 9);
        CHECK_STR(mail(m, 1), "");
        CHECK_EQ(lots_for_each(w, NULL, 0), 2);
        CHECK_EQ(notify(1, 6), 1);
        CHECK_WORD(w, 9);
        CHECK_EQ(lots_release(w, LOTS_WRITE, 1, NULL), LOTS_READY);
        CHECK_WORD(w, 0x30);
        for (int i = 0; i < 3; i++) {
            CHECK_EQ(lots_op_state(&ops[i]), LOTS_HANDOFF);
            CHECK_EQ(lots_op_token(&ops[i]), i < 2 ? 5 : 6);
            CHECK_EQ(lots_op_poll(&ops[i]), LOTS_READY);
            CHECK_EQ(lots_op_release(&ops[i], 0, NULL), LOTS_READY);
        }
        nobody_is_left();
    }
}

static void gives_up_the_lock(int i)
{
    CHECK_EQ(lots_op_cancel(&ops[i], LOTS_BY_CANCEL, NULL), LOTS_WITHDRAWN);
    CHECK_EQ(lots_op_notified(&ops[i]), 1); /* told it was */
}

static void readers_are_woken_together_writers_one_by_one(void)
{
    static const uint32_t modes[] = {LOTS_READ, LOTS_READ, LOTS_WRITE, LOTS_READ, LOTS_UPGRADABLE};
    for (int i = 0; i < 5; i++)
        expect_at(&ops[i], &word, modes[i], NULL, 'x', here);
    CHECK_EQ(notify(9, 1), 5);
    for (int i = 0; i < 5; i++)
        CHECK_EQ(lots_op_state(&ops[i]), i == 4 ? LOTS_QUEUED : LOTS_NORMAL);
    CHECK_WORD(&word, 1);
    CHECK_EQ(lots_op_poll(&ops[0]), LOTS_READY);
    CHECK_EQ(lots_op_poll(&ops[1]), LOTS_READY);
    CHECK_EQ(lots_op_poll(&ops[3]), LOTS_READY);
    CHECK_WORD(&word, 0x31);
    for (int i = 2; i < 5; i += 2)
        gives_up_the_lock(i);
    for (int i = 0; i < 4; i += i + 1)
        CHECK_EQ(lots_op_release(&ops[i], 0, NULL), LOTS_READY);
    nobody_is_left();
}

/* A reader that leaves wakes nobody: so the one that is woken for a writer to follow must be a writer, or upgradable. */
static void a_reader_is_not_who_a_writer_waits_for(void)
{
    static const uint32_t wanted[] = {LOTS_WRITE, LOTS_UPGRADABLE, LOTS_MUTEX};
    for (int n = 0; n < 3; n++) {
        set_fairness(&word, FAIR_NEVER);
        expect_at(&ops[0], &word, LOTS_READ, NULL, 'a', here);
        expect_at(&ops[1], &word, wanted[n], NULL, 'b', here);
        expect_at(&ops[2], &word, wanted[n], NULL, 'c', here);
        CHECK_EQ(notify(9, 1), 3);
        CHECK_EQ(lots_op_poll(&ops[0]), LOTS_READY);
        CHECK_EQ(lots_op_release(&ops[0], 0, NULL), LOTS_READY);
        CHECK_WORD(&word, 1);
        for (int i = 1; i < 3; i++) {
            CHECK_EQ(lots_op_state(&ops[i]), LOTS_NORMAL);
            CHECK_EQ(lots_op_poll(&ops[i]), LOTS_READY);
            CHECK_EQ(lots_op_release(&ops[i], 0, NULL), LOTS_READY);
        }
        nobody_is_left();
    }
}

/* Two locks whose queues share a bucket: who is woken for one of them does not release the other. */
static void two_locks_of_one_bucket_have_one_woken_each(void)
{
    static lots_word words[64 * LOT_BUCKETS];
    lots_word *locks[2] = {NULL, NULL};
    for (size_t i = 0; !locks[1]; i++)
        if (lot_bucket_of((uintptr_t)&words[i]) == lot_bucket_of((uintptr_t)&word))
            locks[locks[0] != NULL] = &words[i];
    for (int i = 0; i < 4; i++)
        expect_at(&ops[i], locks[i % 2], LOTS_MUTEX, NULL, 'x', here);
    CHECK_EQ(notify(2, 1), 2);
    CHECK_EQ(lots_op_state(&ops[0]), LOTS_NORMAL);
    CHECK_EQ(lots_op_state(&ops[1]), LOTS_NORMAL);
    CHECK_WORD(locks[1], 0);
    CHECK_EQ(notify(2, 1), 2);
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(lots_op_state(&ops[i]), LOTS_NORMAL);
        CHECK_EQ(lots_op_poll(&ops[i]), LOTS_READY);
        CHECK_EQ(lots_op_release(&ops[i], 0, NULL), LOTS_READY);
    }
    nobody_is_left();
}

/* Who is woken for one lock does not count for another. */
static void each_lock_has_one_woken_for_it(void)
{
    lots_word *locks[] = {near_word, near_word, &word, &word, near_word};
    for (int i = 0; i < 5; i++)
        expect_at(&ops[i], locks[i], LOTS_MUTEX, NULL, 'x', here);
    CHECK_EQ(notify(9, 1), 5);
    CHECK_EQ(lots_op_state(&ops[0]), LOTS_NORMAL);
    CHECK_EQ(lots_op_state(&ops[1]), LOTS_QUEUED);
    CHECK_EQ(lots_op_state(&ops[2]), LOTS_NORMAL);
    CHECK_EQ(lots_op_state(&ops[3]), LOTS_QUEUED);
    CHECK_WORD(&word, 1);
    CHECK_WORD(near_word, 1);
    for (int i = 0; i < 5; i++)
        gives_up_the_lock(i); /* and the wake goes on to the next */
    nobody_is_left();
}

static void a_crowd_for_an_open_lock_is_more_than_one_batch(void)
{
    for (int near = 0; near < 2; near++) {
        for (int i = 0; i < MOST; i++)
            expect_at(&ops[i], near ? near_word : &word, LOTS_READ, NULL, 'x', here);
        CHECK_EQ(notify(SIZE_MAX, 1), MOST);
        for (int i = 0; i < MOST; i++) {
            CHECK_EQ(lots_op_state(&ops[i]), LOTS_NORMAL);
            CHECK_EQ(lots_op_poll(&ops[i]), LOTS_READY);
            CHECK_EQ(lots_op_release(&ops[i], 0, NULL), LOTS_READY);
        }
        nobody_is_left();
    }
}

/* Who is aside comes when its handlers are through, and nobody is to wait for that. */
static void who_is_aside_is_not_who_a_writer_waits_for(void)
{
    for (int i = 0; i < 3; i++)
        expect_at(&ops[i], &word, LOTS_MUTEX, NULL, 'x', here);
    CHECK_EQ(step_aside(op_waiter(&ops[0])), 1);
    CHECK_EQ(notify(3, 1), 3);
    CHECK_EQ(lots_op_state(&ops[0]), LOTS_NORMAL);
    CHECK_EQ(lots_op_state(&ops[1]), LOTS_NORMAL);
    CHECK_EQ(lots_op_state(&ops[2]), LOTS_QUEUED);
    for (int i = 2; i >= 0; i--) {
        gives_up_the_lock(i);
        CHECK_WORD(&word, 0);
    }
    nobody_is_left();
}

/* A handler of a signal may want the lock: it is told, and never put into the lock's queue. */
static void who_is_aside_is_woken_though_the_lock_is_held(void)
{
    CHECK_EQ(lots_try(&word, LOTS_WRITE), 1);
    expect_at(&ops[0], &word, LOTS_READ, NULL, 'a', here);
    CHECK_EQ(step_aside(op_waiter(&ops[0])), 1);
    CHECK_EQ(notify(1, 4), 1);
    CHECK_EQ(lots_op_state(&ops[0]), LOTS_NORMAL);
    CHECK_WORD(&word, 8);
    CHECK_EQ(step_aside(op_waiter(&ops[0])), 0); /* it has been told */
    CHECK_EQ(lots_op_wait(&ops[0], 0), LOTS_TIMED_OUT);
    CHECK_EQ(lots_op_notified(&ops[0]), 1);
    expect_at(&ops[0], &word, LOTS_READ, NULL, 'a', here);
    CHECK_EQ(step_aside(op_waiter(&ops[0])), 1);
    step_back(op_waiter(&ops[0]));
    CHECK_EQ(notify(1, 4), 1);
    CHECK_EQ(lots_op_state(&ops[0]), LOTS_QUEUED);
    CHECK_WORD(&word, 9);
    CHECK_EQ(step_aside(op_waiter(&ops[0])), 0); /* it is in the lock's queue already */
    CHECK_EQ(lots_release(&word, LOTS_WRITE, 1, NULL), LOTS_READY);
    CHECK_EQ(lots_op_poll(&ops[0]), LOTS_READY);
    CHECK_EQ(lots_op_release(&ops[0], 0, NULL), LOTS_READY);
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
    RUN(mail_to_the_callers_own_loop_rings_nothing);
    RUN(who_gives_up_passes_it_on_who_times_out_keeps_it);
    RUN(it_is_passed_on_to_no_one_who_asks_for_a_lock);
    RUN(only_a_thread_has_a_parker);
    RUN(waiting_with_a_deadline);
    RUN(of_a_crowd_that_asks_for_a_mutex_one_is_woken);
    RUN(who_asks_for_a_held_lock_sleeps_on);
    RUN(readers_are_woken_together_writers_one_by_one);
    RUN(a_reader_is_not_who_a_writer_waits_for);
    RUN(each_lock_has_one_woken_for_it);
    RUN(two_locks_of_one_bucket_have_one_woken_each);
    RUN(a_crowd_for_an_open_lock_is_more_than_one_batch);
    RUN(who_is_aside_is_woken_though_the_lock_is_held);
    RUN(who_is_aside_is_not_who_a_writer_waits_for);
    lots_mailbox_close(m);
    lots_mailbox_free(m);
    return 0;
}
