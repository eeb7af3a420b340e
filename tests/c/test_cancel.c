/* The early end of an acquisition that is queued: timed out, cancelled, interrupted; and of one that has ended already.
 *
 * Most of it is played with tasks that this one thread polls by hand, so each interleaving is exact; where sleeping
 * matters, with threads. `a`, `b`, `c` name the ops in the order in which they queue. */
#include "steps.h"

static void queued_to_enter_the_last_one_out_clears_parked(void)
{
    for (uint32_t why = LOTS_BY_TIMEOUT; why <= LOTS_BY_CANCEL; why++) {
        lots_op a, b, c;
        hold(LOTS_WRITE);
        queue(&a, LOTS_READ, 'a', 0x09);
        queue(&b, LOTS_WRITE, 'b', 0x09);
        queue(&c, LOTS_READ_RECURSIVE, 'c', 0x09);
        cancel(&b, why, LOTS_WITHDRAWN, 0x09);
        cancel(&a, why, LOTS_WITHDRAWN, 0x09);
        cancel(&c, why, LOTS_WITHDRAWN, 0x08);
        release(LOTS_WRITE, 0, 0);
        CHECK_STR(mail(m, 1), "");
        clean();
    }
}

/* R03, R04: those who queued behind a departing writer enter while the first reader still holds. */
static void queued_to_drain_lets_the_readers_behind_it_in(void)
{
    for (uint32_t why = LOTS_BY_TIMEOUT; why <= LOTS_BY_CANCEL; why++) {
        lots_op a, b, c;
        hold(LOTS_READ);
        queue(&a, LOTS_WRITE, 'a', 0x1a);
        queue(&b, LOTS_READ, 'b', 0x1b);
        queue(&c, LOTS_READ, 'c', 0x1b);
        cancel(&a, why, LOTS_WITHDRAWN, 0x10);
        CHECK_STR(mail(m, 1), "bc");
        poll_ready(&b, 0x20);
        poll_ready(&c, 0x30);
        let_go(&b, 0x20);
        let_go(&c, 0x10);
        release(LOTS_READ, 0, 0);
        clean();
    }
}

static void queued_to_drain_lets_the_next_writer_come_forward(void)
{
    lots_op a, b, c, d;
    hold(LOTS_READ);
    queue(&a, LOTS_WRITE, 'a', 0x1a);
    queue(&b, LOTS_READ, 'b', 0x1b);
    queue(&c, LOTS_WRITE, 'c', 0x1b);
    queue(&d, LOTS_READ, 'd', 0x1b);
    cancel(&a, LOTS_BY_CANCEL, LOTS_WITHDRAWN, 0x11); /* d is queued still, behind the writer c */
    CHECK_STR(mail(m, 1), "bc");
    poll_ready(&b, 0x21);
    CHECK_EQ(lots_op_poll(&c), LOTS_PARKED);
    CHECK_WORD(&word, 0x2b);
    cancel(&c, LOTS_BY_CANCEL, LOTS_WITHDRAWN, 0x20);
    CHECK_STR(mail(m, 1), "d");
    poll_ready(&d, 0x30);
    let_go(&d, 0x20);
    let_go(&b, 0x10);
    release(LOTS_READ, 0, 0);
    clean();
}

static void queued_to_drain_alone_gives_both_bits_back(void)
{
    lots_op a;
    hold(LOTS_READ);
    queue(&a, LOTS_WRITE, 'a', 0x1a);
    cancel(&a, LOTS_BY_TIMEOUT, LOTS_WITHDRAWN, 0x10);
    release(LOTS_READ, 0, 0);
    clean();
}

/* R03 with threads that really sleep. */
static void a_sleeping_reader_enters_when_the_writer_before_it_is_interrupted(void)
{
    actor writer, reader;
    hold(LOTS_READ);
    start(&writer, &word, LOTS_WRITE);
    parked(&word, 1);
    CHECK_WORD(&word, 0x1a);
    start(&reader, &word, LOTS_READ);
    parked(&word, 2);
    CHECK_WORD(&word, 0x1b);
    CHECK_EQ(interrupt(&writer), LOTS_WITHDRAWN);
    CHECK_EQ(finish(&reader), LOTS_READY);
    CHECK_WORD(&word, 0x20);
    let_go(&reader.op, 0x10);
    release(LOTS_READ, 0, 0);
    clean();
}

static void a_sleeping_reader_enters_when_the_writer_before_it_times_out(void)
{
    actor writer, reader;
    hold(LOTS_READ);
    start_until(&writer, &word, LOTS_WRITE, now_ns() + 20000000); /* time itself is tested */
    start(&reader, &word, LOTS_READ);
    CHECK_EQ(finish(&writer), LOTS_TIMED_OUT);
    CHECK_EQ(finish(&reader), LOTS_READY);
    CHECK_WORD(&word, 0x20);
    let_go(&reader.op, 0x10);
    release(LOTS_READ, 0, 0);
    clean();
}

/* More behind it than one batch takes. */
static void a_crowd_enters_when_the_writer_before_it_is_interrupted(void)
{
    enum { MANY = BATCH_THREADS + 8 };
    static actor crowd[MANY];
    actor writer;
    hold(LOTS_READ);
    start(&writer, &word, LOTS_WRITE);
    parked(&word, 1);
    for (int i = 0; i < MANY; i++)
        start(&crowd[i], &word, LOTS_READ);
    parked(&word, MANY + 1);
    CHECK_WORD(&word, 0x1b);
    CHECK_EQ(interrupt(&writer), LOTS_WITHDRAWN);
    for (int i = 0; i < MANY; i++)
        CHECK_EQ(finish(&crowd[i]), LOTS_READY);
    CHECK_WORD(&word, 0x10 * (MANY + 1));
    for (int i = 0; i < MANY; i++)
        CHECK_EQ(lots_op_release(&crowd[i].op, 0, NULL), LOTS_READY);
    release(LOTS_READ, 0, 0);
    clean();
}

static void a_deadline_that_has_passed_tries_once(void)
{
    static const int64_t passed[] = {0, 1, -1, INT64_MIN};
    for (size_t i = 0; i < 4; i++) {
        actor a;
        start_until(&a, &word, LOTS_WRITE, passed[i]);
        CHECK_EQ(finish(&a), LOTS_READY);
        CHECK_WORD(&word, 0x08);
        let_go(&a.op, 0);
        hold(LOTS_READ);
        start_until(&a, &word, LOTS_WRITE, passed[i]);
        CHECK_EQ(finish(&a), LOTS_TIMED_OUT);
        CHECK_WORD(&word, 0x10);
        release(LOTS_READ, 0, 0);
        clean();
    }
}

/* R05: an interrupted wait can go on, too, at its old place. (Between, where the parker knows that a signal has come, it is
 * out of the queue: the signal's handler may want this very lock.) */
static void an_interrupted_wait_goes_on_where_it_was(void)
{
    actor first, second;
    hold(LOTS_WRITE);
    start(&first, &word, LOTS_WRITE);
    parked(&word, 1);
    start(&second, &word, LOTS_WRITE);
    parked(&word, 2);
    sigaction(SIGUSR1, &(struct sigaction){.sa_handler = on_signal}, NULL);
    for (int seen = first.interruptions; seen == first.interruptions;) {
        pthread_kill(first.thread, SIGUSR1);
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    }
    for (int seen = -1; seen != first.interruptions;) { /* until no signal is under way any more */
        seen = first.interruptions;
        nanosleep(&(struct timespec){0, 20000000}, NULL);
    }
    parked(&word, 2);
    CHECK_WORD(&word, 0x09);
    CHECK_EQ(lots_release(&word, LOTS_WRITE, 1, NULL), LOTS_READY);
    CHECK_EQ(finish(&first), LOTS_READY);
    CHECK(!second.ended);
    CHECK_WORD(&word, 0x09);
    CHECK_EQ(lots_op_release(&first.op, 1, NULL), LOTS_READY);
    CHECK_EQ(finish(&second), LOTS_READY);
    let_go(&second.op, 0);
    clean();
}

/* --- too late, too early, twice ---------------------------------------------------------------------------------- */

static void twice_or_too_late_is_a_misuse_that_changes_nothing(void)
{
    for (uint32_t why = LOTS_BY_TIMEOUT; why <= LOTS_BY_CANCEL; why++) {
        lots_op a, b;
        hold(LOTS_READ);
        queue(&a, LOTS_WRITE, 'a', 0x1a);
        queue(&b, LOTS_READ, 'b', 0x1b);
        cancel(&a, why, LOTS_WITHDRAWN, 0x10);
        for (int i = 0; i < 2; i++) {
            CHECK_EQ(lots_op_cancel(&a, why, NULL), LOTS_MISUSE);
            CHECK_EQ(lots_op_release(&a, 0, NULL), LOTS_MISUSE);
            CHECK_EQ(lots_op_state(&a), LOTS_GONE);
            CHECK_WORD(&word, 0x10);
        }
        poll_ready(&b, 0x20);
        CHECK_EQ(lots_op_cancel(&b, why, NULL), LOTS_MISUSE);
        CHECK_EQ(lots_op_state(&b), LOTS_HELD);
        CHECK_WORD(&word, 0x20);
        let_go(&b, 0x10);
        CHECK_EQ(lots_op_cancel(&b, why, NULL), LOTS_MISUSE);
        CHECK_EQ(lots_op_state(&b), LOTS_RELEASED);
        release(LOTS_READ, 0, 0);
        clean();
    }
}

static void before_it_was_asked_for_it_just_ends(void)
{
    lots_op a, b;
    hold(LOTS_WRITE);
    task(&a, &word, LOTS_READ, m, 'a');
    cancel(&a, LOTS_BY_CANCEL, LOTS_WITHDRAWN, 0x08);
    CHECK_EQ(lots_op_try(&a), LOTS_MISUSE);
    task(&b, &word, LOTS_READ, m, 'b');
    CHECK_EQ(lots_op_try(&b), LOTS_PARKED); /* tried in vain, and never queued */
    cancel(&b, LOTS_BY_TIMEOUT, LOTS_WITHDRAWN, 0x08);
    CHECK_EQ(lots_op_cancel(&b, LOTS_BY_TIMEOUT, NULL), LOTS_MISUSE);
    release(LOTS_WRITE, 0, 0);
    clean();
}

int main(void)
{
    watchdog(30);
    m = lots_mailbox_new();
    lots_revoke_after(INT64_MAX / 2); /* nobody is late here */
    RUN(queued_to_enter_the_last_one_out_clears_parked);
    RUN(queued_to_drain_lets_the_readers_behind_it_in);
    RUN(queued_to_drain_lets_the_next_writer_come_forward);
    RUN(queued_to_drain_alone_gives_both_bits_back);
    RUN(a_sleeping_reader_enters_when_the_writer_before_it_is_interrupted);
    RUN(a_sleeping_reader_enters_when_the_writer_before_it_times_out);
    RUN(a_crowd_enters_when_the_writer_before_it_is_interrupted);
    RUN(an_interrupted_wait_goes_on_where_it_was);
    RUN(twice_or_too_late_is_a_misuse_that_changes_nothing);
    RUN(before_it_was_asked_for_it_just_ends);
    RUN(a_deadline_that_has_passed_tries_once);
    lots_mailbox_close(m);
    lots_mailbox_free(m);
    return 0;
}
