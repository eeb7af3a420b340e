/* Objects that live for a moment, kept for the next: what they cost is making and freeing them.
 *
 *   Request   see request.c: a `with` makes one and is done with it at its end.
 *   Bound     `with` looks up __enter__ and __exit__ and gets two methods bound to the object, used once each. Made by a
 *             descriptor of ours, a bound method is a function and an object, and the last few that were freed are kept.
 *             From 3.14 on the interpreter binds nothing.
 *   Finished  from 3.12 on the interpreter awaits what is no coroutine by tp_iternext, not by am_send, so an await that
 *             gives a value ends in a StopIteration. A subclass may say what becomes of it when it is freed.
 *
 * The spares are under the GIL; without a GIL nothing is kept, for threads would fight over it. Out of the spares all are
 * known to the collector: a suspended `with` keeps a bound exit, and anybody may keep the others, in a cycle. */
#include "native.h"

#if !defined(Py_GIL_DISABLED)
#define KEEPS_SPARES 1
#else
#define KEEPS_SPARES 0
#endif

/* --- requests --------------------------------------------------------------------------------------------------------- */

#define SPARES 4 /* of two locks, one within the other, there are two requests, two bound exits, and for a moment an enter */

static Request *spare_requests[SPARES];
static int requests_kept;

/* Memory for a request, not known to the collector; everything in it but its type is to be set. */
Request *request_made(PyTypeObject *type)
{
    if (!requests_kept)
        return PyObject_GC_New(Request, type);
    return (Request *)PyObject_Init((PyObject *)spare_requests[--requests_kept], type);
}

/* One that the collector does not know any more, and that nothing refers to. */
void request_unmade(Request *r)
{
    /* One whose finalizer ran has that noted in its header, and would never run it again. */
    if (KEEPS_SPARES && requests_kept < SPARES && !PyObject_GC_IsFinalized((PyObject *)r))
        spare_requests[requests_kept++] = r;
    else
        PyObject_GC_Del(r);
}

/* --- bound methods ------------------------------------------------------------------------------------------------- */

typedef struct {
    PyObject_HEAD
    PyObject *plain; /* the method descriptor that it stands in for: what the class shows */
    PyMethodDef *method;
    PyTypeObject *type; /* whose method it is */
} Binder; /* as long-lived as its type, which is static */

typedef struct {
    PyObject_HEAD
    vectorcallfunc call;
    PyObject *self;
    Binder *binder;
} Bound;

static Bound *spare_bounds[SPARES];
static int bounds_kept;

static PyObject *bound_call_none(PyObject *self, PyObject *const *Py_UNUSED(arguments), size_t count, PyObject *keywords)
{
    Bound *b = (Bound *)self;
    if (PyVectorcall_NARGS(count) || (keywords && PyTuple_GET_SIZE(keywords))) {
        PyErr_Format(PyExc_TypeError, "%s() takes no arguments", b->binder->method->ml_name);
        return NULL;
    }
    return b->binder->method->ml_meth(b->self, NULL);
}

static PyObject *bound_call_some(PyObject *self, PyObject *const *arguments, size_t count, PyObject *keywords)
{
    Bound *b = (Bound *)self;
    if (keywords && PyTuple_GET_SIZE(keywords)) {
        PyErr_Format(PyExc_TypeError, "%s() takes no keyword arguments", b->binder->method->ml_name);
        return NULL;
    }
    return ((PyObject *(*)(PyObject *, PyObject *const *, Py_ssize_t))(void (*)(void))b->binder->method->ml_meth)(
        b->self, arguments, PyVectorcall_NARGS(count));
}

/* As PyObject_TypeCheck, but inlined. Every class that has the fields of `type` has it among its first bases. */
static int is_a(PyObject *object, PyTypeObject *type)
{
    for (PyTypeObject *base = Py_TYPE(object); base; base = base->tp_base)
        if (base == type)
            return 1;
    return 0;
}

static PyObject *binder_get(PyObject *self, PyObject *object, PyObject *type)
{
    Binder *binder = (Binder *)self;
    Bound *b;
    if (!object || !is_a(object, binder->type)) /* foreign classes may have been given it: an error, and no crash */
        return Py_TYPE(binder->plain)->tp_descr_get(binder->plain, object, type);
    if (bounds_kept)
        b = (Bound *)PyObject_Init((PyObject *)spare_bounds[--bounds_kept], &BoundType);
    else if (!(b = PyObject_GC_New(Bound, &BoundType)))
        return NULL;
    b->binder = binder;
    b->call = binder->method->ml_flags == METH_NOARGS ? bound_call_none : bound_call_some;
    b->self = Py_NewRef(object);
    PyObject_GC_Track(b);
    return (PyObject *)b;
}

static void bound_dealloc(PyObject *self)
{
    Bound *b = (Bound *)self;
    PyObject *object = b->self;
    PyObject_GC_UnTrack(self);
    b->self = NULL;
    if (KEEPS_SPARES && bounds_kept < SPARES)
        spare_bounds[bounds_kept++] = b;
    else
        PyObject_GC_Del(self);
    Py_XDECREF(object); /* last: it may run anything */
}

static int bound_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(((Bound *)self)->self);
    return 0;
}

/* Whatever it is asked but to be called, its class included, is answered by the builtin method that it stands in for. */
static PyObject *builtin_method(PyObject *self)
{
    Bound *b = (Bound *)self;
    return Py_TYPE(b->binder->plain)->tp_descr_get(b->binder->plain, b->self, (PyObject *)Py_TYPE(b->self));
}

static PyObject *bound_getattro(PyObject *self, PyObject *name)
{
    PyObject *method = builtin_method(self), *found = method ? PyObject_GetAttr(method, name) : NULL;
    Py_XDECREF(method);
    return found;
}

static PyObject *bound_repr(PyObject *self)
{
    PyObject *method = builtin_method(self), *text = method ? PyObject_Repr(method) : NULL;
    Py_XDECREF(method);
    return text;
}

static PyObject *bound_compare(PyObject *self, PyObject *other, int operation)
{
    Bound *a = (Bound *)self, *b = (Bound *)other;
    if ((operation != Py_EQ && operation != Py_NE) || Py_TYPE(other) != &BoundType)
        Py_RETURN_NOTIMPLEMENTED;
    return PyBool_FromLong((a->self == b->self && a->binder == b->binder) == (operation == Py_EQ));
}

static Py_hash_t bound_hash(PyObject *self)
{
    Bound *b = (Bound *)self;
    return (Py_hash_t)((((uintptr_t)b->self ^ (uintptr_t)b->binder) >> 4) & PY_SSIZE_T_MAX); /* never -1 */
}

PyObject *bound_to(PyObject *object, const char *name)
{
    Bound *b = (Bound *)object;
    return Py_TYPE(object) == &BoundType && !strcmp(b->binder->method->ml_name, name) ? b->self : NULL;
}

PyTypeObject BoundType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "aiolots._native.BoundMethod",
    .tp_basicsize = sizeof(Bound),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_vectorcall_offset = offsetof(Bound, call),
    .tp_call = PyVectorcall_Call,
    .tp_dealloc = bound_dealloc,
    .tp_traverse = bound_traverse,
    .tp_repr = bound_repr,
    .tp_richcompare = bound_compare,
    .tp_hash = bound_hash,
    .tp_getattro = bound_getattro,
};

static PyObject *binder_repr(PyObject *self) { return PyObject_Repr(((Binder *)self)->plain); }

static PyObject *binder_getattro(PyObject *self, PyObject *name) { return PyObject_GetAttr(((Binder *)self)->plain, name); }

static PyObject *binder_call(PyObject *self, PyObject *arguments, PyObject *keywords)
{
    return PyObject_Call(((Binder *)self)->plain, arguments, keywords);
}

PyTypeObject BinderType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "aiolots._native.Binder",
    .tp_basicsize = sizeof(Binder),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_descr_get = binder_get,
    .tp_repr = binder_repr,
    .tp_getattro = binder_getattro,
    .tp_call = binder_call,
};

/* Its four special methods bind by us from now on. Called once a type, before anybody knows it. */
int bind_special_methods(PyTypeObject *type)
{
#if KEEPS_SPARES && PY_VERSION_HEX < 0x030E0000
    static const char *const special[] = {"__enter__", "__exit__", "__aenter__", "__aexit__"};
    for (PyMethodDef *m = type->tp_methods; m->ml_name; m++)
        for (size_t i = 0; i < sizeof special / sizeof *special; i++)
            if (!strcmp(m->ml_name, special[i])) {
                PyObject *plain = PyDict_GetItemString(type->tp_dict, m->ml_name); /* borrowed */
                Binder *binder;
                if (!plain || Py_TYPE(plain) == &BinderType) /* a second interpreter: done */
                    continue;
                binder = PyObject_New(Binder, &BinderType);
                if (!binder)
                    return -1;
                binder->plain = Py_NewRef(plain);
                binder->method = m;
                binder->type = type;
                int failed = PyDict_SetItemString(type->tp_dict, m->ml_name, (PyObject *)binder);
                Py_DECREF(binder);
                if (failed)
                    return -1;
            }
    PyType_Modified(type);
#else
    (void)type;
#endif
    return 0;
}

/* --- the end of an await --------------------------------------------------------------------------------------------- */

static PyStopIterationObject *spare_finished;

void stop_iteration(PyObject *value)
{
    PyStopIterationObject *stop = spare_finished;
    if (stop) {
        spare_finished = NULL;
        PyObject_GC_Track(PyObject_Init((PyObject *)stop, &FinishedType));
    } else if (!(stop = (PyStopIterationObject *)FinishedType.tp_new(&FinishedType, names.nothing, NULL)))
        return;
    Py_XSETREF(stop->value, Py_NewRef(value)); /* no call, no tuple of arguments, no look for a context */
#if PY_VERSION_HEX >= 0x030C0000
    PyErr_SetRaisedException((PyObject *)stop);
#else
    PyErr_SetObject((PyObject *)&FinishedType, (PyObject *)stop);
    Py_DECREF(stop);
#endif
}

PySendResult stopped(PyObject **value)
{
    PyObject *type, *stop, *traceback;
    *value = NULL;
    if (!PyErr_ExceptionMatches(PyExc_StopIteration))
        return PYGEN_ERROR;
    PyErr_Fetch(&type, &stop, &traceback);
    PyErr_NormalizeException(&type, &stop, &traceback);
    *value = PyObject_GetAttrString(stop, "value");
    Py_XDECREF(type);
    Py_XDECREF(stop);
    Py_XDECREF(traceback);
    return *value ? PYGEN_RETURN : PYGEN_ERROR;
}

int raise_thrown(PyObject *arguments)
{
    PyObject *kind = NULL, *value = NULL, *traceback = NULL;
    if (!PyArg_ParseTuple(arguments, "O|OO", &kind, &value, &traceback))
        return -1;
    if (PyExceptionInstance_Check(kind))
        PyErr_SetObject((PyObject *)Py_TYPE(kind), kind);
    else if (PyExceptionClass_Check(kind))
        PyErr_SetObject(kind, value ? value : Py_None);
    else {
        PyErr_Format(PyExc_TypeError, "exceptions must be classes or instances deriving from BaseException, not %.100s",
                     Py_TYPE(kind)->tp_name);
        return -1;
    }
    return 0;
}

static void finished_dealloc(PyObject *self)
{
    PyStopIterationObject *stop = (PyStopIterationObject *)self;
    PyObject *value = stop->value;
    /* Only one that nobody has looked at is as good as new. */
    if (!KEEPS_SPARES || spare_finished || stop->dict || stop->traceback || stop->context || stop->cause ||
#if PY_VERSION_HEX >= 0x030B0000
        stop->notes ||
#endif
        stop->suppress_context || stop->args != names.nothing) {
        ((PyTypeObject *)PyExc_StopIteration)->tp_dealloc(self);
        return;
    }
    PyObject_GC_UnTrack(self);
    stop->value = NULL;
    spare_finished = stop;
    Py_XDECREF(value); /* last: it may run anything */
}

PyTypeObject FinishedType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "aiolots._native.Finished",
    .tp_doc = "The end of an await: a StopIteration.",
    .tp_basicsize = sizeof(PyStopIterationObject),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_dealloc = finished_dealloc,
};

/* What a static type cannot say, for StopIteration is no constant. Before it is made ready. */
void derive_finished(void)
{
    PyTypeObject *stop_iteration = (PyTypeObject *)PyExc_StopIteration;
    FinishedType.tp_base = stop_iteration;
    FinishedType.tp_traverse = stop_iteration->tp_traverse;
    FinishedType.tp_clear = stop_iteration->tp_clear;
}
