/* Which verbs have met: for every program, the pairs of what two of its fibers (or one of them twice) did in one execution.
 * tests/test_explorer.py asks for every pair, so that a verb cannot be left out of the programs unnoticed. */
#ifndef LOTS_EXPLORER_VERBS_H
#define LOTS_EXPLORER_VERBS_H

#include <stdint.h>

typedef enum mc_verb {
    V_READ, V_READ_RECURSIVE, V_WRITE, V_LOCK,                     /* got in, in the order of the modes */
    V_TRY_READ_FOR, V_TRY_READ_RECURSIVE_FOR, V_TRY_WRITE_FOR, V_TRY_LOCK_FOR, /* asked with a deadline, whatever came of it */
    V_CANCEL,  /* left early */
    V_FAIR,    /* released fairly */
    V_GIVEN,   /* released by another than who acquired */
    V_HANDOFF, /* gave the lock away with the wake; a loop: was given it */
    V_REVOKE,  /* took back a wake that was not taken up */
    V_BLOCK,   /* blocked a running loop */
    V_CLOSE,   /* closed a loop that had waiters */
    V_PUSH,    /* rang the bell of a mailbox */
    V_DRAIN,   /* found mail */
    V_PARK, V_PARK_FOR, V_UNPARK_ONE, V_UNPARK_ALL, V_UNPARK_SOME, V_REQUEUE, /* queues.c, notices.c */
    V_UPGRADABLE, V_TRY_UPGRADABLE_FOR, V_UPGRADE, V_TRY_UPGRADE_FOR, V_TRY_UPGRADE, V_DOWNGRADE, V_BUMP, /* changes.c */
    V_WAIT, V_WAIT_FOR, V_WAIT_CANCELLED, /* went to wait, whatever came of it; but cancelled is who was */
    V_NOTIFY_ONE, V_NOTIFY_ALL, V_RELEASE,
    V_COUNT
} mc_verb;

void mc_did(mc_verb verb); /* the fiber that runs did this */
void verbs_reset(void);    /* a new execution */
void verbs_pair(void);     /* the execution has ended: add its pairs */
extern uint64_t verbs_met[V_COUNT]; /* bit b of [a]: a and b were done in one execution */
void verbs_print(const char *family, const uint64_t *met);

#endif
