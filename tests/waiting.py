"""Waiting in tests: for a condition, for who is parked, for a thread. Nothing sleeps and hopes; see worlds.py."""

from __future__ import annotations

import concurrent.futures
import functools
import inspect
import threading
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from aiolots import lowlevel
from tests import tasks

T = TypeVar("T")

WATCHDOG = 20.0  # seconds: what takes longer is stuck
YIELD = 0.0005  # seconds between two looks


class Stuck(AssertionError):
    """Something did not happen within WATCHDOG seconds."""


def wait_until(condition: Callable[[], Any], what: Callable[[], str] | str = "", seconds: float = WATCHDOG) -> None:
    """Return as soon as `condition()` is true; Stuck if it never is."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise Stuck(what() if callable(what) else what or inspect.getsource(condition).strip())
        time.sleep(YIELD)


async def until(condition: Callable[[], Any], what: Callable[[], str] | str = "", seconds: float = WATCHDOG) -> None:
    """Do the same in a task."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise Stuck(what() if callable(what) else what or inspect.getsource(condition).strip())
        await tasks.pause()


def parked(lock: Any) -> int:
    """Return how many are queued at a lock and have no wake under way."""
    return sum(not waiter.woken for waiter in lowlevel.waiters(lock))


def wait_until_parked(lock: Any, count: int) -> None:
    """Return as soon as exactly `count` are queued at `lock`, none with a wake under way."""
    wait_until(lambda: parked(lock) == count, lambda: f"not {count} parked: {lock!r}, {lowlevel.waiters(lock)}")


async def until_parked(lock: Any, count: int) -> None:
    """Do the same in a task."""
    await until(lambda: parked(lock) == count, lambda: f"not {count} parked: {lock!r}, {lowlevel.waiters(lock)}")


def assert_idle(*locks: Any) -> None:
    """Nobody holds, nobody waits, no bit is left (W4)."""
    for lock in locks:
        assert lock.word == 0, f"{lock!r} has word {lock.word:#x}"
        assert lowlevel.waiters(lock) == [], repr(lock)
        assert not lock.is_locked()
        holders = lock._holder_list()
        assert holders == [], f"{lock!r} thinks that it is held: {holders}"


def outcome_of(future: concurrent.futures.Future[T], seconds: float = WATCHDOG) -> T:
    """Return or raise what came of a future; Stuck if nothing does."""
    try:
        return future.result(seconds)
    except concurrent.futures.TimeoutError:
        if future.done():  # its own TimeoutError
            raise
        raise Stuck(f"{future} has no outcome after {seconds} s") from None


class InThread(Generic[T]):
    """A function that runs in a thread of its own."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._outcome: concurrent.futures.Future[T] = concurrent.futures.Future()
        self._function = function
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self._outcome.set_result(self._function())
        except BaseException as error:  # noqa: BLE001
            self._outcome.set_exception(error)

    @property
    def ident(self) -> int:
        """The thread's ident."""
        assert self.thread.ident is not None
        return self.thread.ident

    def done(self) -> bool:
        """Whether the function has ended."""
        return self._outcome.done()

    def join(self, seconds: float = WATCHDOG) -> T:
        """Return what the function returned, or raise what it raised; Stuck if it does not end."""
        try:
            result = self._outcome.result(seconds)
        except concurrent.futures.TimeoutError:
            if self._outcome.done():  # its own TimeoutError
                raise
            raise Stuck(f"{self._function} did not end within {seconds} s") from None
        finally:
            if self._outcome.done():
                self.thread.join(seconds)
        return result


def in_thread(function: Callable[..., T], *args: Any, **kwargs: Any) -> InThread[T]:
    """Start `function` in a thread; `.join()` gives its result or raises its exception."""
    return InThread(functools.partial(function, *args, **kwargs))
