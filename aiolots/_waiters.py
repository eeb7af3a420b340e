"""Who waits for what: the lot's queues, as Python sees them."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from aiolots._contention import Kept, forget_the_gone, gone, label_of
from aiolots._lib import (
    FAIR_MUTEX,
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
    UPGRADABLE: "upgradable_read",
    UPGRADE: "upgrade",
    PARK: "park",
    FAIR_MUTEX: "lock",
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
        site: where the guard was asked for, as _refusals.place takes it; None if that is not known here.
    """

    mode: int
    thread: int
    is_task: bool
    site: Any = field(default=None, compare=False, repr=False, kw_only=True)

    def in_mode(self, mode: int) -> Holder:
        """The same, after a change of the mode."""
        return Holder(mode, self.thread, self.is_task, site=self.site)


def note_contention(lock: LockBase[Any]) -> None:
    """Somebody waits for this lock: remember which it is, and count what that costs."""
    if lock._kept is None:
        lock._kept = Kept(label_of(lock))
    contended[lock.address] = lock


def contended_locks() -> list[LockBase[Any]]:
    """Return the locks that somebody has waited for, and that are alive."""
    # Not values(): another thread may add one meanwhile. valuerefs() copies in one step.
    return [lock for reference in contended.valuerefs() if (lock := reference()) is not None]


def _begin_again() -> None:
    """In a forked child: the waits so far were its parent's."""
    forget_the_gone(gone)
    for lock in contended_locks():
        if lock._kept is not None:
            lock._kept.forget()
        lock._longest = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_again)


@dataclass(frozen=True)
class Waiter:
    """One waiter in the lot.

    Attributes:
        lock_name: name of the lock it waits for, if it has one and still exists; of a condvar's waiter: that it will take.
        mode: "read", "read_recursive", "write", "lock", "upgradable_read", "upgrade", or "park": no lock at all.
        is_task: a task waits, not a thread.
        owner: the thread's ident, or the id() of the task.
        draining: a writer that owns WRITER and waits for readers to leave.
        woken: a task whose wake is under way: it has not run since.
        skipped: a task that was passed over because its event loop cannot run.
        key: the address of what it is queued at: of the key of a park, a condvar, a semaphore...; of a lock's word.
        ticket: tells two waiters at one key apart, and who came first.
        expects: it waits to be notified or unparked. False: for its turn with the lock, also after a condvar's notification.
        since: when it was queued, in seconds of time.monotonic(); after a notification: when it was queued for the lock.
    """

    lock_name: str | None
    mode: str
    is_task: bool
    owner: int
    draining: bool
    woken: bool
    skipped: bool
    key: int = 0
    ticket: int = 0
    expects: bool = False
    since: float = 0.0


class _Info(NamedTuple):
    """A lots_waiter_info of the core."""

    word: int
    key: int
    cookie: int
    owner: int
    ticket: int
    mode: int
    state: int
    draining: int
    is_task: int
    skipped: int
    expects: int
    since: int

    @property
    def is_timed(self) -> bool:
        """Whether the wait has an end of its own: the last bit of every cookie says so."""
        return bool(self.cookie & 1)

    @property
    def thread(self) -> int:
        """The token of the thread that waits; what is before the last bit of a thread's cookie."""
        return 0 if self.is_task else self.cookie >> 1


_ANY: Any = object()


def _infos(word: Any, key: int | None = None) -> list[_Info]:
    capacity = 64
    while True:
        out = ffi.new(INFOS, capacity)
        count = lib.lots_for_each(word, out, capacity) if key is None else lib.lots_for_key(key, out, capacity)
        if count <= capacity:
            infos = [_info(out[i]) for i in range(count)]
            infos.sort(key=lambda info: info.ticket)
            return infos
        capacity = count * 2


def first_infos(lock: LockBase[Any], most: int) -> Callable[[], list[_Info]]:
    """Look who is queued for a lock, first come first, `most` at most, and at no more than those; return what gives them."""
    out = ffi.new(INFOS, most)
    count = lib.lots_first(_word_of(lock), out, most)
    return lambda: [_info(out[i]) for i in range(count)]


def _info(found: Any) -> _Info:
    """Copy what points into memory of cffi's."""
    return _Info(*[int(getattr(found, field)) for field in _Info._fields])


def infos_at(address: int) -> list[_Info]:
    """Return who waits at a key, given by its address, first come first."""
    return _infos(NULL, address)


def waiters(lock: LockBase[Any] | None = None, *, key: object = _ANY) -> list[Waiter]:
    """Return who waits for a lock, first come first; or, without one, for anything.

    With `key`: who waits at that very object, as given to park; a condvar, semaphore, event or barrier is its own key. Takes
    no lock of yours, never waits.
    """
    if lock is not None and key is not _ANY:
        raise TypeError("waiters of a lock, or at a key, not both")
    if key is not _ANY:
        return [waiter_of(info) for info in infos_at(id(key))]
    return [waiter_of(info) for info in _infos(NULL if lock is None else _word_of(lock))]


def waiter_of(info: _Info) -> Waiter:
    """Return what users are told of a waiter."""
    known = contended.get(info.word)
    return Waiter(
        lock_name=None if known is None else known.name,
        mode=MODE_NAMES[info.mode],
        is_task=bool(info.is_task),
        owner=info.owner,
        draining=bool(info.draining),
        woken=info.state != QUEUED,
        skipped=bool(info.skipped),
        key=info.key,
        ticket=info.ticket,
        expects=bool(info.expects),
        since=info.since / 1e9,
    )


def waiters_of_thread(token: int) -> list[tuple[LockBase[Any], int]]:
    """Return the locks that a thread waits for without a timeout, each with the mode it asked for.

    Not what it will take once it was notified: the notification may come from anywhere.
    """
    found: list[tuple[LockBase[Any], int]] = []
    for info in _infos(NULL):
        lock = contended.get(info.word)
        if lock is not None and info.thread == token and not info.is_timed and not info.expects:
            found.append((lock, info.mode))
    return found


def is_behind_an_untimed_thread(lock: LockBase[Any]) -> bool:
    """Whether a thread without a timeout owns WRITER and waits for readers to leave: new readers queue behind it."""
    return any(info.draining and info.thread and not info.is_timed for info in _infos(_word_of(lock)))


def _word_of(lock: LockBase[Any]) -> Any:
    return ffi.cast(WORD, lock.address)
