"""The condition variable. How a wait goes is in _notified.py."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar, overload

from aiolots import _blocking, _loops, _notified, _seconds, _wait
from aiolots._lib import MUTEX
from aiolots._parking import EVERYBODY, notify
from aiolots._waiters import waiters

if TYPE_CHECKING:
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

    ThreadGuard = MutexGuard[Any] | ReadGuard[Any] | WriteGuard[Any] | UpgradableGuard[Any]
    TaskGuard = AsyncMutexGuard[Any] | AsyncReadGuard[Any] | AsyncWriteGuard[Any] | AsyncUpgradableGuard[Any]

P = TypeVar("P")


class Condvar:
    """A condition variable, for threads and tasks at once, and for the guards of any lock.

    Wait with a guard, for what is changed under its lock: the lock is released meanwhile, and held again afterwards. With
    the guard of a thread the waits block; with that of a task they are awaited.

        with mutex.lock() as guard:                                   # a thread
            changed.wait_for(guard, lambda: guard.value)

        async with mutex.lock() as guard:                             # a task
            await changed.wait_for(guard, lambda: guard.value)

    Notifications come to those who wait longest. Notify with the lock held, or after it was; waiters of several locks may
    share a condvar. Made without a running loop, it may be a module's global. Copied or pickled it gives a new one.

    Args:
        name: appears in messages and repr.
    """

    __slots__ = ("__weakref__", "name")

    def __init__(self, *, name: str | None = None) -> None:
        self.name = name

    @overload
    def wait(self, guard: ThreadGuard, timeout: float | None = None) -> bool: ...
    @overload
    def wait(self, guard: TaskGuard, timeout: float | None = None) -> Coroutine[Any, Any, bool]: ...
    def wait(self, guard: Any, timeout: float | None = None) -> Any:
        """Release the guard's lock, wait to be notified, and take the lock again. Blocks, or (a task's guard) is awaited.

        Returns whether it was notified within `timeout` seconds (None: for ever). The timeout is for the notification: the
        lock is waited for as long as it takes, and is held again when this returns or raises. So with cancellation, of
        which the first goes out unchanged, and with signal handlers that raise (Ctrl-C). A notification that came first is
        then passed on to another waiter.

        Meanwhile the guard is not held: its value is not to be touched, and it cannot be released. There are no spurious
        wakeups, but the condition may have changed back: wait_for looks again. RuntimeError if the guard is not held,
        ValueError for a negative timeout. When the loop of a task is closed while it waits, its guard holds nothing any
        more. On the thread of a running event loop a thread's guard does what set_loop_block_policy says.
        """
        seconds = None if timeout is None else _seconds.checked(timeout)
        return self._in_colour(guard, lambda sleeper: _notified.Wait(self, guard, sleeper).steps(seconds))

    @overload
    def wait_for(self, guard: ThreadGuard, predicate: Callable[[], P], timeout: float | None = None) -> P: ...
    @overload
    def wait_for(
        self, guard: TaskGuard, predicate: Callable[[], P], timeout: float | None = None
    ) -> Coroutine[Any, Any, P]: ...
    def wait_for(self, guard: Any, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        """Wait until predicate() is true, up to `timeout` seconds in all. Blocks, or (a task's guard) is awaited.

        The predicate is called with the lock held: first of all, and after each notification. Returns what it returned last:
        something false if the time ran out. All else as wait(); what the predicate raises goes out, with the lock held.
        """
        seconds = None if timeout is None else _seconds.checked(timeout)
        return self._in_colour(guard, lambda sleeper: self._until(guard, predicate, seconds, sleeper))

    def notify_one(self) -> int:
        """Notify who waits longest. Returns how many were notified: 1, or 0 if nobody waits. Never waits.

        A task whose event loop cannot run is passed over.
        """
        return notify(id(self))

    def notify_all(self) -> int:
        """Notify all who wait now. Returns how many that were. Never waits.

        Those who ask for the same lock get it one after the other, each waking up when it is its turn.
        """
        return notify(id(self), EVERYBODY)

    def _until(
        self, guard: Any, predicate: Callable[[], Any], seconds: float | None, sleeper: _notified.Sleeper
    ) -> _notified.Steps:
        guard._require_held()
        end = None if seconds is None else time.monotonic() + seconds
        while not (result := predicate()):
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                break
            yield from _notified.Wait(self, guard, sleeper).steps(left)
        return result

    def _in_colour(self, guard: Any, steps: Callable[[_notified.Sleeper], _notified.Steps]) -> Any:
        try:
            of_task = guard._of_task
        except AttributeError:
            raise TypeError(f"a condvar waits with a guard, not with {type(guard).__name__}") from None
        if of_task:
            return _awaited(steps)
        loop = _loops.running()
        if loop is None:
            return _run(steps(_notified.Thread()))
        guard._require_held()
        with _blocking.running_loop(self, MUTEX, loop, timed=True):  # type: ignore[arg-type]  # it needs the repr
            return _run(steps(_notified.Thread()))

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.name)

    def __repr__(self) -> str:
        name = "" if self.name is None else f" {self.name!r}"
        waiting = len(waiters(key=self))
        return f"<aiolots.{type(self).__name__}{name}{f' waiters={waiting}' if waiting else ''}>"


async def _awaited(steps: Callable[[_notified.Sleeper], _notified.Steps]) -> Any:
    return await _wait.Steps(steps(_notified.Task()))


def _run(steps: _notified.Steps) -> Any:
    try:
        steps.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("a thread's steps do not yield")


def _rebuild(kind: type[Condvar], name: str | None) -> Condvar:
    return kind(name=name)
