"""The contract, one suite over every lock and every world: who is in with whom, who waits for whom, and who comes next."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Iterator
from typing import Any

import pytest

from aiolots import Mutex, RwLock, lowlevel
from tests import modes, tasks
from tests.modes import READER, WRITER, Mode, name_of
from tests.worlds import (
    TASK_WORLDS,
    WATCHDOG,
    WORLDS,
    Attempt,
    World,
    assert_idle,
    in_thread,
    on_each_loop,
    on_every_loop,
    until,
    until_parked,
    wait_until,
    wait_until_parked,
)


@pytest.fixture(autouse=True)
def patience() -> Iterator[None]:
    """Let no wake be revoked because the machine is slow: that has its own tests."""
    before = lowlevel.set_revoke_after(WATCHDOG)
    yield
    lowlevel.set_revoke_after(before)


@pytest.fixture(params=WORLDS)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with World(request.param) as world:
        yield world


def attempts(world: World, lock: Any, requests: list[Any]) -> list[Attempt]:
    """Start one after the other, each when the ones before are parked."""
    started = []
    for count, request in enumerate(requests, len(lowlevel.waiters(lock)) + 1):
        started.append(world.attempt(functools.partial(request, lock)))
        wait_until_parked(lock, count)
    return started


def next_in(waiting: list[Attempt]) -> list[Attempt]:
    """Wait until somebody got in; take all who have out of the list."""
    wait_until(lambda: any(attempt.done() for attempt in waiting))
    entered = [attempt for attempt in waiting if attempt.done()]
    waiting[:] = [attempt for attempt in waiting if attempt not in entered]
    return entered


# --- exclusion and sharing --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", modes.EXCLUSIVE, ids=name_of)
def test_exclusive_holders_are_alone(world: World, mode: Mode) -> None:
    lock = mode.make()
    first = world.attempt(lambda: mode.request(lock))
    first.guard()
    assert lock.word == WRITER
    waiting = attempts(world, lock, [mode.request] * 5)
    assert lock.word == WRITER | 1
    first.release()
    while waiting:
        [entered] = next_in(waiting)
        assert lock.word & ~1 == WRITER
        entered.release()
    assert_idle(lock)


def test_readers_share_and_a_release_lets_all_of_them_in(world: World) -> None:
    lock = RwLock(None)
    writer = world.attempt(lock.write)
    writer.guard()
    readers = attempts(world, lock, [RwLock.read, RwLock.read_recursive] * 2)
    writer.release()
    for reader in readers:
        reader.guard()
    assert lock.word == 4 * READER
    assert lock.reader_count() == 4
    for reader in readers:
        reader.release()
    assert_idle(lock)


def test_a_writer_waits_for_all_readers(world: World) -> None:
    lock = RwLock(None)
    readers = [world.attempt(lock.read) for _ in range(3)]
    for reader in readers:
        reader.guard()
    [writer] = attempts(world, lock, [RwLock.write])
    assert lock.word == 3 * READER | WRITER | 2
    for left, reader in enumerate(reversed(readers)):
        assert not writer.done()
        assert lock.word == (3 - left) * READER | WRITER | 2
        reader.release()
    writer.guard()
    assert lock.word == WRITER
    writer.release()
    assert_idle(lock)


@pytest.mark.parametrize("hinder", [RwLock.read, RwLock.write])
def test_kept_out_by_each_kind_of_holder(world: World, hinder: Any) -> None:
    lock = RwLock(None)
    holder = world.attempt(lambda: hinder(lock))
    holder.guard()
    [waiting] = attempts(world, lock, [RwLock.write])
    assert lock.try_write() is None
    holder.release()
    waiting.release()
    assert_idle(lock)


# --- writer preference --------------------------------------------------------------------------------------------------


def test_a_reader_queues_behind_a_waiting_writer_and_a_recursive_one_passes_it(world: World) -> None:
    lock = RwLock(None)
    first = world.attempt(lock.read)
    first.guard()
    writer, reader = attempts(world, lock, [RwLock.write, RwLock.read])
    assert lock.word == READER | WRITER | 2 | 1
    assert lock.try_read() is None
    recursive = world.attempt(lock.read_recursive)
    recursive.guard()
    tried = lock.try_read_recursive()
    assert tried is not None
    assert lock.word == 3 * READER | WRITER | 2 | 1
    assert not reader.done()
    assert not writer.done()
    tried.release()
    recursive.release()
    first.release()
    writer.guard()
    assert not reader.done()
    assert lock.word == WRITER | 1
    writer.release()
    reader.guard()
    assert lock.word == READER
    reader.release()
    assert_idle(lock)


def test_a_recursive_reader_does_not_pass_a_writer_that_is_in() -> None:
    lock = RwLock(None)
    with lock.write():
        assert lock.try_read_recursive() is None
        assert lock.word == WRITER
    assert_idle(lock)


def test_readers_that_queued_while_a_writer_was_in_enter_before_the_next_writer(world: World) -> None:
    """Else a looping writer starves them."""
    lock = RwLock(None)
    writer = world.attempt(lock.write)
    writer.guard()
    early, late, next_writer = attempts(world, lock, [RwLock.read, RwLock.read, RwLock.write])
    writer.do(writer.guard().release_fair)
    early.guard()
    late.guard()
    assert not next_writer.done()
    early.release()
    assert not next_writer.done()
    late.release()
    next_writer.release()
    assert_idle(lock)


# --- order ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TASK_WORLDS)
@pytest.mark.parametrize("mode", modes.EXCLUSIVE, ids=name_of)
def test_tasks_of_one_loop_come_in_the_order_of_their_arrival(kind: str, mode: Mode) -> None:
    with World(kind) as world:
        lock = mode.make()
        first = world.attempt(lambda: mode.request(lock))
        first.guard()
        waiting = attempts(world, lock, [mode.request] * 6)
        expected = list(waiting)
        first.release()
        for attempt in expected:
            assert next_in(waiting) == [attempt]
            attempt.release()
        assert_idle(lock)


@on_each_loop
async def test_readers_and_writers_of_one_loop_come_in_order_too() -> None:
    lock = RwLock(None)
    log: list[int] = []

    async def enter(number: int, request: Any) -> None:
        async with request(lock):
            log.append(number)
            await asyncio.sleep(0)

    kinds = [RwLock.write, RwLock.read, RwLock.read, RwLock.write, RwLock.write, RwLock.read]
    async with asyncio.TaskGroup() as group:
        async with lock.write():
            for number, request in enumerate(kinds):
                group.create_task(enter(number, request))
            await until_parked(lock, len(kinds))
    assert log == [0, 1, 2, 3, 4, 5]
    assert_idle(lock)


@pytest.mark.parametrize("mode", modes.ALL, ids=name_of)
@on_each_loop
async def test_one_sleep_0_after_a_release_on_its_loop_the_next_task_holds(mode: Mode) -> None:
    """Always, and not only when it is due for fairness, which it is not twice within a millisecond."""
    lock = mode.make()
    log: list[int] = []

    async def enter(number: int) -> None:
        guard = await mode.request(lock)
        log.append(number)
        guard.release()

    for number in range(50):
        hindrance = mode.hinder(lock)
        task = asyncio.create_task(enter(number))
        await until_parked(lock, 1)
        hindrance.release()
        assert mode.hinder(lock) is None, "the lock was handed over: nobody barges in between"
        await asyncio.sleep(0)
        assert log[-1:] == [number]
        await task
        assert_idle(lock)


@pytest.mark.parametrize("mode", [modes.WRITE, modes.LOCK], ids=name_of)
def test_a_fair_release_hands_over_to_the_first(world: World, mode: Mode) -> None:
    lock = mode.make()
    holder = world.attempt(lambda: mode.request(lock))
    holder.guard()
    waiting = attempts(world, lock, [mode.request] * 3)
    for expected in list(waiting):
        holder.do(holder.guard().release_fair)
        assert lock.word & WRITER
        assert next_in(waiting) == [expected]
        holder = expected
    holder.do(holder.guard().release_fair)
    assert_idle(lock)


def test_a_fair_release_of_a_share_is_a_release() -> None:
    lock = RwLock(None)
    guard = lock.read().acquire()
    guard.release_fair()
    assert not guard.is_held()
    assert_idle(lock)


# --- across worlds ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", modes.WAITS, ids=name_of)
def test_anybody_may_release_a_guard(world: World, mode: Mode) -> None:
    """The guard is the capability: here taken by one thread or task, released by another thread."""
    lock = mode.make()
    hindrance = mode.hinder(lock)
    [first] = attempts(world, lock, [mode.request])
    in_thread(hindrance.release).join()
    guard = first.guard()
    assert lock.word == mode.adds
    in_thread(guard.release).join()
    second = world.attempt(lambda: mode.request(lock))
    second.guard().release()
    assert_idle(lock)


@on_every_loop
async def test_another_task_may_release_a_guard() -> None:
    lock = Mutex(None)

    async def release(guard: Any) -> None:
        guard.release()

    await tasks.start(release(await lock.lock()))
    assert_idle(lock)


def test_locks_that_are_made_without_a_loop_serve_one_loop_after_the_other() -> None:
    async def use(number: int) -> None:
        async def enter() -> None:
            async with MADE_WITHOUT_A_LOOP.write() as guard:
                guard.value.append(number)

        async with asyncio.TaskGroup() as group:
            async with MADE_WITHOUT_A_LOOP.write():
                group.create_task(enter())
                await until_parked(MADE_WITHOUT_A_LOOP, 1)

    for number in range(3):
        asyncio.run(use(number))
    with MADE_WITHOUT_A_LOOP.read() as guard:
        assert guard.value == [0, 1, 2]
    assert_idle(MADE_WITHOUT_A_LOOP)


MADE_WITHOUT_A_LOOP: RwLock[list[int]] = RwLock([], name="global")


# --- no suspension where nothing is waited for ------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", modes.ALL, ids=name_of)
@on_each_loop
async def test_an_uncontended_await_does_not_suspend(mode: Mode) -> None:
    lock = mode.make()
    awaitable = mode.request(lock).__await__()
    with pytest.raises(StopIteration) as end:
        next(awaitable)
    assert lock.word == mode.adds
    end.value.value.release()
    assert_idle(lock)


@pytest.mark.parametrize("mode", modes.GUARDED, ids=name_of)
@on_each_loop
async def test_neither_end_of_an_uncontended_async_with_suspends(mode: Mode) -> None:
    lock = mode.make()

    async def body() -> str:
        async with mode.request(lock):
            assert lock.word == mode.adds
        return "done"

    coroutine = body()
    with pytest.raises(StopIteration, match="done"):
        coroutine.send(None)
    assert_idle(lock)


@on_each_loop
async def test_neither_end_of_the_drop_in_suspends() -> None:
    mutex = Mutex(None)

    async def body() -> str:
        async with mutex as nothing:
            assert nothing is None
            assert mutex.locked()
        return "done"

    with pytest.raises(StopIteration, match="done"):
        body().send(None)
    assert_idle(mutex)


@on_each_loop
async def test_a_contended_release_does_not_suspend_either() -> None:
    lock = RwLock(None)

    async def body() -> str:
        async with lock.write():
            waiter = asyncio.create_task(wait())
            asyncio.get_running_loop().call_soon(lambda: None)
            await until_parked(lock, 1)
        assert not waiter.done(), "nobody else ran during the release"
        await waiter
        return "done"

    async def wait() -> None:
        async with lock.write():
            pass

    assert await body() == "done"
    await until(lambda: lock.word == 0)
    assert_idle(lock)
