/* Litmus tests of the explorer's own memory: what C11 allows must be seen, what it forbids must not. A program that begins
 * with '!' names one; "violation" means that the weak outcome was seen. With --stale 2 those of the first column show it, and
 * those of the second do not:
 *
 *   !sb        store buffering, release and acquire       !sb-sc      the same, seq_cst: the doorbell of a mailbox
 *   !mp        message passing, relaxed                   !mp-ra      release and acquire
 *   !rs        a release sequence cut by a plain store    !rs-rmw     carried on by a read-modify-write
 *   !race      plain data beside a relaxed flag           !corr       two loads of one location never go backwards
 *   !iriw      two readers see two writers in two orders  !corr-hb    nor if one only happened before the other */
#include "memory.h"

#include <string.h>

static const char *name;
static struct { uint64_t x, y, flag; char data; } at;
static int done;
static uint64_t saw[MC_FIBERS][2];

static int is(const char *text) { return !strcmp(name, text); }
static int is_a(const char *kind) { return !strncmp(name, kind, strlen(kind)); }

static mc_order ordered(mc_order if_ordered)
{
    return strstr(name, "-sc") ? MC_SEQ_CST : strstr(name, "-ra") || is("sb") || is("iriw") ? if_ordered : MC_RELAXED;
}
static mc_order loads(void) { return ordered(MC_ACQUIRE); }
static mc_order stores(void) { return ordered(MC_RELEASE); }

static void first(void *unused)
{
    (void)unused;
    if (is_a("sb")) {
        mc_store64(&at.x, 1, stores());
        saw[0][0] = mc_load64(&at.y, loads());
    } else if (is("iriw")) {
        mc_store64(&at.x, 1, stores());
    } else if (is_a("corr")) {
        mc_store64(&at.x, 1, MC_RELAXED);
        mc_store64(&at.x, 2, MC_RELAXED);
    } else {
        mc_wr(&at.data);
        mc_store64(&at.x, 1, MC_RELAXED);
        mc_store64(&at.flag, 1, is_a("rs") ? MC_RELEASE : stores());
    }
    done++;
}

static void second(void *unused)
{
    (void)unused;
    if (is_a("sb")) {
        mc_store64(&at.y, 1, stores());
        saw[1][0] = mc_load64(&at.x, loads());
    } else if (is("iriw")) {
        mc_store64(&at.y, 1, stores());
    } else if (is_a("corr")) {
        saw[1][0] = mc_load64(&at.x, MC_RELAXED);
        if (is("corr-hb"))
            mc_store64(&at.flag, 1, MC_RELEASE);
        else
            saw[1][1] = mc_load64(&at.x, MC_RELAXED);
        if (is("corr") && saw[1][1] < saw[1][0])
            mc_fail("went backwards");
    } else if (is_a("rs")) {
        if (is("rs"))
            mc_store64(&at.flag, 2, MC_RELAXED);
        else
            mc_add64(&at.flag, 1, MC_RELAXED);
    } else if (mc_load64(&at.flag, loads())) {
        if (is("race"))
            mc_rd(&at.data);
        else if (!mc_load64(&at.x, MC_RELAXED))
            mc_fail("the flag without the data");
    }
}

static void third(void *unused)
{
    (void)unused;
    if (is_a("rs") && mc_load64(&at.flag, MC_ACQUIRE) == 2 && done && !mc_load64(&at.x, MC_RELAXED))
        mc_fail("the flag without the data");
    if (is("corr-hb") && mc_load64(&at.flag, MC_ACQUIRE) && mc_load64(&at.x, MC_RELAXED) < saw[1][0])
        mc_fail("went backwards");
    if (is("iriw")) {
        saw[2][0] = mc_load64(&at.x, loads());
        saw[2][1] = mc_load64(&at.y, loads());
    }
}

static void fourth(void *unused)
{
    (void)unused;
    saw[3][0] = mc_load64(&at.y, loads());
    saw[3][1] = mc_load64(&at.x, loads());
}

static void check(void)
{
    if (is("iriw") && saw[2][0] && !saw[2][1] && saw[3][0] && !saw[3][1])
        mc_fail("two orders");
    if (is_a("sb") && !saw[0][0] && !saw[1][0])
        mc_fail("both missed the other's store");
}

static void setup(void)
{
    memset(&at, 0, sizeof at);
    memset(saw, 0, sizeof saw);
    done = 0;
    memory_reset(mc_stale_budget());
    mc_spawn("first", first, NULL);
    mc_spawn("second", second, NULL);
    if (is_a("rs") || is("corr-hb") || is("iriw"))
        mc_spawn("third", third, NULL);
    if (is("iriw"))
        mc_spawn("fourth", fourth, NULL);
}

mc_result litmus_explore(const char *which, const mc_limits *limits, const char *replay)
{
    name = which;
    return replay ? mc_replay(setup, check, limits, replay) : mc_explore(setup, check, limits);
}
