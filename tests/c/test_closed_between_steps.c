/* A loop that another thread closes in the middle of a verb of one of its tasks (stepping.h). */
#define _GNU_SOURCE
#include "stepping.h"

static lots_word word;
static lots_mailbox *m;
static lots_op op, other;
static int between; /* what it answered */

static void set(uint64_t bits) { word.bits = bits; }

static void release_read(void) { CHECK_EQ(lots_release(&word, LOTS_READ, 0, NULL), LOTS_READY); }
static void close_the_loop(void) { lots_mailbox_close(m); }

/* `queued`: the op is in the queue before. The verb: poll, or cancel. Whatever comes first, it ends GONE and in no queue. */
static int closed_at(int i, int queued, int (*verb)(lots_op *op))
{
    int answer, stepped;
    m = lots_mailbox_new();
    stepping(&word, m, close_the_loop);
    set(0x08);
    task(&op, &word, LOTS_READ, m, 'a');
    if (queued)
        CHECK_EQ(lots_op_poll(&op), LOTS_PARKED);
    stepped = STEPPED(i, answer = verb(&op));
    if (!stepped)
        close_the_loop();
    CHECK_EQ(lots_op_state(&op), LOTS_GONE);
    CHECK_WORD(&word, 0x08);
    CHECK_EQ(lots_for_each(NULL, NULL, 0), 0);
    CHECK_EQ(lot_bucket_of((uintptr_t)&word)->woken_count.value_, 0);
    CHECK_STR(mail(m, 0), "");
    CHECK_EQ(lots_op_poll(&op), LOTS_CLOSED);
    CHECK_EQ(lots_op_cancel(&op, LOTS_BY_CANCEL, NULL), LOTS_MISUSE);
    lots_mailbox_free(m);
    set(0);
    return stepped ? answer : -1;
}

static int give_up(lots_op *o) { return lots_op_cancel(o, LOTS_BY_CANCEL, NULL); }

static void a_poll_as_the_loop_is_closed(void)
{
    for (int queued = 0; queued < 2; queued++) {
        int answer, i = 1;
        for (; (answer = closed_at(i, queued, lots_op_poll)) >= 0; i++)
            CHECK(answer == LOTS_CLOSED || answer == LOTS_PARKED); /* it was closed as the poll went on, or after */
        CHECK(i > 2 || !CAN_STEP);
    }
}

/* It has taken WRITER when it finds its loop closed, and somebody has queued behind it. */
static void close_with_one_behind(void)
{
    lots_op_init(&other, &word, LOTS_READ, NULL, 0, 0);
    between = lots_op_poll(&other);
    lots_mailbox_close(m);
}

static void a_writers_poll_as_the_loop_is_closed(void)
{
    int waited = 0;
    for (int i = 1;; i++) {
        int answer, stepped;
        m = lots_mailbox_new();
        stepping(&word, m, close_with_one_behind);
        set_fairness(&word, FAIR_NEVER);
        set(0x10);
        task(&op, &word, LOTS_WRITE, m, 'a');
        stepped = STEPPED(i, answer = lots_op_poll(&op));
        if (!stepped)
            close_with_one_behind();
        else
            CHECK(answer == LOTS_CLOSED || answer == LOTS_PARKED);
        CHECK_EQ(lots_op_state(&op), LOTS_GONE);
        waited += between == LOTS_PARKED;
        if (between == LOTS_PARKED) { /* it was let in as the writer left, and told so */
            CHECK_EQ(lots_op_state(&other), LOTS_NORMAL);
            CHECK_WORD(&word, 0x10);
            CHECK_EQ(lots_op_poll(&other), LOTS_READY);
        }
        CHECK_WORD(&word, 0x20);
        CHECK_EQ(lots_op_release(&other, 0, NULL), LOTS_READY);
        release_read();
        CHECK_WORD(&word, 0);
        CHECK_EQ(lots_for_each(NULL, NULL, 0), 0);
        lots_mailbox_free(m);
        if (!stepped)
            break;
    }
    CHECK(waited > 1 || !CAN_STEP);
}

/* It drains, and looks once more for no reason: it owns WRITER all the while, and gives it back. */
static void a_draining_writers_look_as_the_loop_is_closed(void)
{
    int stepped = 1;
    for (int i = 1; stepped; i++) {
        int answer;
        m = lots_mailbox_new();
        stepping(&word, m, close_the_loop);
        set(0x10);
        task(&op, &word, LOTS_WRITE, m, 'a');
        CHECK_EQ(lots_op_poll(&op), LOTS_PARKED);
        stepped = STEPPED(i, answer = lots_op_poll(&op));
        if (!stepped)
            close_the_loop();
        CHECK(answer == LOTS_CLOSED || answer == LOTS_PARKED);
        CHECK_EQ(lots_op_state(&op), LOTS_GONE);
        CHECK_WORD(&word, 0x10);
        release_read();
        CHECK_WORD(&word, 0);
        lots_mailbox_free(m);
    }
}

static void a_cancel_as_the_loop_is_closed(void)
{
    int answer;
    for (int i = 1; (answer = closed_at(i, 1, give_up)) >= 0; i++)
        CHECK(answer == LOTS_WITHDRAWN || answer == LOTS_MISUSE);
}

/* The lock is free by then: the task of a closed loop may not have it all the same, if it has queued before. */
static void close_and_release(void)
{
    lots_mailbox_close(m);
    CHECK_EQ(lots_release(&word, LOTS_WRITE, 0, NULL), LOTS_READY);
}

static void a_poll_as_the_loop_is_closed_and_the_lock_released(void)
{
    int answer, stepped = 1;
    for (int i = 1; stepped; i++) {
        m = lots_mailbox_new();
        stepping(&word, m, close_and_release);
        set(0x08);
        task(&op, &word, LOTS_READ, m, 'a');
        CHECK_EQ(lots_op_poll(&op), LOTS_PARKED);
        stepped = STEPPED(i, answer = lots_op_poll(&op));
        if (!stepped)
            close_and_release();
        if (lots_op_state(&op) == LOTS_HELD) { /* it was out of the queue, and came by as the lock was opened */
            CHECK(i > 1);
            CHECK_EQ(answer, LOTS_READY);
            CHECK_EQ(lots_op_release(&op, 0, NULL), LOTS_READY);
        } else {
            CHECK(answer == LOTS_CLOSED || answer == LOTS_PARKED);
            CHECK_EQ(lots_op_state(&op), LOTS_GONE);
        }
        CHECK_WORD(&word, 0);
        CHECK_EQ(lots_for_each(NULL, NULL, 0), 0);
        lots_mailbox_free(m);
    }
}

/* Somebody else queues meanwhile, whose place the one who leaves must not disturb. `how`: it was queued, or woken in vain. */
static void close_and_queue(void)
{
    lots_mailbox_close(m);
    CHECK_EQ(lots_op_poll(&other), LOTS_PARKED);
}

static void a_poll_as_the_loop_is_closed_and_another_queues(void)
{
    for (int how = 0; how < 2; how++) {
        int answer, stepped = 1;
        for (int i = 1; stepped; i++) {
            m = lots_mailbox_new();
            stepping(&word, m, close_and_queue);
            set_fairness(&word, FAIR_NEVER);
            set(0x08);
            task(&op, &word, LOTS_WRITE, m, 'a');
            lots_op_init(&other, &word, LOTS_WRITE, NULL, 0, 0);
            CHECK_EQ(lots_op_poll(&op), LOTS_PARKED);
            if (how) {
                CHECK_EQ(lots_release(&word, LOTS_WRITE, 0, NULL), LOTS_READY);
                CHECK_EQ(lots_try(&word, LOTS_WRITE), 1);
            }
            stepped = STEPPED(i, answer = lots_op_poll(&op));
            if (!stepped)
                close_and_queue();
            CHECK(answer == LOTS_CLOSED || answer == LOTS_PARKED);
            CHECK_EQ(lots_op_state(&op), LOTS_GONE);
            CHECK_WORD(&word, 0x09);
            CHECK_EQ(lots_for_each(&word, NULL, 0), 1);
            CHECK_EQ(lot_bucket_of((uintptr_t)&word)->woken_count.value_, 0);
            CHECK_EQ(lots_release(&word, LOTS_WRITE, 0, NULL), LOTS_READY);
            CHECK_EQ(lots_op_poll(&other), LOTS_READY);
            CHECK_EQ(lots_op_release(&other, 0, NULL), LOTS_READY);
            CHECK_WORD(&word, 0);
            CHECK_EQ(lots_for_each(NULL, NULL, 0), 0);
            lots_mailbox_free(m);
        }
    }
}

int main(void)
{
    watchdog(60);
    lots_revoke_after(INT64_MAX / 2); /* nobody is late here */
    RUN(a_poll_as_the_loop_is_closed);
    RUN(a_poll_as_the_loop_is_closed_and_the_lock_released);
    RUN(a_poll_as_the_loop_is_closed_and_another_queues);
    RUN(a_writers_poll_as_the_loop_is_closed);
    RUN(a_draining_writers_look_as_the_loop_is_closed);
    RUN(a_cancel_as_the_loop_is_closed);
    return 0;
}
