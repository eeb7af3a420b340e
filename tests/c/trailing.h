/* What the tests of trail.c share: an empty trail that the record of counting.h refers to. */
#ifndef TRAILING_H
#define TRAILING_H

#include "counting.h"
#include "trail.h"

static lots_trail trail;
static uint64_t told; /* the number of the last step that a test has seen */

static inline void anew(void)
{
    begin();
    memset(&trail, 0, sizeof trail);
    record.trail = &trail;
    told = 0;
}

#endif
