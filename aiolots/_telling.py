"""Without a GIL: who can say what tasks do, is asked to. For the wait graph (_wait_graph.py).

    the loop of the thread that looks    its tasks are suspended: they are looked at
    a loop that answers                  tells of its tasks between two of its callbacks
    a loop whose thread waits for a lock has told of its tasks when it had waited for 50 ms; none of them can run before it has
                                         got the lock, and then it takes back what it told
    a loop that does neither             is not known: nothing is said of its tasks
    a thread that waits for a lock       has told of its calls when it had waited for 5 ms (csrc/python/telling.h)

A loop is never kept from anything: it tells, and goes on. What it told may be old when it is read, as with any look; the next
one asks again, after all that the loop was about to do: so who is found in the same wait twice has not run in between.

Who asks waits for as long as it says, at most; not at all for a loop that has not answered an earlier question, until it
does. No lock is taken. Of two loops that ask each other, each finds what the other one told before it asked.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import weakref
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from types import FrameType
from typing import Any

from aiolots import _loops, _watched
from aiolots import _task_graph as tasks_of
from aiolots._holds import _GUARDS, _LOCKS
from aiolots._lib import lib
from aiolots._mapping import MappedGuard
from aiolots._told import Hand, Told, ToldLoop, calls_from, calls_of

PATIENCE = 0.5  # seconds, of who is in somebody's way
LONG_PATIENCE = 3.0  # of a thread that does nothing else: on a machine that has too much to do
_PAUSE, _LONGEST_PAUSE = 0.0005, 0.05
_YOUNG = 10_000_000  # ns; twice as long as until a thread tells


def settle() -> None:
    """Wait until nobody is about to tell, and in no queue meanwhile; for PATIENCE at most."""
    end = time.monotonic() + PATIENCE
    while _watched.telling and time.monotonic() < end:
        time.sleep(_PAUSE)


@dataclass(frozen=True)
class Telling:
    """What was told."""

    loops: list[ToldLoop]
    calls: dict[int, tuple[FrameType, ...]]  # of threads that wait, by ident
    makes: list[tuple[int, Any]]  # ident, and the future that this thread is to give a result
    complete: bool  # of every loop that may have tasks


# --- who tells ----------------------------------------------------------------------------------------------------------


def _loops_here() -> tuple[ToldLoop, ...]:
    return tuple(_told(loop, tasks) for loop, tasks in tasks_of.loops_here())


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


# --- who asks -----------------------------------------------------------------------------------------------------------


class _Question:
    """Put to one loop; answered on its thread."""

    def __init__(self, loop: Any, patience: float) -> None:
        self._loop: Any = weakref.ref(loop)
        self._end = time.monotonic() + patience
        self.answer: ToldLoop | None = None
        self.is_open = True

    def __call__(self) -> None:
        try:
            if self.is_awaited:  # else nobody waits for it any more
                self.answer = next((told for told in _loops_here() if told.loop is self._loop()), None)
        except Exception:  # what a loop is called with must not raise: trio ends the whole run by it
            logging.getLogger("aiolots").exception("aiolots.deadlock: a loop could not say what its tasks do")
        finally:
            self.is_open = False

    def is_of(self, loop: Any) -> bool:
        """Whether it was put to that loop."""
        return self._loop() is loop

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits for the answer still."""
        return time.monotonic() <= self._end

    @property
    def is_over(self) -> bool:
        """Whether it was answered, or nobody is left to."""
        return not self.is_open or self._loop() is None


_open: dict[int, _Question] = {}  # by the id of the loop: the last one


def ask(youngest: int, patience: float) -> Telling:
    """Ask every loop that runs. Waits for so many seconds at most; takes no lock. From any thread, also in a signal handler.

    `youngest`: when the last one of the threads that wait for a lock began to, in nanoseconds of time.monotonic(): all of them
    are given the time to tell.
    """
    here, ident = _loops_here(), threading.get_ident()
    mine = bool(here) and ident not in _watched.standing_loops
    if mine:
        _watched.standing_loops[ident] = here
    try:
        return _ask(here, youngest, patience)
    finally:
        if mine:
            _watched.standing_loops.pop(ident, None)


def _ask(here: Iterable[ToldLoop], youngest: int, patience: float) -> Telling:
    told = {id(loop.loop): loop for loop in here}
    questions: dict[int, _Question | None] = {}
    end, pause = time.monotonic() + patience, _PAUSE
    makes, runs = _by_workers()
    while True:
        told |= {id(loop.loop): loop for loops in list(_watched.standing_loops.values()) for loop in loops}
        # What has ended runs none of its tasks any more.
        known = {id(loop): loop for loop in (*tasks_of.every_loop(), *runs) if not getattr(loop, "is_closed", bool)()}
        unasked = [key for key in known if key not in told and key not in questions]
        questions |= {key: _question_to(known[key], patience) for key in unasked}
        is_young = time.monotonic_ns() < youngest + _YOUNG
        if not is_young and not any(q is not None and q.is_open and key not in told for key, q in questions.items()):
            break
        if time.monotonic() > end:
            break
        time.sleep(pause)
        # Longer each time: who tells has all threads stopped (gc.get_referents), and waits for those that are at something.
        pause = min(2 * pause, _LONGEST_PAUSE)
        makes, runs = _by_workers()
    told = {key: question.answer for key, question in questions.items() if question is not None and question.answer} | told
    complete = all(key in told for key in known) and "trio" not in sys.modules  # of which not every run is known
    for key in [key for key, question in list(_open.items()) if question.is_over]:
        _open.pop(key, None)
    calls = {ident: calls_from(calls) for ident, (calls, _) in dict(_watched.standing).items()}
    return Telling(list(told.values()), calls, makes, complete)


def _by_workers() -> tuple[list[tuple[int, Any]], list[Any]]:
    makes: list[tuple[int, Any]] = []
    runs: list[Any] = []
    for ident, (_, variables) in dict(_watched.standing).items():
        for what, thing in filter(None, map(tasks_of.told_by_worker, variables)):
            if what == "makes":
                makes.append((ident, thing))
            else:
                runs.append(thing)
    return makes, runs


def _question_to(loop: Any, patience: float) -> _Question | None:
    """Put a question to a loop, if it runs; None: it will not be answered."""
    library = _loops.library_of(loop)
    if not library.is_running(loop):
        return None
    before = _open.get(id(loop))
    if before is not None and before.is_of(loop) and before.is_open:
        return before if before.is_awaited else None
    question = _open[id(loop)] = _Question(loop, patience)
    try:
        library.call_from_a_thread(loop, question)
    except RuntimeError:  # it has ended just now
        _open.pop(id(loop), None)
        return None
    return question


def _forget() -> None:
    for told in (_watched.standing, _watched.standing_loops, _watched.telling, _open):
        told.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
_watched.tells_of_loops(_loops_here)
