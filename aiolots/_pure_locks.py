"""The locks of the front in Python: everything that is called often. `aiolots._native` has the same as C types."""

from __future__ import annotations

import sys
import threading
from collections.abc import Generator
from types import CodeType, FrameType, TracebackType
from typing import Any, Generic, Self, TypeVar

from aiolots import _loops, _pure_tracking, _refusals, _seconds, _wait, _watched
from aiolots._guards import (
    AsyncMutexGuard,
    AsyncReadGuard,
    AsyncUpgradableGuard,
    AsyncWriteGuard,
    MutexGuard,
    ReadGuard,
    UpgradableGuard,
    WriteGuard,
)
from aiolots._lib import BY_CANCEL, FAIR_MUTEX, HELD, MUTEX, NULL, READ, READ_RECURSIVE, READY, UPGRADABLE, WRITE, lib
from aiolots._pure import MutexRequest, PureLock, ReadRequest, Request, UpgradableRequest, WriteRequest, new_op
from aiolots._waiters import Holder
from aiolots._word import WRITER

T = TypeVar("T")


class RwLockFront(PureLock[T], Generic[T]):
    """The hot half of RwLock."""

    __slots__ = ()

    def read(self, timeout: float | None = None) -> Request[ReadGuard[T], AsyncReadGuard[T]]:
        """Request a share: `with lock.read() as guard:` in a thread, `async with lock.read() as guard:` in a task.

        Waits while a writer is in, or waits to get in: so asking again while holding a share can deadlock with a writer
        (DeadlockError, where that is certain); see read_recursive. Blocks in a thread, suspends in a task (free, it does
        neither). With a timeout in seconds it raises LockTimeout when that runs out. Cancellation and Ctrl-C leave no trace.
        ValueError for a negative timeout.
        """
        limit = None if timeout is None else ("seconds", _seconds.checked(timeout))
        return ReadRequest(self, READ, limit, raises=True)

    def read_recursive(self, timeout: float | None = None) -> Request[ReadGuard[T], AsyncReadGuard[T]]:
        """Request a share that also enters while a writer waits, if readers are in: safe for who holds a share already.

        Otherwise the same as read(). Used for first shares it lets readers starve writers.
        """
        limit = None if timeout is None else ("seconds", _seconds.checked(timeout))
        return ReadRequest(self, READ_RECURSIVE, limit, raises=True)

    def upgradable_read(self, timeout: float | None = None) -> Request[UpgradableGuard[T], AsyncUpgradableGuard[T]]:
        """Request the one share that may become the writer: `with lock.upgradable_read() as guard:`, then guard.upgrade().

        Plain readers come and go beside it; a second upgradable reader waits, and so does a writer. Blocks in a thread,
        suspends in a task (free, it does neither). With a timeout in seconds it raises LockTimeout when that runs out.
        Cancellation and Ctrl-C leave no trace. ValueError for a negative timeout.
        """
        limit = None if timeout is None else ("seconds", _seconds.checked(timeout))
        return UpgradableRequest(self, UPGRADABLE, limit, raises=True)

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
        return ReadRequest(self, READ, None, raises=False)._now()  # type: ignore[no-any-return]

    def try_read_recursive(self) -> ReadGuard[T] | None:
        """Take a share now, past a waiting writer if readers are in; None if that would mean to wait. Never waits."""
        return ReadRequest(self, READ_RECURSIVE, None, raises=False)._now()  # type: ignore[no-any-return]

    def try_upgradable_read(self) -> UpgradableGuard[T] | None:
        """Take the upgradable share now; None if that would mean to wait. Never waits; the thread's colour."""
        return UpgradableRequest(self, UPGRADABLE, None, raises=False)._now()  # type: ignore[no-any-return]

    def try_write(self) -> WriteGuard[T] | None:
        """Take the lock for oneself alone now; None if it would have to wait. Never waits; the thread's colour."""
        return WriteRequest(self, WRITE, None, raises=False)._now()  # type: ignore[no-any-return]

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

    def try_upgradable_read_for(self, seconds: float) -> Request[UpgradableGuard[T] | None, AsyncUpgradableGuard[T] | None]:
        """Request the upgradable share, waiting up to `seconds` (0: try once; inf: for ever).

        Entered or acquired it gives the guard, or None when the time ran out: then nothing is held and nobody is queued.
        Blocks in a thread, suspends in a task; cancellation and Ctrl-C as in upgradable_read(). ValueError if negative or
        NaN, TypeError if no number.
        """
        return UpgradableRequest(self, UPGRADABLE, ("seconds", _seconds.checked(seconds)), raises=False)

    def try_upgradable_read_until(self, moment: float) -> Request[UpgradableGuard[T] | None, AsyncUpgradableGuard[T] | None]:
        """try_upgradable_read_for until a moment of time.monotonic(), in seconds. A moment in the past tries once."""
        return UpgradableRequest(self, UPGRADABLE, ("moment", _seconds.checked_moment(moment)), raises=False)

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


class MutexFront(PureLock[T], Generic[T]):
    """The hot half of Mutex."""

    __slots__ = ("_op",)

    _MODE = MUTEX  # how one waits for it
    _op: Any  # of the acquire() that holds it, if one does

    def __init__(self, value: T, *, name: str | None = None) -> None:
        super().__init__(value, name=name)
        self._op = None

    def lock(self, timeout: float | None = None) -> Request[MutexGuard[T], AsyncMutexGuard[T]]:
        """Request the mutex: `with mutex.lock() as guard:` in a thread, `async with mutex.lock() as guard:` in a task.

        Blocks in a thread, suspends in a task (free, it does neither). With a timeout in seconds it raises LockTimeout when
        that runs out. Cancellation and Ctrl-C leave no trace. ValueError for a negative timeout.
        """
        limit = None if timeout is None else ("seconds", _seconds.checked(timeout))
        return MutexRequest(self, self._MODE, limit, raises=True)

    def try_lock(self) -> MutexGuard[T] | None:
        """Take the mutex now; None if that would mean to wait. Never waits; the guard has the thread's colour."""
        return MutexRequest(self, self._MODE, None, raises=False)._now()  # type: ignore[no-any-return]

    def try_lock_for(self, seconds: float) -> Request[MutexGuard[T] | None, AsyncMutexGuard[T] | None]:
        """Request the mutex, waiting up to `seconds` (0: try once; inf: for ever).

        Entered or acquired it gives the guard, or None when the time ran out: then nothing is held and nobody is queued.
        Blocks in a thread, suspends in a task; cancellation and Ctrl-C as in lock(). ValueError if negative or NaN,
        TypeError if no number.
        """
        return MutexRequest(self, self._MODE, ("seconds", _seconds.checked(seconds)), raises=False)

    def try_lock_until(self, moment: float) -> Request[MutexGuard[T] | None, AsyncMutexGuard[T] | None]:
        """The same as try_lock_for, until a moment of time.monotonic(), in seconds. A moment in the past tries once."""
        return MutexRequest(self, self._MODE, ("moment", _seconds.checked_moment(moment)), raises=False)

    # --- as threading.Lock and asyncio.Lock ---

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Acquire from a thread, as threading.Lock.acquire: without a guard, to be released by release().

        Blocks up to `timeout` seconds (-1: for ever), or not at all with `blocking=False`. Returns whether it is held now.
        ValueError and OverflowError as threading.Lock has them; DeadlockError if the wait could never end; interrupted by
        signal handlers that raise.
        """
        if not blocking and timeout != -1:
            raise ValueError("can't specify a timeout for a non-blocking call")
        if timeout != -1 and not timeout >= 0:
            raise ValueError("timeout value must be a non-negative number")
        if timeout > threading.TIMEOUT_MAX:
            raise OverflowError("timeout value is too large")
        op = self._new_op()
        try:
            acquired = self._acquire(op, (None if timeout == -1 else float(timeout)) if blocking else 0, None)
        except BaseException:  # also out of a signal handler, right after it was acquired
            self._give_up(op)
            raise
        return acquired

    def _acquire(self, op: Any, seconds: float | None, site: tuple[CodeType, int] | None) -> bool:
        if lib.lots_op_try(op) != READY and not _wait.block(self, op, self._MODE, seconds):
            return False
        self._taken(op, is_task=False, waits=seconds is None, site=site)
        if _watched.suspends:
            _watched.taken_by_thread(self)
        return True

    def release(self) -> None:
        """Release what acquire(), `with mutex:` or `async with mutex:` took. Any thread or task may. Never waits.

        RuntimeError if the mutex is not locked.
        """
        # By its op, so that a release that a signal handler interrupts can be made good (_wait.release); what is held by a
        # guard has none here.
        op = self._op
        try:
            self._forget_holders()
            if op is not None and lib.lots_op_state(op) == HELD:
                done = _wait.release(op, self._word, fair=False, of=self)
            else:
                done = _wait.release_word(self._word, MUTEX)
        except BaseException:  # out of a signal handler, before that was begun; or it is done
            self._forget_holders()
            if op is not None:
                lib.lots_op_release(op, False, NULL)
            raise
        if not done:
            _refusals.nobody_holds(self)

    def _forget_holders(self) -> None:
        for holder in list(self._holders.values()):
            if type(holder) is _pure_tracking.NotedHolder:
                holder.note.ends(self)
        self._holders.clear()

    def locked(self) -> bool:
        """Return whether anybody holds the mutex. Never waits."""
        return self.word & WRITER != 0

    def __enter__(self) -> bool:
        """Acquire from a thread, as acquire() does."""
        frame = sys._getframe().f_back  # None: called by no Python code
        op = self._new_op()
        try:
            acquired = self._acquire(op, None, None if frame is None else (frame.f_code, frame.f_lasti))
        except BaseException:  # as in acquire()
            self._give_up(op)
            raise
        return acquired

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.release()

    def __await__(self) -> Generator[Any, None, None]:
        """Acquire from a task, without a guard: `async with` does this, and release() ends it. Suspends until it is held."""
        return self._enter().__await__()

    def __aenter__(self) -> Self:
        """What `async with` awaits: the mutex itself."""
        return self

    async def _enter(self) -> None:
        op = self._new_op()
        try:
            if lib.lots_op_try(op) != READY:
                await _wait.Suspended(self, op)
            elif _loops.in_trio():
                await _wait.Steps(_loops.checkpoint())
            self._taken(op, is_task=True, waits=True)
        except BaseException:
            self._give_up(op)
            raise

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.release()

    def _new_op(self) -> Any:
        op = new_op()
        lib.lots_op_init(op, self._word, self._MODE, NULL, 0, 0)
        return op

    def _taken(self, op: Any, *, is_task: bool, waits: bool, site: tuple[CodeType, int] | None = None) -> None:
        self._op = op
        self._holders[0] = Holder(MUTEX, lib.lots_thread_token(), is_task=is_task, site=site)
        if _pure_tracking.on:
            _pure_tracking.held(self, 0, waits)

    def _enter_at(self, frame: FrameType) -> bool:
        """As __enter__(), of an object that stands for it and is entered in that frame."""
        op = self._new_op()
        try:
            acquired = self._acquire(op, None, (frame.f_code, frame.f_lasti))
        except BaseException:  # as in acquire()
            self._give_up(op)
            raise
        return acquired

    def _entered_in(self, code: CodeType) -> int:
        """Where in this code the instruction is that entered the mutex; -1: it is none of it, or a guard holds it."""
        holder = self._holders.get(0)
        site = None if holder is None else holder.site
        return site[1] if site is not None and site[0] is code else -1

    def _give_up(self, op: Any) -> None:
        if lib.lots_op_state(op) == HELD:  # a signal handler raised right after the acquire
            self._holders.pop(0, None)
            _wait.release(op, self._word, fair=False)
        else:
            lib.lots_op_cancel(op, BY_CANCEL, NULL)


class FairMutexFront(MutexFront[T], Generic[T]):
    """The hot half of FairMutex."""

    __slots__ = ()

    _MODE = FAIR_MUTEX
