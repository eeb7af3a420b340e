/* What the early end of an acquisition is made of; acquire.c has the argument. */
#ifndef LOTS_ACQUIRE_H
#define LOTS_ACQUIRE_H

#include "parking_lot.h"

/* End a wait early, under the bucket lock: the one cancel. `kept`: *kept = 1 if a grant came first and the op holds the
 * lock now (only BY_TIMEOUT). Returns as admit does. */
int withdraw(lots_bucket *b, lots_waiter *w, uint32_t why, int *kept, lots_batch *batch);

#endif
