/* Who holds what, and where it was taken: for who asks. Off, an acquire and a release look at one flag.
 *
 *   Entry    a lock that was seen: its records; found by address, until the lock is freed
 *   Owner    the running task, else the thread: its records. Kept for a while when it has none, for the next time
 *   Record   one hold: in a list of its lock, and in one of its owner
 *
 *   record   by                                                       to
 *   none     acquired, with tracking on for the process or the lock    HELD: in both lists; a guard knows its own
 *   HELD     released, by anybody: first, then the word                 none
 *            its guard steps aside (bump, condvar)                       AWAY: in no list, its guard knows it
 *   AWAY     the guard has the lock again                                HELD
 *            it will not have it again, or is freed                      none
 *
 * A record is there after its lock was acquired and is gone before it is released, so it may be missed but does not lie. Only who
 * releases a word behind everybody's back (native code) leaves one behind: until the next who has the lock alone.
 *
 * track_tables.c has the tables, track_owners.c knows who it is, usage.c counts. track_query.c is the half that Python sees,
 * lock_order.c looks at what is held when something is acquired.
 *
 * No Python runs while the tables are held. What must be made, and may run the collector by that, is made before; what was let go
 * is freed after. A task is referred to weakly: a record must not keep it, and with it its guards, alive. */
#include "tracking.h"

#include "clock.h"

#include <math.h>
#include <stdlib.h>

#ifdef Py_GIL_DISABLED
PyMutex tables;
#endif

lots_a32 tracking_on; /* written with the tables taken; RELAXED: who misses the change has taken its lock just before it */

int tracking_everywhere;
size_t tracked_locks;
size_t records_live;
PyObject *tracking_homes[2];

void settle(void) { a32_store(&tracking_on, tracking_everywhere || tracked_locks || records_live, RELAXED); }

/* --- records ------------------------------------------------------------------------------------------------------------ */

#define MOST_SPARE 256

static Record *spare_records;
static size_t records_spare;

static Record *record_made(void)
{
    Record *r = spare_records;
    if (!r)
        return malloc(sizeof *r);
    spare_records = r->owner_next;
    records_spare--;
    return r;
}

static void record_unmade(Record *r)
{
    if (records_spare >= MOST_SPARE) {
        free(r);
        return;
    }
    r->owner_next = spare_records;
    spare_records = r;
    records_spare++;
}

static void link_in(Record *r)
{
    Owner *o = r->owner;
    Entry *e = r->entry;
    r->owner_next = o->held;
    r->owner_link = &o->held;
    if (o->held)
        o->held->owner_link = &r->owner_next;
    o->held = r;
    r->lock_next = e->holders;
    r->lock_link = &e->holders;
    if (e->holders)
        e->holders->lock_link = &r->lock_next;
    e->holders = r;
}

static void link_out(Record *r)
{
    if (!r->owner_link)
        return;
    *r->owner_link = r->owner_next;
    if (r->owner_next)
        r->owner_next->owner_link = r->owner_link;
    *r->lock_link = r->lock_next;
    if (r->lock_next)
        r->lock_next->lock_link = r->lock_link;
    r->owner_link = NULL;
}

/* The record is gone, and the tables are given; what it kept is freed then. */
static void forget_record(Record *r)
{
    PyObject *site = r->site;
    Owner *o = r->owner;
    Link *swept = NULL;
    link_out(r);
    if (r->request)
        r->request->record = NULL;
    record_unmade(r);
    if (!--records_live && !tracking_everywhere)
        settle();
    if (!--o->records && !o->link.key) { /* of a task that is gone: in no table */
        o->link.next = NULL;
        swept = &o->link;
    } else if (!o->records && owners.count > MOST_IDLE)
        swept = sweep_owners();
    give_tables();
    Py_XDECREF(site);
    free_owners(swept);
}

/* To a few milliseconds: the exact time costs as much as all else that is noted. */
static int64_t moment(void)
{
#ifdef CLOCK_MONOTONIC_COARSE
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t); /* the same clock, as it was at the last tick */
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
#else
    return clock_now();
#endif
}

static int is_ours(PyObject *file)
{
#ifndef Py_GIL_DISABLED
    static PyObject *last; /* that was not: the codes of a file share its name */
    if (file == last)
        return 0;
#endif
    for (int i = 0; i < 2; i++)
        if (tracking_homes[i] && PyUnicode_Tailmatch(file, tracking_homes[i], 0, PY_SSIZE_T_MAX, -1) > 0)
            return 1;
#ifndef Py_GIL_DISABLED
    PyObject *old = last;
    last = Py_NewRef(file);
    Py_XDECREF(old); /* a string */
#endif
    return 0;
}

/* Where the user's code is: the innermost frame that is not ours. */
static PyObject *place_now(int *at)
{
    PyFrameObject *frame = PyEval_GetFrame(), *back; /* borrowed, then owned */
    PyCodeObject *code;
    int owned = 0;
    *at = 0;
    if (!frame)
        return NULL;
    for (;;) {
        code = PyFrame_GetCode(frame);
        if (!is_ours(code->co_filename) || !(back = PyFrame_GetBack(frame)))
            break;
        Py_DECREF(code);
        if (owned)
            Py_DECREF(frame);
        frame = back;
        owned = 1;
    }
    *at = PyFrame_GetLasti(frame);
    if (owned)
        Py_DECREF(frame);
    return (PyObject *)code;
}

/* `ends`: their holds do, now. Else they were over at some time, or never will be. */
static void forget_all_of(PyObject *lock, int ends)
{
    Entry *e;
    Record *r;
    take_tables();
    e = entry_if_any(lock); /* until the lock is freed */
    while (e && (r = e->holders)) {
        int last = !r->lock_next;
        if (ends)
            hold_ends(r);
        forget_record(r); /* gives the tables */
        if (last)
            return;
        take_tables();
    }
    give_tables();
}

static int is_wanted(PyObject *lock)
{
    Entry *e;
    int wanted;
    take_tables();
    wanted = tracking_everywhere || ((e = entry_if_any(lock)) && e->tracked);
    give_tables();
    return wanted;
}

/* The lock's, until it is freed. With the tables taken; let go of and taken again when it is seen for the first time. */
static Entry *entry_here(PyObject *lock, PyObject *name)
{
    Entry *e = entry_if_any(lock);
    if (e)
        return e;
    give_tables();
    name = name ? Py_NewRef(name) : lock_name((Lock *)lock);
    take_tables();
    e = entry_if_any(lock); /* another reader's */
    if (!e)
        e = entry_made(lock, name);
    give_tables();
    Py_DECREF(name);
    take_tables();
    return e;
}

void track_any(PyObject *lock, PyObject *name, unsigned mode, uint64_t holder, Request *request, int waits)
{
    PyObject *task, *site;
    Owner *o;
    Entry *e;
    Record *r = NULL;
    int at, news = 0;
    if (!is_wanted(lock))
        return;
    task = task_here();
    site = place_now(&at);
    take_tables();
    e = entry_here(lock, name);
    if (e && e->holders && mode_is_exclusive(mode)) { /* who is noted as a holder has none of it any more */
        give_tables();
        forget_all_of(lock, 0);
        take_tables();
    }
    o = e ? owner_here(task, holder >> 2) : NULL;
    r = o ? record_made() : NULL;
    if (r) {
        if (waits && (o->held || mode == LOTS_WRITE)) { /* else there is no order in it */
            order_notes(o, e, mode, site, at, NULL);
            news = order_has_news();
        }
        r->owner = o;
        r->entry = e;
        r->request = request;
        r->site = site;
        r->site_at = at;
        r->mode = (uint8_t)mode;
        r->waits = (uint8_t)waits;
        r->as_task = (holder & HOLDER_IS_TASK) != 0;
        r->since = moment();
        r->timed = 0;
        link_in(r);
        hold_begins(r, mode);
        o->records++;
        if (!records_live++ && !tracking_everywhere)
            settle();
        if (request)
            request->record = r;
    }
    give_tables();
    if (!r)
        Py_XDECREF(site);
    Py_XDECREF(task);
    if (news)
        order_wakes();
}

void track_acquired(Lock *lock, unsigned mode, uint64_t holder, int waits)
{
    track_any((PyObject *)lock, NULL, mode, holder, NULL, waits);
}

void track_released(PyObject *lock) { forget_all_of(lock, 1); }

void track_request(Request *r)
{
    /* A try never waits, and who waits for a time does not wait for ever. */
    int waits = r->limit_kind == LIMIT_NONE ? r->raises : isinf(r->limited.limit);
    track_any((PyObject *)r->lock, NULL, r->mode, r->holder, r, waits);
}

void track_guard_released(Request *request)
{
    Record *r;
    take_tables();
    r = request->record;
    if (r) {
        hold_ends(r);
        forget_record(r); /* gives the tables */
    } else
        give_tables();
}

void track_changed(Request *request, unsigned mode)
{
    int news = 0;
    Record *r;
    take_tables();
    r = request->record;
    if (r) {
        unsigned before = r->mode;
        r->mode = (uint8_t)mode;
        if (!r->owner_link) { /* it was away */
            order_notes(r->owner, r->entry, mode, r->site, r->site_at, NULL);
            news = order_has_news();
            r->since = moment();
            link_in(r);
            hold_begins(r, mode);
        } else if (before != mode) {
            hold_ends(r);
            hold_begins(r, before == LOTS_UPGRADABLE && mode == LOTS_WRITE ? LOTS_UPGRADE : mode);
        }
    }
    give_tables();
    if (news)
        order_wakes();
}

/* It waited for ever for the readers to leave, and may have held other locks meanwhile. */
void track_upgraded(Request *request)
{
    PyObject *site;
    int at, news = 0;
    Record *r;
    site = place_now(&at);
    take_tables();
    r = request->record;
    if (r) {
        order_notes(r->owner, r->entry, LOTS_UPGRADE, site, at, r);
        news = order_has_news();
    }
    give_tables();
    Py_XDECREF(site);
    if (news)
        order_wakes();
}

void track_away(Request *request)
{
    take_tables();
    if (request->record) {
        hold_ends(request->record);
        link_out(request->record);
    }
    give_tables();
}

void track_forget(PyObject *lock)
{
    Entry *e;
    PyObject *name = NULL;
    forget_all_of(lock, 0);
    take_tables();
    e = entry_if_any(lock);
    if (e) {
        tracked_locks -= e->tracked;
        settle();
        if (e->node->is_class)
            node_left(e->node);
        else
            name = node_dies(e->node);
        entry_removed(e);
    }
    give_tables();
    Py_XDECREF(name);
}
