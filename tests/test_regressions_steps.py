"""A signal handler that raises between any two steps of what lets others in, or takes a lock: nobody sleeps for ever, and no
permit and no level is lost. What fork() finds in the middle of a step."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from aiolots import Barrier, BoundedSemaphore, Event, Semaphore, _barrier, lowlevel
from aiolots.compat.threading import Condition, RLock
from tests.test_scenarios_fork import in_child
from tests.test_scenarios_reentry import PACKAGE, Injected, at_check, at_every_check
from tests.waiting import WATCHDOG, in_thread, wait_until

pytestmark = pytest.mark.filterwarnings("ignore:a park request:RuntimeWarning")  # made, and not used, because of a handler


class Raises:
    """A handler that raises; and in which functions of aiolots it did, the innermost first."""

    def __init__(self) -> None:
        self.within: list[str] = []

    def __call__(self) -> None:
        frame: Any = sys._getframe(2)  # of aiolots: after the tracer
        while frame is not None and frame.f_code.co_filename.startswith(PACKAGE):
            self.within.append(frame.f_code.co_name)
            frame = frame.f_back
        raise Injected


def outcome(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except threading.BrokenBarrierError:
        return "broken"


@pytest.mark.parametrize("end", [Barrier.wait, Barrier.abort, Barrier.reset])
def test_whoever_ends_a_round_and_is_interrupted_tells_the_others(end: Callable[[Barrier], Any]) -> None:
    def run(number: int) -> int:
        barrier = Barrier(2)
        other = in_thread(outcome, lambda: barrier.wait(WATCHDOG))
        wait_until(lambda: lowlevel.waiters(key=barrier))
        before = barrier._round
        with at_check(number, Raises()) as seen, contextlib.suppress(Injected):
            end(barrier)
        if before.state == _barrier.OPEN:  # it has not begun
            assert barrier.n_waiting == 1
            barrier.abort()
        assert other.join(WATCHDOG / 2) in ("broken", 0)
        assert lowlevel.waiters(key=barrier) == []
        return seen[0]

    assert at_every_check(run) > 0


def test_whoever_breaks_a_barrier_by_its_timeout_and_is_interrupted_tells_the_others() -> None:
    def run(number: int) -> int:
        barrier = Barrier(3)
        other = in_thread(outcome, lambda: barrier.wait(WATCHDOG))
        wait_until(lambda: lowlevel.waiters(key=barrier))
        with at_check(number, Raises()) as seen, contextlib.suppress(Injected):
            outcome(lambda: barrier.wait(0))
        if not barrier.broken:
            assert barrier.n_waiting == 1
            barrier.abort()
        assert other.join(WATCHDOG / 2) == "broken"
        return seen[0]

    assert at_every_check(run) > 0


def test_whoever_sets_an_event_and_is_interrupted_wakes_who_waits() -> None:
    def run(number: int) -> int:
        event = Event()
        other = in_thread(event.wait, WATCHDOG)
        wait_until(lambda: lowlevel.waiters(key=event))
        with at_check(number, Raises()) as seen, contextlib.suppress(Injected):
            event.set()
        if not event.is_set():
            event.set()
        assert other.join(WATCHDOG / 2)
        return seen[0]

    assert at_every_check(run) > 0


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("make", [Semaphore, BoundedSemaphore])
def test_a_permit_is_given_back_or_is_not(make: type[Semaphore], waits: bool) -> None:
    """Interrupted before anything was done, it can be given back once more; and another one's permit always can."""

    def run(number: int) -> int:
        semaphore, handler = make(2), Raises()
        semaphore.acquire()
        semaphore.acquire()
        other = in_thread(semaphore.acquire, True, WATCHDOG) if waits else None
        if waits:
            wait_until(lambda: lowlevel.waiters(key=semaphore))
        with at_check(number, handler) as seen, contextlib.suppress(Injected):
            semaphore.release()
        if handler.within and semaphore.value == 0 and (other is None or lowlevel.waiters(key=semaphore)):
            assert "notify" not in handler.within
            assert "add" not in handler.within
            semaphore.release()
        if other is not None:
            assert other.join(WATCHDOG / 2)
            semaphore.release()
        assert semaphore.value == 1
        semaphore.release()
        assert semaphore.value == 2
        return seen[0]

    assert at_every_check(run) > 0


@pytest.mark.parametrize("make", [Semaphore, BoundedSemaphore])
def test_an_interrupted_acquire_takes_no_permit_of_another(make: type[Semaphore]) -> None:
    def run(number: int) -> int:
        semaphore = make(2)
        semaphore.acquire()
        with at_check(number, Raises()) as seen, contextlib.suppress(Injected):
            semaphore.acquire()
            sys.settrace(None)
            semaphore.release()
        assert semaphore.value == 1
        semaphore.release()
        assert semaphore.value == 2
        return seen[0]

    assert at_every_check(run) > 0


def is_free(lock: Any) -> bool:
    """Whether another thread gets it."""

    def takes() -> bool:
        taken = lock.acquire(True, 0.5)
        if taken:
            lock.release()
        return bool(taken)

    return bool(in_thread(takes).join())


def test_an_interrupted_thread_leaves_no_rlock_without_an_owner() -> None:
    def run(number: int) -> int:
        lock, handler = RLock(), Raises()
        with at_check(number, handler) as seen, contextlib.suppress(Injected):
            lock.acquire()
            lock.release()
        if lock._is_owned():
            assert "release" in handler.within
            lock.release()
        assert is_free(lock)
        return seen[0]

    assert at_every_check(run) > 0


def test_an_interrupted_wait_of_a_condition_has_its_rlock_again() -> None:
    def run(number: int) -> int:
        condition, handler = Condition(), Raises()
        condition.acquire()
        condition.acquire()
        with at_check(number, handler) as seen, contextlib.suppress(Injected):
            condition.wait(0.0005)
        condition.release()
        condition.release()
        assert not condition._is_owned()
        assert is_free(condition)
        assert lowlevel.waiters() == []
        return seen[0]

    assert at_every_check(run) > 0


# --- fork -----------------------------------------------------------------------------------------------------------------


def test_a_barrier_can_be_used_in_a_child_of_a_fork_amid_its_steps() -> None:
    """The thread that arrives is within them, and not in the child."""
    barrier, inside, go = Barrier(2), threading.Event(), threading.Event()

    class Slow(_barrier._Round):
        @property
        def state(self) -> str:  # type: ignore[override]
            if threading.current_thread() is not threading.main_thread():
                inside.set()
                go.wait(WATCHDOG)
            return _barrier.OPEN

        @state.setter
        def state(self, state: str) -> None:
            pass

    barrier._round = Slow()
    arriving = in_thread(outcome, lambda: barrier.wait(0.001))
    assert inside.wait(WATCHDOG)

    def child() -> None:
        barrier.reset()
        other = in_thread(barrier.wait)
        wait_until(lambda: barrier.n_waiting == 1)
        barrier.wait()
        other.join()

    in_child(child)
    go.set()
    arriving.join()
