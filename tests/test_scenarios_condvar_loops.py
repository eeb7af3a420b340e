"""R20, R21 and R34 at a condvar: loops that cannot run, coroutines that are closed, crowds."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import itertools
from typing import Any

import pytest

from aiolots import Condvar, Mutex, RwLock, lowlevel
from tests.waits import (
    Either,
    awaited,
    loops_may_block,
    notified,
    patience,
    until_waiting,
    wait_until_waiting,
    waiting_at,
    world,
)
from tests.worlds import (
    LOOP_KINDS,
    LoopThread,
    World,
    assert_idle,
    in_thread,
    on_each_loop,
    outcome_of,
    parked,
    wait_until,
    wait_until_parked,
)

__all__ = ["loops_may_block", "patience", "world"]  # fixtures

PROMPTLY = 1.0  # seconds, as R20 has it
each_loop = pytest.mark.parametrize("kind", LOOP_KINDS)


# --- R20, R21 -------------------------------------------------------------------------------------------------------------


@each_loop
@pytest.mark.parametrize("when", ["waiting", "notified"])
def test_r20_loop_closed(kind: str, when: str) -> None:
    """The guard holds nothing any more, the lock is free, and a notification is not lost with the loop."""
    lock, condvar = Mutex(), Condvar()
    guards: list[Any] = []

    async def wait() -> None:
        async with lock.lock() as guard:
            guards.append(guard)
            await condvar.wait(guard)

    loop = LoopThread(kind)
    loop.submit(wait())
    wait_until_waiting(condvar, 1)
    behind = in_thread(notified(condvar, lock.lock).acquire)
    wait_until_waiting(condvar, 2)
    loop.stop()
    if when == "notified":
        with lock.lock():
            assert condvar.notify_one() == 1
            assert waiting_at(condvar) == 1
    loop.close(cancel=False)
    if when == "waiting":
        wait_until_waiting(condvar, 1)
        assert condvar.notify_one() == 1
    assert behind.join(PROMPTLY) is True
    assert not guards[0].is_held()
    with pytest.raises(RuntimeError):
        guards[0].release()
    assert_idle(lock)
    del guards[:], loop
    with contextlib.suppress(RuntimeError):
        gc.collect()


@each_loop
def test_r20_loop_stopped(kind: str) -> None:
    """The lock that a notified task cannot take goes to others; the task gets it when its loop runs again."""
    lowlevel.set_revoke_after(0.05)
    lock, condvar = Mutex(), Condvar()
    with LoopThread(kind) as loop:
        task = loop.submit(awaited(notified(condvar, lock.lock)))
        wait_until_waiting(condvar, 1)
        loop.stop()
        assert condvar.notify_one() == 1
        in_thread(notified(condvar, lock.lock, 0.01).acquire).join(PROMPTLY)
        loop.start()
        assert outcome_of(task) is True
    assert_idle(lock)


@each_loop
def test_r21_a_task_of_a_sleeping_loop_is_passed_over(kind: str, loops_may_block: None) -> None:
    lock, condvar, other = Mutex(), Condvar(), Condvar()
    with LoopThread(kind) as loop:
        task = loop.submit(awaited(notified(condvar, lock.lock)))
        wait_until_waiting(condvar, 1)
        behind = in_thread(notified(condvar, lock.lock).acquire)
        wait_until_waiting(condvar, 2)
        blocks = in_thread(loop.call, notified(other, lock.lock).acquire)
        wait_until_waiting(other, 1)
        assert condvar.notify_all() == 1
        assert behind.join(PROMPTLY) is True
        other.notify_one()
        assert blocks.join(PROMPTLY) is True
        wait_until_waiting(condvar, 1)
        assert condvar.notify_one() == 1
        assert outcome_of(task) is True
    assert_idle(lock)


@each_loop
def test_a_coroutine_that_is_closed_holds_nothing(kind: str) -> None:
    """It cannot wait for the lock any more. What it was notified of goes to the next."""
    lock, condvar = Mutex(), Condvar()
    for was_notified, held in itertools.product((False, True), repeat=2):
        with LoopThread(kind) as loop:
            behind_it: list[Any] = []

            async def begin_and_close() -> None:
                coroutine = notified(condvar, lock.lock).__await__()
                future = coroutine.send(None)
                assert future is not None
                behind_it.append(in_thread(notified(condvar, lock.lock).acquire))  # noqa: B023
                await until_waiting(condvar, 2)
                holder = lock.try_lock() if held else None  # noqa: B023
                if was_notified:  # noqa: B023
                    assert condvar.notify_one() == 1
                with contextlib.suppress(AssertionError):  # of notified(): the guard is not held
                    coroutine.close()
                if holder is not None:
                    holder.release()
                if not was_notified:  # noqa: B023
                    assert condvar.notify_one() == 1

            loop.run(begin_and_close())
            assert behind_it[0].join() is True
        assert_idle(lock)


# --- R34, and crowds ------------------------------------------------------------------------------------------------------


def test_r34_who_waits_to_take_the_lock_again_is_seen_to(world: World) -> None:
    lock, condvar = RwLock(name="catalog"), Condvar()
    attempt = world.attempt(lambda: notified(condvar, lock.read))
    wait_until_waiting(condvar, 1)
    assert [(w.lock_name, w.mode, w.expects) for w in lowlevel.waiters(key=condvar)] == [("catalog", "read", True)]
    assert lowlevel.waiters(lock) == []
    with lock.write():
        writer = world.attempt(lock.write)
        wait_until_parked(lock, 1)
        condvar.notify_one()
        wait_until_parked(lock, 2)
        assert lowlevel.waiters(key=condvar) == []
        seen = lowlevel.waiters(lock)
        assert [(w.lock_name, w.mode, w.expects, w.is_task) for w in seen] == [
            ("catalog", "write", False, writer.is_task),
            ("catalog", "read", False, attempt.is_task),
        ]
    writer.release()
    assert attempt.guard() is True
    assert_idle(lock)


@on_each_loop
async def test_notify_all_of_a_thousand_is_no_thundering_herd() -> None:
    """Each task runs once for its turn: nobody wakes up to find the lock taken."""
    lock, condvar, count = Mutex(), Condvar(), 1000
    steps: list[int] = []

    class Counted:
        """Counts how often the task is woken."""

        def __init__(self, awaitable: Any) -> None:
            self._awaitable = awaitable

        def __await__(self) -> Any:
            iterator = self._awaitable.__await__()
            with contextlib.suppress(StopIteration):
                while True:
                    future = next(iterator)
                    yield future
                    steps.append(1)

    tasks = [asyncio.ensure_future(awaited(Counted(notified(condvar, lock.lock)))) for _ in range(count)]
    await until_waiting(condvar, count)
    async with lock.lock():
        assert condvar.notify_all() == count
        assert parked(lock) == count
        assert not steps
    await asyncio.gather(*tasks)
    assert len(steps) == count
    assert_idle(lock)


def test_a_crowd_of_threads_and_two_loops() -> None:
    """They get the lock one after the other; of each notify_all everybody hears."""
    lock, condvar, count = Mutex([0]), Condvar(), 60
    inside: list[int] = []

    def alone(guard: Any) -> None:
        inside.append(1)
        assert len(inside) == 1
        guard.value[0] += 1
        inside.pop()

    with LoopThread("asyncio") as one, LoopThread("uvloop") as two, World("thread") as world:
        for number in range(1, 4):
            request = functools.partial(notified, condvar, lock.lock, then=alone)
            futures = [loop.submit(awaited(request())) for loop in (one, two) for _ in range(count)]
            attempts = [world.attempt(request) for _ in range(10)]
            wait_until_waiting(condvar, 2 * count + 10)
            with lock.lock():
                assert condvar.notify_all() == 2 * count + 10
                assert parked(lock) == 2 * count + 10
            for future in futures:
                assert outcome_of(future) is True
            for attempt in attempts:
                assert attempt.guard() is True
            with lock.lock() as guard:
                assert guard.value[0] == number * (2 * count + 10)
    assert_idle(lock)


def test_no_notification_is_lost_between_the_look_and_the_sleep(world: World) -> None:
    """Whoever changes the condition under the lock finds the waiter in the queue, time and again."""
    lock, condvar = Mutex(0), Condvar()

    def thread() -> None:
        for _ in range(100):
            with lock.lock() as guard:
                condvar.wait_for(guard, lambda: guard.value)
                guard.value -= 1

    async def task() -> None:
        for _ in range(100):
            async with lock.lock() as guard:
                await condvar.wait_for(guard, lambda: guard.value)
                guard.value -= 1

    attempts = [world.attempt(lambda: Either(thread, task)) for _ in range(3)]
    for _ in range(300):
        with lock.lock() as guard:
            guard.value += 1
            condvar.notify_one()
    for attempt in attempts:
        attempt.guard()
    wait_until(lambda: lock.word == 0)
    assert_idle(lock)
