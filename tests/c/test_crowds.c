/* More threads than one batch wakes, let in by whoever opens the lock: a release, the last reader, a cancel, and the three
 * walks over the buckets. Nobody sleeps: a thread's op is polled by hand. Threads that are left in the queue of an open lock
 * would sleep for ever. */
#include "steps.h"

#include "revoke.h"

enum { MOST = 3 * BATCH_THREADS + 1 };
static lots_op crowd[MOST], task_a, task_b;
static const int sizes[] = {1, BATCH_THREADS - 1, BATCH_THREADS, BATCH_THREADS + 1, 2 * BATCH_THREADS, MOST};
#define SIZES ((int)(sizeof sizes / sizeof *sizes))

static void begin(void)
{
    m = lots_mailbox_new();
    set_fairness(&word, FAIR_NEVER);
}

static void end(void)
{
    mail(m, 1);
    CHECK_WORD(&word, 0);
    CHECK_EQ(lots_for_each(NULL, NULL, 0), 0);
    lots_mailbox_close(m);
    lots_mailbox_free(m);
}

/* So many threads queue to read. */
static void queue_crowd(int size)
{
    for (int i = 0; i < size; i++) {
        lots_op_init(&crowd[i], &word, LOTS_READ, NULL, 0, 0);
        CHECK_EQ(lots_op_poll(&crowd[i]), LOTS_PARKED);
    }
}

/* All of them were woken. They come in, and go. */
static void crowd_comes_in(int size)
{
    uint64_t before;
    for (int i = 0; i < size; i++)
        CHECK(lots_op_state(&crowd[i]) == LOTS_NORMAL || lots_op_state(&crowd[i]) == LOTS_HANDOFF);
    for (int i = 0; i < size; i++)
        CHECK_EQ(lots_op_poll(&crowd[i]), LOTS_READY);
    before = lots_word_load(&word);
    CHECK(before >> 4 >= (uint64_t)size);
    for (int i = 0; i < size; i++)
        CHECK_EQ(lots_op_release(&crowd[i], 0, NULL), LOTS_READY);
    CHECK_WORD(&word, before - 0x10 * (uint64_t)size);
}

static void a_release_lets_all_in(void)
{
    for (int i = 0; i < SIZES; i++)
        for (int fair = 0; fair < 2; fair++) {
            begin();
            hold(LOTS_WRITE);
            queue_crowd(sizes[i]);
            CHECK_EQ(lots_release(&word, LOTS_WRITE, fair, NULL), LOTS_READY);
            CHECK(!(lots_word_load(&word) & 1));
            for (int j = 0; j < sizes[i]; j++) /* the first batch gets what is given up */
                CHECK_EQ(lots_op_state(&crowd[j]), fair && j < BATCH_THREADS ? LOTS_HANDOFF : LOTS_NORMAL);
            crowd_comes_in(sizes[i]);
            end();
        }
}

/* Any number of tasks: only threads fill a batch. */
static void tasks_behind_a_full_batch_belong_to_it(void)
{
    static lots_op tasks[MOST];
    begin();
    hold(LOTS_WRITE);
    for (int i = 0; i < BATCH_THREADS; i++)
        queue(&tasks[i], LOTS_READ, 'a', 0x09);
    queue_crowd(BATCH_THREADS);
    for (int i = BATCH_THREADS; i < MOST; i++)
        queue(&tasks[i], LOTS_READ, 'a', 0x09);
    release(LOTS_WRITE, 1, 0x10 * (BATCH_THREADS + MOST));
    for (int i = 0; i < MOST; i++) {
        CHECK_EQ(lots_op_state(&tasks[i]), LOTS_HANDOFF);
        CHECK_EQ(lots_op_poll(&tasks[i]), LOTS_READY);
        CHECK_EQ(lots_op_release(&tasks[i], 0, NULL), LOTS_READY);
    }
    crowd_comes_in(BATCH_THREADS);
    end();
}

static void a_cancel_of_the_writer_before_them_lets_all_in(void)
{
    for (int i = 0; i < SIZES; i++) {
        begin();
        hold(LOTS_READ);
        queue(&task_a, LOTS_WRITE, 'a', 0x1a);
        queue_crowd(sizes[i]);
        cancel(&task_a, LOTS_BY_CANCEL, LOTS_WITHDRAWN, 0x10);
        crowd_comes_in(sizes[i]);
        release(LOTS_READ, 0, 0);
        end();
    }
}

/* The wake was for them. */
static void a_cancel_after_a_wake_lets_all_in(void)
{
    for (int i = 0; i < SIZES; i++)
        for (int fair = 0; fair < 2; fair++) {
            begin();
            hold(LOTS_WRITE);
            queue(&task_a, LOTS_WRITE, 'a', 0x09);
            queue_crowd(sizes[i]);
            release(LOTS_WRITE, fair, fair ? 0x09 : 0x01);
            cancel(&task_a, LOTS_BY_CANCEL, LOTS_WITHDRAWN, 0);
            crowd_comes_in(sizes[i]);
            end();
        }
}

/* `m` is unresponsive: one of its tasks, of another lock, did not take up its wake. */
static void make_unresponsive(lots_word *other)
{
    CHECK_EQ(lots_try(other, LOTS_MUTEX), 1);
    task(&task_b, other, LOTS_MUTEX, m, 'b');
    CHECK_EQ(lots_op_poll(&task_b), LOTS_PARKED);
    CHECK_EQ(lots_release(other, LOTS_MUTEX, 1, NULL), LOTS_READY);
    CHECK_EQ(revoke_late(INT64_MAX, 1), 1);
    CHECK_EQ(lots_op_state(&task_b), LOTS_QUEUED);
    CHECK(mailbox_cannot_run(m));
}

static void the_last_reader_before_a_writer_that_cannot_run_lets_all_in(void)
{
    for (int i = 0; i < SIZES; i++)
        for (int from_handoff = 0; from_handoff < 2; from_handoff++) {
            static lots_word other;
            lots_op share;
            begin();
            hold(LOTS_WRITE);
            lots_op_init(&share, &word, LOTS_READ, NULL, 0, 0);
            CHECK_EQ(lots_op_poll(&share), LOTS_PARKED);
            release(LOTS_WRITE, 1, 0x10); /* handed to the reader */
            if (!from_handoff)
                CHECK_EQ(lots_op_poll(&share), LOTS_READY);
            queue(&task_a, LOTS_WRITE, 'a', 0x1a);
            queue_crowd(sizes[i]);
            make_unresponsive(&other);
            if (from_handoff) /* given back, never taken up */
                CHECK_EQ(lots_op_cancel(&share, LOTS_BY_CANCEL, NULL), LOTS_WITHDRAWN);
            else
                CHECK_EQ(lots_op_release(&share, 0, NULL), LOTS_READY);
            CHECK_WORD(&word, 0x01);
            crowd_comes_in(sizes[i]);
            CHECK_WORD(&word, 0x01);
            CHECK_EQ(lots_op_poll(&task_b), LOTS_READY); /* the loop is back, and nudges the writer */
            CHECK_STR(mail(m, 1), "a");
            CHECK_EQ(lots_op_release(&task_b, 0, NULL), LOTS_READY);
            poll_ready(&task_a, 0x08);
            let_go(&task_a, 0);
            end();
        }
}

/* --- the walks -------------------------------------------------------------------------------------------------------- */

static void a_late_writer_lets_all_in(void)
{
    for (int i = 0; i < SIZES; i++)
        for (int fair = 0; fair < 2; fair++) { /* it owns, or was only told */
            begin();
            hold(LOTS_WRITE);
            queue(&task_a, LOTS_WRITE, 'a', 0x09);
            queue_crowd(sizes[i]);
            release(LOTS_WRITE, fair, fair ? 0x09 : 0x01);
            CHECK_EQ(revoke_late(INT64_MAX, fair), 1);
            CHECK_WORD(&word, 0x01);
            crowd_comes_in(sizes[i]);
            poll_ready(&task_a, 0x08);
            CHECK(!mailbox_cannot_run(m));
            let_go(&task_a, 0);
            end();
        }
}

static void blocking_a_loop_lets_all_in_behind_its_writer(void)
{
    for (int i = 0; i < SIZES; i++)
        for (int how = 0; how < 3; how++) { /* it drains, it was handed the lock, it was only told */
            begin();
            hold(how ? LOTS_WRITE : LOTS_READ);
            queue(&task_a, LOTS_WRITE, 'a', how ? 0x09 : 0x1a);
            queue_crowd(sizes[i]);
            if (how)
                release(LOTS_WRITE, how == 1, how == 1 ? 0x09 : 0x01);
            lots_mailbox_block(m);
            CHECK_WORD(&word, how ? 0x01 : 0x11);
            crowd_comes_in(sizes[i]);
            if (!how)
                release(LOTS_READ, 0, 0x01);
            lots_mailbox_unblock(m);
            CHECK(strchr(mail(m, 1), 'a') != NULL);
            poll_ready(&task_a, 0x08);
            let_go(&task_a, 0);
            end();
        }
}

static void closing_a_loop_lets_all_in_behind_its_writer(void)
{
    for (int i = 0; i < SIZES; i++)
        for (int how = 0; how < 3; how++) {
            begin();
            hold(how ? LOTS_WRITE : LOTS_READ);
            queue(&task_a, LOTS_WRITE, 'a', how ? 0x09 : 0x1a);
            queue_crowd(sizes[i]);
            if (how)
                release(LOTS_WRITE, how == 1, how == 1 ? 0x09 : 0x01);
            lots_mailbox_close(m);
            CHECK_EQ(lots_op_state(&task_a), LOTS_GONE);
            CHECK_WORD(&word, how ? 0 : 0x10);
            CHECK_STR(mail(m, 1), "");
            crowd_comes_in(sizes[i]);
            if (!how)
                release(LOTS_READ, 0, 0);
            end();
        }
}

/* Two locks of one bucket, each with a crowd behind a writer of the same loop. */
static void a_walk_finishes_one_lock_before_the_next(void)
{
    static lots_word words[4 * LOT_BUCKETS];
    static lots_op second[MOST];
    lots_word *other = NULL;
    for (size_t i = 1; i < sizeof words / sizeof *words && !other; i++)
        if (lot_bucket_of((uintptr_t)&words[i]) == lot_bucket_of((uintptr_t)&word))
            other = &words[i];
    CHECK(other != NULL);
    for (int how = 0; how < 3; how++) {
        begin();
        hold(LOTS_WRITE);
        CHECK_EQ(lots_try(other, LOTS_WRITE), 1);
        queue(&task_a, LOTS_WRITE, 'a', 0x09);
        queue_crowd(MOST);
        task(&task_b, other, LOTS_WRITE, m, 'b');
        CHECK_EQ(lots_op_poll(&task_b), LOTS_PARKED);
        for (int i = 0; i < MOST; i++) {
            lots_op_init(&second[i], other, LOTS_READ, NULL, 0, 0);
            CHECK_EQ(lots_op_poll(&second[i]), LOTS_PARKED);
        }
        release(LOTS_WRITE, 1, 0x09);
        CHECK_EQ(lots_release(other, LOTS_WRITE, 1, NULL), LOTS_READY);
        if (how == 0)
            CHECK_EQ(revoke_late(INT64_MAX, 1), 1);
        else
            how == 1 ? lots_mailbox_block(m) : lots_mailbox_close(m);
        crowd_comes_in(MOST);
        for (int i = 0; i < MOST; i++) {
            CHECK_EQ(lots_op_poll(&second[i]), LOTS_READY);
            CHECK_EQ(lots_op_release(&second[i], 0, NULL), LOTS_READY);
        }
        if (how < 2) {
            CHECK_EQ(lots_op_cancel(&task_a, LOTS_BY_CANCEL, NULL), LOTS_WITHDRAWN);
            CHECK_EQ(lots_op_cancel(&task_b, LOTS_BY_CANCEL, NULL), LOTS_WITHDRAWN);
        }
        CHECK_WORD(other, 0);
        end();
    }
}

int main(void)
{
    watchdog(60);
    lots_revoke_after(INT64_MAX / 2); /* late is who revoke_late is called for */
    RUN(a_release_lets_all_in);
    RUN(tasks_behind_a_full_batch_belong_to_it);
    RUN(a_cancel_of_the_writer_before_them_lets_all_in);
    RUN(a_cancel_after_a_wake_lets_all_in);
    RUN(the_last_reader_before_a_writer_that_cannot_run_lets_all_in);
    RUN(a_late_writer_lets_all_in);
    RUN(blocking_a_loop_lets_all_in_behind_its_writer);
    RUN(closing_a_loop_lets_all_in_behind_its_writer);
    RUN(a_walk_finishes_one_lock_before_the_next);
    return 0;
}
