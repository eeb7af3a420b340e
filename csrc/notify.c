/* Waiting for a notification: the phase that may come before an acquisition. With it a condition variable is an acquisition
 * that takes its time to begin, and a primitive that is only a queue (LOTS_PARK) is one that asks no word at all.
 *
 *   state, phase      who moves it on                                to
 *   ACQUIRING NOTIFY  its owner: poll                                QUEUED at its key. Then the owner lets go of the lock.
 *   QUEUED NOTIFY     lots_notify, its mode is LOTS_PARK             NORMAL NOTIFY: it has what it waited for
 *                     lots_notify, it asks for a lock that is open   NORMAL ENTER: it competes for it, as any woken waiter
 *                     lots_notify, a fair mutex that is open         HANDOFF ENTER: it has it
 *                     lots_notify, the lock is not open              QUEUED ENTER: it is in the lock's queue, and slept on
 *                     its owner: cancel                              GONE: never notified
 *   NORMAL NOTIFY     its owner: poll                                HELD
 *                     its owner: cancel BY_TIMEOUT / BY_CANCEL       HELD / GONE: the next in line gets it, or `dropped`
 *                     the end of its loop: as by BY_CANCEL           GONE
 *                     the keeper (a task too late to look)           QUEUED NOTIFY, if there is a next in line to get it
 *
 * The next in line is another that asks for no lock, for a wake alone tells it; if its loop was too late, no task of that loop.
 *
 * No notification is lost. The owner is queued before it lets go of the lock, so whoever changes what it waits for, under that
 * lock, finds it in the queue. A poll of a queued one leaves it there (acquire.c, take_up): a nudge must not make it miss a
 * notification that is meant for those who wait now. Of a task that was notified and cancelled, its front asks
 * lots_op_notified and notifies another. Nor does a loop that is closed swallow one: with nobody in line there is nobody to wake,
 * and what it was good for (a permit, say) only the primitive knows; so the op says, for as long as it lives, that it has it.
 *
 * No lock is lost. Whoever is put into a lock's queue sets PARKED in a CAS from a word that keeps it out, as in park() of
 * acquire.c; or one of those notified in the same hold of the bucket locks is to be woken for that very lock, and will own
 * WRITER or UPGRADABLE. That one takes the lock, or finds it taken, or passes its wake on; and whoever then owns the flag finds
 * PARKED at the release, for it is told only after all the others were queued. A reader would not do: who leaves with only its
 * share wakes nobody. Nor would one who is aside: it comes when its handlers are through. So of a crowd that asks for a mutex
 * one is woken, and the others go from queue to queue: no thundering herd.
 *
 * Two buckets are locked, the key's and the word's, in the order of their addresses (lot_lock_two). An op's key changes under
 * both, so lot_lock_of finds it in one or the other.
 *
 * A thread that runs signal handlers meanwhile stays queued, but aside: it is notified by a NORMAL wake, never put into the
 * queue of a lock that its handler may want, where a handoff could reach it. */
#include "notify.h"

#include "clock.h"
#include "mailbox.h"
#include "trail.h"

int expect(lots_waiter *w)
{
    lots_bucket *b;
    int answer = LOTS_PARKED;
    int64_t since = clock_now();
    if (!w->mailbox)
        parker_prepare(w);
    b = lot_lock_of(w);
    if (w->mailbox && a32_load(&w->mailbox->closed, RELAXED)) /* set before the walk of lots_mailbox_close */
        answer = LOTS_CLOSED;
    else
        expect_again(b, w);
    w->since = since;
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

lots_waiter *next_in_line(lots_bucket *b, lots_waiter *w, const lots_mailbox *but)
{
    lots_waiter *next = lot_queue(b, (uintptr_t)a64_load(&w->key, RELAXED)); /* under its bucket lock */
    for (; next; next = next->next) {
        if (next->word || next == w)
            continue;
        if (!next->mailbox || (next->mailbox != but && !mailbox_cannot_run(next->mailbox)))
            return next;
        next->skipped = 1;
    }
    return NULL;
}

static void wake(lots_bucket *b, lots_waiter *w, uint64_t token, lots_batch *batch)
{
    w->token = token;
    lot_wake_later(b, w, LOTS_NORMAL, batch);
}

int pass_on(lots_bucket *b, lots_waiter *w, lots_batch *batch)
{
    lots_waiter *next = next_in_line(b, w, NULL);
    if (!next)
        return 0;
    lot_unlink(b, next);
    wake(b, next, w->token, batch);
    return 1;
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
        lots_bucket *b = lot_lock(key);
        lots_waiter *w = first_of(b, key, ticket, limit);
        uintptr_t lock;
        *from = *to = b;
        if (!w) {
            lot_unlock(b);
            return NULL;
        }
        if (bucket_for(b, w) == b)
            return w;
        lock = lot_key(w->word, PHASE_ENTER);
        lot_unlock(b); /* from here on it may be gone */
        b = lot_lock_two(key, lock, to);
        w = first_of(b, key, ticket, limit);
        if (w && bucket_for(b, w) == *to)
            return w;
        lot_unlock_two(b, *to);
        if (!w)
            return NULL;
    }
}

/* A fair mutex that was open is its own by then: who comes by must not be before it. Not with handlers that may want it. */
static int is_given(const lots_waiter *w) { return w->word && waiter_mode(w)->fair && !w->aside; }

/* It was notified and asks for its lock: 1: it is to be woken, for the lock is open; 0: it is queued there. `taken`: the lock
 * that one of those who are to be woken will own WRITER or UPGRADABLE of, or NULL. */
static int ask_for_lock(lots_bucket *to, lots_waiter *w, const lots_word **taken, int64_t now)
{
    uintptr_t key = lot_key(w->word, PHASE_ENTER);
    uint64_t seen = word_load(w->word);
    int owns_flag = (waiter_mode(w)->adds & (WRITER | UPGRADABLE)) != 0;
    w->phase = PHASE_ENTER;
    w->ticket = 0; /* it arrives at another queue now, behind those who are there */
    w->since = 0;  /* nor does it wait for the lock until it is queued for it */
    a64_store(&w->key, key, RELAXED); /* under both bucket locks, see lot_lock_of */
    if (w->aside)
        return 1;
    for (;;) {
        if (!word_may_enter(seen, waiter_mode(w)) || (owns_flag && *taken == w->word)) {
            /* RELAXED: the bit publishes nothing; whoever acts on it takes the bucket lock first. */
            if ((seen & PARKED) || a64_cas(word_atomic(w->word), &seen, seen | PARKED, RELAXED)) {
                w->since = now;
                lot_enqueue(to, w, key);
                trail_step(w, LOTS_STEP_QUEUED, seen, seen | PARKED);
                return 0;
            }
        } else if (!is_given(w)) {
            break;
        } else if (a64_cas(word_atomic(w->word), &seen, word_entered(seen, waiter_mode(w)), ACQUIRE)) {
            /* ACQUIRE pairs with the RELEASE of whoever released the lock; the woken sees it by way of its state. */
            trail_by_caller(w, LOTS_STEP_HANDED_OVER, seen, word_entered(seen, waiter_mode(w)), 1);
            return 1;
        }
    }
    if (owns_flag)
        *taken = w->word;
    return 1;
}

static int batch_has_room(const lots_batch *batch, const lots_waiter *w)
{
    return w->mailbox || batch->thread_count < BATCH_THREADS;
}

/* Notify `first` and those after it that go to the bucket `to`; returns how many. A thread is left alone once it is told, and
 * may come and go at once: so all are told last. */
static size_t notify_some(lots_bucket *b, lots_bucket *to, lots_waiter *w, size_t most, uintptr_t key, uint64_t ticket,
                          uint64_t limit, uint64_t token, lots_batch *batch)
{
    lots_waiter *first = NULL, **end = &first, *next;
    const lots_word *taken = NULL;
    size_t done = 0;
    unsigned threads = 0;
    int64_t now = clock_now();
    do {
        lot_unlink(b, w);
        w->token = token;
        if (!w->word || ask_for_lock(to, w, &taken, now)) {
            threads += !w->mailbox;
            w->next = NULL;
            *end = w;
            end = &w->next;
        }
        w = ++done < most ? first_of(b, key, ticket, limit) : NULL;
    } while (w && bucket_for(b, w) == to && (w->mailbox || threads < BATCH_THREADS));
    for (w = first; w; w = next) {
        next = w->next;
        lot_wake_later(to, w, is_given(w) ? LOTS_HANDOFF : LOTS_NORMAL, batch);
    }
    return done;
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
        done += notify_some(b, to, w, most - done, key, ticket, limit, token, &batch);
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
        for (w = lot_queue(b, from); w && w->ticket <= limit; w = next) {
            next = w->next;
            if (w->word) /* it asks for a lock: only lots_notify knows how */
                continue;
            if (w->mailbox && a32_load(&w->mailbox->closed, RELAXED)) /* its loop's walk may have passed `to` already (revoke.c) */
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
    /* ACQUIRE of the state, above, pairs with the RELEASE in withdraw: what was written before it is seen. */
    return w->phase != PHASE_NOTIFY || state == LOTS_HELD || state == LOTS_RELEASED || (state == LOTS_GONE && w->dropped);
}

uintptr_t lots_op_key(const lots_op *op)
{
    return (uintptr_t)a64_load(&op_waiter((lots_op *)op)->key, RELAXED); /* of who waits, the answer may be old at once */
}

uint64_t lots_op_token(const lots_op *op) { return op_waiter((lots_op *)op)->token; }
