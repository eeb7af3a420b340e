/* ReentrantBase: a mutex, who owns it, and how many levels deep. How these change is in csrc/levels.h; here is who runs, and
 * where Python may come in between.
 *
 *   with the GIL   Signal handlers and finalizers run where Python does: in who_runs (trio's tasks; a weak reference is made),
 *                  in block and in what a task awaits, in own_port, in drain_port. All that changes `levels` lies between
 *                  two of these: from the word that was acquired to levels_begin, and from the level that was the last to the
 *                  release of the word. So a handler finds it held by its owner, to go deeper; or free; never in between.
 *   without        Another thread may look in between, and asks for the word then, and is woken by its release. The owner
 *                  itself cannot: it is busy here. */
#include "reentrant.h"

#include "watch.h"

static int is_thread(uint64_t id) { return id & 1; }

/* Whether who calls owns it: 1, 0, or -1 with an exception. */
static int owns(Reentrant *m, uint32_t *bare)
{
    uint64_t owner = a64_load(&m->levels.owner, RELAXED); /* a first look: if it is another thread's, it is not ours */
    Who who;
    int it_is;
    if (owner == NOBODY || (is_thread(owner) && owner >> 1 != core->thread_token()))
        return 0;
    if (who_runs(&who))
        return -1;
    /* ACQUIRE pairs with the RELEASE of add_bare: who sees the levels of another's hold sees, next, whose that is. */
    *bare = a32_load(&m->bare, ACQUIRE);
    it_is = levels_owned_by(&m->levels, who.id);
    who_forget(&who);
    return it_is;
}

/* --- enter and leave --------------------------------------------------------------------------------------------------- */

uint64_t reentrant_depth(Lock *lock) { return levels_depth(&((Reentrant *)lock)->levels); }

void reentrant_begin(Lock *lock, Who *who, int as_task)
{
    Reentrant *m = (Reentrant *)lock;
    PyObject *old = who->task;
    uint64_t holder = holder_of_this_thread(as_task);
    if (who->entered)
        return;
    if (who->task && who->task != m->task) {
#ifdef Py_GIL_DISABLED
        Py_BEGIN_CRITICAL_SECTION(m); /* others may look who owns it: reentrant_get_owner */
#endif
        old = m->task;
        m->task = who->task;
#ifdef Py_GIL_DISABLED
        Py_END_CRITICAL_SECTION();
#endif
    }
    lock_set_holder(lock, holder);
    levels_begin(&m->levels, who->id);
    who->hold = levels_hold(&m->levels);
    who->task = NULL;
    who->entered = 1;
    Py_XDECREF(old); /* a weak reference: nothing runs */
    if (is_tracking())
        track_acquired(lock, LOTS_MUTEX, holder, !who->tries);
}

int reentrant_enter(Reentrant *m, Who *who, int as_task)
{
    int deeper;
    if (who_runs(who))
        return -1;
    deeper = levels_deepen(&m->levels, who->id);
    if (deeper == LEVELS_FULL) {
        PyErr_Format(PyExc_OverflowError, "%R is held as many times as it can be", m);
        who_forget(who);
        return -1;
    }
    if (deeper == LEVELS_DEEPER) {
        who_forget(who);
        who->hold = levels_hold(&m->levels);
        return who->entered = 1;
    }
    if (!word_try(&m->lock.word, &lots_modes[LOTS_MUTEX]))
        return 0;
    reentrant_begin(&m->lock, who, as_task);
    return 1;
}

/* A task that is kept itself, for it has no weak references: let go of with the hold. A new reference, or NULL. */
static PyObject *kept_task(Reentrant *m)
{
    PyObject *kept = NULL;
    if (!m->task || PyWeakref_Check(m->task))
        return NULL;
#ifdef Py_GIL_DISABLED
    Py_BEGIN_CRITICAL_SECTION(m); /* as in reentrant_begin */
#endif
    kept = m->task;
    m->task = NULL;
#ifdef Py_GIL_DISABLED
    Py_END_CRITICAL_SECTION();
#endif
    return kept;
}

int reentrant_leave(Reentrant *m, uint64_t hold, uint64_t count, int fair)
{
    Lock *lock = &m->lock;
    PyObject *port = NULL, *kept;
    /* Before it is left: this may run Python. Queued later, a task is not of the loop on this thread (release_slow). */
    if (levels_depth(&m->levels) <= count && word_load(&lock->word) & (PARKED | WRITER_PARKED))
        port = own_port();
    if (levels_leave(&m->levels, hold, count) != LEVELS_LAST) { /* others are left; or that hold was ended (levels_end) */
        Py_XDECREF(port);
        return PyErr_Occurred() ? -1 : 0; /* as below */
    }
    kept = kept_task(m);
    lock_set_holder(lock, 0);
    if (is_tracking())
        track_released((PyObject *)lock);
    if (word_release_fast(&lock->word, &lots_modes[LOTS_MUTEX]))
        Py_XDECREF(port);
    else if (release_with(lock, LOTS_MUTEX, fair, port))
        PyErr_Format(PyExc_RuntimeError, "%R was released behind its guard's back", lock);
    Py_XDECREF(kept);
    return PyErr_Occurred() ? -1 : 0; /* a signal handler's: it is released */
}

int reentrant_undo(Lock *lock, Who *who)
{
    Reentrant *m = (Reentrant *)lock;
    PyObject *type, *value, *traceback;
    int failed;
    PyErr_Fetch(&type, &value, &traceback);
    failed = reentrant_leave(m, who->hold, 1, 0);
    if (type) {
        PyErr_Clear();
        PyErr_Restore(type, value, traceback);
    }
    return failed;
}

/* RELAXED: the owner alone writes it, and is told the truth; others only tell of it. Of a hold that is over it is 0: these levels
 * are levels too. */
static uint32_t bare_levels(Reentrant *m) { return a32_load(&m->bare, RELAXED); }

/* RELEASE pairs with the ACQUIRE of owns. */
static void add_bare(Reentrant *m, uint32_t count) { a32_store(&m->bare, bare_levels(m) + count, RELEASE); }

void reentrant_counts(Lock *lock)
{
    add_bare((Reentrant *)lock, 1);
}

/* --- as threading.RLock and asyncio.Lock ----------------------------------------------------------------------------------- */

static PyObject *acquire_for(Reentrant *m, int limit_kind, double limit)
{
    Who who = {.tries = limit_kind != LIMIT_NONE};
    int late = 0, entered = reentrant_enter(m, &who, 0);
    if (entered < 0)
        return NULL;
    if (!entered) {
        int failed = block(&m->lock, LOTS_MUTEX, limit_kind, limit, &late, &who);
        who_forget(&who);
        if (failed || late)
            return failed ? NULL : Py_NewRef(Py_False);
    }
    add_bare(m, 1);
    if (watches(WATCH_SUSPENDS))
        taken_by_thread((PyObject *)m);
    Py_RETURN_TRUE;
}

static PyObject *reentrant_enter_with(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return acquire_for((Reentrant *)self, LIMIT_NONE, 0);
}

static PyObject *reentrant_acquire(PyObject *self, PyObject *arguments, PyObject *keywords)
{
    int kind;
    double limit;
    return acquire_arguments(arguments, keywords, &kind, &limit) ? NULL : acquire_for((Reentrant *)self, kind, limit);
}

/* Whether its owner was a task that is collected: nobody else will ever release what it left. */
static int owner_is_gone(Reentrant *m)
{
    uint64_t owner = a64_load(&m->levels.owner, RELAXED); /* as in owns */
    int gone = 0;
#ifdef Py_GIL_DISABLED
    Py_BEGIN_CRITICAL_SECTION(m); /* as in reentrant_begin */
#endif
    if (owner != NOBODY && !is_thread(owner) && m->task && owner == (uint64_t)(uintptr_t)m->task && PyWeakref_Check(m->task)) {
#if PY_VERSION_HEX >= 0x030D0000
        PyObject *who = NULL;
        gone = PyWeakref_GetRef(m->task, &who) == 0;
        Py_XDECREF(who);
#else
        gone = PyWeakref_GET_OBJECT(m->task) == Py_None;
#endif
    }
#ifdef Py_GIL_DISABLED
    Py_END_CRITICAL_SECTION();
#endif
    return gone;
}

/* Release as many levels that have no guard. The hold is the caller's, so its number stays; or (`closed`) that of a task that was
 * collected within its `async with`, which the collector ends now. */
static int let_go(Reentrant *m, uint32_t count, int closed)
{
    PyObject *type = NULL, *value, *traceback;
    uint32_t bare = 0;
    int ours = owns(m, &bare);
    if (ours < 0) { /* a signal handler's, where trio was asked who runs: it is released nevertheless */
        PyErr_Fetch(&type, &value, &traceback);
        ours = owns(m, &bare);
        PyErr_Clear();
    }
    if (!ours && closed && owner_is_gone(m)) {
        ours = 1;
        bare = bare_levels(m);
    }
    if (ours > 0 && bare >= count) {
        a32_store(&m->bare, bare - count, RELEASE); /* as in add_bare */
        (void)reentrant_leave(m, levels_hold(&m->levels), count, 0);
    } else if (!type)
        Py_XDECREF(PyObject_CallOneArg(ours ? names.only_guards : names.not_owned, (PyObject *)m));
    if (type) {
        PyErr_Clear();
        PyErr_Restore(type, value, traceback);
    }
    return PyErr_Occurred() ? -1 : 0;
}

static PyObject *reentrant_release(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (let_go((Reentrant *)self, 1, 0))
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *reentrant_exit(PyObject *self, PyObject *const *Py_UNUSED(arguments), Py_ssize_t Py_UNUSED(count))
{
    return reentrant_release(self, NULL);
}

static PyObject *reentrant_aexit(PyObject *self, PyObject *const *Py_UNUSED(arguments), Py_ssize_t Py_UNUSED(count))
{
    return let_go((Reentrant *)self, 1, 1) ? NULL : Py_NewRef(names.ready);
}

static PyObject *reentrant_aenter(PyObject *self, PyObject *Py_UNUSED(ignored)) { return Py_NewRef(self); }

static PyObject *reentrant_await(PyObject *self)
{
    Reentrant *m = (Reentrant *)self;
    Who who = {0};
    int entered = 0;
    if (!may_be_trio()) {
        entered = reentrant_enter(m, &who, 1);
        if (entered < 0)
            return NULL;
        who_forget(&who);
    }
    if (!entered)
        return await_slowly(&m->lock, LOTS_MUTEX, LIMIT_NONE, 0, NULL);
    add_bare(m, 1);
    return Py_NewRef(names.ready);
}

static PyObject *reentrant_is_owned(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    uint32_t bare;
    int ours = owns((Reentrant *)self, &bare);
    return ours < 0 ? NULL : PyBool_FromLong(ours);
}

static PyObject *reentrant_recursion_count(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    uint32_t bare;
    int ours = owns((Reentrant *)self, &bare);
    return ours < 0 ? NULL : PyLong_FromUnsignedLongLong(ours ? reentrant_depth((Lock *)self) : 0);
}

static PyObject *reentrant_release_save(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    Reentrant *m = (Reentrant *)self;
    uint32_t bare = 0;
    int ours = owns(m, &bare);
    if (ours < 0)
        return NULL;
    if (!ours || bare != reentrant_depth(&m->lock)) {
        Py_XDECREF(PyObject_CallOneArg(names.not_as_a_whole, self));
        return NULL;
    }
    return let_go(m, bare, 0) ? NULL : PyLong_FromUnsignedLong(bare);
}

static PyObject *reentrant_acquire_restore(PyObject *self, PyObject *levels)
{
    Reentrant *m = (Reentrant *)self;
    unsigned long count = PyLong_AsUnsignedLong(levels);
    PyObject *done;
    if (count == (unsigned long)-1 && PyErr_Occurred())
        return NULL;
    for (; count; count--) { /* nothing runs between two of them but the first */
        done = acquire_for(m, LIMIT_NONE, 0);
        if (!done)
            return NULL;
        Py_DECREF(done);
    }
    Py_RETURN_NONE;
}

/* In a forked child, whose one thread has nobody beside it: free, whoever held it. The guards that are left hold nothing. */
static PyObject *reentrant_at_fork_reinit(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    Reentrant *m = (Reentrant *)self;
    levels_end(&m->levels);
    a32_store(&m->bare, 0, RELAXED); /* as in bare_levels */
    lock_set_holder(&m->lock, 0);
    if (word_load(&m->lock.word) & WRITER && release_slow(&m->lock, LOTS_MUTEX, 0)) {
        PyErr_Format(PyExc_RuntimeError, "%R is in use", self);
        return NULL;
    }
    Py_RETURN_NONE;
}

/* --- attributes ---------------------------------------------------------------------------------------------------- */

static PyObject *reentrant_get_depth(PyObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLongLong(reentrant_depth((Lock *)self));
}

/* (the task or None, thread token, whether in a task's colour, levels without a guard, the number of the hold), or None: for
 * diagnosis. */
static PyObject *reentrant_get_owner(PyObject *self, void *Py_UNUSED(closure))
{
    Reentrant *m = (Reentrant *)self;
    uint64_t holder = a64_load(&m->lock.holder, RELAXED), owner; /* as in lock_set_holder; hints, all of them */
    PyObject *task = NULL, *found;
#ifdef Py_GIL_DISABLED
    Py_BEGIN_CRITICAL_SECTION(m);
#endif
    owner = a64_load(&m->levels.owner, RELAXED);
    if (owner != NOBODY && !is_thread(owner))
        task = Py_XNewRef(m->task);
#ifdef Py_GIL_DISABLED
    Py_END_CRITICAL_SECTION();
#endif
    if (owner == NOBODY)
        Py_RETURN_NONE;
    if (task && PyWeakref_Check(task)) {
#if PY_VERSION_HEX >= 0x030D0000
        if (PyWeakref_GetRef(task, &found) < 0)
            PyErr_Clear();
#else
        found = Py_NewRef(PyWeakref_GET_OBJECT(task));
#endif
        Py_SETREF(task, found);
    }
    found = Py_BuildValue("OKOIK", task ? task : Py_None, (unsigned long long)(holder >> 2),
                          holder & HOLDER_IS_TASK ? Py_True : Py_False, (unsigned int)bare_levels(m),
                          (unsigned long long)levels_hold(&m->levels));
    Py_XDECREF(task);
    return found;
}

static PyGetSetDef reentrant_getset[] = {
    {"_depth", reentrant_get_depth, NULL, NULL, NULL},
    {"_owner_note", reentrant_get_owner, NULL, NULL, NULL},
    {0},
};

static int reentrant_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(((Reentrant *)self)->task);
    return MutexBaseType.tp_traverse(self, visit, arg);
}

/* Said here too: what has a tp_traverse of its own inherits no tp_clear. */
static int reentrant_clear(PyObject *self)
{
    Py_CLEAR(((Reentrant *)self)->task);
    return MutexBaseType.tp_clear(self);
}

static void reentrant_dealloc(PyObject *self)
{
    PyObject_GC_UnTrack(self);
    Py_CLEAR(((Reentrant *)self)->task);
    MutexBaseType.tp_dealloc(self);
}

static PyObject *ask_level(PyObject *self, PyObject *const *arguments, Py_ssize_t count, PyObject *keywords)
{
    return ask(self, "lock", LEVEL, arguments, count, keywords);
}

static PyObject *try_level_for(PyObject *self, PyObject *const *arguments, Py_ssize_t count, PyObject *keywords)
{
    return try_limited(self, LEVEL, LIMIT_SECONDS, "try_lock_for", arguments, count, keywords);
}

static PyObject *try_level_until(PyObject *self, PyObject *const *arguments, Py_ssize_t count, PyObject *keywords)
{
    return try_limited(self, LEVEL, LIMIT_MOMENT, "try_lock_until", arguments, count, keywords);
}

#define FAST(function) (PyCFunction)(void (*)(void))function

static PyMethodDef reentrant_methods[] = {
    {"lock", FAST(ask_level), METH_FASTCALL | METH_KEYWORDS, NULL},
    {"try_lock", level_try, METH_NOARGS, NULL},
    {"try_lock_for", FAST(try_level_for), METH_FASTCALL | METH_KEYWORDS, NULL},
    {"try_lock_until", FAST(try_level_until), METH_FASTCALL | METH_KEYWORDS, NULL},
    {"__enter__", reentrant_enter_with, METH_NOARGS, NULL},
    {"__exit__", FAST(reentrant_exit), METH_FASTCALL, NULL},
    {"__aenter__", reentrant_aenter, METH_NOARGS, NULL},
    {"__aexit__", FAST(reentrant_aexit), METH_FASTCALL, NULL},
    {"acquire", FAST(reentrant_acquire), METH_VARARGS | METH_KEYWORDS, NULL},
    {"release", reentrant_release, METH_NOARGS, NULL},
    {"is_owned", reentrant_is_owned, METH_NOARGS, NULL},
    {"_is_owned", reentrant_is_owned, METH_NOARGS, NULL},
    {"_recursion_count", reentrant_recursion_count, METH_NOARGS, NULL},
    {"_release_save", reentrant_release_save, METH_NOARGS, NULL},
    {"_acquire_restore", reentrant_acquire_restore, METH_O, NULL},
    {"_at_fork_reinit", reentrant_at_fork_reinit, METH_NOARGS, NULL},
    {0},
};

static PyAsyncMethods reentrant_async = {.am_await = reentrant_await};

PyTypeObject ReentrantBaseType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "aiolots._native.ReentrantBase",
    .tp_base = &MutexBaseType,
    .tp_basicsize = sizeof(Reentrant),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .tp_traverse = reentrant_traverse,
    .tp_clear = reentrant_clear,
    .tp_dealloc = reentrant_dealloc,
    .tp_as_async = &reentrant_async,
    .tp_methods = reentrant_methods,
    .tp_getset = reentrant_getset,
};
