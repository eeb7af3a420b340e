"""The contract of cancellation, in every world and every way to wait: no trace, no lost wake, the original exception."""

from __future__ import annotations

import asyncio
import functools
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from aiolots import Mutex, RwLock, lowlevel
from tests import modes, tasks
from tests.modes import READER, WRITER, Mode, name_of
from tests.tasks import CANCELLED
from tests.worlds import (
    WORLDS,
    World,
    assert_idle,
    is_the_original,
    on_each_loop,
    on_every_loop,
    until,
    until_parked,
    wait_until,
    wait_until_parked,
)

each_wait = pytest.mark.parametrize("mode", modes.WAITS, ids=name_of)


@pytest.fixture(params=WORLDS)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with World(request.param) as world:
        yield world


@each_wait
def test_a_cancelled_wait_leaves_no_trace(world: World, mode: Mode) -> None:
    lock = mode.make()
    hindrance = mode.hinder(lock)
    word = lock.word
    for number in range(2):
        attempt = world.attempt(lambda: mode.request(lock))
        wait_until_parked(lock, 1)
        assert lock.word != word
        attempt.cancel(f"no {number}")
        assert is_the_original(attempt.error(), f"no {number}")
        assert lock.word == word
        assert lowlevel.waiters(lock) == []
    hindrance.release()
    assert_idle(lock)


@each_wait
@pytest.mark.parametrize("leaver", range(4))
def test_whoever_leaves_the_queue_the_others_get_in(world: World, mode: Mode, leaver: int) -> None:
    lock = mode.make()
    hindrance = mode.hinder(lock)
    waiting = []
    for count in range(1, 5):
        waiting.append(world.attempt(lambda: mode.request(lock)))
        wait_until_parked(lock, count)
    waiting[leaver].cancel("enough")
    assert is_the_original(waiting.pop(leaver).error(), "enough")
    wait_until_parked(lock, 3)
    assert lock.word & 1, "the queue is not empty"
    hindrance.release()
    while waiting:  # readers all enter; of writers one does, whichever
        wait_until(lambda: any(attempt.done() for attempt in waiting))
        entered = next(attempt for attempt in waiting if attempt.done())
        entered.release()
        waiting.remove(entered)
    assert_idle(lock)


@each_wait
def test_all_of_a_queue_leaves(world: World, mode: Mode) -> None:
    lock = mode.make()
    hindrance = mode.hinder(lock)
    word = lock.word
    waiting = []
    for count in range(1, 5):
        waiting.append(world.attempt(lambda: mode.request(lock)))
        wait_until_parked(lock, count)
    for attempt in (waiting[1], waiting[3], waiting[0], waiting[2]):
        attempt.cancel()
        assert is_the_original(attempt.error(), "enough")
    assert lock.word == word
    hindrance.release()
    assert_idle(lock)


def test_a_draining_writer_leaves_and_the_next_one_drains(world: World) -> None:
    lock = RwLock(None)
    with lock.read():
        waiting = []
        for count in range(1, 3):
            waiting.append(world.attempt(lock.write))
            wait_until_parked(lock, count)
        assert lock.word == READER | WRITER | 2 | 1
        waiting[0].cancel()
        wait_until_parked(lock, 1)
        assert lock.word == READER | WRITER | 2
        [waiter] = lowlevel.waiters(lock)
        assert waiter.draining
        waiting[1].cancel()
        assert lock.word == READER
    assert_idle(lock)


# --- tasks ------------------------------------------------------------------------------------------------------------


@each_wait
@on_every_loop
async def test_a_timeout_around_the_acquire(mode: Mode) -> None:
    lock = mode.make()
    hindrance = mode.hinder(lock)
    word = lock.word
    with pytest.raises(TimeoutError):
        async with tasks.timeout(0.005):
            await mode.request(lock)
    if not tasks.in_trio():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(mode.request(lock), 0.005)
    assert lock.word == word
    hindrance.release()
    assert_idle(lock)


@each_wait
@on_every_loop
async def test_a_task_group_that_fails_takes_its_waiters_along(mode: Mode) -> None:
    lock = mode.make()
    hindrance = mode.hinder(lock)
    word = lock.word

    async def enter() -> None:
        await mode.request(lock)

    async def fail() -> None:
        await until_parked(lock, 3)
        raise ZeroDivisionError

    with pytest.raises(ExceptionGroup) as error:
        async with tasks.Group() as group:
            for coroutine in (enter, enter, enter, fail):
                group.start(coroutine())
    assert len(error.value.exceptions) == 1
    assert lock.word == word
    hindrance.release()
    assert_idle(lock)


@each_wait
@on_each_loop
async def test_cancelled_before_it_began_to_wait(mode: Mode) -> None:
    """The acquire waits nowhere: it suspends once, and is cancelled there."""
    lock = mode.make()
    hindrance = mode.hinder(lock)
    word = lock.word
    request = mode.request(lock)

    async def enter() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel("at once")
        await request

    with pytest.raises(asyncio.CancelledError, match="at once"):
        await asyncio.create_task(enter())
    assert lock.word == word
    hindrance.release()
    assert_idle(lock)


@pytest.mark.parametrize("mode", modes.GUARDED, ids=name_of)
@on_each_loop
async def test_no_checkpoint_where_nothing_is_waited_for(mode: Mode) -> None:
    """A cancellation that is under way does not keep an uncontended acquire from its lock: it comes at the next await."""
    lock = mode.make()
    reached = []

    async def enter() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel("later")
        async with mode.request(lock):
            reached.append(lock.word)
            await asyncio.sleep(0)
            reached.append(-1)

    with pytest.raises(asyncio.CancelledError, match="later"):
        await asyncio.create_task(enter())
    assert reached == [mode.adds]
    assert_idle(lock)


@each_wait
@on_every_loop
async def test_a_coroutine_that_waits_is_closed(mode: Mode) -> None:
    lock = mode.make()
    hindrance = mode.hinder(lock)
    word = lock.word
    for end in ("close", "throw", "drop"):
        awaitable = mode.request(lock).__await__()
        next(awaitable)
        assert lock.word != word
        if end == "close":
            awaitable.close()
        elif end == "throw":
            with pytest.raises(ZeroDivisionError):
                awaitable.throw(ZeroDivisionError())
        del awaitable
        assert lock.word == word
        assert lowlevel.waiters(lock) == []
    hindrance.release()
    assert_idle(lock)


@each_wait
@on_every_loop
async def test_cancelled_twice(mode: Mode) -> None:
    lock = mode.make()
    hindrance = mode.hinder(lock)
    word = lock.word

    async def enter() -> None:
        await mode.request(lock)

    task = tasks.start(enter())
    await until_parked(lock, 1)
    task.cancel("first")
    task.cancel("second")
    with pytest.raises(CANCELLED):
        await task
    assert lock.word == word
    hindrance.release()
    assert_idle(lock)


@on_each_loop
async def test_the_cancellation_is_the_original_one() -> None:
    """The very exception that was thrown in comes out, with its traceback through us and nothing chained to it."""
    lock = Mutex(None)
    thrown = asyncio.CancelledError("why")
    with lock.lock():
        awaitable = lock.lock().__await__()
        next(awaitable)
        with pytest.raises(asyncio.CancelledError) as caught:
            awaitable.throw(thrown)
    assert caught.value is thrown
    assert thrown.__context__ is None
    assert thrown.__cause__ is None
    assert_idle(lock)


@on_every_loop
async def test_a_cancelled_holder_releases() -> None:
    lock = RwLock(None)

    async def hold(request: Any) -> None:
        async with request():
            await tasks.for_ever()

    for request in (lock.read, lock.write, lock.read_recursive, functools.partial(lock.try_write_for, 5)):
        task = tasks.start(hold(request))
        await until(lock.is_locked)
        waiter = tasks.start(lock.write())
        await until_parked(lock, 1)
        task.cancel()
        with pytest.raises(CANCELLED):
            await task
        (await waiter).release()
    assert_idle(lock)


@each_wait
def test_what_is_no_exception_is_not_thrown_in(mode: Mode) -> None:
    """A TypeError, as of a generator; the await is as it was, and may be dropped or go on."""
    lock = mode.make()
    hindrance = mode.hinder(lock)
    word = lock.word
    awaitable = mode.request(lock).__await__()
    with pytest.raises(TypeError, match="exceptions must be classes or instances"):
        awaitable.throw(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a request is pending still, and says so
        del awaitable
    assert lock.word == word
    assert lowlevel.waiters(lock) == []
    hindrance.release()
    assert_idle(lock)
