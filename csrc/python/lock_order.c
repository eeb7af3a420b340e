/* In which order locks are taken: what is already known, so that only what is new reaches Python (aiolots/_lock_order.py).
 *
 * A node stands for one lock, or for all of a class. Each knows after which others it was waited for, and how: the mode in which
 * the other was held, the mode in which this one was wanted. A pair that is known costs a look into that table. A new one is an
 * event; events are handed over later, on a thread of their own, for who has just acquired a lock is not the one to run a report:
 * a handler of the log may want that very lock.
 *
 * A node that died is kept by those who know it, until their table grows: then it is left out. */
#include "tracking.h"

#include <stdlib.h>
#include <string.h>

#define MOST_HELD 64        /* of an owner: those that were taken last are looked at */
#define MOST_EVENTS 100000 /* that nobody fetched: what comes then is dropped, and comes again, for it is not known yet */
#define DEATHS_TO_TELL 1000

typedef struct {
    uint64_t id;
    uint8_t written, is_class;
    char type[TYPE_NAME];
    PyObject *name, *site;
    int site_at;
} End;

typedef struct Event { /* a pair that is new; of one end alone: it is written now, or dead */
    struct Event *next;
    End from, to;
    uint8_t hold, want, same_lock, is_task, is_dead;
    PyObject *who; /* the thread or task itself, so that it has a name still; until it is handed over */
    unsigned long ident;
} Event;

static Node *classes;
static Event *events, **events_end = &events;
static size_t events_waiting, deaths_waiting;
static int asked; /* a thread is at work on what waits, or was started for it: it says when it goes (order_rests) */

/* --- nodes --------------------------------------------------------------------------------------------------------------- */

Node *node_made(PyObject *name, const char *type, int is_class)
{
    static uint64_t ids;
    Node *n = calloc(1, sizeof *n);
    if (!n)
        return NULL;
    n->id = ++ids;
    n->references = 1;
    n->is_class = (uint8_t)is_class;
    n->name = Py_XNewRef(name);
    strncpy(n->type, type, TYPE_NAME - 1);
    return n;
}

void node_left(Node *n)
{
    if (!--n->references) /* it is dead, and knows nothing any more */
        free(n);
}

static void forget_known(Node *n)
{
    for (uint32_t i = 0; i < n->known_capacity; i++)
        if (n->known[i].from && n->known[i].from != n)
            node_left(n->known[i].from);
    free(n->known);
    n->known = NULL;
    n->known_count = n->known_capacity = 0;
}

static Event *event_made(int must)
{
    Event *e;
    if (events_waiting >= MOST_EVENTS && !must)
        return NULL;
    e = calloc(1, sizeof *e);
    if (!e)
        return NULL;
    *events_end = e;
    events_end = &e->next;
    events_waiting++;
    return e;
}

static void fill(End *end, Node *n, PyObject *site, int at)
{
    end->id = n->id;
    end->written = n->written;
    end->is_class = n->is_class;
    memcpy(end->type, n->type, TYPE_NAME);
    end->name = Py_XNewRef(n->name);
    end->site = Py_XNewRef(site);
    end->site_at = at;
}

PyObject *node_dies(Node *n)
{
    PyObject *name = n->name;
    n->name = NULL;
    n->dead = 1;
    forget_known(n);
    if (n->exported) {
        Event *e = event_made(1);
        if (e) {
            e->is_dead = 1;
            e->to.id = n->id;
            deaths_waiting++;
        }
    }
    node_left(n);
    return name;
}

Node *class_named(PyObject *name)
{
    Node *n = classes;
    while (n && PyUnicode_Compare(n->name, name))
        n = n->next_class;
    if (!n) {
        n = node_made(name, "class", 1);
        if (!n)
            return NULL;
        n->next_class = classes; /* kept for good: what its locks did counts after they are gone */
        classes = n;
    }
    n->references++;
    return n;
}

/* --- what a node knows --------------------------------------------------------------------------------------------------- */

static Known *place_of(Known *table, uint32_t capacity, const Node *from)
{
    uint32_t i = (uint32_t)((from->id * UINT64_C(0x9E3779B97F4A7C15)) >> 32) & (capacity - 1);
    while (table[i].from && table[i].from != from)
        i = (i + 1) & (capacity - 1);
    return &table[i];
}

static int grow(Node *n)
{
    uint32_t alive = 0, capacity = 8;
    Known *table;
    for (uint32_t i = 0; i < n->known_capacity; i++)
        alive += n->known[i].from && !n->known[i].from->dead;
    while (capacity < 4 * alive)
        capacity *= 2;
    table = calloc(capacity, sizeof *table);
    if (!table)
        return -1;
    for (uint32_t i = 0; i < n->known_capacity; i++) {
        Node *from = n->known[i].from;
        if (from && !from->dead)
            *place_of(table, capacity, from) = n->known[i];
        else if (from)
            node_left(from);
    }
    free(n->known);
    n->known = table;
    n->known_capacity = capacity;
    n->known_count = alive;
    return 0;
}

/* The kinds that are known of this pair, to be added to; NULL: no memory. */
static uint32_t *known_of(Node *from, Node *to)
{
    Known *k = to->known_capacity ? place_of(to->known, to->known_capacity, from) : NULL;
    if (k && k->from)
        return &k->kinds;
    if (2 * (to->known_count + 1) > to->known_capacity) {
        if (grow(to))
            return NULL;
        k = place_of(to->known, to->known_capacity, from);
    }
    k->from = from;
    if (from != to)
        from->references++;
    to->known_count++;
    return &k->kinds;
}

/* --- what is new --------------------------------------------------------------------------------------------------------- */

/* As aiolots/_lock_order.py has them. */
static unsigned hold_kind(unsigned mode) { return mode_is_exclusive(mode) ? 2 : mode == LOTS_UPGRADABLE; }

static unsigned want_kind(unsigned mode)
{
    return mode_is_exclusive(mode) ? 3 : mode == LOTS_UPGRADABLE ? 2 : mode == LOTS_READ;
}

/* A new reference, or NULL. It is running, as a rule: so nobody lets go of it meanwhile. */
static PyObject *that_lives(PyObject *weak)
{
    PyObject *who = NULL;
    if (!weak)
        return NULL;
#if PY_VERSION_HEX >= 0x030D0000
    (void)PyWeakref_GetRef(weak, &who);
#else
    who = PyWeakref_GET_OBJECT(weak);
    who = who == Py_None ? NULL : Py_NewRef(who);
#endif
    return who;
}

void order_notes(Owner *owner, Entry *entry, unsigned mode, PyObject *site, int site_at, const Record *but)
{
    Node *to = entry->node;
    int looked = 0;
    if ((mode == LOTS_WRITE || mode == LOTS_UPGRADE) && !to->written) {
        Event *e = to->exported ? event_made(1) : NULL;
        to->written = 1;
        if (e)
            fill(&e->to, to, NULL, 0);
    }
    for (Record *h = owner->held; h && looked < MOST_HELD; h = h->owner_next, looked++) {
        Node *from = h->entry->node;
        unsigned hold = hold_kind(h->mode), want = want_kind(mode), same = h->entry == entry;
        uint32_t kind = UINT32_C(1) << (16 * same + 4 * hold + want), *known = h == but ? NULL : known_of(from, to);
        Event *e;
        if (!known || (*known & kind) || !(e = event_made(0)))
            continue;
        *known |= kind;
        from->exported = to->exported = 1;
        fill(&e->from, from, h->site, h->site_at);
        fill(&e->to, to, site, site_at);
        e->hold = (uint8_t)hold;
        e->want = (uint8_t)want;
        e->same_lock = (uint8_t)same;
        e->is_task = owner->is_task;
        e->ident = owner->ident;
        e->who = that_lives(owner->who);
    }
}

int order_has_news(void) { return !asked && (events_waiting > deaths_waiting || deaths_waiting > DEATHS_TO_TELL); }

/* Have them handed over, by a thread that runs aiolots._lock_order.work. No bytecode runs here. */
void order_wakes(void)
{
    PyObject *type, *value, *traceback, *started;
    take_tables();
    asked = 1;
    give_tables();
    PyErr_Fetch(&type, &value, &traceback);
    started = PyObject_CallFunctionObjArgs(names.start_new_thread, names.work, names.nothing, NULL);
    if (!started) { /* no thread is to be had, or the end is near: the next one tries, or who asks */
        take_tables();
        asked = 0;
        give_tables();
    }
    Py_XDECREF(started);
    PyErr_Restore(type, value, traceback);
}

static PyObject *end_as_python(End *end)
{
    PyObject *site = end->site ? Py_BuildValue("Oi", end->site, end->site_at) : Py_NewRef(Py_None);
    if (!site)
        return NULL;
    return Py_BuildValue("KOsON", (unsigned long long)end->id, end->is_class ? Py_True : Py_False, end->type,
                         end->name ? end->name : Py_None, site);
}

/* A list of what is new: ("dead", id), ("written", id), or ("order", hold, want, same lock, held, wanted, written, who, by a task,
 * ident). What cannot be told, for want of memory, is lost. */
PyObject *order_pending(void)
{
    PyObject *list = PyList_New(0);
    Event *e, *next;
    if (!list)
        return NULL;
    take_tables();
    e = events;
    events = NULL;
    events_end = &events;
    events_waiting = deaths_waiting = 0;
    give_tables();
    for (; e; e = next) {
        PyObject *told, *from, *to;
        next = e->next;
        if (e->is_dead || !e->from.id) {
            told = Py_BuildValue("sK", e->is_dead ? "dead" : "written", (unsigned long long)e->to.id);
        } else {
            from = end_as_python(&e->from);
            to = from ? end_as_python(&e->to) : NULL;
            told = to ? Py_BuildValue("siiiOO(ii)Oik", "order", e->hold, e->want, e->same_lock, from, to, e->from.written,
                                      e->to.written, e->who ? e->who : Py_None, e->is_task, e->ident) : NULL;
            Py_XDECREF(from);
            Py_XDECREF(to);
        }
        if (!told || PyList_Append(list, told))
            PyErr_Clear();
        Py_XDECREF(told);
        Py_XDECREF(e->from.name);
        Py_XDECREF(e->from.site);
        Py_XDECREF(e->to.name);
        Py_XDECREF(e->to.site);
        Py_XDECREF(e->who);
        free(e);
    }
    return list;
}

/* The thread that is at work goes, if there is nothing to do; whatever comes from now on starts another. */
int order_rests(int anyway)
{
    int rests;
    take_tables();
    rests = anyway || events_waiting <= deaths_waiting;
    if (rests)
        asked = 0;
    give_tables();
    return rests;
}

static void as_new(Node *n)
{
    forget_known(n);
    n->written = n->exported = 0;
}

/* As if nothing had been taken yet. */
void order_reset(void)
{
    Py_XDECREF(order_pending());
    take_tables();
    for (size_t i = 0; i < entries.capacity; i++)
        for (Link *l = entries.slots[i]; l; l = l->next)
            as_new(((Entry *)l)->node);
    for (Node *n = classes; n; n = n->next_class)
        as_new(n);
    give_tables();
}
