"""R05, R07, R08, R20 and R21 with semaphores: no permit is lost, whoever leaves and however."""

from __future__ import annotations

import asyncio
import functools
import math
import random
import signal
import threading
import time
import warnings
from typing import Any

import pytest

from aiolots import BoundedSemaphore, LoopBlockedWarning, Semaphore, lowlevel
from tests import tasks
from tests.waits import (
    Either,
    awaited,
    is_the_original,
    loop_policy,
    loops_may_block,
    patience,
    signal_until,
    until_waiting,
    wait_until_waiting,
    world,
)
from tests.worlds import (
    LOOP_KINDS,
    YIELD,
    Attempt,
    LoopThread,
    World,
    in_thread,
    on_each_loop,
    outcome_of,
)

__all__ = ["loop_policy", "loops_may_block", "patience", "world"]  # fixtures

each_loop = pytest.mark.parametrize("kind", LOOP_KINDS)
each_kind = pytest.mark.parametrize("make", [Semaphore, BoundedSemaphore])
PROMPTLY = 1.0


def permit(semaphore: Semaphore) -> Any:
    return semaphore.try_acquire_for(math.inf)


def queue_up(world: World, semaphore: Semaphore, count: int) -> list[Attempt]:
    attempts = []
    for number in range(1, count + 1):
        attempts.append(world.attempt(lambda: permit(semaphore)))
        wait_until_waiting(semaphore, number)
    return attempts


def assert_whole(semaphore: Semaphore, value: int) -> None:
    """Nobody waits, and all permits are back."""
    assert semaphore.value == value
    assert semaphore.waiting == 0
    assert lowlevel.waiters(key=semaphore) == []
    assert semaphore._grants == {}


# --- leaving ------------------------------------------------------------------------------------------------------------


@each_kind
@pytest.mark.parametrize("leaver", range(3))
def test_a_cancelled_wait_leaves_no_trace(world: World, make: Any, leaver: int) -> None:
    semaphore = make(1)
    semaphore.acquire()
    attempts = queue_up(world, semaphore, 3)
    attempts[leaver].cancel("enough")
    assert is_the_original(attempts.pop(leaver).error(), "enough")
    assert semaphore.waiting == 2
    for attempt in attempts:
        semaphore.release()
        assert attempt.guard() is True
    semaphore.release()
    assert_whole(semaphore, 1)


def test_a_timeout_leaves_no_trace(world: World) -> None:
    semaphore = Semaphore(0)
    assert world.attempt(lambda: semaphore.try_acquire_for(0.005)).guard() is False
    assert_whole(semaphore, 0)
    semaphore.release()
    assert_whole(semaphore, 1)


@on_each_loop
@pytest.mark.parametrize("make", [Semaphore, BoundedSemaphore])
async def test_r07_granted_then_cancelled_in_one_step(make: Any) -> None:
    for others in (0, 1):
        semaphore = make(1)
        await semaphore
        tasks = [asyncio.ensure_future(awaited(permit(semaphore))) for _ in range(1 + others)]
        await until_waiting(semaphore, 1 + others)
        semaphore.release()
        tasks[0].cancel("enough")
        with pytest.raises(asyncio.CancelledError, match="enough"):
            await tasks[0]
        if others:
            assert await tasks[1] is True
            semaphore.release()
        assert_whole(semaphore, 1)


@on_each_loop
async def test_r08_cancelled_and_released_in_one_step_exactly_one_enters() -> None:
    semaphore = Semaphore(1)
    await semaphore
    tasks = [asyncio.ensure_future(awaited(permit(semaphore))) for _ in range(3)]
    await until_waiting(semaphore, 3)
    tasks[0].cancel()
    semaphore.release()
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]
    assert await tasks[1] is True
    assert not tasks[2].done()
    semaphore.release()
    assert await tasks[2] is True
    semaphore.release()
    assert_whole(semaphore, 1)


@each_kind
def test_no_permit_is_lost_to_timeouts_and_cancellations(world: World, make: Any) -> None:
    semaphore, inside, most = make(2), [], []

    def once(seconds: float) -> None:
        if semaphore.acquire(timeout=seconds):
            inside.append(1)
            most.append(len(inside))
            inside.pop()
            semaphore.release()

    async def once_async(seconds: float) -> None:
        if await semaphore.try_acquire_for(seconds):
            try:
                inside.append(1)
                most.append(len(inside))
                await tasks.pause()
            finally:
                inside.pop()
                semaphore.release()

    def thread(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(100):
            once(chance.choice([0, 0.0001, 0.001, 5]))

    async def task(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(100):
            child = tasks.start(once_async(chance.choice([0, 0.0001, 0.001, 5])))
            for _ in range(chance.randrange(4)):
                await tasks.pause()
            if chance.random() < 0.3:
                child.cancel()
            await tasks.outcomes(child)

    both_ways = [(functools.partial(thread, seed), functools.partial(task, seed)) for seed in range(6)]
    attempts = [world.attempt(functools.partial(Either, *colours)) for colours in both_ways]
    for attempt in attempts:
        attempt.guard()
    assert max(most) <= 2
    assert_whole(semaphore, 2)


@pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason="signals come to the main thread")
def test_r05_a_signal_handler_that_raises_and_one_that_releases() -> None:
    semaphore = Semaphore(0)
    main = threading.get_ident()

    class Interrupt(Exception):
        pass

    came: list[int] = []

    def interrupt(*_: object) -> None:
        if not came:
            came.append(1)
            raise Interrupt

    def release(*_: object) -> None:
        if not came:
            came.append(1)
            semaphore.release()

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        thread = in_thread(signal_until, main, semaphore, lambda: came)
        with pytest.raises(Interrupt):
            semaphore.acquire()
        thread.join()
        assert_whole(semaphore, 0)
        came.clear()
        signal.signal(signal.SIGUSR1, release)
        thread = in_thread(signal_until, main, semaphore, lambda: came)
        assert semaphore.acquire() is True
        thread.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert_whole(semaphore, 0)


# --- loops ----------------------------------------------------------------------------------------------------------------


@each_loop
@pytest.mark.parametrize("late", [False, True], ids=["in line", "late"])
def test_r20_a_stopped_loop_loses_its_turn(kind: str, late: bool) -> None:
    lowlevel.set_revoke_after(0.05)
    semaphore = Semaphore(0)
    with LoopThread(kind) as loop:
        task = loop.submit(awaited(permit(semaphore)))
        wait_until_waiting(semaphore, 1)
        loop.stop()
        if late:
            semaphore.release()
        behind = in_thread(semaphore.acquire)
        if not late:
            wait_until_waiting(semaphore, 2)
            semaphore.release()
        assert behind.join(PROMPTLY) is True
        semaphore.release()
        in_thread(semaphore.acquire).join(PROMPTLY)
        loop.start()
        semaphore.release()
        assert outcome_of(task) is True
    assert_whole(semaphore, 0)


@each_loop
@pytest.mark.parametrize("how", ["waiting", "granted", "granted, somebody in line", "granted, somebody late"])
def test_r20_a_closed_loop_takes_no_permit_along(kind: str, how: str) -> None:
    semaphore = Semaphore(0)
    loop = LoopThread(kind)
    task = loop.submit(awaited(permit(semaphore)))
    wait_until_waiting(semaphore, 1)
    behind = in_thread(semaphore.acquire) if "in line" in how else None
    if behind is not None:
        wait_until_waiting(semaphore, 2)
    loop.stop()
    if "granted" in how:
        semaphore.release()
        assert semaphore.value == 0
    loop.close(cancel=False)
    if how == "waiting":
        semaphore.release()
    if behind is None:
        behind = in_thread(semaphore.acquire)
    assert behind.join(PROMPTLY) is True
    assert_whole(semaphore, 0)
    assert not task.done()


@each_loop
def test_r21_a_loop_that_blocks_on_itself(kind: str, loops_may_block: None) -> None:
    semaphore = Semaphore(0)
    with LoopThread(kind) as loop:
        task = loop.submit(awaited(permit(semaphore)))
        wait_until_waiting(semaphore, 1)
        blocks = in_thread(loop.call, semaphore.acquire)
        wait_until_waiting(semaphore, 2)
        semaphore.release()
        assert blocks.join(PROMPTLY) is True
        assert not task.done()
        semaphore.release()
        assert outcome_of(task) is True
    assert_whole(semaphore, 0)


@each_loop
def test_r21_a_grant_sent_before_the_block_is_recalled(kind: str, loops_may_block: None) -> None:
    semaphore = Semaphore(0)

    def callback() -> bool:
        in_thread(semaphore.release).join()
        assert lowlevel.waiters(key=semaphore)[0].woken
        return semaphore.acquire()

    with LoopThread(kind) as loop:
        task = loop.submit(awaited(permit(semaphore)))
        wait_until_waiting(semaphore, 1)
        assert loop.call(callback, PROMPTLY) is True
        semaphore.release()
        assert outcome_of(task) is True
    assert_whole(semaphore, 0)


@each_loop
def test_a_sync_acquire_on_a_loops_thread(kind: str, loop_policy: Any) -> None:
    semaphore = Semaphore(1, name="pool")
    with LoopThread(kind) as loop:
        assert loop.call(semaphore.acquire) is True
        with pytest.warns(LoopBlockedWarning, match="pool"):
            assert loop.call(lambda: semaphore.acquire(timeout=0.001)) is False
        loop_policy("raise")
        with pytest.raises(RuntimeError, match="running event loop"):
            loop.call(semaphore.acquire)
    semaphore.release()
    assert_whole(semaphore, 1)


def test_two_loops_and_threads() -> None:
    semaphore, inside, most = Semaphore(3), [], []

    def thread() -> None:
        for _ in range(100):
            with semaphore:
                inside.append(1)
                most.append(len(inside))
                time.sleep(0)
                inside.pop()

    async def task() -> None:
        for _ in range(100):
            async with semaphore:
                inside.append(1)
                most.append(len(inside))
                await asyncio.sleep(0)
                inside.pop()

    with LoopThread("asyncio") as one, LoopThread("uvloop") as two:
        futures = [loop.submit(task()) for loop in (one, two) for _ in range(4)]
        threads = [in_thread(thread) for _ in range(4)]
        for future in futures:
            outcome_of(future)
        for each in threads:
            each.join()
    assert max(most) <= 3
    assert len(most) == 1200
    assert_whole(semaphore, 3)


def test_a_thread_that_times_out_races_with_releases() -> None:
    semaphore, got = Semaphore(0), []

    def take() -> None:
        got.extend(semaphore.acquire(timeout=0.0003) for _ in range(200))

    threads = [in_thread(take) for _ in range(3)]
    released = 0
    while not all(thread.done() for thread in threads):
        semaphore.release()
        released += 1
        time.sleep(YIELD)
    for thread in threads:
        thread.join()
    assert_whole(semaphore, released - sum(got))


@pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason="signals come to the main thread")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # out of a finalizer it cannot go
def test_r05_signal_handlers_that_raise_at_any_moment() -> None:
    """No permit is lost, and none is left over."""
    semaphore, stop, chance = BoundedSemaphore(1), threading.Event(), random.Random(1)
    armed: list[bool] = []

    class Interrupt(BaseException):
        pass

    def interrupt(*_: object) -> None:
        if armed:
            armed.clear()
            raise Interrupt

    def take_turns() -> None:
        while not stop.is_set():
            with semaphore:
                time.sleep(0)

    lowlevel.unpark_one(object())  # what is imported on the way is imported now
    before = signal.signal(signal.SIGALRM, interrupt)
    thread, interrupted = in_thread(take_turns), 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a request that was made, and never entered
        try:
            for _ in range(1000):
                try:
                    armed.append(True)
                    signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-6, 2e-4))
                    with semaphore:
                        armed.clear()
                    armed.clear()
                except Interrupt:
                    interrupted += 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            stop.set()
        thread.join()
    assert interrupted
    assert_whole(semaphore, 1)
    semaphore.acquire()
    semaphore.release()
    with pytest.raises(ValueError):
        semaphore.release()
