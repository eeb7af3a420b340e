/* Who is in, as the programs know it, and what that forbids. There are two locks: the second is only ever a mutex, to wait for
 * the same condition with it. */
#include "programs.h"
#include "verbs.h"

#include <string.h>

int ghost_shares(uint32_t mode) { return mode == LOTS_READ || mode == LOTS_READ_RECURSIVE; }
static int is_upgradable(uint32_t mode) { return mode == LOTS_UPGRADABLE; }
static int is_mutex(uint32_t mode) { return (mode & ~OTHER) == LOTS_MUTEX || mode == LOTS_FAIR_MUTEX; }

static int *ghost_of(uint32_t mode)
{
    return ghost_shares(mode) ? &the.readers : is_upgradable(mode) ? &the.upgradables : mode & OTHER ? &the.others : &the.writers;
}

static void look_at_datum(uint32_t mode)
{
    if (mode & OTHER)
        mc_wr(&the.other_datum);
    else
        (ghost_shares(mode) || is_upgradable(mode) ? mc_rd : mc_wr)(&the.datum);
}

void ghost_in(uint32_t mode)
{
    int others = the.upgradables + the.upgrading;
    if (mode & OTHER ? the.others
                     : the.writers || (is_upgradable(mode) && (others || the.stepping == 1 + LOTS_UPGRADABLE)) ||
                           (ghost_of(mode) == &the.writers && (the.readers || others || the.stepping)))
        mc_fail("exclusion: mode %u got in beside %d readers, %d writers, %d upgradables, %d upgrading, stepping %d, other %d",
                mode, the.readers, the.writers, the.upgradables, the.upgrading, the.stepping, the.others);
    ++*ghost_of(mode);
    look_at_datum(mode);
    mc_did(is_upgradable(mode) ? V_UPGRADABLE : mode == LOTS_UPGRADE ? V_UPGRADE : is_mutex(mode) ? V_LOCK : (mc_verb)(V_READ + mode));
}

void ghost_out(uint32_t mode)
{
    look_at_datum(mode);
    --*ghost_of(mode);
}

void ghost_asked_with_deadline(uint32_t mode)
{
    mc_did(is_upgradable(mode) ? V_TRY_UPGRADABLE_FOR : is_mutex(mode) ? V_TRY_LOCK_FOR : (mc_verb)(V_TRY_READ_FOR + mode));
}

/* --- strictly first come, first served ----------------------------------------------------------------------------------- */

/* A loop that cannot run loses its turn, and who runs signal handlers leaves the queue meanwhile; both come back to their place,
 * so of their programs the order alone says nothing. */
static int order_is_strict(void)
{
    for (int i = 0; i < the.actor_count; i++) {
        if (strchr("XDKA", the.actors[i].kind))
            return 0;
        for (int j = 0; j < the.actors[i].count; j++)
            if (the.actors[i].steps[j].sync || the.actors[i].steps[j].handler)
                return 0;
    }
    return 1;
}

/* At an unlock of its bucket. A mutex that is open could be had by who comes by just now. */
void ghost_nobody_is_passed(lots_word *word)
{
    lots_waiter *w = lot_queue(lot_bucket_of((uintptr_t)word), lot_key(word, PHASE_ENTER));
    if (w && w->mode == LOTS_FAIR_MUTEX && !(word->bits & WRITER) && order_is_strict())
        mc_fail("a fair mutex is open, %#llx, and somebody is queued", (unsigned long long)word->bits);
}

/* It has got the lock: nobody who came before it is queued still. (No ticket: it is on the way from the condition's queue.) */
void ghost_first_come(const lots_op *op)
{
    const lots_waiter *w = (const lots_waiter *)op;
    if (w->mode != LOTS_FAIR_MUTEX || !w->ticket || !order_is_strict())
        return;
    for (int i = 0; i < the.op_count; i++) {
        const lots_waiter *other = (const lots_waiter *)&the.ops[i];
        if (other->state.value_ == LOTS_QUEUED && other->phase == PHASE_ENTER && other->ticket && other->ticket < w->ticket)
            mc_fail("a fair mutex went to ticket %llu, and %llu is queued", (unsigned long long)w->ticket,
                    (unsigned long long)other->ticket);
    }
}
