/* Guards that somebody else releases: the guard is the capability, so any thread may, and of two who do one must fail. */
#include "programs.h"
#include "verbs.h"

#include <string.h>

typedef struct gift {
    lots_op *op;
    int fair, users, released; /* users: who is not through with the guard; released: how many said that it was them */
} gift;

static gift gifts[MC_FIBERS * MAX_STEPS];
static int gift_count, gifts_taken;

/* Both who release it come here; the last one out ends the op. A reference count, as the front's objects have one. */
static void release_gift(gift *g, lots_mailbox *own)
{
    int answer = release_guard(g->op, g->fair, own);
    if (answer != LOTS_MISUSE)
        must_answer(answer, LOTS_READY, "release");
    g->released += answer == LOTS_READY;
    memory_release(g);
    if (--g->users)
        return;
    memory_acquire(g);
    if (g->released != 1)
        mc_fail("a guard was released %d times", g->released);
    end_op(g->op);
}

/* The guard goes to 'G'; `twice`: its owner releases it at the same time. */
void give_away(lots_op *op, const step *s, lots_mailbox *own)
{
    gift *g = &gifts[gift_count];
    *g = (gift){.op = op, .fair = s->fair, .users = 1 + s->twice};
    ghost_out(s->modes[0]);
    memory_release(g);
    gift_count++;
    mc_point("gives its guard away", op);
    if (s->twice)
        release_gift(g, own);
}

/* Or nobody is left who could give one. */
static int has_gift(void *unused)
{
    (void)unused;
    for (int i = 0; gifts_taken == gift_count && i < the.actor_count; i++)
        if (!strchr("KAG", the.actors[i].kind) && !the.actors[i].ended)
            return 0;
    return 1;
}

void run_receiver(void *unused)
{
    (void)unused;
    for (;;) {
        mc_sleep_until(has_gift, NULL, 0, "who is given guards");
        if (gifts_taken == gift_count)
            return;
        gift *g = &gifts[gifts_taken++];
        memory_acquire(g);
        mc_did(V_GIVEN);
        release_gift(g, NULL);
    }
}

void gifts_reset(void) { gift_count = gifts_taken = 0; }
