"""The mutex."""

from __future__ import annotations

import threading
import weakref
from types import TracebackType
from typing import Any, Generic, TypeVar, cast, overload

from aiolots import _loops, _seconds, _wait
from aiolots._copying import Copyable
from aiolots._front import LockBase, MutexRequest, Request
from aiolots._guards import AsyncMutexGuard, MutexGuard
from aiolots._lib import HELD, MUTEX, NULL, READY, ffi, lib
from aiolots._statistics import LockStatistics, statistics_of

T = TypeVar("T")


class Mutex(Copyable, LockBase[T], Generic[T]):
    """A mutex around a value, for threads and event loops at once: all of its state is one 64-bit word.

    `with mutex.lock() as guard:` gives the protected value; `with mutex:`, acquire() and release() have the signatures of
    threading.Lock, and `async with mutex:` that of asyncio.Lock, on the same lock. Not re-entrant. Made without a running
    loop, it may be a module's global.

    Args:
        value: what it protects; `guard.value` gives it to whoever holds the lock. None if the mutex protects something else.
        name: appears in messages and repr.
    """

    __slots__ = ()

    @overload
    def __init__(self: Mutex[None], value: None = None, *, name: str | None = None) -> None: ...
    @overload
    def __init__(self, value: T, *, name: str | None = None) -> None: ...
    def __init__(self, value: Any = None, *, name: str | None = None) -> None:
        super().__init__(cast("T", value), name=name)

    def lock(self, timeout: float | None = None) -> Request[MutexGuard[T], AsyncMutexGuard[T]]:
        """Request the mutex: `with mutex.lock() as guard:` in a thread, `async with mutex.lock() as guard:` in a task.

        Blocks in a thread, suspends in a task (free, it does neither). With a timeout in seconds it raises LockTimeout when
        that runs out. Cancellation and Ctrl-C leave no trace. ValueError for a negative timeout.
        """
        limit = None if timeout is None else ("seconds", _seconds.checked(timeout))
        return MutexRequest(self, MUTEX, limit, raises=True)

    def try_lock(self) -> MutexGuard[T] | None:
        """Take the mutex now; None if that would mean to wait. Never waits; the guard has the thread's colour."""
        guard = MutexRequest(self, MUTEX, None, raises=False)
        return guard if guard._try() else None

    def try_lock_for(self, seconds: float) -> Request[MutexGuard[T] | None, AsyncMutexGuard[T] | None]:
        """Request the mutex, waiting up to `seconds` (0: try once; inf: for ever).

        Entered or acquired it gives the guard, or None when the time ran out: then nothing is held and nobody is queued.
        Blocks in a thread, suspends in a task; cancellation and Ctrl-C as in lock(). ValueError if negative or NaN,
        TypeError if no number.
        """
        return MutexRequest(self, MUTEX, ("seconds", _seconds.checked(seconds)), raises=False)

    def try_lock_until(self, moment: float) -> Request[MutexGuard[T] | None, AsyncMutexGuard[T] | None]:
        """The same as try_lock_for, until a moment of time.monotonic(), in seconds. A moment in the past tries once."""
        return MutexRequest(self, MUTEX, ("moment", _seconds.checked_moment(moment)), raises=False)

    # --- as threading.Lock and asyncio.Lock ---

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Acquire from a thread, as threading.Lock.acquire: without a guard, to be released by release().

        Blocks up to `timeout` seconds (-1: for ever), or not at all with `blocking=False`. Returns whether it is held now.
        ValueError and OverflowError as threading.Lock has them; DeadlockError if the wait could never end; interrupted by
        signal handlers that raise.
        """
        if not blocking and timeout != -1:
            raise ValueError("can't specify a timeout for a non-blocking call")
        if timeout != -1 and timeout < 0:
            raise ValueError("timeout value must be a non-negative number")
        if timeout > threading.TIMEOUT_MAX:
            raise OverflowError("timeout value is too large")
        op = self._new_op()
        try:
            if lib.lots_op_try(op) != READY and not _wait.block(
                self, op, MUTEX, (None if timeout == -1 else _seconds.checked(timeout)) if blocking else 0
            ):
                return False
            self._holders[0] = (MUTEX, threading.get_ident())
        except BaseException:
            self._give_up(op)
            raise
        return True

    def release(self) -> None:
        """Release what acquire(), `with mutex:` or `async with mutex:` took. Any thread or task may. Never waits.

        RuntimeError if the mutex is not locked.
        """
        self._holders.pop(0, None)
        if not _wait.release_word(self._word, MUTEX):
            raise RuntimeError(f"release of {self!r}, which nobody holds")

    def locked(self) -> bool:
        """Return whether anybody holds the mutex. Never waits."""
        return lib.lots_word_load(self._word) != 0 and statistics_of(self).locked

    def is_locked(self) -> bool:
        """The same as locked()."""
        return self.locked()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.release()

    async def __aenter__(self) -> None:
        op = self._new_op()
        try:
            loop = _loops.needs_a_loop()
            if lib.lots_op_try(op) != READY:
                await _wait.Suspended(self, op)
            self._holders[0] = (MUTEX, weakref.ref(loop))
        except BaseException:
            self._give_up(op)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.release()

    def _new_op(self) -> Any:
        op = ffi.new("lots_op *")
        lib.lots_op_init(op, self._word, MUTEX, NULL, 0, 0)
        return op

    def _give_up(self, op: Any) -> None:
        if lib.lots_op_state(op) == HELD:  # a signal handler raised right after the acquire
            self._holders.pop(0, None)
            _wait.release(op, self._word, fair=False)

    def statistics(self) -> LockStatistics:
        """Return whether it is held and how many wait, as a frozen dataclass. Never waits."""
        return statistics_of(self)

    def _try_look(self) -> MutexGuard[T] | None:
        return self.try_lock()
