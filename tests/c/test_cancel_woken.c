/* The early end of an acquisition that was woken and has not looked yet: what its wake had brought is kept, given back, or
 * passed on. Tasks, polled by hand: each interleaving is exact. */
#include "steps.h"

/* --- woken: NORMAL ----------------------------------------------------------------------------------------------- */

/* R07: the wake was for somebody. */
static void a_normal_wake_is_passed_on(void)
{
    for (uint32_t why = LOTS_BY_TIMEOUT; why <= LOTS_BY_CANCEL; why++) {
        lots_op a, b;
        hold(LOTS_MUTEX);
        queue(&a, LOTS_MUTEX, 'a', 0x09);
        queue(&b, LOTS_MUTEX, 'b', 0x09);
        release(LOTS_MUTEX, 0, 0x01); /* free, and b queued still */
        CHECK_EQ(lots_op_state(&a), LOTS_NORMAL);
        cancel(&a, why, LOTS_WITHDRAWN, 0x00);
        CHECK_EQ(lots_op_state(&b), LOTS_NORMAL);
        CHECK_STR(mail(m, 1), "b"); /* a's mail went with it */
        poll_ready(&b, 0x08);
        let_go(&b, 0);
        clean();
    }
}

static void a_normal_wake_to_a_lock_that_was_taken_meanwhile_is_its_holders_business(void)
{
    lots_op a, b;
    hold(LOTS_MUTEX);
    queue(&a, LOTS_MUTEX, 'a', 0x09);
    queue(&b, LOTS_MUTEX, 'b', 0x09);
    release(LOTS_MUTEX, 0, 0x01);
    hold(LOTS_MUTEX); /* barges in */
    CHECK_WORD(&word, 0x09);
    cancel(&a, LOTS_BY_CANCEL, LOTS_WITHDRAWN, 0x09);
    CHECK_EQ(lots_op_state(&b), LOTS_QUEUED);
    release(LOTS_MUTEX, 0, 0x00);
    CHECK_EQ(lots_op_state(&b), LOTS_NORMAL);
    poll_ready(&b, 0x08);
    let_go(&b, 0);
    clean();
}

static void a_normal_wake_with_nobody_behind_it_leaves_nothing(void)
{
    lots_op a;
    hold(LOTS_WRITE);
    queue(&a, LOTS_WRITE, 'a', 0x09);
    release(LOTS_WRITE, 0, 0);
    cancel(&a, LOTS_BY_TIMEOUT, LOTS_WITHDRAWN, 0);
    clean();
}

/* R08: whoever is cancelled, exactly one gets in. */
static void one_of_three_gets_in(void)
{
    for (int when = 0; when < 2; when++) {
        lots_op a, b, c;
        hold(LOTS_MUTEX);
        queue(&a, LOTS_MUTEX, 'a', 0x09);
        queue(&b, LOTS_MUTEX, 'b', 0x09);
        queue(&c, LOTS_MUTEX, 'c', 0x09);
        if (when)
            cancel(&a, LOTS_BY_CANCEL, LOTS_WITHDRAWN, 0x09);
        release(LOTS_MUTEX, 0, 0x01);
        if (!when)
            cancel(&a, LOTS_BY_CANCEL, LOTS_WITHDRAWN, 0x01);
        CHECK_EQ(lots_op_state(&b), LOTS_NORMAL);
        CHECK_EQ(lots_op_state(&c), LOTS_QUEUED);
        poll_ready(&b, 0x09);
        CHECK_EQ(lots_op_poll(&c), LOTS_PARKED); /* looks, and stays */
        CHECK_WORD(&word, 0x09);
        let_go(&b, 0);
        poll_ready(&c, 0x08);
        let_go(&c, 0);
        clean();
    }
}

/* R06: one tick has a cancellation, a release and a newcomer in it. */
static void a_newcomer_finds_a_lock_that_a_cancelled_waiter_left(void)
{
    lots_op a, n;
    hold(LOTS_MUTEX);
    queue(&a, LOTS_MUTEX, 'a', 0x09);
    cancel(&a, LOTS_BY_CANCEL, LOTS_WITHDRAWN, 0x08);
    release(LOTS_MUTEX, 0, 0);
    task(&n, &word, LOTS_MUTEX, m, 'n');
    poll_ready(&n, 0x08);
    let_go(&n, 0);
    clean();
}

/* --- woken: HANDOFF ---------------------------------------------------------------------------------------------- */

static void a_timeout_keeps_a_handoff(void)
{
    lots_op a, b;
    hold(LOTS_WRITE);
    queue(&a, LOTS_WRITE, 'a', 0x09);
    queue(&b, LOTS_READ, 'b', 0x09);
    release(LOTS_WRITE, 1, 0x09);
    CHECK_EQ(lots_op_state(&a), LOTS_HANDOFF);
    cancel(&a, LOTS_BY_TIMEOUT, LOTS_READY, 0x09);
    CHECK_EQ(lots_op_release(&a, 1, NULL), LOTS_READY);
    CHECK_WORD(&word, 0x10);
    cancel(&b, LOTS_BY_TIMEOUT, LOTS_READY, 0x10);
    let_go(&b, 0);
    clean();
}

static void a_cancellation_gives_a_handoff_back(void)
{
    lots_op a, b;
    hold(LOTS_WRITE);
    queue(&a, LOTS_WRITE, 'a', 0x09);
    queue(&b, LOTS_READ, 'b', 0x09);
    release(LOTS_WRITE, 1, 0x09);
    cancel(&a, LOTS_BY_CANCEL, LOTS_WITHDRAWN, 0);
    CHECK_EQ(lots_op_state(&b), LOTS_NORMAL);
    CHECK_STR(mail(m, 1), "b");
    poll_ready(&b, 0x10);
    let_go(&b, 0);
    clean();
}

static void a_reader_gives_its_share_of_a_handoff_back(void)
{
    lots_op a, b;
    hold(LOTS_WRITE);
    queue(&a, LOTS_READ, 'a', 0x09);
    queue(&b, LOTS_READ, 'b', 0x09);
    release(LOTS_WRITE, 1, 0x20);
    cancel(&a, LOTS_BY_CANCEL, LOTS_WITHDRAWN, 0x10);
    poll_ready(&b, 0x10);
    let_go(&b, 0);
    clean();
}

static void the_last_reader_to_give_it_back_wakes_the_writer_that_drains(void)
{
    lots_op a, b;
    hold(LOTS_WRITE);
    queue(&a, LOTS_READ, 'a', 0x09);
    queue(&b, LOTS_WRITE, 'b', 0x09);
    release(LOTS_WRITE, 1, 0x18);
    CHECK_EQ(lots_op_poll(&b), LOTS_PARKED);
    CHECK_WORD(&word, 0x1a);
    cancel(&a, LOTS_BY_CANCEL, LOTS_WITHDRAWN, 0x08);
    CHECK_EQ(lots_op_state(&b), LOTS_HANDOFF);
    poll_ready(&b, 0x08);
    let_go(&b, 0);
    clean();
}

/* Half a lock is not kept by a timeout: it would have to wait for the readers. */
static void a_writer_that_was_handed_writer_beside_readers_gives_it_back(void)
{
    for (uint32_t why = LOTS_BY_TIMEOUT; why <= LOTS_BY_CANCEL; why++) {
        lots_op a, b, c;
        hold(LOTS_WRITE);
        queue(&a, LOTS_READ, 'a', 0x09);
        queue(&b, LOTS_WRITE, 'b', 0x09);
        queue(&c, LOTS_READ, 'c', 0x09);
        release(LOTS_WRITE, 1, 0x19);
        poll_ready(&a, 0x19);
        cancel(&b, why, LOTS_WITHDRAWN, 0x10);
        poll_ready(&c, 0x20); /* beside a */
        let_go(&c, 0x10);
        let_go(&a, 0);
        clean();
    }
}

static void a_writer_whose_readers_have_left_keeps_or_gives_back(void)
{
    for (uint32_t why = LOTS_BY_TIMEOUT; why <= LOTS_BY_CANCEL; why++) {
        int kept = why == LOTS_BY_TIMEOUT;
        lots_op a;
        hold(LOTS_READ);
        queue(&a, LOTS_WRITE, 'a', 0x1a);
        release(LOTS_READ, 0, 0x08);
        CHECK_EQ(lots_op_state(&a), LOTS_HANDOFF);
        cancel(&a, why, kept ? LOTS_READY : LOTS_WITHDRAWN, kept ? 0x08 : 0);
        if (kept)
            let_go(&a, 0);
        clean();
    }
}

static void on_the_loops_own_thread_what_is_passed_on_is_handed_over(void)
{
    lots_op a, b;
    hold(LOTS_MUTEX);
    queue(&a, LOTS_MUTEX, 'a', 0x09);
    queue(&b, LOTS_MUTEX, 'b', 0x09);
    CHECK_EQ(lots_release(&word, LOTS_MUTEX, 0, m), LOTS_READY | LOTS_MAIL);
    CHECK_WORD(&word, 0x09);
    CHECK_EQ(lots_op_cancel(&a, LOTS_BY_CANCEL, m), LOTS_WITHDRAWN | LOTS_MAIL);
    CHECK_WORD(&word, 0x08);
    CHECK_EQ(lots_op_state(&b), LOTS_HANDOFF);
    CHECK_STR(mail(m, 0), "b");
    CHECK_EQ(rings(m), 0);
    poll_ready(&b, 0x08);
    let_go(&b, 0);
    clean();
}

/* R07 with a thread: a grant races with a deadline. Either it has the lock, or it has left no trace. */
static void a_grant_races_with_a_deadline(void)
{
    enum { ROUNDS = 600 };
    int ready = 0;
    for (int i = 0; i < ROUNDS; i++) {
        actor a;
        hold(LOTS_WRITE);
        int64_t deadline = now_ns() + 100000; /* time itself is tested */
        start_until(&a, &word, i & 1 ? LOTS_WRITE : LOTS_READ, deadline);
        while (now_ns() < deadline + i % 50 * 2000) /* a sleeper may oversleep, by 50 us on Linux */
            ;
        CHECK_EQ(lots_release(&word, LOTS_WRITE, i & 2, NULL), LOTS_READY);
        ready += finish(&a) == LOTS_READY;
        if (a.answer == LOTS_READY)
            CHECK_EQ(lots_op_release(&a.op, 0, NULL), LOTS_READY);
        else
            CHECK_EQ(a.answer, LOTS_TIMED_OUT);
        CHECK_WORD(&word, 0);
    }
    printf("    %d of %d got it\n", ready, ROUNDS);
    clean();
}

int main(void)
{
    watchdog(30);
    m = lots_mailbox_new();
    lots_revoke_after(INT64_MAX / 2); /* nobody is late here */
    RUN(a_normal_wake_is_passed_on);
    RUN(a_normal_wake_to_a_lock_that_was_taken_meanwhile_is_its_holders_business);
    RUN(a_normal_wake_with_nobody_behind_it_leaves_nothing);
    RUN(one_of_three_gets_in);
    RUN(a_newcomer_finds_a_lock_that_a_cancelled_waiter_left);
    RUN(a_timeout_keeps_a_handoff);
    RUN(a_cancellation_gives_a_handoff_back);
    RUN(a_reader_gives_its_share_of_a_handoff_back);
    RUN(the_last_reader_to_give_it_back_wakes_the_writer_that_drains);
    RUN(a_writer_that_was_handed_writer_beside_readers_gives_it_back);
    RUN(a_writer_whose_readers_have_left_keeps_or_gives_back);
    RUN(on_the_loops_own_thread_what_is_passed_on_is_handed_over);
    RUN(a_grant_races_with_a_deadline);
    lots_mailbox_close(m);
    lots_mailbox_free(m);
    return 0;
}
