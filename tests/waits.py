"""Waits that are no acquires: at condvars, events, barriers, or bare keys of the lot. For the worlds of worlds.py."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest

from aiolots import Condvar, LoopBlockPolicy, lowlevel, set_loop_block_policy
from tests.worlds import WATCHDOG, WORLDS, YIELD, World, is_the_original, until, wait_until  # noqa: F401


@pytest.fixture(params=WORLDS)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with World(request.param) as world:
        yield world


@pytest.fixture(autouse=True)
def patience() -> Iterator[None]:
    """Let no wake be revoked because the machine is slow: that has its own tests."""
    before = lowlevel.set_revoke_after(WATCHDOG)
    yield
    lowlevel.set_revoke_after(before)


@pytest.fixture
def loops_may_block() -> Iterator[None]:
    before = set_loop_block_policy("allow")
    yield
    set_loop_block_policy(before)


@pytest.fixture
def loop_policy() -> Iterator[Callable[[LoopBlockPolicy], object]]:
    before = set_loop_block_policy("warn")
    yield set_loop_block_policy
    set_loop_block_policy(before)


class Either:
    """Something to wait for whose two colours are two functions."""

    def __init__(self, thread: Callable[[], Any], task: Callable[[], Any]) -> None:
        self.acquire = thread
        self._task = task

    def __await__(self) -> Generator[Any, None, Any]:
        return self._task().__await__()  # type: ignore[no-any-return]


async def awaited(request: Any) -> Any:
    """Await a request, as a coroutine."""
    return await request


def notified(
    condvar: Condvar,
    request: Callable[[], Any],
    timeout: float | None = None,
    then: Callable[[Any], object] = lambda guard: None,
) -> Either:
    """Take a lock, wait at a condvar, call `then` with the guard: what wait() returned."""

    def thread() -> bool:
        with request() as guard:
            try:
                answer: bool = condvar.wait(guard, timeout)
            finally:
                assert guard.is_held()
            then(guard)
        return answer

    async def task() -> bool:
        async with request() as guard:
            try:
                answer: bool = await condvar.wait(guard, timeout)
            finally:
                assert guard.is_held()
            then(guard)
        return answer

    return Either(thread, task)


def waiting_at(key: object) -> int:
    """How many are queued at a key and have no wake under way."""
    return sum(waiter.expects and not waiter.woken for waiter in lowlevel.waiters(key=key))


def wait_until_waiting(key: object, count: int) -> None:
    wait_until(lambda: waiting_at(key) == count, lambda: f"not {count} at {key!r}: {lowlevel.waiters(key=key)}")


async def until_waiting(key: object, count: int) -> None:
    await until(lambda: waiting_at(key) == count, lambda: f"not {count} at {key!r}: {lowlevel.waiters(key=key)}")


def signal_until(ident: int, key: object, over: Callable[[], Any]) -> None:
    """Send SIGUSR1 to a thread that waits at a key, until it has come to it. One that comes just before the sleep is seen
    to by the handler only after it, so again and again."""
    wait_until_waiting(key, 1)
    end = time.monotonic() + WATCHDOG
    while not over() and time.monotonic() < end:
        signal.pthread_kill(ident, signal.SIGUSR1)
        time.sleep(YIELD)
