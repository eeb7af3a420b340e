/* What an acquisition is made of, for its other rooms; acquire.c has the argument. */
#ifndef LOTS_ACQUIRE_H
#define LOTS_ACQUIRE_H

#include "parking_lot.h"

static inline uint32_t state_of(lots_waiter *w)
{
    /* ACQUIRE pairs with the RELEASE of parker_publish and lot_wake_later: what the waker did is seen. */
    return a32_load(&w->state, ACQUIRE);
}

/* RELEASE: a guard may be released by another thread, whose claim in lots_op_release ACQUIREs it. */
static inline void set_state(lots_waiter *w, uint32_t state) { a32_store(&w->state, state, RELEASE); }

/* End a wait early, under the bucket lock: the one cancel. `kept`: *kept = 1 if a grant came first and the op holds the
 * lock now (only BY_TIMEOUT). Returns as admit does. */
int withdraw(lots_bucket *b, lots_waiter *w, uint32_t why, int *kept, lots_batch *batch);

#endif
