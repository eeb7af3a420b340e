/* The trail as such: a ring of steps that any number of threads write, and somebody reads meanwhile. */
#include "trailing.h"

static void the_last_ones_are_kept(void)
{
    lots_op a;
    lots_transition out[LOTS_TRAIL];
    uint64_t noted;
    anew();
    CHECK_EQ(lots_trail_read(&trail, out, &noted), 0);
    CHECK_EQ(noted, 0);
    task(&a, &word, LOTS_READ, m, 0);
    lots_op_counts(&a, &record);
    for (uint64_t i = 1; i <= 3 * LOTS_TRAIL; i++) {
        uint64_t kept = i < LOTS_TRAIL ? i : LOTS_TRAIL;
        trail_step(op_waiter(&a), LOTS_STEP_QUEUED, i << 4, i);
        CHECK_EQ(lots_trail_read(&trail, out, &noted), kept);
        CHECK_EQ(noted, i);
        for (uint64_t k = 0; k < kept; k++) {
            CHECK_EQ(out[k].number, i - kept + k + 1);
            CHECK_EQ(out[k].before, out[k].number << 4);
            CHECK_EQ(out[k].after, out[k].number);
        }
    }
    /* A slot that somebody writes is left out, and left alone; the one after it is not. */
    ((uint64_t *)&trail)[1] |= 1;
    CHECK_EQ(lots_trail_read(&trail, out, &noted), LOTS_TRAIL - 1);
    trail_step(op_waiter(&a), LOTS_STEP_QUEUED, 0x10, 0);
    trail_step(op_waiter(&a), LOTS_STEP_QUEUED, 0x20, 0);
    CHECK_EQ(lots_trail_read(&trail, out, &noted), LOTS_TRAIL - 1);
    CHECK_EQ(out[LOTS_TRAIL - 2].before, 0x20);
    CHECK_EQ(noted, 3 * LOTS_TRAIL + 2);
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
    uint64_t noted;
    pthread_t thread;
    anew();
    task(&a, &word, LOTS_READ, m, 'a');
    lots_op_counts(&a, &record);
    CHECK(!pthread_create(&thread, NULL, has_no_number, &a) && !pthread_join(thread, NULL));
    CHECK_EQ(lots_trail_read(&trail, out, &noted), 1);
    CHECK_EQ(out[0].who, 0);
    CHECK_EQ(out[0].whom, 0);
}

static void each_mailbox_has_a_number_of_its_own(void)
{
    lots_mailbox *one = lots_mailbox_new(), *another;
    uint32_t number = lots_mailbox_number(one);
    CHECK_EQ(number, lots_mailbox_number(m) + 1);
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
    uint64_t noted;
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
    CHECK_EQ(lots_trail_read(&trail, out, &noted), 2);
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
    uint64_t bases[WRITERS], noted = 0;
    lots_transition out[LOTS_TRAIL];
    anew();
    writing = WRITERS;
    for (int i = 0; i < WRITERS; i++) {
        bases[i] = (uint64_t)i * STEPS * 2;
        CHECK(!pthread_create(&threads[i], NULL, writes, &bases[i]));
    }
    do {
        size_t count = lots_trail_read(&trail, out, &noted);
        for (size_t i = 0; i < count; i++) {
            CHECK_EQ(out[i].before, out[i].who << 4);
            CHECK_EQ(out[i].after, ~out[i].who);
            CHECK_EQ(out[i].what, out[i].who & 7);
            CHECK(out[i].number <= noted && out[i].number + LOTS_TRAIL > noted);
            CHECK(!i || out[i].number > out[i - 1].number);
        }
    } while (writing);
    for (int i = 0; i < WRITERS; i++)
        CHECK(!pthread_join(threads[i], NULL));
    CHECK(lots_trail_read(&trail, out, &noted) > 0);
    CHECK_EQ(noted, WRITERS * STEPS);
}

static void tests(void)
{
    lots_thread_token();
    RUN(the_last_ones_are_kept);
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
