"""R29, R30, R31 of tasks: a task that waits for itself, or for who awaits it, gets DeadlockError; legal use never does."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from aiolots import DeadlockError, FairMutex, Mutex, RwLock, _loops, deadlock
from tests.worlds import LoopThread, assert_idle, in_thread, until, until_parked, wait_until_parked

HERE = Path(__file__).name
SOURCE = Path(__file__).read_text(encoding="utf-8").splitlines()
pytestmark = pytest.mark.skipif(
    not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="with the GIL off tasks are not looked at"
)


def marked(function: Callable[..., Any], mark: str) -> int:
    """The line of a function that says so."""
    begin = function.__code__.co_firstlineno
    return next(number for number, line in enumerate(SOURCE[begin - 1 :], begin) if line.endswith(f"# {mark}"))


async def mutex_itself(lock: Any) -> None:
    async with lock:  # HOLDS
        async with lock:  # WAITS
            pass


async def guard_itself(lock: Any) -> None:
    guard = await lock.lock()  # HOLDS
    try:
        await lock.lock()  # WAITS
    finally:
        guard.release()


async def write_while_reading(lock: Any) -> None:
    async with lock.read():  # HOLDS
        async with lock.write():  # WAITS
            pass


async def read_while_writing(lock: Any) -> None:
    async with lock.write() as guard:  # HOLDS
        assert guard
        await lock.read()  # WAITS


async def read_write_read(lock: Any) -> None:
    async with lock.read():  # HOLDS
        writer = asyncio.ensure_future(write(lock))
        await until_parked(lock, 1)
        async with lock.read_recursive():
            pass
        try:
            await lock.read()  # WAITS
        finally:
            wrote.append(writer)


wrote: list[asyncio.Future[None]] = []


async def write(lock: Any) -> None:
    async with lock.write():
        pass


async def sync_with_itself(lock: Any) -> None:
    with lock:  # HOLDS
        async with lock:  # WAITS
            pass


async def child_of_gather(lock: Any) -> None:
    async def child() -> None:
        async with lock.write():  # WAITS
            pass

    async with lock.read():  # HOLDS
        await asyncio.gather(child(), asyncio.sleep(0))


async def child_of_a_group(lock: Any) -> None:
    async def child() -> None:
        async with lock.write():  # WAITS
            pass

    async with lock.read():  # HOLDS
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(child())
        except BaseExceptionGroup as group_of_one:
            raise group_of_one.exceptions[0] from None


async def child_that_is_awaited(lock: Any) -> None:
    async def child() -> None:
        await lock.lock()  # WAITS

    async with lock:  # HOLDS
        await asyncio.create_task(child(), name="child")


CASES: dict[Callable[[Any], Coroutine[Any, Any, None]], tuple[type[Any], str]] = {
    mutex_itself: (Mutex, "use ReentrantMutex"),
    guard_itself: (FairMutex, "use ReentrantMutex"),
    write_while_reading: (RwLock, "upgradable_read(), then upgrade()"),
    read_while_writing: (RwLock, "use ReentrantMutex"),
    read_write_read: (RwLock, "read_recursive()"),
    sync_with_itself: (Mutex, "use ReentrantMutex"),
    child_of_gather: (RwLock, "release it before"),
    child_of_a_group: (RwLock, "release it before"),
    child_that_is_awaited: (Mutex, "release it before"),
}


each_loop = pytest.mark.parametrize("kind", ["asyncio", "uvloop"])  # without a limit around it, as on_each_loop has one


@each_loop
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_r29_r30_r31_a_task_waits_for_itself(case: Callable[[Any], Coroutine[Any, Any, None]], kind: str) -> None:
    lock_kind, advice = CASES[case]
    lock = lock_kind(name="it")
    with LoopThread(kind) as loop:
        with pytest.raises(DeadlockError) as caught:
            loop.run(case(lock))
        loop.run(asyncio.wait_for(end_of_writers(), 20))
    text = str(caught.value)
    assert "'it'" in text
    assert re.search(r"word 0x[0-9a-f]+ \([a-z]", text), text
    assert re.search(rf"asked for at \S*{HERE}:{marked(case, 'WAITS')} in", text), text
    assert re.search(rf"taken at \S*{HERE}:{marked(case, 'HOLDS')} in", text), text
    assert advice in text, text
    assert_idle(lock)


async def end_of_writers() -> None:
    while wrote:
        await wrote.pop()


@each_loop
def test_r31_a_holds_b_waits_to_write_c_to_read_and_a_awaits_c(kind: str) -> None:
    lock = RwLock(name="it")

    async def a() -> None:
        async with lock.read():
            b = asyncio.ensure_future(write(lock))
            await until_parked(lock, 1)
            try:
                await asyncio.create_task(c(), name="c")
            finally:
                wrote.append(b)

    async def c() -> None:
        async with lock.read():
            pass

    async def named() -> None:
        await asyncio.create_task(a(), name="a")

    with LoopThread(kind) as loop:
        with pytest.raises(DeadlockError, match="task 'a', which awaits task 'c', holds it"):
            loop.run(named())
        loop.run(end_of_writers())
    assert_idle(lock)


# --- what is legal ------------------------------------------------------------------------------------------------------


def alone(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[str], None]:
    """A test that runs on each loop, with no limit around it that would make any wait one that ends."""

    def run(kind: str) -> None:
        with LoopThread(kind) as loop:
            loop.run(test())

    run.__name__ = test.__name__
    return each_loop(run)  # type: ignore[no-any-return]


async def looked_at() -> None:
    """All who wait on this loop have been looked at."""
    port = _loops.own_port()
    assert port is not None
    await until(lambda: not port.looks)


@each_loop
def test_what_may_end_by_itself_is_let_be(kind: str) -> None:
    lock = RwLock()

    async def times_out() -> None:
        async with lock.read():
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.03):
                    await lock.write()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(write(lock), 0.03)
            assert await lock.try_write_for(0.03) is None

    async def is_awaited_with_a_limit() -> None:
        async with lock.read():
            await lock.write()

    async def has_a_limit() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.03):
                await asyncio.ensure_future(is_awaited_with_a_limit())

    with LoopThread(kind) as loop:
        loop.run(times_out())
        loop.run(has_a_limit())
    assert_idle(lock)


@alone
async def test_a_guard_that_somebody_else_has_may_be_released() -> None:
    lock, kept = RwLock(), list[Any]()

    async def ask() -> None:
        async with lock.read() as guard:
            kept.append(guard)
            async with lock.write():
                pass

    task = asyncio.ensure_future(ask())
    await until_parked(lock, 1)
    await looked_at()
    kept.pop().release()
    await task
    assert_idle(lock)


@alone
async def test_two_tasks_that_want_one_mutex() -> None:
    mutex, go = Mutex(), asyncio.Event()

    async def hold() -> None:
        async with mutex:
            await go.wait()

    async def one() -> None:
        async with mutex:
            pass

    tasks = [asyncio.ensure_future(hold()), asyncio.ensure_future(one()), asyncio.ensure_future(one())]
    await until_parked(mutex, 2)
    await looked_at()
    go.set()
    await asyncio.gather(*tasks)
    assert_idle(mutex)


@alone
async def test_cancelled_instead() -> None:
    """A deadlock that is ended before anybody has looked."""
    mutex = Mutex()
    task = asyncio.ensure_future(mutex_itself(mutex))
    await until_parked(mutex, 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await looked_at()
    assert_idle(mutex)


@alone
async def test_the_switch() -> None:
    mutex = Mutex()
    deadlock.set_immediate(False)
    try:
        task = asyncio.ensure_future(mutex_itself(mutex))
        await until_parked(mutex, 1)
        await looked_at()
        assert not task.done()
    finally:
        deadlock.set_immediate(True)
    task.cancel()
    await asyncio.wait([task])
    assert_idle(mutex)


# --- a watcher that ends it ---------------------------------------------------------------------------------------------


@each_loop
def test_a_watcher_ends_the_wait_of_a_task(kind: str) -> None:
    """A cycle of a task and a thread: the task's wait ends with the report, and so the thread's."""
    a, b = RwLock(name="A"), Mutex(name="B")
    reported: list[deadlock.Cycle] = []

    async def one() -> None:
        async with a.write():
            await until(b.locked)
            async with b:
                pass

    def two() -> None:
        with b:
            wait_until_parked(b, 1)
            with a.read():
                pass

    deadlock.start(0.02, reported.append, end_a_task=True)
    try:
        with LoopThread(kind) as loop:
            thread = in_thread(two)
            with pytest.raises(DeadlockError, match="deadlock: 2 owners wait for each other"):
                loop.run(one())
            thread.join()
    finally:
        deadlock.stop()
    assert len(reported) == 1
    assert_idle(a, b)
