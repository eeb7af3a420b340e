/* The module aiolots._native. */
#include "reentrant.h"

#include "entered.h"
#include "watch.h"

const lots_capi *core;
Names names;

/* --- the awaitable that is done, with None: what __aexit__ of an uncontended release gives -------------------------------- */

static PyObject *ready_await(PyObject *self) { return Py_NewRef(self); }

static PySendResult ready_send(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(value), PyObject **result)
{
    *result = Py_NewRef(Py_None);
    return PYGEN_RETURN;
}

static PyObject *ready_next(PyObject *Py_UNUSED(self)) { return NULL; /* StopIteration without a value: None */ }

static PyAsyncMethods ready_async = {.am_await = ready_await, .am_send = ready_send};

PyTypeObject ReadyType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "aiolots._native.Ready",
    .tp_basicsize = sizeof(PyObject),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_as_async = &ready_async,
    .tp_iter = PyObject_SelfIter,
    .tp_iternext = ready_next,
};

static struct {
    PyObject_HEAD
} ready = {PyObject_HEAD_INIT(&ReadyType)}; /* static, so immortal from 3.12 on: no thread writes to its count */

/* --- import ---------------------------------------------------------------------------------------------------------- */

static PyObject *native_drain(PyObject *Py_UNUSED(module), PyObject *const *arguments, Py_ssize_t count)
{
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "drain(port, rung)");
        return NULL;
    }
    drain_port(arguments[0], mailbox_of(arguments[0]), arguments[1] == Py_True);
    if (PyErr_Occurred()) /* a signal handler's */
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *native_readers(PyObject *Py_UNUSED(module), PyObject *lock)
{
    if (!PyObject_TypeCheck(lock, &RwLockBaseType))
        return PyErr_Format(PyExc_TypeError, "readers(lock): an RwLock, not %R", lock);
    return readers_of(lock);
}

static PyObject *native_want_events(PyObject *Py_UNUSED(module), PyObject *outcomes)
{
    unsigned long wanted = PyLong_AsUnsignedLong(outcomes);
    if (PyErr_Occurred())
        return NULL;
    a32_store(&events_wanted, (uint32_t)wanted, RELAXED); /* a setting, nothing hangs on it */
    Py_RETURN_NONE;
}

static PyObject *native_living(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(nothing)) { return all_living(); }

static PyObject *native_exits(PyObject *Py_UNUSED(module), PyObject *thing) { return exits_of(thing); }

static PyObject *native_note_locks(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(nothing))
{
    a32_store(&locks_are_noted, 1, RELAXED); /* see living.c: who does not see it yet is seen by the walk that follows */
    Py_RETURN_NONE;
}

static PyObject *attribute_of(const char *module, const char *name)
{
    PyObject *imported = PyImport_ImportModule(module);
    PyObject *value = imported ? PyObject_GetAttrString(imported, name) : NULL;
    Py_XDECREF(imported);
    return value;
}

static int look_up_names(void)
{
#define X(module, name)                                                                                              \
    if (!(names.name = attribute_of(#module, #name)))                                                                 \
        return -1;
    NATIVE_CALLABLES(X)
#undef X
#define X(name)                                                                                                      \
    if (!names.s_##name && !(names.s_##name = PyUnicode_InternFromString(#name)))                                     \
        return -1;
    NATIVE_STRINGS(X)
#undef X
    return 0;
}

/* The docstrings are those of the front in Python: written once. They must be there before the types are ready. */
static int borrow_docs(PyMethodDef *methods, const char *kind)
{
    for (PyMethodDef *m = methods; m->ml_name; m++) {
        PyObject *doc = m->ml_doc ? Py_NewRef(Py_None) : PyObject_CallFunction(names.documentation_of, "ss", kind, m->ml_name);
        if (doc && doc != Py_None)
            m->ml_doc = PyUnicode_AsUTF8(Py_NewRef(doc)); /* kept for good, as the method is */
        Py_XDECREF(doc);
        if (!doc || PyErr_Occurred())
            return -1;
    }
    return 0;
}

static int native_exec(PyObject *module)
{
    PyTypeObject *const types[] = {&RwLockBaseType, &MutexBaseType, &FairMutexBaseType, &RequestType, &ReadRequestType, &WriteRequestType,
                                   &UpgradableRequestType, &MutexRequestType, &ReentrantBaseType, &ReentrantRequestType, &EntryType,
                                   &ReadyType, &AwaitingType, &CountedType, &BoundType, &BinderType, &FinishedType};
    /* What was looked up is one interpreter's, and the types are static. Others use the front in Python (_front.py). */
    if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
        PyErr_SetString(PyExc_ModuleNotFoundError, "aiolots._native is for the main interpreter");
        return -1;
    }
    core = lots_import();
    if (!core || look_up_names() || borrow_docs(RwLockBaseType.tp_methods, "RwLockFront") ||
        borrow_docs(MutexBaseType.tp_methods, "MutexFront") ||
        borrow_docs(FairMutexBaseType.tp_methods, "MutexFront") || borrow_docs(RequestType.tp_methods, "ReadRequest") ||
        borrow_docs(ReentrantBaseType.tp_methods, "ReentrantFront") || borrow_docs(ReentrantRequestType.tp_methods, "ReentrantRequest") ||
        borrow_docs(plain_methods, "WriteRequest") || borrow_docs(writer_methods, "WriteRequest") || borrow_docs(upgradable_methods, "UpgradableRequest"))
        return -1;
    look_for_running_loop();
    look_for_instructions();
    if (look_for_trio_from_now_on() || look_for_current_tasks() || tracking_at_fork() || PyModule_AddFunctions(module, tracking_methods) ||
        PyModule_AddFunctions(module, usage_methods))
        return -1;
    derive_finished();
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (PyModule_AddType(module, types[i]) || (types[i]->tp_methods && bind_special_methods(types[i])))
            return -1;
    if (!names.nothing && !(names.nothing = PyTuple_New(0)))
        return -1;
    names.ready = (PyObject *)&ready;
    return 0;
}

static PyMethodDef native_methods[] = {
    {"drain", (PyCFunction)(void (*)(void))native_drain, METH_FASTCALL, "drain(port, rung): schedule the tasks that were woken."},
    {"watch", native_watch, METH_O, "watch(flags): which of watch.h's are set; all others are not."},
    {"want_events", native_want_events, METH_O, "want_events(outcomes): of which ends of waits aiolots._events is to hear."},
    {"readers", native_readers, METH_O, "readers(lock): [(mode, thread token, by a task)] of each share that is held."},
    {"living", native_living, METH_NOARGS, "living(): [(lock or held guard, thread token, by a task)] of all there are."},
    {"exits", native_exits, METH_O, "exits(thing): (how many statements will exit it, the generators that have an __exit__), or None."},
    {"note_locks", native_note_locks, METH_NOARGS, "note_locks(): from now on note each lock that is made."},
    {0},
};

static PyModuleDef_Slot native_slots[] = {
    {Py_mod_exec, native_exec},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
#ifdef Py_MOD_GIL_NOT_USED
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0},
};

static PyModuleDef native_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "aiolots._native",
    .m_doc = "The front as C types. Its surface is that of aiolots._pure.",
    .m_methods = native_methods,
    .m_slots = native_slots,
};

PyMODINIT_FUNC PyInit__native(void) { return PyModuleDef_Init(&native_module); }
