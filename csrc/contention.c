/* What waiting for a lock has cost. Nothing here is on the way of an acquire that does not wait.
 *
 * An op may have a record (lots_op_counts), shared by all ops of one lock that are counted together; it lives as long as the
 * lock does, and so longer than any of its ops. One that has none is not counted, and not timed when it ends.
 *
 *   when                               what                                       where
 *   it is queued for the first time    `since`: it waits from here on             acquire.c, park
 *   it was notified, and is queued     `since` anew: from here on it wants the    notify.c, ask_for_lock
 *   for its lock                       lock, before it only waited to be told
 *   it took up a handoff to get in     `handed`                                   acquire.c, lots_op_poll
 *   it has got the lock                acquired, buckets, waited, handoffs        lots_op_poll, or withdraw: a cancel kept it
 *   it left without                    timeouts, cancellations                    withdraw; not for signal handlers (`for_now`)
 *   its wake was taken away            revocations                                revoke.c
 *
 * Who counts is always the op's owner, or somebody who holds the bucket lock of a task's op that is in a list of it. So nobody
 * touches the op of a thread that was woken, which may be gone.
 *
 * Every counter is RELAXED: it is a number for who looks, nothing hangs on it, and no two of them are read at one moment. */
#include "contention.h"

#include "clock.h"

_Static_assert(sizeof(((lots_contention *)0)->buckets) == LOTS_WAIT_BUCKETS * sizeof(uint64_t), "cffi wants a plain number");

#define SHORTEST 10 /* the first bucket is of waits below 1024 ns */

static lots_a64 *atomic_of(const uint64_t *counter) { return (lots_a64 *)counter; }

/* No lock word: a counter. */
static void add(uint64_t *counter, uint64_t n) { a64_fetch_add(atomic_of(counter), n, RELAXED); }

static uint64_t get(const uint64_t *counter) { return a64_load(atomic_of(counter), RELAXED); }

static void raise_to(uint64_t *highest, uint64_t n)
{
    uint64_t seen = get(highest);
    while (seen < n && !a64_cas(atomic_of(highest), &seen, n, RELAXED))
        ;
}

static unsigned bucket_of(uint64_t ns)
{
    unsigned bucket = ns >> SHORTEST ? 64 - SHORTEST - (unsigned)__builtin_clzll(ns) : 0;
    return bucket < LOTS_WAIT_BUCKETS ? bucket : LOTS_WAIT_BUCKETS - 1;
}

/* It waits no more: what it is counted in, or NULL. */
static lots_contention *ended(lots_waiter *w)
{
    int64_t ns;
    if (!w->record || !w->since || w->phase == PHASE_NOTIFY)
        return NULL;
    ns = clock_now() - w->since;
    w->waited = ns > 0 ? (uint64_t)ns : 1;
    raise_to(&w->record->longest_ns, w->waited);
    return w->record;
}

void contention_acquired(lots_waiter *w)
{
    lots_contention *record = ended(w);
    if (!record)
        return;
    add(&record->acquired, 1);
    add(&record->waited_ns, w->waited);
    add(&record->buckets[bucket_of(w->waited)], 1);
    if (w->handed)
        add(&record->handoffs, 1);
}

void contention_given_up(lots_waiter *w, uint32_t why)
{
    lots_contention *record = w->for_now ? NULL : ended(w);
    if (record)
        add(why == LOTS_BY_TIMEOUT ? &record->timeouts : &record->cancellations, 1);
}

void contention_revoked(lots_waiter *w)
{
    if (w->record)
        add(&w->record->revocations, 1);
}

void lots_op_counts(lots_op *op, lots_contention *record) { op_waiter(op)->record = record; }

uint64_t lots_op_waited(const lots_op *op) { return op_waiter((lots_op *)op)->waited; }

void lots_contention_add(lots_contention *sum, const lots_contention *record)
{
    add(&sum->acquired, get(&record->acquired));
    add(&sum->waited_ns, get(&record->waited_ns));
    add(&sum->handoffs, get(&record->handoffs));
    add(&sum->timeouts, get(&record->timeouts));
    add(&sum->cancellations, get(&record->cancellations));
    add(&sum->revocations, get(&record->revocations));
    raise_to(&sum->longest_ns, get(&record->longest_ns));
    for (unsigned i = 0; i < LOTS_WAIT_BUCKETS; i++)
        add(&sum->buckets[i], get(&record->buckets[i]));
}
