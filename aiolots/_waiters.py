"""Who waits for what: the lot's queues, as Python sees them."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from aiolots._lib import (
    INFOS,
    MUTEX,
    NULL,
    PARK,
    QUEUED,
    READ,
    READ_RECURSIVE,
    UPGRADABLE,
    UPGRADE,
    WORD,
    WRITE,
    ffi,
    lib,
)

if TYPE_CHECKING:
    from aiolots._front import LockBase

MODE_NAMES = {
    READ: "read",
    READ_RECURSIVE: "read_recursive",
    WRITE: "write",
    MUTEX: "lock",
    UPGRADABLE: "upgradable",
    UPGRADE: "upgrade",
    PARK: "park",
}
# Locks that somebody has waited for, by the address of their word: to name the lock of a waiter. Noted on the slow path.
contended: weakref.WeakValueDictionary[int, LockBase[Any]] = weakref.WeakValueDictionary()


@dataclass(frozen=True)
class Holder:
    """Who holds a lock, as far as anybody noted it. For diagnosis, never for exclusion.

    Attributes:
        mode: a mode's number.
        thread: token of the thread that acquired it; in a task: of the thread that its loop ran on.
        is_task: taken with the task's colour.
    """

    mode: int
    thread: int
    is_task: bool


def note_contention(lock: LockBase[Any]) -> None:
    """Somebody waits for this lock: remember which it is."""
    contended[lock.address] = lock


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


class _Info(NamedTuple):
    """A lots_waiter_info of the core."""

    word: int
    cookie: int
    owner: int
    ticket: int
    mode: int
    state: int
    draining: int
    is_task: int
    skipped: int

    @property
    def is_timed(self) -> bool:
        """Whether the wait has an end of its own: the last bit of every cookie says so."""
        return bool(self.cookie & 1)

    @property
    def thread(self) -> int:
        """The token of the thread that waits; what is before the last bit of a thread's cookie."""
        return 0 if self.is_task else self.cookie >> 1


def _infos(word: Any) -> list[_Info]:
    capacity = 64
    while True:
        out = ffi.new(INFOS, capacity)
        count = lib.lots_for_each(word, out, capacity)
        if count <= capacity:  # copied: what `out[i]` gives points into `out`
            return [_Info(*[int(getattr(out[i], field)) for field in _Info._fields]) for i in range(count)]
        capacity = count * 2


def waiters(lock: LockBase[Any] | None = None) -> list[Waiter]:
    """Return who waits for a lock, first come first (or, without one, for any lock). Takes no lock of yours, never waits."""
    infos = _infos(NULL if lock is None else _word_of(lock))
    infos.sort(key=lambda info: info.ticket)
    found: list[Waiter] = []
    for info in infos:
        known = contended.get(info.word)
        found.append(
            Waiter(
                lock_name=None if known is None else known.name,
                mode=MODE_NAMES[info.mode],
                is_task=bool(info.is_task),
                owner=info.owner,
                draining=bool(info.draining),
                woken=info.state != QUEUED,
                skipped=bool(info.skipped),
            )
        )
    return found


def waiters_of_thread(token: int) -> list[tuple[LockBase[Any], int]]:
    """Return the locks that a thread waits for without a timeout, each with the mode it asked for."""
    found: list[tuple[LockBase[Any], int]] = []
    for info in _infos(NULL):
        lock = contended.get(info.word)
        if lock is not None and info.thread == token and not info.is_timed:
            found.append((lock, info.mode))
    return found


def is_behind_an_untimed_thread(lock: LockBase[Any]) -> bool:
    """Whether a thread without a timeout owns WRITER and waits for readers to leave: new readers queue behind it."""
    return any(info.draining and info.thread and not info.is_timed for info in _infos(_word_of(lock)))


def _word_of(lock: LockBase[Any]) -> Any:
    return ffi.cast(WORD, lock.address)
