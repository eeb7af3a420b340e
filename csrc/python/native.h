/* aiolots._native: the front as C types. The word is embedded in the lock, the request is the guard, the uncontended path is
 * inlined; nothing else is here: what waits goes to the core through its function table, what is rare to Python.
 *
 *   native.h     the objects, and the inlined acquire and release of a word
 *   lock.c       RwLockBase, MutexBase
 *   request.c    ReadRequest, UpgradableRequest, WriteRequest, MutexRequest
 *   changing.c   upgrades and downgrades
 *   value.c      what a guard gives access to
 *   slow.c       the slow path: a thread sleeps on an op on its stack; release that has somebody to wake
 *   awaiting.c   the slow path: what a task awaits
 *   foreign.c    whether its library may be another than asyncio
 *   mail.c       the delivery of a mailbox
 *   readers.c    who holds a share
 *   counting.c   what waiting has cost, and where the longest wait was
 *   spare.c      bound methods and StopIterations, one of each kept for the next time
 *   module.c     the module
 *
 * Who may touch what, with the GIL off: a word by atomics; a request's state by atomics (exactly one claim succeeds); its
 * other fields are written before it is shared, or by whoever made the claim; a lock's value under the lock that it is, and
 * in a critical section besides, so that a misuse is an error and no crash. Nothing global is written after import but the spares
 * of spare.c, which a GIL guards. */
#ifndef LOTS_NATIVE_H
#define LOTS_NATIVE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "capi.h"
#include "fast_path.h"

#include <stddef.h>

typedef struct {
    PyObject_HEAD
    lots_word word;
    PyObject *value;
    PyObject *name; /* or, once somebody had to wait, what is counted, with the name in it: counting.c */
    PyObject *weakrefs;
    lots_a64 holder; /* of the exclusive hold: thread ident | HOLDER_IS_TASK; 0: none. For DeadlockError, not for exclusion */
} Lock;

#define HOLDER_IS_TASK 2
#define LOCK_WAS_NOTED 1 /* in the registry of contended locks; kept there when the holder changes */

typedef struct {
    PyObject_HEAD
    Lock *lock;
    PyObject *site;     /* the code object that asked, and where in it: for the warning when it is dropped */
    int site_at;
    lots_a32 state;     /* LOTS_PENDING, ACQUIRING, HELD, RELEASED, GONE */
    uint8_t mode;
    uint8_t limit_kind; /* LIMIT_... */
    uint8_t raises;     /* LockTimeout instead of None */
    uint8_t as_task;
    uint8_t gives_itself; /* acquired by await at once: its own iterator, for one step */
    double limit;
    uint64_t holder;
    PyObject *weakrefs;
} Request;

#define LIMIT_NONE 0
#define LIMIT_SECONDS 1
#define LIMIT_MOMENT 2

/* Names and callables of Python, looked up once at import (module.c lists them). */
#define NATIVE_CALLABLES(X)                                                                                          \
    X(asyncio, _get_running_loop) X(asyncio, current_task) X(aiolots._loops, port) X(aiolots._loops, own_port)        \
    X(aiolots._asyncio_port, time_is_up) X(aiolots._loops, needs_a_loop) X(aiolots._blocking, before_blocking)               \
    X(aiolots._blocking, interrupted) X(aiolots._waiters, note_contention) X(aiolots._refusals, timed_out)         \
    X(aiolots._refusals, used_before) X(aiolots._refusals, not_held) X(aiolots._refusals, pending_truth) X(aiolots._refusals, nobody_holds)              \
    X(aiolots._refusals, loop_closed) X(aiolots._refusals, dropped) X(aiolots._seconds, checked)                      \
    X(aiolots._seconds, checked_moment) X(aiolots._native_docs, documentation_of)                           \
    X(aiolots._changing, upgrade) X(aiolots._changing, try_upgrade_for)                                          \
    X(aiolots._changing, bump) X(aiolots._mapping, mapped) X(aiolots._mapping, mapped_attribute)                        \
    X(aiolots._mapping, mapped_item) X(asyncio, InvalidStateError) X(gc, get_objects)                                          \
    X(aiolots._events, wait_ended) X(aiolots._loops, running) X(aiolots._loops, in_trio) X(aiolots._loops, trio_context) X(aiolots._wait, acquire)
#define NATIVE_STRINGS(X)                                                                                            \
    X(_aiolots_port) X(address) X(waiting) X(create_future) X(set_result) X(call_later) X(cancel) X(__await__)        \
    X(throw) X(close) X(address_of) X(__name__) X(timeout) X(seconds) X(moment) X(trio) X(__dict__)

typedef struct {
#define X(module, name) PyObject *name;
    NATIVE_CALLABLES(X)
#undef X
#define X(name) PyObject *s_##name;
    NATIVE_STRINGS(X)
#undef X
    PyObject *nothing; /* () */
    PyObject *ready; /* the awaitable that is done, with None */
} Names;

extern Names names;
extern PyTypeObject RwLockBaseType, MutexBaseType, FairMutexBaseType, RequestType, ReadRequestType, WriteRequestType, UpgradableRequestType,
    MutexRequestType, ReadyType, AwaitingType, CountedType,
    BoundType, BinderType, FinishedType;

extern const lots_capi *core;

static inline uint64_t holder_of_this_thread(int as_task)
{
    return (core->thread_token() << 2) | (uint64_t)(as_task ? HOLDER_IS_TASK : 0);
}

static inline int mode_is_exclusive(unsigned mode) { return lots_modes[mode].adds == WRITER; }

static inline uint32_t request_state(Request *r) { return a32_load(&r->state, ACQUIRE); /* pairs with request_becomes */ }

static inline void request_becomes(Request *r, uint32_t state) { a32_store(&r->state, state, RELEASE); }

/* Exactly one caller moves the state on. With the GIL nothing can come between the load and the store. */
static inline int request_claims(Request *r, uint32_t from, uint32_t to)
{
#ifdef Py_GIL_DISABLED
    return a32_cas(&r->state, &from, to, ACQ_REL);
#else
    if (a32_load(&r->state, RELAXED) != from)
        return 0;
    a32_store(&r->state, to, RELAXED);
    return 1;
#endif
}

static inline void lock_set_holder(Lock *l, uint64_t holder)
{
    /* RELAXED: a hint for diagnosis. Only the exclusive holder writes it, and a note that gets lost is made again. */
    a64_store(&l->holder, (a64_load(&l->holder, RELAXED) & LOCK_WAS_NOTED) | holder, RELAXED);
}

/* An exception that is set is the one to go on with, if there was none. */
static inline void keep_first(PyObject **type, PyObject **value, PyObject **traceback)
{
    if (PyErr_Occurred() && !*type)
        PyErr_Fetch(type, value, traceback);
    PyErr_Clear();
}

/* slow.c */
int block(Lock *lock, unsigned mode, int limit_kind, double limit, int *timed_out); /* 0, or -1 with an exception */
int release_slow(Lock *lock, unsigned mode, int fair);   /* 0, or LOTS_MISUSE: nobody holds so. See drain_port */
PyObject *running_loop(void);                            /* new reference; NULL without an exception: none */
PyObject *port_of(PyObject *loop);                       /* new reference; NULL with an exception */
PyObject *own_port(void);                                /* new reference; NULL without an exception: none */
lots_mailbox *mailbox_of(PyObject *port);                /* NULL for NULL */
double limit_left(int kind, double limit);               /* seconds from now; negative: for ever */
int note_contention(Lock *lock);

/* counting.c */
PyObject *lock_name(Lock *lock); /* new reference */
PyObject *lock_rename(Lock *lock, PyObject *name); /* in a critical section; returns what is to be let go of */
/* What the waits of a mode are counted in: 0, or -1 with an exception. */
int record_of(Lock *lock, unsigned mode, int as_task, lots_contention **record);
/* A wait has ended: how, as aiolots._events has it, and where (NULL: in the frame that runs here). 0, or -1 with an exception,
 * which may be a signal handler's. */
#define WAIT_ACQUIRED 1
#define WAIT_TIMED_OUT 2
#define WAIT_CANCELLED 4
int wait_over(Lock *lock, const lots_op *op, unsigned mode, int as_task, int how, PyObject *code, int at);
PyObject *users_place(int *at); /* the user's code that runs here, a new reference, or NULL */
extern lots_a32 events_wanted; /* of which outcomes */
PyObject *lock_get_kept(PyObject *lock, void *closure);
int lock_set_kept(PyObject *lock, PyObject *kept, void *closure);
PyObject *lock_get_longest(PyObject *lock, void *closure);
int lock_set_longest(PyObject *lock, PyObject *longest, void *closure);

/* awaiting.c */
PyObject *await_slowly(Lock *lock, unsigned mode, int limit_kind, double limit, PyObject *request);

/* foreign.c */
extern PyObject *modules;      /* sys.modules */
extern lots_a64 modules_seen;  /* how many there were when trio was not among them */
int look_for_trio_from_now_on(void); /* 0, or -1 with an exception */
int trio_runs(void);
int trio_was_found(void); /* by an acquire, after it was imported */
int is_trios(void); /* the running task: 1, 0, or -1 with an exception */
/* The steps of a whole acquire, to be sent through: True in the end, or False when the time ran out. `seconds` < 0: never. */
PyObject *acquire_elsewhere(Lock *lock, unsigned mode, double seconds);
/* Whether trio runs on this thread, so that the library of the running task is to be asked for. Costs nothing until somebody
 * imports trio. */
static inline int may_be_trio(void)
{
    /* RELAXED: whoever imported trio on this thread is seen; what runs on other threads is not asked for. */
    return (uint64_t)PyDict_GET_SIZE(modules) != a64_load(&modules_seen, RELAXED) && trio_runs();
}

/* mail.c */
/* Schedule the tasks that were woken. An exception that is set stays set; else a signal handler's (KeyboardInterrupt), which
 * came just then, may be set afterwards: everything was delivered all the same. */
void drain_port(PyObject *port, lots_mailbox *mailbox, int rung);

/* spare.c */
Request *request_made(PyTypeObject *type);
void request_unmade(Request *r);
int bind_special_methods(PyTypeObject *type);
void derive_finished(void);
void stop_iteration(PyObject *value); /* sets it, as the end of an await with that result */
PySendResult stopped(PyObject **value); /* the result of the await whose end is set, which clears it; or PYGEN_ERROR */
int raise_thrown(PyObject *arguments); /* sets what throw() was called with: 0; or -1, with an exception that says why not */

/* readers.c */
PyObject *readers_of(PyObject *lock); /* a list of (mode, thread token, by a task) */

/* value.c */
extern PyGetSetDef shared_getset[], exclusive_getset[];
int require_held(Request *r); /* 0, or -1 with RuntimeError */

/* changing.c */
extern PyMethodDef writer_methods[], upgradable_methods[];
PyObject *request_bump(PyObject *request, PyObject *ignored);
PyObject *request_map(PyObject *request, PyObject *function);
PyObject *request_map_attribute(PyObject *request, PyObject *name);
PyObject *request_map_item(PyObject *request, PyObject *key);
PyObject *request_begin_change(PyObject *request, PyObject *ignored);
PyObject *request_end_change(PyObject *request, PyObject *mode);

/* request.c */
extern PyTypeObject *const request_types[LOTS_MODES]; /* of the modes that a guard may have */
PyObject *request_new(Lock *lock, unsigned mode, int limit_kind, double limit, int raises);
PyObject *request_try(Lock *lock, unsigned mode);
/* The end of a slow await. `how`: 1 acquired, 0 timed out, -1 by an exception. Returns what the await gives. */
PyObject *request_awaited(PyObject *request, int how, double seconds);
void request_finalize(PyObject *request);
void request_not_begun(PyObject *request); /* its await was made, and dropped: it is pending again, and will say so */
PyObject *used_before(Lock *lock); /* raises: NULL */

#endif
