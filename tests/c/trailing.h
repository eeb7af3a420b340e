/* What the tests of trail.c share: an empty trail that the record of counting.h refers to. */
#ifndef TRAILING_H
#define TRAILING_H

#include "counting.h"
#include "trail.h"

/* What lies beyond looks like one more step. */
static struct {
    lots_trail trail;
    uint64_t beyond[8];
} the = {.beyond = {2 * (LOTS_TRAIL + 1)}};
static uint64_t told; /* the number of the last step that a test has seen */

static inline void anew(void)
{
    begin();
    memset(&the.trail, 0, sizeof the.trail);
    record.trail = &the.trail;
    told = 0;
}

#endif
