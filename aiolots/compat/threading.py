"""`threading` with the locks of aiolots: Lock, RLock, Condition, Event, Semaphore, BoundedSemaphore, Barrier.

    from aiolots.compat import threading                # instead of `import threading`
    from aiolots.compat.threading import Lock, Event    # instead of `from threading import Lock, Event`

Signatures, return values and errors are the standard library's; every other name of `threading` is passed through. Besides,
each lock here takes a `name`, is a lock of aiolots (a Lock is a Mutex, an Event an aiolots.Event, and so on), so tasks may
share it with `async with`, and can be weakly referenced; all but RLock and Condition can be copied.

Where they differ: on the thread of a running event loop, what would block does what `set_loop_block_policy` says (a warning
by default), and DeadlockError if it could never end. A thread that is interrupted (Ctrl-C) leaves no trace, and a
notification that came for it goes to another.
"""

from __future__ import annotations

import functools
import sys
import threading as _stdlib
import time
import types
import warnings
from collections.abc import Callable
from itertools import starmap
from threading import (
    TIMEOUT_MAX,
    BrokenBarrierError,
    ExceptHookArgs,
    Thread,
    ThreadError,
    Timer,
    active_count,
    current_thread,
    enumerate,  # noqa: A004  # it is threading's name
    get_ident,
    get_native_id,
    getprofile,
    gettrace,
    local,
    main_thread,
    setprofile,
    settrace,
    stack_size,
)
from types import TracebackType
from typing import Any, Protocol, TypeVar

import aiolots
from aiolots import FairMutex, Mutex, lowlevel
from aiolots._errors import NotHeld
from aiolots._parking import EVERYBODY, notify
from aiolots.compat._rlock import RLock

__all__ = [
    "TIMEOUT_MAX",
    "Barrier",
    "BoundedSemaphore",
    "BrokenBarrierError",
    "Condition",
    "Event",
    "ExceptHookArgs",
    "Lock",
    "RLock",
    "Semaphore",
    "Thread",
    "ThreadError",
    "Timer",
    "active_count",
    "current_thread",
    "enumerate",
    "get_ident",
    "get_native_id",
    "getprofile",
    "gettrace",
    "local",
    "main_thread",
    "setprofile",
    "settrace",
    "stack_size",
]

P = TypeVar("P")
_NOTHING: tuple[tuple[()], ...] = ((),)  # a call without arguments


def _seconds(timeout: float | None) -> float | None:
    """Return a timeout as aiolots takes it: what is past, and NaN, tries once."""
    if timeout is None:
        return None
    if not timeout > 0:
        return 0.0
    if timeout > TIMEOUT_MAX:
        raise OverflowError("timeout value is too large")
    return timeout


# --- locks ------------------------------------------------------------------------------------------------------------


class Lock(Mutex[None]):
    """A `threading.Lock` that is a Mutex: tasks of any event loops may take it too, with `async with lock:`.

    Any thread or task may release it. acquire() blocks, up to `timeout` seconds (-1: for ever), or not at all with
    blocking=False, and returns whether it is held now; Ctrl-C interrupts it.
    """

    __slots__ = ()

    _may_signal = True  # acquire() may wait for another thread's release: never refused (_certain.py)

    def __init__(self, *, name: str | None = None) -> None:
        super().__init__(None, name=name)

    def release(self) -> None:
        """Release it. Never waits. RuntimeError if it is not locked."""
        try:
            super().release()
        except NotHeld:
            raise RuntimeError("release unlocked lock") from None

    acquire_lock = Mutex[None].acquire  # the old names, which the standard library's have too
    release_lock = release
    locked_lock = Mutex[None].locked

    def _is_owned(self) -> bool:
        return self.locked()

    def _at_fork_reinit(self) -> None:
        if self.locked():
            self.release()

    def __copy__(self) -> Lock:
        return type(self)(name=self.name)

    def __deepcopy__(self, memo: dict[int, Any]) -> Lock:
        return type(self)(name=self.name)

    def __reduce__(self) -> tuple[Any, ...]:
        return _lock, (type(self), self.name)

    def __repr__(self) -> str:
        return f"<{'locked' if self.locked() else 'unlocked'} {_of(self)} object{_name(self)} at {id(self):#x}>"


def _lock(kind: type[Lock], name: str | None) -> Lock:
    return kind(name=name)


def _of(thing: object) -> str:
    return f"aiolots.{type(thing).__qualname__}"


def _name(thing: Any) -> str:
    return "" if thing.name is None else f" {thing.name!r}"


# --- conditions -------------------------------------------------------------------------------------------------------


class AnyLock(Protocol):
    """What a Condition takes for a lock."""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """As of threading.Lock."""
        ...

    def release(self) -> None:
        """As of threading.Lock."""


def _take_again(lock: AnyLock, _state: object) -> None:
    lock.acquire()


def _is_taken(lock: AnyLock) -> bool:
    if lock.acquire(False):
        lock.release()
        return False
    return True


class Condition:
    """A `threading.Condition`: over an RLock of its own, or a Lock, an RLock, or anything that can be acquired and released.

    Notifications come to those who wait longest. Waits are for threads; tasks have aiolots.Condvar.
    """

    acquire: Callable[..., bool]
    release: Callable[[], None]

    _enters_its_lock = True  # so that a `with` of it is one of the lock: _statements.py

    def __init__(self, lock: Any = None, *, name: str | None = None) -> None:
        if lock is None:
            lock = RLock()
        self.name = name
        self._lock = lock
        self._enter_at: Callable[[types.FrameType], bool] | None = None
        if type(lock) in (Lock, Mutex, FairMutex):
            self._enter_at = lock._enter_at
        self.acquire = lock.acquire
        self.release = lock.release
        # As the standard library's: a lock that can be held several times over says by these how to let go of all of it.
        self._release_save: Callable[[], Any] = getattr(lock, "_release_save", None) or lock.release
        self._acquire_restore: Callable[[Any], Any] = getattr(lock, "_acquire_restore", None) or functools.partial(
            _take_again, lock
        )
        self._is_owned: Callable[[], bool] = getattr(lock, "_is_owned", None) or functools.partial(_is_taken, lock)

    def __enter__(self) -> bool:
        frame = sys._getframe().f_back
        if self._enter_at is not None and frame is not None:
            return self._enter_at(frame)
        entered: bool = self._lock.__enter__()
        return entered

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._lock.__exit__(kind, error, tb)

    def wait(self, timeout: float | None = None) -> bool:
        """Release the lock, wait to be notified, up to `timeout` seconds, and take the lock again. Blocks.

        Returns whether it was notified in time. Interrupted (Ctrl-C) it takes the lock again, too, before it raises.
        RuntimeError if the lock is not held.
        """
        if not self._is_owned():
            raise RuntimeError("cannot wait on un-acquired lock")
        seconds = _seconds(timeout)
        states: list[Any] = []  # told in the step in which it is let go: a signal handler may raise right after that
        try:
            if seconds == 0:  # nobody queues for that
                states.extend(starmap(self._release_save, _NOTHING))
                return False
            release = functools.partial(states.extend, starmap(self._release_save, _NOTHING))
            queued = lowlevel.park(self, before_sleep=release, timeout=seconds)
            return queued.acquire().unparked
        finally:
            if states:
                try:
                    self._acquire_restore(states[0])
                except BaseException:  # out of a signal handler; whose a plain lock is, nobody can say
                    if hasattr(self._lock, "_acquire_restore") and not self._is_owned():
                        self._acquire_restore(states[0])
                    raise

    def wait_for(self, predicate: Callable[[], P], timeout: float | None = None) -> P:
        """Wait until predicate() is true, up to `timeout` seconds in all; it is called with the lock held. Blocks.

        Returns what it returned last: something false if the time ran out. All else as wait().
        """
        end = None if timeout is None else time.monotonic() + timeout
        left = timeout
        while not (result := predicate()):
            self.wait(left)
            if end is not None:
                left = end - time.monotonic()
                if left <= 0:
                    return predicate()
        return result

    def notify(self, n: int = 1) -> None:
        """Wake up to `n` of those who wait; each returns when it has got the lock. Never waits.

        RuntimeError if the lock is not held.
        """
        if not self._is_owned():
            raise RuntimeError("cannot notify on un-acquired lock")
        if n > 0:
            notify(id(self), min(n, EVERYBODY))

    def notify_all(self) -> None:
        """Wake all who wait now. Never waits. RuntimeError if the lock is not held."""
        self.notify(EVERYBODY)

    def notifyAll(self) -> None:  # noqa: N802
        """Do as notify_all(); deprecated, as in the standard library."""
        warnings.warn("notifyAll() is deprecated, use notify_all() instead", DeprecationWarning, stacklevel=2)
        self.notify_all()

    def _at_fork_reinit(self) -> None:  # nobody waits in the child
        self._lock._at_fork_reinit()

    def __repr__(self) -> str:
        return f"<Condition({self._lock}, {len(lowlevel.waiters(key=self))}{_name(self)})>"


# --- events, semaphores, barriers ---------------------------------------------------------------------------------------


class Event(aiolots.Event):
    """A `threading.Event` that is an aiolots.Event: a task writes `await event`, on any event loop."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the flag is up; blocks, up to `timeout` seconds. Returns whether it is, or was, in time."""
        return self.is_set() or super().wait(_seconds(timeout))

    def isSet(self) -> bool:  # noqa: N802
        """Do as is_set(); deprecated, as in the standard library."""
        warnings.warn("isSet() is deprecated, use is_set() instead", DeprecationWarning, stacklevel=2)
        return self.is_set()

    def _at_fork_reinit(self) -> None:
        """Nobody waits in the child."""

    def __repr__(self) -> str:
        return f"<{_of(self)}{_name(self)} at {id(self):#x}: {'set' if self.is_set() else 'unset'}>"


class Semaphore(aiolots.Semaphore):
    """A `threading.Semaphore` that is an aiolots.Semaphore: tasks of any event loops may take it too, with `async with`."""

    def __init__(self, value: int = 1, *, name: str | None = None) -> None:
        if value < 0:
            raise ValueError("semaphore initial value must be >= 0")
        super().__init__(value, name=name)

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Take a permit; blocks until there is one, up to `timeout` seconds, or not at all with blocking=False.

        Returns whether it has one now. ValueError for a timeout with blocking=False.
        """
        if not blocking and timeout is not None:
            raise ValueError("can't specify timeout for non-blocking acquire")
        return super().acquire(blocking, _seconds(timeout))

    def release(self, n: int = 1) -> None:
        """Give back n permits, to those who wait longest. Any thread or task may. Never waits. ValueError if n < 1."""
        if n < 1:
            raise ValueError("n must be one or more")
        super().release(n)

    @property
    def _value(self) -> int:
        return self.value

    def __repr__(self) -> str:
        return f"<{_of(self)}{_name(self)} at {id(self):#x}: value={self.value}>"


class BoundedSemaphore(aiolots.BoundedSemaphore, Semaphore):
    """A `threading.BoundedSemaphore`: a Semaphore of which no more can be released than was acquired."""

    acquire = Semaphore.acquire

    def release(self, n: int = 1) -> None:
        """Give back n permits, to those who wait longest. Any thread or task may. Never waits.

        ValueError if n < 1, or if more would be free than there were at first; then nothing is released.
        """
        if n < 1:
            raise ValueError("n must be one or more")
        try:
            super().release(n)
        except ValueError:
            raise ValueError("Semaphore released too many times") from None

    @property
    def _initial_value(self) -> int:
        return self._first

    def __repr__(self) -> str:
        return f"<{_of(self)}{_name(self)} at {id(self):#x}: value={self.value}/{self._first}>"


class Barrier(aiolots.Barrier):
    """A `threading.Barrier` that is an aiolots.Barrier: tasks of any event loops may be parties too, with `await barrier`."""

    def __init__(
        self,
        parties: int,
        action: Callable[[], object] | None = None,
        timeout: float | None = None,
        *,
        name: str | None = None,
    ) -> None:
        if parties < 1:
            raise ValueError("parties must be > 0")
        super().__init__(parties, action, _seconds(timeout), name=name)

    def wait(self, timeout: float | None = None) -> int:
        """Arrive; blocks until all are there, up to `timeout` seconds. Returns a number of its own below parties.

        BrokenBarrierError if the barrier is broken, or gets broken by a timeout, abort() or reset() meanwhile.
        """
        return super().wait(_seconds(timeout))

    def __repr__(self) -> str:
        state = "broken" if self.broken else f"waiters={self.n_waiting}/{self.parties}"
        return f"<{_of(self)}{_name(self)} at {id(self):#x}: {state}>"


# --- everything else of the module ------------------------------------------------------------------------------------


def __getattr__(name: str) -> Any:
    return getattr(_stdlib, name)


class _Module(types.ModuleType):
    """For the one name of `threading` that programs assign to."""

    @property
    def excepthook(self) -> Any:
        return _stdlib.excepthook

    @excepthook.setter
    def excepthook(self, hook: Any) -> None:
        _stdlib.excepthook = hook


sys.modules[__name__].__class__ = _Module
