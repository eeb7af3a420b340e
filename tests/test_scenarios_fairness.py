"""R39 to R42: starvation, odd timeouts, many timeouts, eager tasks."""

from __future__ import annotations

import asyncio
import math
import random
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from aiolots import LockTimeout, Mutex, RwLock, decode, lowlevel
from aiolots._front import NATIVE
from aiolots._lib import NULL, ffi, lib
from tests.test_scenarios_loops import each_loop, take, take_in_task
from tests.worlds import (
    LOOP_KINDS,
    LOOPS,
    LoopThread,
    assert_idle,
    in_thread,
    on_each_loop,
    outcome_of,
    until,
    until_parked,
    wait_until,
    wait_until_parked,
)

# One timeout in timers: 1 to 2 with the C types, 2 to 3 with the front in Python; tens, if the queue is walked at each.
MOST = 5 if NATIVE else 10

# --- R39: starvation --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("world", ["thread", *LOOP_KINDS])
def test_r39_readers_against_looping_writers(world: str) -> None:
    lock = RwLock(0)
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            with lock.write() as guard:
                guard.value += 1

    with LoopThread("asyncio" if world == "thread" else world) as loop:
        writers = [in_thread(write) for _ in range(3)]
        try:
            for _ in range(10):
                if world == "thread":
                    in_thread(take, lock.read).join(3.0)
                else:
                    loop.run(take_in_task(lock.read), 3.0)
        finally:
            stop.set()
        for writer in writers:
            writer.join()
    assert_idle(lock)


@on_each_loop
async def test_r39_tasks_of_one_loop_take_turns() -> None:
    """Three writers that never pause: a reader is in after those who came before it, and nobody else."""
    lock = RwLock()
    order: list[str] = []

    async def write(name: str) -> None:
        while "reader" not in order:
            async with lock.write():
                order.append(name)
                await asyncio.sleep(0)

    async def read() -> None:
        async with lock.read():
            order.append("reader")

    writers = [asyncio.ensure_future(write(name)) for name in "abc"]
    await until_parked(lock, 2)
    reader = asyncio.ensure_future(read())
    await until_parked(lock, 3)
    before = len(order)
    await asyncio.gather(reader, *writers)
    assert order.index("reader") - before <= 3, order
    assert_idle(lock)


@pytest.mark.parametrize("writer", ["thread", *LOOP_KINDS])
@pytest.mark.parametrize("readers", ["thread", *LOOP_KINDS])
def test_r39_writer_against_overlapping_readers(writer: str, readers: str) -> None:
    """Three readers, each of which stays until another one is in too: there is always one, until a writer waits."""
    lock = RwLock()
    stop = threading.Event()
    door = threading.Lock()

    def alone(since: float) -> bool:
        """Whether nobody has come for a while: then only because a writer keeps them out."""
        return decode(lock.word).writer_waiting and time.monotonic() - since > 0.02

    def may_leave(guard: Any, since: float) -> bool:
        with door:
            if stop.is_set() or lock.reader_count() > 1 or alone(since):
                guard.release()
                return True
            return False

    def read() -> None:
        while not stop.is_set():
            guard, since = lock.read().acquire(), time.monotonic()
            while not may_leave(guard, since):
                time.sleep(0)

    async def read_in_task() -> None:
        while not stop.is_set():
            guard, since = await lock.read(), time.monotonic()
            await asyncio.sleep(0)
            await until(lambda: may_leave(guard, since))  # noqa: B023 it is over before the next round

    with LoopThread("asyncio" if readers == "thread" else readers) as one:
        with LoopThread("asyncio" if writer == "thread" else writer) as two:
            reading = [in_thread(read) if readers == "thread" else one.submit(read_in_task()) for _ in range(3)]
            wait_until(lambda: lock.reader_count() > 1)
            try:
                for _ in range(5):
                    if writer == "thread":
                        in_thread(take, lock.write).join(3.0)
                    else:
                        two.run(take_in_task(lock.write), 3.0)
            finally:
                stop.set()
            for reader in reading:
                wait_until(reader.done)
    assert_idle(lock)


# --- R40, R41: timeouts -----------------------------------------------------------------------------------------------


@on_each_loop
async def test_r40_odd_timeouts() -> None:
    lock, mutex = RwLock(), Mutex()
    makers: list[Any] = [lock.try_read_for, lock.try_write_for, lock.try_read_recursive_for, mutex.try_lock_for]
    raising: list[Any] = [lock.read, lock.write, lock.read_recursive, mutex.lock]
    for make in makers + raising:
        for bad in (math.nan, -1, -1e-9, -math.inf):
            with pytest.raises(ValueError):
                make(bad)
        for worse in ("1", b"1", [], object()):
            with pytest.raises(TypeError):
                make(worse)
        for fine in (0, 1e-9, 1e300, math.inf, threading.TIMEOUT_MAX * 2, True):
            make(fine).acquire().release()
            async with make(fine) as guard:
                assert guard
    held = await lock.write(), await mutex.lock()
    for make in makers:
        for short in (0, 0.0, 1e-12, 1e-9, 1e-6):
            assert await asyncio.to_thread(lambda make=make, short=short: make(short).acquire()) is None
            assert await make(short) is None
    for make in raising:
        for short in (0, 1e-9):
            with pytest.raises(LockTimeout):
                await make(short)
    for long in (1e300, math.inf, threading.TIMEOUT_MAX * 2):
        waiting = [asyncio.ensure_future(take_in_task(lambda make=make, long=long: make(long))) for make in makers]
        threads = [in_thread(take, lambda make=make, long=long: make(long)) for make in makers]
        await until_parked(lock, 6)
        await until_parked(mutex, 2)
        for guard in held:
            guard.release()
        await asyncio.gather(*waiting)
        for thread in threads:
            await asyncio.to_thread(thread.join)
        held = await lock.write(), await mutex.lock()
    for guard in held:
        guard.release()
    with pytest.raises(OverflowError):
        mutex.acquire(timeout=threading.TIMEOUT_MAX * 2)
    assert_idle(lock, mutex)


def ten_thousand(kind: str, prepare: Callable[[], tuple[Callable[[float], Awaitable[Any]], Callable[[int], bool]]]) -> float:
    """Have a crowd of tasks give up at moments of their own, in an order at random: what each costs its loop's thread.

    `prepare` gives what one does that gives up at a moment, and whether so many wait.
    """
    count, delay = 10_000, 1.0
    order = random.Random(41).sample(range(count), count)

    async def body() -> float | None:
        gives_up, all_wait = prepare()
        first = time.monotonic() + delay
        tasks = [asyncio.ensure_future(gives_up(first + turn * 1e-6)) for turn in order]
        await until(lambda: all_wait(count) or time.monotonic() > first)
        in_time = all_wait(count)
        began = time.thread_time()
        await asyncio.gather(*tasks)
        return time.thread_time() - began if in_time else None

    while True:
        with asyncio.Runner(loop_factory=LOOPS[kind]) as runner:
            spent = runner.run(body())
        if spent is not None:
            return spent / count
        delay *= 3  # a slow machine: the first had given up before the last was there


@each_loop
def test_r41_ten_thousand_timeouts(kind: str) -> None:
    """What a timeout costs its loop's thread among ten thousand who wait is of the order of what a timer costs among as many.

    Both crowds are measured in turn, so whatever else the machine does it does to both. That the core walks no queue is shown
    exactly, in instructions, by tests/c/test_constant.c; here it is what the fronts and the loops make of it.
    """
    lock = RwLock()
    word = ffi.cast("lots_word *", lock.address)

    def ours() -> tuple[Callable[[float], Awaitable[Any]], Callable[[int], bool]]:
        async def gives_up(moment: float) -> None:
            assert await lock.try_write_until(moment) is None

        return gives_up, lambda count: lib.lots_for_each(word, NULL, 0) == count

    def timers() -> tuple[Callable[[float], Awaitable[Any]], Callable[[int], bool]]:
        loop, waiting = asyncio.get_running_loop(), set[asyncio.Future[None]]()

        async def gives_up(moment: float) -> None:
            future: asyncio.Future[None] = loop.create_future()
            waiting.add(future)
            timer = loop.call_later(moment - time.monotonic(), future.set_result, None)
            try:
                await future
            finally:
                timer.cancel()
                waiting.discard(future)

        return gives_up, lambda count: len(waiting) == count

    guard = lock.write().acquire()
    rounds = [(ten_thousand(kind, ours), ten_thousand(kind, timers)) for _ in range(3)]
    guard.release()
    assert_idle(lock)
    of_ours, of_a_timer = map(min, zip(*rounds, strict=True))
    assert of_ours < MOST * of_a_timer, f"{of_ours * 1e6:.1f} us each, and a timer {of_a_timer * 1e6:.1f} us"


# --- R42: eager tasks -------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with 3.12")
@on_each_loop
async def test_r42_eager_tasks() -> None:
    def eagerly(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        # Not asyncio.eager_task_factory: that of 3.13.0 does not take what uvloop gives it.
        make: Any = asyncio.Task
        task: asyncio.Task[Any] = make(coroutine, loop=loop, **(options | {"eager_start": True}))
        return task

    asyncio.get_running_loop().set_task_factory(eagerly)
    lock, order = RwLock(), []

    async def hold(name: int) -> None:
        async with lock.write():
            order.append(name)

    assert asyncio.ensure_future(hold(0)).done()  # free: it runs through, without a turn of the loop
    guard = await lock.write()
    tasks = [asyncio.ensure_future(hold(name)) for name in (1, 2, 3)]
    assert [waiter.owner for waiter in lowlevel.waiters(lock)] == [id(task) for task in tasks]
    tasks[1].cancel()
    guard.release()
    late = asyncio.ensure_future(hold(4))
    await asyncio.gather(*tasks, late, return_exceptions=True)
    assert order == [0, 1, 3, 4]
    assert tasks[1].cancelled()
    # Woken from another thread, and timed.
    guard = await lock.write()
    tasks = [asyncio.ensure_future(hold(5))]
    assert await lock.try_read_for(1e-6) is None
    await asyncio.to_thread(guard.release)
    await asyncio.gather(*tasks)
    assert order[-1] == 5
    assert_idle(lock)


def test_wait_until_parked_sees_threads_and_tasks() -> None:
    """What all tests here lean on: the lot tells who waits."""
    lock = RwLock()
    guard = lock.write().acquire()
    with LoopThread() as loop:
        task, thread = loop.submit(take_in_task(lock.read)), in_thread(take, lock.read)
        wait_until_parked(lock, 2)
        assert sorted(waiter.is_task for waiter in lowlevel.waiters(lock)) == [False, True]
        guard.release()
        outcome_of(task)
        thread.join()
    assert_idle(lock)
