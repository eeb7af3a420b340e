/* What waiting for a lock has cost: counters of the slow path. See contention.c. */
#ifndef LOTS_CONTENTION_H
#define LOTS_CONTENTION_H

#include "waiter.h"

/* An op that had to wait has got its lock; it is still its owner's, or (by a cancel) the bucket's. */
void contention_acquired(lots_waiter *w);
/* It leaves without: LOTS_BY_TIMEOUT or LOTS_BY_CANCEL. */
void contention_given_up(lots_waiter *w, uint32_t why);
/* A task's wake was taken away. Under the bucket lock. */
void contention_revoked(lots_waiter *w);

#endif
