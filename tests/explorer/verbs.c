/* See verbs.h. */
#include "verbs.h"

#include "explorer.h"

#include <stdio.h>
#include <string.h>

uint64_t verbs_met[V_COUNT];
static uint64_t did[MC_FIBERS], did_twice[MC_FIBERS];

static const char *const names[V_COUNT] = {
    "read", "read_recursive", "write", "lock", "try_read_for", "try_read_recursive_for", "try_write_for", "try_lock_for",
    "cancel", "fair", "given", "handoff", "revoke", "block", "close", "push", "drain",
    "park", "park_for", "unpark_one", "unpark_all", "unpark_some", "requeue",
    "upgradable", "try_upgradable_for", "upgrade", "try_upgrade_for", "try_upgrade", "downgrade", "bump",
    "wait", "wait_for", "wait_cancelled", "notify_one", "notify_all", "release",
};

void mc_did(mc_verb verb)
{
    uint64_t bit = UINT64_C(1) << verb;
    did_twice[mc_self()] |= did[mc_self()] & bit;
    did[mc_self()] |= bit;
}

void verbs_reset(void)
{
    memset(did, 0, sizeof did);
    memset(did_twice, 0, sizeof did_twice);
}

void verbs_pair(void)
{
    for (int i = 0; i < MC_FIBERS; i++) {
        uint64_t others = did_twice[i];
        for (int j = 0; j < MC_FIBERS; j++)
            others |= j == i ? 0 : did[j];
        for (uint64_t left = did[i]; left; left &= left - 1)
            verbs_met[__builtin_ctzll(left)] |= others;
    }
}

void verbs_print(const char *family, const uint64_t *met)
{
    for (int a = 0; a < V_COUNT; a++)
        for (int b = a; b < V_COUNT; b++)
            if (met[a] >> b & 1)
                printf("    pair %s %s %s\n", family, names[a], names[b]);
}
