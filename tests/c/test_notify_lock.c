/* Notifications of those who then ask for a lock: woken for it, or put into its queue; and who steps aside. */
#include "notifying.h"

#include "notify.h"

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

/* It arrives at the lock now, behind those who are there, however long it has waited to be told. */
static void who_was_told_queues_behind_those_who_are_there(void)
{
    set_fairness(near_word, FAIR_NEVER);
    CHECK_EQ(lots_try(near_word, LOTS_MUTEX), 1);
    expect_at(&ops[0], near_word, LOTS_MUTEX, NULL, 'a', here);
    lots_op_init(&ops[1], near_word, LOTS_MUTEX, NULL, 'b', 0);
    CHECK_EQ(lots_op_poll(&ops[1]), LOTS_PARKED);
    CHECK_EQ(notify(1, 5), 1);
    for (int i = 1; i >= 0; i--) {
        CHECK_EQ(lots_release(near_word, LOTS_MUTEX, 1, NULL), LOTS_READY);
        CHECK_EQ(lots_op_state(&ops[i]), LOTS_HANDOFF);
        CHECK_EQ(lots_op_poll(&ops[i]), LOTS_READY);
    }
    CHECK_EQ(lots_op_release(&ops[0], 0, NULL), LOTS_READY);
    CHECK_WORD(near_word, 0);
    nobody_is_left();
}

/* A task that is woken for a lock is watched in the lock's bucket, and found there. */
static void a_task_that_is_woken_for_a_lock_is_found(void)
{
    for (int near = 0; near < 2; near++) {
        expect_at(&ops[0], near ? near_word : &word, LOTS_READ, m, 'a', here);
        CHECK_EQ(notify(1, 5), 1);
        CHECK_EQ(lots_for_each(near ? near_word : &word, NULL, 0), 1);
        CHECK_EQ(lots_op_poll(&ops[0]), LOTS_READY);
        CHECK_EQ(lots_for_each(NULL, NULL, 0), 0);
        CHECK_EQ(lots_op_release(&ops[0], 0, NULL), LOTS_READY);
        nobody_is_left();
    }
}

static void so_many_and_no_more_in_several_batches(void)
{
    for (int i = 0; i < MOST; i++)
        park(i, NULL);
    CHECK_EQ(notify(BATCH_THREADS + 3, 1), BATCH_THREADS + 3);
    CHECK_EQ(lots_op_state(&ops[BATCH_THREADS + 3]), LOTS_QUEUED);
    CHECK_EQ(notify(BATCH_THREADS, 1), BATCH_THREADS);
    CHECK_EQ(notify(SIZE_MAX, 1), MOST - 2 * BATCH_THREADS - 3);
    for (int i = 0; i < MOST; i++)
        is_told(i, 1);
    nobody_is_left();
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

/* The first who is told has it when it wakes; so who comes by is not before it, and the second is next. */
static void a_fair_mutex_that_is_open_is_given_to_the_first(void)
{
    for (int is_task = 0; is_task < 2; is_task++) {
        for (int i = 0; i < 3; i++)
            expect_at(&ops[i], &word, LOTS_FAIR_MUTEX, is_task ? m : NULL, (char)('a' + i), here);
        CHECK_EQ(notify(2, 6), 2);
        CHECK_WORD(&word, 0x09);
        CHECK_EQ(lots_try(&word, LOTS_FAIR_MUTEX), 0);
        CHECK_EQ(lots_op_state(&ops[0]), LOTS_HANDOFF);
        CHECK_EQ(lots_op_state(&ops[1]), LOTS_QUEUED);
        CHECK_EQ(notify(1, 6), 1);
        poll_ready(&ops[0], 0x09);
        let_go(&ops[0], 0x09);
        poll_ready(&ops[1], 0x09);
        CHECK_EQ(lots_op_cancel(&ops[2], LOTS_BY_CANCEL, NULL), LOTS_WITHDRAWN);
        let_go(&ops[1], 0);
        expect_at(&ops[0], &word, LOTS_FAIR_MUTEX, is_task ? m : NULL, 'a', here);
        CHECK_EQ(notify(1, 6), 1);
        CHECK_WORD(&word, 0x08);
        CHECK_EQ(lots_op_cancel(&ops[0], LOTS_BY_CANCEL, NULL), LOTS_WITHDRAWN); /* it is given back */
        CHECK_WORD(&word, 0);
    }
    expect_at(&ops[0], &word, LOTS_FAIR_MUTEX, NULL, 'a', here);
    CHECK_EQ(step_aside(op_waiter(&ops[0])), 1);
    CHECK_EQ(notify(1, 6), 1);
    CHECK_WORD(&word, 0); /* its handler may want the lock */
    poll_ready(&ops[0], 0x08);
    let_go(&ops[0], 0);
    nobody_is_left();
}

int main(void)
{
    watchdog(30);
    find_keys();
    m = lots_mailbox_new();
    RUN(of_a_crowd_that_asks_for_a_mutex_one_is_woken);
    RUN(who_was_told_queues_behind_those_who_are_there);
    RUN(a_task_that_is_woken_for_a_lock_is_found);
    RUN(so_many_and_no_more_in_several_batches);
    RUN(who_asks_for_a_held_lock_sleeps_on);
    RUN(readers_are_woken_together_writers_one_by_one);
    RUN(a_reader_is_not_who_a_writer_waits_for);
    RUN(each_lock_has_one_woken_for_it);
    RUN(two_locks_of_one_bucket_have_one_woken_each);
    RUN(a_crowd_for_an_open_lock_is_more_than_one_batch);
    RUN(who_is_aside_is_woken_though_the_lock_is_held);
    RUN(who_is_aside_is_not_who_a_writer_waits_for);
    RUN(a_fair_mutex_that_is_open_is_given_to_the_first);
    lots_mailbox_close(m);
    lots_mailbox_free(m);
    return 0;
}
