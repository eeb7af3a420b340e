/* A wake must reach somebody who can run: loops that are late, blocked, or closed.
 *
 * `late` is a loop of which nobody polls; whoever gets the lock in spite of it is a thread. How long a revocation takes is
 * not tested, only that it comes. */
#include "steps.h"

#define SOON 4000000 /* ns until a wake that was not taken up is revoked */

static void queue_task(lots_op *op, uint32_t mode, char cookie)
{
    task(op, &word, mode, m, cookie);
    CHECK_EQ(lots_op_poll(op), LOTS_PARKED);
}

static void queue_thread(actor *a, uint32_t mode, size_t position)
{
    start(a, &word, mode);
    parked(&word, position);
}

static void begin(int64_t revoke_after)
{
    lots_revoke_after(revoke_after);
    m = lots_mailbox_new();
}

static void end(void)
{
    CHECK_WORD(&word, 0);
    CHECK_EQ(lots_for_each(NULL, NULL, 0), 0);
    lots_mailbox_close(m);
    lots_mailbox_free(m);
}

static lots_waiter_info the_one_waiter(void)
{
    lots_waiter_info info;
    CHECK_EQ(lots_for_each(&word, &info, 1), 1);
    return info;
}

/* --- late -------------------------------------------------------------------------------------------------------- */

static void a_late_task_loses_its_wake_to_a_thread(void)
{
    for (int fair = 0; fair < 2; fair++) { /* a NORMAL wake, and a HANDOFF */
        uint64_t before = lots_revocations();
        lots_op late;
        actor thread;
        begin(SOON);
        hold(LOTS_MUTEX);
        queue_task(&late, LOTS_MUTEX, 'a');
        queue_thread(&thread, LOTS_MUTEX, 2);
        CHECK_WORD(&word, 0x09);
        CHECK_EQ(lots_release(&word, LOTS_MUTEX, fair, NULL), LOTS_READY);
        CHECK_EQ(finish(&thread), LOTS_READY);
        CHECK_WORD(&word, 0x09);
        CHECK_EQ(lots_revocations(), before + 1);
        CHECK_EQ(lots_op_state(&late), LOTS_QUEUED);
        CHECK_EQ(the_one_waiter().skipped, 1);
        let_go(&thread.op, 0x01); /* passed over again: its loop has not run yet */
        CHECK_EQ(lots_op_state(&late), LOTS_QUEUED);
        CHECK_STR(mail(m, 1), "a"); /* now it does */
        poll_ready(&late, 0x08);
        let_go(&late, 0);
        end();
    }
}

static void a_late_task_comes_back_to_its_old_place(void)
{
    lots_waiter_info info[2];
    lots_op late, second;
    actor thread;
    begin(SOON);
    hold(LOTS_MUTEX);
    queue_task(&late, LOTS_MUTEX, 'a');
    queue_thread(&thread, LOTS_MUTEX, 2);
    queue_task(&second, LOTS_MUTEX, 'b');
    release(LOTS_MUTEX, 1, 0x09);
    CHECK_EQ(finish(&thread), LOTS_READY);
    CHECK_STR(mail(m, 1), "a");
    CHECK_EQ(lots_op_poll(&late), LOTS_PARKED); /* the loop runs again */
    CHECK_EQ(lots_for_each(&word, info, 2), 2);
    CHECK_EQ(info[0].cookie, 'a');
    CHECK_EQ(info[1].cookie, 'b');
    lots_revoke_after(INT64_MAX / 2);
    CHECK_EQ(lots_op_release(&thread.op, 1, NULL), LOTS_READY);
    CHECK_EQ(lots_op_state(&late), LOTS_HANDOFF);
    CHECK_EQ(lots_op_state(&second), LOTS_QUEUED);
    poll_ready(&late, 0x09);
    CHECK_EQ(lots_op_release(&late, 1, NULL), LOTS_READY);
    poll_ready(&second, 0x08);
    let_go(&second, 0);
    end();
}

static void a_late_writer_that_drained_loses_the_lock(void)
{
    lots_op late;
    actor reader;
    begin(SOON);
    hold(LOTS_READ);
    queue_task(&late, LOTS_WRITE, 'a');
    queue_thread(&reader, LOTS_READ, 2);
    CHECK_WORD(&word, 0x1b);
    release(LOTS_READ, 0, 0x09); /* it owns the lock, and does not know */
    CHECK_EQ(finish(&reader), LOTS_READY);
    CHECK_WORD(&word, 0x11);
    CHECK_STR(mail(m, 1), "a");
    CHECK_EQ(lots_op_poll(&late), LOTS_PARKED); /* begins again: takes WRITER, drains */
    CHECK_WORD(&word, 0x1a);
    let_go(&reader.op, 0x08);
    poll_ready(&late, 0x08);
    let_go(&late, 0);
    end();
}

static void a_late_reader_keeps_no_writer_out(void)
{
    lots_op late;
    actor writer;
    begin(SOON);
    hold(LOTS_WRITE);
    queue_task(&late, LOTS_READ, 'a');
    queue_thread(&writer, LOTS_WRITE, 2);
    CHECK_EQ(lots_release(&word, LOTS_WRITE, 1, NULL), LOTS_READY); /* 0x18: in together, so the writer drains it */
    CHECK_EQ(finish(&writer), LOTS_READY);
    CHECK_WORD(&word, 0x09);
    let_go(&writer.op, 0x01);
    poll_ready(&late, 0x10);
    let_go(&late, 0);
    end();
}

/* When one task of a loop shows that it runs, all that were passed over are nudged: they get mail, and look. */
static void the_first_to_run_revives_the_others(void)
{
    lots_op late, second;
    actor thread;
    begin(SOON);
    hold(LOTS_MUTEX);
    queue_task(&late, LOTS_MUTEX, 'a');
    queue_task(&second, LOTS_MUTEX, 'b');
    queue_thread(&thread, LOTS_MUTEX, 3);
    release(LOTS_MUTEX, 1, 0x09);
    CHECK_EQ(finish(&thread), LOTS_READY);
    CHECK_WORD(&word, 0x09);
    lots_revoke_after(INT64_MAX / 2);
    CHECK_STR(mail(m, 1), "a");
    let_go(&thread.op, 0x01); /* both are passed over, and the lock is free */
    CHECK_EQ(lots_op_state(&late), LOTS_QUEUED);
    CHECK_EQ(lots_op_state(&second), LOTS_QUEUED);
    CHECK_EQ(rings(m), 0);
    poll_ready(&late, 0x09);
    CHECK_EQ(rings(m), 1);
    CHECK_STR(mail(m, 1), "b");
    CHECK_EQ(lots_op_poll(&second), LOTS_PARKED);
    CHECK_WORD(&word, 0x09);
    let_go(&late, 0x00);
    poll_ready(&second, 0x08);
    let_go(&second, 0);
    end();
}

/* A cancellation is a sign of life as good as a poll. */
static void a_late_task_that_is_cancelled_revives_the_others(void)
{
    lots_op late, second;
    actor thread;
    begin(SOON);
    hold(LOTS_MUTEX);
    queue_task(&late, LOTS_MUTEX, 'a');
    queue_task(&second, LOTS_MUTEX, 'b');
    queue_thread(&thread, LOTS_MUTEX, 3);
    release(LOTS_MUTEX, 0, 0x01);
    CHECK_EQ(finish(&thread), LOTS_READY);
    lots_revoke_after(INT64_MAX / 2);
    let_go(&thread.op, 0x01);
    CHECK_EQ(lots_op_cancel(&late, LOTS_BY_CANCEL, m), LOTS_WITHDRAWN);
    CHECK_WORD(&word, 0x01);
    CHECK_STR(mail(m, 1), "b");
    poll_ready(&second, 0x08);
    let_go(&second, 0);
    end();
}

/* Both were woken and scheduled, then their loop was late. The first to run gets the second nudged; but that one was
 * scheduled before, looks now, and ends before its loop comes to drain. Its mail must not outlive it. */
static void a_nudge_does_not_outlive_its_op(void)
{
    lots_op late, *second = malloc(sizeof *second);
    begin(SOON);
    hold(LOTS_WRITE);
    queue_task(&late, LOTS_READ, 'a');
    queue_task(second, LOTS_READ, 'b');
    release(LOTS_WRITE, 0, 0);
    CHECK_STR(mail(m, 1), "ab");
    UNTIL(lots_op_state(&late) == LOTS_QUEUED && lots_op_state(second) == LOTS_QUEUED);
    CHECK_WORD(&word, 0x01);
    poll_ready(&late, 0x11);
    poll_ready(second, 0x20);
    CHECK_EQ(lots_op_release(second, 0, m), LOTS_READY);
    memset(second, 'X', sizeof *second);
    free(second);
    CHECK_STR(mail(m, 1), "");
    let_go(&late, 0);
    end();
}

/* --- blocked ------------------------------------------------------------------------------------------------------ */

static void a_blocked_loop_is_passed_over_and_nudged_afterwards(void)
{
    lots_op a;
    actor thread;
    begin(INT64_MAX / 2);
    hold(LOTS_MUTEX);
    queue_task(&a, LOTS_MUTEX, 'a');
    queue_thread(&thread, LOTS_MUTEX, 2);
    lots_mailbox_block(m);
    CHECK_WORD(&word, 0x09);
    CHECK_EQ(lots_release(&word, LOTS_MUTEX, 1, NULL), LOTS_READY);
    CHECK_WORD(&word, 0x09); /* the thread has it */
    CHECK_EQ(finish(&thread), LOTS_READY);
    CHECK_EQ(the_one_waiter().skipped, 1);
    let_go(&thread.op, 0x01);
    CHECK_EQ(lots_op_state(&a), LOTS_QUEUED);
    CHECK_EQ(rings(m), 0);
    CHECK_STR(mail(m, 0), "");
    lots_mailbox_block(m);
    lots_mailbox_unblock(m); /* a depth: blocked still */
    CHECK_STR(mail(m, 0), "");
    lots_mailbox_unblock(m);
    CHECK_EQ(rings(m), 1);
    CHECK_STR(mail(m, 1), "a");
    CHECK_WORD(&word, 0x01);
    poll_ready(&a, 0x08);
    let_go(&a, 0);
    end();
}

static void blocking_recalls_what_was_not_taken_up(void)
{
    for (int fair = 0; fair < 2; fair++) {
        uint64_t before = lots_revocations();
        lots_op a;
        actor thread;
        begin(INT64_MAX / 2);
        hold(LOTS_MUTEX);
        queue_task(&a, LOTS_MUTEX, 'a');
        queue_thread(&thread, LOTS_MUTEX, 2);
        release(LOTS_MUTEX, fair, fair ? 0x09 : 0x01);
        CHECK_EQ(lots_op_state(&a), fair ? LOTS_HANDOFF : LOTS_NORMAL);
        lots_mailbox_block(m); /* the loop's thread is about to sleep, for this very lock it may be */
        CHECK_EQ(finish(&thread), LOTS_READY);
        CHECK_WORD(&word, 0x09);
        CHECK_EQ(lots_op_state(&a), LOTS_QUEUED);
        CHECK_EQ(lots_revocations(), before + 1);
        let_go(&thread.op, 0x01);
        lots_mailbox_unblock(m);
        CHECK_STR(mail(m, 1), "a");
        poll_ready(&a, 0x08);
        let_go(&a, 0);
        end();
    }
}

/* R21: else it would keep out those who could run, its own loop's thread among them, for a lock that it cannot use. */
static void a_writer_of_a_blocked_loop_does_not_go_on_draining(void)
{
    lots_op a;
    actor reader;
    begin(INT64_MAX / 2);
    hold(LOTS_READ);
    queue_task(&a, LOTS_WRITE, 'a');
    queue_thread(&reader, LOTS_READ, 2);
    CHECK_WORD(&word, 0x1b);
    lots_mailbox_block(m);
    CHECK_EQ(finish(&reader), LOTS_READY);
    CHECK_WORD(&word, 0x21); /* it queues to enter again */
    CHECK_EQ(the_one_waiter().draining, 0);
    CHECK_EQ(the_one_waiter().skipped, 1);
    release(LOTS_READ, 0, 0x11);
    let_go(&reader.op, 0x01);
    CHECK_STR(mail(m, 1), "");
    lots_mailbox_unblock(m);
    CHECK_STR(mail(m, 1), "a");
    poll_ready(&a, 0x08);
    let_go(&a, 0);
    end();
}

/* And one that comes to drain while its loop is blocked: another thread polls for it. */
static void a_writer_of_a_blocked_loop_is_not_handed_the_lock_when_it_has_drained(void)
{
    lots_op a;
    actor reader;
    begin(INT64_MAX / 2);
    hold(LOTS_READ);
    lots_mailbox_block(m);
    queue_task(&a, LOTS_WRITE, 'a');
    queue_thread(&reader, LOTS_READ, 2);
    CHECK_WORD(&word, 0x1b);
    CHECK_EQ(lots_release(&word, LOTS_READ, 0, NULL), LOTS_READY);
    CHECK_EQ(finish(&reader), LOTS_READY);
    CHECK_WORD(&word, 0x11);
    let_go(&reader.op, 0x01);
    lots_mailbox_unblock(m);
    poll_ready(&a, 0x08);
    let_go(&a, 0);
    end();
}

/* --- closed ------------------------------------------------------------------------------------------------------- */

static void is_closed(lots_op *op)
{
    CHECK_EQ(lots_op_state(op), LOTS_GONE);
    CHECK_EQ(lots_op_poll(op), LOTS_CLOSED);
    CHECK_EQ(lots_op_cancel(op, LOTS_BY_CANCEL, NULL), LOTS_MISUSE);
    CHECK_EQ(lots_op_release(op, 0, NULL), LOTS_MISUSE);
}

static void closing_withdraws_those_who_queue(void)
{
    lots_op a, b, late;
    begin(INT64_MAX / 2);
    hold(LOTS_READ);
    queue_task(&a, LOTS_WRITE, 'a');
    queue_task(&b, LOTS_READ, 'b');
    CHECK_WORD(&word, 0x1b);
    lots_mailbox_close(m);
    CHECK_WORD(&word, 0x10);
    is_closed(&a);
    is_closed(&b);
    CHECK_STR(mail(m, 1), "");
    task(&late, &word, LOTS_WRITE, m, 'c');
    CHECK_EQ(lots_op_poll(&late), LOTS_CLOSED); /* took WRITER, would have to queue, gave it back */
    CHECK_WORD(&word, 0x10);
    is_closed(&late);
    task(&late, &word, LOTS_READ, m, 'c');
    CHECK_EQ(lots_op_poll(&late), LOTS_READY); /* what needs no waiting needs no loop */
    CHECK_WORD(&word, 0x20);
    let_go(&late, 0x10);
    release(LOTS_READ, 0, 0);
    end();
}

static void closing_passes_wakes_on(void)
{
    for (int fair = 0; fair < 2; fair++) {
        lots_op a;
        actor thread;
        begin(INT64_MAX / 2);
        hold(LOTS_MUTEX);
        queue_task(&a, LOTS_MUTEX, 'a');
        queue_thread(&thread, LOTS_MUTEX, 2);
        release(LOTS_MUTEX, fair, fair ? 0x09 : 0x01);
        lots_mailbox_close(m);
        CHECK_EQ(finish(&thread), LOTS_READY);
        CHECK_WORD(&word, 0x08);
        is_closed(&a);
        let_go(&thread.op, 0);
        end();
    }
}

static void closing_lets_a_crowd_behind_its_writer_in(void)
{
    enum { MANY = BATCH_THREADS + 8 };
    static actor crowd[MANY];
    lots_op a;
    begin(INT64_MAX / 2);
    hold(LOTS_READ);
    queue_task(&a, LOTS_WRITE, 'a');
    for (int i = 0; i < MANY; i++)
        start(&crowd[i], &word, LOTS_READ);
    parked(&word, MANY + 1);
    lots_mailbox_close(m);
    for (int i = 0; i < MANY; i++)
        CHECK_EQ(finish(&crowd[i]), LOTS_READY);
    CHECK_WORD(&word, 0x10 * (MANY + 1));
    is_closed(&a);
    for (int i = 0; i < MANY; i++)
        CHECK_EQ(lots_op_release(&crowd[i].op, 0, NULL), LOTS_READY);
    release(LOTS_READ, 0, 0);
    end();
}

/* R20: a loop that has stopped, and is closed only later. */
static void a_late_crowd_is_revoked_and_then_closed(void)
{
    enum { MANY = 40 };
    static lots_op crowd[MANY];
    actor writer;
    begin(SOON);
    hold(LOTS_WRITE);
    for (int i = 0; i < MANY; i++)
        queue_task(&crowd[i], LOTS_READ, 'a');
    queue_thread(&writer, LOTS_WRITE, MANY + 1);
    CHECK_EQ(lots_release(&word, LOTS_WRITE, 1, NULL), LOTS_READY);
    CHECK_EQ(finish(&writer), LOTS_READY); /* every share was taken back */
    CHECK_WORD(&word, 0x09);
    lots_mailbox_close(m);
    CHECK_WORD(&word, 0x08);
    for (int i = 0; i < MANY; i++)
        is_closed(&crowd[i]);
    let_go(&writer.op, 0);
    end();
}

int main(void)
{
    watchdog(30);
    RUN(a_late_task_loses_its_wake_to_a_thread);
    RUN(a_late_task_comes_back_to_its_old_place);
    RUN(a_late_writer_that_drained_loses_the_lock);
    RUN(a_late_reader_keeps_no_writer_out);
    RUN(the_first_to_run_revives_the_others);
    RUN(a_late_task_that_is_cancelled_revives_the_others);
    RUN(a_nudge_does_not_outlive_its_op);
    RUN(a_blocked_loop_is_passed_over_and_nudged_afterwards);
    RUN(blocking_recalls_what_was_not_taken_up);
    RUN(a_writer_of_a_blocked_loop_does_not_go_on_draining);
    RUN(a_writer_of_a_blocked_loop_is_not_handed_the_lock_when_it_has_drained);
    RUN(closing_withdraws_those_who_queue);
    RUN(closing_passes_wakes_on);
    RUN(closing_lets_a_crowd_behind_its_writer_in);
    RUN(a_late_crowd_is_revoked_and_then_closed);
    return 0;
}
