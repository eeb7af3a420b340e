"""Bugs to be found: each is a small substitution on a copy of csrc, and a program that shows it.

`CORPUS`: bugs of other projects' history, put into this core. `ORDERS`: one memory order too weak. `lineage` names where it
was. A substitution that does not apply (exactly once) any more is an error: the table must follow the code.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Bug:
    """One bug: what to replace in which file of csrc, the program that shows it, and what is reported then."""

    name: str
    lineage: str
    file: str
    edits: tuple[tuple[str, str], ...]
    program: str
    expect: str = ""
    options: tuple[str, ...] = ()


def bug(name: str, lineage: str, file: str, old: str, new: str, program: str, expect: str = "", *options: str) -> Bug:
    """Return a bug of one substitution."""
    return Bug(name, lineage, file, ((old, new),), program, expect, options)


ADMIT_AGAIN = "            more = admit(b, w->word, 0, 0, 0, batch);\n        }\n    } else if (state == LOTS_HANDOFF)"
TAKEN = "    bucket_lock_release(&m->lock);\n    return n;"

CORPUS = (
    bug(
        "465-ffffffffffffffff",
        "parking_lot a0d2de0 (issue 465, 2025-05-28): a timed-out writer subtracts flags outside the lock",
        "lock_word.h",
        "#define BUG_465 0",
        "#define BUG_465 1",
        "tW | R | W",
        "0xffffffffffffffff",
    ),
    bug(
        "465-fffffffffffffffe",
        "the same, the other word",
        "lock_word.h",
        "#define BUG_465 0",
        "#define BUG_465 1",
        "tW | R",
        "0xfffffffffffffffe",
    ),
    bug(
        "wrong-previous-value",
        "parking_lot 249cb2a: who may enter is judged by the word before the departing writer's bits are gone",
        "admit.c",
        "    s = word_exchanged(seen, gives, takes);",
        "    s = seen;",
        "tW | R | R",
    ),
    bug(
        "equality-for-a-bit",
        "parking_lot da06008: the word is compared where a bit should be tested; PARKED beside it is forgotten",
        "release.c",
        "    if (word_drained(word_reader_left(seen))) {",
        "    if (word_reader_left(seen) == (WRITER | WRITER_PARKED)) {",
        "R | W | R",
    ),
    bug(
        "lost-normal-on-cancel",
        "bpo-27585, anyio #387: a woken task is cancelled and its wake is lost",
        "acquire.c",
        ADMIT_AGAIN,
        ADMIT_AGAIN.replace("more = admit(b, w->word, 0, 0, 0, batch)", "more = 0"),
        "L cM M | M",
        "lost wakeup",
    ),
    bug(
        "swallowed-by-timeout",
        "LLVM libc #201937: a writer that times out swallows the wake that came meanwhile",
        "acquire.c",
        ADMIT_AGAIN,
        ADMIT_AGAIN.replace("admit(b", "why == LOTS_BY_TIMEOUT ? 0 : admit(b"),
        "tM | M | M",
        "lost wakeup",
    ),
    bug(
        "handoff-lost-on-cancel",
        "anyio #1145's kind: a task is cancelled after the lock was handed to it, and nobody releases",
        "acquire.c",
        "        if (!*kept)\n            more = disown(b, w, batch);",
        "",
        "L cW W | W",
    ),
    bug(
        "handoff-given-back-twice",
        "bpo-32734 ('unlimited acquire'): a lock that came with the timeout is given back and kept",
        "acquire.c",
        "        if (!*kept)\n            more = disown(b, w, batch);",
        "        more = disown(b, w, batch);",
        "L tW W | W",
    ),
    bug(
        "half-a-lock-kept",
        "own: a timeout keeps WRITER as if it were the lock, while readers are still in",
        "acquire.c",
        "*kept = why == LOTS_BY_TIMEOUT && !(waiter_mode(w)->drains && w->phase == PHASE_ENTER &&",
        "*kept = why == LOTS_BY_TIMEOUT && !(0 &&",
        "L W R tW",
    ),
    bug(
        "readers-behind-departed-writer",
        "corefx #3364: a writer gives up, and the readers who queued behind it are not woken",
        "acquire.c",
        "            more = admit(b, w->word, WRITER | WRITER_PARKED, waiter_mode(w)->gives_up, 0, batch);",
        "            a64_fetch_and(word_atomic(w->word), ~(WRITER | WRITER_PARKED), RELAXED);",
        "hR | tW | R",
        "lost wakeup",
    ),
    bug(
        "parked-left-set-by-cancel",
        "CPython gh-135641: the last waiter leaves and PARKED stays",
        "acquire.c",
        "        else if (last && w->phase == PHASE_ENTER)\n            batch->cause = NULL, clear",
        "        else if (0 && last)\n            batch->cause = NULL, clear",
        "cM | M",
        "W2",
    ),
    bug(
        "parked-cleared-early",
        "own: PARKED is cleared while others are still queued",
        "admit.c",
        "    parked = left != NULL;",
        "    parked = 0;",
        "M | M | M",
        "W2",
    ),
    bug(
        "queued-without-parked",
        "brpc #3539 (Dekker): who is about to sleep announces it and does not look at the word again",
        "acquire.c",
        "if ((seen & bit) || a64_cas(word_atomic(w->word), &seen, seen | bit, RELAXED)) {",
        "if ((seen & bit) || a64_cas(word_atomic(w->word), &seen, seen | bit, RELAXED) || 1) {",
        "M | M",
    ),
    bug(
        "writer-parked-not-cleared",
        "own: the writer that drained is woken and WRITER_PARKED stays",
        "admit.c",
        "    seen = a64_fetch_and(word_atomic(word), ~WRITER_PARKED, RELAXED);\n    if (w->mailbox",
        "    seen = 0;\n    if (w->mailbox",
        "R | W",
        "W2",
    ),
    bug(
        "mail-not-forgotten",
        "own: a cancelled task's memory stays linked in its mailbox",
        "acquire.c",
        "        mailbox_forget(w); /* never in a forked child",
        "        (void)0; /* never in a forked child",
        "L cW W | W",
    ),
    Bug(
        "bell-cleared-after-the-mail",
        "own: a ring between the take and the clear is lost",
        "mailbox.c",
        (
            ("    if (rung)\n        rung = bell_clear(&m->bell);\n", ""),
            ("    if (rung)\n        m->rung = 0;\n", ""),
            (
                TAKEN,
                TAKEN.replace(
                    "    return n;", "    if (rung && bell_clear(&m->bell))\n        m->rung = 0;\n    return n;"
                ),
            ),
        ),
        "L M M | M M",
        "lost wakeup",
        ("--bound", "3", "--fair", "0"),
    ),
    bug(
        "ring-not-marked-answered",
        "own: the flag that saves rings is never cleared",
        "mailbox.c",
        "    if (rung)\n        m->rung = 0;\n",
        "",
        "L W R | W R",
        "lost wakeup",
    ),
    bug(
        "revoked-op-keeps-the-lock",
        "own: the lock that was handed to a dead loop's task is not taken back",
        "revoke.c",
        "    more = token == LOTS_HANDOFF ? disown(b, w, batch) : admit(b, w->word, 0, 0, 0, batch);",
        "    more = admit(b, w->word, 0, 0, 0, batch);",
        "D W | W | K",
    ),
    bug(
        "closed-loop-wake-dropped",
        "own: a loop is closed and the wake that it had not taken up is lost with it",
        "revoke.c",
        "    if (!w) {\n        w = lot_next_queued(b, NULL);\n        while (w && w->mailbox != k->mailbox)",
        "    w = NULL;\n    if (!w) {\n        w = lot_next_queued(b, NULL);\n        while (w && w->mailbox != k->mailbox)",
        "X M | M",
    ),
    bug(
        "passed-over-and-forgotten",
        "own: a task that was passed over while its loop was blocked is not told that it runs again",
        "admit.c",
        "        w->skipped = 1;\n        return 1;\n    }\n    /* Beside",
        "        return 1;\n    }\n    /* Beside",
        "L W sW | W",
        "lost wakeup",
    ),
    bug(
        "keeper-looks-without-the-lock",
        "brpc #3539 (Dekker): IDLE is stored, then the other side is read, and neither is ordered",
        "keeper.c",
        "revoke_late(clock_now() - revoke_after_ns(), exactly)",
        "revoke_late(clock_now() - revoke_after_ns(), 0)",
        "D qW W | fW fW W | A",
        "lost wakeup",
        "--stale",
        "1",
    ),
    Bug(
        "keeper-idle-after-the-look",
        "own: the keeper looks first and says afterwards that it sleeps",
        "keeper.c",
        (
            (
                "            a32_store(&state, IDLE, RELAXED); /* ordered by the bucket locks, see above */\n",
                "            ;\n",
            ),
            (
                "        } else if (exactly) {\n",
                "        } else if (exactly) {\n            a32_store(&state, IDLE, RELAXED);\n",
            ),
        ),
        "D qW W | fW fW W | A",
        "lost wakeup",
        ("--random", "200000", "--seed", "1"),
    ),
    bug(
        "blocked-loop-keeps-draining",
        "own: a loop's thread blocks, and the writer of the same loop that drains keeps everybody out",
        "revoke.c",
        "    while (w && (w->mailbox != k->mailbox || w->phase != PHASE_DRAIN))",
        "    while (w)",
        "L cW sR | hR",
        "lost wakeup",
    ),
    bug(
        "released-twice",
        "own: of two who release one guard at the same time, both succeed",
        "acquire.c",
        "    if (!a32_cas(&w->state, &held, LOTS_RELEASED, ACQ_REL))\n        return LOTS_MISUSE;\n",
        "    if (a32_load(&w->state, ACQUIRE) != held)\n        return LOTS_MISUSE;\n"
        "    a32_store(&w->state, LOTS_RELEASED, RELEASE);\n",
        "dM | M | G",
    ),
    bug(
        "sleeper-forgotten-by-the-bucket-lock",
        "Drepper, 'Futexes are tricky': who was woken takes the lock as if nobody else slept on it",
        "parker_futex.c",
        "if (a32_cas(&l->state, &seen, 2, ACQUIRE))\n                return;",
        "if (a32_cas(&l->state, &seen, 1, ACQUIRE))\n                return;",
        "!lock3",
        "lost wakeup",
    ),
    bug(
        "permit-beside-a-sleeper",
        "own: unpark_one calls back before it has chosen, and what the callback leaves is not what is there",
        "unpark.c",
        "    wake_list(b, first, callback(context, &result), batch);\n    lot_unlock(b);",
        "    lot_unlock(b);\n    wake_list(b, first, callback(context, &result), batch);",
        "P | P | U U",
    ),
    bug(
        "moved-and-not-queued",
        "own: requeue takes waiters off the one queue and forgets to put them on the other",
        "unpark.c",
        "        lot_enqueue(b, w, to);\n",
        "",
        "L P P | Q | V",
        "lost wakeup",
    ),
)

PUBLISH = "a32_store(&w->state, state, RELEASE);"
DRAIN = "w->phase == PHASE_DRAIN && !word_has_readers(a64_load(word_atomic(w->word), ACQUIRE))"

ORDERS = (
    bug(
        "try-acquire",
        "parking_lot d26c284",
        "fast_path.h",
        "word_entered(seen, mode), ACQUIRE)",
        "word_entered(seen, mode), RELAXED)",
        "yM | M",
        "data race",
    ),
    bug(
        "enter-acquire",
        "parking_lot c866ba8",
        "acquire.c",
        "word_entered(seen, waiter_mode(w)), ACQUIRE)",
        "word_entered(seen, waiter_mode(w)), RELAXED)",
        "M | M",
        "data race",
    ),
    bug(
        "writer-release",
        "parking_lot ded782f",
        "fast_path.h",
        "&seen, mode->gives_up, RELEASE)",
        "&seen, mode->gives_up, RELAXED)",
        "M | M",
        "data race",
    ),
    bug(
        "reader-release",
        "parking_lot 6e3c66e",
        "fast_path.h",
        "word_reader_left(seen), RELEASE)",
        "word_reader_left(seen), RELAXED)",
        "R | W",
        "data race",
    ),
    bug(
        "last-reader-release",
        "PROOF.md: unlock release to relaxed",
        "release.c",
        "word_reader_left(seen), RELEASE)",
        "word_reader_left(seen), RELAXED)",
        "R | cW | W",
        "data race",
    ),
    bug(
        "admit-release",
        "PROOF.md: unlock release to relaxed, on the slow path",
        "admit.c",
        "&seen, new, RELEASE));\n    if (gives || first)",
        "&seen, new, RELAXED));\n    if (gives || first)",
        "M | M | M",
        "data race",
    ),
    bug(
        "drain-acquire",
        "PROOF.md: drain load acquire to relaxed",
        "acquire.c",
        DRAIN,
        DRAIN.replace("ACQUIRE", "RELAXED"),
        "R | W",
        "data race",
    ),
    bug(
        "drainer-acquire",
        "own: the writer is told that it is alone by one who has not seen the other readers leave",
        "admit.c",
        "word_has_readers(a64_load(word_atomic(word), ACQUIRE)))",
        "word_has_readers(a64_load(word_atomic(word), RELAXED)))",
        "R | R | W",
        "data race",
    ),
    bug(
        "kept-acquire",
        "own: a timeout keeps a lock that was handed over, and does not see the readers who were in beside it",
        "acquire.c",
        "                                            word_has_readers(a64_load(word_atomic(w->word), ACQUIRE)));",
        "                                            word_has_readers(a64_load(word_atomic(w->word), RELAXED)));",
        "fW | R | tW",
        "data race",
    ),
    bug(
        "publish-release",
        "own: the waker's last touch of a waiter that its owner frees",
        "parker_futex.c",
        PUBLISH,
        PUBLISH.replace("RELEASE", "RELAXED"),
        "M | M",
        "data race",
    ),
    bug(
        "mailbox-reference-release",
        "own: a reference count: the last one out frees what another still uses",
        "mailbox.c",
        "(uint32_t)-1, ACQ_REL)",
        "(uint32_t)-1, RELAXED)",
        "L W | W",
        "data race",
    ),
    bug(
        "bucket-lock-release",
        "parking_lot's WordLock: released relaxed; found by ThreadSanitizer by hand",
        "bucket_lock.h",
        "if (!a32_cas(&l->state, &seen, 0, RELEASE))",
        "if (!a32_cas(&l->state, &seen, 0, RELAXED))",
        "!lock2",
        "data race",
    ),
    bug(
        "bucket-lock-acquire",
        "own: who slept on a bucket lock does not see what its holder did",
        "parker_futex.c",
        "if (a32_cas(&l->state, &seen, 2, ACQUIRE))",
        "if (a32_cas(&l->state, &seen, 2, RELAXED))",
        "!lock2",
        "data race",
    ),
    bug(
        "bucket-lock-wake-release",
        "own: released relaxed where somebody sleeps on it",
        "parker_futex.c",
        "    a32_store(&l->state, 0, RELEASE);\n    futex",
        "    a32_store(&l->state, 0, RELAXED);\n    futex",
        "!lock2",
        "data race",
    ),
)
