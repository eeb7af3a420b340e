/* The incident of 2025-05-28, step by step: a writer times out, and a departing reader comes between its leave of the queue and
 * what it makes of the word. With its bug put back (BUG=465) this leads to the very words of that day, and the trail says who led
 * there; without it, to none, wherever the reader comes between. */
#define _GNU_SOURCE /* stepping.h */
#include "trailing.h"
#include "stepping.h"

static lots_op writer, reader;

static void the_reader_departs(void) { CHECK_EQ(lots_release(&word, LOTS_READ, 0, NULL), LOTS_READY); }

static void led_there(uint64_t wanted)
{
    lots_transition out[LOTS_TRAIL];
    size_t count = lots_trail_read(&the.trail, out);
    const lots_transition *last = &out[count - 1];
    CHECK_WORD(&word, wanted);
    CHECK_EQ(last->after, wanted);
    CHECK_EQ(last->before, wanted + (WRITER | WRITER_PARKED));
    CHECK_EQ(last->what, LOTS_STEP_TIMED_OUT);
    CHECK_EQ(last->who, 'w');
    CHECK_EQ(last->mode, LOTS_WRITE);
}

/* `behind`: a reader is queued behind the writer. */
static void a_writer_times_out(int behind)
{
    int at = 0, found = 0, came_between;
    stepping(&word, NULL, the_reader_departs);
    do {
        anew();
        hold(LOTS_READ);
        counted_queue(&writer, LOTS_WRITE, 'w', 0x1A);
        if (behind)
            counted_queue(&reader, LOTS_READ, 'r', 0x1B);
        came_between = STEPPED(++at, lots_op_cancel(&writer, LOTS_BY_TIMEOUT, NULL));
        if (word_is_impossible(lots_word_load(&word))) {
            led_there(behind ? 0xFFFFFFFFFFFFFFFF : 0xFFFFFFFFFFFFFFFE);
            word.bits = behind;
            found++;
        } else if (!came_between) {
            the_reader_departs();
        }
        if (behind)
            lots_op_cancel(&reader, LOTS_BY_CANCEL, NULL);
        if (lots_op_state(&writer) == LOTS_HELD) /* the lock came first */
            CHECK_EQ(lots_op_release(&writer, 0, NULL), LOTS_READY);
        if (BUG_465) {
            word.bits = 0;
            mail(m, 1);
        } else {
            clean();
        }
    } while (came_between);
    CHECK_EQ(found > 0, BUG_465 && CAN_STEP);
}

static void nobody_waits_behind_it(void) { a_writer_times_out(0); }
static void a_reader_waits_behind_it(void) { a_writer_times_out(1); }

static void tests(void)
{
    RUN(nobody_waits_behind_it);
    RUN(a_reader_waits_behind_it);
}

int main(void)
{
    run_with_a_loop(tests);
    return 0;
}
