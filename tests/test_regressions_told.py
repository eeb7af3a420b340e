"""What runs Python when a wait is over, told to whoever asked for it, or looked up on the way out: between any two of its steps
a signal handler may use this very lock, or raise. A profile function does so here, at a step that is known."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aiolots import FairMutex, LockCorruption, Mutex, ReentrantMutex, RwLock, _events, _loops
from tests.test_lock_corruption import overwritten
from tests.waiting import in_thread
from tests.worlds import on_each_loop, wait_until_parked

MUTEXES = [Mutex, FairMutex, ReentrantMutex]


class Boom(BaseException):
    """Out of a handler."""


@pytest.fixture
def told() -> Iterator[None]:
    unsubscribe = _events.subscribe(lambda event: None, _events.ALL)
    yield
    unsubscribe()


def at(function: Callable[..., Any], handler: Callable[[], None]) -> Callable[..., None]:
    """Return a profile function that calls the handler, once, where the function begins."""
    done: list[None] = []

    def profile(frame: Any, event: str, _: Any) -> None:
        if event == "call" and frame.f_code is function.__code__ and not done:
            done.append(None)
            handler()

    profile.done = done  # type: ignore[attr-defined]
    return profile


def test_a_handler_goes_deeper_when_its_thread_has_just_got_the_mutex(told: None) -> None:
    mutex = ReentrantMutex()
    depths: list[bool] = []

    def handler() -> None:
        depths.append(mutex.acquire(timeout=1))
        mutex.release()

    held = mutex.lock().acquire()
    profile = at(_events.wait_ended, handler)

    def wait() -> None:
        sys.setprofile(profile)
        try:
            with mutex:
                pass
        finally:
            sys.setprofile(None)

    waiter = in_thread(wait)
    wait_until_parked(mutex, 1)
    held.release()
    waiter.join()
    assert depths == [True]
    assert not mutex.locked()


def boom() -> None:
    raise Boom


@pytest.mark.parametrize("seconds", [0.01, None])
@pytest.mark.parametrize("kind", MUTEXES)
def test_a_handler_raises_when_a_wait_of_a_thread_is_over(kind: Callable[[], Any], seconds: float | None, told: None) -> None:
    mutex = kind()
    held = mutex.lock().acquire()
    profile = at(_events.wait_ended, boom)

    def wait() -> None:
        sys.setprofile(profile)
        try:
            with pytest.raises(Boom):
                mutex.lock(seconds).acquire()
        finally:
            sys.setprofile(None)

    waiter = in_thread(wait)
    if seconds is None:
        wait_until_parked(mutex, 1)
        held.release()
    waiter.join()
    if seconds is not None:
        held.release()
    assert profile.done  # type: ignore[attr-defined]
    assert not mutex.locked()


@on_each_loop
async def test_what_a_task_has_just_got_is_not_to_be_released_before_it_knows(told: None) -> None:
    mutex = ReentrantMutex()

    def handler() -> None:
        with pytest.raises(RuntimeError):
            mutex.release()
        raise Boom

    async def wait() -> None:
        await mutex

    held = mutex.lock().acquire()
    waiter = asyncio.ensure_future(wait())
    await asyncio.sleep(0)
    sys.setprofile(at(_events.wait_ended, handler))
    try:
        held.release()
        with pytest.raises(Boom):
            await waiter
    finally:
        sys.setprofile(None)
    assert not mutex.locked()
    with mutex:
        assert mutex._recursion_count() == 1
        mutex.release()
        mutex.acquire()


@pytest.mark.parametrize("deep", [1, 2])
def test_a_task_that_is_collected_within_its_mutex_leaves_it(deep: int) -> None:
    mutex = ReentrantMutex()

    async def holds() -> None:
        async with mutex:
            async with mutex if deep == 2 else contextlib.nullcontext():
                await asyncio.Event().wait()

    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)
    task = loop.create_task(holds())
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert mutex.locked()
    loop.close()
    del task, loop
    gc.collect()
    assert not mutex.locked()
    with mutex:
        assert mutex._recursion_count() == 1


@pytest.mark.parametrize("kind", MUTEXES)
def test_a_corrupt_word_and_no_time_at_all(kind: Callable[[], Any]) -> None:
    mutex = kind()
    with overwritten(mutex, 0xFFFFFFFFFFFFFFFF):
        for ask in (
            lambda: mutex.lock(timeout=0).acquire(),
            lambda: mutex.try_lock_for(0).acquire(),
            lambda: mutex.acquire(False),
        ):
            with pytest.raises(LockCorruption):
                ask()


@pytest.mark.parametrize("kind", [*MUTEXES, RwLock])
def test_what_a_handler_raises_within_a_release_is_not_lost(kind: Callable[[], Any]) -> None:
    lock = kind()

    async def main() -> None:
        held = (lock.write() if kind is RwLock else lock.lock()).acquire()
        waiter = in_thread(lambda: (lock.write() if kind is RwLock else lock.lock()).acquire().release())
        wait_until_parked(lock, 1)
        sys.setprofile(at(_loops.own_port, boom))  # asked by a release, of a loop on which nobody waited yet
        try:
            with pytest.raises(Boom):
                held.release()
        finally:
            sys.setprofile(None)
        waiter.join()

    asyncio.run(main())
    assert not lock.is_locked()
