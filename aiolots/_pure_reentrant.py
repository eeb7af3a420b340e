"""The re-entrant mutex of the front in Python. How it is held is in _levels.py; `aiolots._native` has the same as C types."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from types import TracebackType
from typing import Any, Generic, NoReturn, Self, SupportsIndex, TypeVar, cast

from aiolots import _changing, _owner, _parking, _refusals, _seconds, _wait, _watched
from aiolots._guards import ReentrantGuard
from aiolots._levels import Hold, Level, Steps
from aiolots._lib import GONE, HELD, MUTEX, PENDING, QUEUED, RELEASED, lib
from aiolots._pure import PureLock, Request
from aiolots._word import WRITER

T = TypeVar("T")


class ReentrantRequest(Level, ReentrantGuard[Any]):
    """The one class of every request of a ReentrantMutex, and of its guards: as any Request."""

    __slots__ = ("__weakref__", "_limit", "_over", "_raises", "_site", "_unused")

    def __init__(self, lock: ReentrantFront[Any], limit: tuple[str, float] | None, *, raises: bool) -> None:
        super().__init__(lock)
        self._limit = limit
        self._raises = raises
        self._over = False
        self._site = _parking._callers_place()
        self._unused = [True]

    def acquire(self) -> Any:
        """Acquire from a thread; blocks until the mutex is held, at once if this thread (or task) owns it.

        Returns the guard; None if a `try_*_for` or `_until` timed out. Raises LockTimeout if a `timeout=` did, DeadlockError
        if the wait could never end, RuntimeError if the request was used before. A signal handler that raises (Ctrl-C)
        interrupts the wait: nothing is held then, nobody is queued.
        """
        return self._acquire(tells=True)

    __enter__ = acquire

    def _acquire(self, *, tells: bool) -> Any:
        self._begin()
        try:
            guard = _changing._run(self._steps(as_task=False))
            if guard is not None and tells and _watched.suspends:
                _watched.taken_by_thread(self)
        except BaseException:
            self._give_up()
            raise
        return guard

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        try:
            self._leave(fair=False)  # nothing, if it was released inside, or had timed out
        except BaseException:  # out of a signal handler, perhaps before it was begun
            self._leave(fair=False)
            raise

    def __await__(self) -> Generator[Any, None, Any]:
        """Acquire from a task: suspends it until the mutex is held. Owned by this task, or free, it does not suspend.

        The same as acquire() otherwise. Cancellation leaves no trace. RuntimeError if it has to wait and no loop runs.
        """
        self._begin()
        try:
            guard = yield from self._steps(as_task=True)
        except BaseException:
            self._give_up()
            raise
        return guard

    async def __aenter__(self) -> Any:
        return await self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.__exit__(kind, error, tb)

    def _begin(self) -> None:
        try:
            self._unused.pop()
        except IndexError:
            _refusals.used_before(self._lock)

    def _steps(self, *, as_task: bool) -> Steps:
        began = time.monotonic()
        try:
            entered = yield from self._enter(self._seconds(), as_task=as_task)
        finally:
            self._over = True
        if entered:
            return self
        if self._raises:
            _refusals.timed_out(self._lock, MUTEX, time.monotonic() - began)
        return None

    def _seconds(self) -> float | None:
        if self._limit is None:
            return None
        kind, number = self._limit
        return number if kind == "seconds" else _seconds.left_until(number)

    def _leave(self, *, fair: bool) -> bool:
        hold = self._hold
        return hold is not None and self._level is not None and hold.leave(self._lock, self._level, fair=fair)

    def _release(self, *, fair: bool) -> None:
        if not self._leave(fair=fair):
            _refusals.not_held(self._lock, self._state() == RELEASED)

    def _state(self) -> int:
        if self._unused:
            return PENDING
        if self._level is not None and (state := int(lib.lots_op_state(self._level))) in (HELD, RELEASED):
            return state
        return GONE if self._over else QUEUED

    def _depth(self) -> int:
        return 0 if self._hold is None else self._hold.depth

    def _holds(self) -> bool:
        return self._state() == HELD

    def _require_held(self) -> None:
        if self._state() != HELD:
            _refusals.value_of_released(self._lock)

    def __bool__(self) -> bool:
        state = self._state()
        return state == HELD if state in (HELD, RELEASED, GONE) else _refusals.pending_truth()

    def __repr__(self) -> str:
        state = self._state()
        words = {PENDING: "pending", HELD: "held", RELEASED: "released", GONE: "not acquired"}
        return f"<aiolots lock {'guard' if state == HELD else 'request'} {words.get(state, 'waiting')} of {self._lock!r}>"

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(f"{self!r} cannot be copied or pickled: there is one of it")

    def __del__(self) -> None:
        try:
            state = self._state()
        except AttributeError:  # __init__ did not get so far, or the interpreter is going down
            return
        if state == PENDING:
            self._unused.clear()
        elif state == HELD:
            self._leave(fair=False)
        else:
            return
        _refusals.dropped(self._lock, MUTEX, state == HELD, self._site, self)


Request.register(ReentrantRequest)


class ReentrantFront(PureLock[T], Generic[T]):
    """The hot half of ReentrantMutex."""

    __slots__ = ("_asking", "_hold")

    def __init__(self, value: T, *, name: str | None = None) -> None:
        super().__init__(value, name=name)
        self._hold: Hold | None = None  # the last one: over, if it has no owner any more
        self._asking: dict[int, Hold] = {}  # that are to be the next: one of them may have the mutex, and not be noted yet

    def lock(self, timeout: float | None = None) -> Request[ReentrantGuard[T], ReentrantGuard[T]]:
        """Request a level: `with mutex.lock() as guard:` in a thread, `async with mutex.lock() as guard:` in a task.

        Blocks in a thread, suspends in a task; free, or owned by who asks, it does neither. With a timeout in seconds it
        raises LockTimeout when that runs out. Cancellation and Ctrl-C leave no trace. ValueError for a negative timeout.
        """
        return self._request(None if timeout is None else ("seconds", _seconds.checked(timeout)), raises=True)

    def try_lock(self) -> ReentrantGuard[T] | None:
        """Take a level now; None if another owns the mutex. Never waits."""
        return cast("ReentrantGuard[T] | None", ReentrantRequest(self, ("seconds", 0.0), raises=False)._acquire(tells=False))

    def try_lock_for(self, seconds: float) -> Request[ReentrantGuard[T] | None, ReentrantGuard[T] | None]:
        """Request a level, waiting up to `seconds` (0: try once; inf: for ever).

        Entered or acquired it gives the guard, or None when the time ran out: then nothing is held and nobody is queued.
        Blocks in a thread, suspends in a task; cancellation and Ctrl-C as in lock(). ValueError if negative or NaN,
        TypeError if no number.
        """
        return self._request(("seconds", _seconds.checked(seconds)), raises=False)

    def try_lock_until(self, moment: float) -> Request[ReentrantGuard[T] | None, ReentrantGuard[T] | None]:
        """The same as try_lock_for, until a moment of time.monotonic(), in seconds. A moment in the past tries once."""
        return self._request(("moment", _seconds.checked_moment(moment)), raises=False)

    def _hold_of(self, who: Any) -> Hold | None:
        """Return the hold that is this owner's, if there is one; also for a signal handler amid the acquire."""
        hold = self._hold
        if hold is not None and hold.is_owned_by(who):
            return hold
        if hold is not None and lib.lots_op_state(hold.op) == HELD:
            return None  # so none of those who ask has the mutex, however many they are
        for asking in list(self._asking.values()) if self._asking else ():
            if asking.is_owned_by(who) and lib.lots_op_state(asking.op) == HELD:
                self._hold = asking
                return asking
        return None

    def _request(self, limit: tuple[str, float] | None, *, raises: bool) -> Request[Any, Any]:
        return cast("Request[Any, Any]", ReentrantRequest(self, limit, raises=raises))

    # --- as threading.RLock ---

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Acquire from a thread, as threading.RLock.acquire: a level without a guard, to be released by release().

        Blocks up to `timeout` seconds (-1: for ever), or not at all with `blocking=False`; its owner never waits. Returns
        whether it is held now. ValueError and OverflowError as threading.RLock has them; DeadlockError if the wait could
        never end; interrupted by signal handlers that raise.
        """
        if not blocking and timeout != -1:
            raise ValueError("can't specify a timeout for a non-blocking call")
        if timeout != -1 and not timeout >= 0:
            raise ValueError("timeout value must be a non-negative number")
        if timeout > threading.TIMEOUT_MAX:
            raise OverflowError("timeout value is too large")
        seconds = (None if timeout == -1 else float(timeout)) if blocking else 0.0
        level = Level(self)
        try:
            acquired: bool = _changing._run(level._enter_bare(seconds, as_task=False))
            if acquired and _watched.suspends:
                _watched.taken_by_thread(self)
        except BaseException:
            level._give_up()
            raise
        return acquired

    __enter__ = acquire

    def release(self) -> None:
        """Release a level that acquire(), `with mutex:` or `async with mutex:` took. Never waits.

        RuntimeError if who calls is not the owner, or if only guards are left.
        """
        hold = self._hold
        level = None if hold is None else (hold.bare[-1:] or [None])[0]  # one look: others may ask, and fail
        try:
            self._leave(hold, level)
        except BaseException:
            self._leave_after_all(hold, level)
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        # Not by way of release(): a signal handler may raise before that has begun.
        hold = self._hold
        level = None if hold is None else (hold.bare[-1:] or [None])[0]
        try:
            self._leave(hold, level)
        except BaseException:
            self._leave_after_all(hold, level)
            raise

    def _leave(self, hold: Hold | None, level: Any) -> None:
        if hold is None or not hold.is_owned_by(_owner.current()):
            _refusals.not_owned(self)
        if level is None:
            _refusals.only_guards(self)
        hold.leave_bare(self, level)

    def _leave_after_all(self, hold: Hold | None, level: Any) -> None:
        """A signal handler raised: that level is released nevertheless, if the owner asked, and no other one is."""
        if hold is not None and level is not None and hold.is_owned_by(_owner.current()):
            hold.leave_bare(self, level)

    def __await__(self) -> Generator[Any, None, None]:
        """Acquire from a task, without a guard: `async with` does this, and release() ends it. Suspends until it is held."""
        level = Level(self)
        try:
            yield from level._enter_bare(None, as_task=True)
        except BaseException:
            level._give_up()
            raise

    def __aenter__(self) -> Self:
        """What `async with` awaits: the mutex itself."""
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        hold = self._hold
        if hold is not None and hold.is_left_behind() and (bare := hold.bare[-1:]):
            hold.leave_bare(self, bare[0])
        else:
            self.release()

    def locked(self) -> bool:
        """Return whether anybody holds the mutex. Never waits."""
        return self.word & WRITER != 0

    def is_owned(self) -> bool:
        """Return whether this task, or outside of any this thread, holds the mutex. Never waits."""
        hold = self._hold
        return hold is not None and hold.is_owned_by(_owner.current())

    # What threading.Condition asks of an RLock, and who forks of any lock.
    _is_owned = is_owned

    def _recursion_count(self) -> int:
        return self._depth if self.is_owned() else 0

    def _release_save(self) -> int:
        hold = self._hold
        levels = len(hold.bare) if hold is not None and self.is_owned() else 0
        if hold is None or levels != hold.depth:
            _refusals.not_as_a_whole(self)
        for _ in range(levels):
            self.release()
        return levels

    def _acquire_restore(self, levels: int) -> None:
        for _ in range(levels):
            self.acquire()

    def _at_fork_reinit(self) -> None:
        hold, self._hold = self._hold, None
        self._asking.clear()
        if hold is not None:
            hold.lose()
        if self.locked():
            _wait.release_word(self._word, MUTEX)

    # --- what it tells of itself ---

    @property
    def _depth(self) -> int:
        hold = self._hold
        return 0 if hold is None else hold.depth

    @property
    def _owner_note(self) -> tuple[Any, int, bool, int, int] | None:
        """The task (None: a thread, or gone), the thread's token, the task's colour, levels without a guard, which hold."""
        hold = self._hold
        owner = None if hold is None else hold.owner
        if hold is None or owner is None:
            return None
        return owner.task(), hold.thread, hold.of_task, len(hold.bare), id(hold)
