"""More bugs to be found, as in corpus.py: of the trail, whose steps must never be believed if they are torn."""

from __future__ import annotations

from tests.explorer.corpus import bug

STALE = ("--stale", "2")
CLAIM = "else if (a64_cas(&s->sequence, &seen, 2 * n + 1, ACQUIRE))"
FIELD = "a64_store(&s->fields[f], fields[f], RELEASE);"
LAST = "a64_store(&s->sequence, 2 * n + 2, RELEASE);"
FIRST_LOOK = "uint64_t sequence = a64_load(&s->sequence, ACQUIRE);"
SECOND_LOOK = "return a64_load(&s->sequence, RELAXED) == sequence ? sequence : 0;"

TRAIL = (
    bug(
        "trail-unclaimed",
        "own: a reader sees half of two steps",
        "trail.c",
        CLAIM,
        "else if (1)",
        "!trail-laps",
        "torn",
    ),
    bug(
        "trail-beside-another",
        "own: two write one slot at once",
        "trail.c",
        "else if (seen & 1)\n            n++;",
        "else if (0)\n            n++;",
        "!trail-laps",
        "a slot went back",
    ),
    bug(
        "trail-too-late",
        "own: a step that was overtaken takes the place of a later one",
        "trail.c",
        "if (seen > 2 * n)",
        "if (0)",
        "!trail-laps",
        "torn",
    ),
    bug(
        "trail-one-look",
        "own: what was overwritten meanwhile is believed",
        "trail.c",
        SECOND_LOOK,
        "return sequence;",
        "!trail-laps",
        "torn",
    ),
    bug(
        "trail-no-first-look",
        "own: what is half written is believed",
        "trail.c",
        "if (sequence & 1)",
        "if (0)",
        "!trail-laps",
        "step",
    ),
)

TRAIL_ORDERS = (
    bug("trail-fields", "own", "trail.c", FIELD, FIELD.replace("RELEASE", "RELAXED"), "!trail-laps", "torn", *STALE),
    bug("trail-last", "own", "trail.c", LAST, LAST.replace("RELEASE", "RELAXED"), "!trail", "torn", *STALE),
    bug("trail-first-look", "own", "trail.c", FIRST_LOOK, FIRST_LOOK.replace("ACQUIRE", "RELAXED"), "!trail", "torn", *STALE),
    bug(
        "trail-fields-look",
        "own",
        "trail.c",
        "fields[f] = a64_load(&s->fields[f], ACQUIRE);",
        "fields[f] = a64_load(&s->fields[f], RELAXED);",
        "!trail-laps",
        "torn",
        *STALE,
    ),
)
