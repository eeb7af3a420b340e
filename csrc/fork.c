/* fork(): the child starts with an empty lot and no mailboxes.
 *
 * prepare takes the keeper's lock and every bucket's, by index, so that the child finds no list half changed; parent and
 * child drop them again. Mailboxes are left alone: their locks may stay held for ever in the child, which never takes one
 * (lots_op_cancel looks into the mailbox only of a waiter that is in a list of the lot, and there the child has none).
 *
 * In the child only the thread that forked exists. Whoever was queued is gone with its thread or loop, so each waiter is
 * marked GONE (its op may be collected there: cancel then changes nothing) and what it owned without holding is given back:
 * a draining writer's WRITER, a handoff that no task has taken up. PARKED goes with the queues. What was *held* stays
 * held, as with the standard library's locks: a guard of the forking thread is released there as ever; one of another
 * thread never is, and timed acquisition tells. A thread that has all it asked for, and has not returned from its acquire
 * yet, counts as such a holder: fork came a moment later than it might have.
 *
 * A thread in the middle of its wait may be in no list: it has taken WRITER, or was handed it, and is not at `addr + 1` yet.
 * Between two of its steps the word says WRITER with readers left, who may be the forking thread's: once they are out, nobody
 * would ever be let in. So each thread says what it waits for (threads.c), and the child looks at those words before it
 * empties the lot. There is no doubt whose WRITER it is: with readers left it is nobody's hold; it is not that of who drains in
 * a list, for there is no WRITER_PARKED; a task that was handed it gives it back once more, and that changes nothing; and it
 * is not the forking thread's, unless that was handed it between two of its waits for one lock (LOTS_LOOK): then it is left to
 * it. An upgrade has UPGRADABLE until it has WRITER, so where somebody was upgrading it is his, and he is upgradable again.
 * Not seen: a thread beyond the 1024th that is alive; with the GIL off or in native code, a task that polls just then on another
 * thread; and with the pthread parker a thread whose handlers have had to look themselves, in a wait for another lock.
 *
 * Every other change of a word and of who is where falls together, under a bucket lock, or is a release or an acquire that is
 * the other thread's: begun before the fork and not ended in the child, it leaves the lock held, or free.
 *
 * A signal handler may fork while its thread waits. Who waits for a lock is in no list meanwhile (acquire.c), and who waits for
 * a notification is aside (notify.c): both wait on in the child when the handler returns there. With the pthread parker a lock's
 * waiter stays queued while handlers run, so in the child it is GONE, and its wait ends with LOTS_MISUSE. */
#include "keeper.h"
#include "parking_lot.h"
#include "threads.h"

#include <pthread.h>

static void give_back(lots_waiter *w, uint32_t state)
{
    if (w->aside) { /* it may be the one that forks, out of a signal handler: its next lots_op_wait queues again, at its place */
        a32_store(&w->state, LOTS_ACQUIRING, RELAXED);
        return;
    }
    /* RELAXED everywhere here: no other thread exists. */
    if (w->phase != PHASE_NOTIFY) {
        const lots_mode *mode = waiter_mode(w);
        uint64_t word = word_without(word_load(w->word), PARKED | WRITER_PARKED);
        if (state == LOTS_HANDOFF || w->phase == PHASE_DRAIN)
            word = word_exchanged(word, mode->adds, mode->gives_up);
        a64_store(word_atomic(w->word), word, RELAXED);
    }
    a32_store(&w->state, LOTS_GONE, RELAXED);
}

static void empty_bucket(lots_bucket *b)
{
    lots_waiter *w, *next;
    for (w = lot_next_queued(b, NULL); w; w = next) {
        next = lot_next_queued(b, w);
        give_back(w, LOTS_QUEUED);
    }
    for (w = b->woken; w; w = next) {
        next = w->next;
        give_back(w, a32_load(&w->state, RELAXED));
    }
    b->keys = b->woken = b->woken_last = NULL;
    a32_store(&b->woken_count, 0, RELAXED);
}

/* Is the WRITER of that word what this very thread was handed, and has not looked at yet? */
static int is_mine(const lots_word *word)
{
    lots_waiter *w = thread_was_at();
    return w && w->word == word && waiter_mode(w)->drains && a32_load(&w->state, RELAXED) == LOTS_HANDOFF;
}

/* Who drains, in no list. */
static void give_back_half(lots_waiter *w, int upgrades)
{
    const lots_mode *mode = waiter_mode(w);
    uint64_t word;
    if (!mode->drains || !mode->gives_up != !upgrades || is_mine(w->word))
        return;
    word = word_load(w->word);
    if ((word & (WRITER | WRITER_PARKED)) == WRITER && word_has_readers(word))
        a64_store(word_atomic(w->word), word_exchanged(word, mode->adds, mode->gives_up), RELAXED);
}

static void give_back_upgrade(lots_waiter *w) { give_back_half(w, 1); }
static void give_back_writer(lots_waiter *w) { give_back_half(w, 0); }

static void prepare(void)
{
    keeper_before_fork();
    lot_lock_all();
}

static void parent(void)
{
    lot_unlock_all(NULL);
    keeper_after_fork(0);
}

static void child(void)
{
    threads_were_at(give_back_upgrade, give_back_writer);
    lot_unlock_all(empty_bucket);
    keeper_after_fork(1);
}

__attribute__((constructor)) static void register_handlers(void) { pthread_atfork(prepare, parent, child); }
