"""The lock word as a state machine, small enough to read at breakfast: `python -m tests.model_lock_word`.

Up to ACTORS acquisitions at once: readers (R), recursive readers (r), writers (W). A step is one CAS of the core, or one
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
    drains: int


MODES = {"R": Mode(WRITER, 0, ONE_READER, 0), "r": Mode(WRITER, READERS, ONE_READER, 0),
         "W": Mode(WRITER | UPGRADABLE, 0, WRITER, 1)}


class State(NamedTuple):
    """The word, and who stands where. `R!` in the queue is a task whose loop cannot run: every wake passes it over."""

    word: int = 0
    readers: int = 0  # those who hold; a ghost that the word must agree with
    writer: str = ""  # "owns" the bit and is about to look at the readers; "drains", asleep until they are gone; "holds"
    queue: tuple[str, ...] = ()  # at `addr`, in the order of arrival
    woken: tuple[str, ...] = ()  # NORMAL, or nudged: in no queue, about to poll
    leaving: int = 0  # last readers that are out, on their way to wake the writer that drains


def word_may_enter(w: int, mode: Mode) -> bool:
    return not w & mode.blocked_by or bool(w & mode.unless)


def word_entered(w: int, mode: Mode) -> int:
    return w + ONE_READER if mode.adds & READERS else w | mode.adds


def word_is_held(w: int, mode: Mode) -> bool:
    return bool(w & READERS) if mode.adds & READERS else w & (WRITER | WRITER_PARKED | READERS) == WRITER


def enter(s: State, kind: str) -> State:
    writer, readers = ("owns", s.readers) if MODES[kind].drains else (s.writer, s.readers + 1)
    return s._replace(word=word_entered(s.word, MODES[kind]), writer=writer, readers=readers)


def admit(s: State, gives: int, *, handoff: bool = False) -> State:
    """Let in all readers up to and including the first writer, as admit() in csrc/admit.c does; `gives` is given up."""
    w, taken, rest = s.word & ~gives, list[str](), list[str]()
    for kind in s.queue:
        out = w & WRITER or kind.endswith("!")
        (rest if out else taken).append(kind)
        w = w if out else word_entered(w, MODES[kind])
    s = s._replace(word=s.word & ~gives & ~PARKED | bool(rest) * PARKED, queue=tuple(rest), writer="" if gives else s.writer)
    for kind in taken:
        s = enter(s, kind) if handoff else s._replace(woken=tuple(sorted((*s.woken, kind))))
    return s


def poll(s: State, kind: str, *, first: bool) -> Iterator[tuple[str, State]]:
    """Enter or park; one that was woken and lost has its old place, a new one the last."""
    if word_may_enter(s.word, MODES[kind]):
        if MODES[kind].drains and not s.word & READERS:
            yield "try", enter(s, kind)._replace(writer="holds")
        yield "enter", enter(s, kind)
    else:
        yield "park", s._replace(word=s.word | PARKED, queue=(kind, *s.queue) if first else (*s.queue, kind))


def steps(s: State) -> Iterator[tuple[str, State]]:
    """Yield every step that can be taken in `s`, with its name and where it leads."""
    if s.readers + bool(s.writer) + len(s.queue) + len(s.woken) + s.leaving < ACTORS:
        for kind in MODES:
            yield from poll(s, kind, first=False)
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
        yield f"cancel, {s.writer}", admit(s, WRITER | WRITER_PARKED)
        yield f"recall, {s.writer}", admit(s._replace(word=s.word | PARKED, queue=("W!", *s.queue)), WRITER | WRITER_PARKED)
    if s.writer == "holds" and s.word == WRITER:
        yield "release", s._replace(word=0, writer="")
    elif s.writer == "holds":
        yield "release, wake", admit(s, WRITER)
        yield "release, hand over", admit(s, WRITER, handoff=True)


def fault(s: State) -> str:
    """Return which invariant of DESIGN.md does not hold in `s`; empty: all do."""
    w, awake = s.word, not all(kind.endswith("!") for kind in s.queue)
    alone = s.writer == "holds" or (s.writer == "owns" and not s.readers)
    rules = {
        "exclusion": s.writer != "holds" or s.readers == 0,
        "W1": w >> 4 == s.readers,
        "W2": (bool(w & PARKED), bool(w & WRITER_PARKED)) == (bool(s.queue), s.writer == "drains"),
        "W3": bool(w & WRITER) == bool(s.writer) and not (w & UPGRADABLE and (w & WRITER or not s.readers)),
        "W4": w == 0 or s.readers > 0 or s.writer != "" or s.queue != (),
        "W5": (not awake or bool(w & WRITER) or s.woken != ()) and (s.writer != "drains" or s.readers + s.leaving > 0),
        "W6": (word_is_held(w, MODES["R"]), word_is_held(w, MODES["W"])) == (s.readers > 0, alone),
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
