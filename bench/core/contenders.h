/* The locks that are timed: each a row of verbs over some bytes that are zero when it is new. */
#ifndef CONTENDERS_H
#define CONTENDERS_H

#include <stdint.h>

typedef struct verbs {
    void (*lock)(void *);
    void (*unlock)(void *);
    void (*loop)(void *, uint64_t times); /* lock and unlock with the fast path inlined, or NULL */
} verbs;

typedef struct contender {
    const char *name;
    verbs mutex, read, write;
} contender;

/* ours first; ends with a NULL name */
extern const contender contenders[];

#define LOCK_BYTES 64 /* as much as any of them needs */

#endif
