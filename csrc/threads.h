/* The number of the calling thread: see threads.c. */
#ifndef LOTS_THREADS_H
#define LOTS_THREADS_H

#include <stdint.h>

/* What lots_thread_token gave it; 0: nobody has asked there yet. It takes nothing, so it may be asked under a bucket lock. */
uint64_t thread_number(void);

#endif
