/* The half of tracking that Python sees: it is switched, locks are told apart, and the records are read. */
#include "tracking.h"

#include <stdlib.h>

typedef struct {
    uint64_t node, token;
    unsigned long ident;
    int64_t since;
    PyObject *name, *who, *site;
    int site_at;
    uint8_t mode, is_task, of_parent;
    char type[TYPE_NAME];
} Seen;

static PyObject *as_python(const Seen *s)
{
    PyObject *site = s->site ? Py_BuildValue("Oi", s->site, s->site_at) : Py_NewRef(Py_None);
    if (!site)
        return NULL;
    return Py_BuildValue("KsOiOOKkLNO", (unsigned long long)s->node, s->type, s->name ? s->name : Py_None, (int)s->mode,
                         s->who ? s->who : Py_None, s->is_task ? Py_True : Py_False, (unsigned long long)s->token, s->ident,
                         (long long)s->since, site, s->of_parent ? Py_True : Py_False);
}

static void see(Seen *s, const Record *r)
{
    const Owner *o = r->owner;
    const Node *n = r->entry->node;
    *s = (Seen){.node = n->id, .token = o->token, .ident = o->ident, .since = r->since, .name = Py_XNewRef(n->name),
                .who = Py_XNewRef(o->who), .site = Py_XNewRef(r->site), .site_at = r->site_at, .mode = r->mode,
                .is_task = o->is_task, .of_parent = o->of_parent};
    for (size_t i = 0; i < TYPE_NAME; i++)
        s->type[i] = n->type[i];
}

static Py_ssize_t see_all(const Entry *e, Seen *seen, Py_ssize_t count, Py_ssize_t most, Py_ssize_t *all)
{
    for (const Record *r = e ? e->holders : NULL; r; r = r->lock_next, ++*all)
        if (count < most)
            see(&seen[count++], r);
    return count;
}

/* records(lock, most): a tuple of each hold, at most so many; and how many there are. A lock, or None: of every lock. */
static PyObject *track_records(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    PyObject *lock, *list = PyList_New(0);
    Py_ssize_t most, all = 0, count = 0;
    Seen *seen;
    if (!list || !PyArg_ParseTuple(arguments, "On", &lock, &most)) {
        Py_XDECREF(list);
        return NULL;
    }
    seen = PyMem_RawCalloc((size_t)most + 1, sizeof *seen);
    if (!seen) {
        Py_DECREF(list);
        return PyErr_NoMemory();
    }
    take_tables();
    if (lock != Py_None)
        count = see_all(entry_if_any(lock), seen, 0, most, &all);
    else
        for (size_t i = 0; i < entries.capacity; i++)
            for (Link *l = entries.slots[i]; l; l = l->next)
                count = see_all((Entry *)l, seen, count, most, &all);
    give_tables();
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *one = list ? as_python(&seen[i]) : NULL;
        if (!one || PyList_Append(list, one))
            Py_CLEAR(list);
        Py_XDECREF(one);
        Py_XDECREF(seen[i].name);
        Py_XDECREF(seen[i].who);
        Py_XDECREF(seen[i].site);
    }
    PyMem_RawFree(seen);
    return list ? Py_BuildValue("Nn", list, all) : NULL;
}

/* configure(lock, name, tracked, lock_class or None): once, when the lock is made. */
static PyObject *track_configure(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    PyObject *lock, *name, *lock_class, *old = NULL;
    int tracked;
    Entry *e;
    Node *class_ = NULL;
    if (!PyArg_ParseTuple(arguments, "OOpO", &lock, &name, &tracked, &lock_class))
        return NULL;
    if (lock_class != Py_None && !PyUnicode_CheckExact(lock_class))
        return PyErr_Format(PyExc_TypeError, "a lock_class is a string, not %R", lock_class);
    take_tables();
    e = entry_if_any(lock);
    if (!e)
        e = entry_made(lock, name);
    if (e && lock_class != Py_None && (class_ = class_named(lock_class))) {
        old = e->node->is_class ? (node_left(e->node), NULL) : node_dies(e->node);
        e->node = class_;
    }
    if (e && (class_ || lock_class == Py_None)) {
        tracked_locks = tracked_locks - e->tracked + (size_t)tracked;
        e->tracked = (uint8_t)tracked;
        settle();
    }
    give_tables();
    Py_XDECREF(old);
    if (!e || (!class_ && lock_class != Py_None))
        return PyErr_NoMemory();
    Py_RETURN_NONE;
}

static PyObject *track_options(PyObject *Py_UNUSED(module), PyObject *lock)
{
    PyObject *lock_class = NULL;
    int tracked = 0;
    Entry *e;
    take_tables();
    e = entry_if_any(lock);
    tracked = e && e->tracked;
    lock_class = e && e->node->is_class ? Py_XNewRef(e->node->name) : NULL;
    give_tables();
    return Py_BuildValue("ON", tracked ? Py_True : Py_False, lock_class ? lock_class : Py_NewRef(Py_None));
}

static PyObject *track_switch(PyObject *Py_UNUSED(module), PyObject *on)
{
    int wanted = PyObject_IsTrue(on);
    if (wanted < 0)
        return NULL;
    take_tables();
    tracking_everywhere = wanted;
    settle();
    give_tables();
    Py_RETURN_NONE;
}

static PyObject *track_is_on(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(tracking_everywhere);
}

static PyObject *track_homes(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    PyObject *first, *second;
    if (!PyArg_ParseTuple(arguments, "UU", &first, &second))
        return NULL;
    tracking_homes[0] = Py_NewRef(first); /* once, at import, and for good */
    tracking_homes[1] = Py_NewRef(second);
    Py_RETURN_NONE;
}

/* Locks that are made in Python: acquired(lock, name, mode, as_task, waits), released(lock), freed(lock). */
static PyObject *track_py_acquired(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    PyObject *lock, *name;
    int mode, as_task, waits;
    if (!PyArg_ParseTuple(arguments, "OOipp", &lock, &name, &mode, &as_task, &waits))
        return NULL;
    if (is_tracking())
        track_any(lock, name, (unsigned)mode, holder_of_this_thread(as_task), NULL, waits);
    Py_RETURN_NONE;
}

static PyObject *track_py_released(PyObject *Py_UNUSED(module), PyObject *lock)
{
    if (is_tracking())
        track_released(lock);
    Py_RETURN_NONE;
}

static PyObject *track_py_freed(PyObject *Py_UNUSED(module), PyObject *address)
{
    void *lock = PyLong_AsVoidPtr(address);
    if (!lock && PyErr_Occurred())
        return NULL;
    track_freed((PyObject *)lock);
    Py_RETURN_NONE;
}

static PyObject *track_pending(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored)) { return order_pending(); }

static PyObject *track_rest(PyObject *Py_UNUSED(module), PyObject *anyway) { return PyBool_FromLong(order_rests(anyway == Py_True)); }

static PyObject *track_reset(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    order_reset();
    Py_RETURN_NONE;
}

/* How many of each kind there are: (locks, owners, records). For tests: nothing leaks. */
static PyObject *track_count(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    size_t records = 0, locks, seen;
    take_tables();
    locks = entries.count;
    seen = owners.count;
    for (size_t i = 0; i < entries.capacity; i++)
        for (Link *l = entries.slots[i]; l; l = l->next)
            for (Record *r = ((Entry *)l)->holders; r; r = r->lock_next)
                records++;
    give_tables();
    return Py_BuildValue("nnn", (Py_ssize_t)locks, (Py_ssize_t)seen, (Py_ssize_t)records);
}

/* In a forked child: what others held stays held, by somebody who is not here. */
static PyObject *track_forked(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    uint64_t here = core->thread_token();
    usage_forked();
    for (size_t i = 0; i < entries.capacity; i++)
        for (Link *l = entries.slots[i]; l; l = l->next)
            for (Record *r = ((Entry *)l)->holders; r; r = r->lock_next)
                r->owner->of_parent = r->owner->token != here;
    order_rests(1); /* the thread that was at work is not here */
    Py_RETURN_NONE;
}

PyMethodDef tracking_methods[] = {
    {"track_records", track_records, METH_VARARGS, "track_records(lock or None, most): ([hold], how many)."},
    {"track_configure", track_configure, METH_VARARGS, "track_configure(lock, name, tracked, lock_class)."},
    {"track_options", track_options, METH_O, "track_options(lock): (tracked, lock_class)."},
    {"track_switch", track_switch, METH_O, "track_switch(on): for the process."},
    {"track_is_on", track_is_on, METH_NOARGS, "track_is_on(): for the process."},
    {"track_homes", track_homes, METH_VARARGS, "track_homes(first, second): how the names of our own files begin."},
    {"track_acquired", track_py_acquired, METH_VARARGS, "track_acquired(lock, name, mode, as_task, waits)."},
    {"track_released", track_py_released, METH_O, "track_released(lock)."},
    {"track_freed", track_py_freed, METH_O, "track_freed(id of the lock)."},
    {"track_pending", track_pending, METH_NOARGS, "track_pending(): what is new in the lock order."},
    {"track_rest", track_rest, METH_O, "track_rest(anyway): the thread that was started goes; False: there is something to do."},
    {"track_reset", track_reset, METH_NOARGS, "track_reset(): forget the lock order."},
    {"track_count", track_count, METH_NOARGS, "track_count(): (locks, owners, records)."},
    {"track_forked", track_forked, METH_NOARGS, "track_forked(): in a forked child."},
    {0},
};

#ifdef Py_GIL_DISABLED
#include <pthread.h>

/* Who forks has stopped all other threads, in between two bytecodes or where they wait for a mutex of the interpreter's: the
 * tables are whole. One may have been given them just then, without having run since, so to take them here could take for ever;
 * and in the child nobody has them. */
static void renew_tables(void) { tables = (PyMutex){0}; }

int tracking_at_fork(void) { return pthread_atfork(NULL, NULL, renew_tables); }
#else
int tracking_at_fork(void) { return 0; }
#endif
