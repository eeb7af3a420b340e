/* Requests: one allocation asks for a lock, and is the guard once it has it.
 *
 *   state       by                                               to
 *   PENDING     enter, acquire, await: exactly one claims it      ACQUIRING, or HELD at once
 *   ACQUIRING   the one that claimed it                           HELD, GONE
 *   HELD        release: exactly one claims it                    RELEASED
 *               a change of its mode claims it likewise           CHANGING: changing.c
 *   GONE        timed out, cancelled, refused
 *
 * The await of an uncontended acquire makes no coroutine and no other object: the request is its own iterator, which ends
 * with the request itself as the result. */
#include "native.h"

#include "clock.h"
#include "watch.h"

PyTypeObject *const request_types[LOTS_MODES] = {
    [LOTS_READ] = &ReadRequestType,
    [LOTS_READ_RECURSIVE] = &ReadRequestType,
    [LOTS_WRITE] = &WriteRequestType,
    [LOTS_UPGRADABLE] = &UpgradableRequestType,
    [LOTS_MUTEX] = &MutexRequestType,
    [LOTS_FAIR_MUTEX] = &MutexRequestType,
};

/* Where in Python we are: remembered as (code, instruction), turned into a line only when somebody wants to know. */
static void remember_site(Request *r)
{
    PyFrameObject *frame = PyEval_GetFrame();
    r->site = NULL;
    r->site_at = 0;
    if (frame) {
        r->site = (PyObject *)PyFrame_GetCode(frame);
        r->site_at = PyFrame_GetLasti(frame);
    }
}

PyObject *request_new(Lock *lock, unsigned mode, int limit_kind, double limit, int raises)
{
    Request *r = request_made(mode == LEVEL ? &ReentrantRequestType : request_types[mode]);
    if (!r)
        return NULL;
    r->lock = (Lock *)Py_NewRef((PyObject *)lock);
    r->is_level = mode == LEVEL;
    r->mode = (uint8_t)(mode == LEVEL ? LOTS_MUTEX : mode);
    r->limit_kind = (uint8_t)limit_kind;
    r->limited.limit = limit;
    r->raises = (uint8_t)raises;
    r->as_task = r->gives_itself = 0;
    r->holder = 0;
    r->weakrefs = NULL;
    r->record = NULL;
    a32_store(&r->state, LOTS_PENDING, RELAXED); /* nobody else knows it yet */
    remember_site(r);
    PyObject_GC_Track(r);
    return (PyObject *)r;
}

void becomes_held(Request *r, int as_task)
{
    r->as_task = (uint8_t)as_task;
    r->holder = holder_of_this_thread(as_task);
    if (mode_is_exclusive(r->mode) && !r->is_level)
        lock_set_holder(r->lock, r->holder);
    if (is_tracking() && !r->is_level) /* of which the hold is tracked: reentrant_begin */
        track_request(r);
    request_becomes(r, LOTS_HELD);
}

PyObject *request_try(Lock *lock, unsigned mode)
{
    Request *r;
    if (!word_looks_free(&lock->word, &lots_modes[mode]))
        Py_RETURN_NONE;
    /* Made first: an acquire that cannot be given a guard would have to be undone. */
    r = (Request *)request_new(lock, mode, LIMIT_NONE, 0, 0);
    if (!r)
        return NULL;
    if (word_try(&lock->word, &lots_modes[mode])) {
        becomes_held(r, 0);
        return (PyObject *)r;
    }
    request_becomes(r, LOTS_GONE);
    Py_DECREF(r);
    Py_RETURN_NONE;
}

PyObject *used_before(Lock *lock) { return PyObject_CallOneArg(names.used_before, (PyObject *)lock); }

/* The time is up: None, or LockTimeout. */
PyObject *request_timed_out(Request *r, double seconds)
{
    request_becomes(r, LOTS_GONE);
    if (!r->raises)
        Py_RETURN_NONE;
    return PyObject_CallFunction(names.timed_out, "Oid", r->lock, (int)r->mode, seconds);
}

static PyObject *request_acquire(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    Request *r = (Request *)self;
    int64_t began = 0;
    int late;
    if (!request_claims(r, LOTS_PENDING, LOTS_ACQUIRING))
        return used_before(r->lock);
    if (!word_try(&r->lock->word, &lots_modes[r->mode])) {
        began = clock_now();
        if (block(r->lock, r->mode, r->limit_kind, r->limited.limit, &late, NULL)) {
            request_becomes(r, LOTS_GONE);
            return NULL;
        }
        if (late)
            return request_timed_out(r, (double)(clock_now() - began) / 1e9);
    }
    becomes_held(r, 0);
    if (watches(WATCH_SUSPENDS))
        taken_by_thread(self);
    return Py_NewRef(self);
}

/* 0, or -1 with RuntimeError: somebody else released it, or nobody ever acquired it. */
static int release_claimed(Request *r, int fair)
{
    unsigned mode = r->mode;
    Lock *lock = r->lock;
    if (r->is_level)
        return level_leave(r, fair);
    if (mode_is_exclusive(mode))
        lock_set_holder(lock, 0);
    if (r->record)
        track_guard_released(r);
    if (word_release_fast(&lock->word, &lots_modes[mode]))
        return 0;
    if (release_slow(lock, mode, fair)) {
        PyErr_Format(PyExc_RuntimeError, "%R was released behind its guard's back", lock);
        return -1;
    }
    return PyErr_Occurred() ? -1 : 0; /* a signal handler's: the lock is released */
}

static int release_request(Request *r, int fair)
{
    if (!request_claims(r, LOTS_HELD, LOTS_RELEASED)) {
        PyObject *none = PyObject_CallFunction(names.not_held, "Oi", r->lock, request_state(r) == LOTS_RELEASED);
        Py_XDECREF(none);
        return -1;
    }
    return release_claimed(r, fair);
}

static PyObject *request_release(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (release_request((Request *)self, 0))
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *request_release_fair(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (release_request((Request *)self, 1))
        return NULL;
    Py_RETURN_NONE;
}

/* It may have been released inside; a timed-out one never was held. */
static int leave(Request *r) { return request_claims(r, LOTS_HELD, LOTS_RELEASED) ? release_claimed(r, 0) : 0; }

static PyObject *request_exit(PyObject *self, PyObject *const *Py_UNUSED(arguments), Py_ssize_t Py_UNUSED(count))
{
    if (leave((Request *)self))
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *request_aenter(PyObject *self, PyObject *Py_UNUSED(ignored)) { return Py_NewRef(self); }

static PyObject *request_aexit(PyObject *self, PyObject *const *Py_UNUSED(arguments), Py_ssize_t Py_UNUSED(count))
{
    if (leave((Request *)self))
        return NULL;
    return Py_NewRef(names.ready);
}

/* await: acquired at once, the request is its own iterator and ends with itself. */
static PyObject *request_await(PyObject *self)
{
    Request *r = (Request *)self;
    if (!request_claims(r, LOTS_PENDING, LOTS_ACQUIRING))
        return used_before(r->lock);
    if (!may_be_trio() && word_try(&r->lock->word, &lots_modes[r->mode])) {
        r->gives_itself = 1;
        becomes_held(r, 1);
        return Py_NewRef(self);
    }
    return await_slowly(r->lock, r->mode, r->limit_kind, r->limited.limit, self);
}

PyObject *request_awaited(PyObject *self, int how, double seconds)
{
    Request *r = (Request *)self;
    if (how > 0 && r->is_level)
        return level_awaited(r);
    if (how > 0) {
        becomes_held(r, 1);
        return Py_NewRef(self);
    }
    if (!how)
        return request_timed_out(r, seconds);
    request_becomes(r, LOTS_GONE);
    return NULL;
}


/* Only what request_await gave is an iterator, and for one step. */
static int await_is_done(Request *r)
{
    if (r->gives_itself) {
        r->gives_itself = 0;
        return 1;
    }
    PyErr_Format(PyExc_TypeError, "'%.100s' object is not iterable: await it", Py_TYPE(r)->tp_name);
    return 0;
}

static PySendResult request_send(PyObject *self, PyObject *Py_UNUSED(value), PyObject **result)
{
    *result = NULL;
    if (!await_is_done((Request *)self))
        return PYGEN_ERROR;
    *result = Py_NewRef(self);
    return PYGEN_RETURN;
}

static PyObject *request_next(PyObject *self)
{
    if (await_is_done((Request *)self))
        stop_iteration(self);
    return NULL;
}

static PyObject *request_iter(PyObject *self)
{
    if (((Request *)self)->gives_itself)
        return Py_NewRef(self);
    PyErr_Format(PyExc_TypeError, "'%.100s' object is not iterable: await it", Py_TYPE(self)->tp_name);
    return NULL;
}

static int request_true(PyObject *self)
{
    uint32_t state = request_state((Request *)self);
    if (state == LOTS_HELD)
        return 1;
    if (state == LOTS_RELEASED || state == LOTS_GONE || state == LOTS_CHANGING)
        return 0;
    Py_XDECREF(PyObject_CallNoArgs(names.pending_truth));
    return -1;
}

static PyObject *request_is_held(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(request_state((Request *)self) == LOTS_HELD);
}

static PyObject *request_require_held(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (require_held((Request *)self))
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *request_get_of_task(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(((Request *)self)->as_task);
}

static PyObject *request_get_lock(PyObject *self, void *Py_UNUSED(closure)) { return Py_NewRef(((Request *)self)->lock); }

static PyObject *request_get_site(PyObject *self, void *Py_UNUSED(closure))
{
    Request *r = (Request *)self;
    return r->site ? Py_BuildValue("Oi", r->site, r->site_at) : Py_NewRef(Py_None);
}

static PyObject *request_repr(PyObject *self)
{
    Request *r = (Request *)self;
    static const char *const words[] = {"pending", "waiting", "waiting", "waiting", "waiting", "held", "released", "not acquired",
                                        "changing"};
    static const char *const modes[LOTS_MODES] = {"read", "read_recursive", "write", "lock", "upgradable_read", "upgrade", "park",
                                             "lock"};
    uint32_t state = request_state(r);
    return PyUnicode_FromFormat("<aiolots %s %s %s of %R>", modes[r->mode],
                                state == LOTS_HELD || state == LOTS_CHANGING ? "guard" : "request",
                                words[state], r->lock);
}

/* A request that is dropped pending warns; one that is dropped held releases its lock, and warns. */
void request_finalize(PyObject *self)
{
    Request *r = (Request *)self;
    uint32_t state = request_state(r);
    PyObject *kept, *done, *site;
    if (state != LOTS_PENDING && state != LOTS_HELD)
        return;
#if PY_VERSION_HEX >= 0x030C0000
    kept = PyErr_GetRaisedException();
#else
    PyObject *type, *traceback;
    PyErr_Fetch(&type, &kept, &traceback);
#endif
    if (state == LOTS_HELD && release_request(r, 0))
        PyErr_WriteUnraisable(self);
    if (state == LOTS_PENDING) /* whoever keeps it alive now, by way of the warning, has a dead one */
        request_becomes(r, LOTS_GONE);
    site = request_get_site(self, NULL);
    done = site ? PyObject_CallFunction(names.dropped, "OiOOO", r->lock, (int)r->mode,
                                        state == LOTS_HELD ? Py_True : Py_False, site, self) : NULL;
    Py_XDECREF(site);
    Py_XDECREF(done);
    if (PyErr_Occurred())
        PyErr_WriteUnraisable(self);
#if PY_VERSION_HEX >= 0x030C0000
    PyErr_SetRaisedException(kept);
#else
    PyErr_Restore(type, kept, traceback);
#endif
}

void request_not_begun(PyObject *self)
{
    request_becomes((Request *)self, LOTS_PENDING);
    /* The collector may have come to the request before it came to the await: its finalizer, which had nothing to do then, is
     * not run again. Nor may it go on as pending: held, it would be dropped in silence. */
    if (PyObject_GC_IsFinalized(self))
        request_finalize(self);
}

static int request_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(((Request *)self)->lock);
    return 0;
}

static void request_dealloc(PyObject *self)
{
    Request *r = (Request *)self;
    PyObject *site, *lock;
    uint32_t state = request_state(r);
    if ((state == LOTS_PENDING || state == LOTS_HELD) && PyObject_CallFinalizerFromDealloc(self) < 0)
        return; /* resurrected */
    PyObject_GC_UnTrack(self);
    if (r->weakrefs)
        PyObject_ClearWeakRefs(self);
    if (r->record) /* it was to have its lock again */
        track_guard_released(r);
    site = r->site;
    lock = (PyObject *)r->lock;
    request_unmade(r);
    Py_XDECREF(site);
    Py_XDECREF(lock); /* last: what it frees may ask for locks */
}

static PyAsyncMethods request_async = {.am_await = request_await, .am_send = request_send};
static PyNumberMethods request_number = {.nb_bool = request_true};

static PyMethodDef request_methods[] = {
    {"acquire", request_acquire, METH_NOARGS, NULL},
    {"__enter__", request_acquire, METH_NOARGS, NULL},
    {"__exit__", (PyCFunction)(void (*)(void))request_exit, METH_FASTCALL, NULL},
    {"__aenter__", request_aenter, METH_NOARGS, NULL},
    {"__aexit__", (PyCFunction)(void (*)(void))request_aexit, METH_FASTCALL, NULL},
    {"release", request_release, METH_NOARGS, NULL},
    {"release_fair", request_release_fair, METH_NOARGS, NULL},
    {"is_held", request_is_held, METH_NOARGS, NULL},
    {"map", request_map, METH_O, NULL},
    {"map_attribute", request_map_attribute, METH_O, NULL},
    {"map_item", request_map_item, METH_O, NULL},
    {"_holds", request_is_held, METH_NOARGS, NULL},
    {"_require_held", request_require_held, METH_NOARGS, NULL},
    {0},
};

static PyGetSetDef request_getset[] = {
    {"_lock", request_get_lock, NULL, NULL, NULL},
    {"_site", request_get_site, NULL, NULL, NULL},
    {"_of_task", request_get_of_task, NULL, NULL, NULL},
    {0},
};

PyTypeObject RequestType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "aiolots._native.Request",
    .tp_basicsize = sizeof(Request),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = request_dealloc,
    .tp_finalize = request_finalize,
    .tp_traverse = request_traverse,
    .tp_weaklistoffset = offsetof(Request, weakrefs),
    .tp_repr = request_repr,
    .tp_as_async = &request_async,
    .tp_as_number = &request_number,
    .tp_iter = request_iter,
    .tp_iternext = request_next,
    .tp_methods = request_methods,
    .tp_getset = request_getset,
};

/* One type for each kind of guard: what they have in common is inherited, and they are laid out alike (changing.c). */
#define REQUEST_TYPE(Name, getset, methods)                                                                         \
    PyTypeObject Name##Type = {                                                                                     \
        PyVarObject_HEAD_INIT(NULL, 0).tp_name = "aiolots._native." #Name,                                          \
        .tp_base = &RequestType, .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,                \
        .tp_methods = methods, .tp_getset = getset,                                                                 \
    }

REQUEST_TYPE(ReadRequest, shared_getset, plain_methods);
REQUEST_TYPE(UpgradableRequest, shared_getset, upgradable_methods);
REQUEST_TYPE(WriteRequest, exclusive_getset, writer_methods);
REQUEST_TYPE(MutexRequest, exclusive_getset, plain_methods);
