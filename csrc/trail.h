/* The last steps that a lock went through on its slow path: see trail.c. */
#ifndef LOTS_TRAIL_H
#define LOTS_TRAIL_H

#include "parking_lot.h"

/* A step of `w` itself, which is its owner's still, or under its bucket lock; `before` and `after` are what its CAS, or the
 * like, saw and left. */
void trail_step(lots_waiter *w, uint32_t what, uint64_t before, uint64_t after);
/* One that did not touch the word. */
void trail_look(lots_waiter *w, uint32_t what);
/* A step of the thread that runs, under the bucket lock; it has to do with `count` waiters from `w` on, or (0) only found it in
 * the lock's queue. `w` NULL: nobody knows the lock's trail. */
void trail_by_caller(lots_waiter *w, uint32_t what, uint64_t before, uint64_t after, unsigned count);

/* What follows, by way of this batch, is for the sake of `w`: the first that changes the word notes it as that. */
static inline void trail_cause(lots_batch *batch, lots_waiter *w, uint32_t what)
{
    batch->cause = w;
    batch->what = what;
}
/* That, or one that no step but this one is a cause of. `count`, from `first` on: those who are to be woken; else `near`. */
void trail_admitted(lots_batch *batch, uint32_t what, lots_waiter *first, unsigned count, lots_waiter *near, uint64_t before,
                    uint64_t after);
/* Nothing more follows: if nothing was noted, the word was not touched, and it came to `what`. */
void trail_caused(lots_batch *batch, uint32_t what);

#endif
