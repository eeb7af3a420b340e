/* C11 for the explorer: see memory.c. `before` and `value` are what is in memory: the last store. */
#ifndef LOTS_EXPLORER_MEMORY_H
#define LOTS_EXPLORER_MEMORY_H

#include "explorer.h"

#include <stddef.h>

void memory_reset(int stale); /* a new execution; stale: whether loads may be given old values */
uint64_t memory_load(const void *p, uint64_t value, mc_order order);
void memory_store(void *p, uint64_t before, uint64_t value, mc_order order);
void memory_rmw(void *p, uint64_t before, uint64_t value, mc_order order);
void memory_acquire(const void *p); /* a lock, a bell */
void memory_release(const void *p);
void memory_mute(int yes);          /* this fiber's locks order nothing: what a test asks must not hide what it tests */
/* Plain accesses: they must be ordered by the above. */
void mc_rd(const void *p);
void mc_wr(const void *p);
void mc_reuse(const void *p, size_t size); /* the end of an object: every access to it was before */

#endif
