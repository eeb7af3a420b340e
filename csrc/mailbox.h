/* One event loop's mailbox. See mailbox.c. */
#ifndef LOTS_MAILBOX_H
#define LOTS_MAILBOX_H

#include "bell.h"
#include "bucket_lock.h"
#include "waiter.h"

struct lots_mailbox {
    bucket_lock lock;         /* protects first, last, rung, and the mail_ fields of the waiters in the list */
    lots_waiter *first, *last;
    int rung;                 /* a ring is owed, under way or not yet answered */
    lots_mailbox *ring_next;  /* the waker's list of mailboxes to ring; its own from rung = 1 until it has rung */
    lots_a32 references;      /* the adapter's one, and one per ring under way */
    lots_a32 blocked;         /* its thread sleeps inside the running loop: no task of it can run */
    lots_a32 unresponsive;    /* a wake was not taken up in time, and none of its tasks has run since */
    lots_a32 closed;
    uint32_t number;          /* no other mailbox ever has it; what trail.c calls its loop */
    bell bell;
};

/* Leave a woken (or nudged) task in the mailbox. Returns 1 if the bell must be rung by mailbox_ring, after every bucket
 * lock was dropped; the caller holds a reference until then. `quiet`: the caller drains it at once, on its own thread. */
int mailbox_push(lots_waiter *w, int quiet);
void mailbox_ring(lots_mailbox *mailbox);
/* Take a waiter out that will not be woken any more. */
void mailbox_forget(lots_waiter *w);

/* A task of this loop cannot run now, as far as anybody knows. */
static inline int mailbox_cannot_run(lots_mailbox *m)
{
    /* RELAXED: set before, and cleared before, a walk over every bucket under its lock (revoke.c); the caller holds a
     * bucket lock, which orders it against that walk. */
    return a32_load(&m->blocked, RELAXED) || a32_load(&m->unresponsive, RELAXED) || a32_load(&m->closed, RELAXED);
}

#endif
