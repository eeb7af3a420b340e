/* The one acquisition: poll, wait, cancel. A thread polls and sleeps in between, a task polls and awaits in between; every
 * lock and every mode comes through here, driven by the table in modes.c.
 *
 * An op's phase says what it owns while it is not held:
 *
 *   PHASE_ENTER   nothing; queued, if at all, at key `addr`
 *   PHASE_DRAIN   the WRITER bit; queued, if at all, at `addr + 1`, until the readers are gone
 *   PHASE_NOTIFY  nothing; it comes before the others for who waits for a notification: notify.c
 *
 * An upgrade (LOTS_UPGRADE) is an acquisition by somebody who holds UPGRADABLE and a share: it enters at once, by giving up
 * both for WRITER, and drains. Whatever takes WRITER away from it again, a cancel or a loop that cannot run, gives both back
 * in the same CAS. So its guard holds the one or the other at every moment, and no writer comes in between (R17).
 *
 *   state       who moves it on                                          to
 *   PENDING     its owner: try, poll                                     ACQUIRING
 *   ACQUIRING   its owner, inside a verb, or (wait) while its signal     HELD, QUEUED, GONE
 *               handlers run
 *   QUEUED      a waker, under the bucket lock                           NORMAL, HANDOFF
 *               its owner: poll (a task that was nudged or revoked)      ACQUIRING
 *               its owner, the end of its loop: cancel                   GONE
 *   NORMAL      its owner: poll                                          ACQUIRING
 *               the keeper (a task too late to look): revoke.c           QUEUED
 *               cancel: passes the wake on                               GONE
 *   HANDOFF     its owner: poll                                          ACQUIRING, then HELD (or QUEUED to drain)
 *               the keeper: takes the lock back, passes it on            QUEUED
 *               cancel: BY_TIMEOUT keeps it / BY_CANCEL gives it back    HELD / GONE
 *   HELD        whoever releases first                                   RELEASED
 *               whoever changes its mode (up or down)                    CHANGING, then HELD
 *
 * Why no wake is lost. To queue, an op takes the bucket lock, sees in a loop that the word still keeps it out, and sets
 * PARKED in that same loop by CAS. If the word opens before the CAS, the CAS fails and the op tries again instead of
 * queueing. If it opens after, the one who opens it sees PARKED, so it comes for the bucket lock, and finds the op queued.
 * The same with WRITER_PARKED and the last reader.
 *
 * Why cancel is safe at every step. Its first act is to take the bucket lock, under which every wake is written: so it
 * sees exactly one of QUEUED, NORMAL, HANDOFF, and nobody changes that until it is done.
 *  - QUEUED to enter: it owns nothing and kept nobody out. The last one out clears PARKED.
 *  - QUEUED to drain: it gives WRITER and WRITER_PARKED back by AND-NOT in the very CAS that admits the queue, so the
 *    readers who queued behind it enter while the first readers still hold (R03). This is where parking_lot's
 *    try_write_for added a difference outside the lock (W1, R01).
 *  - HANDOFF: it owns what the wake brought. A timeout keeps a whole lock, but not half a one: a writer that was handed
 *    WRITER while readers are in gives it back. A cancellation gives back either.
 *  - NORMAL: the wake was for somebody: it admits again. If the word is not open, its owner will.
 * The word's owner never waits for a canceller: nothing above blocks. */
#include "acquire.h"

#include "admit.h"
#include "clock.h"
#include "contention.h"
#include "fast_path.h"
#include "mailbox.h"
#include "notify.h"
#include "revoke.h"
#include "threads.h"
#include "trail.h"

#include <string.h>

/* The first phase: in beside readers, or nothing. Returns the word then, which is not 0. */
static uint64_t enter(lots_waiter *w)
{
    uint64_t seen = word_load(w->word), new;
    while (word_may_enter(seen, waiter_mode(w)))
        /* ACQUIRE pairs with the RELEASE of whoever released the lock. */
        if (a64_cas(word_atomic(w->word), &seen, new = word_entered(seen, waiter_mode(w)), ACQUIRE))
            return trail_step(w, LOTS_STEP_ENTERED, seen, new), new;
    return 0;
}

/* What an op still waits for in its phase. */
static int must_wait(const lots_waiter *w, uint64_t word)
{
    return w->phase == PHASE_DRAIN ? word_has_readers(word) : !word_may_enter(word, waiter_mode(w));
}

/* Queue, unless there is nothing to wait for any more: LOTS_PARKED, LOTS_READY to try again, LOTS_CLOSED. */
static int park(lots_waiter *w)
{
    uint64_t bit = w->phase == PHASE_DRAIN ? WRITER_PARKED : PARKED;
    uintptr_t key = lot_key(w->word, w->phase);
    lots_bucket *b;
    uint64_t seen;
    int answer = LOTS_READY, more = 0, again = w->ticket != 0;
    int64_t since = w->since ? w->since : clock_now();
    lots_batch batch = {0};
    if (!w->mailbox)
        parker_prepare(w);
    b = lot_lock(key);
    seen = word_load(w->word);
    if (w->mailbox && a32_load(&w->mailbox->closed, RELAXED)) { /* set before the walk of lots_mailbox_close */
        answer = LOTS_CLOSED;
    } else {
        while (must_wait(w, seen)) {
            /* RELAXED: the bit publishes nothing; whoever acts on it takes the bucket lock first. */
            if ((seen & bit) || a64_cas(word_atomic(w->word), &seen, seen | bit, RELAXED)) {
                w->skipped = 0;
                w->since = since;
                lot_enqueue(b, w, key);
                trail_step(w, w->phase == PHASE_DRAIN ? LOTS_STEP_DRAINS : LOTS_STEP_QUEUED, seen, seen | bit);
                /* A writer that was woken, and an upgradable reader came by: readers who queue behind the writer were not
                 * woken with it, and may be in beside that one, who may hold for long. */
                if (again && w->phase == PHASE_ENTER && !(seen & WRITER))
                    more = admit(b, w->word, 0, 0, 0, &batch);
                answer = LOTS_PARKED;
                break;
            }
        }
    }
    lot_unlock(b);
    batch_wake(&batch);
    if (more)
        admit_rest(w->word, &batch);
    return answer;
}

/* The last one out of a queue clears its flag. RELAXED as in park. */
static void clear(lots_waiter *w, uint64_t flag, uint32_t what)
{
    uint64_t seen = a64_fetch_and(word_atomic(w->word), ~flag, RELAXED);
    trail_step(w, what, seen, seen & ~flag);
}

/* Take up what came of a wait: unlink a waiter that is still queued (it was nudged, or its wake revoked), take a woken one
 * off the list that the keeper watches. Returns the state that it had, but LOTS_QUEUED only if it is queued still: who asks
 * for its phase afterwards, with no lock held, may hear that it has been notified meanwhile. */
static uint32_t take_up(lots_waiter *w)
{
    lots_bucket *b;
    uint32_t state = state_of(w);
    int revoked;
    if (!w->mailbox) { /* a thread, once woken, is in no list; while queued it sleeps on */
        if (state != LOTS_QUEUED)
            set_state(w, LOTS_ACQUIRING);
        return state;
    }
    b = lot_lock_of(w);
    state = state_of(w);
    if (state == LOTS_QUEUED && w->phase == PHASE_NOTIFY) {
        revoked = w->revoked;
        w->revoked = 0;
        lot_unlock(b); /* it stays queued: a notification may come at any moment, and is for those who are there then */
        if (revoked)
            mailbox_revive(w->mailbox);
        return state;
    }
    if (state == LOTS_QUEUED) {
        if (lot_unlink(b, w))
            clear(w, w->phase == PHASE_DRAIN ? WRITER_PARKED : PARKED, LOTS_STEP_LOOKED);
        state = LOTS_ACQUIRING;
    } else if (state == LOTS_NORMAL || state == LOTS_HANDOFF) {
        lot_unlink_woken(b, w);
    }
    if (state != LOTS_GONE)
        set_state(w, LOTS_ACQUIRING);
    revoked = w->revoked;
    w->skipped = w->revoked = 0;
    lot_unlock(b);
    /* In no list of the lot now, so no more mail can come; what is there must not outlive the op, which may end here. */
    mailbox_forget(w);
    if (revoked)
        mailbox_revive(w->mailbox);
    return state;
}

/* The first verb of an op. ACQ_REL pairs with itself: of two callers, one gets it. */
static int begin(lots_waiter *w)
{
    uint32_t pending = LOTS_PENDING;
    if (waiter_mode(w)->gives_up && !word_is_held(word_load(w->word), &lots_modes[LOTS_UPGRADABLE]))
        return 0;
    return a32_cas(&w->state, &pending, LOTS_ACQUIRING, ACQ_REL);
}

int lots_op_poll(lots_op *op)
{
    lots_waiter *w = op_waiter(op);
    uint32_t state = state_of(w);
    uint64_t taken = 0; /* the word, as enter left it */
    int entered = 0;

    if (state == LOTS_PENDING) {
        if (!begin(w))
            return LOTS_MISUSE;
    } else if (state == LOTS_QUEUED || state == LOTS_NORMAL || state == LOTS_HANDOFF) {
        state = take_up(w);
        if (state == LOTS_QUEUED)
            return LOTS_PARKED;
        if (state == LOTS_GONE)
            return LOTS_CLOSED;
        entered = state == LOTS_HANDOFF;
        if (w->phase == PHASE_ENTER)
            w->handed = (uint8_t)entered;
        if ((entered && w->phase == PHASE_DRAIN) || (state == LOTS_NORMAL && w->phase == PHASE_NOTIFY)) {
            trail_look(w, LOTS_STEP_ACQUIRED);
            contention_acquired(w);
            set_state(w, LOTS_HELD);
            return LOTS_READY;
        }
    } else if (state != LOTS_ACQUIRING) {
        return state == LOTS_GONE && w->mailbox ? LOTS_CLOSED : LOTS_MISUSE;
    }
    for (;;) {
        int answer;
        if (w->phase == PHASE_ENTER && (entered || (taken = enter(w)))) {
            if (!waiter_mode(w)->drains)
                break;
            w->phase = PHASE_DRAIN;
        }
        entered = 0;
        /* ACQUIRE pairs with the RELEASE of each leaving reader. */
        if (w->phase == PHASE_DRAIN && !word_has_readers(a64_load(word_atomic(w->word), ACQUIRE)))
            break;
        answer = w->phase == PHASE_NOTIFY ? expect(w) : park(w);
        if (answer == LOTS_PARKED)
            return answer;
        if (answer == LOTS_CLOSED) {
            lots_op_cancel(op, LOTS_BY_CANCEL, NULL);
            return answer;
        }
    }
    if (!taken || (waiter_mode(w)->drains && word_has_readers(taken)))
        trail_look(w, LOTS_STEP_ACQUIRED);
    contention_acquired(w);
    set_state(w, LOTS_HELD);
    return LOTS_READY;
}

int withdraw(lots_bucket *b, lots_waiter *w, uint32_t why, int *kept, lots_batch *batch)
{
    uint32_t state = state_of(w), step = w->for_now ? LOTS_STEP_ASIDE : why == LOTS_BY_TIMEOUT ? LOTS_STEP_TIMED_OUT : LOTS_STEP_CANCELLED;
    int more = 0;
    *kept = 0;
    trail_cause(batch, w, step);
    if (state == LOTS_QUEUED) {
        int last = lot_unlink(b, w);
        if (BUG_465 && w->phase == PHASE_DRAIN)
            batch->cause = NULL; /* the flags are left for lots_op_cancel to subtract, outside the lock */
        else if (w->phase == PHASE_DRAIN)
            more = admit(b, w->word, WRITER | WRITER_PARKED, waiter_mode(w)->gives_up, 0, batch);
        else if (last && w->phase == PHASE_ENTER)
            batch->cause = NULL, clear(w, PARKED, step);
    } else if (state == LOTS_NORMAL) {
        if (w->mailbox)
            lot_unlink_woken(b, w);
        if (w->phase == PHASE_NOTIFY) { /* it has what it waited for: kept, or somebody else's */
            *kept = why == LOTS_BY_TIMEOUT;
            if (!*kept)
                w->dropped = !pass_on(b, w, batch);
        } else {
            more = admit(b, w->word, 0, 0, 0, batch);
        }
    } else if (state == LOTS_HANDOFF) {
        if (w->mailbox)
            lot_unlink_woken(b, w);
        if (w->phase == PHASE_ENTER)
            w->handed = 1;
        /* A writer that was handed WRITER owns the whole lock only if the readers are gone. ACQUIRE as in lots_op_poll. */
        *kept = why == LOTS_BY_TIMEOUT && !(waiter_mode(w)->drains && w->phase == PHASE_ENTER &&
                                            word_has_readers(a64_load(word_atomic(w->word), ACQUIRE)));
        if (!*kept)
            more = disown(b, w, batch);
    } else if (state == LOTS_ACQUIRING && w->phase == PHASE_DRAIN) {
        more = admit(b, w->word, WRITER, waiter_mode(w)->gives_up, 0, batch);
    }
    trail_caused(batch, *kept ? LOTS_STEP_ACQUIRED : step);
    *kept ? contention_acquired(w) : contention_given_up(w, why);
    set_state(w, *kept ? LOTS_HELD : LOTS_GONE);
    return more;
}

int lots_op_cancel(lots_op *op, uint32_t why, lots_mailbox *own)
{
    lots_waiter *w = op_waiter(op);
    lots_word *word = w->word;
    lots_batch batch = {.own = own};
    lots_bucket *b = lot_lock_of(w);
    uint32_t state = state_of(w);
    int more, kept, revoked = w->revoked;
    if (state == LOTS_HELD || state == LOTS_RELEASED || state == LOTS_GONE || state == LOTS_CHANGING) {
        lot_unlock(b);
        thread_is_past(w); /* GONE: its thread has forked amid its wait */
        return LOTS_MISUSE;
    }
    more = withdraw(b, w, why, &kept, &batch);
    lot_unlock(b);
    if (BUG_465 && state == LOTS_QUEUED && w->phase == PHASE_DRAIN) {
        uint64_t seen = a64_fetch_add(word_atomic(word), 0 - (WRITER | WRITER_PARKED), RELAXED); /* W1 broken, on purpose */
        trail_step(w, why == LOTS_BY_TIMEOUT ? LOTS_STEP_TIMED_OUT : LOTS_STEP_CANCELLED, seen, seen - (WRITER | WRITER_PARKED));
        more = 1;
    }
    if (w->mailbox && (state == LOTS_QUEUED || state == LOTS_NORMAL || state == LOTS_HANDOFF))
        mailbox_forget(w); /* never in a forked child, where the mailbox's lock may have been left held */
    batch_wake(&batch);
    if (!w->mailbox) {
        thread_is_past(w);
        parker_finish(w); /* after the wakes: it may wait for a moment for who woke us */
    }
    if (more)
        admit_rest(word, &batch);
    if (revoked) /* nobody will poll it, so this is the sign of life (revoke.c) */
        mailbox_revive(w->mailbox);
    return (kept ? LOTS_READY : LOTS_WITHDRAWN) | (batch.quiet ? LOTS_MAIL : 0);
}

void lots_op_init(lots_op *op, lots_word *word, uint32_t mode, lots_mailbox *mailbox, uint64_t cookie, uint64_t owner)
{
    lots_waiter *w = op_waiter(op);
    memset(op, 0, sizeof *op);
    w->word = word;
    w->mode = mode;
    a64_store(&w->key, lot_key(word, PHASE_ENTER), RELAXED); /* nobody else knows the op yet */
    lots_op_waits_as(op, mailbox, cookie, owner);
}

void lots_op_waits_as(lots_op *op, lots_mailbox *mailbox, uint64_t cookie, uint64_t owner)
{
    lots_waiter *w = op_waiter(op);
    w->mailbox = mailbox;
    w->cookie = cookie;
    w->owner = owner;
}

int lots_op_try(lots_op *op)
{
    lots_waiter *w = op_waiter(op);
    if (!begin(w))
        return LOTS_MISUSE;
    if (w->phase == PHASE_NOTIFY || !word_try(w->word, waiter_mode(w)))
        return LOTS_PARKED;
    set_state(w, LOTS_HELD);
    return LOTS_READY;
}

int lots_op_release(lots_op *op, int fair, lots_mailbox *own)
{
    lots_waiter *w = op_waiter(op);
    uint32_t held = LOTS_HELD;
    /* ACQ_REL: RELEASE for the reader of lots_op_state; ACQUIRE pairs with the set_state that said HELD. */
    if (!a32_cas(&w->state, &held, LOTS_RELEASED, ACQ_REL))
        return LOTS_MISUSE;
    if (w->mode == LOTS_PARK)
        return LOTS_READY; /* nothing is held by who was notified */
    return lots_release(w->word, w->mode, fair, own);
}

uint32_t lots_op_state(const lots_op *op) { return state_of(op_waiter((lots_op *)op)); }

int lots_op_change(lots_op *op)
{
    uint32_t held = LOTS_HELD;
    /* ACQ_REL as in lots_op_release, with which it competes. */
    return a32_cas(&op_waiter(op)->state, &held, LOTS_CHANGING, ACQ_REL) ? LOTS_READY : LOTS_MISUSE;
}

void lots_op_changed(lots_op *op, uint32_t mode)
{
    op_waiter(op)->mode = mode;
    set_state(op_waiter(op), LOTS_HELD);
}

void lots_op_lost(lots_op *op) { set_state(op_waiter(op), LOTS_RELEASED); }

int lots_op_downgrade(lots_op *op, uint32_t to, lots_mailbox *own)
{
    lots_waiter *w = op_waiter(op);
    int answer;
    if (lots_op_change(op) != LOTS_READY)
        return LOTS_MISUSE;
    answer = lots_downgrade(w->word, w->mode, to, own);
    lots_op_changed(op, (answer & ~LOTS_MAIL) == LOTS_READY ? to : w->mode);
    return answer;
}

uint32_t lots_op_mode(const lots_op *op) { return op_waiter((lots_op *)op)->mode; }

int lots_try(lots_word *word, uint32_t mode) { return word_try(word, &lots_modes[mode]); }

uint64_t lots_word_load(const lots_word *word) { return word_load((lots_word *)word); }

int lots_word_is_impossible(const lots_word *word) { return word_is_impossible(word_load((lots_word *)word)); }
