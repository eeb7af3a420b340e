/* The keeper's thread, which revokes wakes that were not taken up in time. See keeper.c. */
#ifndef LOTS_KEEPER_H
#define LOTS_KEEPER_H

#ifdef LOTS_MODEL
static inline void keeper_arm(void) {} /* the explorer's programs revoke at steps of their choice */
#else
void keeper_arm(void);        /* a task was woken just now; no bucket lock held */
void keeper_before_fork(void);
void keeper_after_fork(int in_child);
#endif
#endif
