/* Upgradable reads: beside plain readers, one at a time, and the way from one mode to another, the word after each step; by
 * threads that really wait. (test_upgrades.c: by ops that are polled by hand.) */
#include "steps.h"

#include <sys/wait.h>

static lots_word word;

static void beside_plain_readers_and_alone_of_its_kind(void)
{
    CHECK_EQ(lots_try(&word, LOTS_UPGRADABLE), 1);
    CHECK_WORD(&word, 0x14);
    CHECK_EQ(lots_try(&word, LOTS_UPGRADABLE), 0);
    CHECK_EQ(lots_try(&word, LOTS_WRITE), 0);
    CHECK_EQ(lots_try(&word, LOTS_READ), 1);
    CHECK_WORD(&word, 0x24);
    CHECK_EQ(lots_release(&word, LOTS_UPGRADABLE, 0, NULL), LOTS_READY);
    CHECK_WORD(&word, 0x10);
    CHECK_EQ(lots_release(&word, LOTS_READ, 0, NULL), LOTS_READY);
    CHECK_WORD(&word, 0);
}

static void upgraded_at_once_when_alone(void)
{
    CHECK_EQ(lots_try(&word, LOTS_UPGRADE), 0); /* nothing to upgrade */
    CHECK_EQ(lots_try(&word, LOTS_UPGRADABLE), 1);
    CHECK_EQ(lots_try(&word, LOTS_READ), 1);
    CHECK_EQ(lots_try(&word, LOTS_UPGRADE), 0);
    CHECK_WORD(&word, 0x24);
    CHECK_EQ(lots_release(&word, LOTS_READ, 0, NULL), LOTS_READY);
    CHECK_EQ(lots_try(&word, LOTS_UPGRADE), 1);
    CHECK_WORD(&word, 8);
    CHECK_EQ(lots_release(&word, LOTS_UPGRADE, 0, NULL), LOTS_READY); /* taken back */
    CHECK_WORD(&word, 0x14);
    CHECK_EQ(lots_try(&word, LOTS_UPGRADE), 1);
    CHECK_EQ(lots_release(&word, LOTS_WRITE, 0, NULL), LOTS_READY); /* or left as the writer that it is */
    CHECK_WORD(&word, 0);
}

static void downgrades(void)
{
    CHECK_EQ(lots_try(&word, LOTS_WRITE), 1);
    CHECK_EQ(lots_downgrade(&word, LOTS_WRITE, LOTS_UPGRADABLE, NULL), LOTS_READY);
    CHECK_WORD(&word, 0x14);
    CHECK_EQ(lots_downgrade(&word, LOTS_WRITE, LOTS_READ, NULL), LOTS_MISUSE);
    CHECK_WORD(&word, 0x14);
    CHECK_EQ(lots_downgrade(&word, LOTS_UPGRADABLE, LOTS_READ, NULL), LOTS_READY);
    CHECK_WORD(&word, 0x10);
    CHECK_EQ(lots_downgrade(&word, LOTS_UPGRADABLE, LOTS_READ, NULL), LOTS_MISUSE);
    CHECK_EQ(lots_downgrade(&word, LOTS_READ, LOTS_WRITE, NULL), LOTS_MISUSE);
    CHECK_WORD(&word, 0x10);
    CHECK_EQ(lots_release(&word, LOTS_READ, 0, NULL), LOTS_READY);
    CHECK_EQ(lots_try(&word, LOTS_WRITE), 1);
    CHECK_EQ(lots_downgrade(&word, LOTS_WRITE, LOTS_READ, NULL), LOTS_READY);
    CHECK_WORD(&word, 0x10);
    CHECK_EQ(lots_release(&word, LOTS_READ, 0, NULL), LOTS_READY);
    CHECK_WORD(&word, 0);
}

/* --- threads that wait --------------------------------------------------------------------------------------------------- */

static void ends_well(actor *a, uint32_t mode)
{
    CHECK_EQ(finish(a), LOTS_READY);
    CHECK_EQ(lots_release(&word, mode, 0, NULL), LOTS_READY);
}

/* R16: who is to be upgradable queues behind a writer that drains, and gets in when that one times out. */
static void behind_a_writer_that_times_out(void)
{
    for (uint32_t mode = LOTS_READ; mode <= LOTS_UPGRADABLE; mode += LOTS_UPGRADABLE) {
        actor writer, behind;
        hold(LOTS_READ);
        start(&writer, &word, LOTS_WRITE);
        UNTIL(lots_word_load(&word) == 0x1a);
        start(&behind, &word, mode);
        parked(&word, 2);
        CHECK_WORD(&word, 0x1b);
        CHECK_EQ(interrupt(&writer), LOTS_WITHDRAWN);
        CHECK_EQ(finish(&behind), LOTS_READY); /* while the first reader still holds */
        CHECK_WORD(&word, mode == LOTS_READ ? 0x20 : 0x24);
        release(mode, 0, 0x10);
        release(LOTS_READ, 0, 0);
    }
}

/* R17: a writer that waits does not come in between the upgradable read and the write. */
static void no_writer_comes_in_between(void)
{
    for (int i = 0; i < 100; i++) {
        actor up, writer;
        hold(LOTS_UPGRADABLE);
        CHECK_EQ(lots_try(&word, LOTS_READ), 1);
        start(&writer, &word, LOTS_WRITE);
        parked(&word, 1);
        CHECK_WORD(&word, 0x25);
        start(&up, &word, LOTS_UPGRADE);
        if (i % 2)
            UNTIL(lots_word_load(&word) == 0x1b);
        CHECK_EQ(lots_release(&word, LOTS_READ, 0, NULL), LOTS_READY);
        CHECK_EQ(finish(&up), LOTS_READY);
        CHECK_WORD(&word, 0x09);
        CHECK_EQ(lots_op_state(&writer.op), LOTS_QUEUED);
        CHECK_EQ(lots_downgrade(&word, LOTS_WRITE, LOTS_UPGRADABLE, NULL), LOTS_READY);
        CHECK_WORD(&word, 0x15); /* nor on the way back */
        CHECK_EQ(lots_release(&word, LOTS_UPGRADABLE, i % 3 == 0, NULL), LOTS_READY);
        ends_well(&writer, LOTS_WRITE);
        CHECK_WORD(&word, 0);
    }
}

/* R18: a second one that queues keeps plain readers out no more than the first does. */
static void a_second_one_that_waits_keeps_no_reader_out(void)
{
    actor second;
    hold(LOTS_UPGRADABLE);
    start(&second, &word, LOTS_UPGRADABLE);
    parked(&word, 1);
    CHECK_EQ(lots_try(&word, LOTS_READ), 1);
    CHECK_WORD(&word, 0x25);
    release(LOTS_UPGRADABLE, 1, 0x24); /* handed over, beside the reader */
    ends_well(&second, LOTS_UPGRADABLE);
    release(LOTS_READ, 0, 0);
}

/* R19: an upgrade that times out is upgradable again, and the readers behind it get in. */
static void an_upgrade_that_times_out(void)
{
    actor up, reader;
    hold(LOTS_UPGRADABLE);
    CHECK_EQ(lots_try(&word, LOTS_READ), 1);
    start_until(&up, &word, LOTS_UPGRADE, now_ns() + 30000000); /* time itself: long enough for the reader to queue behind it */
    start(&reader, &word, LOTS_READ);
    CHECK_EQ(finish(&up), LOTS_TIMED_OUT);
    CHECK_EQ(finish(&reader), LOTS_READY);
    CHECK_WORD(&word, 0x34);
    release(LOTS_READ, 0, 0x24);
    release(LOTS_READ, 0, 0x14);
    start_until(&up, &word, LOTS_UPGRADE, 0); /* nobody is in the way: it need not wait */
    CHECK_EQ(finish(&up), LOTS_READY);
    CHECK_WORD(&word, 0x08);
    release(LOTS_UPGRADE, 0, 0x14);
    release(LOTS_UPGRADABLE, 0, 0);
}

static void a_downgrade_lets_those_in_who_queue(void)
{
    for (uint32_t to = LOTS_READ; to <= LOTS_UPGRADABLE; to += LOTS_UPGRADABLE) {
        actor readers[3], writer;
        hold(LOTS_WRITE);
        for (size_t i = 0; i < 3; i++) {
            start(&readers[i], &word, LOTS_READ);
            parked(&word, i + 1);
        }
        if (to == LOTS_UPGRADABLE) { /* a writer it keeps out */
            start(&writer, &word, LOTS_WRITE);
            parked(&word, 4);
        }
        CHECK_EQ(lots_downgrade(&word, LOTS_WRITE, to, NULL), LOTS_READY);
        for (int i = 0; i < 3; i++)
            CHECK_EQ(finish(&readers[i]), LOTS_READY);
        CHECK_WORD(&word, to == LOTS_READ ? 0x40 : 0x45);
        for (int i = 0; i < 3; i++)
            CHECK_EQ(lots_release(&word, LOTS_READ, 0, NULL), LOTS_READY);
        CHECK_EQ(lots_release(&word, to, 0, NULL), LOTS_READY);
        if (to == LOTS_UPGRADABLE)
            ends_well(&writer, LOTS_WRITE);
        CHECK_WORD(&word, 0);
    }
}

/* R36: in a forked child nobody drains: what an upgrade took is upgradable again, as its guard is. */
static void a_fork_while_an_upgrade_waits(void)
{
    actor up, writer;
    int status;
    pid_t child;
    hold(LOTS_UPGRADABLE);
    CHECK_EQ(lots_try(&word, LOTS_READ), 1);
    start(&up, &word, LOTS_UPGRADE);
    UNTIL(lots_word_load(&word) == 0x1a);
    start(&writer, &word, LOTS_WRITE);
    parked(&word, 2);
    child = fork();
    if (!child) {
        watchdog(20);
        CHECK_WORD(&word, 0x24);
        CHECK_EQ(lots_op_state(&up.op), LOTS_GONE);
        CHECK_EQ(lots_for_each(NULL, NULL, 0), 0);
        release(LOTS_READ, 0, 0x14);
        CHECK_EQ(lots_try(&word, LOTS_UPGRADE), 1);
        release(LOTS_WRITE, 0, 0);
        _exit(0);
    }
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
    CHECK_WORD(&word, 0x1b);
    CHECK_EQ(lots_release(&word, LOTS_READ, 0, NULL), LOTS_READY);
    ends_well(&up, LOTS_WRITE);
    ends_well(&writer, LOTS_WRITE);
    CHECK_WORD(&word, 0);
}

int main(void)
{
    watchdog(30);
    RUN(beside_plain_readers_and_alone_of_its_kind);
    RUN(upgraded_at_once_when_alone);
    RUN(downgrades);
    RUN(behind_a_writer_that_times_out);
    RUN(no_writer_comes_in_between);
    RUN(a_second_one_that_waits_keeps_no_reader_out);
    RUN(an_upgrade_that_times_out);
    RUN(a_downgrade_lets_those_in_who_queue);
    RUN(a_fork_while_an_upgrade_waits);
    return 0;
}
