/* Ours, pthread's, and Rust's parking_lot. By call: what a lock in another file costs, on all sides. Inlined: the path that
 * the C types of aiolots and a crate in Rust have in their own code. */
#include "contenders.h"

#include "api.h"
#include "lock_word.h"

#include <pthread.h>

/* --- ours ---------------------------------------------------------------------------------------------------------- */

static void take(void *lock, uint32_t mode)
{
    lots_op op;
    if (lots_try(lock, mode))
        return;
    lots_op_init(&op, lock, mode, NULL, 0, 0);
    while (lots_op_wait(&op, LOTS_NEVER) == LOTS_INTERRUPTED)
        ;
}

#define OURS(name, mode)                                                                                    \
    static void name##_lock(void *lock) { take(lock, mode); }                                               \
    static void name##_unlock(void *lock) { lots_release(lock, mode, 0, NULL); }

OURS(mutex, LOTS_MUTEX)
OURS(read, LOTS_READ)
OURS(write, LOTS_WRITE)

/* As native.h inlines them. */
static inline int fast_try(lots_word *word, unsigned mode)
{
    const lots_mode *m = &lots_modes[mode];
    uint64_t seen = word_load(word);
    while (word_may_enter(seen, m) && !(m->drains && word_has_readers(seen)))
        if (a64_cas(word_atomic(word), &seen, word_entered(seen, m), ACQUIRE))
            return 1;
    return 0;
}

static inline int fast_release(lots_word *word, unsigned mode)
{
    uint64_t seen = WRITER;
    if (mode != LOTS_READ)
        return a64_cas(word_atomic(word), &seen, 0, RELEASE);
    seen = word_load(word);
    while (word_has_readers(seen) && !(seen & WRITER_PARKED))
        if (a64_cas(word_atomic(word), &seen, word_reader_left(seen), RELEASE))
            return 1;
    return 0;
}

#define OURS_INLINED(name, mode)                                                                            \
    static void name##_loop(void *lock, uint64_t times)                                                     \
    {                                                                                                       \
        while (times--) {                                                                                   \
            if (!fast_try(lock, mode))                                                                      \
                take(lock, mode);                                                                           \
            if (!fast_release(lock, mode))                                                                  \
                lots_release(lock, mode, 0, NULL);                                                          \
        }                                                                                                   \
    }

OURS_INLINED(mutex, LOTS_MUTEX)
OURS_INLINED(read, LOTS_READ)
OURS_INLINED(write, LOTS_WRITE)

/* --- pthread: zero is an unlocked one, on Linux and on macOS as good as ---------------------------------------------- */

static void posix_mutex_lock(void *lock) { pthread_mutex_lock(lock); }
static void posix_mutex_unlock(void *lock) { pthread_mutex_unlock(lock); }
static void posix_read_lock(void *lock) { pthread_rwlock_rdlock(lock); }
static void posix_write_lock(void *lock) { pthread_rwlock_wrlock(lock); }
static void posix_rw_unlock(void *lock) { pthread_rwlock_unlock(lock); }

_Static_assert(sizeof(pthread_mutex_t) <= LOCK_BYTES && sizeof(pthread_rwlock_t) <= LOCK_BYTES, "LOCK_BYTES");

/* --- Rust's parking_lot (parking_lot/src/lib.rs) ------------------------------------------------------------------------ */

#ifdef WITH_PARKING_LOT
#define RUST(name)                                                                                          \
    void pl_##name##_lock(void *lock);                                                                      \
    void pl_##name##_unlock(void *lock);                                                                    \
    void pl_##name##_loop(void *lock, uint64_t times);
RUST(mutex)
RUST(read)
RUST(write)
#endif

const contender contenders[] = {
    {"aiolots", {mutex_lock, mutex_unlock, mutex_loop}, {read_lock, read_unlock, read_loop}, {write_lock, write_unlock, write_loop}},
#ifdef WITH_PARKING_LOT
    {"parking_lot (Rust)",
     {pl_mutex_lock, pl_mutex_unlock, pl_mutex_loop},
     {pl_read_lock, pl_read_unlock, pl_read_loop},
     {pl_write_lock, pl_write_unlock, pl_write_loop}},
#endif
    {"pthread",
     {posix_mutex_lock, posix_mutex_unlock, NULL},
     {posix_read_lock, posix_rw_unlock, NULL},
     {posix_write_lock, posix_rw_unlock, NULL}},
    {0},
};
