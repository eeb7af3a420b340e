/* See verbs.h. */
#include "verbs.h"

#include "explorer.h"

#include <stdio.h>
#include <string.h>

uint32_t verbs_met[V_COUNT];
static uint32_t did[MC_FIBERS], did_twice[MC_FIBERS];

static const char *const names[V_COUNT] = {
    "read", "read_recursive", "write", "lock", "try_read_for", "try_read_recursive_for", "try_write_for", "try_lock_for",
    "cancel", "fair", "given", "handoff", "revoke", "block", "close", "push", "drain",
    "park", "park_for", "unpark_one", "unpark_all", "unpark_some", "requeue",
};

void mc_did(mc_verb verb)
{
    uint32_t bit = UINT32_C(1) << verb;
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
        uint32_t others = did_twice[i];
        for (int j = 0; j < MC_FIBERS; j++)
            others |= j == i ? 0 : did[j];
        for (uint32_t left = did[i]; left; left &= left - 1)
            verbs_met[__builtin_ctz(left)] |= others;
    }
}

void verbs_print(const char *family, const uint32_t *met)
{
    for (int a = 0; a < V_COUNT; a++)
        for (int b = a; b < V_COUNT; b++)
            if (met[a] >> b & 1)
                printf("    pair %s %s %s\n", family, names[a], names[b]);
}
