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
 * A writer looks for the next number n from `next` on, and claims its slot by a CAS from an even value below 2 n + 1. A slot that
 * a later step has says how far the others are; one that somebody writes is left to it, and its number left out. If the slots
 * that it comes to are all taken it gives up, and its step is lost. So the sequence of a slot only grows. `next` may be behind, when of
 * two writers the earlier one stores it later; nothing hangs on it but where to begin.
 *
 * A reader believes what it has read of a slot if the sequence was the same, and even, before and after. If it has read something
 * of a later step, it sees the later claim: the fields are stored with RELEASE, after the claim, and loaded with ACQUIRE, before
 * the second look. Of an earlier step: not if it has seen 2 n + 2, by the ACQUIRE of the first look and the RELEASE of the last
 * store.
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
    uint64_t n = a64_load(&r->next, RELAXED), seen; /* as good as any: the slots say which numbers are taken */
    slot *s;
    for (int tried = 0;; tried++) {
        s = &r->slots[n % SLOTS];
        seen = a64_load(&s->sequence, RELAXED);
        if (seen > 2 * n)
            n = (seen + 1) / 2; /* the one after that which is there */
        else if (seen & 1)
            n++;
        /* ACQUIRE pairs with the last RELEASE of whoever wrote there before: our fields come after its. */
        else if (a64_cas(&s->sequence, &seen, 2 * n + 1, ACQUIRE))
            break;
        if (tried == 2 * SLOTS)
            return;
    }
    a64_store(&r->next, n + 1, RELAXED); /* as above */
    for (int f = 0; f < FIELDS; f++)
        a64_store(&s->fields[f], fields[f], RELEASE); /* pairs with the ACQUIRE in get: who sees it sees our claim */
    a64_store(&s->sequence, 2 * n + 2, RELEASE); /* pairs with the ACQUIRE in get, and that above */
}

/* What is in a slot: its sequence, or 0 if it is not all there. */
static uint64_t get(slot *s, uint64_t *fields)
{
    uint64_t sequence = a64_load(&s->sequence, ACQUIRE); /* pairs with the last RELEASE in put */
    if (sequence & 1)
        return 0;
    for (int f = 0; f < FIELDS; f++)
        fields[f] = a64_load(&s->fields[f], ACQUIRE); /* pairs with the RELEASE in put */
    return a64_load(&s->sequence, RELAXED) == sequence ? sequence : 0; /* after the fields: ACQUIRE */
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

size_t lots_trail_read(const lots_trail *trail, lots_transition *out)
{
    ring *r = (ring *)trail;
    size_t count = 0;
    for (int i = 0; i < SLOTS; i++) {
        uint64_t fields[FIELDS], number = get(&r->slots[i], fields) / 2;
        size_t at = count;
        if (!number)
            continue;
        for (; at && out[at - 1].number > number; at--)
            out[at] = out[at - 1];
        out[at] = (lots_transition){
            .number = number, .when = (int64_t)fields[WHEN], .before = fields[BEFORE], .after = fields[AFTER],
            .who = fields[WHO], .whom = fields[WHOM], .who_loop = (uint32_t)fields[LOOPS], .whom_loop = fields[LOOPS] >> 32,
            .what = fields[REST] & 0xFF, .mode = fields[REST] >> 8 & 0xFF, .whom_mode = fields[REST] >> 16 & 0xFF,
            .count = fields[REST] >> 32};
        count++;
    }
    return count;
}
