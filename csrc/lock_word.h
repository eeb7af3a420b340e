/* The 64-bit lock word: fields, legal states, and every transition as a named function.
 *
 *   bit 0   PARKED          somebody may be queued at key `addr`, waiting to get in
 *   bit 1   WRITER_PARKED   the one writer that drains is queued at key `addr + 1`
 *   bit 2   UPGRADABLE      one of the readers is the upgradable one: no writer, and no second one, beside it
 *   bit 3   WRITER          a writer owns this bit; with readers left it waits for them to drain
 *   4..63   readers         how many readers hold the lock
 *
 *   P W_P U W readers   legal states
 *   0  0  0 0   0       free, nobody waits
 *   1  0  0 0   n       a wake is under way to the head of the queue, or every waiter's loop cannot run
 *   p  0  0 0   n > 0   read-locked
 *   p  0  0 1   0       write-locked
 *   p  0  0 1   n > 0   a writer owns the bit and is about to look at the readers, or to queue at `addr + 1`
 *   p  1  0 1   n > 0   a writer owns the bit and sleeps until the readers are gone
 *   p  1  0 1   0       the last reader has left and is on the way to wake that writer
 *   p  0  1 0   n > 0   read-locked, one reader is upgradable
 *
 * In which direction each bit may err:
 *   PARKED, WRITER_PARKED: exact whenever the bucket lock is free, for both are set and cleared only under it, in the
 *     same critical section as the queue they speak of.
 *   WRITER, UPGRADABLE, readers: never err; they are the ownership.
 *
 * W1: flags change by OR, AND-NOT or a CAS from the observed word, never by adding or subtracting a difference that was
 * computed earlier. Adding a difference is right only while the word has not changed since: on 2025-05-28 a timed-out
 * writer subtracted WRITER|WRITER_PARKED after a departing reader had cleared WRITER_PARKED already, and the borrow ran
 * through the reader count. Only the reader count goes up and down by arithmetic, inside a CAS that saw it. */
#ifndef LOTS_LOCK_WORD_H
#define LOTS_LOCK_WORD_H

#include "api.h"
#include "atomics.h"

#define PARKED ((uint64_t)1)
#define WRITER_PARKED ((uint64_t)2)
#define UPGRADABLE ((uint64_t)4)
#define WRITER ((uint64_t)8)
#define ONE_READER ((uint64_t)16)
#define READERS (~(uint64_t)15)

/* Puts the logic of 2025-05-28 back, for the explorer to find: `make explore-bug`. Never set in a real build. */
#ifdef LOTS_BUG_465
#define BUG_465 1
#else
#define BUG_465 0
#endif

/* The word as an atomic: lots_word is a plain struct only so that cffi can read api.h. */
static inline lots_a64 *word_atomic(lots_word *word) { return (lots_a64 *)word; }

static inline uint64_t word_load(lots_word *word) { return a64_load(word_atomic(word), RELAXED); }

/* One row of the table of modes: what stands in the way, and what is added on entering. The one slow path, the wakes and
 * the releases are driven by it; no lock has code of its own there. */
typedef struct lots_mode {
    uint64_t blocked_by; /* none of these bits may be set ... */
    uint64_t unless;     /* ... unless one of these is (a recursive read passes a draining writer) */
    uint64_t adds;       /* ONE_READER and flags */
    uint64_t gives_up;   /* what it held until then, of the same: an upgrade turns one into the other in one step */
    int drains;          /* after entering, wait until the readers are gone */
    int fair;            /* who waits so is handed the lock, always: nobody comes before it */
} lots_mode;

extern const lots_mode lots_modes[LOTS_MODES];

static inline int word_may_enter(uint64_t w, const lots_mode *mode)
{
    return !(w & mode->blocked_by) || (w & mode->unless);
}

/* Without what the caller holds (`gives`), with what it is to hold (`takes`): ONE_READER and flags. Only for a CAS from `w`. */
static inline uint64_t word_exchanged(uint64_t w, uint64_t gives, uint64_t takes)
{
    return (((w & ~(gives & ~READERS)) - (gives & READERS)) | (takes & ~READERS)) + (takes & READERS);
}

static inline uint64_t word_entered(uint64_t w, const lots_mode *mode)
{
    if (mode->gives_up)
        return word_exchanged(w, mode->gives_up, mode->adds);
    return (w | (mode->adds & ~READERS)) + (mode->adds & READERS);
}

/* Whether `mode` can have all of the lock now. */
static inline int word_is_free(uint64_t w, const lots_mode *mode)
{
    return word_may_enter(w, mode) && !(mode->drains && (w & (READERS | UPGRADABLE)) != mode->gives_up);
}

/* Does the word say that `mode` holds the lock? A writer that still drains does not, nor one whose last reader has just
 * left and is on the way to wake it. */
static inline int word_is_held(uint64_t w, const lots_mode *mode)
{
    if (!(mode->adds & READERS))
        return (w & (WRITER | WRITER_PARKED | READERS)) == WRITER;
    return (w & READERS) && (w & mode->adds & UPGRADABLE) == (mode->adds & UPGRADABLE);
}

static inline uint64_t word_reader_left(uint64_t w) { return w - ONE_READER; }
static inline uint64_t word_without(uint64_t w, uint64_t flags) { return w & ~flags; }
static inline uint64_t word_with_parked(uint64_t w, int parked) { return parked ? w | PARKED : w & ~PARKED; }
static inline int word_has_readers(uint64_t w) { return (w & READERS) != 0; }

/* The last reader is out and a writer sleeps on it. */
static inline int word_drained(uint64_t w) { return (w & (READERS | WRITER_PARKED)) == WRITER_PARKED; }

/* A value that no sequence of operations leads to: what a borrow or a stray write leaves behind. It names the same as decode in
 * aiolots/_word.py. Never true in a state of the table above. */
#define MOST_READERS ((uint64_t)1 << 32) /* no process has so many */
static inline int word_is_impossible(uint64_t w)
{
    if (w / ONE_READER > MOST_READERS)
        return 1;
    if (w & UPGRADABLE)
        return (w & (WRITER | WRITER_PARKED)) || !word_has_readers(w);
    return (w & (WRITER | WRITER_PARKED)) == WRITER_PARKED;
}

/* Nobody keeps those who queue at `addr` out: whoever is in, if anybody, will not wake them on leaving. */
static inline int word_is_open(uint64_t w) { return !(w & (WRITER | UPGRADABLE)); }

#endif
