/* How a thread's waiter is put to sleep and woken. One implementation per platform: parker_futex.c, parker_pthread.c, and
 * the explorer's.
 *
 *   owner                              waker
 *   state = QUEUED (bucket lock)
 *   parker_sleep ---------------.      parker_publish (bucket lock): state = NORMAL or HANDOFF, keep a handle
 *     returns once state is     |      drop the bucket lock
 *     not QUEUED, at the        '----- parker_wake(handle)
 *     deadline, or on a signal
 *
 * Between publish and wake the owner may see the new state, return, and free the waiter. The futex kind's handle is a
 * bare address (waking an address where nobody sleeps is harmless); the pthread kind holds the waiter's own mutex from
 * publish to wake, so its owner cannot leave in between. */
#ifndef LOTS_PARKER_H
#define LOTS_PARKER_H

#include "api.h"

#define PARKER_WOKEN 0
#define PARKER_TIMED_OUT 1
#define PARKER_INTERRUPTED 2 /* a signal came */
#define PARKER_LOOK 3        /* one may have come: this kind cannot tell */

#if defined(LOTS_PARKER_PTHREAD) && !defined(LOTS_MODEL)
#include <pthread.h>
typedef struct { pthread_mutex_t mutex; pthread_cond_t cond; int made; } parker;
#else
typedef struct { char none; } parker;
#endif

struct lots_waiter;
typedef struct { void *what; } parker_handle;

void parker_prepare(struct lots_waiter *w); /* before state becomes QUEUED for the first time */
void parker_finish(struct lots_waiter *w);  /* the owner will not sleep on it again */
parker_handle parker_publish(struct lots_waiter *w, uint32_t state);
void parker_wake(parker_handle handle);
int parker_sleep(struct lots_waiter *w, int64_t deadline_ns);
void parker_relax(unsigned turn); /* one turn of a thread that spins: a few at full speed, then others may run */

#endif
