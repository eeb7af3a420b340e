/* Small programs over the core, written as one line each; programs.c has the grammar.
 *
 *   programs.c   reads a program, sets an execution up, and holds the oracles
 *   actors.c     what its fibers do: threads, event loops with tasks, the keeper
 *   gifts.c      guards that another fiber releases
 *   queues.c     the steps that park on a bare queue */
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
    int nested, timed, cancelled, sync, fair, hold, quick, handler, try_first, given, twice;
    char queue; /* a step of queues.c: P, U, N, O, V, Q; 0: an acquisition */
} step;

typedef struct actor {
    char kind; /* T, L, X, D, K, A, G */
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

const char *program_family(const char *text); /* which primitive: rwlock, mutex, queue, or another */
void check_queue(const lots_waiter *head);

/* actors.c */
void actors_reset(void);
void run_thread(void *actor);
void run_loop(void *actor);
void run_keeper(void *unused);
int actors_ended(void);
int drain(lots_mailbox *m, int rung);
void end_op(lots_op *op);
void must_answer(int what, int wanted, const char *verb);
void note_revocations(void);
void ghost_out(uint32_t mode);
int release_guard(lots_op *op, int fair, lots_mailbox *own); /* what the release answered; mail is delivered */

/* gifts.c */
void gifts_reset(void);
void give_away(lots_op *op, const step *s, lots_mailbox *own); /* which ends the op */
void run_receiver(void *unused);

/* queues.c */
void queues_reset(void);
void queues_are_consistent(lots_bucket *b);
void queues_check(void);
lots_op *queue_op(lots_mailbox *mailbox, uint64_t cookie);
int queue_poll(lots_op *op);                      /* READY, PARKED */
int queue_leave(lots_op *op, int keeps, lots_mailbox *own); /* READY (it had its turn, and keeps it), WITHDRAWN */
void queue_park_as_thread(const step *s);
int queue_wake(char how, lots_mailbox *own);      /* 1: there is mail */
void run_janitor(void *unused);

/* armed.c */
void keeper_reset(int enable);
void run_armed_keeper(void *unused);

#endif
