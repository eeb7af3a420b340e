/* The trail as such: a ring of steps that any number of threads write, and somebody reads meanwhile. */
#define _GNU_SOURCE /* stepping.h */
#include "trailing.h"
#include "stepping.h"

/* Its parts, as trail.c has them. */
static uint64_t *next(void) { return &the.trail.opaque[0]; }
static uint64_t *sequence(int slot) { return &the.trail.opaque[1 + 8 * slot]; }

static void the_last_ones_are_kept(void)
{
    lots_op a;
    lots_transition out[LOTS_TRAIL];
    anew();
    CHECK_EQ(lots_trail_read(&the.trail, out), 0);
    task(&a, &word, LOTS_READ, m, 0);
    lots_op_counts(&a, &record);
    for (uint64_t i = 1; i <= 3 * LOTS_TRAIL; i++) {
        uint64_t kept = i < LOTS_TRAIL ? i : LOTS_TRAIL;
        trail_step(op_waiter(&a), LOTS_STEP_QUEUED, i << 4, i);
        CHECK_EQ(lots_trail_read(&the.trail, out), kept);
        for (uint64_t k = 0; k < kept; k++) {
            CHECK_EQ(out[k].number, i - kept + k + 1);
            CHECK_EQ(out[k].before, out[k].number << 4);
            CHECK_EQ(out[k].after, out[k].number);
        }
    }
    /* Where to begin may be long ago. */
    *next() = 0;
    trail_step(op_waiter(&a), LOTS_STEP_QUEUED, 0x10, 0);
    CHECK_EQ(*next(), 3 * LOTS_TRAIL + 1);
    CHECK_EQ(lots_trail_read(&the.trail, out), LOTS_TRAIL);
    CHECK_EQ(out[LOTS_TRAIL - 1].number, 3 * LOTS_TRAIL + 1);
    CHECK_EQ(out[LOTS_TRAIL - 1].before, 0x10);
}

static void a_slot_that_somebody_writes_is_left_alone(void)
{
    lots_op a;
    lots_transition out[LOTS_TRAIL];
    anew();
    task(&a, &word, LOTS_READ, m, 0);
    lots_op_counts(&a, &record);
    *sequence(0) = 1;
    CHECK_EQ(lots_trail_read(&the.trail, out), 0);
    trail_step(op_waiter(&a), LOTS_STEP_QUEUED, 0x10, 0);
    CHECK_EQ(*sequence(0), 1);
    CHECK_EQ(lots_trail_read(&the.trail, out), 1);
    CHECK_EQ(out[0].number, 2);
    for (int i = 0; i < LOTS_TRAIL; i++)
        *sequence(i) = 2 * (uint64_t)i + 1;
    trail_step(op_waiter(&a), LOTS_STEP_QUEUED, 0x20, 0); /* there is no room */
    CHECK_EQ(*next(), 2);
    for (int i = 0; i < LOTS_TRAIL; i++)
        CHECK_EQ(*sequence(i), 2 * i + 1);
    CHECK_EQ(lots_trail_read(&the.trail, out), 0);
    *sequence(LOTS_TRAIL - 1) = 0;
    *next() = LOTS_TRAIL; /* to the very last one that is tried */
    trail_step(op_waiter(&a), LOTS_STEP_QUEUED, 0x20, 0);
    CHECK_EQ(lots_trail_read(&the.trail, out), 1);
    CHECK_EQ(out[0].number, 2 * LOTS_TRAIL);
}

static lots_op writer;
static uint64_t left_at; /* the word that the reader left behind; 0: it has not left */

static void a_reader_leaves(void)
{
    CHECK_EQ(lots_release(&word, LOTS_READ, 0, NULL), LOTS_READY);
    left_at = lots_word_load(&word);
}

/* A writer comes beside a reader, and that one leaves before the writer looks for it: it has not waited, but it has the lock. */
static void a_writer_that_need_not_drain_after_all(void)
{
    int at = 0, met = 0;
    stepping(&word, NULL, a_reader_leaves);
    do {
        lots_transition out[LOTS_TRAIL];
        size_t count;
        int answer;
        anew();
        hold(LOTS_READ);
        task(&writer, &word, LOTS_WRITE, m, 'w');
        lots_op_counts(&writer, &record);
        left_at = 0;
        if (!STEPPED(++at, answer = lots_op_poll(&writer)))
            break;
        count = lots_trail_read(&the.trail, out);
        if (answer == LOTS_READY && out[0].after == 0x18) {
            met++;
            CHECK_EQ(count, 2);
            CHECK_EQ(out[1].what, LOTS_STEP_ACQUIRED);
            CHECK_EQ(out[1].before, 0x08);
        }
        if (answer == LOTS_PARKED)
            CHECK_EQ(lots_op_poll(&writer), LOTS_READY);
        CHECK_EQ(lots_op_release(&writer, 0, NULL), LOTS_READY);
        clean();
    } while (1);
    CHECK(met || !CAN_STEP);
    cancel(&writer, LOTS_BY_CANCEL, LOTS_WITHDRAWN, 0x10);
    release(LOTS_READ, 0, 0);
    clean();
}

static void *has_no_number(void *op)
{
    trail_by_caller(op_waiter(op), LOTS_STEP_RELEASED, 0x10, 0, 0);
    return NULL;
}

static void a_thread_without_a_number_gets_none(void)
{
    lots_op a;
    lots_transition out[LOTS_TRAIL];
    pthread_t thread;
    anew();
    task(&a, &word, LOTS_READ, m, 'a');
    lots_op_counts(&a, &record);
    CHECK(!pthread_create(&thread, NULL, has_no_number, &a) && !pthread_join(thread, NULL));
    CHECK_EQ(lots_trail_read(&the.trail, out), 1);
    CHECK_EQ(out[0].who, 0);
    CHECK_EQ(out[0].whom, 0);
}

static void each_mailbox_has_a_number_of_its_own(void)
{
    lots_mailbox *one = lots_mailbox_new(), *another;
    uint32_t number = lots_mailbox_number(one);
    CHECK_EQ(lots_mailbox_number(m), 1); /* the first one; 0 is no loop */
    CHECK_EQ(number, 2);
    lots_mailbox_close(one);
    lots_mailbox_free(one);
    another = lots_mailbox_new();
    CHECK_EQ(lots_mailbox_number(another), number + 1);
    lots_mailbox_close(another);
    lots_mailbox_free(another);
}

static void what_was_a_cause_is_none_any_more(void)
{
    lots_op a;
    lots_batch batch = {0};
    lots_transition out[LOTS_TRAIL];
    anew();
    task(&a, &word, LOTS_READ, m, 'a');
    lots_op_counts(&a, &record);
    trail_cause(&batch, op_waiter(&a), LOTS_STEP_TIMED_OUT);
    trail_caused(&batch, LOTS_STEP_ACQUIRED); /* nothing was noted: it came to this */
    CHECK(!batch.cause);
    trail_cause(&batch, op_waiter(&a), LOTS_STEP_TIMED_OUT);
    trail_admitted(&batch, LOTS_STEP_RELEASED, NULL, 0, NULL, 0x10, 0);
    CHECK(!batch.cause);
    trail_caused(&batch, LOTS_STEP_ACQUIRED); /* it was */
    CHECK_EQ(lots_trail_read(&the.trail, out), 2);
    CHECK_EQ(out[0].what, LOTS_STEP_ACQUIRED);
    CHECK_EQ(out[1].what, LOTS_STEP_TIMED_OUT);
}

/* Many write at once: what a reader believes is one step, all of it. */
enum { WRITERS = 4, STEPS = 100000 };
static _Atomic int writing;

static void *writes(void *argument)
{
    lots_op op;
    uint64_t base = *(uint64_t *)argument;
    lots_op_init(&op, &word, LOTS_READ, NULL, 0, 0);
    lots_op_counts(&op, &record);
    for (uint64_t i = 1; i <= STEPS; i++) {
        uint64_t step = base + i;
        op_waiter(&op)->cookie = step;
        trail_step(op_waiter(&op), step & 7, step << 4, ~step);
    }
    writing--;
    return NULL;
}

static void nothing_torn_is_believed(void)
{
    pthread_t threads[WRITERS];
    uint64_t bases[WRITERS], before = 0;
    lots_transition out[LOTS_TRAIL];
    anew();
    writing = WRITERS;
    for (int i = 0; i < WRITERS; i++) {
        bases[i] = (uint64_t)i * STEPS * 2;
        CHECK(!pthread_create(&threads[i], NULL, writes, &bases[i]));
    }
    do {
        size_t count = lots_trail_read(&the.trail, out);
        for (size_t i = 0; i < count; i++) {
            CHECK_EQ(out[i].before, out[i].who << 4);
            CHECK_EQ(out[i].after, ~out[i].who);
            CHECK_EQ(out[i].what, out[i].who & 7);
            CHECK(i ? out[i].number > out[i - 1].number : out[0].number >= before);
        }
        before = count == LOTS_TRAIL ? out[0].number : before; /* no slot goes back */
    } while (writing);
    for (int i = 0; i < WRITERS; i++)
        CHECK(!pthread_join(threads[i], NULL));
    CHECK(lots_trail_read(&the.trail, out) > 0);
}

static void tests(void)
{
    lots_thread_token();
    RUN(the_last_ones_are_kept);
    RUN(a_slot_that_somebody_writes_is_left_alone);
    RUN(a_writer_that_need_not_drain_after_all);
    RUN(a_thread_without_a_number_gets_none);
    RUN(each_mailbox_has_a_number_of_its_own);
    RUN(what_was_a_cause_is_none_any_more);
    RUN(nothing_torn_is_believed);
}

int main(void)
{
    run_with_a_loop(tests);
    return 0;
}
