/* How a re-entrant mutex is held: by whom, and how many levels deep. Beside a lock word, which says whether it is held at all.
 *
 *   WRITER   depth   owner    legal states
 *     0        0     NOBODY   free
 *     1        0     NOBODY   taken: by who got the word just now, and notes itself next (levels_begin)
 *     1        0     who      the same, between the two stores of levels_begin
 *     1      n > 0   who      held. The owner may enter once more; who has a level may leave it
 *     1        0     who      left: by who took the last level away, and clears the owner next (levels_leave)
 *     1        0     NOBODY   left: the same one releases the word next
 *
 *   levels   bits 0..23 the depth, bits 24..63 the number of the hold: one more for each levels_begin
 *   owner    a number that is one thread's or one task's for as long as it is written here; 0 NOBODY
 *
 * Who holds the word with a depth of 0 is alone: only it begins, and nobody enters or leaves what has no level. With a depth
 * above 0 there are, at a time, one owner that enters, and any number of others that leave.
 *
 *   The owner enters while another leaves the last level. Both change `levels` by a CAS from what they saw. The level comes
 *   first: the other one sees a depth of 2 then, and it is not the last. It is left first: the owner's CAS fails, it sees a
 *   depth of 0 and asks for the word as everybody does, which the other one is about to release.
 *
 *   The same, and a third one begins a hold before the owner's CAS. The depth may be what the owner saw; the number of the
 *   hold is another. (It comes back after 2^40 holds. At ten million a second these are 30 hours, between two instructions.)
 *
 *   Who reads an owner that is itself. It alone writes its number here, so it did; whether that hold goes on, the CAS says:
 *   the owner is read after `levels`, so it is that hold's or a later one's, and of a later one the CAS would fail.
 *
 *   Two leave a level each, of two. One CAS comes second: that one sees 1, and it alone releases the word.
 *
 * Who releases the word, or enters it, does so by itself: nothing here knows what waits. */
#ifndef LOTS_LEVELS_H
#define LOTS_LEVELS_H

#include "atomics.h"

typedef struct lots_levels {
    lots_a64 owner;
    lots_a64 levels;
} lots_levels;

#define NOBODY ((uint64_t)0)
#define HOLD_SHIFT 24
#define MOST_LEVELS (((uint64_t)1 << HOLD_SHIFT) - 1)

#define LEVELS_NOT_OURS 0 /* another owns it, or nobody */
#define LEVELS_DEEPER 1
#define LEVELS_FULL 2     /* it would be one level too many */

#define LEVELS_LEFT 0     /* others are left */
#define LEVELS_LAST 1     /* it was the last: release the word */
#define LEVELS_WRONG 2    /* there are no such levels of that hold; nothing was changed */

static inline uint64_t levels_depth_of(uint64_t levels) { return levels & MOST_LEVELS; }

/* The number of the hold that goes on now, or was the last one. */
static inline uint64_t levels_hold(lots_levels *l) { return a64_load(&l->levels, RELAXED) >> HOLD_SHIFT; }

/* How many levels there are. For the owner, and for who has a level, exact in this: it is not 0. */
static inline uint64_t levels_depth(lots_levels *l) { return levels_depth_of(a64_load(&l->levels, RELAXED)); }

/* The word was acquired just now: hold it, one level deep. */
static inline void levels_begin(lots_levels *l, uint64_t who)
{
    uint64_t before = a64_load(&l->levels, RELAXED); /* of this thread's own time: the word was acquired with ACQUIRE */
    a64_store(&l->owner, who, RELAXED); /* published by the next store */
    /* RELEASE pairs with the ACQUIRE of levels_deepen: who sees this hold sees its owner, or a later one. */
    a64_store(&l->levels, ((before >> HOLD_SHIFT) + 1) << HOLD_SHIFT | 1, RELEASE);
}

/* One level deeper, if `who`, which is the caller, owns it. */
static inline int levels_deepen(lots_levels *l, uint64_t who)
{
    for (;;) {
        uint64_t seen = a64_load(&l->levels, ACQUIRE); /* pairs with levels_begin. What a failed CAS saw would not */
        if (!levels_depth_of(seen) || a64_load(&l->owner, RELAXED) != who) /* after `seen`, by its ACQUIRE */
            return LEVELS_NOT_OURS;
        if (levels_depth_of(seen) == MOST_LEVELS)
            return LEVELS_FULL;
        /* RELAXED: what is protected is ours already. The number of the hold, which has one owner, is in what is compared. */
        if (a64_cas(&l->levels, &seen, seen + 1, RELAXED))
            return LEVELS_DEEPER;
    }
}

/* Whether `who`, which is the caller, owns it. */
static inline int levels_owned_by(lots_levels *l, uint64_t who)
{
    uint64_t seen = a64_load(&l->levels, ACQUIRE); /* as in levels_deepen */
    return levels_depth_of(seen) && a64_load(&l->owner, RELAXED) == who;
}

/* Nobody holds it any more, whatever levels there were: for a forked child, where no other thread is. The word is to be released. */
static inline void levels_end(lots_levels *l)
{
    a64_store(&l->owner, NOBODY, RELAXED);
    a64_store(&l->levels, levels_hold(l) << HOLD_SHIFT, RELAXED); /* as above: alone */
}

/* Leave `count` levels, which the caller has, of the hold with that number. */
static inline int levels_leave(lots_levels *l, uint64_t hold, uint64_t count)
{
    uint64_t seen = a64_load(&l->levels, RELAXED);
    do {
        if (seen >> HOLD_SHIFT != hold || levels_depth_of(seen) < count)
            return LEVELS_WRONG;
        /* ACQ_REL: RELEASE for what was done under this level, ACQUIRE of the same by those who left before: the last one
         * releases the word for all of them. */
    } while (!a64_cas(&l->levels, &seen, seen - count, ACQ_REL));
    if (levels_depth_of(seen) > count)
        return LEVELS_LEFT;
    a64_store(&l->owner, NOBODY, RELAXED); /* before the RELEASE of the word: the next to begin writes after it */
    return LEVELS_LAST;
}

#endif
