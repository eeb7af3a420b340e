/* The trail of a lock (csrc/trail.c), which has two slots here. Steps whose fields all say the same are noted at once:
 *
 *   !trail        two fibers note a step each, while a third reads
 *   !trail-laps   the same with a ring that is full, and two steps each: a slot is wanted by two, one of them late
 *
 * Whatever is read is one step, all of it, and in its slot; no slot goes back to an earlier one; and of two, both are kept. */
#include "memory.h"

#include "trail.h"

#include <string.h>

void mc_reset_seam(const void *word0, const void *word1, int stale);

static const char *name;
static lots_trail trail;
static lots_contention record;
static lots_waiter waiters[MC_FIBERS];
static int laps;
static uint64_t seen[2]; /* the last step that was read, slot by slot */

/* Any word that is possible, and another for each step. */
static uint64_t word_of(uint64_t step) { return step << 4; }

static void notes(void *fiber)
{
    lots_waiter *w = fiber;
    for (int i = 0; i <= laps; i++) {
        w->cookie++;
        trail_step(w, (uint32_t)w->cookie, word_of(w->cookie), ~w->cookie);
    }
}

static size_t read_all(lots_transition *out)
{
    size_t count = lots_trail_read(&trail, out);
    for (size_t i = 0; i < count; i++) {
        const lots_transition *t = &out[i];
        if (i && t->number <= out[i - 1].number)
            mc_fail("step %u after %u", (unsigned)t->number, (unsigned)out[i - 1].number);
        if (t->before != word_of(t->who) || t->after != ~t->who || t->what != t->who)
            mc_fail("torn: before %#llx, after %#llx, who %#llx, what %u", (unsigned long long)t->before,
                    (unsigned long long)t->after, (unsigned long long)t->who, (unsigned)t->what);
    }
    return count;
}

static void reads(void *unused)
{
    lots_transition out[LOTS_TRAIL];
    size_t count = read_all(out);
    (void)unused;
    for (size_t i = 0; i < count; i++)
        seen[out[i].number % 2] = out[i].number;
}

static void setup(void)
{
    mc_reset_seam(NULL, NULL, mc_stale_budget());
    laps = !strcmp(name, "trail-laps");
    memset(&trail, 0, sizeof trail);
    memset(seen, 0, sizeof seen);
    memset(waiters, 0, sizeof waiters);
    record.trail = &trail;
    for (int i = 0; i < 3; i++) {
        waiters[i].record = &record;
        waiters[i].cookie = 16 * (uint64_t)i;
    }
    if (laps)
        notes(&waiters[2]);
    mc_spawn("one", notes, &waiters[0]);
    mc_spawn("another", notes, &waiters[1]);
    mc_spawn("reads", reads, NULL);
}

static void check(void)
{
    lots_transition out[LOTS_TRAIL];
    for (int i = 0; i < 2; i++) {
        uint64_t number = trail.opaque[1 + 8 * (size_t)(1 - i)] / 2; /* of the step that is there: sequence / 2 */
        if (number < seen[i])
            mc_fail("a slot went back from step %u to %u", (unsigned)seen[i], (unsigned)number);
    }
    if (read_all(out) < 2 && !laps) /* with laps, one may have been overtaken and its step lost */
        mc_fail("two steps were noted, and not kept");
}

mc_result trail_explore(const char *which, const mc_limits *limits, const char *replay)
{
    name = which;
    return replay ? mc_replay(setup, check, limits, replay) : mc_explore(setup, check, limits);
}
