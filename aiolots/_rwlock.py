"""The read-write lock."""

from __future__ import annotations

from typing import Any, Generic, TypeVar, cast, overload

from aiolots import _seconds
from aiolots._copying import Copyable
from aiolots._front import LockBase, ReadRequest, Request, WriteRequest
from aiolots._guards import AsyncReadGuard, AsyncWriteGuard, ReadGuard, WriteGuard
from aiolots._lib import READ, READ_RECURSIVE, WRITE
from aiolots._statistics import LockStatistics, statistics_of
from aiolots._word import decode

T = TypeVar("T")


class RwLock(Copyable, LockBase[T], Generic[T]):
    """A read-write lock around a value, for threads and event loops at once: all of its state is one 64-bit word.

    Any number of readers, or one writer. Writers are preferred: while one waits, new readers queue behind it; those that
    queued while it was in enter together when it leaves, so a looping writer does not starve them either. A task and a
    thread take the same lock; any number of loops may. Made without a running loop, it may be a module's global.

    Args:
        value: what it protects; `guard.value` gives it to whoever holds the lock. None if the lock protects something else.
        name: appears in messages and repr.
    """

    __slots__ = ()

    @overload
    def __init__(self: RwLock[None], value: None = None, *, name: str | None = None) -> None: ...
    @overload
    def __init__(self, value: T, *, name: str | None = None) -> None: ...
    def __init__(self, value: Any = None, *, name: str | None = None) -> None:
        super().__init__(cast("T", value), name=name)

    def read(self, timeout: float | None = None) -> Request[ReadGuard[T], AsyncReadGuard[T]]:
        """Request a share: `with lock.read() as guard:` in a thread, `async with lock.read() as guard:` in a task.

        Waits while a writer is in, or waits to get in: so asking again while holding a share can deadlock with a writer;
        see read_recursive. Blocks in a thread, suspends in a task (free, it does neither). With a timeout in seconds it
        raises LockTimeout when that runs out. Cancellation and Ctrl-C leave no trace. ValueError for a negative timeout.
        """
        limit = None if timeout is None else ("seconds", _seconds.checked(timeout))
        return ReadRequest(self, READ, limit, raises=True)

    def read_recursive(self, timeout: float | None = None) -> Request[ReadGuard[T], AsyncReadGuard[T]]:
        """Request a share that also enters while a writer waits, if readers are in: safe for who holds a share already.

        Otherwise the same as read(). Used for first shares it lets readers starve writers.
        """
        limit = None if timeout is None else ("seconds", _seconds.checked(timeout))
        return ReadRequest(self, READ_RECURSIVE, limit, raises=True)

    def write(self, timeout: float | None = None) -> Request[WriteGuard[T], AsyncWriteGuard[T]]:
        """Request the lock for oneself alone: `with lock.write() as guard:`, in a task `async with lock.write() as guard:`.

        Waits for the readers that are in; new ones queue behind it meanwhile. Blocks in a thread, suspends in a task (free,
        it does neither). With a timeout in seconds it raises LockTimeout when that runs out. Cancelled, timed out or
        interrupted, it lets the readers that queued behind it in at once. ValueError for a negative timeout.
        """
        limit = None if timeout is None else ("seconds", _seconds.checked(timeout))
        return WriteRequest(self, WRITE, limit, raises=True)

    def try_read(self) -> ReadGuard[T] | None:
        """Take a share now; None if that would mean to wait. Never waits; the guard has the thread's colour."""
        guard = ReadRequest(self, READ, None, raises=False)
        return guard if guard._try() else None

    def try_read_recursive(self) -> ReadGuard[T] | None:
        """Take a share now, past a waiting writer if readers are in; None if that would mean to wait. Never waits."""
        guard = ReadRequest(self, READ_RECURSIVE, None, raises=False)
        return guard if guard._try() else None

    def try_write(self) -> WriteGuard[T] | None:
        """Take the lock for oneself alone now; None if it would have to wait. Never waits; the thread's colour."""
        guard = WriteRequest(self, WRITE, None, raises=False)
        return guard if guard._try() else None

    def try_read_for(self, seconds: float) -> Request[ReadGuard[T] | None, AsyncReadGuard[T] | None]:
        """Request a share, waiting up to `seconds` (0: try once; inf: for ever).

        Entered or acquired it gives the guard, or None when the time ran out: then nothing is held and nobody is queued.
        Blocks in a thread, suspends in a task; cancellation and Ctrl-C as in read(). ValueError if negative or NaN,
        TypeError if no number.
        """
        return ReadRequest(self, READ, ("seconds", _seconds.checked(seconds)), raises=False)

    def try_read_until(self, moment: float) -> Request[ReadGuard[T] | None, AsyncReadGuard[T] | None]:
        """The same as try_read_for, until a moment of time.monotonic(), in seconds. A moment in the past tries once."""
        return ReadRequest(self, READ, ("moment", _seconds.checked_moment(moment)), raises=False)

    def try_read_recursive_for(self, seconds: float) -> Request[ReadGuard[T] | None, AsyncReadGuard[T] | None]:
        """Request a share that may pass a waiting writer, waiting up to `seconds` (0: try once; inf: for ever).

        Entered or acquired it gives the guard, or None when the time ran out: then nothing is held and nobody is queued.
        Blocks in a thread, suspends in a task; cancellation and Ctrl-C as in read_recursive(). ValueError if negative or NaN,
        TypeError if no number.
        """
        return ReadRequest(self, READ_RECURSIVE, ("seconds", _seconds.checked(seconds)), raises=False)

    def try_read_recursive_until(self, moment: float) -> Request[ReadGuard[T] | None, AsyncReadGuard[T] | None]:
        """try_read_recursive_for until a moment of time.monotonic(), in seconds. A moment in the past tries once."""
        return ReadRequest(self, READ_RECURSIVE, ("moment", _seconds.checked_moment(moment)), raises=False)

    def try_write_for(self, seconds: float) -> Request[WriteGuard[T] | None, AsyncWriteGuard[T] | None]:
        """Request the lock for oneself alone, waiting up to `seconds` (0: try once; inf: for ever).

        Entered or acquired it gives the guard, or None when the time ran out: then nothing is held and nobody is queued.
        Blocks in a thread, suspends in a task; cancellation and Ctrl-C as in write(). ValueError if negative or NaN,
        TypeError if no number.
        """
        return WriteRequest(self, WRITE, ("seconds", _seconds.checked(seconds)), raises=False)

    def try_write_until(self, moment: float) -> Request[WriteGuard[T] | None, AsyncWriteGuard[T] | None]:
        """The same as try_write_for, until a moment of time.monotonic(), in seconds. A moment in the past tries once."""
        return WriteRequest(self, WRITE, ("moment", _seconds.checked_moment(moment)), raises=False)

    def is_locked(self) -> bool:
        """Return whether anybody holds the lock, in any mode. Never waits."""
        word = decode(self.word)
        return word.write_locked or word.readers > 0

    def is_locked_exclusive(self) -> bool:
        """Return whether a writer holds the lock. Never waits."""
        return decode(self.word).write_locked

    def reader_count(self) -> int:
        """Return how many readers hold the lock. Never waits."""
        return decode(self.word).readers

    def statistics(self) -> LockStatistics:
        """Return who holds and how many wait, as a frozen dataclass. Never waits."""
        return statistics_of(self)

    def _try_look(self) -> ReadGuard[T] | None:
        return self.try_read()
