"""What is had at once takes a shorter way than a wait does: the same comes of it, also where a signal handler raises."""

from __future__ import annotations

import contextlib
import importlib
import sys
import warnings
from typing import Any

import pytest

from aiolots import BoundedSemaphore, Event, RwLock, Semaphore
from tests import tasks
from tests.test_scenarios_reentry import PACKAGE, Injected, at_check, at_every_check
from tests.waiting import assert_idle, in_thread, wait_until_parked
from tests.worlds import on_every_loop, run_on


@pytest.mark.parametrize("kind", ["asyncio", "trio"])
@pytest.mark.parametrize("make", [Semaphore, BoundedSemaphore])
def test_a_handler_raises_while_a_task_takes_a_permit(make: type[Semaphore], kind: str) -> None:
    """No permit is lost, and none is made."""
    semaphore = make(1)

    async def takes() -> None:
        async with semaphore:
            assert semaphore.value == 0

    def handler() -> None:
        frame = sys._getframe(2)  # of aiolots: after the tracer
        while frame.f_code.co_filename.startswith(PACKAGE) and frame.f_back is not None:
            if frame.f_code.co_name == "__aexit__":  # nothing helps against what comes before its first step
                return
            frame = frame.f_back
        raise Injected

    def run(number: int) -> int:
        seen = [0]

        async def body() -> None:
            nonlocal seen
            with at_check(number, handler) as seen, contextlib.suppress(Injected):
                await takes()

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run_on(kind, body())
        assert semaphore.value == 1
        assert semaphore.waiting == 0
        return seen[0]

    assert at_every_check(run) > 0


@on_every_loop
async def test_who_was_cancelled_before_it_asked_takes_no_permit() -> None:
    """Under trio the acquire is a checkpoint, and that one ends it."""
    semaphore, event = Semaphore(1), Event()
    event.set()

    async def takes() -> None:
        await event
        async with semaphore:
            await tasks.pause()

    task = tasks.start(takes())
    task.cancel()
    with pytest.raises(tasks.CANCELLED):
        await task
    assert semaphore.value == 1


@on_every_loop
async def test_an_event_that_is_set_lets_others_run_as_its_library_wants() -> None:
    event, ran = Event(), list[int]()
    event.set()

    async def other() -> None:
        ran.append(1)

    task = tasks.start(other())
    checks: Any = contextlib.nullcontext()
    if tasks.in_trio():
        checks = importlib.import_module("trio.testing").assert_checkpoints()
    with checks:
        assert await event is True
    assert tasks.in_trio() or not ran
    await task
    event.clear()
    assert await event.wait_for(0) is False


def test_an_event_that_is_set_refuses_what_is_no_timeout() -> None:
    event = Event()
    for _ in range(2):
        for wrong, error in ((-1, ValueError), (float("nan"), ValueError), ("1", TypeError)):
            with pytest.raises(error):
                event.wait(wrong)  # type: ignore[arg-type]
        event.set()
    assert event.wait(0) is True
    assert event.wait() is True


def test_an_upgrade_at_once_and_one_that_has_to_wait() -> None:
    lock: Any = RwLock(1)
    guard = lock.upgradable_read().acquire()
    assert guard.upgrade() is guard
    guard.value = 2
    guard.downgrade_to_upgradable()
    reader = lock.read().acquire()
    thread = in_thread(guard.upgrade)
    wait_until_parked(lock, 1)
    reader.release()
    assert thread.join() is guard
    guard.release()
    with pytest.raises(AttributeError):  # a writer's, and released
        guard.upgrade()
    share = lock.upgradable_read().acquire()
    share.release()
    with pytest.raises(RuntimeError, match="released before"):
        share.upgrade()
    assert_idle(lock)
