/* Threads on a read-write lock: who parks, who passes, and the word after each step. */
#include "actors.h"

static lots_word word;

static void a_writer_waits_for_readers_and_new_readers_for_it(void)
{
    actor writer, reader, second;
    CHECK_EQ(lots_try(&word, LOTS_READ), 1);
    CHECK_WORD(&word, 0x10);
    start(&writer, &word, LOTS_WRITE);
    parked(&word, 1);
    CHECK_WORD(&word, 0x1a); /* it owns WRITER, and sleeps until the reader is gone */
    CHECK_EQ(lots_try(&word, LOTS_READ), 0);
    CHECK_EQ(lots_try(&word, LOTS_READ_RECURSIVE), 1); /* may belong to the reader that is in */
    CHECK_WORD(&word, 0x2a);
    CHECK_EQ(lots_release(&word, LOTS_READ_RECURSIVE, 0, NULL), LOTS_READY);
    CHECK_WORD(&word, 0x1a);
    start(&reader, &word, LOTS_READ);
    parked(&word, 2);
    CHECK_WORD(&word, 0x1b);
    start(&second, &word, LOTS_WRITE);
    parked(&word, 3);
    CHECK_WORD(&word, 0x1b);

    CHECK_EQ(lots_release(&word, LOTS_READ, 0, NULL), LOTS_READY);
    CHECK_WORD(&word, 0x09);
    CHECK_EQ(finish(&writer), LOTS_READY);
    CHECK_WORD(&word, 0x09);
    CHECK_EQ(lots_for_each(&word, NULL, 0), 2);

    CHECK_EQ(lots_op_release(&writer.op, 1, NULL), LOTS_READY); /* fair: the reader is in, the second writer owns WRITER */
    CHECK_EQ(finish(&reader), LOTS_READY);
    parked(&word, 1);
    CHECK_WORD(&word, 0x1a);
    CHECK_EQ(lots_op_release(&reader.op, 0, NULL), LOTS_READY);
    CHECK_WORD(&word, 0x08);
    CHECK_EQ(finish(&second), LOTS_READY);
    CHECK_EQ(lots_op_release(&second.op, 0, NULL), LOTS_READY);
    CHECK_WORD(&word, 0);
}

static void only_the_last_reader_wakes_the_writer(void)
{
    actor writer;
    for (int i = 0; i < 3; i++)
        CHECK_EQ(lots_try(&word, LOTS_READ), 1);
    start(&writer, &word, LOTS_WRITE);
    parked(&word, 1);
    CHECK_WORD(&word, 0x3a);
    CHECK_EQ(lots_release(&word, LOTS_READ, 0, NULL), LOTS_READY);
    CHECK_WORD(&word, 0x2a);
    CHECK_EQ(lots_release(&word, LOTS_READ, 0, NULL), LOTS_READY);
    CHECK_WORD(&word, 0x1a);
    CHECK(!writer.ended);
    CHECK_EQ(lots_release(&word, LOTS_READ, 0, NULL), LOTS_READY);
    CHECK_WORD(&word, 0x08);
    CHECK_EQ(finish(&writer), LOTS_READY);
    CHECK_EQ(lots_op_release(&writer.op, 0, NULL), LOTS_READY);
    CHECK_WORD(&word, 0);
}

/* R28: those who share are really in together. All of them hold until the word has counted them. */
static void readers_that_queued_are_in_together(void)
{
    static actor readers[5];
    for (int round = 0; round < 100; round++) {
        CHECK_EQ(lots_try(&word, LOTS_WRITE), 1);
        for (int i = 0; i < 5; i++)
            start(&readers[i], &word, LOTS_READ);
        parked(&word, 5);
        CHECK_WORD(&word, 0x09);
        CHECK_EQ(lots_release(&word, LOTS_WRITE, round & 1, NULL), LOTS_READY);
        for (int i = 0; i < 5; i++)
            CHECK_EQ(finish(&readers[i]), LOTS_READY);
        CHECK_WORD(&word, 0x50);
        for (uint64_t i = 0; i < 5; i++) {
            CHECK_EQ(lots_op_release(&readers[i].op, 0, NULL), LOTS_READY);
            CHECK_WORD(&word, 0x40 - 0x10 * i);
        }
    }
}

static void more_readers_than_one_batch_are_in_together(void)
{
    enum { MANY = 2 * BATCH_THREADS + 6 };
    static actor readers[MANY];
    for (int fair = 0; fair < 2; fair++) {
        CHECK_EQ(lots_try(&word, LOTS_WRITE), 1);
        for (int i = 0; i < MANY; i++)
            start(&readers[i], &word, LOTS_READ);
        parked(&word, MANY);
        CHECK_EQ(lots_release(&word, LOTS_WRITE, fair, NULL), LOTS_READY);
        for (int i = 0; i < MANY; i++)
            CHECK_EQ(finish(&readers[i]), LOTS_READY);
        CHECK_WORD(&word, 0x10 * MANY);
        for (int i = 0; i < MANY; i++)
            CHECK_EQ(lots_op_release(&readers[i].op, 0, NULL), LOTS_READY);
        CHECK_WORD(&word, 0);
    }
}

static void a_fair_release_admits_readers_up_to_the_first_writer(void)
{
    static const uint32_t modes[] = {LOTS_READ, LOTS_READ_RECURSIVE, LOTS_WRITE, LOTS_READ};
    actor a[4];
    CHECK_EQ(lots_try(&word, LOTS_WRITE), 1);
    for (size_t i = 0; i < 4; i++) {
        start(&a[i], &word, modes[i]);
        parked(&word, i + 1);
        CHECK_WORD(&word, 0x09);
    }
    CHECK_EQ(lots_release(&word, LOTS_WRITE, 1, NULL), LOTS_READY);
    CHECK_EQ(finish(&a[0]), LOTS_READY);
    CHECK_EQ(finish(&a[1]), LOTS_READY);
    UNTIL(lots_word_load(&word) == 0x2b); /* both are in, the writer owns WRITER and drains, the last is behind it */
    CHECK_EQ(lots_for_each(&word, NULL, 0), 2);
    CHECK_EQ(lots_op_release(&a[0].op, 0, NULL), LOTS_READY);
    CHECK_WORD(&word, 0x1b);
    CHECK_EQ(lots_op_release(&a[1].op, 0, NULL), LOTS_READY);
    CHECK_WORD(&word, 0x09);
    CHECK_EQ(finish(&a[2]), LOTS_READY);
    set_fairness(&word, FAIR_NEVER);
    CHECK_EQ(lots_op_release(&a[2].op, 0, NULL), LOTS_READY);
    CHECK_EQ(finish(&a[3]), LOTS_READY);
    CHECK_WORD(&word, 0x10);
    CHECK_EQ(lots_op_release(&a[3].op, 0, NULL), LOTS_READY);
    CHECK_WORD(&word, 0);
}

static void the_fairness_timer_makes_a_release_fair(void)
{
    actor reader;
    CHECK_EQ(lots_try(&word, LOTS_WRITE), 1);
    start(&reader, &word, LOTS_READ);
    parked(&word, 1);
    set_fairness(&word, FAIR_NOW);
    CHECK_EQ(lots_release(&word, LOTS_WRITE, 0, NULL), LOTS_READY);
    CHECK_WORD(&word, 0x10); /* at once: it was never free */
    CHECK_EQ(finish(&reader), LOTS_READY);
    CHECK_EQ(lots_op_release(&reader.op, 0, NULL), LOTS_READY);
    CHECK_WORD(&word, 0);
}

static void a_recursive_read_waits_for_a_writer_that_is_in(void)
{
    actor reader;
    CHECK_EQ(lots_try(&word, LOTS_WRITE), 1);
    start(&reader, &word, LOTS_READ_RECURSIVE);
    parked(&word, 1);
    CHECK_WORD(&word, 0x09);
    CHECK_EQ(lots_release(&word, LOTS_WRITE, 0, NULL), LOTS_READY);
    CHECK_EQ(finish(&reader), LOTS_READY);
    CHECK_WORD(&word, 0x10);
    CHECK_EQ(lots_op_release(&reader.op, 0, NULL), LOTS_READY);
    CHECK_WORD(&word, 0);
}

/* W6 at its narrowest: the last reader has made the word W|W_P, and stands before the bucket lock to wake the writer. The
 * writer is not in yet, so a release is a misuse, and must not take WRITER away under it. */
static void *release_reader(void *unused)
{
    CHECK_EQ(lots_release(&word, LOTS_READ, 0, NULL), LOTS_READY);
    return unused;
}

static void a_writer_about_to_be_woken_cannot_be_released(void)
{
    actor writer;
    pthread_t last;
    lots_bucket *b;
    CHECK_EQ(lots_try(&word, LOTS_READ), 1);
    start(&writer, &word, LOTS_WRITE);
    parked(&word, 1);
    b = lot_lock((uintptr_t)&word);
    CHECK(!pthread_create(&last, NULL, release_reader, NULL));
    UNTIL(lots_word_load(&word) == 0x0a);
    CHECK_EQ(lots_release(&word, LOTS_WRITE, 0, NULL), LOTS_MISUSE); /* hangs on the bucket lock if it believes the word */
    CHECK_WORD(&word, 0x0a);
    lot_unlock(b);
    CHECK(!pthread_join(last, NULL));
    CHECK_EQ(finish(&writer), LOTS_READY);
    CHECK_WORD(&word, 0x08);
    CHECK_EQ(lots_op_release(&writer.op, 0, NULL), LOTS_READY);
    CHECK_WORD(&word, 0);
}

int main(void)
{
    watchdog(30);
    RUN(a_writer_waits_for_readers_and_new_readers_for_it);
    RUN(only_the_last_reader_wakes_the_writer);
    RUN(readers_that_queued_are_in_together);
    RUN(more_readers_than_one_batch_are_in_together);
    RUN(a_fair_release_admits_readers_up_to_the_first_writer);
    RUN(the_fairness_timer_makes_a_release_fair);
    RUN(a_recursive_read_waits_for_a_writer_that_is_in);
    RUN(a_writer_about_to_be_woken_cannot_be_released);
    return 0;
}
