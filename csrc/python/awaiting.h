/* An await that is not done at once: what its steps (awaiting.c) and the iterator that takes them (awaitable.c) share. */
#ifndef LOTS_AWAITING_H
#define LOTS_AWAITING_H

#include "reentrant.h"

#define NEW 0
#define WAITING 1
#define ENDED 2
#define HANDED_OVER 3

typedef struct {
    PyObject_HEAD
    Lock *lock;
    PyObject *request; /* NULL: `async with mutex`, which gives None */
    PyObject *loop, *port, *waiting, *cookie, *steps, *timer; /* steps: the future's iterator; waiting: the port's table */
    lots_mailbox *mailbox;
    double limit, seconds;
    int64_t began, deadline;
    PyObject *site; /* where it is awaited */
    int site_at;
    uint8_t mode, limit_kind, stage;
    uint8_t levels; /* of a ReentrantMutex: it gets a level, of `who` */
    lots_a32 running;
    Who who;
    lots_op op;
} Awaiting;

/* One step, as of a generator's send(). */
PySendResult awaiting_step(Awaiting *a, PyObject *value, PyObject **result);
/* The future's iterator has moved: go on with what it says. */
PySendResult awaiting_went(Awaiting *a, PySendResult answer, PyObject *value, PyObject **result);
/* The one cancel, for every early end but the timer's. An exception that is set stays set. */
void awaiting_abandon(Awaiting *a);

#endif
