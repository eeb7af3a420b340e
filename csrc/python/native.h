/* aiolots._native: the front as C types. The word is embedded in the lock, the request is the guard, the uncontended path is
 * inlined; nothing else is here: what waits goes to the core through its function table, what is rare to Python.
 *
 *   native.h     the objects, and the inlined acquire and release of a word
 *   lock.c       RwLockBase, MutexBase
 *   reentrant.c  ReentrantBase: who owns a mutex, and how many levels deep (csrc/levels.h)
 *   who.c        who runs: the task, or the thread
 *   level.c      ReentrantRequest: one of these levels
 *   request.c    ReadRequest, UpgradableRequest, WriteRequest, MutexRequest
 *   changing.c   upgrades and downgrades
 *   value.c      what a guard gives access to
 *   slow.c       the slow path: a thread sleeps on an op on its stack; release that has somebody to wake
 *   awaiting.c   the slow path: the steps of what a task awaits; awaitable.c: the iterator that takes them
 *   foreign.c    whether its library may be another than asyncio
 *   watch.c      what is looked at beyond locking: deadlocks that are certain, corrupt words, guards over a suspension
 *   entered.c    which `with` statement entered a mutex
 *   joined.c     whether somebody joins a thread that waits
 *   mail.c       the delivery of a mailbox
 *   readers.c    who holds a share
 *   counting.c   what waiting has cost, and where the longest wait was
 *   exits.c      who has an __exit__ in hand
 *   living.c     every lock, and every guard that holds one
 *   tracking.c   who holds what, when somebody wants to know; track_query.c, lock_order.c
 *   spare.c      bound methods and StopIterations, one of each kept for the next time
 *   module.c     the module
 *
 * Who may touch what, with the GIL off: a word by atomics; a request's state by atomics (exactly one claim succeeds); its
 * other fields are written before it is shared, or by whoever made the claim; a lock's value under the lock that it is, and
 * in a critical section besides, so that a misuse is an error and no crash. Nothing global is written after import but the spares
 * of spare.c, which a GIL guards, and the tables of tracking.c. */
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
    lots_a64 entered; /* which instruction of Python entered the mutex, while it is held by a `with`; 0: none. entered.h */
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
    uint8_t is_level; /* of a ReentrantMutex: level.c */
    uint8_t gives_itself; /* acquired by await at once: its own iterator, for one step */
    union {
        double limit;  /* of who asks */
        uint64_t hold; /* of a level that is held: which hold it is a level of */
    } limited;
    uint64_t holder;
    PyObject *weakrefs;
    struct Record *record; /* tracking.c; NULL: not tracked */
} Request;

#define LEVEL LOTS_MODES /* what is asked of a ReentrantMutex: LOTS_MUTEX, or a level of it */

#define LIMIT_NONE 0
#define LIMIT_SECONDS 1
#define LIMIT_MOMENT 2

/* Names and callables of Python, looked up once at import (module.c lists them). */
#define NATIVE_CALLABLES(X)                                                                                          \
    X(asyncio, _get_running_loop) X(asyncio, current_task) X(aiolots._loops, port) X(aiolots._loops, own_port)        \
    X(aiolots._asyncio_port, time_is_up) X(aiolots._loops, needs_a_loop) X(aiolots._blocking, before_blocking)               \
    X(aiolots._blocking, interrupted) X(aiolots._waiters, note_contention) X(aiolots._living, note_lock) X(aiolots._refusals, timed_out)         \
    X(aiolots._refusals, used_before) X(aiolots._refusals, not_held) X(aiolots._refusals, pending_truth) X(aiolots._refusals, nobody_holds)              \
    X(aiolots._refusals, loop_closed) X(aiolots._refusals, dropped) X(aiolots._seconds, checked)                      \
    X(aiolots._seconds, checked_moment) X(aiolots._native_docs, documentation_of)                           \
    X(aiolots._changing, upgrade) X(aiolots._changing, try_upgrade_for)                                          \
    X(aiolots._changing, bump) X(aiolots._mapping, mapped) X(aiolots._mapping, mapped_attribute)                        \
    X(aiolots._mapping, mapped_item) X(asyncio, InvalidStateError) X(gc, get_objects)                                          \
    X(aiolots._watched, refuse) X(aiolots._watched, refuse_joined) X(aiolots._watched, join_code)                   \
    X(aiolots._watched, look_soon) X(aiolots._watched, taken_by_thread) X(aiolots._refusals, corrupt)                \
    X(aiolots._events, wait_ended) X(aiolots._wait, acquire)                                                         \
    X(aiolots._loops, running) X(aiolots._loops, in_trio) X(aiolots._loops, trio_context)                            \
    X(aiolots._owner, running_task) X(aiolots._refusals, not_owned) X(aiolots._refusals, only_guards)                \
    X(aiolots._refusals, not_as_a_whole) X(aiolots._native_levels, enter_elsewhere)                                  \
    X(threading, _active) X(_thread, start_new_thread) X(aiolots._lock_order, work)
#define NATIVE_STRINGS(X)                                                                                            \
    X(_aiolots_port) X(address) X(waiting) X(create_future) X(set_result) X(call_later) X(cancel) X(__await__)        \
    X(throw) X(close) X(address_of) X(__name__) X(timeout) X(seconds) X(moment) X(looks) X(_ident) X(trio) X(task)   \
    X(__dict__) X(__asyncio_running_event_loop__)

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
    MutexRequestType, ReentrantBaseType, ReentrantRequestType, ReadyType, AwaitingType, CountedType,
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
struct Who;
/* 0, or -1 with an exception. `who` gets a level, before any Python may run; NULL: the lock has none. */
int block(Lock *lock, unsigned mode, int limit_kind, double limit, int *timed_out, struct Who *who);
int release_slow(Lock *lock, unsigned mode, int fair);   /* 0, perhaps with an exception, or LOTS_MISUSE: nobody holds so */
int release_with(Lock *lock, unsigned mode, int fair, PyObject *port); /* the same, with own_port() or NULL, which it takes */
PyObject *running_loop(void);                            /* new reference; NULL without an exception: none */
PyObject *port_of(PyObject *loop);                       /* new reference; NULL with an exception */
PyObject *own_port(void);                                /* new reference; NULL: none, perhaps with a signal handler's exception */
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
PyObject *trios_task(void); /* that runs on this thread; a new reference, or NULL without an exception */
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

/* tracking.c. Off, is_tracking() is all that is asked; a guard knows its record. None of these raises, or runs Python. */
extern lots_a32 tracking_on;
static inline int is_tracking(void) { return a32_load(&tracking_on, RELAXED) != 0; } /* pairs with nothing: see settle() */
void track_any(PyObject *lock, PyObject *name, unsigned mode, Request *request, int waits);
void track_acquired(Lock *lock, unsigned mode, int waits); /* without a guard; `waits`: it would have waited for ever */
void track_released(PyObject *lock);                       /* without a guard; before the word is */
void track_request(Request *request);                      /* acquired */
void track_guard_released(Request *request);               /* if it has a record; before the word is released */
void track_changed(Request *request, unsigned mode);       /* its guard has another mode, or its lock again */
void track_upgraded(Request *request);                     /* by who would have waited for ever */
void track_away(Request *request);                         /* its guard lets go of its lock for a while */
extern lots_a32 tracking_knows; /* any lock: who frees one has to say so */
void track_forget(PyObject *lock);
static inline void track_freed(PyObject *lock)
{
    if (a32_load(&tracking_knows, RELAXED)) /* as in entry_of */
        track_forget(lock);
}

/* A mutex was acquired without a guard; `waits`: by who would have waited for ever. */
static inline void mutex_is_held(Lock *lock, int as_task, int waits)
{
    lock_set_holder(lock, holder_of_this_thread(as_task));
    if (is_tracking())
        track_acquired(lock, LOTS_MUTEX, waits);
}

/* track_query.c */
extern PyMethodDef tracking_methods[];
int tracking_at_fork(void); /* once, at import; 0, or an error */

/* mail.c */
/* Schedule the tasks that were woken. An exception that is set stays set; else a signal handler's (KeyboardInterrupt), which
 * came just then, may be set afterwards: everything was delivered all the same. */
void drain_port(PyObject *port, lots_mailbox *mailbox, int rung);

/* spare.c */
Request *request_made(PyTypeObject *type);
void request_unmade(Request *r);
int bind_special_methods(PyTypeObject *type);
PyObject *bound_to(PyObject *object, const char *name); /* of a bound method of ours, and of that name: borrowed; else NULL */
void derive_finished(void);
void stop_iteration(PyObject *value); /* sets it, as the end of an await with that result */
PySendResult stopped(PyObject **value); /* the result of the await whose end is set, which clears it; or PYGEN_ERROR */
int raise_thrown(PyObject *arguments); /* sets what throw() was called with: 0; or -1, with an exception that says why not */

/* readers.c */
PyObject *readers_of(PyObject *lock); /* a list of (mode, thread token, by a task) */
int visit_all(int (*visit)(PyObject *object, void *argument), void *argument);

/* exits.c */
PyObject *exits_of(PyObject *thing);

/* living.c */
extern lots_a32 locks_are_noted; /* 1: each one that is made is shown to note_lock */
PyObject *all_living(void);
int note_lock(PyObject *lock);

/* value.c */
extern PyGetSetDef shared_getset[], exclusive_getset[];
PyObject *request_get_value(PyObject *request, void *ignored);
int request_set_value(PyObject *request, PyObject *value, void *ignored);
int require_held(Request *r); /* 0, or -1 with RuntimeError */

/* changing.c */
extern PyMethodDef plain_methods[], writer_methods[], upgradable_methods[];
PyObject *request_map(PyObject *request, PyObject *function);
PyObject *request_map_attribute(PyObject *request, PyObject *name);
PyObject *request_map_item(PyObject *request, PyObject *key);

/* request.c */
extern PyTypeObject *const request_types[LOTS_MODES]; /* of the modes that a guard may have */
PyObject *request_new(Lock *lock, unsigned mode, int limit_kind, double limit, int raises);
PyObject *request_try(Lock *lock, unsigned mode);
/* The end of a slow await. `how`: 1 acquired, 0 timed out, -1 by an exception. Returns what the await gives. */
PyObject *request_awaited(PyObject *request, int how, double seconds);
void request_finalize(PyObject *request);
void request_not_begun(PyObject *request); /* its await was made, and dropped: it is pending again, and will say so */
PyObject *used_before(Lock *lock); /* raises: NULL */
void becomes_held(Request *r, int as_task);
PyObject *request_timed_out(Request *r, double seconds); /* None, or NULL with LockTimeout */

/* lock.c */
PyObject *ask(PyObject *lock, const char *method, unsigned mode, PyObject *const *arguments, Py_ssize_t count, PyObject *keywords);
PyObject *try_limited(PyObject *lock, unsigned mode, int kind, const char *method, PyObject *const *arguments, Py_ssize_t count,
                      PyObject *keywords);
/* Those of acquire(), as threading.Lock has them. 0, or -1 with an exception. */
int acquire_arguments(PyObject *arguments, PyObject *keywords, int *limit_kind, double *limit);

/* who.c */
typedef struct Who {
    uint64_t id;    /* as in csrc/levels.h */
    PyObject *task; /* a weak reference to the task (or itself); NULL: a thread */
    int entered;    /* it has a level by now, and `task` was given to the mutex or forgotten */
    uint64_t hold;  /* of which that is a level */
    int tries;      /* it would not have waited for ever: tracking.c */
} Who;

void look_for_running_loop(void);
PyObject *asyncio_loop(void);     /* that runs on this thread: new reference; NULL, mostly without an exception: none */
PyObject *asyncio_task(void);     /* that runs on this thread: as asyncio_loop; NULL too if it runs a plain callback */
int look_for_current_tasks(void); /* 0 */
int who_runs(Who *who);           /* 0, or -1 with an exception. To be forgotten */
void who_forget(Who *who);

/* reentrant.c */
/* The core says that the word is ours: hold it. Before any Python runs. Nothing if it was done. */
void reentrant_begin(Lock *lock, Who *who, int as_task);
void reentrant_counts(Lock *lock); /* that level has no guard: last, for its owner may release it from now on */

int reentrant_undo(Lock *lock, Who *who); /* leave a level again, of a task that raises. 0, or -1 with an exception */

/* level.c */
PyObject *level_try(PyObject *lock, PyObject *ignored);
int level_leave(Request *r, int fair); /* 0, or -1 with an exception */
PyObject *level_awaited(Request *r);
PyObject *level_elsewhere(Lock *lock, double seconds); /* as acquire_elsewhere */

#endif
