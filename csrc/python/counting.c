/* What waiting for a lock has cost. The core counts (csrc/contention.c), in records that aiolots._contention makes and keeps; here
 * is where a lock has them, and where its longest wait was.
 *
 * A lock that nobody ever waited for has none of it, and no field for it either: on the first slow path its name is replaced by
 * an object that holds both. That stays until the lock is freed, and outlives every op, for each keeps the lock alive. Who reads
 * `lock->name` asks here.
 *
 * With the GIL off: `lock->name`, and the name in the object, in a critical section of the lock; the records by atomics, for each
 * is made once (a dictionary's setdefault); the longest wait in a critical section of the object. */
#include "native.h"

typedef struct {
    PyObject_HEAD
    PyObject *name;
    PyObject *kept;                   /* aiolots._contention.Kept */
    lots_a64 records[2 * LOTS_MODES]; /* of its records: lots_contention *, by mode and colour; 0: not asked for yet */
    lots_a64 longest;                 /* ns */
    PyObject *site;                   /* of the longest wait, or NULL */
    int site_at;
} Counted;

lots_a32 events_wanted;

/* In a critical section, where there is no GIL. */
static Counted *counted_now(Lock *lock)
{
    return lock->name && Py_TYPE(lock->name) == &CountedType ? (Counted *)lock->name : NULL;
}

/* Borrowed: it is the lock's for good. NULL: nobody has waited yet. */
static Counted *counted(Lock *lock)
{
    Counted *c;
#ifdef Py_GIL_DISABLED
    Py_BEGIN_CRITICAL_SECTION((PyObject *)lock);
    c = counted_now(lock);
    Py_END_CRITICAL_SECTION();
#else
    c = counted_now(lock);
#endif
    return c;
}

PyObject *lock_name(Lock *lock)
{
    PyObject *name;
    Counted *c;
#ifdef Py_GIL_DISABLED
    Py_BEGIN_CRITICAL_SECTION((PyObject *)lock);
    c = counted_now(lock);
    name = Py_XNewRef(c ? c->name : lock->name);
    Py_END_CRITICAL_SECTION();
#else
    c = counted_now(lock);
    name = Py_XNewRef(c ? c->name : lock->name);
#endif
    return name ? name : Py_NewRef(Py_None); /* cleared by the collector */
}

PyObject *lock_rename(Lock *lock, PyObject *name)
{
    Counted *c = counted_now(lock);
    PyObject **where_it_is = c ? &c->name : &lock->name, *old = *where_it_is;
    *where_it_is = Py_NewRef(name);
    return old;
}

/* --- the records ----------------------------------------------------------------------------------------------------- */

PyObject *lock_get_kept(PyObject *self, void *Py_UNUSED(closure))
{
    Counted *c = counted((Lock *)self);
    return Py_NewRef(c ? c->kept : Py_None);
}

/* Nothing, if it has one. */
int lock_set_kept(PyObject *self, PyObject *kept, void *Py_UNUSED(closure))
{
    Lock *lock = (Lock *)self;
    Counted *c;
    if (!kept) {
        PyErr_SetString(PyExc_AttributeError, "what a lock has counted cannot be deleted");
        return -1;
    }
    c = PyObject_GC_New(Counted, &CountedType); /* the collector may run here, and somebody else do the same */
    if (!c)
        return -1;
    c->kept = Py_NewRef(kept);
    c->name = c->site = NULL;
    c->site_at = 0;
    a64_store(&c->longest, 0, RELAXED); /* nobody else knows it yet */
    for (size_t i = 0; i < 2 * LOTS_MODES; i++)
        a64_store(&c->records[i], 0, RELAXED);
    PyObject_GC_Track(c);
#ifdef Py_GIL_DISABLED
    Py_BEGIN_CRITICAL_SECTION(self);
#endif
    if (!counted_now(lock)) {
        c->name = lock->name;
        lock->name = (PyObject *)c;
        c = NULL;
    }
#ifdef Py_GIL_DISABLED
    Py_END_CRITICAL_SECTION();
#endif
    Py_XDECREF((PyObject *)c);
    return 0;
}

int record_of(Lock *lock, unsigned mode, int as_task, lots_contention **record)
{
    Counted *c = counted(lock);
    lots_a64 *known;
    PyObject *address, *as_object[3];
    *record = NULL;
    if (!c) /* cleared by the collector: not counted */
        return 0;
    known = &c->records[2 * mode + (unsigned)as_task];
    *record = (lots_contention *)(uintptr_t)a64_load(known, ACQUIRE); /* pairs with the RELEASE below: what is there is zeroed */
    if (*record)
        return 0;
    as_object[0] = c->kept;
    as_object[1] = PyLong_FromLong((long)mode);
    as_object[2] = as_task ? Py_True : Py_False;
    address = as_object[1] ? PyObject_VectorcallMethod(names.s_address_of, as_object, 3, NULL) : NULL;
    Py_XDECREF(as_object[1]);
    *record = address ? PyLong_AsVoidPtr(address) : NULL;
    Py_XDECREF(address);
    if (!*record)
        return -1;
    a64_store(known, (uint64_t)(uintptr_t)*record, RELEASE);
    return 0;
}

/* --- places ---------------------------------------------------------------------------------------------------------- */

/* Whether it is a frame of this package, and none of its user's. */
static int is_ours(PyFrameObject *frame)
{
    static lots_a64 last; /* the globals that were a user's the last time: compared, never followed */
    PyObject *globals = PyFrame_GetGlobals(frame), *name;
    const char *text;
    int ours = 0;
    if ((uint64_t)(uintptr_t)globals != a64_load(&last, RELAXED)) { /* as good as any other */
        name = PyDict_GetItemWithError(globals, names.s___name__);
        text = name && PyUnicode_Check(name) ? PyUnicode_AsUTF8(name) : NULL;
        ours = text && (!strncmp(text, "aiolots._", 9) || !strncmp(text, "aiolots.compat.", 15));
        PyErr_Clear();
        if (!ours)
            a64_store(&last, (uint64_t)(uintptr_t)globals, RELAXED);
    }
    Py_XDECREF(globals);
    return ours;
}

PyObject *users_place(int *at)
{
    PyFrameObject *frame = (PyFrameObject *)Py_XNewRef((PyObject *)PyEval_GetFrame()), *back;
    PyObject *code;
    *at = 0;
    while (frame && is_ours(frame) && (back = PyFrame_GetBack(frame))) {
        Py_DECREF(frame);
        frame = back;
    }
    if (!frame)
        return NULL;
    code = (PyObject *)PyFrame_GetCode(frame);
    *at = PyFrame_GetLasti(frame);
    Py_DECREF(frame);
    return code;
}

static void note_longest(Counted *c, uint64_t ns, PyObject *code, int at)
{
    PyObject *old = NULL;
#ifdef Py_GIL_DISABLED
    Py_BEGIN_CRITICAL_SECTION((PyObject *)c);
#endif
    if (ns > a64_load(&c->longest, RELAXED)) { /* RELAXED: changed here only */
        a64_store(&c->longest, ns, RELAXED);
        old = c->site;
        c->site = Py_XNewRef(code);
        c->site_at = at;
    }
#ifdef Py_GIL_DISABLED
    Py_END_CRITICAL_SECTION();
#endif
    Py_XDECREF(old);
}

PyObject *lock_get_longest(PyObject *self, void *Py_UNUSED(closure))
{
    Counted *c = counted((Lock *)self);
    PyObject *site;
    uint64_t ns;
    int at;
    if (!c)
        Py_RETURN_NONE;
#ifdef Py_GIL_DISABLED
    Py_BEGIN_CRITICAL_SECTION((PyObject *)c);
#endif
    ns = a64_load(&c->longest, RELAXED); /* as in note_longest */
    site = Py_XNewRef(c->site);
    at = c->site_at;
#ifdef Py_GIL_DISABLED
    Py_END_CRITICAL_SECTION();
#endif
    if (!ns) {
        Py_XDECREF(site);
        Py_RETURN_NONE;
    }
    return Py_BuildValue("KNi", (unsigned long long)ns, site ? site : Py_NewRef(Py_None), at);
}

/* (ns, code, instruction): kept if it is longer than what there is; None: there is none any more. */
int lock_set_longest(PyObject *self, PyObject *longest, void *Py_UNUSED(closure))
{
    Counted *c = counted((Lock *)self);
    unsigned long long ns;
    PyObject *code;
    int at;
    if (longest == Py_None) {
        if (c)
            a64_store(&c->longest, 0, RELAXED); /* as in note_longest; in a forked child, where nobody else is */
        return 0;
    }
    if (!longest || !PyTuple_Check(longest)) {
        PyErr_SetString(PyExc_TypeError, "the longest wait is (ns, code, instruction)");
        return -1;
    }
    if (!PyArg_ParseTuple(longest, "KOi", &ns, &code, &at))
        return -1;
    if (c)
        note_longest(c, ns, code, at);
    return 0;
}

int wait_over(Lock *lock, const lots_op *op, unsigned mode, int as_task, int how, PyObject *code, int at)
{
    uint64_t ns = core->op_waited(op);
    Counted *c = ns ? counted(lock) : NULL;
    int wanted = (a32_load(&events_wanted, RELAXED) & (uint32_t)how) != 0; /* as in native_want_events */
    PyObject *none;
    if (!c || (!wanted && ns <= a64_load(&c->longest, RELAXED))) /* a look: note_longest looks again */
        return 0;
    code = code ? Py_NewRef(code) : users_place(&at);
    note_longest(c, ns, code, at);
    none = wanted ? PyObject_CallFunction(names.wait_ended, "OiiiKOi", lock, (int)mode, as_task, how, (unsigned long long)ns,
                                          code ? code : Py_None, at)
                  : Py_NewRef(Py_None);
    Py_XDECREF(code);
    Py_XDECREF(none);
    return none ? 0 : -1;
}

/* --- the object ------------------------------------------------------------------------------------------------------ */

static int counted_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(((Counted *)self)->name);
    Py_VISIT(((Counted *)self)->kept);
    Py_VISIT(((Counted *)self)->site);
    return 0;
}

static int counted_clear(PyObject *self)
{
    Py_CLEAR(((Counted *)self)->name); /* not the records: as long as it lives, ops may be counted there */
    return 0;
}

static void counted_dealloc(PyObject *self)
{
    Counted *c = (Counted *)self;
    PyObject_GC_UnTrack(self);
    Py_XDECREF(c->name);
    Py_XDECREF(c->kept);
    Py_XDECREF(c->site);
    PyObject_GC_Del(self);
}

PyTypeObject CountedType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "aiolots._native.Counted",
    .tp_basicsize = sizeof(Counted),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = counted_dealloc,
    .tp_traverse = counted_traverse,
    .tp_clear = counted_clear,
};
