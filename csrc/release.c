/* Release: one CAS when nobody waits, else under the bucket lock by way of admit.c.
 *
 *   word seen            mode    becomes                who wakes
 *   WRITER               writer  0                      nobody waits
 *   WRITER|PARKED        writer  what admit() makes     admit(): the queue at `addr`
 *   n readers, no W_P    reader  n - 1 readers          nobody: who queues at `addr` is kept out by WRITER, not by readers
 *   n > 1, W_P           reader  n - 1 readers          the last one will
 *   1 reader, W_P        reader  W|W_P, no readers      admit_drainer(): the writer at `addr + 1`
 *   anything else                unchanged: LOTS_MISUSE (W6)
 *
 * Between the CAS to W|W_P without readers and the bucket lock, the draining writer may give up. Then it has cleared W_P
 * and WRITER and admitted the queue itself; admit_drainer finds nobody, or another writer beside readers, and does nothing. */
#include "admit.h"

#include "fast_path.h"

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
        int more = admit_drainer(b, word, batch);
        lot_unlock(b);
        batch_wake(batch);
        if (more)
            admit_rest(word, batch);
    }
    return LOTS_READY;
}

static int release_writer(lots_word *word, const lots_mode *mode, int fair, lots_batch *batch)
{
    uint64_t seen = WRITER;
    lots_bucket *b;
    int more;
    /* RELEASE pairs with the ACQUIRE of the next to enter. */
    while (!a64_cas(word_atomic(word), &seen, 0, RELEASE)) {
        if (!word_is_held(seen, mode))
            return LOTS_MISUSE;
        if (seen == WRITER)
            continue; /* a weak CAS may fail for nothing */
        b = lot_lock(lot_key(word, PHASE_ENTER));
        more = admit(b, word, WRITER, fair, batch);
        lot_unlock(b);
        batch_wake(batch);
        if (more)
            admit_rest(word, batch);
        break;
    }
    return LOTS_READY;
}

/* Apart, so that a release that wakes nobody does not pay for a batch. */
static __attribute__((noinline)) int release_slow(lots_word *word, const lots_mode *mode, int fair, lots_mailbox *own)
{
    lots_batch batch = {.own = own};
    int answer = mode->adds & READERS ? release_reader(word, &batch) : release_writer(word, mode, fair, &batch);
    return answer | (batch.quiet ? LOTS_MAIL : 0);
}

int lots_release(lots_word *word, uint32_t mode, int fair, lots_mailbox *own)
{
    const lots_mode *m = &lots_modes[mode];
    return word_release_fast(word, m) ? LOTS_READY : release_slow(word, m, fair, own);
}
