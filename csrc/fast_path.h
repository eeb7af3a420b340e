/* The uncontended acquire and release, inlined: into the core, and into fronts that have no op (csrc/python). */
#ifndef LOTS_FAST_PATH_H
#define LOTS_FAST_PATH_H

#include "lock_word.h"

/* Whether word_try has any chance: for who would have to prepare something first. */
static inline int word_looks_free(lots_word *word, const lots_mode *mode)
{
    return word_is_free(word_load(word), mode);
}

/* All of the lock in one CAS, or nothing. */
static inline int word_try(lots_word *word, const lots_mode *mode)
{
    uint64_t seen = word_load(word);
    while (word_is_free(seen, mode))
        /* ACQUIRE pairs with the RELEASE of whoever released the lock. */
        if (a64_cas(word_atomic(word), &seen, word_entered(seen, mode), ACQUIRE))
            return 1;
    return 0;
}

/* Release if nobody has to be woken for it; 0: the slow path must look closer (release.c has the table). */
static inline int word_release_fast(lots_word *word, const lots_mode *mode)
{
    uint64_t seen = WRITER;
    if (!(mode->adds & READERS))
        /* RELEASE pairs with the ACQUIRE of the next to enter. */
        return a64_cas(word_atomic(word), &seen, mode->gives_up, RELEASE);
    seen = word_load(word);
    if (mode->adds & UPGRADABLE) { /* with PARKED, somebody may wait for just this */
        while ((seen & (UPGRADABLE | PARKED)) == UPGRADABLE && word_has_readers(seen))
            /* RELEASE pairs with the ACQUIRE of the next to enter. */
            if (a64_cas(word_atomic(word), &seen, word_exchanged(seen, mode->adds, 0), RELEASE))
                return 1;
        return 0;
    }
    while (word_has_readers(seen) && !word_drained(word_reader_left(seen)))
        /* RELEASE pairs with the ACQUIRE of the writer that comes next (word_try, lots_op_poll, admit_drainer). */
        if (a64_cas(word_atomic(word), &seen, word_reader_left(seen), RELEASE))
            return 1;
    return 0;
}

#endif
