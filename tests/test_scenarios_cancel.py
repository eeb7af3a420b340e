"""SCENARIOS A: timeouts, interrupts and cancellations that broke other locks. One test or more for each, named after it.

The interleavings are directed: everything up to the step in question is waited for through the lot, and steps that have to
fall together are taken in one callback of the loop. Where two threads must meet inside the core, the explorer and the C
tests do it exactly; here they race many times over.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aiolots import RwLock, decode, lowlevel
from tests import modes
from tests.modes import READER, WRITER, Mode, name_of
from tests.worlds import (
    LOOP_KINDS,
    LOOPS,
    WATCHDOG,
    WORLDS,
    YIELD,
    Attempt,
    Stuck,
    World,
    assert_idle,
    in_thread,
    on_each_loop,
    parked,
    run_on,
    until,
    until_parked,
    wait_until,
    wait_until_parked,
)

each_loop_kind = pytest.mark.parametrize("kind", LOOP_KINDS)
each_exclusive = pytest.mark.parametrize("mode", modes.EXCLUSIVE, ids=name_of)
each_departure = pytest.mark.parametrize("departure", ["timeout", "cancel"])


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


def reader_behind_a_writer(world: World, lock: RwLock[Any], departure: str) -> tuple[Attempt, Attempt]:
    """With a reader in: park a writer that is going to leave, and a reader behind it."""
    for seconds in (0.2, 1.0, 5.0):  # on a machine so slow that the writer is gone too early: again
        request = lock.write if departure == "cancel" else functools.partial(lock.try_write_for, seconds)
        writer = world.attempt(request)
        wait_until(lambda: parked(lock) == 1 or writer.done())  # noqa: B023
        reader = world.attempt(lock.read)
        wait_until(lambda: parked(lock) == 2 or reader.done())  # noqa: B023
        if not reader.done():
            return writer, reader
        reader.release()
    raise Stuck("the writer leaves before the reader comes")


def depart(writer: Attempt, departure: str) -> None:
    """Let the writer leave, and see it off."""
    if departure == "cancel":
        writer.cancel("enough")
        assert "enough" in str(writer.error()) or not writer.is_task
    else:
        assert writer.guard() is None


# --- R01 --------------------------------------------------------------------------------------------------------------


@each_departure
@pytest.mark.parametrize("third", [False, True], ids=["alone", "third parked"])
@pytest.mark.parametrize("release_first", [False, True], ids=["leaves first", "release first"])
def test_r01_the_word_survives_a_writer_that_leaves(world: World, departure: str, third: bool, release_first: bool) -> None:
    lock = RwLock(None)
    first = lock.read().acquire()
    if third:
        writer, reader = reader_behind_a_writer(world, lock, departure)
        assert lock.word == READER | WRITER | 2 | 1
    else:
        writer = world.attempt(functools.partial(lock.try_write_for, WATCHDOG if release_first else 0.01))
        wait_until(lambda: parked(lock) == 1 or writer.done())
        assert lock.word == READER | WRITER | 2 or writer.done()
    if release_first:
        first.release()
        if writer.guard() is not None:
            assert lock.word == WRITER | third
            writer.release()
        if third:
            reader.release()
    else:
        if departure == "timeout" or third:
            depart(writer, departure)
        else:
            assert writer.guard() is None
        if third:
            reader.guard()
        assert lock.word == READER * (1 + third), "not 0xff...f, not 0xff...e"
        first.release()
        if third:
            reader.release()
    assert_idle(lock)


@on_each_loop
async def test_r01_a_cancelled_writer_and_the_last_reader_in_one_callback() -> None:
    """The writer is cancelled and its task has not run yet, or is not: the last reader leaves in between."""

    async def take(request: Any) -> bool:
        guard = await request
        assert not decode(lock.word).problems
        guard.release()
        return True

    for cancels, third, releases_first in itertools.product((False, True), repeat=3):
        lock = RwLock(None)
        first = lock.read().acquire()
        waiting = [asyncio.create_task(take(lock.try_write_for(WATCHDOG)))]
        await until_parked(lock, 1)
        if third:
            waiting.append(asyncio.create_task(take(lock.read())))
            await until_parked(lock, 2)
        assert lock.word == READER | WRITER | 2 | third
        steps: list[Callable[[], Any]] = [first.release, waiting[0].cancel if cancels else lambda: None]
        for step in steps if releases_first else reversed(steps):
            step()
            assert not decode(lock.word).problems
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert [outcome is True for outcome in outcomes] == [not cancels, True][: 1 + third]
        assert_idle(lock)


@pytest.mark.parametrize("third", [False, True], ids=["alone", "third parked"])
@on_each_loop
async def test_r01_a_timed_out_writer_and_the_last_reader_in_one_callback(third: bool) -> None:
    """Its time is up, its task is scheduled and has not run: now the last reader leaves. The writer owns the lock then."""
    lock = RwLock(None)
    first = lock.read().acquire()
    awaitable = lock.try_write_for(1e-9).__await__()
    timer = next(awaitable)  # what the task would await
    if third:
        reader = asyncio.ensure_future(lock.read())
        await until_parked(lock, 2)
    await until(timer.done)
    assert lock.word == READER | WRITER | 2 | third
    first.release()
    assert lock.word == WRITER | third
    with pytest.raises(StopIteration) as end:
        next(awaitable)
    assert lock.word == WRITER | third
    end.value.value.release()
    if third:
        (await reader).release()
    assert_idle(lock)


@pytest.mark.parametrize("kind", ["thread", *LOOP_KINDS])
def test_r01_the_timeout_races_with_the_last_reader(kind: str) -> None:
    """The mix that drove parking_lot's word to all ones, in small: the word is looked at all the time."""
    lock = RwLock(None)
    stop = threading.Event()
    began = time.monotonic()
    timeouts = itertools.count()
    seen = [0]

    def go_on(guard: Any) -> bool:
        if guard is None:
            seen[0] = next(timeouts)
        return not stop.is_set() and (time.monotonic() < began + 0.7 or seen[0] < 50)

    def read() -> None:
        while not stop.is_set():
            with lock.read():
                time.sleep(YIELD / 500)

    def write() -> None:
        going = True
        while going:
            with lock.try_write_for(2e-5) as guard:
                going = go_on(guard)

    async def write_as_a_task() -> None:
        going = True
        while going:
            async with lock.try_write_for(2e-5) as guard:
                going = go_on(guard)
            await asyncio.sleep(0)

    async def write_as_tasks() -> None:
        await asyncio.gather(*(write_as_a_task() for _ in range(3)))

    threads = [in_thread(read) for _ in range(4)]
    functions: list[Callable[[], Any]] = (
        [write] * 3 if kind == "thread" else [functools.partial(run_on, kind, write_as_tasks())]
    )
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    writers: list[Any] = [in_thread(function) for function in functions]
    try:
        while not all(writer.done() for writer in writers):
            assert not decode(lock.word).problems, repr(lock)
            assert time.monotonic() < began + WATCHDOG, repr(lock)
    finally:
        stop.set()
        sys.setswitchinterval(interval)
    for thread in (*writers, *threads):
        thread.join()
    assert_idle(lock)


# --- R02 --------------------------------------------------------------------------------------------------------------


def test_r02_no_writer_is_refused_for_ever_after_timeouts(world: World) -> None:
    """While readers take turns such that one is always in, each timed writer gives up; when they are gone the first gets in."""
    lock = RwLock(None)
    reader = lock.read().acquire()
    for _ in range(12):
        writer = world.attempt(functools.partial(lock.try_write_for, 0.001))
        while not writer.done():
            following = lock.try_read_recursive()
            assert following is not None
            reader.release()
            reader = following
        assert writer.guard() is None
        assert lock.word == READER
    reader.release()
    writer = world.attempt(functools.partial(lock.try_write_for, 0.001))
    assert writer.guard() is not None, "None although nobody is in"
    writer.release()
    assert_idle(lock)


# --- R03, R04 -----------------------------------------------------------------------------------------------------------


@each_departure
def test_r03_readers_behind_a_departed_writer_enter_while_the_first_reader_holds(world: World, departure: str) -> None:
    lock = RwLock(None)
    first = world.attempt(lock.read)
    first.guard()
    writer, reader = reader_behind_a_writer(world, lock, departure)
    depart(writer, departure)
    reader.guard()
    assert lock.word == 2 * READER
    assert first.guard().is_held()
    reader.release()
    first.release()
    assert_idle(lock)


@each_departure
def test_r03_all_readers_behind_a_departed_writer_enter(world: World, departure: str) -> None:
    lock = RwLock(None)
    first = lock.read().acquire()
    writer, reader = reader_behind_a_writer(world, lock, departure)
    readers = [reader, *(world.attempt(lock.read) for _ in range(40))]  # more than a batch of wakes
    wait_until(lambda: parked(lock) == 42 or writer.done())
    depart(writer, departure)
    for reader in readers:
        reader.guard()
    assert lock.word == 42 * READER
    for reader in readers:
        reader.release()
    first.release()
    assert_idle(lock)


@each_departure
@on_each_loop
async def test_r03_the_first_reader_waits_for_the_one_behind(departure: str) -> None:
    """A awaits B, which queues behind W. When W gives up, B gets in, and so A gets on."""
    lock = RwLock(None)

    async def read() -> str:
        async with lock.read():
            return "read"

    async with lock.read():
        writer = asyncio.ensure_future(lock.write() if departure == "cancel" else lock.write(timeout=0.05))
        await until(lambda: parked(lock) == 1)
        reader = asyncio.create_task(read())
        if departure == "cancel":
            await until_parked(lock, 2)
            writer.cancel("enough")
        assert await reader == "read"
        with pytest.raises((TimeoutError, asyncio.CancelledError)):
            await writer
        assert lock.word == READER
    assert_idle(lock)


@each_departure
def test_r04_a_departed_writer_does_not_wedge_the_lock(world: World, departure: str) -> None:
    lock = RwLock(None)
    first = lock.read().acquire()
    writer, reader = reader_behind_a_writer(world, lock, departure)
    depart(writer, departure)
    reader.release()
    first.release()
    assert lock.word == 0
    for request in (lock.read, lock.write, lock.read_recursive, lock.write):
        for _ in range(2):  # both kinds of a world of two
            probe = world.attempt(request)
            probe.guard()
            probe.release()
    assert_idle(lock)


# --- R05 --------------------------------------------------------------------------------------------------------------


class Bang(Exception):
    """What a signal handler raises."""


@pytest.mark.parametrize("error", [KeyboardInterrupt, Bang])
@pytest.mark.parametrize("mode", modes.WAITS, ids=name_of)
def test_r05_a_signal_interrupts_a_thread_that_waits(mode: Mode, error: type[BaseException]) -> None:
    lock = mode.make()
    hindrances = [mode.hinder(lock)]  # not a variable's alone: then to wait for it would be refused, by DeadlockError
    word = lock.word
    main = threading.get_ident()
    rings, over = itertools.count(), threading.Event()

    def handler(*_: object) -> None:
        if next(rings) == 0:
            raise error

    def ring() -> Any:
        wait_until_parked(lock, 1)
        behind = in_thread(lock.read().acquire) if mode is modes.WRITE_AFTER_READER else None
        if behind:
            wait_until_parked(lock, 2)
        while not over.is_set():  # a signal just before the sleep would be seen only after it
            signal.pthread_kill(main, signal.SIGINT)
            over.wait(0.002)
        return behind

    before = signal.signal(signal.SIGINT, handler)
    try:
        bell = in_thread(ring)
        try:
            with pytest.raises(error):
                mode.request(lock).acquire()
        finally:
            over.set()
        behind = bell.join()
    finally:
        signal.signal(signal.SIGINT, before)
    if behind:
        behind.join().release()
    assert lock.word == word
    hindrances.pop().release()
    assert_idle(lock)
    in_thread(lambda: mode.request(lock).acquire()).join().release()
    assert_idle(lock)


@each_loop_kind
def test_r05_ctrl_c_while_a_task_waits(kind: str) -> None:
    """asyncio.Runner cancels the main task, and raises KeyboardInterrupt."""
    lock = RwLock(None)

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def ring() -> None:
            wait_until_parked(lock, 1)
            os.kill(os.getpid(), signal.SIGINT)
            loop.call_soon_threadsafe(lambda: None)  # a signal just before the select would be seen only after it

        in_thread(ring)
        await lock.write()

    with lock.read():
        with pytest.raises(KeyboardInterrupt), asyncio.Runner(loop_factory=LOOPS[kind]) as runner:
            runner.run(main())
        assert lock.word == READER
        in_thread(lock.read().acquire).join().release()
    assert_idle(lock)
