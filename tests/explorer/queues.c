/* Bare queues: two keys of the lot with the composed verbs of csrc/unpark.c, as a semaphore would use them.
 *
 * The permits are a plain number, which the first key's bucket lock protects. Who parks takes one, or queues there; 'U' that
 * finds nobody leaves one. So at every bucket unlock nobody is queued where a permit is, and at the end every permit that was
 * given has been taken or is there. Programs need not balance: when all others sleep, a
 * janitor lets them go, if they are queued; who sleeps and is not has lost its wake. */
#include "programs.h"
#include "verbs.h"

#include <string.h>

#define FROM 0
#define TO 1

static lots_word words[64]; /* their addresses are the keys */
static lots_word *word_of[2];
static int permits, given, taken;

static uintptr_t key(int which) { return lot_key(word_of[which], PHASE_ENTER); }

void queues_reset(void)
{
    memset(words, 0, sizeof words);
    permits = given = taken = 0;
    word_of[FROM] = word_of[TO] = words;
    do /* the next word, or with more than one bucket the next that is in another */
        word_of[TO]++;
    while (LOT_BUCKETS > 1 && lot_bucket_of(key(TO)) == lot_bucket_of(key(FROM)));
}

void queues_are_consistent(lots_bucket *b)
{
    for (int i = 0; i < 2; i++) {
        lots_waiter *head = b == lot_bucket_of(key(i)) ? lot_queue(b, key(i)) : NULL;
        check_queue(head);
        if (head && i == FROM && permits)
            mc_fail("somebody is queued, and there are %d permits", permits);
    }
}

void queues_check(void)
{
    if (given != taken + permits)
        mc_fail("%d permits were given, %d taken, %d are left", given, taken, permits);
}

/* --- who waits ----------------------------------------------------------------------------------------------------- */

lots_op *queue_op(lots_mailbox *mailbox, uint64_t cookie)
{
    lots_op *op = &the.ops[the.op_count++];
    lots_op_init(op, word_of[FROM], LOTS_MUTEX, mailbox, cookie, (uint64_t)mc_self());
    the.ops_open++;
    return op;
}

/* The op is over: what end_op expects of one. */
static void gone(lots_waiter *w) { a32_store(&w->state, LOTS_GONE, RELEASE); }

int queue_poll(lots_op *op)
{
    lots_waiter *w = op_waiter(op);
    lots_bucket *b = lot_lock_of(w);
    uint32_t state = a32_load(&w->state, ACQUIRE);
    int answer = LOTS_PARKED;
    if (state == LOTS_PENDING) {
        mc_wr(&permits);
        if (permits) {
            permits--;
            answer = LOTS_READY;
        } else {
            parker_prepare(w);
            lot_enqueue(b, w, key(FROM));
        }
    } else if (state == LOTS_NORMAL) {
        lot_unlink_woken(b, w);
        answer = LOTS_READY;
    }
    taken += answer == LOTS_READY;
    lot_unlock(b);
    if (answer == LOTS_READY) {
        mailbox_forget(w);
        gone(w);
        mc_did(V_PARK);
    }
    return answer;
}

int queue_leave(lots_op *op, int keeps, lots_mailbox *own)
{
    lots_waiter *w = op_waiter(op);
    lots_bucket *b = lot_lock_of(w);
    uint32_t state = a32_load(&w->state, ACQUIRE);
    if (state == LOTS_QUEUED)
        lot_unlink(b, w);
    else if (state == LOTS_NORMAL && w->mailbox)
        lot_unlink_woken(b, w);
    taken += state == LOTS_NORMAL;
    lot_unlock(b);
    if (w->mailbox)
        mailbox_forget(w);
    gone(w);
    if (state == LOTS_NORMAL && keeps)
        return LOTS_READY;
    if (state == LOTS_NORMAL && queue_wake('U', own)) /* its permit goes on to the next */
        drain(own, 0);
    mc_did(V_CANCEL);
    return LOTS_WITHDRAWN;
}

void queue_park_as_thread(const step *s)
{
    lots_op *op = queue_op(NULL, 0);
    lots_waiter *w = op_waiter(op);
    lots_bucket *b = lot_lock(key(FROM));
    int waits;
    if (s->timed)
        mc_did(V_PARK_FOR);
    mc_wr(&permits);
    waits = !permits;
    if (waits) {
        parker_prepare(w);
        lot_enqueue(b, w, key(FROM));
    } else {
        permits--;
        taken++;
    }
    lot_unlock(b);
    if (!waits) {
        gone(w);
    } else if (parker_sleep(w, s->timed ? 0 : s->cancelled ? 1 : LOTS_NEVER) == PARKER_WOKEN) {
        taken++;
        gone(w);
    } else if (queue_leave(op, s->timed, NULL) == LOTS_WITHDRAWN) {
        waits = -1;
    }
    if (waits >= 0)
        mc_did(V_PARK);
    end_op(op);
}

/* --- who wakes ----------------------------------------------------------------------------------------------------- */

typedef struct waking {
    int leaves, seen; /* leaves: a permit, if nobody is there */
} waking;

static uint32_t on_wake(void *context, const lot_result *result)
{
    const waking *k = context;
    given += (int)result->woken;
    if (k->leaves) {
        mc_wr(&permits);
        permits += !result->woken;
        given += !result->woken;
    }
    return LOTS_NORMAL;
}

static int every_other(void *context, const lots_waiter *w)
{
    (void)w;
    return ((waking *)context)->seen++ % 2 ? LOT_TAKE : LOT_SKIP;
}

int queue_wake(char how, lots_mailbox *own)
{
    lots_batch batch = {.own = own};
    waking k = {.leaves = how == 'U'};
    lot_result r = {0};
    switch (how) {
    case 'N':
        do
            r = lot_unpark_filter(key(FROM), SIZE_MAX, NULL, on_wake, &k, &batch);
        while (r.more);
        mc_did(V_UNPARK_ALL);
        break;
    case 'O':
        lot_unpark_filter(key(FROM), SIZE_MAX, every_other, on_wake, &k, &batch);
        mc_did(V_UNPARK_SOME);
        break;
    case 'Q':
        r = lot_unpark_requeue(key(FROM), key(TO), 1, on_wake, &k, &batch);
        if (r.requeued)
            mc_did(V_REQUEUE);
        break;
    default:
        lot_unpark_one(key(how == 'V' ? TO : FROM), on_wake, &k, &batch);
        mc_did(V_UNPARK_ONE);
    }
    return batch.quiet != 0;
}

static int all_sleep(void *unused)
{
    (void)unused;
    return actors_ended() || mc_all_sleep_but(the.actor_count); /* it is the last fiber */
}

void run_janitor(void *unused)
{
    (void)unused;
    for (;;) {
        size_t woken = 0;
        mc_sleep_until(all_sleep, NULL, 0, "the janitor");
        if (actors_ended())
            return;
        for (int which = FROM; which <= TO; which++) {
            lots_batch batch = {0};
            waking k = {0};
            woken += lot_unpark_filter(key(which), 1, NULL, on_wake, &k, &batch).woken;
        }
        if (!woken && !actors_ended() && mc_all_sleep_but(the.actor_count))
            mc_fail("lost wakeup: somebody sleeps, and nobody is queued");
    }
}
