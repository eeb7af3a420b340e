/* The inline functions of csrc's headers, as this file compiles them: each says once more, in other words, what the header's
 * own table or comment says. (Mutants of a header are tried on this test too, compiled with the mutant.) */
#include "steps.h"

#include "clock.h"
#include "fast_path.h"
#include "levels.h"

static void set(uint64_t bits) { word.bits = bits; }

static uint64_t added(uint32_t mode)
{
    switch (mode) {
    case LOTS_READ:
    case LOTS_READ_RECURSIVE: return 0x10;
    case LOTS_UPGRADABLE: return 0x14;
    case LOTS_UPGRADE: return 0x08 - (uint64_t)0x14; /* instead of the share and the bit */
    default: return 0x08;
    }
}

/* May `mode` go in, be it to drain? */
static int may_go_in(uint64_t w, uint32_t mode)
{
    switch (mode) {
    case LOTS_READ_RECURSIVE: return !(w & 8) || w >> 4;
    case LOTS_WRITE:
    case LOTS_UPGRADABLE: return !(w & 8) && !(w & 4);
    default: return !(w & 8);
    }
}

/* May it have all of the lock at once? */
static int may_have(uint64_t w, uint32_t mode)
{
    if (mode == LOTS_WRITE)
        return may_go_in(w, mode) && w >> 4 == 0;
    if (mode == LOTS_UPGRADE)
        return may_go_in(w, mode) && w >> 4 == 1 && (w & 4);
    return may_go_in(w, mode);
}

static void the_words_fields(void)
{
    for (uint64_t w = 0; w < 0x60; w++) {
        uint64_t readers = w >> 4;
        CHECK_EQ(word_has_readers(w), readers > 0);
        CHECK_EQ(word_is_open(w), !(w & 8) && !(w & 4));
        CHECK_EQ(word_drained(w), !readers && (w & 2) != 0);
        CHECK_EQ(word_with_parked(w, 0), w & ~UINT64_C(1));
        CHECK_EQ(word_with_parked(w, 1), w | 1);
        CHECK_EQ(word_with_parked(w, 4), w | 1);
        CHECK_EQ(word_without(w, 8 | 2), w & ~UINT64_C(10));
        CHECK_EQ(word_is_held(w, &lots_modes[LOTS_READ]), readers > 0);
        CHECK_EQ(word_is_held(w, &lots_modes[LOTS_READ_RECURSIVE]), readers > 0);
        CHECK_EQ(word_is_held(w, &lots_modes[LOTS_UPGRADABLE]), readers && (w & 4));
        CHECK_EQ(word_is_held(w, &lots_modes[LOTS_WRITE]), (w & 8) && !(w & 2) && !readers);
        CHECK_EQ(word_is_held(w, &lots_modes[LOTS_UPGRADE]), (w & 8) && !(w & 2) && !readers);
        if (readers)
            CHECK_EQ(word_reader_left(w), w - 16);
        set(w);
        CHECK_EQ(word_load(&word), w);
        CHECK(word_atomic(&word) == (lots_a64 *)&word);
    }
    set(0);
}

static void what_a_mode_may_enter_and_makes_of_the_word(void)
{
    for (uint64_t w = 0; w < 0x60; w++)
        for (uint32_t mode = 0; mode < LOTS_PARK; mode++) {
            const lots_mode *m_ = &lots_modes[mode];
            if (mode == LOTS_MUTEX && w >> 4)
                continue; /* its words have no readers */
            CHECK_EQ(!!word_may_enter(w, m_), may_go_in(w, mode));
            CHECK_EQ(!!word_is_free(w, m_), may_have(w, mode));
            if (may_go_in(w, mode) && (mode != LOTS_UPGRADE || (w >> 4 && (w & 4))))
                CHECK_EQ(word_entered(w, m_), w + added(mode));
            set(w);
            CHECK_EQ(!!word_looks_free(&word, m_), may_have(w, mode));
            CHECK_WORD(&word, w);
            CHECK_EQ(word_try(&word, m_), may_have(w, mode));
            CHECK_WORD(&word, may_have(w, mode) ? w + added(mode) : w);
        }
    set(0);
}

/* One thing for another: flags by OR and AND-NOT, shares by counting. */
static void an_exchange_in_one_step(void)
{
    CHECK_EQ(word_exchanged(0x08, 0x08, 0), 0);
    CHECK_EQ(word_exchanged(0x09, 0x08, 0x14), 0x15);
    CHECK_EQ(word_exchanged(0x39, 0x08, 0x10), 0x41);
    CHECK_EQ(word_exchanged(0x35, 0x14, 0x08), 0x29);
    CHECK_EQ(word_exchanged(0x25, 0x14, 0), 0x11);
    CHECK_EQ(word_exchanged(0x25, 0x04, 0), 0x21);
    CHECK_EQ(word_exchanged(0x20, 0x04, 0), 0x20); /* what is not there is not borrowed from others */
    CHECK_EQ(word_exchanged(0x1b, 0x0a, 0x14), 0x25);
    CHECK_EQ(word_exchanged(0x14, 0, 0x04), 0x14);
    CHECK_EQ(word_exchanged(0x20, 0x10, 0x10), 0x20);
}

/* The fast way out is for those who need not wake anybody: the table in release.c. */
static void who_leaves_by_the_fast_way(void)
{
    for (uint64_t w = 0; w < 0x60; w++)
        for (uint32_t mode = 0; mode < LOTS_PARK; mode++) {
            uint64_t readers = w >> 4, after = w - added(mode);
            int fast;
            if (mode == LOTS_UPGRADABLE)
                fast = (w & 4) && !(w & 1) && readers;
            else if (mode == LOTS_READ || mode == LOTS_READ_RECURSIVE)
                fast = readers && !(readers == 1 && (w & 2));
            else
                fast = w == 8;
            set(w);
            CHECK_EQ(word_release_fast(&word, &lots_modes[mode]), fast);
            CHECK_WORD(&word, fast ? after : w);
        }
    set(0);
}

static void the_tiny_lock(void)
{
    static bucket_lock lock;
    memset(&lock, 0, sizeof lock);
    bucket_lock_init(&lock);
    for (int i = 0; i < 3; i++) {
        bucket_lock_acquire(&lock);
#ifdef LOTS_PARKER_PTHREAD
        CHECK(pthread_mutex_trylock(&lock.mutex));
#else
        CHECK_EQ(lock.state.value_, 1);
#endif
        bucket_lock_release(&lock);
#ifdef LOTS_PARKER_PTHREAD
        CHECK(!pthread_mutex_trylock(&lock.mutex));
        CHECK(!pthread_mutex_unlock(&lock.mutex));
#else
        CHECK_EQ(lock.state.value_, 0);
#endif
    }
#ifndef LOTS_PARKER_PTHREAD
    lock.state.value_ = 77;
    bucket_lock_init(&lock);
    CHECK_EQ(lock.state.value_, 0);
#endif
}

static void a_mailbox_that_cannot_run(void)
{
    lots_mailbox box;
    for (uint32_t i = 0; i < 8; i++) {
        memset(&box, 0, sizeof box);
        box.blocked.value_ = i & 1 ? 3 : 0;
        box.unresponsive.value_ = i >> 1 & 1;
        box.closed.value_ = i >> 2 & 1;
        CHECK_EQ(!!mailbox_cannot_run(&box), i != 0);
    }
}

static void check_levels(lots_levels *l, uint64_t owner, uint64_t hold, uint64_t depth)
{
    CHECK_EQ(l->owner.value_, owner);
    CHECK_EQ(levels_hold(l), hold);
    CHECK_EQ(levels_depth(l), depth);
    CHECK_EQ(l->levels.value_, (hold << 24) + depth);
}

/* Of one thread; what several do at a time is explored (tests/explorer/levels.c). */
static void the_levels_of_a_hold(void)
{
    const uint64_t me = 7, you = 8;
    lots_levels l = {{0}, {0}};
    CHECK_EQ(levels_deepen(&l, me), LEVELS_NOT_OURS);
    CHECK_EQ(levels_deepen(&l, NOBODY), LEVELS_NOT_OURS);
    CHECK(!levels_owned_by(&l, me) && !levels_owned_by(&l, NOBODY));
    CHECK_EQ(levels_leave(&l, 0, 1), LEVELS_WRONG);
    check_levels(&l, NOBODY, 0, 0);
    for (uint64_t hold = 1; hold < 4; hold++) {
        levels_begin(&l, me);
        check_levels(&l, me, hold, 1);
        CHECK_EQ(levels_deepen(&l, you), LEVELS_NOT_OURS);
        CHECK(levels_owned_by(&l, me) && !levels_owned_by(&l, you));
        CHECK_EQ(levels_deepen(&l, me), LEVELS_DEEPER);
        CHECK_EQ(levels_deepen(&l, me), LEVELS_DEEPER);
        check_levels(&l, me, hold, 3);
        CHECK_EQ(levels_leave(&l, hold - 1, 1), LEVELS_WRONG);
        CHECK_EQ(levels_leave(&l, hold + 1, 1), LEVELS_WRONG);
        CHECK_EQ(levels_leave(&l, hold, 4), LEVELS_WRONG);
        check_levels(&l, me, hold, 3);
        CHECK_EQ(levels_leave(&l, hold, 1), LEVELS_LEFT);
        check_levels(&l, me, hold, 2);
        CHECK_EQ(levels_leave(&l, hold, hold == 2 ? 1 : 2), hold == 2 ? LEVELS_LEFT : LEVELS_LAST);
        if (hold == 2)
            CHECK_EQ(levels_leave(&l, hold, 1), LEVELS_LAST);
        check_levels(&l, NOBODY, hold, 0);
        CHECK_EQ(levels_leave(&l, hold, 1), LEVELS_WRONG);
        CHECK(!levels_owned_by(&l, me));
        l.owner.value_ = me; /* as between the two stores of levels_begin, and after the last level was left */
        CHECK(!levels_owned_by(&l, me));
        CHECK_EQ(levels_deepen(&l, me), LEVELS_NOT_OURS);
    }
}

static void as_many_levels_as_can_be_and_none_any_more(void)
{
    const uint64_t last_hold = (UINT64_C(1) << 40) - 1;
    lots_levels l = {{0}, {0}};
    levels_begin(&l, 7);
    l.levels.value_ += 0xfffffe - 1;
    CHECK_EQ(levels_deepen(&l, 7), LEVELS_DEEPER);
    check_levels(&l, 7, 1, 0xffffff);
    CHECK_EQ(levels_deepen(&l, 7), LEVELS_FULL);
    CHECK_EQ(levels_deepen(&l, 8), LEVELS_NOT_OURS);
    check_levels(&l, 7, 1, 0xffffff);
    CHECK_EQ(levels_leave(&l, 1, 0xfffffe), LEVELS_LEFT);
    levels_end(&l);
    check_levels(&l, NOBODY, 1, 0);
    CHECK_EQ(levels_leave(&l, 1, 1), LEVELS_WRONG);
    l.levels.value_ = last_hold << 24;
    levels_begin(&l, 7);
    check_levels(&l, 7, 0, 1);
    CHECK_EQ(levels_leave(&l, last_hold, 1), LEVELS_WRONG);
    CHECK_EQ(levels_leave(&l, 0, 1), LEVELS_LAST);
}

static void small_ones(void)
{
    lots_op op;
    int64_t before = now_ns(), now = clock_now();
    CHECK(before <= now && now <= now_ns());
    CHECK_EQ(lot_key(&word, PHASE_ENTER), (uintptr_t)&word);
    CHECK_EQ(lot_key(&word, PHASE_DRAIN), (uintptr_t)&word + 1);
    lots_op_init(&op, &word, LOTS_WRITE, NULL, 0, 0);
    CHECK(op_waiter(&op) == (lots_waiter *)&op);
    CHECK(waiter_mode(op_waiter(&op)) == &lots_modes[LOTS_WRITE]);
}

int main(void)
{
    watchdog(30);
    RUN(the_words_fields);
    RUN(what_a_mode_may_enter_and_makes_of_the_word);
    RUN(an_exchange_in_one_step);
    RUN(who_leaves_by_the_fast_way);
    RUN(the_tiny_lock);
    RUN(a_mailbox_that_cannot_run);
    RUN(the_levels_of_a_hold);
    RUN(as_many_levels_as_can_be_and_none_any_more);
    RUN(small_ones);
    return 0;
}
