/* How often tracked locks were acquired, and for how long they were held: counted in their records' coming and going
 * (tracking.c), for aiolots/_holding.py.
 *
 *   Usage   one kind of holds (a mode, and whether it was the task's colour) of one lock
 *   Label   what metrics call a lock: its name, else its class, as it was when tracking first saw it. What its locks have
 *           counted is added to it when they are freed, so no sum ever goes down
 *
 *   a hold    when                                                         is
 *   begins    acquired; upgraded, downgraded; its guard has it again        counted, and timed if its turn has come
 *   ends      released; upgraded, downgraded; its guard steps aside         if it was timed: so long, to the nanosecond
 *   is lost   its lock is freed, or released behind everybody's back;        not timed any more: nobody knows when it ended
 *             the process is forked
 *
 * Whether a hold is timed is settled when it begins, and is in its record, with the moment. So nothing that is switched
 * meanwhile can end what was never begun. The first hold of each kind is timed, then one of `every` on average: at random, for
 * locks are taken in rhythms. A mode that changes ends one hold and begins another, of the kind "upgrade" if the writer
 * was an upgradable reader: so of each kind the sum of the holds is what its acquisitions led to.
 *
 * All of it with the tables taken. A label is exactly a string, which is hashed, compared and freed without any Python. */
#include "tracking.h"

#include "clock.h"

#include <stdlib.h>
#include <string.h>

#define SHORTEST 10 /* as in csrc/contention.c */
#define MOST_GONE 1000 /* labels whose locks are all gone: who names each lock anew would fill the memory */
#define OTHERS "(others)"

static Table labels;
static size_t labels_gone;
static uint32_t every = 64; /* 0: no hold is timed */

/* --- one kind ---------------------------------------------------------------------------------------------------------- */

static uint32_t first_turn(void) { return every != 0; }

static uint32_t next_turn(void)
{
    static uint64_t x = UINT64_C(0x2545F4914F6CDD1D); /* xorshift64 */
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return 1 + (uint32_t)((x >> 32) % (2 * every - 1)); /* from 1 to 2 * every - 1 */
}

Usage *usage_made(Entry *e, unsigned kind)
{
    Usage *u = calloc(1, sizeof *u);
    if (u)
        u->left = first_turn();
    return e->usage[kind] = u;
}

void hold_is_timed(Record *r)
{
    r->usage->left = next_turn();
    r->timed = clock_now();
}

static unsigned bucket_of(uint64_t ns)
{
    unsigned bucket = ns >> SHORTEST ? 64 - SHORTEST - (unsigned)__builtin_clzll(ns) : 0;
    return bucket < LOTS_WAIT_BUCKETS ? bucket : LOTS_WAIT_BUCKETS - 1;
}

void hold_was_timed(Record *r)
{
    int64_t held = clock_now() - r->timed;
    uint64_t ns = held > 0 ? (uint64_t)held : 1;
    Usage *u = r->usage;
    r->timed = 0;
    u->held_ns += ns;
    u->buckets[bucket_of(ns)]++;
    if (ns > u->longest_ns)
        u->longest_ns = ns;
}

static void add_up(Usage **sum, const Usage *u)
{
    if (!u || !u->acquisitions)
        return;
    if (!*sum)
        *sum = calloc(1, sizeof **sum);
    if (!*sum) /* no memory: too little is better than nothing */
        return;
    (*sum)->acquisitions += u->acquisitions;
    (*sum)->held_ns += u->held_ns;
    if (u->longest_ns > (*sum)->longest_ns)
        (*sum)->longest_ns = u->longest_ns;
    for (unsigned i = 0; i < LOTS_WAIT_BUCKETS; i++)
        (*sum)->buckets[i] += u->buckets[i];
}

/* --- labels ------------------------------------------------------------------------------------------------------------ */

static PyObject *text_of(PyObject *lock, PyObject *name)
{
    const char *type = Py_TYPE(lock)->tp_name, *dot = strrchr(type, '.');
    return PyUnicode_Check(name) ? PyUnicode_FromObject(name) : PyUnicode_FromString(dot ? dot + 1 : type);
}

/* Takes the reference to its name, which may be NULL. */
static Label *joined(PyObject *name)
{
    Py_hash_t hash = name ? PyObject_Hash(name) : -1;
    Label *l = hash == -1 ? NULL : (Label *)table_find(&labels, (uint64_t)hash);
    while (l && (l->link.key != (uint64_t)hash || PyUnicode_Compare(l->name, name)))
        l = (Label *)l->link.next;
    if (l && !l->locks++)
        labels_gone--;
    if (!l && hash != -1 && (l = calloc(1, sizeof *l))) {
        l->link.key = (uint64_t)hash;
        l->name = Py_NewRef(name);
        l->locks = 1;
        if (table_insert(&labels, &l->link)) {
            Py_DECREF(l->name);
            free(l);
            l = NULL;
        }
    }
    Py_XDECREF(name);
    return l;
}

Label *label_joined(PyObject *lock, PyObject *name)
{
    PyObject *type, *value, *traceback;
    Label *l;
    PyErr_Fetch(&type, &value, &traceback);
    l = joined(lock ? text_of(lock, name) : PyUnicode_FromString(OTHERS));
    PyErr_Clear();
    PyErr_Restore(type, value, traceback);
    return l;
}

static void inherit(Usage **heirs, Usage **from)
{
    for (unsigned k = 0; k < KINDS; k++) {
        add_up(&heirs[k], from[k]);
        free(from[k]);
        from[k] = NULL;
    }
}

void label_left(Entry *e)
{
    static Label *others; /* never left: it counts as a lock of its own */
    Label *l = e->label;
    int counted = 0;
    inherit(l->gone, e->usage);
    if (--l->locks)
        return;
    for (unsigned k = 0; k < KINDS; k++)
        counted |= l->gone[k] != NULL;
    if (counted && labels_gone < MOST_GONE) {
        labels_gone++;
        return;
    }
    if (counted && !others) {
        labels_gone++; /* for it may be this one that is joined */
        others = label_joined(NULL, NULL);
        if (others == l)
            return;
        labels_gone--;
    }
    if (others)
        inherit(others->gone, l->gone);
    table_remove(&labels, &l->link);
    Py_DECREF(l->name);
    for (unsigned k = 0; k < KINDS; k++)
        free(l->gone[k]);
    free(l);
}

static void each_entry(void (*visit)(Entry *e))
{
    for (size_t i = 0; i < entries.capacity; i++)
        for (Link *l = entries.slots[i]; l; l = l->next)
            visit((Entry *)l);
}

static void begin_again(Entry *e)
{
    for (unsigned k = 0; k < KINDS; k++)
        if (e->usage[k])
            *e->usage[k] = (Usage){.left = first_turn()};
    for (Record *r = e->holders; r; r = r->lock_next)
        r->timed = 0;
}

/* In the child, all begins at nothing: also what was held when it was made. */
void usage_forked(void)
{
    each_entry(begin_again);
    for (size_t i = 0; i < labels.capacity; i++)
        for (Link *l = labels.slots[i]; l; l = l->next)
            for (unsigned k = 0; k < KINDS; k++)
                if (((Label *)l)->gone[k])
                    memset(((Label *)l)->gone[k], 0, sizeof(Usage));
}

/* --- for Python -------------------------------------------------------------------------------------------------------- */

typedef struct {
    PyObject *label; /* owned */
    Usage *usage;    /* owned */
    unsigned kind;
} Row;

static void add_to_label(Entry *e)
{
    for (unsigned k = 0; k < KINDS; k++)
        add_up(&e->label->sum[k], e->usage[k]);
}

/* Moves the sums into rows, while there are any. */
static size_t rows_of(Row *rows, size_t count, PyObject *label, Usage **sums)
{
    for (unsigned k = 0; k < KINDS; k++)
        if (sums[k]) {
            rows[count++] = (Row){Py_NewRef(label), sums[k], k};
            sums[k] = NULL;
        }
    return count;
}

/* Of one lock. */
static size_t sums_of_lock(const Entry *e, Row *rows)
{
    Usage *sums[KINDS] = {NULL};
    for (unsigned k = 0; k < KINDS; k++)
        add_up(&sums[k], e->usage[k]);
    return rows_of(rows, 0, e->label->name, sums);
}

/* Of every label. `*rows` is made; NULL: no memory. */
static size_t sums_of_labels(Row **rows)
{
    size_t count = 0;
    for (size_t i = 0; i < labels.capacity; i++)
        for (Link *l = labels.slots[i]; l; l = l->next)
            for (unsigned k = 0; k < KINDS; k++)
                add_up(&((Label *)l)->sum[k], ((Label *)l)->gone[k]);
    each_entry(add_to_label);
    *rows = PyMem_RawCalloc(labels.count * KINDS + 1, sizeof **rows);
    for (size_t i = 0; i < labels.capacity; i++)
        for (Link *l = labels.slots[i]; l; l = l->next) {
            Label *label = (Label *)l;
            if (*rows)
                count = rows_of(*rows, count, label->name, label->sum);
            for (unsigned k = 0; k < KINDS; k++) {
                free(label->sum[k]);
                label->sum[k] = NULL;
            }
        }
    return count;
}

static PyObject *as_python(const Row *row)
{
    const Usage *u = row->usage;
    PyObject *buckets = PyTuple_New(LOTS_WAIT_BUCKETS);
    for (Py_ssize_t i = 0; buckets && i < LOTS_WAIT_BUCKETS; i++) {
        PyObject *count = PyLong_FromUnsignedLongLong(u->buckets[i]);
        if (count)
            PyTuple_SET_ITEM(buckets, i, count);
        else
            Py_CLEAR(buckets);
    }
    return buckets ? Py_BuildValue("OIOKKKN", row->label, row->kind / 2, row->kind & 1 ? Py_True : Py_False,
                                   (unsigned long long)u->acquisitions, (unsigned long long)u->held_ns,
                                   (unsigned long long)u->longest_ns, buckets) : NULL;
}

/* usage(lock or None): (label, mode, by a task, acquisitions, ns held, longest, buckets) of each kind; of a lock, or of all
 * that there ever were, by their label. */
static PyObject *track_usage(PyObject *Py_UNUSED(module), PyObject *lock)
{
    PyObject *list = PyList_New(0);
    Row of_one[KINDS], *rows = of_one;
    const Entry *e;
    size_t count = 0;
    if (!list)
        return NULL;
    take_tables();
    if (lock == Py_None)
        count = sums_of_labels(&rows);
    else if ((e = entry_if_any(lock)))
        count = sums_of_lock(e, rows);
    give_tables();
    for (size_t i = 0; i < count; i++) {
        PyObject *one = list ? as_python(&rows[i]) : NULL;
        if (!one || PyList_Append(list, one))
            Py_CLEAR(list);
        Py_XDECREF(one);
        Py_DECREF(rows[i].label);
        free(rows[i].usage);
    }
    if (!rows)
        Py_CLEAR(list);
    if (rows != of_one)
        PyMem_RawFree(rows);
    return list || PyErr_Occurred() ? list : PyErr_NoMemory();
}

static void take_turns_anew(Entry *e)
{
    for (unsigned k = 0; k < KINDS; k++)
        if (e->usage[k])
            e->usage[k]->left = first_turn();
}

/* sample(every): one hold of so many is timed; 0: none. Returns what it was. */
static PyObject *track_sample(PyObject *Py_UNUSED(module), PyObject *number)
{
    unsigned long before, wanted = PyLong_AsUnsignedLong(number);
    if (wanted == (unsigned long)-1 && PyErr_Occurred())
        return NULL;
    take_tables();
    before = every;
    every = (uint32_t)wanted; /* checked in Python: a million at most */
    each_entry(take_turns_anew);
    give_tables();
    return PyLong_FromUnsignedLong(before);
}

PyMethodDef usage_methods[] = {
    {"track_usage", track_usage, METH_O, "track_usage(lock or None): [(label, mode, by a task, acquisitions, ns, longest, buckets)]."},
    {"track_sample", track_sample, METH_O, "track_sample(every): one hold of so many is timed; returns what it was."},
    {0},
};
