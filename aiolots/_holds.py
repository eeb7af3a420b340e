"""Who holds the locks that are waited for, as the wait graph wants it: each hold with those who will end it.

A hold ends when its owner lets go. The owner of a guard that tasks have in hand is whoever of them has it; else it is the
thread that acquired it, or, taken with the task's colour, some task of the loop on that thread: that one cannot be named,
but it can let go of nothing while the thread sleeps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from aiolots import _task_graph as tasks_of
from aiolots import _track
from aiolots._front import NATIVE, FairMutexFront, MutexFront, ReentrantFront, RwLockFront
from aiolots._lib import FAIR_MUTEX, MUTEX, READ, READ_RECURSIVE, UPGRADABLE, WRITE
from aiolots._mapping import MappedGuard
from aiolots._pure import PureLock, Request
from aiolots._pure_reentrant import ReentrantRequest
from aiolots._refusals import place
from aiolots._waiters import MODE_NAMES, Holder

_natives: list[type] = []
if NATIVE:
    from aiolots import _native

    _natives.append(_native.WriteRequest.__mro__[1])  # what all four are
_GUARDS: frozenset[type] = frozenset({Request, ReentrantRequest, *_natives})
_LOCKS: frozenset[type] = frozenset({PureLock, RwLockFront, MutexFront, FairMutexFront, ReentrantFront})

# What a guard holds, by the name of its class, the same on both fronts.
_MODES = {"ReadRequest": READ, "WriteRequest": WRITE, "UpgradableRequest": UPGRADABLE}
ALONE = (WRITE, MUTEX, FAIR_MUTEX)

Node = tuple[str, int]  # ("thread", ident) or ("task", id)


@dataclass(frozen=True)
class Hold:
    """One hold of a lock: which, and who will end it (all that have the guard in hand; nobody: not known)."""

    lock: Any
    mode: int
    owners: tuple[Node, ...]
    place: str | None  # where the guard was asked for; tracked, where the lock was acquired
    by_some_task: bool  # of the loop on that thread: which one is not known
    of_task: bool  # taken with the task's colour
    identity: tuple[Any, ...] = field(repr=False)
    token: int = 0  # of the thread that acquired it, where nobody has it in hand

    def __str__(self) -> str:
        return MODE_NAMES[self.mode]


class InHand:
    """The guards that tasks have in hand."""

    def __init__(self, tasks: Iterable[Any], waits_for: Callable[[Any], int]) -> None:
        """Look at the tasks; waits_for(task) is the address of the lock that a task waits for, or 0."""
        self._guards: dict[int, tuple[Any, list[Node]]] = {}
        self._bare: dict[int, list[Node]] = {}
        for task in tasks:
            self._look_at(task, waits_for(task))

    def _look_at(self, task: Any, awaited: int) -> None:
        node, exits = ("task", id(task)), Counter[int]()
        for thing, method in tasks_of.in_hand(task):
            kinds = type(thing).__mro__
            if MappedGuard in kinds:
                self._found(thing._guard, node)
            elif not _GUARDS.isdisjoint(kinds):
                self._found(thing, node)
            elif method in ("__exit__", "__aexit__") and not _LOCKS.isdisjoint(kinds):
                exits[thing.address] += 1
        for address, count in exits.items():
            # `async with mutex` has its exit ready when it begins to wait.
            if count > (address == awaited):
                self._bare.setdefault(address, []).append(node)

    def _found(self, guard: Any, node: Node) -> None:
        owners = self._guards.setdefault(id(guard), (guard, []))[1]
        if node not in owners:
            owners.append(node)

    def of(self, lock: Any) -> list[Hold]:
        """Return the holds of a lock that tasks have in hand."""
        found: list[Hold] = []
        for guard, owners in self._guards.values():
            if guard._lock is lock and guard._holds():
                mode = _MODES.get(type(guard).__name__, MUTEX)
                colour, identity = bool(getattr(guard, "_of_task", True)), ("guard", id(guard), mode)
                found.append(Hold(lock, mode, tuple(owners), place(guard._site), False, colour, identity))
        bare = self._bare.get(lock.address, ()) if lock.word else ()
        return found + [Hold(lock, MUTEX, (owner,), None, False, True, ("bare", lock.address, owner)) for owner in bare]

    def believes(self, _hold: Hold) -> bool:
        """Whether nobody else could end that hold, for all that is known: every task was looked at."""
        return True


def holds_of(lock: Any, in_hand: InHand, ident_of: Callable[[int], int | None]) -> list[Hold]:
    """Return the holds of a lock, as far as they are known; ident_of(token) names a thread. Tracked, with their places."""
    found = _holds_of(lock, in_hand, ident_of)
    tracked = _track.records(lock, 1000)[0] if any(hold.place is None for hold in found) else []
    return [_with_place(hold, tracked) for hold in found] if tracked else found


def _with_place(hold: Hold, tracked: list[_track.Record]) -> Hold:
    for record in tracked if hold.place is None else ():
        same_owner = hold.mode in ALONE or (hold.identity[0] == "noted" and hold.identity[3] == record.token)
        if _share(record.mode) == _share(hold.mode) and same_owner:
            tracked.remove(record)
            return replace(hold, place=place(record.site))
    return hold


def _holds_of(lock: Any, in_hand: InHand, ident_of: Callable[[int], int | None]) -> list[Hold]:
    holders: list[Holder] = list(lock._holder_list())
    found = in_hand.of(lock) if holders else []
    owners: tuple[Node, ...]
    if ReentrantFront in type(lock).__mro__:
        return _owned(lock, ident_of, found[0].place if found else None)
    if any(holder.mode in ALONE for holder in holders):
        found = [hold for hold in found if hold.mode in ALONE]
        if len(found) > 1:  # a mutex without a guard, in the hands of several: only one of them has it
            owners = tuple(owner for hold in found for owner in hold.owners)
            found = [Hold(lock, MUTEX, owners, None, False, True, ("bare", lock.address, *owners))]
        if found:
            return found
    left = Counter((_share(holder.mode), holder.is_task) for holder in holders)
    left -= Counter((_share(hold.mode), hold.of_task) for hold in found)
    for holder in holders:
        kind = (_share(holder.mode), holder.is_task)
        ident = ident_of(holder.thread)
        if left[kind] <= 0:
            continue
        left[kind] -= 1
        owners = () if ident is None else (("thread", ident),)
        identity = ("noted", id(lock), holder.mode, holder.thread, holder.is_task)
        found.append(Hold(lock, holder.mode, owners, None, holder.is_task, holder.is_task, identity, holder.thread))
    return found


def _share(mode: int) -> int:
    return READ if mode == READ_RECURSIVE else mode


def _owned(lock: Any, ident_of: Callable[[int], int | None], place: str | None) -> list[Hold]:
    note = lock._owner_note
    if note is None:
        return []
    task, thread, of_task, _, number = note
    if tasks_of.is_task(task):
        owners: tuple[Node, ...] = (("task", id(task)),)
    else:
        ident = ident_of(thread)
        owners = () if ident is None else (("thread", ident),)
    return [Hold(lock, MUTEX, owners, place, False, of_task, ("owned", id(lock), number), thread)]
