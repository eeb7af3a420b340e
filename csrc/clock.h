/* Monotonic nanoseconds and absolute deadlines. A seam: under LOTS_MODEL time is a choice of the explorer. */
#ifndef LOTS_CLOCK_H
#define LOTS_CLOCK_H

#include <stdint.h>

#ifdef LOTS_MODEL
#include "explorer.h"
static inline int64_t clock_now(void) { return mc_now(); }
#else
#include <time.h>
static inline int64_t clock_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}
#endif
#endif
