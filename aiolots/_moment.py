"""All locks that anybody had to wait for, at one moment: word, queue, holders, for who shows them.

It takes no lock and stops nobody, so the parts of it may be some microseconds apart.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from aiolots import _owners, _telling, _threads, _wait_graph
from aiolots import _task_graph as tasks_of
from aiolots._holds import Hold, InHand, Node, holds_of
from aiolots._waiters import _Info, _infos, _word_of, contended
from aiolots._word import DecodedWord, decode


@dataclass
class LockNow:
    """A lock at that moment."""

    lock: Any
    word: DecodedWord
    infos: list[_Info]  # who waits, first come first
    holds: list[Hold]

    @property
    def label(self) -> str:
        """Which lock it is."""
        return label_of(self.lock)


def label_of(lock: Any) -> str:
    """Return which lock that is: the repr of one, without its state."""
    name = f" at {lock.address:#x}" if lock.name is None else f" {lock.name!r}"
    return f"<aiolots.{type(lock).__name__}{name}>"


def _began(info: _Info) -> float | None:
    """Return the moment of time.monotonic() from which somebody waits, if the core has noted it."""
    nanoseconds: int = getattr(info, "since", 0)
    return nanoseconds / 1e9 if nanoseconds else None


class Since:
    """Since when somebody waits: as the core has noted it, else as it was seen by who looks again and again."""

    def __init__(self) -> None:
        self._seen: dict[tuple[Any, ...], float] = {}

    def look(self) -> None:
        """Note who waits now, and forget who does not."""
        now, seen = time.monotonic(), self._seen
        infos = [(_wait_graph.ticket_of(info), _began(info)) for info in _wait_graph.infos_of_locks()]
        self._seen = {key: seen.get(key, now) if began is None else began for key, began in infos}

    def seconds(self, key: tuple[Any, ...], now: float) -> float:
        """Return for how long that wait was seen, at least."""
        return now - self._seen.get(key, now)

    def longest(self, now: float) -> float:
        """Return the seconds of the longest wait of all."""
        return now - min(self._seen.values(), default=now)

    def of(self, info: _Info, now: float) -> float:
        """Return for how long a waiter was seen, at least."""
        return self.seconds(_wait_graph.ticket_of(info), now)


class Moment:
    """One look at everything, with the wait graph of it."""

    def __init__(self, since: Since) -> None:
        since.look()
        self.since = since
        self.now = time.monotonic()
        self.look = _wait_graph.look(everybody=True, ask=_telling.PATIENCE)
        holds: dict[int, list[Hold]] = {}
        for hold in self.look.holds:
            holds.setdefault(hold.lock.address, []).append(hold)
        self.locks = [self._lock(lock, holds.get(lock.address)) for lock in list(contended.values())]

    def _lock(self, lock: Any, holds: list[Hold] | None) -> LockNow:
        in_hand = self.look.in_hand or InHand((), lambda _task: 0)
        if holds is None:
            holds = holds_of(lock, in_hand, self.look.threads.ident_of)
        return LockNow(lock, decode(lock.word), _infos(_word_of(lock)), holds)

    @property
    def tasks(self) -> list[Any]:
        """The tasks of every loop; without a GIL what their loops have told of them, of those that did."""
        return list(self.look.tasks.values())

    def loop_of(self, node: Node) -> Any:
        """Return a task's loop."""
        return tasks_of.loop_of(self.look.tasks[node[1]])

    def name(self, node: Node) -> str:
        """Return who that is: thread 'name', task 'name'."""
        return _wait_graph.name_of(node, self.look)

    def holder(self, hold: Hold) -> str:
        """Return who holds, as far as that is known."""
        if not hold.owners:
            return self._unknown(hold)
        names = " or ".join(self.name(node) for node in hold.owners)
        return f"a task of the loop on {names}" if hold.by_some_task else names

    def _unknown(self, hold: Hold) -> str:
        what = "a task of the loop on " if hold.by_some_task else ""
        if not _threads.has_ended(hold.token):
            return f"{what}a thread that is not known"
        name = _threads.name_of_ended(hold.token)
        return f"{what}a thread that has ended" if name is None else f"{what}thread {name!r}, which has ended"

    def at(self, node: Node) -> str | None:
        """Return the place where a thread or task is now: the innermost that is the user's own."""
        frames = list(self.frames(node))
        return _owners.waits_at(iter(frames)) if frames else None

    def stack(self, node: Node) -> list[str]:
        """Return the calls of a thread, or the chain of coroutines of a task, innermost first."""
        return list(_owners.stack(iter(list(self.frames(node)))))

    def frames(self, node: Node) -> Any:
        """Return the frames of a thread or a task, innermost first."""
        kind, number = node
        if kind == "thread":
            return self.look.threads.calls(number)
        task = self.look.tasks.get(number)
        return iter(()) if task is None else tasks_of.frames(task)
