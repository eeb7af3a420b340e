"""More bugs to be found, as in corpus.py: of the owner and the levels of a re-entrant mutex."""

from __future__ import annotations

from tests.explorer.corpus import bug

STALE = ("--stale", "2")
SEEN = "uint64_t seen = a64_load(&l->levels, ACQUIRE); /* pairs with levels_begin. What a failed CAS saw would not */"
IS_OWNER = "if (!levels_depth_of(seen) || a64_load(&l->owner, RELAXED) != who) /* after `seen`, by its ACQUIRE */"
DEEPER = "a64_cas(&l->levels, &seen, seen + 1, RELAXED)"

LEVELS = (
    bug(
        "hold-without-a-number",
        "own: the depth is what the owner saw, and it is another's hold by now",
        "levels.h",
        "((before >> HOLD_SHIFT) + 1) << HOLD_SHIFT | 1",
        "(before >> HOLD_SHIFT) << HOLD_SHIFT | 1",
        "!levels-last",
        "data race",
    ),
    bug(
        "owner-before-depth",
        "own: the owner that was read is that of an earlier hold",
        "levels.h",
        f"{SEEN}\n        {IS_OWNER}",
        "uint64_t was = a64_load(&l->owner, RELAXED), seen = a64_load(&l->levels, ACQUIRE);\n"
        "        if (!levels_depth_of(seen) || was != who)",
        "!levels-last",
        "data race",
    ),
    bug(
        "back-from-zero",
        "own: the owner enters once more what was left",
        "levels.h",
        "if (!levels_depth_of(seen) || a64",
        "if (a64",
        "!levels-last",
        "the last one found",
    ),
    bug(
        "deeper-by-a-store",
        "own: a level that another leaves meanwhile is put back",
        "levels.h",
        f"if ({DEEPER})",
        "a64_store(&l->levels, seen + 1, RELAXED);\n        if (1)",
        "!levels-two",
    ),
    bug(
        "left-by-a-store",
        "own: of two that leave none is the last",
        "levels.h",
        "} while (!a64_cas(&l->levels, &seen, seen - count, ACQ_REL));",
        "} while (0);\n    a64_store(&l->levels, seen - count, RELEASE);",
        "!levels-two",
    ),
    bug(
        "owner-is-kept",
        "own: who released it goes on as its owner",
        "levels.h",
        "    a64_store(&l->owner, NOBODY, RELAXED); /* before the RELEASE",
        "    /* before the RELEASE",
        "!levels-last",
        "everybody has left",
    ),
)

LEVEL_ORDERS = (
    bug(
        "levels-begin-release",
        "own: the hold is seen before its owner",
        "levels.h",
        "((before >> HOLD_SHIFT) + 1) << HOLD_SHIFT | 1, RELEASE);",
        "((before >> HOLD_SHIFT) + 1) << HOLD_SHIFT | 1, RELAXED);",
        "!levels-last",
        "data race",
        *STALE,
    ),
    bug(
        "levels-deepen-acquire",
        "own",
        "levels.h",
        SEEN,
        SEEN.replace("ACQUIRE)", "RELAXED)"),
        "!levels-last",
        "data race",
        *STALE,
    ),
    bug(
        "levels-failed-cas",
        "own, in the first draft: what a failed CAS saw orders nothing, and the owner that is read then may be an old one",
        "levels.h",
        f"for (;;) {{\n        {SEEN}",
        "for (uint64_t seen = a64_load(&l->levels, ACQUIRE);;) {",
        "!levels-last",
        "data race",
        *STALE,
    ),
    bug(
        "levels-leave-acquire",
        "own",
        "levels.h",
        "seen - count, ACQ_REL)",
        "seen - count, RELEASE)",
        "!levels-two",
        "data race",
    ),
    bug(
        "levels-leave-release",
        "own",
        "levels.h",
        "seen - count, ACQ_REL)",
        "seen - count, ACQUIRE)",
        "!levels-two",
        "data race",
    ),
)
