/* Which threads there are, and what each is in the middle of. See threads.c. */
#ifndef LOTS_THREADS_H
#define LOTS_THREADS_H

#include "waiter.h"

#include <stdint.h>

/* What lots_thread_token gave this thread; 0: nobody has asked there yet. It takes nothing, so it may be asked under a bucket lock. */
uint64_t thread_number(void);

#ifdef LOTS_MODEL
static inline lots_waiter *thread_is_at(lots_waiter *w) { return (void)w, NULL; } /* there is no fork */
static inline void thread_is_past(const lots_waiter *w) { (void)w; }
#else
/* This thread is in the middle of a wait for `w`; NULL: of none. Returns what it was in the middle of before. For fork.c, which
 * finds by it what is in none of the lot's lists. A thread without a slot says nothing. */
lots_waiter *thread_is_at(lots_waiter *w);
/* It has done with `w`, if that is it. */
void thread_is_past(const lots_waiter *w);
/* What it is in the middle of, or NULL. */
lots_waiter *thread_was_at(void);

/* In a forked child, once: visit what each thread was at, also the one that forked, and then each of them again. */
void threads_were_at(void (*visit)(lots_waiter *w), void (*then)(lots_waiter *w));
#endif

#endif
