/* Who is let in when a lock opens: the one place where waiters are chosen, words change hands and wakes get their token.
 *
 * admit() walks the queue at `addr` from its head and takes, as parking_lot does, all readers up to and including the first
 * writer. Waiters whose event loop cannot run are passed over and marked `skipped`; they are nudged when it runs again
 * (revoke.c). Two tokens:
 *
 *   NORMAL   the word shows the lock open; the woken poll again and may lose to whoever came by. Nothing is owed to
 *            anybody else by a waiter that has it, except: if it gives up instead of polling, it must admit again, for the
 *            wake was for somebody (acquire.c, cancel).
 *   HANDOFF  the word already counts the woken in. Only possible if the caller owned WRITER, or UPGRADABLE, until this very
 *            CAS, for else somebody else could own it by then. Chosen for a fair release, for a fair mutex, when the bucket's timer is due, and when the
 *            first admitted is a task of the loop that runs on this thread: it can always run, and tasks of one loop are
 *            first come, first served.
 *
 * Interleavings. All here is under the bucket lock, which also covers PARKED, WRITER_PARKED and both queues; only the
 * fast paths run beside it: a reader entering (if WRITER is clear), a reader leaving, a writer or upgradable reader entering
 * (if WRITER and UPGRADABLE are clear), a writer releasing a word that is exactly WRITER, an upgradable reader releasing one
 * without PARKED, or becoming the writer if it is the only reader. So:
 *  - gives has WRITER: nobody but leaving and recursive readers can touch the word until our CAS clears it; the CAS loops
 *    over those. Nobody can see the word open before the queue and PARKED agree again.
 *  - gives has UPGRADABLE: readers come and go meanwhile, as they may beside whoever is let in but a writer, and beside a
 *    writer that has yet to drain; WRITER and UPGRADABLE are nobody else's until our CAS.
 *  - takes: a writer that steps down keeps a share, and UPGRADABLE with it or not, in the CAS that lets others in: nobody is
 *    in between. The same CAS takes an upgrade back that gave up.
 *  - gives is 0 (pass on): a writer may take WRITER between our look and our CAS. Then our NORMAL wakes are spurious: those
 *    woken poll, lose, and queue at their old place; the new writer's release finds them. Never wrong, only early.
 *  - gives is 0 and WRITER is set at the look: nothing is done. Its owner's release, or withdrawal, takes the slow path,
 *    because PARKED is set as long as anybody is queued, and admits then.
 *
 * States are published last, after the word: a waiter that sees its token sees a word that agrees with it. */
#include "admit.h"

#include "mailbox.h"
#include "trail.h"

/* Does the walk go past `w` without waking it? `s` is the word as it will be with those taken so far. */
static int passed_over(lots_waiter *w, uint64_t s)
{
    if (w->mailbox && mailbox_cannot_run(w->mailbox)) {
        w->skipped = 1;
        return 1;
    }
    /* Beside an upgradable reader only plain ones; what it asks for itself, to become the writer, it may always have. */
    return (waiter_mode(w)->adds & (WRITER | UPGRADABLE)) && (s & UPGRADABLE) && !waiter_mode(w)->gives_up;
}

int admit(lots_bucket *b, lots_word *word, uint64_t gives, uint64_t takes, int fair, lots_batch *batch)
{
    uintptr_t key = lot_key(word, PHASE_ENTER);
    uint64_t seen, s, new;
    lots_waiter *first = NULL, *last = NULL, *left, *w, *next;
    unsigned threads = batch->thread_count, count = 0;
    int full = 0, parked, handoff;

    /* Who gives nothing up may hold nothing either, and the word may be gone with its last holder, unless a waiter that is
     * queued keeps it alive. */
    if (!gives && !lot_queue(b, key))
        return 0;
    seen = word_load(word);
    s = word_exchanged(seen, gives, takes);

    /* `open`: what those taken so far would make of the word; a writer among them ends the walk. */
    for (w = s & WRITER ? NULL : lot_queue(b, key); w && !(s & WRITER); w = next) {
        next = w->next;
        if (passed_over(w, s))
            continue;
        if (!w->mailbox && threads == BATCH_THREADS) {
            full = 1;
            break;
        }
        threads += !w->mailbox;
        s = word_entered(s, waiter_mode(w));
        lot_unlink(b, w);
        w->next = NULL;
        if (last)
            last->next = w;
        else
            first = w;
        last = w;
        count++;
    }
    left = lot_queue(b, key);
    parked = left != NULL;
    fair |= first && waiter_mode(first)->fair;
    handoff = first && (gives & (WRITER | UPGRADABLE)) &&
              (fair || (first->mailbox && first->mailbox == batch->own) || lot_fair_due(b));
    do {
        new = word_with_parked(word_exchanged(seen, gives, takes), parked);
        for (w = first; handoff && w; w = w->next)
            new = word_entered(new, waiter_mode(w));
        /* RELEASE pairs with the ACQUIRE of the next to enter (enter() in acquire.c, and parker_sleep for a handoff). */
    } while (!a64_cas(word_atomic(word), &seen, new, RELEASE));
    if (gives || first)
        trail_admitted(batch,
                       takes     ? LOTS_STEP_DOWNGRADED
                       : !gives  ? LOTS_STEP_WOKEN
                       : handoff ? LOTS_STEP_HANDED_OVER
                                 : LOTS_STEP_RELEASED,
                       first, count, left, seen, new);
    for (w = first; w; w = next) {
        next = w->next;
        lot_wake_later(b, w, handoff ? LOTS_HANDOFF : LOTS_NORMAL, batch);
    }
    return full;
}

void requeue_to_enter(lots_bucket *b, lots_waiter *w)
{
    uint64_t seen = word_load(w->word);
    w->phase = PHASE_ENTER;
    lot_enqueue(b, w, lot_key(w->word, PHASE_ENTER));
    /* RELAXED: PARKED publishes nothing; whoever acts on it takes the bucket lock first. */
    while (!(seen & PARKED) && !a64_cas(word_atomic(w->word), &seen, seen | PARKED, RELAXED))
        ;
}

int admit_drainer(lots_bucket *b, lots_word *word, lots_batch *batch)
{
    lots_waiter *w = lot_queue(b, lot_key(word, PHASE_DRAIN));
    uint64_t seen;
    if (BUG_465 && !w)
        a64_fetch_and(word_atomic(word), ~WRITER_PARKED, RELAXED); /* clears the flag of a writer that has left already */
    /* ACQUIRE pairs with the RELEASE of each leaving reader: the writer may be told that it is alone. */
    if (!w || word_has_readers(a64_load(word_atomic(word), ACQUIRE)))
        return 0; /* it withdrew, or others came in; the last of those comes here again, for WRITER_PARKED is set still */
    lot_unlink(b, w);
    /* Its own bit: only one writer owns WRITER, so only one is ever queued here. RELAXED as in requeue_to_enter. */
    seen = a64_fetch_and(word_atomic(word), ~WRITER_PARKED, RELAXED);
    if (w->mailbox && mailbox_cannot_run(w->mailbox)) {
        /* It could not use what it owns, and everybody would wait for its loop: it goes back among those who queue. */
        w->skipped = 1;
        requeue_to_enter(b, w);
        trail_cause(batch, w, LOTS_STEP_REVOKED);
        return admit(b, word, WRITER, waiter_mode(w)->gives_up, 0, batch);
    }
    trail_by_caller(w, LOTS_STEP_HANDED_OVER, seen, word_without(seen, WRITER_PARKED), 1);
    lot_wake_later(b, w, LOTS_HANDOFF, batch);
    return 0;
}

int disown(lots_bucket *b, lots_waiter *w, lots_batch *batch)
{
    const lots_mode *mode = waiter_mode(w);
    uint64_t seen = word_load(w->word), new;
    if (mode->adds & (WRITER | UPGRADABLE))
        return admit(b, w->word, mode->adds, mode->gives_up, 0, batch);
    do
        new = word_reader_left(seen);
    /* RELEASE pairs with the ACQUIRE of the writer that drains; it was never in, but readers before it were. */
    while (!a64_cas(word_atomic(w->word), &seen, new, RELEASE));
    trail_admitted(batch, batch->what, NULL, 0, NULL, seen, new);
    return word_drained(new) ? admit_drainer(b, w->word, batch) : 0;
}

void admit_rest(lots_word *word, lots_batch *batch)
{
    int more = 1;
    while (more) {
        lots_bucket *b = lot_lock(lot_key(word, PHASE_ENTER));
        more = admit(b, word, 0, 0, 0, batch);
        lot_unlock(b);
        batch_wake(batch);
    }
}
