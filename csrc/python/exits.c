/* Who has the bound `__exit__` of a lock or guard in hand (aiolots/_exits.py): a `with` statement that is being executed, of which
 * nothing is seen, or something that refers to it. A statement that is just being entered has a bound `__enter__` besides, until
 * that returns.
 *
 * The whole look is one stretch with the GIL, in which no Python runs: the collector is off, and nothing is freed. So what was found
 * stays what it was, and no reference to what is half made is seen by another thread (readers.c). Without a GIL there is no such
 * stretch, and no Bound: nothing is known then. */
#include "native.h"

#define MOST 64

typedef struct {
    PyObject *thing;
    PyObject *exits[MOST]; /* borrowed: see above */
    size_t count, entering;
    int too_many, kept;
    PyObject *by_generators; /* a list, of which there is one reference: ours */
} Look;

#if !defined(Py_GIL_DISABLED)

static int find_exits(PyObject *object, void *argument)
{
    Look *look = argument;
    look->entering += bound_to(object, "__enter__") == look->thing;
    if (bound_to(object, "__exit__") != look->thing)
        return 1;
    if (look->count == MOST) {
        look->too_many = 1;
        return 0;
    }
    look->exits[look->count++] = object;
    return 1;
}

static int is_one_of_them(PyObject *object, void *argument)
{
    Look *look = argument;
    for (size_t i = 0; i < look->count; i++)
        if (look->exits[i] == object)
            return 1;
    return 0;
}

static int find_referrers(PyObject *object, void *argument)
{
    Look *look = argument;
    if (!Py_TYPE(object)->tp_traverse || !Py_TYPE(object)->tp_traverse(object, is_one_of_them, look))
        return 1;
    if (!PyGen_CheckExact(object) && !PyCoro_CheckExact(object) && !PyAsyncGen_CheckExact(object))
        look->kept = 1;
    else if (PyList_Append(look->by_generators, object)) {
        PyErr_Clear();
        look->kept = 1;
    }
    return !look->kept;
}

#endif

/* (how many statements are being executed, the generators and coroutines that refer to an exit), or None: others have one too,
 * or that is not known. */
PyObject *exits_of(PyObject *thing)
{
    Look look = {.thing = thing, .by_generators = PyList_New(0)};
    PyObject *found = NULL;
    if (!look.by_generators)
        return NULL;
#if !defined(Py_GIL_DISABLED)
    int collects = PyGC_Disable();
    look.kept = visit_all(find_exits, &look) || look.too_many;
    for (size_t i = 0; i < look.count; i++)
        look.kept |= Py_REFCNT(look.exits[i]) != 1;
    if (!look.kept && look.count)
        look.kept = visit_all(find_referrers, &look) || look.kept;
    if (collects)
        PyGC_Enable();
#else
    look.kept = 1;
#endif
    if (look.kept)
        found = PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
    else
        found = Py_BuildValue("nO", (Py_ssize_t)look.count - (Py_ssize_t)look.entering, look.by_generators);
    Py_DECREF(look.by_generators);
    return found;
}
