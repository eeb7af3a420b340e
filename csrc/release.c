/* Release: one CAS when nobody waits, else under the bucket lock by way of admit.c.
 *
 *   word seen            mode    becomes                who wakes
 *   WRITER               writer  0                      nobody waits
 *   WRITER|PARKED        writer  what admit() makes     admit(): the queue at `addr`
 *   UPGRADABLE, no P     U       one reader less, no U  nobody waits
 *   UPGRADABLE|PARKED    U       what admit() makes     admit(): a writer, or the next upgradable, may be waiting for U
 *   WRITER, UPGRADABLE   a downgrade: as its release, and what is kept is taken in the same CAS
 *   n readers, no W_P    reader  n - 1 readers          nobody: who queues at `addr` is kept out by WRITER, not by readers
 *   n > 1, W_P           reader  n - 1 readers          the last one will
 *   1 reader, W_P        reader  W|W_P, no readers      admit_drainer(): the writer at `addr + 1`
 *   anything else                unchanged: LOTS_MISUSE (W6)
 *
 * Between the CAS to W|W_P without readers and the bucket lock, the draining writer may give up. Then it has cleared W_P
 * and WRITER and admitted the queue itself; admit_drainer finds nobody, or another writer beside readers, and does nothing. */
#include "admit.h"

#include "fast_path.h"
#include "trail.h"

static int release_reader(lots_word *word, lots_batch *batch)
{
    uint64_t seen = word_load(word);
    do {
        if (!word_has_readers(seen))
            return LOTS_MISUSE;
        /* RELEASE pairs with the ACQUIRE of the writer that comes next (grab, lots_op_poll, admit_drainer). */
    } while (!a64_cas(word_atomic(word), &seen, word_reader_left(seen), RELEASE));
    if (word_drained(word_reader_left(seen))) {
        lots_bucket *b = lot_lock(lot_key(word, PHASE_DRAIN));
        int more;
        trail_by_caller(lot_queue(b, lot_key(word, PHASE_DRAIN)), LOTS_STEP_LEFT, seen, word_reader_left(seen), 0);
        more = admit_drainer(b, word, batch);
        lot_unlock(b);
        batch_wake(batch);
        if (more)
            admit_rest(word, batch);
    }
    return LOTS_READY;
}

/* Who holds WRITER or UPGRADABLE goes from what it holds (`mode`) to less. */
static int step_down(lots_word *word, const lots_mode *mode, uint64_t gives, uint64_t takes, int fair, lots_batch *batch)
{
    uint64_t seen = word_load(word);
    for (;;) {
        if (!word_is_held(seen, mode))
            return LOTS_MISUSE;
        if (seen & PARKED) {
            lots_bucket *b = lot_lock(lot_key(word, PHASE_ENTER));
            int more = admit(b, word, gives, takes, fair, batch);
            lot_unlock(b);
            batch_wake(batch);
            if (more)
                admit_rest(word, batch);
            return LOTS_READY;
        }
        /* RELEASE pairs with the ACQUIRE of the next to enter. */
        if (a64_cas(word_atomic(word), &seen, word_exchanged(seen, gives, takes), RELEASE))
            return LOTS_READY;
    }
}

/* Apart, so that a release that wakes nobody does not pay for a batch. */
static __attribute__((noinline)) int release_slow(lots_word *word, const lots_mode *mode, int fair, lots_mailbox *own)
{
    lots_batch batch = {.own = own};
    int answer = mode->adds & (WRITER | UPGRADABLE) ? step_down(word, mode, mode->adds, mode->gives_up, fair, &batch)
                                                    : release_reader(word, &batch);
    return answer | (batch.quiet ? LOTS_MAIL : 0);
}

int lots_release(lots_word *word, uint32_t mode, int fair, lots_mailbox *own)
{
    const lots_mode *m = &lots_modes[mode];
    return word_release_fast(word, m) ? LOTS_READY : release_slow(word, m, fair, own);
}

int lots_downgrade(lots_word *word, uint32_t from, uint32_t to, lots_mailbox *own)
{
    const lots_mode *held = &lots_modes[from], *kept = &lots_modes[to];
    lots_batch batch = {.own = own};
    int answer;
    if (!((from == LOTS_WRITE && (to == LOTS_READ || to == LOTS_UPGRADABLE)) || (from == LOTS_UPGRADABLE && to == LOTS_READ)))
        return LOTS_MISUSE;
    answer = step_down(word, held, held->adds & ~kept->adds, kept->adds & ~held->adds, 0, &batch);
    return answer | (batch.quiet ? LOTS_MAIL : 0);
}
