/* Who is let in when a lock opens. Everything here runs under the lock's bucket lock. See admit.c. */
#ifndef LOTS_ADMIT_H
#define LOTS_ADMIT_H

#include "parking_lot.h"

/* Wake from the queue at `addr` those who may now enter, giving up `gives`, which the caller owns, for `takes` (each
 * ONE_READER and flags, or 0). Returns 1 if the batch was full and there are more to admit: wake it, and admit again with
 * 0 and 0. */
int admit(lots_bucket *b, lots_word *word, uint64_t gives, uint64_t takes, int fair, lots_batch *batch);

/* The readers are gone: give the lock to the writer that drains. Returns as admit does. */
int admit_drainer(lots_bucket *b, lots_word *word, lots_batch *batch);

/* The waiter was handed the lock, or (PHASE_DRAIN) owns WRITER: take that back and pass it on. It is in no queue now. */
int disown(lots_bucket *b, lots_waiter *w, lots_batch *batch);

/* Back into the queue at `addr`, at its old place, to start again from there. */
void requeue_to_enter(lots_bucket *b, lots_waiter *w);

/* Go on admitting, a batch at a time, with no bucket lock held on entry. */
void admit_rest(lots_word *word, lots_batch *batch);

#endif
