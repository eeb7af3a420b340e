"""Without a GIL: who can say what tasks do, is asked to. For the wait graph (_wait_graph.py).

    the loop of the thread that looks    its tasks are suspended: they are looked at
    a loop that answers                  tells of its tasks between two of its callbacks
    a loop whose thread waits for a lock has told of its tasks, and of itself, 50 ms after it began to wait; none of them can
                                         run before it has got the lock, and then it takes back what it told
    a loop that does neither             is not known: nothing is said of its tasks

A loop is never kept from anything: it tells, and goes on. What it told may be old when it is read, as with any look; the next
one asks again, after all that the loop was about to do: so who is found in the same wait twice has not run in between.

Who asks waits for PATIENCE at most; not at all for a loop that has not answered an earlier question, until it does. No lock is
taken. Of two loops that ask each other, each finds what the other one told before it asked.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import weakref
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

from aiolots import _loops, _watched
from aiolots import _task_graph as tasks_of
from aiolots._holds import _GUARDS, _LOCKS
from aiolots._lib import lib
from aiolots._mapping import MappedGuard
from aiolots._told import Hand, Standing, Told, ToldLoop, calls_of

PATIENCE = 0.25  # seconds
_PAUSE = 0.0005


@dataclass(frozen=True)
class Telling:
    """What was told."""

    loops: list[ToldLoop]
    threads: dict[int, Standing]  # by ident
    complete: bool  # of every loop that may have tasks


# --- who tells ----------------------------------------------------------------------------------------------------------


def _loops_here() -> list[ToldLoop]:
    return [_told(loop, tasks) for loop, tasks in tasks_of.loops_here()]


def _told(loop: Any, tasks: list[Any]) -> ToldLoop:
    guards: dict[int, Any] = {}
    times: Counter[int] = Counter()
    through = set[int]()  # guards that something else refers to, which is in hand
    in_hand: list[tuple[Any, list[int], Counter[int]]] = []
    for task in tasks:
        mine: list[int] = []
        exits = Counter[int]()
        for thing, method in tasks_of.in_hand(task):
            kinds = type(thing).__mro__
            guard = thing._guard if MappedGuard in kinds else thing
            if guard is not thing or not _GUARDS.isdisjoint(kinds):
                guards[id(guard)] = guard
                mine += () if id(guard) in mine else (id(guard),)
                times[id(guard)] += guard is thing
                if guard is not thing:
                    through.add(id(guard))
            elif method in ("__exit__", "__aexit__") and not _LOCKS.isdisjoint(kinds):
                exits[thing.address] += 1
        in_hand.append((task, mine, exits))
    thing = guard = None
    hands = {key: _hand(guards, key, alone=key not in through, times=times[key]) for key in guards}
    told = {id(task): _told_task(task, loop, tuple(hands[key] for key in mine), exits) for task, mine, exits in in_hand}
    return ToldLoop(loop, threading.get_ident(), int(lib.lots_thread_token()), told)


def _hand(guards: dict[int, Any], key: int, *, alone: bool, times: int) -> Hand:
    refers = sys.getrefcount(guards[key]) - 2  # the dictionary's own, and the argument's
    return Hand(key, weakref.ref(guards[key]), guards[key]._lock, alone and refers == times)


def _told_task(task: Any, loop: Any, hands: tuple[Hand, ...], exits: Counter[int]) -> Told:
    return Told(
        task,
        tasks_of.name_of(task),
        loop,
        tasks_of.name_of_loop(task),
        calls_of(tasks_of.frames(task)),
        hands,
        tuple(exits.items()),
        tasks_of.awaited(task),
        tasks_of.gives_to(task),
        tasks_of.may_be_ended(task),
    )


def stand() -> None:
    """Say what this thread does, which waits for a lock: in _watched.standing, until the wait is over."""
    frames = list(_calls())  # not our own, which would keep them all
    futures = [found for frame in frames if (found := tasks_of.threads_future(frame)) is not None]
    runs = [run for frame in frames if (run := tasks_of.run_of_worker(frame)) is not None]
    makes = tuple(future for what, future in futures if what == "makes")
    _watched.standing[threading.get_ident()] = Standing(calls_of(frames), makes, tuple(_loops_here()), tuple(runs))


def _calls() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(1).f_back
    while frame is not None:
        yield frame
        frame = frame.f_back


# --- who asks -----------------------------------------------------------------------------------------------------------


class _Question:
    """Put to one loop; answered on its thread."""

    def __init__(self, loop: Any) -> None:
        self._loop: Any = weakref.ref(loop)
        self.asked = time.monotonic()
        self.answer: ToldLoop | None = None
        self.is_open = True

    def __call__(self) -> None:
        try:
            if time.monotonic() - self.asked <= PATIENCE:  # else nobody waits for it any more
                self.answer = next((told for told in _loops_here() if told.loop is self._loop()), None)
        finally:
            self.is_open = False

    def is_of(self, loop: Any) -> bool:
        """Whether it was put to that loop."""
        return self._loop() is loop

    @property
    def is_over(self) -> bool:
        """Whether it was answered, or nobody is left to."""
        return not self.is_open or self._loop() is None


_open: dict[int, _Question] = {}  # by the id of the loop: the last one


def ask() -> Telling:
    """Ask every loop that runs. Waits for PATIENCE at most; takes no lock. From any thread, also in a signal handler."""
    here, ident = _loops_here(), threading.get_ident()
    mine = None if not here or ident in _watched.standing else Standing((), (), tuple(here), ())
    if mine is not None:
        _watched.standing[ident] = mine
    try:
        return _ask(here)
    finally:
        if mine is not None and _watched.standing.get(ident) is mine:
            _watched.standing.pop(ident, None)


def _ask(here: list[ToldLoop]) -> Telling:
    ident = threading.get_ident()
    standing = _standing_but(ident)
    # What has ended runs none of its tasks any more.
    known = {id(loop): loop for loop in tasks_of.every_loop() if not getattr(loop, "is_closed", lambda: False)()}
    known |= {id(run): run for record in standing.values() for run in record.runs}
    told = _told_by(here, standing)
    known = {key: loop for key, loop in known.items() if key not in told}
    questions = {key: _question_to(loop) for key, loop in known.items()}
    end = time.monotonic() + PATIENCE
    while waiting := [key for key, question in questions.items() if question is not None and question.is_open]:
        if all(key in told for key in waiting) or time.monotonic() > end:
            break
        time.sleep(_PAUSE)
        standing = _standing_but(ident)
        told |= _told_by([], standing)
    for key, question in questions.items():
        answer = None if question is None else question.answer
        if answer is not None and key not in told:
            told[key] = answer
    complete = all(key in told for key in known) and "trio" not in sys.modules  # of which not every run is known
    for key in [key for key, question in list(_open.items()) if question.is_over]:
        _open.pop(key, None)
    return Telling(list(told.values()), standing, complete)


def _standing_but(ident: int) -> dict[int, Standing]:
    standing = dict(_watched.standing)
    standing.pop(ident, None)
    return standing


def _told_by(here: list[ToldLoop], standing: dict[int, Standing]) -> dict[int, ToldLoop]:
    return {id(told.loop): told for told in (*here, *(told for record in standing.values() for told in record.loops))}


def _question_to(loop: Any) -> _Question | None:
    """Put a question to a loop, if it runs; None: it will not be answered."""
    library = _loops.library_of(loop)
    if not library.is_running(loop):
        return None
    before = _open.get(id(loop))
    if before is not None and before.is_of(loop) and before.is_open:
        return before if time.monotonic() - before.asked < PATIENCE else None
    question = _open[id(loop)] = _Question(loop)
    try:
        library.call_from_a_thread(loop, question)
    except RuntimeError:  # it has ended just now
        _open.pop(id(loop), None)
        return None
    return question


def _forget() -> None:
    _watched.standing.clear()
    _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
_watched.tells_of_itself(stand)
