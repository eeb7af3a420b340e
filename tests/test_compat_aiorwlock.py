"""aiolots.compat.aiorwlock is `aiorwlock`: the same checks on both where that is installed; then what only ours does."""

from __future__ import annotations

import asyncio
import gc
import importlib
import importlib.util
import inspect
import itertools
import random
import threading
import warnings
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from aiolots.compat.aiorwlock import RWLock
from tests.worlds import LOOP_KINDS, WATCHDOG, LoopThread, run_on, until

KINDS: dict[str, Callable[..., Any]] = {"aiolots": RWLock}
if importlib.util.find_spec("aiorwlock") is not None:
    KINDS["aiorwlock"] = importlib.import_module("aiorwlock").RWLock


def on_both(test: Callable[[Callable[[], Any]], Awaitable[None]]) -> Callable[..., None]:
    """Make an `async def test(make)` a test that runs with either lock, fast or not, on each kind of loop."""

    @pytest.mark.parametrize("loop_kind", LOOP_KINDS)
    @pytest.mark.parametrize("fast", [False, True], ids=["", "fast"])
    @pytest.mark.parametrize("kind", KINDS)
    def run(kind: str, fast: bool, loop_kind: str) -> None:
        async def body() -> None:
            await test(lambda: KINDS[kind](fast=fast))

        run_on(loop_kind, body())

    run.__doc__ = test.__doc__
    return run  # type: ignore[no-any-return]


async def turns(count: int = 1) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def state(lock: Any) -> tuple[bool, bool]:
    return lock.reader.locked, lock.writer.locked


# --- one task ---------------------------------------------------------------------------------------------------------------

HALVES = ("reader", "writer")
STEPS = [(half, verb) for half in HALVES for verb in ("acquire", "release")]


async def played(lock: Any, steps: tuple[tuple[str, str], ...]) -> list[Any]:
    """What one task sees that takes these steps and goes on after errors. It never waits: it is alone."""
    seen: list[Any] = []
    for half, verb in steps:
        try:
            result = getattr(getattr(lock, half), verb)()
            if inspect.isawaitable(result):
                result = await result
            seen.append((result, state(lock), repr(lock)))
        except RuntimeError as error:
            seen.append((str(error), state(lock), repr(lock)))
    return seen


@pytest.mark.skipif("aiorwlock" not in KINDS, reason="aiorwlock is not installed")
def test_one_task_sees_the_same_in_all_sequences_of_six_steps() -> None:
    async def compare() -> None:
        for steps in itertools.product(STEPS, repeat=6):
            expected = await played(KINDS["aiorwlock"](fast=True), steps)
            assert await played(RWLock(fast=True), steps) == expected, steps

    run_on("asyncio", compare())


@on_both
async def test_contexts(make: Callable[[], Any]) -> None:
    lock = make()
    async with lock.reader as value:
        assert value is None
        assert state(lock) == (True, False)
        async with lock.reader_lock:
            assert state(lock) == (True, False)
        assert state(lock) == (True, False)
    async with lock.writer as value:
        assert value is None
        async with lock.writer_lock, lock.reader:
            assert state(lock) == (True, True)
        assert state(lock) == (False, True)
    assert state(lock) == (False, False)
    assert lock.reader is lock.reader_lock
    assert lock.writer is lock.writer_lock
    with pytest.raises(RuntimeError, match='"await" should be used as context manager expression'):
        with lock.reader:
            pass


@on_both
async def test_an_upgrade_is_refused_and_changes_nothing(make: Callable[[], Any]) -> None:
    lock = make()
    async with lock.reader:
        with pytest.raises(RuntimeError, match="Cannot upgrade RWLock from read to write"):
            await lock.writer.acquire()
        assert state(lock) == (True, False)
    await lock.writer.acquire()
    lock.writer.release()
    assert state(lock) == (False, False)


@on_both
async def test_a_turn_of_the_loop_unless_it_is_fast(make: Callable[[], Any]) -> None:
    lock, others = make(), []
    asyncio.get_running_loop().call_soon(others.append, 1)
    await lock.reader.acquire()
    assert len(others) == (0 if _is_fast(lock) else 1)
    lock.reader.release()


def _is_fast(lock: Any) -> bool:
    core = getattr(lock.reader, "_core", None) or lock.reader._lock
    return bool(core.fast) if hasattr(core, "fast") else not core._do_yield


@on_both
async def test_cancelled_in_that_turn_it_holds_nothing(make: Callable[[], Any]) -> None:
    lock = make()
    for half in HALVES:
        task = asyncio.ensure_future(getattr(lock, half).acquire())
        await turns()
        if task.done():  # fast: it holds the lock, and ended with it
            return
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert state(lock) == (False, False)


# --- several tasks ----------------------------------------------------------------------------------------------------------


@on_both
async def test_another_task_cannot_release_it(make: Callable[[], Any]) -> None:
    lock = make()
    async with lock.writer:

        async def release() -> None:
            lock.writer.release()

        with pytest.raises(RuntimeError, match="Cannot release an un-acquired lock"):
            await asyncio.ensure_future(release())
        assert state(lock) == (False, True)


@on_both
async def test_readers_share_writers_do_not(make: Callable[[], Any]) -> None:
    lock, inside, most = make(), {"reader": 0, "writer": 0}, {"reader": 0, "writer": 0}

    async def work(half: str, seed: int) -> None:
        dice = random.Random(seed)
        for _ in range(20):
            async with getattr(lock, half):
                inside[half] += 1
                most[half] = max(most[half], inside[half])
                assert inside["writer"] <= 1
                assert not (inside["writer"] and inside["reader"])
                if dice.random() < 0.3:
                    async with lock.reader:
                        await turns(dice.randrange(3))
                await turns(dice.randrange(3))
                inside[half] -= 1
            await turns(dice.randrange(3))

    await asyncio.gather(*(work("reader", i) for i in range(6)), *(work("writer", i) for i in range(3)))
    assert most["reader"] > 1
    assert most["writer"] == 1
    assert state(lock) == (False, False)


@on_both
async def test_a_reader_that_comes_behind_a_writer_waits_and_one_that_is_in_does_not(make: Callable[[], Any]) -> None:
    lock, log = make(), []

    async def enter(half: str) -> None:
        async with getattr(lock, half):
            log.append(half)

    await lock.reader.acquire()
    writer = asyncio.ensure_future(enter("writer"))
    await turns(2)
    reader = asyncio.ensure_future(enter("reader"))
    await turns(3)
    assert log == []
    async with lock.reader:  # this task is in
        pass
    lock.reader.release()
    await asyncio.gather(writer, reader)
    assert log == ["writer", "reader"]


@on_both
async def test_who_writes_and_reads_goes_on_as_a_reader(make: Callable[[], Any]) -> None:
    lock = make()
    await lock.writer.acquire()
    await lock.reader.acquire()
    lock.writer.release()
    assert state(lock) == (True, False)

    async def read() -> tuple[bool, bool]:
        async with lock.reader:
            return state(lock)

    assert await asyncio.ensure_future(read()) == (True, False)
    with pytest.raises(RuntimeError, match="Cannot upgrade"):
        await lock.writer.acquire()
    lock.reader.release()
    assert state(lock) == (False, False)


@on_both
async def test_a_cancelled_waiter_leaves_no_trace(make: Callable[[], Any]) -> None:
    lock = make()
    for half, other in (HALVES, HALVES[::-1], ("writer", "writer")):
        await getattr(lock, half).acquire()
        task = asyncio.ensure_future(getattr(lock, other).acquire())
        await turns(3)
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        getattr(lock, half).release()
        assert state(lock) == (False, False)
        async with lock.writer:
            pass


# --- what only ours does ----------------------------------------------------------------------------------------------------


def test_readers_behind_a_cancelled_writer_get_in_at_once() -> None:
    async def body() -> None:
        lock = RWLock()
        await lock.reader.acquire()
        writer = asyncio.ensure_future(lock.writer.acquire())
        await turns(2)
        reader = asyncio.ensure_future(_enter(lock.reader))
        await turns(2)
        writer.cancel()
        await asyncio.wait_for(reader, WATCHDOG)  # while this one still reads
        lock.reader.release()
        assert state(lock) == (False, False)

    run_on("asyncio", body())


async def _enter(half: Any) -> None:
    async with half:
        await turns()


@pytest.mark.parametrize("kinds", [("asyncio", "asyncio"), ("uvloop", "asyncio")])
def test_one_lock_for_two_loops(kinds: tuple[str, str]) -> None:
    lock, inside = RWLock(), {"reader": 0, "writer": 0}
    counting = threading.Lock()  # readers of two loops count at the same time

    async def work(half: str) -> None:
        for _ in range(30):
            async with getattr(lock, half):
                with counting:
                    inside[half] += 1
                    assert half == "reader" or (inside["writer"] == 1 and inside["reader"] == 0)
                await turns()
                with counting:
                    inside[half] -= 1

    with LoopThread(kinds[0]) as one, LoopThread(kinds[1]) as other:
        futures = [loop.submit(work(half)) for loop in (one, other) for half in ("reader", "writer", "reader")]
        for future in futures:
            future.result(WATCHDOG)
    assert state(lock) == (False, False)


def test_outside_of_a_task_it_says_so() -> None:
    lock = RWLock()
    with pytest.raises(RuntimeError):
        lock.reader.release()
    assert state(lock) == (False, False)


def test_a_task_that_ends_inside_lets_the_others_in_and_is_told_of() -> None:
    async def body() -> None:
        lock = RWLock(fast=True)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            gone = weakref.ref(await _left_inside(lock))
            await until(lambda: gc.collect() >= 0 and gone() is None)
            async with lock.writer:
                pass
        assert [warning.category for warning in caught] == [ResourceWarning]

    run_on("asyncio", body())


async def _left_inside(lock: Any) -> asyncio.Task[None]:
    """A task that acquires, ends, and has not released."""
    task = asyncio.ensure_future(lock.writer.acquire())
    await task
    return task


def test_it_goes_without_a_word_while_it_is_held() -> None:
    async def body() -> None:
        lock = RWLock()
        await lock.writer.acquire()
        gone = weakref.ref(lock)
        del lock
        gc.collect()
        assert gone() is None

    run_on("asyncio", body())


def test_signatures() -> None:
    for kind in KINDS.values():
        assert str(inspect.signature(kind)).startswith("(*, fast: ")
        for half in HALVES:
            assert not inspect.signature(getattr(kind(), half).acquire).parameters
            assert inspect.iscoroutinefunction(getattr(kind(), half).acquire)
