"""Who waits for what: the lot's queues, as Python sees them."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiolots._lib import MUTEX, NULL, QUEUED, READ, READ_RECURSIVE, WRITE, ffi, lib

if TYPE_CHECKING:
    from aiolots._front import LockBase

MODE_NAMES = {READ: "read", READ_RECURSIVE: "read_recursive", WRITE: "write", MUTEX: "lock"}
_TIMED = 1

# Locks that somebody has waited for, by the address of their word: to name the lock of a waiter. Noted on the slow path.
contended: weakref.WeakValueDictionary[int, LockBase[Any]] = weakref.WeakValueDictionary()


@dataclass(frozen=True)
class Holder:
    """Who holds a lock, as far as anybody noted it. For diagnosis, never for exclusion.

    Attributes:
        mode: a mode's number.
        thread: ident of the thread that acquired it, in a task: of the thread that its loop ran on.
        is_task: taken with the task's colour.
    """

    mode: int
    thread: int
    is_task: bool


def note_contention(lock: LockBase[Any]) -> None:
    """Somebody waits for this lock: remember which it is."""
    contended[lock._address] = lock


@dataclass(frozen=True)
class Waiter:
    """One waiter in the lot.

    Attributes:
        lock_name: name of the lock it waits for, if it has one and still exists.
        mode: "read", "read_recursive", "write" or "lock".
        is_task: a task waits, not a thread.
        owner: the thread's ident, or the id() of the task.
        draining: a writer that owns WRITER and waits for readers to leave.
        woken: a task whose wake is under way: it has not run since.
        skipped: a task that was passed over because its event loop cannot run.
    """

    lock_name: str | None
    mode: str
    is_task: bool
    owner: int
    draining: bool
    woken: bool
    skipped: bool


def _infos(word: Any) -> list[Any]:
    capacity = 64
    while True:
        out = ffi.new("lots_waiter_info[]", capacity)
        count = lib.lots_for_each(word, out, capacity)
        if count <= capacity:
            return [out[i] for i in range(count)]
        capacity = count * 2


def waiters(lock: LockBase[Any] | None = None) -> list[Waiter]:
    """Return who waits for a lock, first come first (or, without one, for any lock). Takes no lock of yours, never waits."""
    infos = _infos(NULL if lock is None else ffi.cast("lots_word *", lock._address))
    infos.sort(key=lambda info: info.ticket)
    found: list[Waiter] = []
    for info in infos:
        known = contended.get(int(info.word))
        found.append(
            Waiter(
                lock_name=None if known is None else known.name,
                mode=MODE_NAMES[info.mode],
                is_task=bool(info.is_task),
                owner=int(info.owner),
                draining=bool(info.draining),
                woken=info.state != QUEUED,
                skipped=bool(info.skipped),
            )
        )
    return found


def waiters_of_thread(ident: int) -> list[tuple[LockBase[Any], int]]:
    """Return the locks that a thread waits for without a timeout, each with the mode it asked for."""
    found: list[tuple[LockBase[Any], int]] = []
    for info in _infos(NULL):
        lock = contended.get(int(info.word))
        if lock is not None and not info.is_task and info.owner == ident and info.cookie != _TIMED:
            found.append((lock, int(info.mode)))
    return found
