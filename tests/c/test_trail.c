/* The last steps of a lock: each step of its slow path is noted as what it was, with the word that it saw and left. */
#include "trailing.h"

static const char *const NAMES[] = {[LOTS_STEP_QUEUED] = "queued",     [LOTS_STEP_DRAINS] = "drains",
                                    [LOTS_STEP_ENTERED] = "entered",   [LOTS_STEP_ACQUIRED] = "acquired",
                                    [LOTS_STEP_TIMED_OUT] = "timed out", [LOTS_STEP_CANCELLED] = "cancelled",
                                    [LOTS_STEP_ASIDE] = "aside",       [LOTS_STEP_REVOKED] = "revoked",
                                    [LOTS_STEP_LOOKED] = "looked",     [LOTS_STEP_RELEASED] = "released",
                                    [LOTS_STEP_HANDED_OVER] = "handed", [LOTS_STEP_DOWNGRADED] = "downgraded",
                                    [LOTS_STEP_LEFT] = "left",         [LOTS_STEP_WOKEN] = "woken"};
static const char MODES[] = "RrWMUGPF";

/* Tasks of the loop `m` have small letters, threads capital ones. */
static void of_its_loop(uint64_t cookie, uint32_t loop) { CHECK_EQ(loop, cookie >= 'a' ? lots_mailbox_number(m) : 0); }

/* What was noted since the last look, as in "aM queued 8>9; I released 1 bM 9>0": who ("I": this very thread) and in what mode,
 * what, how many and the first of whom, the word before and after. */
static void steps(const char *wanted)
{
    static char text[4096];
    lots_transition out[LOTS_TRAIL];
    size_t count = lots_trail_read(&the.trail, out), length = 0;
    text[0] = 0;
    for (size_t i = 0; i < count; i++) {
        const lots_transition *t = &out[i];
        int by_caller = t->what >= LOTS_STEP_RELEASED;
        if (t->number <= told)
            continue;
        CHECK_EQ(t->when, now);
        if (by_caller) {
            CHECK_EQ(t->who, lots_thread_token());
            CHECK_EQ(t->who_loop, 0);
            CHECK_EQ(t->mode, 0);
            length += (size_t)sprintf(text + length, "%sI %s", length ? "; " : "", NAMES[t->what]);
        } else {
            of_its_loop(t->who, t->who_loop);
            length += (size_t)sprintf(text + length, "%s%c%c %s", length ? "; " : "", (char)t->who, MODES[t->mode], NAMES[t->what]);
        }
        if (t->count) {
            of_its_loop(t->whom, t->whom_loop);
            length += (size_t)sprintf(text + length, " %u %c%c", t->count, (char)t->whom, MODES[t->whom_mode]);
        } else {
            CHECK_EQ(t->whom | t->whom_mode | t->whom_loop, 0);
        }
        length += (size_t)sprintf(text + length, " %llx>%llx", (unsigned long long)t->before, (unsigned long long)t->after);
    }
    told = count ? out[count - 1].number : 0;
    CHECK_STR(text, wanted);
}

static void release_(uint32_t mode, int fair, uint64_t wanted, const char *noted)
{
    release(mode, fair, wanted);
    steps(noted);
}

static void queue_(lots_op *op, uint32_t mode, char cookie, uint64_t wanted, const char *noted)
{
    counted_queue(op, mode, cookie, wanted);
    steps(noted);
}

static void got(lots_op *op, uint64_t wanted, const char *noted)
{
    poll_ready(op, wanted);
    steps(noted);
}

static void gives_up(lots_op *op, uint32_t why, int answer, uint64_t wanted, const char *noted)
{
    cancel(op, why, answer, wanted);
    steps(noted);
}

/* --- a wait, from its beginning to its end -------------------------------------------------------------------------- */

static void woken_or_handed_over(void)
{
    lots_op a, b;
    anew();
    hold(LOTS_MUTEX);
    queue_(&a, LOTS_MUTEX, 'a', 0x09, "aM queued 8>9");
    queue_(&b, LOTS_MUTEX, 'b', 0x09, "bM queued 9>9");
    now += 5;
    release_(LOTS_MUTEX, 0, 0x01, "I released 1 aM 9>1");
    hold(LOTS_MUTEX); /* who comes by */
    CHECK_EQ(lots_op_poll(&a), LOTS_PARKED);
    steps("aM queued 9>9");
    release_(LOTS_MUTEX, 0, 0x01, "I released 1 aM 9>1");
    got(&a, 0x09, "aM entered 1>9");
    now += 5;
    CHECK_EQ(lots_op_release(&a, 1, NULL), LOTS_READY);
    steps("I handed 1 bM 9>8");
    got(&b, 0x08, "bM acquired 8>8");
    let_go(&b, 0);
    steps(""); /* nobody has to do with that */
    clean();
}

static void readers_are_woken_at_once(void)
{
    lots_op a, b, c;
    anew();
    hold(LOTS_WRITE);
    queue_(&a, LOTS_READ, 'a', 0x09, "aR queued 8>9");
    queue_(&b, LOTS_READ_RECURSIVE, 'b', 0x09, "br queued 9>9");
    queue_(&c, LOTS_WRITE, 'c', 0x09, "cW queued 9>9");
    release_(LOTS_WRITE, 1, 0x28, "I handed 3 aR 9>28");
    got(&a, 0x28, "aR acquired 28>28");
    got(&b, 0x28, "br acquired 28>28");
    CHECK_EQ(lots_op_poll(&c), LOTS_PARKED); /* it owns WRITER, and they are in */
    steps("cW drains 28>2a");
    let_go(&a, 0x1A);
    steps("");
    CHECK_EQ(lots_op_release(&b, 0, NULL), LOTS_READY);
    steps("I left 1a>a; I handed 1 cW a>8");
    got(&c, 0x08, "cW acquired 8>8");
    let_go(&c, 0);
    clean();
}

static void a_writer_takes_its_bit_beside_readers(void)
{
    lots_op w;
    anew();
    hold(LOTS_READ);
    queue_(&w, LOTS_WRITE, 'w', 0x1A, "wW entered 10>18; wW drains 18>1a");
    CHECK_EQ(lots_op_poll(&w), LOTS_PARKED); /* a nudge */
    steps("wW looked 1a>18; wW drains 18>1a");
    release_(LOTS_READ, 0, 0x08, "I left 1a>a; I handed 1 wW a>8");
    got(&w, 0x08, "wW acquired 8>8");
    let_go(&w, 0);
    task(&w, &word, LOTS_WRITE, m, 'w'); /* alone at once */
    lots_op_counts(&w, &record);
    got(&w, 0x08, "wW entered 0>8");
    let_go(&w, 0);
    task(&w, &word, LOTS_READ, m, 'w'); /* beside a reader, as a reader may */
    lots_op_counts(&w, &record);
    hold(LOTS_READ);
    got(&w, 0x20, "wR entered 10>20");
    let_go(&w, 0x10);
    release(LOTS_READ, 0, 0);
    clean();
}

static void an_upgrade_and_a_downgrade(void)
{
    lots_op g, r;
    anew();
    hold(LOTS_READ);
    CHECK_EQ(lots_try(&word, LOTS_UPGRADABLE), 1);
    queue_(&g, LOTS_UPGRADE, 'g', 0x1A, "gG entered 24>18; gG drains 18>1a");
    queue_(&r, LOTS_READ, 'r', 0x1B, "rR queued 1a>1b");
    release_(LOTS_READ, 0, 0x09, "I left 1b>b; I handed 1 gG b>9");
    got(&g, 0x09, "gG acquired 9>9");
    CHECK_EQ(lots_downgrade(&word, LOTS_WRITE, LOTS_READ, NULL), LOTS_READY);
    steps("I downgraded 1 rR 9>10");
    got(&r, 0x20, "rR entered 10>20");
    let_go(&r, 0x10);
    release(LOTS_READ, 0, 0);
    clean();
}

static void a_task_that_is_nudged(void)
{
    lots_op a;
    anew();
    hold(LOTS_MUTEX);
    queue_(&a, LOTS_MUTEX, 'a', 0x09, "aM queued 8>9");
    CHECK_EQ(lots_op_poll(&a), LOTS_PARKED);
    steps("aM looked 9>8; aM queued 8>9");
    release(LOTS_MUTEX, 1, 0x08);
    poll_ready(&a, 0x08);
    let_go(&a, 0);
    clean();
}

/* A writer that lost to an upgradable reader lets the readers behind it in. */
static void a_wake_without_a_release(void)
{
    lots_op w, r;
    anew();
    hold(LOTS_WRITE);
    queue_(&w, LOTS_WRITE, 'w', 0x09, "wW queued 8>9");
    queue_(&r, LOTS_READ, 'r', 0x09, "rR queued 9>9");
    release_(LOTS_WRITE, 0, 0x01, "I released 1 wW 9>1");
    hold(LOTS_UPGRADABLE);
    CHECK_EQ(lots_op_poll(&w), LOTS_PARKED);
    steps("wW queued 15>15; I woken 1 rR 15>15");
    CHECK_EQ(lots_op_poll(&w), LOTS_PARKED); /* a nudge, and nobody else is there */
    steps("wW looked 15>14; wW queued 14>15");
    got(&r, 0x25, "rR entered 15>25");
    let_go(&r, 0x15);
    release_(LOTS_UPGRADABLE, 0, 0, "I released 1 wW 15>0");
    got(&w, 0x08, "wW entered 0>8");
    let_go(&w, 0);
    clean();
}

/* --- ends without the lock ------------------------------------------------------------------------------------------ */

/* What 2025-05-28 wants to know: the writer that times out, and what it made of the word. */
static void a_writer_that_drains_times_out(void)
{
    lots_op w, r;
    anew();
    hold(LOTS_READ);
    queue_(&w, LOTS_WRITE, 'w', 0x1A, "wW entered 10>18; wW drains 18>1a");
    queue_(&r, LOTS_READ, 'r', 0x1B, "rR queued 1a>1b");
    now += 100;
    gives_up(&w, LOTS_BY_TIMEOUT, LOTS_WITHDRAWN, 0x10, "wW timed out 1 rR 1b>10");
    got(&r, 0x20, "rR entered 10>20");
    let_go(&r, 0x10);
    release(LOTS_READ, 0, 0);
    clean();
}

static void who_is_queued_leaves(void)
{
    lots_op a, b;
    anew();
    hold(LOTS_MUTEX);
    queue_(&a, LOTS_MUTEX, 'a', 0x09, "aM queued 8>9");
    queue_(&b, LOTS_MUTEX, 'b', 0x09, "bM queued 9>9");
    gives_up(&a, LOTS_BY_TIMEOUT, LOTS_WITHDRAWN, 0x09, "aM timed out 9>9");
    gives_up(&b, LOTS_BY_CANCEL, LOTS_WITHDRAWN, 0x08, "bM cancelled 9>8");
    release(LOTS_MUTEX, 0, 0);
    clean();
}

static void who_is_woken_leaves(void)
{
    lots_op a, b;
    anew();
    hold(LOTS_MUTEX);
    queue_(&a, LOTS_MUTEX, 'a', 0x09, "aM queued 8>9");
    queue_(&b, LOTS_MUTEX, 'b', 0x09, "bM queued 9>9");
    release_(LOTS_MUTEX, 0, 0x01, "I released 1 aM 9>1");
    gives_up(&a, LOTS_BY_CANCEL, LOTS_WITHDRAWN, 0, "aM cancelled 1 bM 1>0");
    hold(LOTS_MUTEX);
    gives_up(&b, LOTS_BY_TIMEOUT, LOTS_WITHDRAWN, 0x08, "bM timed out 8>8");
    release(LOTS_MUTEX, 0, 0);
    clean();
}

static void a_handoff_is_kept_or_given_back(void)
{
    lots_op a, r, w;
    anew();
    for (uint32_t why = LOTS_BY_TIMEOUT; why <= LOTS_BY_CANCEL; why++) {
        hold(LOTS_MUTEX);
        queue_(&a, LOTS_MUTEX, 'a', 0x09, "aM queued 8>9");
        release_(LOTS_MUTEX, 1, 0x08, "I handed 1 aM 9>8");
        if (why == LOTS_BY_TIMEOUT) {
            gives_up(&a, why, LOTS_READY, 0x08, "aM acquired 8>8");
            let_go(&a, 0);
        } else {
            gives_up(&a, why, LOTS_WITHDRAWN, 0, "aM cancelled 8>0");
        }
    }
    hold(LOTS_WRITE); /* a share, given back to a writer that waits for it */
    queue_(&r, LOTS_READ, 'r', 0x09, "rR queued 8>9");
    release_(LOTS_WRITE, 1, 0x10, "I handed 1 rR 9>10");
    queue_(&w, LOTS_WRITE, 'w', 0x1A, "wW entered 10>18; wW drains 18>1a");
    gives_up(&r, LOTS_BY_CANCEL, LOTS_WITHDRAWN, 0x08, "rR cancelled 1a>a; I handed 1 wW a>8");
    got(&w, 0x08, "wW acquired 8>8");
    let_go(&w, 0);
    clean();
}

static void a_thread_whose_handlers_run(void)
{
    lots_op a;
    anew();
    hold(LOTS_MUTEX);
    lots_op_init(&a, &word, LOTS_MUTEX, NULL, 'A', 0);
    lots_op_counts(&a, &record);
    CHECK_EQ(lots_op_poll(&a), LOTS_PARKED);
    steps("AM queued 8>9");
    CHECK_EQ(lots_op_interrupt(&a), LOTS_INTERRUPTED);
    steps("AM aside 9>8");
    CHECK_EQ(lots_op_poll(&a), LOTS_PARKED);
    steps("AM queued 8>9");
    gives_up(&a, LOTS_BY_TIMEOUT, LOTS_WITHDRAWN, 0x08, "AM timed out 9>8");
    release(LOTS_MUTEX, 0, 0);
    clean();
}

/* --- loops that cannot run ------------------------------------------------------------------------------------------ */

static void a_wake_is_taken_away(void)
{
    for (int fair = 0; fair < 2; fair++) {
        lots_op a;
        anew();
        hold(LOTS_MUTEX);
        queue_(&a, LOTS_MUTEX, 'a', 0x09, "aM queued 8>9");
        release_(LOTS_MUTEX, fair, fair ? 0x08 : 0, fair ? "I handed 1 aM 9>8" : "I released 1 aM 9>0");
        CHECK_EQ(revoke_late(INT64_MAX, 1), 1);
        steps(fair ? "aM revoked 9>1" : "aM revoked 1>1");
        got(&a, 0x08, "aM looked 1>0; aM entered 0>8");
        let_go(&a, 0);
        clean();
    }
}

static void a_writer_whose_loop_sleeps_gives_its_bit_back(void)
{
    lots_op w;
    anew();
    hold(LOTS_READ);
    queue_(&w, LOTS_WRITE, 'w', 0x1A, "wW entered 10>18; wW drains 18>1a");
    lots_mailbox_block(m);
    steps("wW revoked 1b>11");
    lots_mailbox_unblock(m);
    CHECK_EQ(lots_op_poll(&w), LOTS_PARKED);
    steps("wW looked 11>10; wW entered 10>18; wW drains 18>1a");
    gives_up(&w, LOTS_BY_TIMEOUT, LOTS_WITHDRAWN, 0x10, "wW timed out 1a>10");
    release(LOTS_READ, 0, 0);
    clean();
}

static void a_writer_whose_loop_does_not_answer_is_not_given_the_lock(void)
{
    lots_op w;
    anew();
    hold(LOTS_READ);
    queue_(&w, LOTS_WRITE, 'w', 0x1A, "wW entered 10>18; wW drains 18>1a");
    a32_store(&m->unresponsive, 1, RELAXED);
    release_(LOTS_READ, 0, 0x01, "I left 1a>a; wW revoked 9>1");
    a32_store(&m->unresponsive, 0, RELAXED);
    got(&w, 0x08, "wW looked 1>0; wW entered 0>8");
    let_go(&w, 0);
    clean();
}

/* --- notifications -------------------------------------------------------------------------------------------------- */

static void who_is_notified_and_asks_for_its_lock(void)
{
    lots_op a;
    anew();
    hold(LOTS_MUTEX);
    task(&a, &word, LOTS_MUTEX, m, 'a');
    lots_op_counts(&a, &record);
    lots_op_expect(&a, here);
    CHECK_EQ(lots_op_poll(&a), LOTS_PARKED);
    steps(""); /* it is no wait for the lock yet */
    CHECK_EQ(notify(1, 0), 1);
    steps("aM queued 8>9");
    release_(LOTS_MUTEX, 0, 0, "I released 1 aM 9>0");
    got(&a, 0x08, "aM entered 0>8");
    let_go(&a, 0);
    task(&a, &word, LOTS_FAIR_MUTEX, m, 'a');
    lots_op_counts(&a, &record);
    lots_op_expect(&a, here);
    CHECK_EQ(lots_op_poll(&a), LOTS_PARKED);
    CHECK_EQ(notify(1, 0), 1);
    steps("I handed 1 aF 0>8");
    got(&a, 0x08, "aF acquired 8>8");
    let_go(&a, 0);
    task(&a, &word, LOTS_MUTEX, m, 'a');
    lots_op_counts(&a, &record);
    lots_op_expect(&a, here);
    CHECK_EQ(lots_op_poll(&a), LOTS_PARKED);
    gives_up(&a, LOTS_BY_TIMEOUT, LOTS_WITHDRAWN, 0, "");
    task(&a, NULL, LOTS_PARK, m, 'a');
    lots_op_counts(&a, &record);
    lots_op_expect(&a, here);
    CHECK_EQ(lots_op_poll(&a), LOTS_PARKED);
    CHECK_EQ(notify(1, 0), 1);
    CHECK_EQ(lots_op_poll(&a), LOTS_READY);
    steps("");
    clean();
}

/* --- what is not noted ---------------------------------------------------------------------------------------------- */

static void what_comes_after_an_impossible_word_does_not_push_out_what_led_there(void)
{
    lots_op a, b;
    anew();
    hold(LOTS_MUTEX);
    queue_(&a, LOTS_MUTEX, 'a', 0x09, "aM queued 8>9");
    queue_(&b, LOTS_MUTEX, 'b', 0x09, "bM queued 9>9");
    word.bits = 0xFFFFFFFFFFFFFFFF;
    cancel(&a, LOTS_BY_TIMEOUT, LOTS_WITHDRAWN, 0xFFFFFFFFFFFFFFFF);
    steps("");
    word.bits = 0x09;
    gives_up(&b, LOTS_BY_TIMEOUT, LOTS_WITHDRAWN, 0x08, "bM timed out 9>8");
    release(LOTS_MUTEX, 0, 0);
    clean();
}

static void who_has_no_trail_leaves_none(void)
{
    lots_op a;
    anew();
    record.trail = NULL;
    hold(LOTS_MUTEX);
    queue_(&a, LOTS_MUTEX, 'a', 0x09, "");
    lots_op_counts(&a, NULL);
    release_(LOTS_MUTEX, 1, 0x08, "");
    got(&a, 0x08, "");
    let_go(&a, 0);
    clean();
}

static void tests(void)
{
    lots_thread_token();
    RUN(woken_or_handed_over);
    RUN(readers_are_woken_at_once);
    RUN(a_writer_takes_its_bit_beside_readers);
    RUN(an_upgrade_and_a_downgrade);
    RUN(a_task_that_is_nudged);
    RUN(a_wake_without_a_release);
    RUN(a_writer_that_drains_times_out);
    RUN(who_is_queued_leaves);
    RUN(who_is_woken_leaves);
    RUN(a_handoff_is_kept_or_given_back);
    RUN(a_thread_whose_handlers_run);
    RUN(a_wake_is_taken_away);
    RUN(a_writer_whose_loop_sleeps_gives_its_bit_back);
    RUN(a_writer_whose_loop_does_not_answer_is_not_given_the_lock);
    RUN(who_is_notified_and_asks_for_its_lock);
    RUN(what_comes_after_an_impossible_word_does_not_push_out_what_led_there);
    RUN(who_has_no_trail_leaves_none);
}

int main(void)
{
    run_with_a_loop(tests);
    return 0;
}
