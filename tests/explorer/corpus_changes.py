"""More bugs to be found, as in corpus.py: of upgrades and downgrades, and of notifications."""

from __future__ import annotations

from tests.explorer.corpus import Bug, bug

ADMIT = "            more = admit(b, w->word, WRITER | WRITER_PARKED, waiter_mode(w)->gives_up, 0, batch);"
STEP_DOWN = "    answer = step_down(word, held, held->adds & ~kept->adds, kept->adds & ~held->adds, 0, &batch);"
TELL_LAST = """            threads += !w->mailbox;
            w->next = NULL;
            *end = w;
            end = &w->next;
"""

CHANGES = (
    bug(
        "unfair-mutex",
        "own: a mutex that is promised to who has waited longest is left open for who comes by",
        "admit.c",
        "    fair |= first && waiter_mode(first)->fair;",
        "",
        "F | F | F",
        "fair mutex",
    ),
    bug(
        "unfair-notification",
        "own, in this core until it was explored: who is told that it may have an open fair mutex finds another in it",
        "notify.c",
        "return w->word && waiter_mode(w)->fair && !w->aside;",
        "return 0 * w->aside;",
        "F. | F. | *",
        "fair mutex",
    ),
    bug(
        "one-lock-for-all",
        "own: of those notified one is woken, though they ask for different locks",
        "notify.c",
        "|| (owns_flag && *taken == w->word))",
        "|| (owns_flag && *taken))",
        "M. | B. | *",
    ),
    bug(
        "dropped-in-silence",
        "own, in this core until it was explored: what a closed loop's task was told of is lost, and its op does not say so",
        "acquire.c",
        "w->dropped = !pass_on(b, w, batch);",
        "pass_on(b, w, batch);",
        "X S | H",
        "nobody else did",
    ),
    bug(
        "a-handler-in-the-queue",
        "own: who looks for a signal and finds one runs its handler while it is queued still",
        "thread_wait.c",
        "    if (step_aside(w))\n        return LOTS_INTERRUPTED;\n    w->for_now = 1;",
        "    if (step_aside(w) || 1)\n        return LOTS_INTERRUPTED;\n    w->for_now = 1;",
        "lW+R | R",
    ),
    bug(
        "upgraders-not-woken",
        "parking_lot 249cb2a (R16): a writer times out, and who is to be upgradable sleeps on behind nobody",
        "admit.c",
        "    return (waiter_mode(w)->adds & (WRITER | UPGRADABLE)) && (s & UPGRADABLE) &&",
        "    return (waiter_mode(w)->adds & (WRITER | UPGRADABLE)) && (s & UPGRADABLE || waiter_mode(w)->adds & UPGRADABLE) &&",
        "hR | tW | E",
        "lost wakeup",
    ),
    bug(
        "downgraded-to-a-read",
        "parking_lot d26c284: a writer that steps down to upgradable keeps a share and not the flag",
        "release.c",
        STEP_DOWN,
        STEP_DOWN.replace("kept->adds & ~held->adds, 0", "(kept->adds & ~held->adds) & ~UPGRADABLE, 0"),
        "W< | R",
        "steps down",
    ),
    bug(
        "downgraded-to-upgradable",
        "parking_lot 64b7114, the other way round: the flag is left behind where only a share is kept",
        "release.c",
        STEP_DOWN,
        STEP_DOWN.replace("kept->adds & ~held->adds, 0", "(kept->adds & ~held->adds) | UPGRADABLE, 0"),
        "W> | R",
    ),
    bug(
        "downgrade-in-two-steps",
        "own: it releases and takes its share again; a writer comes in between",
        "release.c",
        STEP_DOWN,
        "    answer = step_down(word, held, held->adds, 0, 0, &batch);\n"
        "    a64_fetch_add(word_atomic(word), kept->adds, ACQUIRE);",
        "W> | W",
        "steps down",
    ),
    bug(
        "downgrade-wakes-nobody",
        "own: who is let in by a writer that steps down is not told",
        "release.c",
        "        if (seen & PARKED) {",
        "        if ((seen & PARKED) && !takes) {",
        "W> | R",
        "lost wakeup",
    ),
    bug(
        "upgrade-in-two-steps",
        "shuttle #351 (R17): the flag is given up first and the lock taken after that",
        "acquire.c",
        "    return a32_cas(&w->state, &pending, LOTS_ACQUIRING, ACQ_REL);",
        "    if (waiter_mode(w)->gives_up)\n        a64_fetch_and(word_atomic(w->word), ~UPGRADABLE, RELAXED);\n"
        "    return a32_cas(&w->state, &pending, LOTS_ACQUIRING, ACQ_REL);",
        "E^ | W",
        "R17",
    ),
    bug(
        "timed-out-upgrade-is-a-reader",
        "own (R19): an upgrade that times out gives its share back and forgets the flag",
        "acquire.c",
        ADMIT,
        ADMIT.replace("waiter_mode(w)->gives_up", "waiter_mode(w)->gives_up & ONE_READER"),
        "hR | E~ | R",
        "R17",
    ),
    bug(
        "readers-behind-a-timed-out-upgrade",
        "own (R19): it is upgradable again, and the readers who queued behind it are not let in",
        "acquire.c",
        ADMIT,
        "            for (uint64_t seen = word_load(w->word); !a64_cas(word_atomic(w->word), &seen,\n"
        "                 word_exchanged(seen, WRITER | WRITER_PARKED, waiter_mode(w)->gives_up), RELEASE);)\n"
        "                ;",
        "hR | hE~< | R",
        "lost wakeup",
    ),
    bug(
        "recalled-upgrade-holds-nothing",
        "own: a loop is blocked, its upgrade gives WRITER back, and is neither that nor upgradable",
        "revoke.c",
        "admit(b, w->word, WRITER | WRITER_PARKED, waiter_mode(w)->gives_up, 0, batch)",
        "admit(b, w->word, WRITER | WRITER_PARKED, 0, 0, batch)",
        "L qE^ sR | R",
    ),
    bug(
        "readers-behind-a-writer-behind-an-upgradable",
        "own, in this core until it was reviewed: a woken writer loses to an upgradable reader and hides readers behind it",
        "acquire.c",
        "if (again && w->phase == PHASE_ENTER",
        "if (0 && again && w->phase == PHASE_ENTER",
        "tW | tW | R | hE",
        "lost wakeup",
    ),
    bug(
        "lost-notification-on-cancel",
        "cpython #112202, anyio #1075 (R09): who was notified is cancelled, and nobody else hears of it",
        "acquire.c",
        "                w->dropped = !pass_on(b, w, batch);",
        "                (void)0;",
        "L cS S | H",
        "were unparked",
    ),
    bug(
        "told-before-the-others-queue",
        "own, in this core until it was reviewed: the one who is to wake the others comes and goes before they are queued",
        "notify.c",
        TELL_LAST,
        "            threads += !w->mailbox;\n            lot_wake_later(to, w, LOTS_NORMAL, batch);\n",
        "M. | M. | *",
        "lost wakeup",
    ),
    bug(
        "behind-a-reader",
        "own, in this core until it was reviewed: a writer is queued behind a reader that is woken, and that wakes nobody",
        "notify.c",
        "    if (owns_flag)\n        *taken = w->word;",
        "    *taken = w->word;",
        "R. | W. | *",
        "lost wakeup",
    ),
    bug(
        "requeued-without-parked",
        "own: who goes from queue to queue does not announce itself in the lock's word",
        "notify.c",
        "        if ((seen & PARKED) || a64_cas(word_atomic(w->word), &seen, seen | PARKED, RELAXED)) {",
        "        if (1) {",
        "M. | M1",
        "W2",
    ),
    bug(
        "queued-by-an-old-look",
        "own: who was notified is put into the queue of a lock that was released since the look",
        "notify.c",
        "|| a64_cas(word_atomic(w->word), &seen, seen | PARKED, RELAXED)) {",
        "|| (a64_fetch_add(word_atomic(w->word), PARKED, RELAXED), 1)) {",
        "M. | 1 | M",
        "lost wakeup",
    ),
    Bug(
        "phase-read-after-the-lock",
        "own, in this core until it was reviewed: a poll that found itself queued asks for its phase when it may have changed",
        "acquire.c",
        (
            ("        state = LOTS_ACQUIRING;\n    } else if (state == LOTS_NORMAL", "    } else if (state == LOTS_NORMAL"),
            (
                "        if (state == LOTS_QUEUED)\n            return",
                "        if (state == LOTS_QUEUED && (!w->mailbox || w->phase == PHASE_NOTIFY))\n            return",
            ),
        ),
        "L qM. sM | 1 | 1",
    ),
    bug(
        "lost-to-its-own-loop",
        "own, in this core until it was reviewed: a late notification is taken away for a task of the same late loop",
        "revoke.c",
        "next_in_line(b, w, w->mailbox) != NULL",
        "next_in_line(b, w, NULL) != NULL",
        "L S S | H | K",
        "were unparked",
    ),
    bug(
        "notified-twice",
        "bpo-32734's kind: who was told stays in the queue, and is told again in the place of another",
        "notify.c",
        "        w = ++done < most ? first_of(b, key, ticket, limit) : NULL;\n    } while",
        "        w = (done += 2) < most ? first_of(b, key, ticket, limit) : NULL;\n    } while",
        "M. | M. | *",
        "heard",
    ),
)

CHANGE_ORDERS = (
    bug(
        "upgradable-release",
        "own: an upgradable reader leaves, and the next writer has not seen it read",
        "fast_path.h",
        "word_exchanged(seen, mode->adds, 0), RELEASE)",
        "word_exchanged(seen, mode->adds, 0), RELAXED)",
        "E | W",
        "data race",
    ),
    bug(
        "downgrade-release",
        "own: a writer steps down, and who reads beside it has not seen it write",
        "release.c",
        "word_exchanged(seen, gives, takes), RELEASE)",
        "word_exchanged(seen, gives, takes), RELAXED)",
        "W> | R",
        "data race",
    ),
)
