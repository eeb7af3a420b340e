"""The lock word as a state machine, small enough to read at breakfast: `python -m tests.model_lock_word`.

Up to ACTORS acquisitions at once: readers (R), recursive readers (r), writers (W), upgradable readers (U) and their upgrades
(G), which are not one more. A step is one CAS of the core, or one
hold of the bucket lock; what happens inside a step is the explorer's business. A breadth-first search checks W1 to W6 in
every state. tests/test_model_lock_word.py holds the model to csrc/lock_word.h and csrc/modes.c.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from typing import NamedTuple

PARKED, WRITER_PARKED, UPGRADABLE, WRITER, ONE_READER = 1, 2, 4, 8, 16
READERS = ~15
ACTORS = 4


class Mode(NamedTuple):  # a row of csrc/modes.c
    blocked_by: int
    unless: int
    adds: int
    gives_up: int
    drains: int


SHARE = ONE_READER | UPGRADABLE
MODES = {"R": Mode(WRITER, 0, ONE_READER, 0, 0), "r": Mode(WRITER, READERS, ONE_READER, 0, 0),
         "W": Mode(WRITER | UPGRADABLE, 0, WRITER, 0, 1), "U": Mode(WRITER | UPGRADABLE, 0, SHARE, 0, 0),
         "G": Mode(WRITER, 0, WRITER, SHARE, 1)}


class State(NamedTuple):
    """The word, and who stands where. `R!` in the queue is a task whose loop cannot run: every wake passes it over."""

    word: int = 0
    readers: int = 0  # the plain ones who hold; a ghost that the word must agree with
    upgradable: bool = False  # somebody holds so; also while it waits, in `queue` or `woken` as G, for its upgrade
    writer: str = ""  # "owns" the bit and is about to look at the readers; "drains", asleep until they are gone; "holds"
    upgrading: bool = False  # who owns the bit has been upgradable, and is again if it gives up
    queue: tuple[str, ...] = ()  # at `addr`, in the order of arrival
    woken: tuple[str, ...] = ()  # NORMAL, or nudged: in no queue, about to poll
    leaving: int = 0  # last readers that are out, on their way to wake the writer that drains


def word_may_enter(w: int, mode: Mode) -> bool:
    return not w & mode.blocked_by or bool(w & mode.unless)


def word_exchanged(w: int, gives: int, takes: int) -> int:
    return ((w & ~(gives & ~READERS)) - (gives & READERS) | takes & ~READERS) + (takes & READERS)


def word_entered(w: int, mode: Mode) -> int:
    return word_exchanged(w, mode.gives_up, mode.adds)


def word_is_free(w: int, mode: Mode) -> bool:
    return word_may_enter(w, mode) and not (mode.drains and w & (READERS | UPGRADABLE) != mode.gives_up)


def word_is_held(w: int, mode: Mode) -> bool:
    if not mode.adds & READERS:
        return w & (WRITER | WRITER_PARKED | READERS) == WRITER
    return bool(w & READERS) and w & mode.adds & UPGRADABLE == mode.adds & UPGRADABLE


def word_is_impossible(w: int) -> bool:
    if w // ONE_READER > 1 << 32:
        return True
    if w & UPGRADABLE:
        return bool(w & (WRITER | WRITER_PARKED)) or not w & READERS
    return w & (WRITER | WRITER_PARKED) == WRITER_PARKED


def enter(s: State, kind: str) -> State:
    s = s._replace(word=word_entered(s.word, MODES[kind]))
    if MODES[kind].drains:
        return s._replace(writer="owns", upgrading=kind == "G", upgradable=s.upgradable and kind != "G")
    return s._replace(upgradable=True) if kind == "U" else s._replace(readers=s.readers + 1)


def give(s: State, gives: int, takes: int) -> State:
    """The ghosts, when somebody gives up `gives` and keeps or takes back `takes`."""
    if gives & WRITER:
        s = s._replace(writer="", upgrading=False)
    kept = takes | gives & UPGRADABLE and not gives & ONE_READER  # of its share: it was a writer, or upgradable
    if gives & UPGRADABLE:
        s = s._replace(upgradable=False)
    if takes & UPGRADABLE:
        return s._replace(upgradable=True)
    return s._replace(readers=s.readers + bool(kept))


def admit(s: State, gives: int, takes: int = 0, *, handoff: bool = False) -> State:
    """Let in all readers up to and including the first writer, as admit() in csrc/admit.c does: `gives` for `takes`."""
    w, taken, rest = word_exchanged(s.word, gives, takes), list[str](), list[str]()
    s = give(s._replace(word=w), gives, takes)
    for kind in s.queue:
        beside = kind[0] in "WU" and w & UPGRADABLE
        out = w & WRITER or kind.endswith("!") or beside
        (rest if out else taken).append(kind)
        w = w if out else word_entered(w, MODES[kind])
    s = s._replace(word=s.word & ~PARKED | bool(rest) * PARKED, queue=tuple(rest))
    for kind in taken:
        s = enter(s, kind) if handoff else s._replace(woken=tuple(sorted((*s.woken, kind))))
    return s


def step_down(s: State, name: str, gives: int, takes: int) -> Iterator[tuple[str, State]]:
    """A release or a downgrade by who owns WRITER or UPGRADABLE: one CAS if nobody queues, else by way of admit."""
    if s.word & PARKED:
        yield f"{name}, wake", admit(s, gives, takes)
        yield f"{name}, hand over", admit(s, gives, takes, handoff=True)
    else:
        yield name, give(s._replace(word=word_exchanged(s.word, gives, takes)), gives, takes)


def poll(s: State, kind: str, *, first: bool) -> Iterator[tuple[str, State]]:
    """Enter or park; one that was woken and lost has its old place, a new one the last."""
    if word_may_enter(s.word, MODES[kind]):
        if MODES[kind].drains and word_is_free(s.word, MODES[kind]):
            yield "try", enter(s, kind)._replace(writer="holds", upgrading=False)
        yield "enter", enter(s, kind)
    else:
        s = s._replace(word=s.word | PARKED, queue=(kind, *s.queue) if first else (*s.queue, kind))
        yield "park", admit(s, 0) if first and not s.word & WRITER else s


def steps(s: State) -> Iterator[tuple[str, State]]:
    """Yield every step that can be taken in `s`, with its name and where it leads."""
    upgrade_waits = any(kind[0] == "G" for kind in (*s.queue, *s.woken))
    actors = s.readers + s.upgradable + bool(s.writer) + len(s.queue) + len(s.woken) - upgrade_waits + s.leaving
    for kind in MODES:
        if kind != "G" and actors < ACTORS:
            yield from poll(s, kind, first=False)
    if s.upgradable and not upgrade_waits:
        yield from ((f"upgrade: {name}", after) for name, after in poll(s, "G", first=False))
        yield from step_down(s, "release U", SHARE, 0)
        yield from step_down(s, "downgrade U to R", UPGRADABLE, 0)
    for i, kind in enumerate(s.woken):
        out = s._replace(woken=s.woken[:i] + s.woken[i + 1 :])
        yield from poll(out, kind, first=True)
        yield "cancel, woken", admit(out, 0)
        yield "revoke", admit(out._replace(word=s.word | PARKED, queue=(kind + "!", *s.queue)), 0)
    for i, kind in enumerate(s.queue):
        rest = s.queue[:i] + s.queue[i + 1 :]
        out = s._replace(queue=rest, word=s.word if rest else s.word & ~PARKED)  # the last one out clears PARKED
        yield "cancel, queued", out
        if kind.endswith("!"):
            yield "nudge", out._replace(woken=tuple(sorted((*s.woken, kind[:-1]))))
    if s.readers:
        out = s._replace(word=s.word - ONE_READER, readers=s.readers - 1)
        last = out._replace(leaving=s.leaving + 1)
        yield ("last reader out", last) if s.writer == "drains" and not out.readers else ("reader out", out)
    if s.leaving:
        out = s._replace(leaving=s.leaving - 1)
        woken = out._replace(word=s.word & ~WRITER_PARKED, writer="holds")
        yield ("wake the drainer", woken) if s.writer == "drains" and not s.readers else ("wake nobody: it withdrew", out)
    if s.writer == "owns":
        drains, holds = s._replace(word=s.word | WRITER_PARKED, writer="drains"), s._replace(writer="holds")
        yield ("park to drain", drains) if s.readers else ("look, and hold", holds)
    if s.writer in ("owns", "drains"):
        back, kind = (SHARE, "G!") if s.upgrading else (0, "W!")
        yield f"cancel, {s.writer}", admit(s, WRITER | WRITER_PARKED, back)
        parked = s._replace(word=s.word | PARKED, queue=(kind, *s.queue))
        yield f"recall, {s.writer}", admit(parked, WRITER | WRITER_PARKED, back)
    if s.writer == "holds":
        yield from step_down(s, "release", WRITER, 0)
        yield from step_down(s, "downgrade W to R", WRITER, ONE_READER)
        yield from step_down(s, "downgrade W to U", WRITER, SHARE)


def fault(s: State) -> str:
    """Return which invariant of DESIGN.md does not hold in `s`; empty: all do."""
    w, alone = s.word, s.writer == "holds" or (s.writer == "owns" and not s.readers)
    blocked = all(kind.endswith("!") or w & MODES[kind].blocked_by for kind in s.queue)
    rules = {
        "exclusion": s.writer != "holds" or (s.readers == 0 and not s.upgradable),
        "W1": w >> 4 == s.readers + s.upgradable,
        "W2": (bool(w & PARKED), bool(w & WRITER_PARKED)) == (bool(s.queue), s.writer == "drains"),
        "W3": (bool(w & WRITER), bool(w & UPGRADABLE)) == (bool(s.writer), s.upgradable)
        and not (w & UPGRADABLE and (w & WRITER or not w & READERS)),
        "W4": w == 0 or s.readers > 0 or s.upgradable or s.writer != "" or s.queue != (),
        "W5": (blocked or s.woken != ()) and (s.writer != "drains" or s.readers + s.leaving > 0),
        "possible": not word_is_impossible(w),
        "W6": tuple(word_is_held(w, MODES[kind]) for kind in "RWU") == (w >= ONE_READER, alone, s.upgradable),
    }
    return next((name for name, holds in rules.items() if not holds), "")


def search() -> tuple[dict[State, str], Counter[str]]:
    """Return every reachable state with its fault, and how often each step was taken."""
    seen, taken, todo = {State(): fault(State())}, Counter[str](), deque([State()])
    while todo:
        for name, after in steps(todo.popleft()):
            taken[name] += 1
            if after not in seen:
                seen[after] = fault(after)
                todo.append(after)
    return seen, taken


if __name__ == "__main__":
    states, transitions = search()
    bad = [f"{why}: {state}" for state, why in states.items() if why]
    print(*(f"{count:8}  {name}" for name, count in sorted(transitions.items())), *bad[:3], sep="\n")
    print(f"states {len(states)} transitions {sum(transitions.values())} faults {len(bad)}")
