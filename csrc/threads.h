/* Which threads there are, and what each is in the middle of. See threads.c. */
#ifndef LOTS_THREADS_H
#define LOTS_THREADS_H

#include "waiter.h"

#include <stdint.h>

/* What lots_thread_token gave this thread; 0: nobody has asked there yet. It takes nothing, so it may be asked under a bucket lock. */
uint64_t thread_number(void);

#ifdef LOTS_MODEL
static inline void thread_is_at(lots_waiter *w) { (void)w; } /* there is no fork */
#else
/* This thread begins to wait for `w`; NULL: it has done with it. For fork.c, which finds by it what is in none of the lot's lists.
 * A thread without a slot says nothing. */
void thread_is_at(lots_waiter *w);

/* In a forked child, once: visit what each of the threads that are not there was at, and then each of them again. */
void threads_were_at(void (*visit)(lots_waiter *w), void (*then)(lots_waiter *w));
#endif

#endif
