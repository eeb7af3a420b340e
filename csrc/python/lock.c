/* RwLockBase, MutexBase, FairMutexBase: a word, a value and a name in one object. What is rare is added in Python, by
 * subclasses. A mutex is fair by the mode in which others wait for it, so only who may wait has to know which one it is. */
#include "native.h"

#include "entered.h"
#include "watch.h"

static int lock_init(PyObject *self, PyObject *arguments, PyObject *keywords)
{
    static char *known[] = {"value", "name", NULL};
    Lock *lock = (Lock *)self;
    PyObject *value = Py_None, *name = Py_None, *old_value, *old_name;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "|O$O", known, &value, &name))
        return -1;
#ifdef Py_GIL_DISABLED
    Py_BEGIN_CRITICAL_SECTION(self);
#endif
    old_value = lock->value;
    lock->value = Py_NewRef(value);
    old_name = lock_rename(lock, name);
#ifdef Py_GIL_DISABLED
    Py_END_CRITICAL_SECTION();
#endif
    Py_XDECREF(old_value);
    Py_XDECREF(old_name);
    return 0;
}

static PyObject *lock_new(PyTypeObject *type, PyObject *Py_UNUSED(arguments), PyObject *Py_UNUSED(keywords))
{
    Lock *lock = (Lock *)type->tp_alloc(type, 0);
    if (lock) {
        lock->value = Py_NewRef(Py_None);
        lock->name = Py_NewRef(Py_None);
        if (a32_load(&locks_are_noted, RELAXED) && note_lock((PyObject *)lock)) /* as in living.c */
            Py_CLEAR(lock);
    }
    return (PyObject *)lock;
}

static int lock_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(((Lock *)self)->value);
    Py_VISIT(((Lock *)self)->name);
    return 0;
}

static int lock_clear(PyObject *self)
{
    Py_CLEAR(((Lock *)self)->value);
    Py_CLEAR(((Lock *)self)->name);
    return 0;
}

static void lock_dealloc(PyObject *self)
{
    PyObject_GC_UnTrack(self);
    track_freed(self);
    if (((Lock *)self)->weakrefs)
        PyObject_ClearWeakRefs(self);
    lock_clear(self);
    Py_TYPE(self)->tp_free(self);
}

/* --- requests ------------------------------------------------------------------------------------------------------ */

/* A number of seconds, checked as aiolots._seconds does: the exact floats and ints of every day here, the rest there. */
static int read_seconds(PyObject *given, PyObject *checker, double *seconds)
{
    PyObject *number;
    if (PyFloat_CheckExact(given) && PyFloat_AS_DOUBLE(given) >= 0) {
        *seconds = PyFloat_AS_DOUBLE(given);
        return 0;
    }
    number = PyObject_CallOneArg(checker, given);
    if (!number)
        return -1;
    *seconds = PyFloat_AsDouble(number);
    Py_DECREF(number);
    return *seconds == -1 && PyErr_Occurred() ? -1 : 0;
}

/* The one argument of lock.read(timeout=None) and its like, or NULL for none. -1: not so called. */
static int one_argument(const char *method, PyObject *const *arguments, Py_ssize_t count, PyObject *keywords,
                        PyObject *keyword, PyObject **out)
{
    Py_ssize_t named = keywords ? PyTuple_GET_SIZE(keywords) : 0;
    *out = NULL;
    if (count + named > 1) {
        PyErr_Format(PyExc_TypeError, "%s() takes at most 1 argument (%zd given)", method, count + named);
        return -1;
    }
    if (named && PyUnicode_Compare(PyTuple_GET_ITEM(keywords, 0), keyword)) {
        PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument %R", method, PyTuple_GET_ITEM(keywords, 0));
        return -1;
    }
    if (count + named)
        *out = arguments[0];
    return 0;
}

PyObject *ask(PyObject *self, const char *method, unsigned mode, PyObject *const *arguments, Py_ssize_t count,
                     PyObject *keywords)
{
    PyObject *timeout;
    double seconds = 0;
    if (!count && !keywords)
        return request_new((Lock *)self, mode, LIMIT_NONE, 0, 1);
    if (one_argument(method, arguments, count, keywords, names.s_timeout, &timeout))
        return NULL;
    if (!timeout || timeout == Py_None)
        return request_new((Lock *)self, mode, LIMIT_NONE, 0, 1);
    if (read_seconds(timeout, names.checked, &seconds))
        return NULL;
    return request_new((Lock *)self, mode, LIMIT_SECONDS, seconds, 1);
}

/* try_..._for(seconds), try_..._until(moment). */
PyObject *try_limited(PyObject *self, unsigned mode, int kind, const char *method, PyObject *const *arguments,
                      Py_ssize_t count, PyObject *keywords)
{
    PyObject *given, *keyword = kind == LIMIT_SECONDS ? names.s_seconds : names.s_moment;
    double limit;
    if (one_argument(method, arguments, count, keywords, keyword, &given))
        return NULL;
    if (!given) {
        PyErr_Format(PyExc_TypeError, "%s() missing 1 required argument: %R", method, keyword);
        return NULL;
    }
    if (read_seconds(given, kind == LIMIT_SECONDS ? names.checked : names.checked_moment, &limit))
        return NULL;
    return request_new((Lock *)self, mode, kind, limit, 0);
}

#define ASK(name, called, mode)                                                                                             \
    static PyObject *ask_##name(PyObject *self, PyObject *const *arguments, Py_ssize_t count, PyObject *keywords)    \
    {                                                                                                               \
        return ask(self, #called, mode, arguments, count, keywords);                                                  \
    }                                                                                                               \
    static PyObject *try_##name(PyObject *self, PyObject *Py_UNUSED(ignored)) { return request_try((Lock *)self, mode); } \
    static PyObject *try_##name##_for(PyObject *self, PyObject *const *arguments, Py_ssize_t count, PyObject *keywords) \
    {                                                                                                               \
        return try_limited(self, mode, LIMIT_SECONDS, "try_" #called "_for", arguments, count, keywords);              \
    }                                                                                                               \
    static PyObject *try_##name##_until(PyObject *self, PyObject *const *arguments, Py_ssize_t count,                \
                                        PyObject *keywords)                                                         \
    {                                                                                                               \
        return try_limited(self, mode, LIMIT_MOMENT, "try_" #called "_until", arguments, count, keywords);             \
    }

ASK(read, read, LOTS_READ)
ASK(read_recursive, read_recursive, LOTS_READ_RECURSIVE)
ASK(upgradable_read, upgradable_read, LOTS_UPGRADABLE)
ASK(write, write, LOTS_WRITE)
ASK(lock, lock, LOTS_MUTEX)
ASK(fair_lock, lock, LOTS_FAIR_MUTEX)

#define ASK_METHODS(name, called)                                                                                           \
    {called, (PyCFunction)(void (*)(void))ask_##name, METH_FASTCALL | METH_KEYWORDS, NULL},                           \
        {"try_" called, try_##name, METH_NOARGS, NULL},                                                                \
        {"try_" called "_for", (PyCFunction)(void (*)(void))try_##name##_for, METH_FASTCALL | METH_KEYWORDS, NULL},    \
    {                                                                                                               \
        "try_" called "_until", (PyCFunction)(void (*)(void))try_##name##_until, METH_FASTCALL | METH_KEYWORDS, NULL  \
    }

/* --- the mutex as threading.Lock and asyncio.Lock ---------------------------------------------------------------------- */

static unsigned waiting_mode(Lock *lock)
{
    return PyObject_TypeCheck((PyObject *)lock, &FairMutexBaseType) ? LOTS_FAIR_MUTEX : LOTS_MUTEX;
}

/* `enters`: by a `with`; of which that is noted before any Python runs, which might let go of it: in that frame, or (NULL) the one
 * that runs. */
static inline PyObject *mutex_acquire_for(Lock *lock, int limit_kind, double limit, int enters, PyObject *frame)
{
    int late = 0;
    if (!word_try(&lock->word, &lots_modes[LOTS_MUTEX]) && block(lock, waiting_mode(lock), limit_kind, limit, &late, NULL))
        return NULL;
    if (late)
        Py_RETURN_FALSE;
    if (enters && frame)
        mutex_entered_by(lock, (PyFrameObject *)frame);
    else if (enters)
        mutex_note_entered(lock);
    mutex_is_held(lock, 0, limit_kind == LIMIT_NONE);
    if (watches(WATCH_SUSPENDS))
        taken_by_thread((PyObject *)lock);
    Py_RETURN_TRUE;
}

static PyObject *mutex_enter(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return mutex_acquire_for((Lock *)self, LIMIT_NONE, 0, 1, NULL);
}

static PyObject *mutex_enter_at(PyObject *self, PyObject *frame)
{
    if (!PyFrame_Check(frame))
        return PyErr_Format(PyExc_TypeError, "a frame, not %R", frame);
    return mutex_acquire_for((Lock *)self, LIMIT_NONE, 0, 1, frame);
}

int acquire_arguments(PyObject *arguments, PyObject *keywords, int *limit_kind, double *limit)
{
    static char *known[] = {"blocking", "timeout", NULL};
    int blocking = 1;
    double timeout = -1;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "|pd", known, &blocking, &timeout))
        return -1;
    if (!blocking && timeout != -1) {
        PyErr_SetString(PyExc_ValueError, "can't specify a timeout for a non-blocking call");
        return -1;
    }
    if (timeout != -1 && !(timeout >= 0)) {
        PyErr_SetString(PyExc_ValueError, "timeout value must be a non-negative number");
        return -1;
    }
    if (timeout > (double)PY_TIMEOUT_MAX / 1e6) {
        PyErr_SetString(PyExc_OverflowError, "timeout value is too large");
        return -1;
    }
    if (!blocking)
        timeout = 0;
    *limit_kind = timeout == -1 ? LIMIT_NONE : LIMIT_SECONDS;
    *limit = timeout;
    return 0;
}

static PyObject *mutex_acquire(PyObject *self, PyObject *arguments, PyObject *keywords)
{
    int kind;
    double limit;
    return acquire_arguments(arguments, keywords, &kind, &limit) ? NULL : mutex_acquire_for((Lock *)self, kind, limit, 0, NULL);
}

static int mutex_let_go(Lock *lock)
{
    lock_set_holder(lock, 0);
    mutex_not_entered(lock);
    if (is_tracking())
        track_released((PyObject *)lock);
    if (word_release_fast(&lock->word, &lots_modes[LOTS_MUTEX]))
        return 0;
    if (release_slow(lock, LOTS_MUTEX, 0)) {
        Py_XDECREF(PyObject_CallOneArg(names.nobody_holds, (PyObject *)lock));
        return -1;
    }
    return PyErr_Occurred() ? -1 : 0; /* a signal handler's: the lock is released */
}

static PyObject *mutex_release(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (mutex_let_go((Lock *)self))
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *mutex_exit(PyObject *self, PyObject *const *Py_UNUSED(arguments), Py_ssize_t Py_UNUSED(count))
{
    return mutex_release(self, NULL);
}

static PyObject *mutex_aenter(PyObject *self, PyObject *Py_UNUSED(ignored)) { return Py_NewRef(self); }

static PyObject *mutex_await(PyObject *self)
{
    Lock *lock = (Lock *)self;
    if (may_be_trio() || !word_try(&lock->word, &lots_modes[LOTS_MUTEX]))
        return await_slowly(lock, waiting_mode(lock), LIMIT_NONE, 0, NULL);
    mutex_is_held(lock, 1, 1);
    return Py_NewRef(names.ready);
}

static PyObject *mutex_aexit(PyObject *self, PyObject *const *Py_UNUSED(arguments), Py_ssize_t Py_UNUSED(count))
{
    if (mutex_let_go((Lock *)self))
        return NULL;
    return Py_NewRef(names.ready);
}

static PyObject *mutex_locked(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong((word_load(&((Lock *)self)->word) & WRITER) != 0);
}

/* --- attributes ---------------------------------------------------------------------------------------------------- */

static PyObject *lock_get_word(PyObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLongLong(word_load(&((Lock *)self)->word));
}

static PyObject *lock_get_address(PyObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromVoidPtr(&((Lock *)self)->word);
}

static PyObject *lock_get_object(PyObject *self, void *offset)
{
    PyObject *value;
#ifdef Py_GIL_DISABLED
    Py_BEGIN_CRITICAL_SECTION(self);
    value = Py_XNewRef(*(PyObject **)((char *)self + (size_t)offset));
    Py_END_CRITICAL_SECTION();
#else
    value = Py_XNewRef(*(PyObject **)((char *)self + (size_t)offset));
#endif
    return value ? value : Py_NewRef(Py_None);
}

static PyObject *lock_get_name(PyObject *self, void *Py_UNUSED(closure)) { return lock_name((Lock *)self); }

static int lock_set_name(PyObject *self, PyObject *name, void *Py_UNUSED(closure))
{
    PyObject *old;
    if (!name) {
        PyErr_SetString(PyExc_AttributeError, "a lock's name cannot be deleted; assign None");
        return -1;
    }
#ifdef Py_GIL_DISABLED
    Py_BEGIN_CRITICAL_SECTION(self);
    old = lock_rename((Lock *)self, name);
    Py_END_CRITICAL_SECTION();
#else
    old = lock_rename((Lock *)self, name);
#endif
    Py_XDECREF(old);
    return 0;
}

/* (mode, thread ident, by a task) of the exclusive holder, or None. */
static PyObject *lock_get_holder(PyObject *self, void *Py_UNUSED(closure))
{
    uint64_t holder = a64_load(&((Lock *)self)->holder, RELAXED); /* as in lock_set_holder */
    if (!(holder & ~(uint64_t)LOCK_WAS_NOTED))
        Py_RETURN_NONE;
    return Py_BuildValue("iKO", PyObject_TypeCheck(self, &MutexBaseType) ? LOTS_MUTEX : LOTS_WRITE,
                         (unsigned long long)(holder >> 2), holder & HOLDER_IS_TASK ? Py_True : Py_False);
}

static PyGetSetDef lock_getset[] = {
    {"word", lock_get_word, NULL, "The 64-bit lock word, as it is now; see aiolots.decode.", NULL},
    {"name", lock_get_name, lock_set_name, "Appears in messages and repr.", NULL},
    {"_value", lock_get_object, NULL, NULL, (void *)offsetof(Lock, value)},
    {"address", lock_get_address, NULL, "Where the lock word is, for native code: see aiolots.get_include.", NULL},
    {"_exclusive_holder", lock_get_holder, NULL, NULL, NULL},
    {"_kept", lock_get_kept, lock_set_kept, NULL, NULL},
    {"_longest", lock_get_longest, lock_set_longest, NULL, NULL},
    {0},
};

static PyMethodDef rwlock_methods[] = {
    ASK_METHODS(read, "read"), ASK_METHODS(read_recursive, "read_recursive"), ASK_METHODS(upgradable_read, "upgradable_read"),
    ASK_METHODS(write, "write"), {0}};

static PyMethodDef mutex_methods[] = {
    ASK_METHODS(lock, "lock"),
    {"__enter__", mutex_enter, METH_NOARGS, NULL},
    {"__exit__", (PyCFunction)(void (*)(void))mutex_exit, METH_FASTCALL, NULL},
    {"__aenter__", mutex_aenter, METH_NOARGS, NULL},
    {"__aexit__", (PyCFunction)(void (*)(void))mutex_aexit, METH_FASTCALL, NULL},
    {"acquire", (PyCFunction)(void (*)(void))mutex_acquire, METH_VARARGS | METH_KEYWORDS, NULL},
    {"release", mutex_release, METH_NOARGS, NULL},
    {"locked", mutex_locked, METH_NOARGS, NULL},
    {"_entered_in", mutex_entered_in, METH_O, NULL},
    {"_enter_at", mutex_enter_at, METH_O, NULL},
    {0},
};

static PyAsyncMethods mutex_async = {.am_await = mutex_await};

#define LOCK_TYPE(Name, methods, async)                                                                                    \
    PyTypeObject Name##Type = {                                                                                     \
        PyVarObject_HEAD_INIT(NULL, 0).tp_name = "aiolots._native." #Name,                                          \
        .tp_basicsize = sizeof(Lock),                                                                               \
        .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,                                  \
        .tp_new = lock_new,                                                                                         \
        .tp_init = lock_init,                                                                                       \
        .tp_dealloc = lock_dealloc,                                                                                 \
        .tp_traverse = lock_traverse,                                                                               \
        .tp_clear = lock_clear,                                                                                     \
        .tp_weaklistoffset = offsetof(Lock, weakrefs),                                                              \
        .tp_as_async = async, .tp_methods = methods,                                                                                      \
        .tp_getset = lock_getset,                                                                                   \
    }

LOCK_TYPE(RwLockBase, rwlock_methods, NULL);
LOCK_TYPE(MutexBase, mutex_methods, &mutex_async);

static PyMethodDef fair_mutex_methods[] = {ASK_METHODS(fair_lock, "lock"), {0}};

PyTypeObject FairMutexBaseType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "aiolots._native.FairMutexBase",
    .tp_base = &MutexBaseType, .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, .tp_methods = fair_mutex_methods,
};
