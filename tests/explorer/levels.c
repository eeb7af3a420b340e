/* The owner and the levels of a re-entrant mutex (csrc/levels.h), over a lock word that nobody waits for. The programs:
 *
 *   !levels-last    an owner enters again while another leaves its last level, and a third wants the mutex
 *   !levels-again   the same, and the owner comes a second time, when it may own another hold than the one it saw
 *   !levels-two     two leave a level each, of two, while the owner enters again and a third wants it
 *   !levels-ended   somebody leaves a level of a hold that is over, and was ended as in a forked child
 *
 * What was done under a level is seen by the next owner: each fiber writes what is its own, an owner that begins reads it all. */
#include "memory.h"

#include "fast_path.h"
#include "levels.h"

#include <string.h>

void mc_reset_seam(const void *word0, const void *word1, int stale);

#define OWNER 2
#define ANOTHER 4

static const char *name;
static lots_word word;
static lots_levels levels;
static uint64_t first_hold;
static char data[MC_FIBERS];
static uint64_t owner; /* the ghost: whose hold it is, by who is in */
static int inside;

static int is(const char *text) { return !strcmp(name, text); }

static void in(uint64_t who, int begins)
{
    if (inside && (owner != who || begins))
        mc_fail("exclusion: %u is in, and %u has it", (unsigned)who, (unsigned)owner);
    owner = who;
    inside++;
    for (int i = 0; i < MC_FIBERS && begins; i++)
        mc_rd(&data[i]);
    mc_wr(&data[mc_self()]);
}

static void out(uint64_t hold, uint64_t count)
{
    int last;
    mc_wr(&data[mc_self()]);
    inside -= (int)count;
    last = levels_leave(&levels, hold, count);
    if (last == LEVELS_WRONG)
        mc_fail("a level that was held was not there");
    while (last == LEVELS_LAST && !word_release_fast(&word, &lots_modes[LOTS_MUTEX])) /* a CAS may fail for nothing */
        if (word_load(&word) != WRITER)
            mc_fail("the last one found the word %#llx", (unsigned long long)word_load(&word));
}

/* Enter once, if that needs no wait, and leave. */
static void comes(uint64_t who)
{
    int begins = levels_deepen(&levels, who) != LEVELS_DEEPER;
    if (begins) {
        if (!word_try(&word, &lots_modes[LOTS_MUTEX]))
            return;
        levels_begin(&levels, who);
    }
    in(who, begins);
    if (!levels_owned_by(&levels, who))
        mc_fail("who is in does not own it");
    mc_point("holds", &word);
    out(levels_hold(&levels), 1);
}

static void owner_comes(void *unused)
{
    (void)unused;
    comes(OWNER);
    if (is("levels-again"))
        comes(OWNER);
}

static void another_comes(void *unused)
{
    (void)unused;
    comes(ANOTHER);
}

static void leaves(void *unused)
{
    (void)unused;
    out(first_hold, 1);
}

static void comes_late(void *unused)
{
    (void)unused;
    if (levels_leave(&levels, first_hold, 1) != LEVELS_WRONG)
        mc_fail("a level of a hold that is over was left");
}

static void setup(void)
{
    mc_reset_seam(NULL, NULL, mc_stale_budget());
    memset(&word, 0, sizeof word);
    memset(&levels, 0, sizeof levels);
    owner = OWNER;
    inside = is("levels-two") ? 2 : 1;
    word.bits = WRITER;
    levels.owner.value_ = OWNER;
    levels.levels.value_ = (uint64_t)1 << HOLD_SHIFT | (uint64_t)inside;
    first_hold = 1;
    if (is("levels-ended")) {
        inside = 0;
        word.bits = 0;
        levels_end(&levels);
        mc_spawn("late", comes_late, NULL);
    } else
        mc_spawn("leaves", leaves, NULL);
    mc_spawn("owner", owner_comes, NULL);
    mc_spawn("another", is("levels-two") ? leaves : another_comes, NULL);
    if (is("levels-two"))
        mc_spawn("third", another_comes, NULL);
}

static void check(void)
{
    if (word.bits || levels.owner.value_ || levels_depth_of(levels.levels.value_) || inside)
        mc_fail("everybody has left: word %#llx, owner %u, depth %u", (unsigned long long)word.bits, (unsigned)levels.owner.value_,
                (unsigned)levels_depth_of(levels.levels.value_));
}

mc_result levels_explore(const char *which, const mc_limits *limits, const char *replay)
{
    name = which;
    return replay ? mc_replay(setup, check, limits, replay) : mc_explore(setup, check, limits);
}
