"""Locks that a test leaves held.

Every lock that is alive is looked at before a test, and after it and its fixtures: its word says whether it is held, and
that is all that a test costs. Only if one is held that was not before, whoever holds it is looked for.

Not the test's is what somebody took who was there before it: a thread or a task of a fixture of wider scope. What the setup
of such a fixture takes, it keeps for the tests to come.
"""

from __future__ import annotations

import threading
import time
import weakref
from dataclasses import dataclass
from typing import Any

from aiolots import _living, _owners
from aiolots import _task_graph as tasks_of
from aiolots._holds import _MODES, Hold, InHand, _share, holds_of
from aiolots._lib import MUTEX
from aiolots._pure import PureLock
from aiolots._refusals import place
from aiolots._word import decode

_LOOKS, _PAUSE = 15, 0.01  # what somebody is about to release is no leak


@dataclass(frozen=True)
class Held:
    """A hold of a lock, with who will end it."""

    hold: Hold
    place: str | None  # where its guard was asked for
    owners: tuple[Any, ...]  # tasks that have the guard in hand; else the thread that took it, if that is known
    identity: tuple[Any, ...]

    @property
    def lock(self) -> Any:
        """The lock that is held."""
        return self.hold.lock

    def __str__(self) -> str:
        asked = "taken without a guard" if self.place is None else f"asked for at {self.place}"
        names = [
            f"thread {owner.name!r}" if isinstance(owner, threading.Thread) else f"task {tasks_of.name_of(owner)!r}"
            for owner in self.owners
        ]
        who = " or ".join(names) or "a thread that has ended or is not known"
        return f"{self.lock!r} ({self.hold}), {asked}, by {'a task of the loop on ' if self.hold.by_some_task else ''}{who}"


def holds(locks: list[Any]) -> list[Held]:
    """Return who holds these locks, as far as that is known. Walks through all objects: some milliseconds."""
    threads = _owners.Threads()
    tasks = {id(task): task for task in tasks_of.every_task()}
    in_hand = InHand(tasks.values(), lambda _task: 0)
    wanted = {id(lock) for lock in locks}
    guards = [found for found in _living.held_guards() if id(found[0]._lock) in wanted]
    found: list[Held] = []
    for lock in locks:
        for hold in holds_of(lock, in_hand, threads.ident_of):
            things = [tasks.get(number) if kind == "task" else threads.active.get(number) for kind, number in hold.owners]
            where, identity = hold.place, hold.identity
            if identity[0] == "noted":
                asked_for, identity = _guard_of(hold, guards)
                where = where or asked_for
            found.append(Held(hold, where, tuple(thing for thing in things if thing is not None), identity))
    return found


def _guard_of(hold: Hold, guards: list[tuple[Any, int, bool]]) -> tuple[str | None, tuple[Any, ...]]:
    """Find the guard of a hold of which only mode and thread were noted, and take it from the list: where, and which."""
    token, is_task = hold.identity[3:]
    mode = hold.mode
    for found in guards:
        guard = found[0]
        same_mode = _share(_MODES.get(type(guard).__name__, MUTEX)) == _share(mode)
        if guard._lock is hold.lock and same_mode and found[1:] == (token, is_task):
            guards.remove(found)
            return place(guard._site), ("guard", id(guard), mode)
    for holder in hold.lock._holder_list() if PureLock in type(hold.lock).__mro__ else ():
        if (holder.mode, holder.thread, holder.is_task) == (mode, token, is_task) and holder.site is not None:
            return place(holder.site), (*hold.identity, holder.site)
    return None, hold.identity


@dataclass
class Baseline:
    """What was held when a test began, and who was there."""

    words: dict[int, tuple[Any, int]]  # the lock is kept, so that its address is nobody else's
    threads: set[threading.Thread]
    tasks: weakref.WeakSet[Any]

    @classmethod
    def now(cls) -> Baseline:
        """Look at all locks."""
        return cls(_words(), set(threading.enumerate()), weakref.WeakSet(tasks_of.every_task()))

    @classmethod
    def of_nothing(cls) -> Baseline:
        """There was no lock, and nobody who could have one."""
        return cls({}, set(), weakref.WeakSet())

    def allow(self, before: dict[int, tuple[Any, int]]) -> None:
        """What is held now and was not `before` is a fixture's: no leak."""
        self.words.update({address: now for address, now in _words().items() if _is_more(now, before.get(address))})

    def _is_others(self, held: Held) -> bool:
        """Whether all who could release it were there before the test; whoever runs the test does not count as such."""
        here = threading.current_thread()
        return bool(held.owners) and all(
            owner is not here and (owner in self.threads if isinstance(owner, threading.Thread) else owner in self.tasks)
            for owner in held.owners
        )

    def _suspects(self) -> list[Any]:
        return [now[0] for address, now in _words().items() if _is_more(now, self.words.get(address))]

    def left(self) -> list[str]:
        """Return a line for each hold that the test left behind. Waits a moment where somebody may be about to release."""
        suspects = self._suspects()
        if not suspects:
            return []
        first = {hold.identity: hold for hold in holds(suspects)}
        known = [hold.lock for hold in first.values()]
        nobody = [lock for lock in suspects if all(lock is not other for other in known)]
        for _ in range(_LOOKS):
            if all(map(self._is_others, first.values())) and not nobody:
                return []
            time.sleep(_PAUSE)
            suspects = self._suspects()
            again = {hold.identity for hold in (holds(suspects) if suspects else ())}
            first = {identity: hold for identity, hold in first.items() if identity in again}
            nobody = [lock for lock in nobody if any(lock is other for other in suspects)]
        lines = [str(hold) for hold in first.values() if not self._is_others(hold)]
        return lines + [f"{lock!r}, by nobody whose guard is alive: see aiolots.audit" for lock in nobody]


def _words() -> dict[int, tuple[Any, int]]:
    """Return the locks that are held, and their words, by address."""
    return {lock.address: (lock, word) for lock in _living.locks() if (word := lock.word) >> 2}


def words() -> dict[int, tuple[Any, int]]:
    """Return the same, to be given to Baseline.allow later."""
    return _words()


def _is_more(now: tuple[Any, int], before: tuple[Any, int] | None) -> bool:
    if before is None:
        return True
    new, old = decode(now[1]), decode(before[1])
    return (
        new.readers > old.readers
        or (new.write_locked and not old.write_locked)
        or (new.upgradable and not old.upgradable)
    )
