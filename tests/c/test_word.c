/* The bare word: what each mode adds on entering and takes on leaving, alone and beside others, and that a release which
 * nobody is owed leaves it as it was (W6). */
#include "actors.h"

static lots_word word;

static void set(uint64_t bits) { word.bits = bits; }

static void readers_are_counted_in_units_of_16(void)
{
    CHECK_EQ(lots_try(&word, LOTS_READ), 1);
    CHECK_WORD(&word, 0x10);
    CHECK_EQ(lots_try(&word, LOTS_READ_RECURSIVE), 1);
    CHECK_WORD(&word, 0x20);
    CHECK_EQ(lots_try(&word, LOTS_WRITE), 0); /* never waits, so it does not take WRITER either */
    CHECK_WORD(&word, 0x20);
    CHECK_EQ(lots_release(&word, LOTS_READ, 0, NULL), LOTS_READY);
    CHECK_WORD(&word, 0x10);
    CHECK_EQ(lots_release(&word, LOTS_READ_RECURSIVE, 0, NULL), LOTS_READY);
    CHECK_WORD(&word, 0);
}

static void a_writer_is_one_bit(void)
{
    CHECK_EQ(lots_try(&word, LOTS_WRITE), 1);
    CHECK_WORD(&word, 8);
    for (uint32_t mode = 0; mode < LOTS_PARK; mode++)
        CHECK_EQ(lots_try(&word, mode), 0);
    CHECK_WORD(&word, 8);
    CHECK_EQ(lots_release(&word, LOTS_WRITE, 0, NULL), LOTS_READY);
    CHECK_WORD(&word, 0);
    CHECK_EQ(lots_try(&word, LOTS_WRITE), 1);
    CHECK_EQ(lots_release(&word, LOTS_WRITE, 1, NULL), LOTS_READY); /* fair to nobody */
    CHECK_WORD(&word, 0);
}

static void a_mutex_is_the_same_bit(void)
{
    CHECK_EQ(lots_try(&word, LOTS_MUTEX), 1);
    CHECK_WORD(&word, 8);
    CHECK_EQ(lots_try(&word, LOTS_MUTEX), 0);
    CHECK_EQ(lots_release(&word, LOTS_MUTEX, 0, NULL), LOTS_READY);
    CHECK_WORD(&word, 0);
}

/* Said once more, in other words than modes.c has: may `mode` have the whole of the lock now? */
static int may_have(uint64_t w, uint32_t mode)
{
    uint64_t readers = w >> 4;
    switch (mode) {
    case LOTS_READ: return !(w & 8);
    case LOTS_READ_RECURSIVE: return !(w & 8) || readers > 0;
    case LOTS_WRITE: return !(w & 8) && !(w & 4) && !readers;
    case LOTS_UPGRADABLE: return !(w & 8) && !(w & 4);
    case LOTS_UPGRADE: return !(w & 8) && (w & 4) && readers == 1;
    default: return !(w & 8);
    }
}

static void try_enters_exactly_when_it_may(void)
{
    for (uint64_t w = 0; w < 0x40; w++) {
        for (uint32_t mode = 0; mode < LOTS_PARK; mode++) {
            uint64_t added = mode == LOTS_READ || mode == LOTS_READ_RECURSIVE ? 16 : 8;
            if (mode == LOTS_UPGRADABLE)
                added = 20;
            if (mode == LOTS_UPGRADE)
                added = 8 - 20; /* instead of the share and the bit */
            if (mode == LOTS_MUTEX && w >> 4)
                continue; /* a mutex's word never has readers */
            set(w);
            CHECK_EQ(lots_try(&word, mode), may_have(w, mode));
            CHECK_WORD(&word, may_have(w, mode) ? w + added : w); /* the two queue bits are nobody's business here */
        }
    }
    set(0);
}

static void a_release_that_nobody_is_owed_changes_nothing(void)
{
    static const struct { uint64_t bits; uint32_t mode; } wrong[] = {
        {0x00, LOTS_READ}, {0x00, LOTS_READ_RECURSIVE}, {0x00, LOTS_WRITE}, {0x00, LOTS_MUTEX}, /* free */
        {0x01, LOTS_READ}, {0x01, LOTS_WRITE},  /* free, a wake is under way */
        {0x08, LOTS_READ}, {0x09, LOTS_READ_RECURSIVE}, /* write-locked */
        {0x10, LOTS_WRITE}, {0x21, LOTS_WRITE}, {0x24, LOTS_WRITE}, /* read-locked */
        {0x00, LOTS_UPGRADABLE}, {0x08, LOTS_UPGRADABLE}, {0x20, LOTS_UPGRADABLE}, {0x21, LOTS_UPGRADABLE}, /* no U */
        {0x10, LOTS_UPGRADE}, {0x14, LOTS_UPGRADE}, {0x18, LOTS_UPGRADE}, /* not the writer */
        {0x18, LOTS_WRITE}, {0x1a, LOTS_WRITE}, {0x1b, LOTS_WRITE}, /* the writer waits for readers: not in yet */
        {0x0a, LOTS_WRITE}, {0x0b, LOTS_WRITE}, /* the last reader is about to wake it: not in yet */
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        for (int fair = 0; fair < 2; fair++) {
            set(wrong[i].bits);
            CHECK_EQ(lots_release(&word, wrong[i].mode, fair, NULL), LOTS_MISUSE);
            CHECK_WORD(&word, wrong[i].bits);
        }
    set(0);
}

/* Said once more, by the table of csrc/lock_word.h: its rows in the order W_P, U, W, readers. */
static int is_in_the_table(uint64_t w)
{
    int wp = w >> 1 & 1, u = w >> 2 & 1, wr = w >> 3 & 1, readers = w >> 4 != 0;
    return (!wp && !u) || (wp && !u && wr) || (!wp && u && !wr && readers);
}

static void impossible_words_are_those_outside_of_the_table(void)
{
    static const uint64_t most = (uint64_t)1 << 32;
    for (uint64_t flags = 0; flags < 16; flags++)
        for (uint64_t readers = 0; readers < 3; readers++) {
            set(flags | readers << 4);
            CHECK_EQ(lots_word_is_impossible(&word), !is_in_the_table(flags | readers << 4));
        }
    set(most << 4);
    CHECK_EQ(lots_word_is_impossible(&word), 0);
    set((most + 1) << 4);
    CHECK_EQ(lots_word_is_impossible(&word), 1);
    set(UINT64_MAX); /* both words of 2025-05-28 */
    CHECK_EQ(lots_word_is_impossible(&word), 1);
    set(UINT64_MAX - 1);
    CHECK_EQ(lots_word_is_impossible(&word), 1);
    set(0);
}

static void an_op_is_asked_once_and_released_once(void)
{
    for (uint32_t mode = 0; mode <= LOTS_UPGRADABLE; mode++) {
        uint64_t held = mode == LOTS_READ || mode == LOTS_READ_RECURSIVE ? 16 : mode == LOTS_UPGRADABLE ? 20 : 8;
        for (int polled = 0; polled < 2; polled++) {
            lots_op op;
            lots_op_init(&op, &word, mode, NULL, 0, 0);
            CHECK_EQ(lots_op_state(&op), LOTS_PENDING);
            CHECK_EQ(lots_op_release(&op, 0, NULL), LOTS_MISUSE);
            CHECK_WORD(&word, 0);
            CHECK_EQ(polled ? lots_op_poll(&op) : lots_op_try(&op), LOTS_READY);
            CHECK_WORD(&word, held);
            CHECK_EQ(lots_op_state(&op), LOTS_HELD);
            CHECK_EQ(lots_op_try(&op), LOTS_MISUSE);
            CHECK_EQ(lots_op_poll(&op), LOTS_MISUSE);
            CHECK_EQ(lots_op_wait(&op, LOTS_NEVER), LOTS_MISUSE);
            CHECK_WORD(&word, held);
            CHECK_EQ(lots_op_release(&op, 0, NULL), LOTS_READY);
            CHECK_WORD(&word, 0);
            CHECK_EQ(lots_op_state(&op), LOTS_RELEASED);
            CHECK_EQ(lots_op_release(&op, 0, NULL), LOTS_MISUSE);
            CHECK_EQ(lots_op_poll(&op), LOTS_MISUSE);
            CHECK_EQ(lots_op_try(&op), LOTS_MISUSE);
            CHECK_WORD(&word, 0);
        }
    }
}

static void try_then_poll_is_one_acquisition(void)
{
    lots_op op;
    set(8);
    lots_op_init(&op, &word, LOTS_READ, NULL, 0, 0);
    CHECK_EQ(lots_op_try(&op), LOTS_PARKED); /* not queued: the word has no PARKED */
    CHECK_WORD(&word, 8);
    CHECK_EQ(lots_for_each(&word, NULL, 0), 0);
    CHECK_EQ(lots_op_try(&op), LOTS_MISUSE);
    set(0);
    CHECK_EQ(lots_op_wait(&op, LOTS_NEVER), LOTS_READY);
    CHECK_WORD(&word, 0x10);
    CHECK_EQ(lots_op_release(&op, 0, NULL), LOTS_READY);
    CHECK_WORD(&word, 0);
}

int main(void)
{
    watchdog(30);
    RUN(readers_are_counted_in_units_of_16);
    RUN(a_writer_is_one_bit);
    RUN(a_mutex_is_the_same_bit);
    RUN(try_enters_exactly_when_it_may);
    RUN(a_release_that_nobody_is_owed_changes_nothing);
    RUN(impossible_words_are_those_outside_of_the_table);
    RUN(an_op_is_asked_once_and_released_once);
    RUN(try_then_poll_is_one_acquisition);
    return 0;
}
