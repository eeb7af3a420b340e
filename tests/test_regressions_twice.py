"""A wait that ends by an exception, and a signal handler that raises while it is being ended: it is out of every queue all the
same. What stayed queued would be memory that is freed, and that the next release writes to."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import pytest

from aiolots import (
    Barrier,
    Condvar,
    Event,
    FairMutex,
    Mutex,
    ReentrantMutex,
    RwLock,
    Semaphore,
    _notified,
    _parking,
    _wait,
    lowlevel,
)
from aiolots._front import NATIVE
from tests import tasks
from tests.test_scenarios_reentry import PACKAGE, Injected, at_check, at_every_check
from tests.waiting import WATCHDOG, assert_idle, in_thread, wait_until
from tests.worlds import run_on


class Thing(NamedTuple):
    """What is waited for, in either colour; what ends its being kept; and what is to hold then."""

    in_thread: Callable[[], object]
    in_task: Callable[[], Awaitable[object]]
    let_in: Callable[[], object]
    check: Callable[[], object]


def guarded(lock: Any, request: Callable[[], Any]) -> Thing:
    kept = in_thread((lock.read if isinstance(lock, RwLock) else lock.lock)().acquire).join()

    async def waits() -> None:
        (await request()).release()

    return Thing(lambda: request().acquire().release(), waits, kept.release, lambda: assert_idle(lock))


def bare(lock: Any) -> Thing:
    kept = in_thread(lock.lock().acquire).join()

    def sleeps() -> None:
        with lock:
            pass

    async def waits() -> None:
        async with lock:
            pass

    return Thing(sleeps, waits, kept.release, lambda: assert_idle(lock))


def notified() -> Thing:
    mutex, condvar = Mutex(), Condvar()

    def sleeps() -> None:
        with mutex.lock() as guard:
            condvar.wait(guard)

    async def waits() -> None:
        async with mutex.lock() as guard:
            await condvar.wait(guard)

    return Thing(sleeps, waits, condvar.notify_all, lambda: assert_idle(mutex))


def permitted() -> Thing:
    semaphore = Semaphore(0)

    def check() -> None:
        assert semaphore.value == 1

    return Thing(semaphore.acquire, lambda: semaphore, semaphore.release, check)


def met() -> Thing:
    barrier = Barrier(2)

    def check() -> None:
        assert barrier.n_waiting == 0

    return Thing(barrier.wait, lambda: barrier, lambda: None, check)


def occurred() -> Thing:
    event = Event()
    return Thing(event.wait, lambda: event, event.set, lambda: None)


def unparked() -> Thing:
    return Thing(lambda: lowlevel.park(THINGS).acquire(), lambda: lowlevel.park(THINGS), lambda: None, lambda: None)


def _write() -> Thing:
    lock = RwLock[None]()
    return guarded(lock, lock.write)


def _lock() -> Thing:
    mutex = Mutex()
    return guarded(mutex, mutex.lock)


def _level() -> Thing:
    mutex = ReentrantMutex()
    return guarded(mutex, mutex.lock)


THINGS: dict[str, Callable[[], Thing]] = {
    "write": _write,
    "lock": _lock,
    "mutex": lambda: bare(Mutex()),
    "fair mutex": lambda: bare(FairMutex()),
    "level": _level,
    "reentrant mutex": lambda: bare(ReentrantMutex()),
    "condvar": notified,
    "semaphore": permitted,
    "barrier": met,
    "event": occurred,
    "key": unparked,
}
IN_C = (
    ("write", "lock", "mutex", "fair mutex", "level", "reentrant mutex") if NATIVE else ()
)  # they have no steps to come between
each_thing = pytest.mark.parametrize("thing", THINGS)


def raises() -> None:
    frame = sys._getframe(2)  # of aiolots: after the tracer
    while frame.f_code.co_filename.startswith(PACKAGE) and frame.f_back is not None:
        if frame.f_code.co_name in ("__exit__", "__aexit__"):  # nothing helps against what comes before its first step
            return
        frame = frame.f_back
    raise Injected


@pytest.fixture(autouse=True)
def no_warnings() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a guard whose block was not entered
        yield


@each_thing
def test_a_handler_raises_while_a_cancelled_task_leaves(thing: str) -> None:
    def run(number: int) -> int:
        made = THINGS[thing]()
        seen = [0]

        async def body() -> None:
            nonlocal seen
            task = tasks.start(made.in_task())
            while not lowlevel.waiters():
                await tasks.pause()
            with at_check(number, raises) as seen:
                task.cancel()
                while not task.done():
                    await tasks.pause()
            with contextlib.suppress(Injected, *tasks.CANCELLED):
                await task
            assert lowlevel.waiters() == []

        run_on("asyncio", body())
        made.let_in()
        made.check()
        return seen[0]

    assert at_every_check(run) > 0 or thing in IN_C


@pytest.mark.parametrize("thing", [thing for thing in THINGS if thing not in IN_C])
def test_a_handler_raises_while_an_interrupted_thread_leaves(thing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted = list[int]()

    def sleep(*_: object) -> int:
        interrupted.append(len(lowlevel.waiters()))
        raise Injected

    def handler() -> None:
        if interrupted:
            raises()

    def run(number: int) -> int:
        made = THINGS[thing]()
        interrupted.clear()
        with at_check(number, handler) as seen, contextlib.suppress(Injected):
            made.in_thread()
        assert lowlevel.waiters() == []
        made.let_in()
        made.check()
        return seen[0]

    for module, name in ((_wait, "_sleep"), (_parking, "_sleep"), (_notified.Thread, "sleep")):
        monkeypatch.setattr(module, name, sleep)
    assert at_every_check(run) > 0
    assert interrupted


def test_a_notification_that_comes_before_the_lock_is_released_goes_to_another() -> None:
    """A handler raises when the wait is queued and notified, and has not let go of the lock: who is behind it is notified."""
    condvar = Condvar()

    def run(number: int) -> int:
        mutex, other = Mutex(), Mutex()
        behind = list[Any]()

        def waits() -> bool:
            with other.lock() as guard:
                return condvar.wait(guard, WATCHDOG)

        def handler() -> None:
            if mutex.locked() and [waiter.expects for waiter in lowlevel.waiters(key=condvar)] == [True]:
                behind.append(in_thread(waits))
                wait_until(lambda: len(lowlevel.waiters(key=condvar)) == 2)
                condvar.notify_one()
                raise Injected

        with at_check(number, handler) as seen, contextlib.suppress(Injected), mutex.lock() as guard:
            condvar.wait(guard, 0)
        if behind:
            assert behind[0].join()
        assert_idle(mutex, other)
        return seen[0]

    assert at_every_check(run) > 0
