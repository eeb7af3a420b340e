/* The re-entrant mutex as a C type: what reentrant.c, level.c and the awaiting of a task share. */
#ifndef LOTS_REENTRANT_H
#define LOTS_REENTRANT_H

#include "levels.h"
#include "native.h"

typedef struct {
    Lock lock; /* its mode is LOTS_MUTEX */
    lots_levels levels;
    lots_a32 bare;  /* how many of the levels have no guard: they are the owner's, who alone writes this */
    PyObject *task; /* what `owner` is the address of, if it is a task's; kept until another task is the owner */
} Reentrant;

/* reentrant.c */
/* Go deeper, or take what is free: 1, with who->entered set; 0: another has it, or -1 with an exception. */
int reentrant_enter(Reentrant *m, Who *who, int as_task);
/* Leave `count` levels of a hold, and with the last one the mutex. 0, or -1 with an exception. */
int reentrant_leave(Reentrant *m, uint64_t hold, uint64_t count, int fair);
uint64_t reentrant_depth(Lock *lock);

extern PyTypeObject EntryType;

#endif
