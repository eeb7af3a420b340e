/* Wakes that must reach somebody who can run.
 *
 * A thread that is woken will run. A task may not: its loop may be stopped, dead, or stuck in a long callback, or its
 * loop's thread may itself be asleep in a sync acquire. Four answers, all made of the same three pieces (requeue the
 * waiter at its old place, take back what its wake had brought, admit others):
 *
 *   blocked       lots_mailbox_block: the loop's own thread is about to sleep. All its wakes that were not taken up are
 *                 revoked at once, and its writers that drain go back to those who queue (they keep readers out, and could
 *                 not use what they wait for); until unblock every wake passes its tasks over.
 *   unresponsive  a wake was not taken up in time (revoke_late, from the keeper's thread). It is revoked, and the loop's
 *                 other tasks are passed over too, until one of its tasks runs again and sees that it was revoked.
 *   closed        lots_mailbox_close: its waiters are withdrawn by the one cancel.
 *   revived       blocked or unresponsive no more: the waiters that were passed over meanwhile are nudged: they get mail,
 *                 and look again. They stay queued, so a real wake can reach them as well.
 *
 * Interleavings. A waker chooses under a bucket lock and reads the three flags there. Each flag is set, or cleared, before a
 * walk that takes every bucket lock in turn. For each bucket the waker's hold comes before the walk's or after it: before,
 * then the walk finds the woken (or passed over) waiter; after, then the waker saw the new value. So no task is woken for a
 * blocked loop without being recalled, none is passed over for a revived loop without being nudged. `unresponsive` alone is
 * set in one bucket, without a walk: under the lock of the revoked waiter, whose own poll or cancel (same lock) finds
 * `revoked`, and then clears the flag before the walk that nudges.
 *
 * A revoked waiter may have its mail still, drained or not: its task will poll once more than needed, and a poll is always
 * allowed (acquire.c, take_up). */
#include "revoke.h"

#include "acquire.h"
#include "admit.h"
#include "clock.h"
#include "contention.h"
#include "notify.h"
#include "trail.h"

static lots_a64 revoke_ns; /* 0: the default */
static lots_a64 revoked_total;

#define DEFAULT_REVOKE_NS 100000000

int64_t revoke_after_ns(void)
{
    int64_t ns = (int64_t)a64_load(&revoke_ns, RELAXED); /* a setting, nothing hangs on it */
    return ns ? ns : DEFAULT_REVOKE_NS;
}

int64_t lots_revoke_after(int64_t ns)
{
    int64_t old = revoke_after_ns();
    a64_store(&revoke_ns, (uint64_t)(ns < 1 ? 1 : ns), RELAXED);
    return old;
}

uint64_t lots_revocations(void) { return a64_load(&revoked_total, RELAXED); }

/* What a walk over the buckets looks for, and what it carries from one hold of a bucket lock to the next. */
typedef struct walk {
    lots_mailbox *mailbox;
    int64_t before;
    int any_woken;
    lots_word *rest; /* a batch was full: there are more to admit to this lock */
} walk;

/* Returns 1 if there was a rest to admit. */
static int admit_walk_rest(walk *k, lots_bucket *b, lots_batch *batch)
{
    if (!k->rest)
        return 0;
    if (!admit(b, k->rest, 0, 0, 0, batch))
        k->rest = NULL;
    return 1;
}

/* A notification is kept for its late task if nobody else can have it: nobody would bring it back. Another task of the same
 * loop could not use it either. */
static int revocable(lots_bucket *b, lots_waiter *w)
{
    return w->phase != PHASE_NOTIFY || next_in_line(b, w, w->mailbox) != NULL;
}

static void revoke(walk *k, lots_bucket *b, lots_waiter *w, lots_batch *batch)
{
    uint32_t token = a32_load(&w->state, RELAXED); /* under the bucket lock */
    int more;
    lot_unlink_woken(b, w);
    w->skipped = w->revoked = 1;
    a64_fetch_add(&revoked_total, 1, RELAXED); /* no lock word: a counter */
    if (w->phase == PHASE_NOTIFY) {
        expect_again(b, w);
        pass_on(b, w, batch);
        return;
    }
    contention_revoked(w);
    requeue_to_enter(b, w);
    trail_cause(batch, w, LOTS_STEP_REVOKED);
    more = token == LOTS_HANDOFF ? disown(b, w, batch) : admit(b, w->word, 0, 0, 0, batch);
    trail_caused(batch, LOTS_STEP_REVOKED);
    k->rest = more ? w->word : NULL;
}

static int visit_late(lots_bucket *b, void *context, lots_batch *batch)
{
    walk *k = context;
    lots_waiter *w = b->woken;
    if (admit_walk_rest(k, b, batch))
        return 1;
    k->any_woken |= w != NULL;
    while (w && w->woken_at <= k->before && !revocable(b, w)) /* oldest first */
        w = w->next;
    if (!w || w->woken_at > k->before)
        return 0;
    a32_store(&w->mailbox->unresponsive, 1, RELAXED); /* see mailbox_cannot_run */
    revoke(k, b, w, batch);
    /* Rung for anew: if the loop lives, its mail may have got lost between the core and the task (an exception out of a
     * signal handler, just as the mail was being delivered). */
    lot_nudge(w, batch);
    return 1;
}

int revoke_late(int64_t before, int exactly)
{
    walk k = {.before = before};
    lots_batch batch = {0};
    lot_each_bucket(visit_late, &k, &batch, !exactly);
    return k.any_woken;
}

static int visit_recall(lots_bucket *b, void *context, lots_batch *batch)
{
    walk *k = context;
    lots_waiter *w = b->woken;
    if (admit_walk_rest(k, b, batch))
        return 1;
    while (w && (w->mailbox != k->mailbox || !revocable(b, w)))
        w = w->next;
    if (w) {
        revoke(k, b, w, batch);
        return 1;
    }
    /* A writer of this loop that waits for readers to leave keeps new ones out, and could not use what it waits for. */
    w = lot_next_queued(b, NULL);
    while (w && (w->mailbox != k->mailbox || w->phase != PHASE_DRAIN))
        w = lot_next_queued(b, w);
    if (!w)
        return 0;
    lot_unlink(b, w);
    requeue_to_enter(b, w);
    w->skipped = 1;
    trail_cause(batch, w, LOTS_STEP_REVOKED);
    k->rest = admit(b, w->word, WRITER | WRITER_PARKED, waiter_mode(w)->gives_up, 0, batch) ? w->word : NULL;
    return 1;
}

void lots_mailbox_block(lots_mailbox *mailbox)
{
    walk k = {.mailbox = mailbox};
    lots_batch batch = {0};
    /* No lock word: a depth. RELAXED: see mailbox_cannot_run. */
    a32_fetch_add(&mailbox->blocked, 1, RELAXED);
    lot_each_bucket(visit_recall, &k, &batch, 0);
}

static int visit_nudge(lots_bucket *b, void *context, lots_batch *batch)
{
    walk *k = context;
    for (lots_waiter *w = lot_next_queued(b, NULL); w; w = lot_next_queued(b, w)) {
        if (w->mailbox == k->mailbox && w->skipped) {
            w->skipped = 0;
            lot_nudge(w, batch);
        }
    }
    return 0;
}

static void nudge_passed_over(lots_mailbox *mailbox)
{
    walk k = {.mailbox = mailbox};
    lots_batch batch = {0};
    lot_each_bucket(visit_nudge, &k, &batch, 0);
}

void lots_mailbox_unblock(lots_mailbox *mailbox)
{
    /* No lock word: a depth. RELAXED: see mailbox_cannot_run. */
    if (a32_fetch_add(&mailbox->blocked, (uint32_t)-1, RELAXED) == 1)
        nudge_passed_over(mailbox);
}

void mailbox_revive(lots_mailbox *mailbox)
{
    a32_store(&mailbox->unresponsive, 0, RELAXED); /* see mailbox_cannot_run */
    nudge_passed_over(mailbox);
}

static int visit_close(lots_bucket *b, void *context, lots_batch *batch)
{
    walk *k = context;
    lots_waiter *w = b->woken;
    lots_word *word;
    int kept;
    if (admit_walk_rest(k, b, batch))
        return 1;
    while (w && w->mailbox != k->mailbox)
        w = w->next;
    if (!w) {
        w = lot_next_queued(b, NULL);
        while (w && w->mailbox != k->mailbox)
            w = lot_next_queued(b, w);
    }
    if (!w)
        return 0;
    word = w->word;
    mailbox_forget(w);
    k->rest = withdraw(b, w, LOTS_BY_CANCEL, &kept, batch) ? word : NULL; /* its owner may free it from here on */
    return 1;
}

void lots_mailbox_close(lots_mailbox *mailbox)
{
    walk k = {.mailbox = mailbox};
    lots_batch batch = {0};
    a32_store(&mailbox->closed, 1, RELAXED); /* see mailbox_cannot_run */
    lot_each_bucket(visit_close, &k, &batch, 0);
}
