/* Waits for a notification, for condition variables and for primitives that are queues and nothing else. See notify.c. */
#ifndef LOTS_NOTIFY_H
#define LOTS_NOTIFY_H

#include "parking_lot.h"

/* Queue for the notification: LOTS_PARKED or LOTS_CLOSED. */
int expect(lots_waiter *w);

/* The rest under the bucket lock of the waiter's key. */

/* Back to where it was queued, its wake taken away. */
void expect_again(lots_bucket *b, lots_waiter *w);
/* The first other waiter at its key that can run, is not of the loop `but`, and asks for no lock: to be notified is all that it
 * waits for. NULL: nobody could use what `w` was notified of. */
lots_waiter *next_in_line(lots_bucket *b, lots_waiter *w, const lots_mailbox *but);
/* What it was notified of goes to the next in line: 1; 0: there is none. */
int pass_on(lots_bucket *b, lots_waiter *w, lots_batch *batch);

/* A thread that is to run signal handlers while it waits: 1 if it stays queued, aside, until step_back. */
int step_aside(lots_waiter *w);
void step_back(lots_waiter *w);

#endif
