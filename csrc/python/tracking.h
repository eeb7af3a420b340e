/* What tracking.c and lock_order.c share: the tables of who holds what. All of it is guarded by `tables`. */
#ifndef LOTS_TRACKING_H
#define LOTS_TRACKING_H

#include "native.h"

#define TYPE_NAME 48

/* What the lock order is about: one lock, or all locks of one class. Kept by its locks, and by whoever has it among `known`. */
typedef struct Node {
    uint64_t id; /* never used again */
    uint32_t references;
    uint8_t written;  /* somebody waits for it alone, at times */
    uint8_t exported; /* Python knows of it */
    uint8_t dead, is_class;
    struct Known *known; /* an open hash table: after which others it was taken, and how */
    uint32_t known_count, known_capacity;
    struct Node *next_class;
    PyObject *name; /* of the lock, when it was first seen; or of the class */
    char type[TYPE_NAME];
} Node;

typedef struct Known {
    Node *from;
    uint32_t kinds;
} Known;

typedef struct Link {
    struct Link *next;
    uint64_t key;
} Link;

typedef struct {
    Link **slots;
    size_t count, capacity;
} Table;

#define KINDS (2 * LOTS_MODES) /* of holds: a mode, and whether it was acquired with the task's colour */

/* What is counted of one kind of holds: see usage.c. */
typedef struct Usage {
    uint64_t acquisitions, held_ns, longest_ns;
    uint64_t buckets[LOTS_WAIT_BUCKETS];
    uint32_t left; /* acquisitions until the next hold that is timed; 0: none is */
} Usage;

typedef struct Label { /* what metrics call a lock */
    Link link;         /* by the hash of its name */
    PyObject *name;    /* exactly a string */
    size_t locks;      /* that are alive */
    Usage *gone[KINDS]; /* what those have counted that are not */
    Usage *sum[KINDS];  /* while they are added up */
} Label;

typedef struct Entry { /* a lock that was seen, until it is freed */
    Link link;         /* by its address */
    Node *node;
    Label *label;
    struct Record *holders;
    Usage *usage[KINDS];
    uint8_t tracked;
} Entry;

typedef struct Owner { /* a thread or a task */
    Link link;         /* by the thread's token, or the task's address */
    struct Record *held;
    PyObject *who; /* weak: the Thread or the task; NULL: not known */
    uint64_t token;
    unsigned long ident;
    uint32_t records;  /* held, and away */
    uint8_t is_task, of_parent;
} Owner;

typedef struct Record {
    struct Record *owner_next, **owner_link, *lock_next, **lock_link; /* owner_link NULL: its guard waits for the lock again */
    Owner *owner;
    Entry *entry;
    Request *request; /* NULL: held without a guard */
    PyObject *site;   /* code */
    int site_at;
    uint8_t mode, waits, as_task;
    int64_t since;
    int64_t timed; /* exactly when it began; 0: it is not timed */
    Usage *usage;  /* that it is counted in */
} Record;

#ifdef Py_GIL_DISABLED
extern PyMutex tables;
static inline void take_tables(void) { PyMutex_Lock(&tables); }
static inline void give_tables(void) { PyMutex_Unlock(&tables); }
#else /* what is done between the two lets nobody else have the GIL: it makes, frees and calls no object */
static inline void take_tables(void) {}
static inline void give_tables(void) {}
#endif

/* track_tables.c; with the tables taken */
extern Table entries, owners;
int table_insert(Table *t, Link *link); /* 0, or -1: no memory */
void table_remove(Table *t, Link *link);
Entry *entry_made(PyObject *lock, PyObject *name); /* of a lock that has none; NULL: no memory */
void entry_removed(Entry *e);

static inline size_t slot_of(const Table *t, uint64_t key)
{
    return (size_t)((key * UINT64_C(0x9E3779B97F4A7C15)) >> 32) & (t->capacity - 1);
}

static inline Link *table_find(const Table *t, uint64_t key)
{
    Link *l = t->capacity ? t->slots[slot_of(t, key)] : NULL;
    while (l && l->key != key)
        l = l->next;
    return l;
}

static inline uint64_t key_of(PyObject *object) { return (uint64_t)(uintptr_t)object; }

static inline Entry *entry_if_any(PyObject *lock) { return (Entry *)table_find(&entries, key_of(lock)); }

/* track_owners.c */
PyObject *task_here(void);         /* that runs on this thread: a new reference, or NULL: none */
/* `token`: of this thread. With the tables taken: they are given and taken again, at times; NULL: no memory. */
Owner *owner_here(PyObject *task, uint64_t token);
#define MOST_IDLE 64      /* owners without a record; more, if more have one */
Link *sweep_owners(void); /* with the tables taken: those who hold nothing, if they are too many */
void free_owners(Link *swept); /* with the tables given */

/* tracking.c; with the tables taken */
extern size_t records_live;
extern int tracking_everywhere; /* for the whole process */
extern size_t tracked_locks;    /* one by one */
extern PyObject *tracking_homes[2]; /* how the names of our own files begin: they are no places */
void settle(void);              /* is anything tracked? */

/* usage.c; with the tables taken */
Label *label_joined(PyObject *lock, PyObject *name); /* found or made, with one lock more; NULL: no memory */
void label_left(Entry *e);                           /* its lock is freed */
Usage *usage_made(Entry *e, unsigned kind);          /* NULL: no memory */
void hold_is_timed(Record *r);                       /* from now on */
void hold_was_timed(Record *r);
void usage_forked(void);

/* A hold begins; or goes on in another mode. */
static inline void hold_begins(Record *r, unsigned mode)
{
    unsigned kind = 2 * (mode == LOTS_FAIR_MUTEX ? LOTS_MUTEX : mode) + r->as_task;
    Usage *u = r->entry->usage[kind];
    if (!u)
        u = usage_made(r->entry, kind);
    r->usage = u;
    if (!u)
        return;
    u->acquisitions++;
    if (u->left && !--u->left)
        hold_is_timed(r);
}

/* Once it has ended it is not timed any more: that is for a record that goes on, or is forgotten later. */
static inline void hold_ends(Record *r)
{
    if (r->timed)
        hold_was_timed(r);
}

/* lock_order.c; all but the last four with the tables taken */
Node *node_made(PyObject *name, const char *type, int is_class);
Node *class_named(PyObject *name); /* found or made; a new reference; NULL: no memory */
void node_left(Node *node);      /* one reference less */
PyObject *node_dies(Node *node); /* its lock is freed; returns what is to be decref'ed afterwards */
void order_notes(Owner *owner, Entry *entry, unsigned mode, PyObject *site, int site_at, const Record *but);
int order_has_news(void);
void order_wakes(void);
PyObject *order_pending(void);
int order_rests(int anyway);
void order_reset(void);

#endif
