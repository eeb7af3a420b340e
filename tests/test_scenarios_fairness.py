"""R39 to R42: starvation, odd timeouts, many timeouts, eager tasks."""

from __future__ import annotations

import asyncio
import math
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from aiolots import LockTimeout, Mutex, RwLock, deadlock, decode, lowlevel
from aiolots._lib import NULL, ffi, lib
from tests.instructions import CAN_COUNT, Counter
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


LEAVE = 3  # of each kind; what each pays is counted


@pytest.mark.skipif(not CAN_COUNT, reason="instructions are counted on Linux with an x86-64 only")
@each_loop
def test_r41_ten_thousand_timeouts(kind: str, tmp_path: Path) -> None:
    """What one pays who leaves does not grow with the number of those who wait: by a timeout at the end of the queue, and by a
    cancellation in its middle. Counted in instructions, fronts and loop and all; the core alone: tests/c/test_constant.c."""
    counter = Counter(tmp_path)

    async def leave(count: int) -> None:
        lock = RwLock()
        word = ffi.cast("lots_word *", lock.address)
        guard = lock.write().acquire()
        crowd = [asyncio.ensure_future(take_in_task(lock.write)) for _ in range(count)]
        await until(lambda: lib.lots_for_each(word, NULL, 0) == count)
        assert await lock.try_write_for(1e-6) is None  # the first time something may be made that is kept
        for _ in range(LEAVE):
            with counter():
                assert await lock.try_write_for(1e-6) is None
        for task in crowd[count // 2 : count // 2 + LEAVE]:
            with counter():
                task.cancel()
                while not task.done():  # noqa: ASYNC110
                    await asyncio.sleep(0)
        assert lib.lots_for_each(word, NULL, 0) == count - LEAVE
        for task in crowd:
            task.cancel()
        await asyncio.wait(crowd)
        guard.release()
        assert_idle(lock)

    many = 10_000
    deadlock.set_immediate(False)  # a look at the crowd, now and then, is nobody's timeout
    try:
        with asyncio.Runner(loop_factory=LOOPS[kind]) as runner:
            for count in (10, many):
                runner.run(leave(count))
    finally:
        deadlock.set_immediate(True)
    # The least of each: the collector, and what else comes by now and then, is in some.
    timeout, cancellation, timeout_of_many, cancellation_of_many = (min(counter.found[i * LEAVE :][:LEAVE]) for i in range(4))
    for what, few, more in (("timeout", timeout, timeout_of_many), ("cancellation", cancellation, cancellation_of_many)):
        assert few > 1000, "nothing was counted"
        # A step for each of them is two instructions at least; what differs otherwise, with the GIL off, is a part of it all.
        assert more < few + few // 12 + many // 4, f"a {what} takes {few} instructions among ten, {more} among ten thousand"


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
