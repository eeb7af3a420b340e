"""What trio expects of the waits that are no acquires: one checkpoint each, and no spinning when cancelled."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import pytest

from aiolots import Barrier, Condvar, Event, Mutex, Semaphore, lowlevel
from tests.waits import waiting_at
from tests.worlds import WATCHDOG, assert_idle

trio = pytest.importorskip("trio")
trio_testing = pytest.importorskip("trio.testing")


def run(test: Callable[[], Any]) -> None:
    async def bounded() -> None:
        with trio.fail_after(WATCHDOG):
            await test()

    trio.run(bounded)


def at_once() -> dict[str, Callable[[], Any]]:
    """Waits that have nothing to wait for."""
    event = Event()
    event.set()
    return {
        "semaphore": lambda: Semaphore(1),
        "a permit in time": lambda: Semaphore(1).try_acquire_for(1),
        "no permit in no time": lambda: Semaphore(0).try_acquire_for(0),
        "event": lambda: event,
        "event in no time": lambda: Event().wait_for(0),
        "barrier": lambda: Barrier(1),
        "park": lambda: lowlevel.park(object(), validate=lambda: False),
        "park in no time": lambda: lowlevel.park(object(), timeout=0),
    }


class Counted:
    """Counts how often it suspends."""

    def __init__(self, awaitable: Any) -> None:
        self.steps = 0
        self._awaitable = awaitable

    def __await__(self) -> Generator[Any, Any, Any]:
        iterator = self._awaitable.__await__()
        sent = None
        while True:
            try:
                message = iterator.send(sent)
            except StopIteration as done:
                return done.value
            self.steps += 1
            sent = yield message


@pytest.mark.parametrize("make", at_once().values(), ids=at_once())
def test_one_checkpoint_where_there_is_nothing_to_wait_for(make: Callable[[], Any]) -> None:
    async def test() -> None:
        with trio_testing.assert_checkpoints():
            counted = Counted(make())
            await counted
        assert counted.steps == 1
        with trio.CancelScope() as scope:
            scope.cancel()
            await make()
        assert scope.cancelled_caught

    run(test)


def test_what_was_acquired_before_a_cancelled_checkpoint_is_given_back() -> None:
    semaphore = Semaphore(1)

    async def test() -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            async with semaphore:
                pytest.fail("it is cancelled")
        assert semaphore.value == 1

    run(test)


def test_a_cancelled_wait_at_a_condvar_sleeps_until_it_has_the_lock() -> None:
    lock, condvar = Mutex(), Condvar()
    ends: list[bool] = []

    async def wait(scope: Any) -> None:
        with scope:
            async with lock.lock() as guard:
                try:
                    await condvar.wait(guard)
                finally:
                    ends.append(guard.is_held())

    async def test() -> None:
        scope = trio.CancelScope()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, scope)
            while waiting_at(condvar) == 0:
                await trio.sleep(0)
            guard = lock.try_lock()
            assert guard is not None
            scope.cancel()
            while not lowlevel.waiters(lock):
                await trio.sleep(0)
            await trio_testing.wait_all_tasks_blocked()  # for ever, if it did not sleep
            assert ends == []
            guard.release()
        assert ends == [True]
        assert scope.cancelled_caught

    run(test)
    assert_idle(lock)
