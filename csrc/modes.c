/* The table of modes: all that makes a mutex a mutex and a reader a reader. */
#include "lock_word.h"

const lots_mode lots_modes[LOTS_MODES] = {
    /* A writer that waits owns WRITER already, so new readers queue: writer preference. */
    [LOTS_READ] = {.blocked_by = WRITER, .unless = 0, .adds = ONE_READER, .drains = 0},
    /* May pass a writer that waits, as long as readers are in (one of them may be the caller). */
    [LOTS_READ_RECURSIVE] = {.blocked_by = WRITER, .unless = READERS, .adds = ONE_READER, .drains = 0},
    /* Owns WRITER first, beside the readers that are in; then waits for them to leave. */
    [LOTS_WRITE] = {.blocked_by = WRITER | UPGRADABLE, .unless = 0, .adds = WRITER, .drains = 1},
    /* A word that never has readers: a writer with nobody to wait for. */
    [LOTS_MUTEX] = {.blocked_by = WRITER, .unless = 0, .adds = WRITER, .drains = 0},
    /* A reader that keeps writers, and others of its kind, out until it leaves or is one itself. */
    [LOTS_UPGRADABLE] = {.blocked_by = WRITER | UPGRADABLE, .unless = 0, .adds = ONE_READER | UPGRADABLE, .drains = 0},
    /* Asked for by the upgradable one only, so nothing is in the way: no writer can be in between. The other readers leave. */
    [LOTS_UPGRADE] = {.blocked_by = WRITER, .adds = WRITER, .gives_up = ONE_READER | UPGRADABLE, .drains = 1},
    [LOTS_FAIR_MUTEX] = {.blocked_by = WRITER, .adds = WRITER, .fair = 1},
    /* No word. */
    [LOTS_PARK] = {.blocked_by = 0},
};
