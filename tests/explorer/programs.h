/* Small programs over the core, written as one line each; programs.c has the grammar.
 *
 *   programs.c   reads a program, sets an execution up, and holds the oracles
 *   ghosts.c     who is in, and what that forbids
 *   actors.c     what its fibers do: threads, event loops with tasks, the keeper
 *   gifts.c      guards that another fiber releases
 *   changes.c    what is done with a guard: upgrade, downgrade, bump, wait for a notification
 *   notices.c    notifications, and the steps that only wait for one
 *   queues.c     the steps that park on a bare queue */
#ifndef LOTS_PROGRAMS_H
#define LOTS_PROGRAMS_H

#include "memory.h"

#include "mailbox.h"
#include "parking_lot.h"

#define MAX_STEPS 4
#define MAX_NESTED 2
#define MAX_CHANGES 4
#define POISON 0xDD
#define OTHER 16u /* with a mode: of the other lock */

typedef struct step {
    uint32_t modes[MAX_NESTED];
    int nested, timed, cancelled, sync, fair, hold, quick, handler, looks, early, try_first, given, twice;
    char changes[MAX_CHANGES + 1]; /* of changes.c, one after the other, once it holds */
    char queue; /* a step of queues.c: P, U, N, O, V, Q; or of notices.c; 0: an acquisition */
} step;

typedef struct actor {
    char kind; /* T, L, X, D, K, A, G */
    step steps[MAX_STEPS];
    int count;
    lots_mailbox *mailbox;
    int ended;
} actor;

/* One of a loop's steps. `op` is what it waits for now, `guard` what it holds. */
typedef struct task {
    const step *step;
    actor *loop;
    lots_op *op, *guard;
    int state, due;  /* due: its place in the loop's ready queue */
    uint32_t mode;   /* of the guard, or of what it acquires */
    const char *at;  /* the next change */
    char doing;      /* the change that it waits in; 0: none */
} task;

/* One execution's world. */
typedef struct world {
    actor actors[MC_FIBERS];
    int actor_count;
    lots_word word, other;
    int readers, writers, ops_open; /* the ghosts */
    int upgradables;                /* readers are the plain ones */
    int upgrading;                  /* on the way from upgradable to writer, or back */
    int stepping;                   /* 1 + the mode that a writer steps down to, while it does */
    int others;                     /* in the other lock, a mutex */
    char datum, other_datum;        /* what the locks protect: read by readers, written by writers */
    lots_op ops[MC_FIBERS * MAX_STEPS * MAX_NESTED * 2];
    int op_count;
} world;

extern world the;

void program_load(const char *text); /* exits on a mistake in the text */
void program_setup(void);
void program_check(void);

const char *program_family(const char *text); /* which primitive: rwlock, mutex, queue, or another */
void check_queue(const lots_waiter *head);

/* ghosts.c */
int ghost_shares(uint32_t mode);
void ghost_in(uint32_t mode);
void ghost_out(uint32_t mode);
void ghost_asked_with_deadline(uint32_t mode);
void ghost_nobody_is_passed(lots_word *word);
void ghost_first_come(const lots_op *op);

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
lots_op *new_op(uint32_t mode, lots_mailbox *mailbox, uint64_t cookie);
void release(lots_op *op, uint32_t mode, int fair, lots_mailbox *own);
uint64_t task_cookie(const task *t);
#define SCHEDULED 1
#define AWAITING 2
#define HOLDING 3
#define ENDED 4
void schedule(task *t, int state);
int release_guard(lots_op *op, int fair, lots_mailbox *own); /* what the release answered; mail is delivered */

/* gifts.c */
void gifts_reset(void);
void give_away(lots_op *op, const step *s, lots_mailbox *own); /* which ends the op */
void run_receiver(void *unused);

/* changes.c */
#define CHANGES "^~%?><=.,;1*"
lots_op *change_as_thread(lots_op *op, uint32_t *mode, const char *changes, lots_mailbox *own); /* the guard, afterwards */
void change_task(task *t);         /* the next one; then it is HOLDING, AWAITING, or SCHEDULED to poll */
void task_got(task *t);            /* what it waited for; now it is HOLDING */
int task_withdrawn(task *t, int cancelled); /* in vain. 1: it goes on, to get its lock back; 0: it is over */
int change_ends_by(const task *t); /* 't', 'c', or 0: nothing ends its wait early */
void task_closed(task *t);         /* its loop was closed meanwhile: what it holds or waits for ends */

/* notices.c */
#define NOTICES "1*SHIJZ"
void notices_reset(void);
void notices_check(void);
uintptr_t condition_key(void);
void notice(char how, lots_mailbox *own);
lots_op *park_op(lots_mailbox *mailbox, uint64_t cookie);
void park_as_thread(const step *s);
void park_ended(lots_op *op, int answer); /* READY, WITHDRAWN, CLOSED */
int park_leave(lots_op *op, int keeps, lots_mailbox *own);
void wait_ended(lots_op *op);             /* for the condition: counts it if it was notified */
int keeper_has_new(int looked);
void run_notifier_of_last_resort(void *unused);

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
