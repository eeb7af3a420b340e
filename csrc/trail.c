/* The last steps that a lock went through on its slow path, with its word before and after each: for who has to find out how a
 * word came to lie (aiolots.audit). On 2025-05-28 it was a writer that timed out, and nothing was left that said so.
 *
 * A trail is a ring that all records of a lock share (lots_contention.trail); ops that are counted in none have none.
 *
 *   what          who          the word                                                    where
 *   QUEUED        the waiter   PARKED is set, if it was not                                acquire.c, park; notify.c
 *   DRAINS        the waiter   WRITER_PARKED is set                                        acquire.c, park
 *   ENTERED       the waiter   what its mode adds: it has the lock; or WRITER, beside      acquire.c, enter
 *                              the readers that it has to wait for yet
 *   ACQUIRED      the waiter   as it was: handed over, or the readers are gone             lots_op_poll, withdraw
 *   TIMED_OUT     the waiter   what it had is given back, flags of an empty queue go       withdraw, by way of admit
 *   CANCELLED     the waiter   the same                                                    the same
 *   ASIDE         the waiter   the same: its signal handlers run, it will be back          the same
 *   REVOKED       the waiter   what its wake had brought, or its WRITER, is given back     revoke.c; admit.c, admit_drainer
 *   LOOKED        the waiter   PARKED or WRITER_PARKED goes: a task that was nudged        acquire.c, take_up
 *   RELEASED      the thread   what it held goes; `whom`: woken, to compete                admit.c
 *   HANDED_OVER   the thread   the same, and `whom` are in                                 admit.c, notify.c
 *   DOWNGRADED    the thread   part of what it held goes; `whom`: as in one of those       admit.c
 *   LEFT          the thread   the last reader's share goes, a writer waits for that       release.c
 *   WOKEN         the thread   PARKED goes, if nobody is left; a wake was passed on        admit.c
 *
 * A step that sees an impossible word is not noted: what comes after would push out what led there.
 *
 * Everything is noted before the waiters by which the trail was found are told: they keep the lock alive until then.
 *
 * A slot is a sequence lock, for any number of writers; nobody waits.
 *
 *   sequence   legal states
 *      0       empty
 *   2 n + 1    somebody writes step n there
 *   2 n + 2    step n, all of it
 *
 * A writer takes a number n, by that a slot, and claims it by a CAS from an even value below its own; if another is at it, or a
 * later step is there, its step is lost. (The other one was overtaken by a whole ring of steps.) A reader wants step n of a slot,
 * and believes what it has read if the sequence was 2 n + 2 before and after. If it has read something of a later step, it sees
 * the later claim: the fields are stored with RELEASE, after the claim, and loaded with ACQUIRE, before the second look. Of an
 * earlier step: not if it has seen 2 n + 2, by the ACQUIRE of the first look and the RELEASE of the last store.
 *
 * In a child of fork() a slot may be claimed for ever, so who keeps the trail clears it there. */
#include "trail.h"

#include "clock.h"
#include "mailbox.h"
#include "threads.h"

#ifdef LOTS_MODEL
#define SLOTS 2
#else
#define SLOTS LOTS_TRAIL
#endif

enum { WHEN, BEFORE, AFTER, WHO, WHOM, LOOPS, REST, FIELDS };

typedef struct slot {
    lots_a64 sequence, fields[FIELDS];
} slot;

typedef struct ring {
    lots_a64 next;
    slot slots[SLOTS];
} ring;

_Static_assert(sizeof(ring) <= sizeof(lots_trail), "lots_trail.opaque is too small");
_Static_assert(LOTS_MODES <= 256, "a mode has 8 bits in REST, and `what` too");

static void put(ring *r, const uint64_t *fields)
{
    uint64_t n = a64_fetch_add(&r->next, 1, RELAXED); /* no lock word: a number for each */
    slot *s = &r->slots[n % SLOTS];
    uint64_t seen = a64_load(&s->sequence, RELAXED);
    do {
        if ((seen & 1) || seen > 2 * n)
            return;
        /* ACQUIRE pairs with the RELEASE of whoever wrote there before: our fields come after its. */
    } while (!a64_cas(&s->sequence, &seen, 2 * n + 1, ACQUIRE));
    for (int f = 0; f < FIELDS; f++)
        a64_store(&s->fields[f], fields[f], RELEASE); /* pairs with the ACQUIRE in get: who sees it sees our claim */
    a64_store(&s->sequence, 2 * n + 2, RELEASE); /* pairs with the ACQUIRE in get, and that above */
}

/* Step n, if it is there: 1. */
static int get(ring *r, uint64_t n, uint64_t *fields)
{
    slot *s = &r->slots[n % SLOTS];
    if (a64_load(&s->sequence, ACQUIRE) != 2 * n + 2) /* pairs with the last RELEASE in put */
        return 0;
    for (int f = 0; f < FIELDS; f++)
        fields[f] = a64_load(&s->fields[f], ACQUIRE); /* pairs with the RELEASE in put */
    return a64_load(&s->sequence, RELAXED) == 2 * n + 2; /* after the fields: ACQUIRE */
}

/* Who waits for a notification asks the word of nothing yet. */
static ring *trail_of(const lots_waiter *w)
{
    return w && w->record && w->phase != PHASE_NOTIFY ? (ring *)w->record->trail : NULL;
}

static uint64_t loop_of(const lots_waiter *w) { return w->mailbox ? w->mailbox->number : 0; }

/* `who` NULL: the thread that runs. */
static void note(ring *r, uint32_t what, const lots_waiter *who, const lots_waiter *first, unsigned count, uint64_t before,
                 uint64_t after)
{
    if (word_is_impossible(before))
        return;
    const uint64_t fields[FIELDS] = {
        [WHEN] = (uint64_t)clock_coarse(),
        [BEFORE] = before,
        [AFTER] = after,
        [WHO] = who ? who->cookie : thread_number(),
        [WHOM] = count ? first->cookie : 0,
        [LOOPS] = (who ? loop_of(who) : 0) | (count ? loop_of(first) << 32 : 0),
        [REST] = what | (uint64_t)(who ? who->mode : 0) << 8 | (uint64_t)(count ? first->mode : 0) << 16 | (uint64_t)count << 32,
    };
    put(r, fields);
}

void trail_step(lots_waiter *w, uint32_t what, uint64_t before, uint64_t after)
{
    ring *r = trail_of(w);
    if (r)
        note(r, what, w, NULL, 0, before, after);
}

void trail_look(lots_waiter *w, uint32_t what)
{
    ring *r = trail_of(w);
    uint64_t word = r ? word_load(w->word) : 0;
    if (r)
        note(r, what, w, NULL, 0, word, word);
}

void trail_by_caller(lots_waiter *w, uint32_t what, uint64_t before, uint64_t after, unsigned count)
{
    ring *r = trail_of(w);
    if (r)
        note(r, what, NULL, w, count, before, after);
}

void trail_admitted(lots_batch *batch, uint32_t what, lots_waiter *first, unsigned count, lots_waiter *near, uint64_t before,
                    uint64_t after)
{
    lots_waiter *cause = batch->cause;
    ring *r = trail_of(cause ? cause : first ? first : near);
    batch->cause = NULL;
    if (r)
        note(r, cause ? batch->what : what, cause, first, count, before, after);
}

void trail_caused(lots_batch *batch, uint32_t what)
{
    trail_look(batch->cause, what);
    batch->cause = NULL;
}

size_t lots_trail_read(const lots_trail *trail, lots_transition *out, uint64_t *noted)
{
    ring *r = (ring *)trail;
    uint64_t end = a64_load(&r->next, RELAXED), fields[FIELDS]; /* get says what is there */
    size_t count = 0;
    for (uint64_t n = end > SLOTS ? end - SLOTS : 0; n < end; n++)
        if (get(r, n, fields))
            out[count++] = (lots_transition){
                .number = n + 1, .when = (int64_t)fields[WHEN], .before = fields[BEFORE], .after = fields[AFTER],
                .who = fields[WHO], .whom = fields[WHOM], .who_loop = (uint32_t)fields[LOOPS], .whom_loop = fields[LOOPS] >> 32,
                .what = fields[REST] & 0xFF, .mode = fields[REST] >> 8 & 0xFF, .whom_mode = fields[REST] >> 16 & 0xFF,
                .count = fields[REST] >> 32};
    *noted = end;
    return count;
}
