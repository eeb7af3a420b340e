"""The contract of ReentrantMutex: its requests and guards, timeouts, cancellation, copies."""

from __future__ import annotations

import contextlib
import copy
import gc
import pickle
import re
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from aiolots import Guard, LockStatistics, LockTimeout, Mutex, ReentrantGuard, ReentrantMutex, Request, lowlevel
from tests import tasks
from tests.test_contract_reentrant import Nested, each_world, release_each
from tests.test_scenarios_loops import PROMPTLY, no_revocation
from tests.test_scenarios_reentry import Injected, at_check, at_every_check
from tests.worlds import (
    Interrupted,
    World,
    assert_idle,
    in_thread,
    wait_until_parked,
)

__all__ = ["no_revocation"]  # a fixture


# --- guards and requests ------------------------------------------------------------------------------------------------


def test_guards_are_released_in_any_order_and_anywhere() -> None:
    mutex = ReentrantMutex()
    guards = [mutex.lock().acquire() for _ in range(4)]
    assert all(isinstance(guard, (ReentrantGuard, Guard, Request)) for guard in guards)
    guards[1].release()
    in_thread(guards[0].release).join()
    guards[3].release_fair()
    assert [guard.is_held() for guard in guards] == [False, False, True, False]
    assert guards[2].depth == 1
    assert not in_thread(mutex.acquire, False).join()
    in_thread(guards[2].release).join()
    assert_idle(mutex)


def test_a_guard_is_released_once() -> None:
    mutex = ReentrantMutex(name="m")
    outer = mutex.lock().acquire()
    inner = mutex.lock().acquire()
    inner.release()
    for release in (inner.release, inner.release_fair):
        with pytest.raises(RuntimeError, match="released before"):
            release()
    assert outer.depth == 1
    for look in (lambda: inner.value, lambda: inner.depth, lambda: setattr(inner, "value", 1)):
        with pytest.raises(RuntimeError, match="not held"):
            look()
    outer.release()
    assert_idle(mutex)


def test_of_many_that_release_a_guard_one_succeeds() -> None:
    mutex = ReentrantMutex()
    for _ in range(50):
        outer, inner = mutex.lock().acquire(), mutex.lock().acquire()
        barrier = threading.Barrier(4)

        def release(guard: Any = inner, barrier: threading.Barrier = barrier) -> bool:
            barrier.wait()
            try:
                guard.release()
            except RuntimeError:
                return False
            return True

        assert [thread.join() for thread in [in_thread(release) for _ in range(4)]].count(True) == 1
        assert outer.depth == 1
        outer.release()
    assert_idle(mutex)


def test_truth_and_use_of_a_request() -> None:
    mutex = ReentrantMutex(name="m")
    request = mutex.lock()
    with pytest.raises(TypeError, match="not acquired yet"):
        bool(request)
    assert repr(request) == "<aiolots lock request pending of <aiolots.ReentrantMutex 'm' unlocked>>"
    with request as guard:
        assert guard is request
        assert guard
        assert repr(guard) == "<aiolots lock guard held of <aiolots.ReentrantMutex 'm' locked depth=1>>"
        with pytest.raises(RuntimeError, match="before"):
            request.acquire()
        assert guard.depth == 1
    assert not guard
    assert "released" in repr(guard)
    for copier in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError):
            copier(guard)
    assert_idle(mutex)


def test_of_many_that_enter_a_request_one_does() -> None:
    for _ in range(30):
        mutex = ReentrantMutex()
        request, barrier = mutex.lock(), threading.Barrier(4)

        def enter(request: Any = request, barrier: threading.Barrier = barrier) -> bool:
            barrier.wait()
            try:
                request.acquire()
            except RuntimeError:
                return False
            return True

        assert [thread.join() for thread in [in_thread(enter) for _ in range(4)]].count(True) == 1
        request.release()  # type: ignore[attr-defined]
        assert_idle(mutex)


def test_a_dropped_request_warns() -> None:
    mutex = ReentrantMutex(name="m")
    with pytest.warns(RuntimeWarning, match=rf"'m'.*{re.escape(__file__)}.*never entered"):
        mutex.lock()
    assert_idle(mutex)


def test_a_dropped_guard_releases_its_level_and_warns() -> None:
    mutex = ReentrantMutex(name="m")
    with mutex.lock() as outer:
        guards = [mutex.lock().acquire()]
        assert outer.depth == 2
        with pytest.warns(ResourceWarning, match=rf"'m'.*{re.escape(__file__)}.*released now"):
            guards.clear()
        assert outer.depth == 1
    guards.append(mutex.lock().acquire())
    with pytest.warns(ResourceWarning, match="released now"):
        guards.clear()
    assert_idle(mutex)


def test_value_is_assignable_through_every_guard() -> None:
    mutex = ReentrantMutex(1)
    with mutex.lock() as outer, mutex.lock() as inner:
        inner.value = 2
        assert outer.value == 2
        outer.value += 1
        assert inner.value == 3
    assert_idle(mutex)


# --- time ---------------------------------------------------------------------------------------------------------------


@each_world
def test_timeouts(kind: str) -> None:
    mutex = ReentrantMutex(name="m")
    with World(kind) as world:
        holder = world.attempt(lambda: Nested(mutex, 2))
        holder.guard()
        for make in (lambda: mutex.try_lock_for(0.01), lambda: mutex.try_lock_for(0), lambda: mutex.try_lock_until(0)):
            assert world.attempt(make).guard() is None
        error = world.attempt(lambda: mutex.lock(timeout=0.01)).error()
        assert isinstance(error, LockTimeout)
        assert (error.lock_name, error.mode) == ("m", "lock")
        assert "ReentrantMutex 'm' locked depth=2" in str(error)
        holder.release()
        got = world.attempt(lambda: mutex.try_lock_until(time.monotonic() + 5))
        got.release()
    assert_idle(mutex)


def test_the_owner_needs_no_time() -> None:
    mutex = ReentrantMutex()
    with mutex:
        for request in (mutex.lock(timeout=0), mutex.try_lock_for(0), mutex.try_lock_until(0)):
            with request as guard:
                assert guard is not None
    assert_idle(mutex)


@pytest.mark.parametrize("wrong", [-1, float("nan"), "1", None])
def test_what_is_no_timeout_is_refused(wrong: Any) -> None:
    error = ValueError if isinstance(wrong, (int, float)) else TypeError
    mutex = ReentrantMutex()
    with pytest.raises(error):
        mutex.try_lock_for(wrong)
    if wrong is not None:
        with pytest.raises(error):
            mutex.lock(timeout=wrong)


# --- cancellation -------------------------------------------------------------------------------------------------------


@each_world
def test_a_cancelled_acquire_leaves_no_trace(kind: str, no_revocation: None) -> None:
    mutex = ReentrantMutex()
    with World(kind) as world:
        holder = world.attempt(lambda: Nested(mutex, 2))
        holder.guard()
        leaves, stays = world.attempt(mutex.lock), world.attempt(mutex.lock)
        wait_until_parked(mutex, 2)
        leaves.cancel()
        assert isinstance(leaves.error(), (Interrupted, *tasks.CANCELLED))
        wait_until_parked(mutex, 1)
        holder.release()
        assert stays.guard(PROMPTLY).depth == 1
        stays.release()
    assert_idle(mutex)


@pytest.mark.parametrize("form", ["guards", "drop-in"])
def test_a_signal_handler_raises_between_any_two_steps(form: str) -> None:
    """Of taking it twice and releasing both: nothing is held afterwards, or exactly what was taken before."""
    mutex = ReentrantMutex()

    def take() -> None:
        if form == "guards":
            with mutex.lock(), mutex.lock():
                pass
        else:
            with mutex, mutex:
                pass

    def handler() -> None:
        frame = sys._getframe(2)  # of aiolots: after the tracer
        if frame.f_code.co_name != "__exit__" or frame.f_lasti > 4:  # nothing helps against what comes before its first step
            raise Injected

    def run(number: int) -> int:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a request that was made, and not entered yet; a guard, if __exit__ did not begin
            with at_check(number, handler) as seen, contextlib.suppress(Injected):
                take()
        assert_idle(mutex)
        return seen[0]

    assert at_every_check(run) >= 0


# --- objects ------------------------------------------------------------------------------------------------------------


COPIERS: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda lock: pickle.loads(pickle.dumps(lock)),
}


@pytest.mark.parametrize("copier", COPIERS.values(), ids=COPIERS)
def test_copies(copier: Callable[[Any], Any]) -> None:
    mutex = ReentrantMutex([1], name="m")
    for twin in (copier(mutex), _inside(copier, mutex)):
        assert type(twin) is ReentrantMutex
        assert (twin.name, twin.word, twin.get_mut()) == ("m", 0, [1])
        assert twin.get_mut() is not mutex.get_mut() or copier is copy.copy
    with mutex, pytest.raises(TypeError, match="'m'"):
        in_thread(copier, mutex).join()
    assert_idle(mutex)


def _inside(copier: Callable[[Any], Any], mutex: ReentrantMutex[Any]) -> Any:
    with mutex:
        return copier(mutex)


def test_repr_and_statistics() -> None:
    mutex = ReentrantMutex(name="m")
    assert repr(mutex) == "<aiolots.ReentrantMutex 'm' unlocked>"
    assert repr(ReentrantMutex()) == "<aiolots.ReentrantMutex unlocked>"
    with World("mixed") as world, mutex, mutex:
        waiting = [world.attempt(mutex.lock) for _ in range(2)]
        wait_until_parked(mutex, 2)
        assert repr(mutex) == "<aiolots.ReentrantMutex 'm' locked depth=2 waiters=2>"
        assert mutex.statistics() == LockStatistics(
            locked=True, readers=0, write_locked=True, threads_waiting=1, tasks_waiting=1
        )
        assert [waiter.lock_name for waiter in lowlevel.waiters(mutex)] == ["m", "m"]
        assert mutex.is_locked()
        assert mutex.locked()
        mutex.release()
        mutex.release()
        release_each(waiting)
        mutex.acquire()
        mutex.acquire()
    assert_idle(mutex)
    assert mutex.statistics() == Mutex().statistics()


def test_it_is_weakly_referenceable_and_goes_at_once() -> None:
    mutex = ReentrantMutex()
    with mutex, mutex.lock():
        pass
    reference = weakref.ref(mutex)
    assert reference() is mutex
    del mutex
    gc.collect()
    assert reference() is None


def test_a_guard_keeps_it_alive() -> None:
    mutex = ReentrantMutex("value")
    guard = mutex.lock().acquire()
    del mutex
    gc.collect()
    assert guard.value == "value"
    guard.release()
