/* Small programs over the core, written as one line each; programs.c has the grammar.
 *
 *   programs.c   reads a program, sets an execution up, and holds the oracles
 *   actors.c     what its fibers do: threads, event loops with tasks, the keeper */
#ifndef LOTS_PROGRAMS_H
#define LOTS_PROGRAMS_H

#include "memory.h"

#include "mailbox.h"
#include "parking_lot.h"

#define MAX_STEPS 4
#define MAX_NESTED 2
#define POISON 0xDD

typedef struct step {
    uint32_t modes[MAX_NESTED];
    int nested, timed, cancelled, sync, fair, hold, quick, handler, try_first;
} step;

typedef struct actor {
    char kind; /* T, L, X, D, K, A */
    step steps[MAX_STEPS];
    int count;
    lots_mailbox *mailbox;
    int ended;
} actor;

/* One execution's world. */
typedef struct world {
    actor actors[MC_FIBERS];
    int actor_count;
    lots_word word;
    int readers, writers, ops_open; /* the ghosts */
    char datum;                     /* what the lock protects: read by readers, written by writers */
    lots_op ops[MC_FIBERS * MAX_STEPS * MAX_NESTED];
    int op_count;
} world;

extern world the;

void program_load(const char *text); /* exits on a mistake in the text */
void program_setup(void);
void program_check(void);

/* actors.c */
void actors_reset(void);
void run_thread(void *actor);
void run_loop(void *actor);
void run_keeper(void *unused);
int actors_ended(void);

/* armed.c */
void keeper_reset(int enable);
void run_armed_keeper(void *unused);

#endif
