/* Notifications: lots_notify and lots_requeue at three keys, the condition's and two where LOTS_PARK waits; and what must be
 * true of them.
 *
 * Who is queued while a call that notifies all runs, from its start to its end, was missed by it; so was somebody if a call
 * that notifies one finds nobody. Tasks whose loop may have been unable to run are excused. And the books must balance: so
 * many were told as the calls say. Programs need not: when all others sleep, a notifier of last resort lets them go, if they
 * are queued; who sleeps and is not has lost its wake. */
#include "programs.h"
#include "verbs.h"

#include <string.h>

#define CONDITION 0
#define FROM 1
#define TO 2
#define KEYS 3

static lots_word places[64]; /* their addresses are the keys */
static uintptr_t keys[KEYS];
static int told[KEYS], heard, parks_told, parks_dropped;
static int64_t seen_woken_at; /* by the keeper */

void notices_reset(void)
{
    unsigned next = 0;
    told[CONDITION] = told[FROM] = told[TO] = heard = parks_told = parks_dropped = 0;
    seen_woken_at = 0;
    /* With more than one bucket: the condition in another than the lock, the park key in another than the first, the other there. */
    for (int i = 0; i < KEYS; i++) {
        lots_bucket *avoid = i == CONDITION ? lot_bucket_of((uintptr_t)&the.word) : NULL;
        do
            keys[i] = (uintptr_t)&places[next++];
        while (LOT_BUCKETS > 1 && (lot_bucket_of(keys[i]) == avoid ||
                                   (i == FROM && lot_bucket_of(keys[i]) == lot_bucket_of(0)) ||
                                   (i == TO && lot_bucket_of(keys[i]) != lot_bucket_of(0))));
    }
}

uintptr_t condition_key(void) { return keys[CONDITION]; }

/* Without a step: nobody runs meanwhile. */
static int is_queued_at(const lots_op *op, uintptr_t key)
{
    const lots_waiter *w = (const lots_waiter *)op;
    return w->state.value_ == LOTS_QUEUED && w->phase == PHASE_NOTIFY && w->key.value_ == key;
}

static int has_kind(const char *kinds)
{
    for (int i = 0; i < the.actor_count; i++)
        if (strchr(kinds, the.actors[i].kind))
            return 1;
    return 0;
}

static int is_excused(const lots_op *op)
{
    const lots_waiter *w = (const lots_waiter *)op;
    if (!w->mailbox)
        return 0;
    for (int i = 0; i < the.actor_count; i++)
        for (int j = 0; the.actors[i].mailbox == w->mailbox && j < the.actors[i].count; j++)
            if (the.actors[i].steps[j].sync)
                return 1;
    return has_kind("XDK");
}

/* --- who notifies -------------------------------------------------------------------------------------------------------- */

static size_t notify_at(int which, size_t most, lots_mailbox *own)
{
    static char queued[MC_FIBERS][sizeof the.ops / sizeof *the.ops];
    char *before = queued[mc_self()];
    int mail = 0, count = the.op_count;
    size_t n;
    for (int i = 0; i < count; i++)
        before[i] = (char)is_queued_at(&the.ops[i], keys[which]);
    n = lots_notify(keys[which], most, 0, 7, own, &mail);
    if (n > most)
        mc_fail("%zu were to be notified, and %zu were", most, n);
    for (int i = 0; n < most && i < count; i++)
        if (before[i] && is_queued_at(&the.ops[i], keys[which]) && !is_excused(&the.ops[i]))
            mc_fail("lost notification: %zu of %zu notified, and op %d is queued still", n, most, i);
    if (mail)
        drain(own, 0);
    told[which] += (int)n;
    return n;
}

static void requeue(lots_mailbox *own)
{
    int mail = 0;
    size_t moved;
    told[FROM] += (int)lots_requeue(keys[FROM], keys[TO], 1, SIZE_MAX, 7, own, &mail, &moved);
    if (moved)
        mc_did(V_REQUEUE);
    if (mail)
        drain(own, 0);
}

void notice(char how, lots_mailbox *own)
{
    switch (how) {
    case '1':
        notify_at(CONDITION, 1, own);
        mc_did(V_NOTIFY_ONE);
        break;
    case '*':
        notify_at(CONDITION, SIZE_MAX, own);
        mc_did(V_NOTIFY_ALL);
        break;
    case 'J':
        requeue(own);
        break;
    default:
        notify_at(how == 'Z' ? TO : FROM, how == 'I' ? SIZE_MAX : 1, own);
        mc_did(how == 'I' ? V_UNPARK_ALL : V_UNPARK_ONE);
    }
}

/* --- who waits ----------------------------------------------------------------------------------------------------------- */

void wait_ended(lots_op *op) { heard += lots_op_notified(op); }

lots_op *park_op(lots_mailbox *mailbox, uint64_t cookie)
{
    lots_op *op = &the.ops[the.op_count++];
    lots_op_init(op, NULL, LOTS_PARK, mailbox, cookie, (uint64_t)mc_self());
    lots_op_expect(op, keys[FROM]);
    the.ops_open++;
    return op;
}

void park_ended(lots_op *op, int answer)
{
    parks_dropped += answer == LOTS_CLOSED && lots_op_notified(op); /* there need not be another to have what it was told of */
    if (answer != LOTS_READY)
        return;
    if (!lots_op_notified(op) || lots_op_token(op) != 7)
        mc_fail("a park ended that nobody unparked, or without its token");
    parks_told++;
    must_answer(lots_op_release(op, 0, NULL), LOTS_READY, "release");
    mc_did(V_PARK);
}

/* Returns whether there is mail. */
int park_leave(lots_op *op, int keeps, lots_mailbox *own)
{
    static char queued[MC_FIBERS][sizeof the.ops / sizeof *the.ops];
    char *before = queued[mc_self()];
    int answer, mail, another = 0, count = the.op_count;
    uintptr_t key = (uintptr_t)op_waiter(op)->key.value_;
    for (int i = 0; i < count; i++)
        before[i] = (char)is_queued_at(&the.ops[i], key);
    answer = lots_op_cancel(op, keeps ? LOTS_BY_TIMEOUT : LOTS_BY_CANCEL, own);
    mail = answer & LOTS_MAIL;
    answer &= ~LOTS_MAIL;
    if (answer == LOTS_READY && keeps) {
        park_ended(op, LOTS_READY);
        return mail != 0;
    }
    must_answer(answer, LOTS_WITHDRAWN, "cancel");
    for (int i = 0; i < count; i++)
        another |= before[i] && &the.ops[i] != op && is_queued_at(&the.ops[i], key) && !is_excused(&the.ops[i]);
    if (another && lots_op_notified(op))
        mc_fail("what it was told of was dropped, and another was queued");
    parks_dropped += lots_op_notified(op);
    mc_did(V_CANCEL);
    return mail != 0;
}

void park_as_thread(const step *s)
{
    lots_op *op = park_op(NULL, 0);
    int answer;
    if (s->timed)
        mc_did(V_PARK_FOR);
    answer = lots_op_wait(op, s->timed ? 0 : s->cancelled ? 1 : LOTS_NEVER);
    if (answer == LOTS_INTERRUPTED)
        park_leave(op, 0, NULL);
    else if (answer == LOTS_READY)
        park_ended(op, LOTS_READY);
    else
        must_answer(answer, s->timed ? LOTS_TIMED_OUT : LOTS_READY, "wait");
    end_op(op);
}

/* --- when the others sleep --------------------------------------------------------------------------------------------- */

static int can_run(const lots_waiter *w)
{
    const lots_mailbox *m = w->mailbox;
    return !m || !(m->blocked.value_ || m->unresponsive.value_ || m->closed.value_);
}

/* Somebody came to a key after it was looked at. */
static int is_any_queued(void)
{
    for (int i = 0; i < the.op_count; i++)
        for (int which = 0; which < KEYS; which++)
            if (is_queued_at(&the.ops[i], keys[which]) && can_run((const lots_waiter *)&the.ops[i]))
                return 1;
    return 0;
}

/* A bare notification is kept by its late task as long as nobody else can have it. */
static int is_revocable(const lots_waiter *w)
{
    if (w->phase != PHASE_NOTIFY)
        return 1;
    for (int i = 0; i < the.op_count; i++) {
        const lots_waiter *other = (const lots_waiter *)&the.ops[i];
        if (is_queued_at(&the.ops[i], (uintptr_t)w->key.value_) && !other->word && other->mailbox != w->mailbox && can_run(other))
            return 1;
    }
    return 0;
}

/* Whether there is anything to revoke, or (it is for the core to say what it does not revoke) anything new. */
int keeper_has_new(int looked)
{
    const uintptr_t all[] = {(uintptr_t)&the.word, (uintptr_t)&the.other, keys[CONDITION], keys[FROM], keys[TO]};
    int64_t newest = 0;
    for (int i = 0; i < 5; i++)
        for (const lots_waiter *w = lot_bucket_of(all[i])->woken; w; w = w->next) {
            newest = w->woken_at > newest ? w->woken_at : newest;
            if (!looked && is_revocable(w))
                return 1;
        }
    if (looked && newest)
        seen_woken_at = newest;
    return newest > seen_woken_at;
}

void notices_check(void)
{
    int parks = told[FROM] + told[TO];
    if (heard != told[CONDITION])
        mc_fail("%d were notified, and %d heard of it", told[CONDITION], heard);
    if (parks_told + parks_dropped != parks)
        mc_fail("%d were unparked, %d heard of it, and %d say that nobody else did", parks, parks_told, parks_dropped);
}

static int all_sleep(void *unused)
{
    (void)unused;
    return actors_ended() || mc_all_sleep_but(the.actor_count); /* it is the last fiber */
}

void run_notifier_of_last_resort(void *unused)
{
    (void)unused;
    for (;;) {
        size_t n = 0;
        mc_sleep_until(all_sleep, NULL, 0, "the notifier of last resort");
        if (actors_ended())
            return;
        for (int which = 0; which < KEYS && !n; which++)
            n = notify_at(which, 1, NULL);
        if (!n && !actors_ended() && mc_all_sleep_but(the.actor_count) && !is_any_queued())
            mc_fail("lost wakeup: somebody sleeps, and nobody is queued");
    }
}
