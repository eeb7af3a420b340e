/* Who is running: the task, else the thread; and the table of those who hold something, or did a moment ago (tracking.h). */
#include "tracking.h"

#include <stdlib.h>

PyObject *task_here(void)
{
    PyObject *task = asyncio_task();
    PyErr_Clear();
    return !task && may_be_trio() ? trios_task() : task;
}

static PyObject *weak(PyObject *who)
{
    PyObject *reference = who ? PyWeakref_NewRef(who, NULL) : NULL;
    PyErr_Clear(); /* of a kind that cannot be: known by its address alone */
    return reference;
}

/* As threading knows it; a new reference, or NULL. */
static PyObject *this_thread(void)
{
    PyObject *ident = PyLong_FromUnsignedLong(PyThread_get_thread_ident());
    PyObject *thread = ident ? Py_XNewRef(PyDict_GetItemWithError(names._active, ident)) : NULL;
    Py_XDECREF(ident);
    PyErr_Clear();
    return thread;
}

static int is_gone(PyObject *reference)
{
#if PY_VERSION_HEX >= 0x030D0000
    PyObject *who = NULL;
    int gone = PyWeakref_GetRef(reference, &who) <= 0;
    Py_XDECREF(who); /* the running one, or of one that somebody else has too */
    return gone;
#else
    return PyWeakref_GET_OBJECT(reference) == Py_None;
#endif
}

/* Out of the table: those without a record. Rare enough to cost nothing: the table has doubled since, or was half full. */
Link *sweep_owners(void)
{
    Link *swept = NULL;
    if (owners.count <= MOST_IDLE || owners.count <= 2 * records_live || owners.count <= owners.capacity / 2)
        return NULL;
    for (size_t i = 0; i < owners.capacity; i++)
        for (Link **at = &owners.slots[i]; *at;) {
            Link *l = *at;
            if (((Owner *)l)->records) {
                at = &l->next;
                continue;
            }
            *at = l->next;
            owners.count--;
            l->next = swept;
            swept = l;
        }
    return swept;
}

void free_owners(Link *swept)
{
    for (Link *next; swept; swept = next) {
        next = swept->next;
        Py_XDECREF(((Owner *)swept)->who);
        free(swept);
    }
}

/* The owner of what is taken now. With the tables taken; let go of and taken again when it is seen for the first time. */
Owner *owner_here(PyObject *task, uint64_t token)
{
    uint64_t key = task ? key_of(task) : token << 1 | 1;
    Owner *o = (Owner *)table_find(&owners, key), *made;
    PyObject *who;
    Link *swept;
    if (o && (!task || !o->who || !is_gone(o->who)))
        return o;
    give_tables();
    who = task ? Py_NewRef(task) : this_thread();
    made = calloc(1, sizeof *made);
    if (made)
        *made = (Owner){.link.key = key, .who = weak(who), .token = token, .ident = PyThread_get_thread_ident(), .is_task = !!task};
    Py_XDECREF(who);
    take_tables();
    o = (Owner *)table_find(&owners, key); /* still that of a task that is gone, or none; made meanwhile by a finalizer, or one's own */
    if (o && (!task || !o->who || !is_gone(o->who))) {
        swept = made ? &made->link : NULL;
        if (swept)
            swept->next = NULL;
    } else {
        if (o) /* its records keep it, or nobody */
            table_remove(&owners, &o->link);
        swept = o && !o->records ? &o->link : NULL;
        if (swept)
            swept->next = NULL;
        else if (o)
            o->link.key = 0; /* in no table */
        o = made && !table_insert(&owners, &made->link) ? made : NULL;
        if (!o && made)
            made->link.next = swept, swept = &made->link;
    }
    give_tables();
    free_owners(swept);
    take_tables();
    return (Owner *)table_find(&owners, key);
}
