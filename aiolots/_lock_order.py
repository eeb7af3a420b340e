"""In which order locks are taken, and where two orders can meet in a deadlock that has not happened yet.

A node is a lock, or a class of locks. An edge says: somebody held the one (how: `hold`) and would have waited for the other
(how: `want`). Who only tries, or waits for a time, adds none: it does not wait for ever. What it got it holds all the same.

A cycle of edges is an inversion if, at each node of it, the way in can be kept out by the way on:

    want \\ hold        shared              upgradable          alone
    read_recursive     never               never               always
    read               with a writer       with a writer       always
    upgradable_read    with a writer       always              always
    alone              always              always              always

With a writer: a reader is kept out by another one's share if a writer waits in between, so only where somebody waits for that
lock alone, at times. Of one lock, or two of a class, the cycle is one edge long.

What is known already never gets here (csrc/python/lock_order.c, _pure_tracking.py). What is new is worked on by a thread of its
own, or by who asks: never amid an acquire, for a handler of the log may want the very lock that was just taken.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from aiolots._refusals import place

SHARED, UPGRADABLE, ALONE = range(3)  # how it is held
RECURSIVE, READ, WANTS_UPGRADABLE, WANTS_ALONE = range(4)  # how it is wanted
HOLDS = ("shared", "upgradable", "alone")
WANTS = ("read_recursive", "read", "upgradable_read", "alone")

_MOST_REPORTS = 1000
_MOST_STEPS = 20_000  # of one search
_STAYS = 0.05  # seconds
_PATIENCE = 1.0  # seconds that who asks waits for whoever is at work

_log = logging.getLogger("aiolots")


@dataclass(frozen=True)
class Order:
    """One order of two locks, as it was seen first.

    Attributes:
        held: what was held: `<aiolots.Mutex 'A'>`, or `locks of class 'row'`.
        hold: how: "shared", "upgradable" or "alone".
        held_at: file, line and function where that was taken.
        taken: what was taken then.
        want: how: "read", "read_recursive", "upgradable_read" or "alone".
        taken_at: file, line and function.
        owner: the thread or task that did it.
    """

    held: str
    hold: str
    held_at: str
    taken: str
    want: str
    taken_at: str
    owner: str

    def __str__(self) -> str:
        return (
            f"{self.owner} held {self.held} ({self.hold}), taken at {self.held_at}\n"
            f"        and took {self.taken} ({self.want}) at {self.taken_at}"
        )


@dataclass(frozen=True)
class Inversion:
    """Orders of which each goes on where the one before ended; the last one leads back to the first. `str()` is a report."""

    orders: tuple[Order, ...]

    def __str__(self) -> str:
        first, *others = self.orders
        way = " -> ".join([order.held for order in self.orders] + [first.held])
        if others:
            head = f"lock order: {way}: taken in {len(self.orders)} orders that can deadlock"
            advice = "take them in one order everywhere"
        elif first.hold == "shared" and first.want == "read":
            head = f"lock order: {way}: read within a read, which deadlocks when a writer waits in between"
            advice = "take the inner one with read_recursive()"
        else:
            head = f"lock order: {way}: one within another of its kind"
            advice = "take them in an order of their own everywhere, and say so: aiolots.tracking.allow_nesting(...)"
        return "\n".join([head, *(f"    {order}" for order in self.orders), f"advice: {advice}"])


class _Seen(NamedTuple):
    """An edge: how, where and by whom."""

    held_at: Any
    taken_at: Any
    owner: str


_Kind = tuple[int, int, bool]  # hold, want, the same lock twice


class Graph:
    """What is known of the order. By one caller at a time."""

    def __init__(self) -> None:
        self.edges: dict[int, dict[int, dict[_Kind, _Seen]]] = {}
        self.labels: dict[int, str] = {}
        self.classes: dict[int, str] = {}
        self.written: set[int] = set()
        self.nestable: set[str] = set()
        self.reported: set[frozenset[int]] = set()
        self._reported_of: dict[int, set[frozenset[int]]] = {}
        self._into: dict[int, set[int]] = {}

    def add(self, what: tuple[Any, ...]) -> Iterator[Inversion]:
        """Take in what is new; yield the inversions that this makes."""
        if what[0] == "dead":
            self._drop(what[1])
        elif what[0] == "written":
            yield from self._is_written(what[1])
        else:
            _, hold, want, same_lock, held, wanted, written, who, is_task, ident = what
            for end, is_written in zip((held, wanted), written, strict=True):
                yield from self._named(end, bool(is_written))
            seen = _Seen(held[4], wanted[4], owner_name(who, is_task, ident))
            kinds = self.edges.setdefault(held[0], {}).setdefault(wanted[0], {})
            self._into.setdefault(wanted[0], set()).add(held[0])
            kind = (hold, want, bool(same_lock))
            if kind not in kinds:
                kinds[kind] = seen
                yield from self._look(held[0], wanted[0], kind)

    def _named(self, end: tuple[Any, ...], is_written: bool) -> Iterator[Inversion]:
        number, is_class, kind, name, _ = end
        if is_class:
            self.classes[number] = name
            self.labels[number] = f"locks of class {name!r}"
        elif number not in self.labels:
            self.labels[number] = (
                f"<aiolots.{kind}{'' if name is None else f' {name!r}'}{f' #{number}' if name is None else ''}>"
            )
        if is_written:
            yield from self._is_written(number)

    def _is_written(self, number: int) -> Iterator[Inversion]:
        """A writer can come in between its readers: what was no inversion may be one."""
        if number in self.written:
            return
        self.written.add(number)
        for start in list(self._into.get(number, ())):
            for kind in list(self.edges[start][number]):
                yield from self._look(start, number, kind)

    def _drop(self, number: int) -> None:
        for end in self.edges.pop(number, {}):
            self._into.get(end, set()).discard(number)
        for start in self._into.pop(number, ()):
            self.edges.get(start, {}).pop(number, None)
        self.labels.pop(number, None)
        self.written.discard(number)
        for nodes in self._reported_of.pop(number, ()):
            self.reported.discard(nodes)
            for node in nodes - {number}:
                self._reported_of[node].discard(nodes)

    def _keeps_out(self, number: int, want: int, hold: int) -> bool:
        if hold == ALONE or want == WANTS_ALONE or (hold == UPGRADABLE and want == WANTS_UPGRADABLE):
            return True
        return want != RECURSIVE and number in self.written

    def _look(self, start: int, end: int, kind: _Kind) -> Iterator[Inversion]:
        """Whether a way leads back from the end of this edge to its start: the shortest one."""
        path = [(start, end, kind)]
        if start == end:
            hold, want, same_lock = kind
            if not self._keeps_out(start, want, hold) or (not same_lock and self.classes.get(start) in self.nestable):
                return
        else:
            back = self._way(end, kind[1], start, kind[0])
            if back is None:
                return
            path += back
        nodes = frozenset(step[0] for step in path)
        if nodes in self.reported:
            return
        self.reported.add(nodes)
        for node in nodes:
            self._reported_of.setdefault(node, set()).add(nodes)
        yield Inversion(tuple(self._order(*step) for step in path))

    def _way(self, at: int, want: int, goal: int, hold: int) -> list[tuple[int, int, _Kind]] | None:
        first = (at, want)
        came_from: dict[tuple[int, int], tuple[tuple[int, int], tuple[int, int, _Kind]]] = {}
        seen, queue = {first}, deque([first])
        while queue and len(seen) < _MOST_STEPS:
            here = node, wanted = queue.popleft()
            for end, kinds in self.edges.get(node, {}).items():
                for kind in kinds if end != node else ():
                    there = (end, kind[1])
                    if there in seen or not self._keeps_out(node, wanted, kind[0]):
                        continue
                    seen.add(there)
                    came_from[there] = (here, (node, end, kind))
                    if end == goal:
                        if self._keeps_out(goal, kind[1], hold):
                            return _back(there, first, came_from)
                        continue
                    queue.append(there)
        return None

    def _order(self, start: int, end: int, kind: _Kind) -> Order:
        seen = self.edges[start][end][kind]
        return Order(
            held=self.labels[start],
            hold=HOLDS[kind[0]],
            held_at=place(seen.held_at),
            taken=self.labels[end],
            want=WANTS[kind[1]],
            taken_at=place(seen.taken_at),
            owner=seen.owner,
        )


def _back(
    there: tuple[int, int],
    first: tuple[int, int],
    came_from: dict[tuple[int, int], tuple[tuple[int, int], tuple[int, int, _Kind]]],
) -> list[tuple[int, int, _Kind]]:
    path: list[tuple[int, int, _Kind]] = []
    while there != first:
        there, edge = came_from[there]
        path.append(edge)
    return path[::-1]


def name_of(who: Any, is_task: bool, ident: int) -> str:
    """Return the name of a thread or task; `who` is that, a weak reference to it, or None."""
    found: Any = cast("Any", who)() if isinstance(who, weakref.ref) else who
    if found is None:
        return "?" if is_task else f"ident {ident}"
    return str(found.get_name() if hasattr(found, "get_name") else getattr(found, "name", "?"))


def owner_name(who: Any, is_task: bool, ident: int) -> str:
    """The same, as a report says it."""
    return f"{'task' if is_task else 'thread'} {name_of(who, is_task, ident)!r}"


# --- who works on it ------------------------------------------------------------------------------------------------------

pending: Callable[[], list[tuple[Any, ...]]] = list  # of the front in use (_track.py)
rests: Callable[[bool], bool] = bool  # likewise
graph = Graph()
found: list[Inversion] = []
missed = 0  # inversions that are too many to be kept
_unlogged: deque[Inversion] = deque()
_at_work = threading.Lock()  # only ever tried: nobody waits for it
_worker = 0  # ident of who has it


def settle() -> bool:
    """Work on all that is new. False: somebody else is at it, or this thread is, further up."""
    global _worker, missed  # noqa: PLW0603
    if not _at_work.acquire(blocking=False):
        return False
    try:
        _worker = threading.get_ident()
        while news := pending():
            for what in news:
                for inversion in graph.add(what):
                    if len(found) < _MOST_REPORTS:
                        found.append(inversion)
                        _unlogged.append(inversion)
                    else:
                        missed += 1
    finally:
        _worker = 0
        _at_work.release()
    return True


def wait_settled() -> None:
    """The same; if somebody else is at it, until that one is done, for a second at most."""
    end = time.monotonic() + _PATIENCE
    while not settle() and _worker != threading.get_ident() and time.monotonic() < end:
        time.sleep(0.001)


def work() -> None:
    """What the thread for news does: works on them, and logs. It holds no lock of anybody's. It stays a moment: where locks
    come and go there is news all the time, and a thread for each would cost more than all the rest."""
    at_rest = False
    try:
        while not at_rest:
            wait_settled()
            while _unlogged:
                with contextlib.suppress(IndexError):  # another one took it
                    _log.warning("%s", _unlogged.popleft())
            time.sleep(_STAYS)
            at_rest = rests(False) and not _unlogged
    except Exception:  # noqa: BLE001
        _log.exception("aiolots.tracking: the lock order could not be looked at")
    finally:
        if not at_rest:
            rests(True)
        # It was not started by threading, which may have noted it for the log, and would keep it.
        active = cast("dict[int, threading.Thread]", threading._active)  # type: ignore[attr-defined]
        if isinstance(active.get(threading.get_ident()), threading._DummyThread):
            active.pop(threading.get_ident(), None)


def reset() -> None:
    """Forget everything but which classes may be nested."""
    global graph, missed  # noqa: PLW0603
    nestable = graph.nestable
    graph = Graph()
    graph.nestable = nestable
    found.clear()
    _unlogged.clear()
    missed = 0


def forked() -> None:
    """In a forked child: who was at work is not here."""
    global _at_work, _worker
    _at_work, _worker = threading.Lock(), 0
