"""The contract: how long an acquire waits, in every colour. Seconds are floats; 0 tries once, inf waits for ever."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from aiolots import LockTimeout, Mutex, RwLock, decode
from tests import modes
from tests.modes import Mode, name_of
from tests.worlds import WORLDS, World, assert_idle, on_each_loop, on_every_loop, wait_until_parked

TIMED_WAITS = tuple(mode for mode in modes.WAITS if mode is not modes.DROP_IN)

each_guarded = pytest.mark.parametrize("mode", modes.GUARDED, ids=name_of)
each_wait = pytest.mark.parametrize("mode", TIMED_WAITS, ids=name_of)


@pytest.fixture(params=WORLDS)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with World(request.param) as world:
        yield world


def in_time(mode: Mode, lock: Any, form: str, seconds: float) -> Any:
    """Return a request with a timeout, in one of its three forms."""
    if form == "for":
        return mode.try_(lock, "_for")(seconds)
    if form == "until":
        return mode.try_(lock, "_until")(time.monotonic() + seconds)
    return mode.request(lock, timeout=seconds)


# --- once -------------------------------------------------------------------------------------------------------------


@each_guarded
def test_try_takes_a_free_lock(mode: Mode) -> None:
    lock = mode.make()
    guard = mode.try_(lock)()
    assert lock.word == mode.adds
    guard.release()
    assert_idle(lock)


@each_wait
def test_try_gives_none_when_it_would_have_to_wait(mode: Mode) -> None:
    lock = mode.make()
    hindrance = mode.hinder(lock)
    word = lock.word
    assert mode.try_(lock)() is None
    assert lock.word == word
    hindrance.release()
    assert_idle(lock)


@each_wait
@pytest.mark.parametrize("seconds", [0, 0.0, -0.0])
def test_zero_tries_once_in_a_thread(mode: Mode, seconds: float) -> None:
    lock = mode.make()
    hindrance = mode.hinder(lock)
    word = lock.word
    assert mode.try_(lock, "_for")(seconds).acquire() is None
    with mode.try_(lock, "_for")(seconds) as guard:
        assert guard is None
    assert lock.word == word
    hindrance.release()
    with mode.try_(lock, "_for")(seconds) as guard:
        assert guard.is_held()
    assert_idle(lock)


@each_wait
@on_each_loop
async def test_zero_tries_once_in_a_task_and_does_not_suspend(mode: Mode) -> None:
    lock = mode.make()
    hindrance = mode.hinder(lock)
    word = lock.word
    with pytest.raises(StopIteration) as end:
        next(mode.try_(lock, "_for")(0).__await__())
    assert end.value.value is None
    async with mode.try_(lock, "_for")(0) as guard:
        assert guard is None
    assert lock.word == word
    hindrance.release()
    async with mode.try_(lock, "_for")(0) as guard:
        assert guard.is_held()
    assert_idle(lock)


@each_wait
@pytest.mark.parametrize("moment", [-math.inf, -1.0, 0.0])
def test_a_moment_in_the_past_tries_once(mode: Mode, moment: float) -> None:
    lock = mode.make()
    hindrance = mode.hinder(lock)
    assert mode.try_(lock, "_until")(moment).acquire() is None
    hindrance.release()
    mode.try_(lock, "_until")(moment).acquire().release()
    assert_idle(lock)


# --- for a time -------------------------------------------------------------------------------------------------------


@each_wait
@pytest.mark.parametrize("form", ["for", "until"])
@pytest.mark.parametrize("seconds", [1e-12, 1e-6, 0.02])
def test_a_wait_runs_out_and_leaves_no_trace(world: World, mode: Mode, form: str, seconds: float) -> None:
    lock = mode.make()
    hindrance = mode.hinder(lock)
    word = lock.word
    for _ in range(2):  # two attempts, so that a world of two kinds tries both
        began = time.monotonic()
        assert world.attempt(lambda: in_time(mode, lock, form, seconds)).guard() is None
        assert time.monotonic() - began > seconds * 0.9  # a loop's clock may be coarse
    assert lock.word == word
    assert not lock.statistics().threads_waiting + lock.statistics().tasks_waiting
    hindrance.release()
    assert_idle(lock)


@each_wait
@pytest.mark.parametrize("seconds", [5, math.inf, 1e300, Fraction(9), Decimal("1e10")])
def test_a_wait_that_does_not_run_out_gets_the_lock(world: World, mode: Mode, seconds: Any) -> None:
    lock = mode.make()
    for form in ("for", "raising"):
        hindrance = mode.hinder(lock)
        attempt = world.attempt(lambda form=form: in_time(mode, lock, form, seconds))  # type: ignore[misc]
        wait_until_parked(lock, 1)
        hindrance.release()
        assert attempt.guard().is_held()
        attempt.release()
    assert_idle(lock)


@each_wait
def test_until_for_ever(world: World, mode: Mode) -> None:
    lock = mode.make()
    hindrance = mode.hinder(lock)
    attempt = world.attempt(lambda: mode.try_(lock, "_until")(math.inf))
    wait_until_parked(lock, 1)
    hindrance.release()
    attempt.release()
    assert_idle(lock)


# --- the raising form -------------------------------------------------------------------------------------------------


@each_wait
def test_lock_timeout_tells_what_happened(world: World, mode: Mode) -> None:
    lock = mode.make(name="catalog")
    hindrance = mode.hinder(lock)
    word = lock.word
    for _ in range(2):
        error = world.attempt(lambda: mode.request(lock, timeout=0.01)).error()
        assert isinstance(error, LockTimeout)
        assert isinstance(error, TimeoutError)
        assert error.lock_name == "catalog"
        assert error.mode == mode.name
        assert 0.009 < error.waited < 20
        assert error.word == word
        assert "'catalog'" in str(error)
        assert f"{word:#x}" in str(error)
    assert lock.word == word
    hindrance.release()
    assert_idle(lock)


def test_lock_timeout_of_a_nameless_lock() -> None:
    lock = RwLock(None)
    with lock.write(), pytest.raises(LockTimeout) as error:
        lock.read(timeout=0).acquire()
    assert error.value.lock_name is None
    assert error.value.word == 8


@each_guarded
def test_with_and_a_timeout_that_runs_out_raises_and_skips_the_body(mode: Mode) -> None:
    lock = mode.make()
    hindrance = mode.hinder(lock)
    with pytest.raises(LockTimeout):
        with mode.request(lock, timeout=0.001):
            pytest.fail("the body ran")
    hindrance.release()
    assert_idle(lock)


@each_guarded
@on_every_loop
async def test_async_with_and_a_timeout_that_runs_out_raises_and_skips_the_body(mode: Mode) -> None:
    lock = mode.make()
    hindrance = mode.hinder(lock)
    with pytest.raises(LockTimeout):
        async with mode.request(lock, timeout=0.001):
            pytest.fail("the body ran")
    hindrance.release()
    assert_idle(lock)


@each_guarded
def test_no_timeout_is_none(mode: Mode) -> None:
    lock = mode.make()
    with mode.request(lock, timeout=None), pytest.raises(TypeError):
        mode.try_(lock, "_for")(None)
    assert_idle(lock)


# --- what is no time --------------------------------------------------------------------------------------------------


def timed_methods() -> list[Callable[[Any], Any]]:
    rw, mutex = RwLock(None), Mutex(None)
    found: list[Callable[[Any], Any]] = [rw.read, rw.read_recursive, rw.write, mutex.lock]
    found += [getattr(rw, f"try_{mode}_for") for mode in ("read", "read_recursive", "write")]
    return [*found, mutex.try_lock_for]


def moment_methods() -> list[Callable[[Any], Any]]:
    rw, mutex = RwLock(None), Mutex(None)
    return [*(getattr(rw, f"try_{mode}_until") for mode in ("read", "read_recursive", "write")), mutex.try_lock_until]


@pytest.mark.parametrize("method", timed_methods(), ids=lambda method: method.__name__)
@pytest.mark.parametrize("seconds", [-1, -1e-9, -math.inf, math.nan])
def test_negative_and_nan_are_value_errors(method: Callable[[Any], Any], seconds: float) -> None:
    with pytest.raises(ValueError, match="from 0 on"):
        method(seconds)


@pytest.mark.parametrize("method", moment_methods(), ids=lambda method: method.__name__)
def test_nan_is_no_moment(method: Callable[[Any], Any]) -> None:
    with pytest.raises(ValueError, match="nan"):
        method(math.nan)


@pytest.mark.parametrize("method", [*timed_methods(), *moment_methods()], ids=lambda method: method.__name__)
@pytest.mark.parametrize("seconds", ["1", b"1", [], object(), 1j, RwLock])
def test_what_is_no_number_is_a_type_error(method: Callable[[Any], Any], seconds: Any) -> None:
    with pytest.raises(TypeError, match="number"):
        method(seconds)


def test_a_timed_wait_in_a_loop_is_never_a_deadlock() -> None:
    """It waits, and times out, even for a lock that this very thread holds."""
    lock = RwLock(None)
    with lock.write():
        assert lock.try_read_for(0.01).acquire() is None
        with pytest.raises(LockTimeout) as error:
            lock.write(timeout=0.01).acquire()
    assert decode(error.value.word).write_locked
    assert_idle(lock)
