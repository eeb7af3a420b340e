/* One wait is one waiter: what queues in the lot, and what a wake is written to. It is the head of every lots_op.
 *
 * Which lock protects what: `state` is written under the bucket lock of `word` while it is QUEUED, NORMAL or HANDOFF, and
 * by the op's owner alone otherwise; everything else from `word` to `revoked` is the bucket's while the waiter is in one
 * of its lists, and the owner's otherwise. The mail_ fields are protected by the mailbox's lock.
 *
 * A thread's waiter is left alone after its state was published: its owner may return and reuse the memory at once. So a
 * waker keeps what it needs for the wake (parker_handle) and never touches the waiter again. A task's waiter, once woken,
 * stays in its bucket's `woken` list until its task polls or cancels, both under the bucket lock: that is how a wake that
 * is not taken up can be found, and revoked. */
#ifndef LOTS_WAITER_H
#define LOTS_WAITER_H

#include "api.h"
#include "atomics.h"
#include "lock_word.h"
#include "parker.h"

/* Which of the two queues of a lock: key `addr`, or `addr + 1`; or, before that, the queue of a key of its own (notify.c). */
#define PHASE_ENTER 0
#define PHASE_DRAIN 1
#define PHASE_NOTIFY 2

typedef struct lots_waiter lots_waiter;
struct lots_waiter {
    lots_a32 state; /* LOTS_PENDING ... LOTS_GONE; also the futex a thread sleeps on */
    uint32_t mode;
    lots_word *word;
    lots_a64 key;                  /* names its queue; written under the bucket lock, read by lot_lock_of without it */
    lots_waiter *next, *prev;      /* in the queue of `key`, or in the bucket's woken list */
    lots_waiter *tail;             /* head of a queue only: its last waiter */
    lots_waiter *next_key, *prev_key; /* head of a queue only: the bucket's other queues */
    uint64_t ticket;               /* order of arrival; kept over re-queueing, so a woken waiter that lost keeps its place */
    int64_t woken_at;
    uint8_t phase;
    uint8_t skipped; /* passed over because its loop cannot run; nudge it when the loop is back */
    uint8_t revoked; /* its wake was taken away since it last looked */
    uint8_t in_mail;
    uint8_t dropped; /* it was notified, then withdrawn, and nobody was there to be notified in its place */
    uint8_t aside;   /* a thread that runs signal handlers: may be notified, but not be handed a place in a lock's queue */
    uint8_t handed;  /* its last wake into a lock was a handoff */
    uint8_t for_now; /* a thread that leaves the queue for its signal handlers, and will be back: it has not given up */
    lots_mailbox *mailbox; /* NULL: a thread waits */
    lots_waiter *mail_next, *mail_prev;
    uint64_t cookie, owner;
    uint64_t token; /* what a notification brought */
    int64_t since;  /* queued first, for what it waits for now; 0: never. Written under the bucket lock */
    uint64_t waited; /* ns, once it has ended; 0: not at all, or not counted */
    lots_contention *record; /* what it is counted in, or NULL */
    parker parker;
};

_Static_assert(sizeof(lots_waiter) <= sizeof(lots_op), "lots_op.opaque is too small");

static inline lots_waiter *op_waiter(lots_op *op) { return (lots_waiter *)op; }
static inline const lots_mode *waiter_mode(const lots_waiter *w) { return &lots_modes[w->mode]; }

#endif
