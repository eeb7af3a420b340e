/* Monotonic nanoseconds and absolute deadlines. A seam: under LOTS_MODEL time is a choice of the explorer. */
#ifndef LOTS_CLOCK_H
#define LOTS_CLOCK_H

#include <stdint.h>

#ifdef LOTS_MODEL
#include "explorer.h"
static inline int64_t clock_now(void) { return mc_now(); }
static inline int64_t clock_coarse(void) { return mc_now(); }
#else
#include <time.h>
static inline int64_t clock_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}
/* The same clock, as it was at the last tick, some milliseconds ago at most: where the exact time would cost more than all else. */
static inline int64_t clock_coarse(void)
{
#ifdef CLOCK_MONOTONIC_COARSE
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
#else
    return clock_now();
#endif
}
#endif
#endif
