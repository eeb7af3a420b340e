/* Waiting for a notification: the phase that may come before an acquisition. With it a condition variable is an acquisition
 * that takes its time to begin, and a primitive that is only a queue (LOTS_PARK) is one that asks no word at all.
 *
 *   state, phase      who moves it on                                to
 *   ACQUIRING NOTIFY  its owner: poll                                QUEUED at its key. Then the owner lets go of the lock.
 *   QUEUED NOTIFY     lots_notify, its mode is LOTS_PARK             NORMAL NOTIFY: it has what it waited for
 *                     lots_notify, it asks for a lock that is open   NORMAL ENTER: it competes for it, as any woken waiter
 *                     lots_notify, the lock is not open              QUEUED ENTER: it is in the lock's queue, and slept on
 *                     its owner: cancel                              GONE: never notified
 *   NORMAL NOTIFY     its owner: poll                                HELD
 *                     its owner: cancel BY_TIMEOUT / BY_CANCEL       HELD / GONE: the next in line gets it
 *                     the keeper (a task too late to look)           QUEUED NOTIFY, if there is a next in line to get it
 *
 * No notification is lost. The owner is queued before it lets go of the lock, so whoever changes what it waits for, under that
 * lock, finds it in the queue. A poll of a queued one leaves it there (acquire.c, take_up): a nudge must not make it miss a
 * notification that is meant for those who wait now. Of a task that was notified and cancelled, its front asks
 * lots_op_notified and notifies another.
 *
 * No lock is lost. Whoever is put into a lock's queue sets PARKED in a CAS from a word that keeps it out, as in park() of
 * acquire.c; or one of those notified by the same call was woken for the open lock: that one is on its way, takes the lock or
 * passes its wake on, and finds PARKED at its release. So of a crowd that asks for a mutex one is woken, and the others go
 * from queue to queue: no thundering herd.
 *
 * Two buckets are locked, the key's and the word's, in the order of their addresses (lot_lock_two). An op's key changes under
 * both, so lot_lock_of finds it in one or the other.
 *
 * A thread that runs signal handlers meanwhile stays queued, but aside: it is notified by a NORMAL wake, never put into the
 * queue of a lock that its handler may want, where a handoff could reach it. */
#include "notify.h"

#include "mailbox.h"

int expect(lots_waiter *w)
{
    lots_bucket *b;
    int answer = LOTS_PARKED;
    if (!w->mailbox)
        parker_prepare(w);
    b = lot_lock_of(w);
    if (w->mailbox && a32_load(&w->mailbox->closed, RELAXED)) /* set before the walk of lots_mailbox_close */
        answer = LOTS_CLOSED;
    else
        expect_again(b, w);
    lot_unlock(b);
    return answer;
}

void expect_again(lots_bucket *b, lots_waiter *w)
{
    lot_enqueue(b, w, (uintptr_t)a64_load(&w->key, RELAXED)); /* under its bucket lock */
}

/* The first at `key` that can run and has a ticket up to `limit`; `ticket`: that very one. */
static lots_waiter *first_of(lots_bucket *b, uintptr_t key, uint64_t ticket, uint64_t limit)
{
    for (lots_waiter *w = lot_queue(b, key); w && w->ticket <= limit; w = w->next) {
        if (w->phase != PHASE_NOTIFY || (ticket && w->ticket != ticket))
            continue;
        if (!w->mailbox || !mailbox_cannot_run(w->mailbox))
            return w;
        w->skipped = 1;
    }
    return NULL;
}

lots_waiter *next_in_line(lots_bucket *b, lots_waiter *w)
{
    return first_of(b, (uintptr_t)a64_load(&w->key, RELAXED), 0, UINT64_MAX); /* under its bucket lock; it is not queued */
}

static void wake(lots_bucket *b, lots_waiter *w, uint64_t token, lots_batch *batch)
{
    w->token = token;
    lot_wake_later(b, w, LOTS_NORMAL, batch);
}

void pass_on(lots_bucket *b, lots_waiter *w, lots_batch *batch)
{
    lots_waiter *next = next_in_line(b, w);
    if (!next)
        return;
    lot_unlink(b, next);
    wake(b, next, w->token, batch);
}

int step_aside(lots_waiter *w)
{
    lots_bucket *b = lot_lock_of(w);
    int stays = w->phase == PHASE_NOTIFY && a32_load(&w->state, RELAXED) == LOTS_QUEUED; /* under the bucket lock */
    w->aside = (uint8_t)stays;
    lot_unlock(b);
    return stays;
}

void step_back(lots_waiter *w)
{
    lots_bucket *b = lot_lock_of(w);
    w->aside = 0;
    lot_unlock(b);
}

static lots_bucket *bucket_for(lots_bucket *b, const lots_waiter *w)
{
    return w->word ? lot_bucket_of(lot_key(w->word, PHASE_ENTER)) : b;
}

/* Lock the bucket of `key`, and the one that its first waiter goes to. NULL, and nothing locked: nobody is there. */
static lots_waiter *lock_for_first(uintptr_t key, uint64_t ticket, uint64_t limit, lots_bucket **from, lots_bucket **to)
{
    for (;;) {
        lots_bucket *b = lot_lock(key), *other;
        lots_waiter *w = first_of(b, key, ticket, limit);
        *from = *to = b;
        if (!w) {
            lot_unlock(b);
            return NULL;
        }
        other = bucket_for(b, w);
        if (other == b)
            return w;
        lot_unlock(b);
        b = lot_lock_two(key, lot_key(w->word, PHASE_ENTER), to); /* its word is not read: only where it is */
        w = first_of(b, key, ticket, limit);
        if (w && bucket_for(b, w) == *to)
            return w;
        lot_unlock_two(b, *to);
        if (!w)
            return NULL;
    }
}

/* It has its notification, and now asks for the lock: woken for it if it is open, else queued for it. 1: it was woken. */
static int ask_for_lock(lots_bucket *b, lots_bucket *to, lots_waiter *w, int woken_before, uint64_t token, lots_batch *batch)
{
    uintptr_t key = lot_key(w->word, PHASE_ENTER);
    uint64_t seen = word_load(w->word);
    lot_unlink(b, w);
    w->phase = PHASE_ENTER;
    w->ticket = 0; /* it arrives at another queue now, behind those who are there */
    a64_store(&w->key, key, RELAXED); /* under both bucket locks, see lot_lock_of */
    for (;;) {
        if (w->aside || (word_may_enter(seen, waiter_mode(w)) && !(woken_before && (waiter_mode(w)->adds & (WRITER | UPGRADABLE))))) {
            wake(to, w, token, batch);
            return 1;
        }
        /* RELAXED: the bit publishes nothing; whoever acts on it takes the bucket lock first. */
        if ((seen & PARKED) || a64_cas(word_atomic(w->word), &seen, seen | PARKED, RELAXED)) {
            w->token = token;
            lot_enqueue(to, w, key);
            return 0;
        }
    }
}

static int batch_has_room(const lots_batch *batch, const lots_waiter *w)
{
    return w->mailbox || batch->thread_count < BATCH_THREADS;
}

size_t lots_notify(uintptr_t key, size_t most, uint64_t ticket, uint64_t token, lots_mailbox *own, int *mail)
{
    lots_batch batch = {.own = own};
    lots_bucket *b = lot_lock(key), *to;
    uint64_t limit = b->tickets; /* not those who come back for more */
    size_t done = 0;
    lots_waiter *w;
    lot_unlock(b);
    while (done < most && (w = lock_for_first(key, ticket, limit, &b, &to))) {
        int woken = 0;
        do {
            if (w->word)
                woken |= ask_for_lock(b, to, w, woken, token, &batch);
            else {
                lot_unlink(b, w);
                wake(b, w, token, &batch);
            }
            w = ++done < most ? first_of(b, key, ticket, limit) : NULL;
        } while (w && bucket_for(b, w) == to && batch_has_room(&batch, w));
        lot_unlock_two(b, to);
        batch_wake(&batch);
    }
    *mail = batch.quiet != 0;
    return done;
}

size_t lots_requeue(uintptr_t from, uintptr_t to, size_t most_woken, size_t most, uint64_t token, lots_mailbox *own, int *mail,
                    size_t *moved)
{
    lots_batch batch = {.own = own};
    lots_bucket *b, *other;
    uint64_t limit = UINT64_MAX;
    size_t done = 0;
    lots_waiter *w, *next;
    int full;
    *moved = 0;
    do {
        b = lot_lock_two(from, to, &other);
        if (limit == UINT64_MAX)
            limit = b->tickets; /* not those who come back for more */
        full = 0;
        for (w = lot_queue(b, from); w && w->ticket <= limit && !full; w = next) {
            next = w->next;
            if (w->word) /* it asks for a lock: only lots_notify knows how */
                continue;
            if (done < most_woken) {
                if (w->mailbox && mailbox_cannot_run(w->mailbox)) {
                    w->skipped = 1;
                    continue;
                }
                if (!batch_has_room(&batch, w)) {
                    full = 1;
                    break;
                }
                lot_unlink(b, w);
                wake(b, w, token, &batch);
                done++;
            } else if (from != to && *moved < most) {
                lot_unlink(b, w);
                w->ticket = 0;
                lot_enqueue(other, w, to);
                ++*moved;
            }
        }
        lot_unlock_two(b, other);
        batch_wake(&batch);
    } while (full);
    *mail = batch.quiet != 0;
    return done;
}

void lots_op_expect(lots_op *op, uintptr_t key)
{
    lots_waiter *w = op_waiter(op);
    w->phase = PHASE_NOTIFY;
    a64_store(&w->key, key, RELAXED); /* nobody else knows the op yet */
}

int lots_op_notified(const lots_op *op)
{
    const lots_waiter *w = op_waiter((lots_op *)op);
    uint32_t state = lots_op_state(op);
    return w->phase != PHASE_NOTIFY || state == LOTS_HELD || state == LOTS_RELEASED;
}

uint64_t lots_op_token(const lots_op *op) { return op_waiter((lots_op *)op)->token; }
