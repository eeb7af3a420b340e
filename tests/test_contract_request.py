"""The contract of requests: truth, one use, what is dropped, one release, and misuse that changes nothing (W6)."""

from __future__ import annotations

import sys
import threading
from typing import Any

import pytest

from aiolots import LockTimeout, RwLock, lowlevel
from tests import modes, tasks
from tests.modes import READER, Mode, name_of
from tests.worlds import WATCHDOG, assert_idle, in_thread, on_every_loop, until_parked, wait_until_parked

each_guarded = pytest.mark.parametrize("mode", modes.GUARDED, ids=name_of)


def line() -> int:
    """Return the caller's line."""
    return sys._getframe(1).f_lineno


# --- truth ------------------------------------------------------------------------------------------------------------


@each_guarded
def test_truth(mode: Mode) -> None:
    lock = mode.make()
    request = mode.request(lock)
    with pytest.raises(TypeError, match="was not acquired yet"):
        bool(request)
    guard = request.acquire()
    assert guard is request, "the request is the guard"
    assert guard
    assert guard.is_held()
    guard.release()
    assert not guard
    assert not guard.is_held()


def test_truth_of_a_request_that_waits() -> None:
    lock = RwLock(None)
    with lock.write():
        request: Any = lock.try_read_for(WATCHDOG)
        thread = in_thread(request.acquire)
        wait_until_parked(lock, 1)
        with pytest.raises(TypeError):
            bool(request)
    assert thread.join() is request
    assert request
    request.__exit__(None, None, None)
    assert_idle(lock)


@each_guarded
def test_truth_of_a_request_that_timed_out(mode: Mode) -> None:
    lock = mode.make()
    hindrance = mode.hinder(lock)
    request = mode.try_(lock, "_for")(0)
    assert request.acquire() is None
    assert not request
    hindrance.release()


# --- once only --------------------------------------------------------------------------------------------------------


def uses(request: Any) -> list[Any]:
    return [
        request.acquire,
        request.__enter__,
        lambda: next(request.__await__()),
        lambda: next(request.__aenter__().__await__()),
    ]


@each_guarded
@on_every_loop
async def test_a_request_is_used_once(mode: Mode) -> None:
    lock = mode.make()
    for released in (False, True):
        request = mode.request(lock).acquire()
        word = lock.word
        if released:
            request.release()
            word = 0
        for use in uses(request):
            with pytest.raises(RuntimeError, match="was entered, awaited or acquired before"):
                use()
            assert lock.word == word
        if not released:
            request.release()
    assert_idle(lock)


@each_guarded
@on_every_loop
async def test_a_request_that_timed_out_was_used(mode: Mode) -> None:
    lock = mode.make()
    hindrance = mode.hinder(lock)
    request = mode.request(lock, timeout=0)
    with pytest.raises(LockTimeout):
        await request
    hindrance.release()
    for use in uses(request):
        with pytest.raises(RuntimeError):
            use()
    assert_idle(lock)


@on_every_loop
async def test_a_request_that_waits_is_not_used_twice() -> None:
    lock = RwLock(None)
    request: Any = lock.write()
    async with lock.read():
        task = tasks.start(request)
        await until_parked(lock, 1)
        word = lock.word
        for use in uses(request):
            with pytest.raises(RuntimeError):
                use()
            assert lock.word == word
            assert len(lowlevel.waiters(lock)) == 1
    assert (await task) is request
    request.release()
    assert_idle(lock)


@each_guarded
def test_of_many_threads_one_gets_the_request(mode: Mode) -> None:
    lock = mode.make()
    for _ in range(30):
        request, barrier = mode.request(lock), threading.Barrier(3, timeout=WATCHDOG)

        def use(request: Any = request, barrier: threading.Barrier = barrier) -> int:
            barrier.wait()
            try:
                request.acquire()
            except RuntimeError:
                return 0
            return 1

        threads = [in_thread(use) for _ in range(3)]
        assert sum(thread.join() for thread in threads) == 1
        assert lock.word == mode.adds
        request.release()
    assert_idle(lock)


# --- dropped ----------------------------------------------------------------------------------------------------------


@each_guarded
def test_a_request_that_is_dropped_pending_warns(mode: Mode) -> None:
    lock = mode.make(name="catalog")
    with pytest.warns(RuntimeWarning) as caught:
        mode.request(lock)
    made_at = line() - 1
    message = str(caught[0].message)
    assert "was never entered, awaited or acquired" in message
    assert "'catalog'" in message
    assert f"{__file__}:{made_at} in " in message
    assert mode.name in message
    assert_idle(lock)


@each_guarded
def test_a_guard_that_is_dropped_held_releases_and_warns(mode: Mode) -> None:
    lock = mode.make(name="catalog")
    guard, made_at = mode.request(lock).acquire(), line()
    assert lock.word == mode.adds
    with pytest.warns(ResourceWarning) as caught:
        del guard
    message = str(caught[0].message)
    assert "was dropped while it held the lock" in message
    assert "'catalog'" in message
    assert f"{__file__}:{made_at} in test_a_guard_that_is_dropped_held_releases_and_warns" in message
    assert_idle(lock)


@each_guarded
@on_every_loop
async def test_a_guard_that_a_task_drops_lets_the_next_task_in(mode: Mode) -> None:
    lock = mode.make(name="catalog")
    guard = await mode.request(lock)
    waiter = tasks.start(lock.write() if isinstance(lock, RwLock) else lock.lock())
    await until_parked(lock, 1)
    with pytest.warns(ResourceWarning, match="catalog"):
        del guard
    (await waiter).release()
    assert_idle(lock)


@each_guarded
@pytest.mark.parametrize("form", ["try", "for", "with"])
def test_nothing_warns_when_nothing_was_got(mode: Mode, form: str) -> None:
    """Warnings are errors in this suite."""
    lock = mode.make()
    hindrance = mode.hinder(lock)
    if form == "try":
        assert mode.try_(lock)() is None
    elif form == "for":
        assert mode.try_(lock, "_for")(0).acquire() is None
    else:
        with mode.try_(lock, "_for")(0.001) as guard:
            assert guard is None
    hindrance.release()
    assert_idle(lock)


# --- release ----------------------------------------------------------------------------------------------------------


@each_guarded
def test_release_twice(mode: Mode) -> None:
    lock = mode.make()
    guard = mode.request(lock).acquire()
    others = [] if mode.exclusive else [mode.request(lock).acquire()]
    guard.release()
    word = lock.word
    for release in (guard.release, guard.release_fair):
        with pytest.raises(RuntimeError, match="was released before"):
            release()
        assert lock.word == word == len(others) * READER
    for other in others:
        other.release()
    assert_idle(lock)


@each_guarded
def test_release_twice_while_others_hold_does_not_take_their_lock(mode: Mode) -> None:
    lock = mode.make()
    guard = mode.request(lock).acquire()
    guard.release()
    other = mode.request(lock).acquire()
    with pytest.raises(RuntimeError):
        guard.release()
    assert lock.word == mode.adds
    assert other.is_held()
    other.release()
    assert_idle(lock)


@each_guarded
def test_release_before_acquiring(mode: Mode) -> None:
    lock = mode.make()
    request = mode.request(lock)
    with pytest.raises(RuntimeError, match="is not held"):
        request.release()
    assert lock.word == 0
    request.acquire().release()
    assert_idle(lock)


@each_guarded
def test_of_two_threads_that_release_one_succeeds(mode: Mode) -> None:
    lock = mode.make()
    guards = [mode.request(lock) for _ in range(200)]
    barrier = threading.Barrier(2, timeout=WATCHDOG)
    interval = sys.getswitchinterval()

    def release_all(acquires: bool) -> int:
        succeeded = 0
        for guard in guards:
            if acquires:
                assert lock.word == 0
                guard.acquire()
            barrier.wait()
            try:
                guard.release()
                succeeded += 1
            except RuntimeError:
                pass
            barrier.wait()
        return succeeded

    sys.setswitchinterval(1e-6)
    try:
        threads = [in_thread(release_all, first) for first in (True, False)]
        assert sum(thread.join() for thread in threads) == len(guards)
    finally:
        sys.setswitchinterval(interval)
    assert_idle(lock)


@each_guarded
def test_a_guard_may_be_released_inside_its_with(mode: Mode) -> None:
    lock = mode.make()
    with mode.request(lock) as guard:
        guard.release()
        assert lock.word == 0
    assert_idle(lock)


@each_guarded
@on_every_loop
async def test_the_body_may_raise(mode: Mode) -> None:
    lock = mode.make()
    with pytest.raises(ZeroDivisionError):
        with mode.request(lock):
            raise ZeroDivisionError
    assert_idle(lock)
    with pytest.raises(ZeroDivisionError):
        async with mode.request(lock):
            raise ZeroDivisionError
    assert_idle(lock)
