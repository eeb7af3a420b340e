/* The memory that the explorer's atomics live in: C11, as far as the core uses it.
 *
 * Every fiber has a view: a vector clock (what happened before), and per location the oldest store that it may still read.
 * Every store is a message that carries the view it published: the storer's for a release, nothing for a relaxed one, and
 * for a read-modify-write also what the store it read had carried (the release sequence). An acquire joins the message's
 * view into the reader's own. A bucket lock and a bell are messages too.
 *
 *  - A load that is not seq_cst may be given an older store, as long as its fiber's view allows it (--stale N, a budgeted
 *    choice). Read-modify-writes read the last store. The last HISTORY stores of a location are kept.
 *  - mc_rd, mc_wr, mc_reuse are plain accesses: one that is not ordered by the clocks is a data race, and is found in an
 *    execution that is sequentially consistent too: no unlucky value is needed.
 *
 * The futex is no synchronisation here: a waiter must learn by its own acquire what its waker did. */
#include "memory.h"

#include <string.h>

#define HISTORY 4
#define PLACES 48  /* locations whose old stores are kept; further ones always show the last */
#define TABLE 256
#define LAST_STORE 250

typedef int16_t clocks __attribute__((vector_size(2 * MC_FIBERS)));
typedef struct view { clocks time; uint8_t at[PLACES]; } view;
typedef struct message { uint64_t value; view view; } message;

typedef struct location {
    uintptr_t address;
    uint32_t execution;
    int place, writer;        /* place: index in the views, -1: none; writer: of the last plain write, -1: none */
    unsigned latest, oldest;  /* of its stores, counted from 0 */
    int16_t written;
    clocks used;              /* the last access of each fiber */
    message history[HISTORY];
} location;

int mc_spend_stale(int n);

static location table[TABLE], *active[TABLE];
static view views[MC_FIBERS];
static uint32_t execution;
static int active_count, places, with_history, muted[MC_FIBERS];

void memory_reset(int stale)
{
    execution++;
    active_count = places = 0;
    with_history = stale > 0;
    memset(views, 0, sizeof views);
    memset(muted, 0, sizeof muted);
    for (int i = 0; i < MC_FIBERS; i++)
        views[i].time[i] = 1;
}

static int acquires(mc_order order) { return order == MC_ACQUIRE || order == MC_ACQ_REL || order == MC_SEQ_CST; }
static int releases(mc_order order) { return order == MC_RELEASE || order == MC_ACQ_REL || order == MC_SEQ_CST; }

static void copy(view *to, const view *from)
{
    to->time = from->time;
    if (with_history)
        memcpy(to->at, from->at, sizeof to->at);
}

static void join(view *into, const view *from)
{
    clocks later = from->time > into->time;
    into->time = (from->time & later) | (into->time & ~later);
    for (int i = 0; with_history && i < PLACES; i++)
        into->at[i] = from->at[i] > into->at[i] ? from->at[i] : into->at[i];
}

static message *last_of(location *l) { return &l->history[l->latest % HISTORY]; }

/* `value`: what is in memory. Differs from the last store if somebody wrote it plainly meanwhile (memset of a new op). */
static location *locate(const void *p, uint64_t value)
{
    static const view nothing;
    uintptr_t address = (uintptr_t)p;
    unsigned i = (unsigned)((uint64_t)address * UINT64_C(0x9E3779B97F4A7C15) >> 56);
    location *l;
    for (;; i = (i + 1) % TABLE) {
        l = &table[i];
        if (l->execution != execution)
            break;
        if (l->address == address) {
            if (last_of(l)->value != value) {
                l->oldest = l->latest;
                last_of(l)->value = value;
            }
            return l;
        }
    }
    if (active_count == TABLE - 1)
        mc_fail("more than %d locations", TABLE - 1);
    active[active_count++] = l;
    l->address = address;
    l->execution = execution;
    l->place = places < PLACES ? places++ : -1;
    l->writer = -1;
    l->latest = l->oldest = 0;
    l->used = (clocks){0};
    l->history[0].value = value;
    copy(&l->history[0].view, &nothing);
    return l;
}

static view *use(location *l)
{
    view *me = &views[mc_self()];
    if (!muted[mc_self()])
        l->used[mc_self()] = me->time[mc_self()];
    return me;
}

static message *append(location *l, view *me, uint64_t value)
{
    message *m;
    if (l->latest < LAST_STORE)
        l->latest++;
    else
        l->oldest = l->latest;
    if (l->latest - l->oldest >= HISTORY)
        l->oldest = l->latest - HISTORY + 1;
    if (l->place >= 0)
        me->at[l->place] = (uint8_t)l->latest;
    m = last_of(l);
    m->value = value;
    return m;
}

uint64_t memory_load(const void *p, uint64_t value, mc_order order)
{
    location *l = locate(p, value);
    view *me = use(l);
    unsigned i = l->latest;
    if (muted[mc_self()])
        return value;
    if (with_history && l->place >= 0) {
        unsigned floor = me->at[l->place] > l->oldest ? me->at[l->place] : l->oldest;
        if (order < MC_SEQ_CST && floor < i)
            i -= (unsigned)mc_spend_stale((int)(i - floor + 1));
        if (i > me->at[l->place])
            me->at[l->place] = (uint8_t)i;
    }
    if (acquires(order))
        join(me, &l->history[i % HISTORY].view);
    return l->history[i % HISTORY].value;
}

void memory_store(void *p, uint64_t before, uint64_t value, mc_order order)
{
    static const view nothing;
    location *l = locate(p, before);
    view *me = use(l);
    message *m = append(l, me, value);
    copy(&m->view, releases(order) ? me : &nothing);
    me->time[mc_self()] = (int16_t)(me->time[mc_self()] + releases(order));
}

void memory_rmw(void *p, uint64_t before, uint64_t value, mc_order order)
{
    location *l = locate(p, before);
    view *me = use(l), carried;
    message *m;
    copy(&carried, &last_of(l)->view);
    if (acquires(order))
        join(me, &carried);
    m = append(l, me, value);
    if (releases(order))
        join(&carried, me);
    copy(&m->view, &carried);
    me->time[mc_self()] = (int16_t)(me->time[mc_self()] + releases(order));
}

void memory_mute(int yes) { muted[mc_self()] = yes; }

void memory_acquire(const void *p)
{
    location *l = locate(p, 0);
    view *me = use(l);
    if (!muted[mc_self()])
        join(me, &last_of(l)->view);
}

void memory_release(const void *p)
{
    location *l = locate(p, 0);
    view *me = use(l);
    if (muted[mc_self()])
        return;
    join(&last_of(l)->view, me);
    me->time[mc_self()]++;
}

static void race(const char *what, const location *l, int other)
{
    mc_fail("data race: fiber %d %s %#llx, not ordered after fiber %d", mc_self(), what, (unsigned long long)l->address, other);
}

static void must_be_alone(const location *l, const char *what)
{
    const view *me = &views[mc_self()];
    for (int i = 0; i < MC_FIBERS; i++)
        if (l->used[i] > me->time[i])
            race(what, l, i);
}

void mc_rd(const void *p)
{
    location *l = locate(p, 0);
    view *me = use(l);
    if (l->writer >= 0 && l->written > me->time[l->writer])
        race("reads", l, l->writer);
}

void mc_wr(const void *p)
{
    location *l = locate(p, 0);
    view *me = use(l);
    must_be_alone(l, "writes");
    l->writer = mc_self();
    l->written = me->time[mc_self()];
}

void mc_reuse(const void *p, size_t size)
{
    for (int i = 0; i < active_count; i++)
        if (active[i]->address - (uintptr_t)p < size)
            must_be_alone(active[i], "reuses");
}
