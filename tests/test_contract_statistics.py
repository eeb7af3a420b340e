"""The contract of statistics(): every wait that ended is counted once, under its mode and colour, and nothing else is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aiolots import Condvar, FairMutex, LockTimeout, Mutex, ReentrantMutex, RwLock, lowlevel, telemetry
from aiolots.compat import threading as compat
from tests.modes import WAITS, Mode, name_of
from tests.worlds import (
    WATCHDOG,
    WORLDS,
    LoopThread,
    World,
    assert_idle,
    in_thread,
    run_on,
    wait_until,
    wait_until_parked,
)

EVERY_WORLD = tuple(WORLDS)
KINDS: list[Callable[..., Any]] = [RwLock, Mutex, FairMutex, ReentrantMutex]


@pytest.fixture(autouse=True)
def no_revocation() -> Iterator[None]:
    """Let no wake be revoked because the machine is slow."""
    before = lowlevel.set_revoke_after(WATCHDOG)
    yield
    lowlevel.set_revoke_after(before)


def only(lock: Any) -> Any:
    """Return the one kind of wait that was counted, after a look at the sums."""
    statistics = lock.statistics()
    consistent(statistics)
    (waits,) = statistics.waits
    return waits


def consistent(statistics: Any) -> None:
    for name in ("contended", "timeouts", "cancellations", "handoffs", "revocations"):
        assert getattr(statistics, name) == sum(getattr(waits, name) for waits in statistics.waits), name
    assert sum(statistics.histogram) == statistics.contended
    for waits in statistics.waits:
        assert sum(waits.histogram) == waits.contended >= waits.handoffs
        assert len(waits.histogram) == len(telemetry.BOUNDS) + 1
        # Of so many in each bucket, the sum is between what the bounds say, and no wait is longer than the longest.
        low = sum(n * (0.0, *telemetry.BOUNDS)[i] for i, n in enumerate(waits.histogram))
        assert low <= waits.total_wait <= waits.longest_wait * waits.contended or not waits.contended
    assert statistics.longest_wait == max((waits.longest_wait for waits in statistics.waits), default=0.0)
    assert (statistics.longest_wait_at is None) == (statistics.longest_wait == 0.0)


def colour(attempt: Any) -> str:
    return "task" if attempt.is_task else "thread"


# --- what is not counted ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", KINDS)
def test_what_does_not_wait_leaves_no_trace(make: Callable[..., Any]) -> None:
    lock = make()
    names = ("read", "write", "upgradable_read", "read_recursive") if make is RwLock else ("lock",)

    async def in_a_task() -> None:
        for name in names:
            async with getattr(lock, name)():
                pass
        if make is not RwLock:
            async with lock:
                pass

    for name in names:
        with getattr(lock, name)(timeout=1):
            pass
        getattr(lock, f"try_{name}")().release()
    if make is not RwLock:
        with lock:
            pass
    for kind in ("asyncio", "trio"):
        run_on(kind, in_a_task())
    assert lock._kept is None
    assert lock._longest is None
    assert lock.statistics().waits == ()
    assert lock.statistics().longest_wait_at is None
    consistent(lock.statistics())


def test_a_try_is_no_wait() -> None:
    lock, mutex = RwLock(), Mutex()
    with lock.write(), mutex:
        assert lock.try_read() is None
        assert lock.try_read_for(0).acquire() is None
        assert not mutex.acquire(blocking=False)
        assert not mutex.acquire(timeout=0)
        with pytest.raises(LockTimeout):
            lock.write(timeout=0).acquire()
    for one in (lock, mutex):
        assert one.statistics().waits == ()


# --- what is --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("world", EVERY_WORLD)
@pytest.mark.parametrize("mode", WAITS, ids=name_of)
def test_an_acquisition_that_had_to_wait(mode: Mode, world: str) -> None:
    lock = mode.make(name="counted")
    with World(world) as here:
        hindrance = mode.hinder(lock)
        began = time.monotonic()
        attempt = here.attempt(lambda: mode.request(lock))
        wait_until_parked(lock, 1)
        assert sum(w.contended for w in lock.statistics().waits) == 0  # not before it has ended
        (waiter,) = lowlevel.waiters(lock)
        assert began <= waiter.since <= time.monotonic()
        hindrance.release()
        attempt.release()
        waits = only(lock)
        assert (waits.waiter, waits.contended, waits.timeouts, waits.cancellations) == (colour(attempt), 1, 0, 0)
        assert waits.mode == ("lock" if mode.name == "drop_in" else mode.name)
        assert 0 < waits.total_wait == waits.longest_wait <= time.monotonic() - began
    assert_idle(lock)


@pytest.mark.parametrize("world", EVERY_WORLD)
@pytest.mark.parametrize("make", KINDS)
def test_a_wait_that_timed_out(make: Callable[..., Any], world: str) -> None:
    lock = make()
    with World(world) as here:
        guard = in_thread((lock.write if make is RwLock else lock.lock)().acquire).join()  # of another owner
        attempt = here.attempt(lambda: (lock.try_read_for if make is RwLock else lock.try_lock_for)(0.003))
        assert attempt.guard() is None
        waits = only(lock)
        assert (waits.waiter, waits.contended, waits.timeouts, waits.cancellations) == (colour(attempt), 0, 1, 0)
        assert waits.longest_wait > 0
        assert waits.total_wait == 0
        guard.release()


@pytest.mark.parametrize("world", EVERY_WORLD)
@pytest.mark.parametrize("make", KINDS)
def test_a_wait_that_was_cancelled(make: Callable[..., Any], world: str) -> None:
    lock = make()
    with World(world) as here:
        guard = in_thread((lock.write if make is RwLock else lock.lock)().acquire).join()
        attempt = here.attempt(lock.read if make is RwLock else lock.lock)
        wait_until_parked(lock, 1)
        attempt.cancel()
        attempt.error()
        waits = only(lock)
        assert (waits.waiter, waits.contended, waits.timeouts, waits.cancellations) == (colour(attempt), 0, 0, 1)
        guard.release()


@pytest.mark.parametrize("world", EVERY_WORLD)
def test_a_lock_that_was_handed_over(world: str) -> None:
    lock = RwLock()
    with World(world) as here:
        guard = lock.write().acquire()
        attempts = [here.attempt(lock.read) for _ in range(2)]
        wait_until_parked(lock, 2)
        guard.release_fair()
        for attempt in attempts:
            attempt.release()
        statistics = lock.statistics()
        consistent(statistics)
        assert statistics.contended == statistics.handoffs == 2


@pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
def test_a_wake_that_was_revoked(kind: str) -> None:
    lowlevel.set_revoke_after(0.01)
    lock = Mutex()
    with LoopThread(kind) as loop:
        guard = lock.lock().acquire()

        async def take() -> None:
            async with lock:
                pass

        task = loop.submit(take())
        wait_until_parked(lock, 1)
        loop.stop()
        guard.release()
        wait_until(lambda: lock.statistics().revocations == 1)
        loop.start()
        task.result(WATCHDOG)
        waits = only(lock)
        assert (waits.waiter, waits.contended, waits.revocations) == ("task", 1, 1)


@pytest.mark.parametrize("world", EVERY_WORLD)
def test_an_upgrade_that_had_to_wait(world: str) -> None:
    lock = RwLock()
    with World(world) as here:
        reader = lock.read().acquire()
        attempt = here.attempt(lock.upgradable_read)
        guard = attempt.guard()
        begin: Any = attempt
        upgrade = begin._loop.submit(coroutine(guard.upgrade)) if attempt.is_task else begin.later(guard.upgrade)
        wait_until_parked(lock, 1)
        reader.release()
        upgrade.result(WATCHDOG)
        attempt.release()
        waits = only(lock)
        assert (waits.mode, waits.waiter, waits.contended) == ("upgrade", colour(attempt), 1)


async def coroutine(function: Callable[[], Any]) -> Any:
    return await function()


def test_a_condvar_waits_for_the_lock_from_the_notification_on() -> None:
    """Before it nobody contends for anything, however long that takes."""
    mutex, changed, came = Mutex(name="of the condvar"), Condvar(), []

    def wait() -> None:
        with mutex.lock() as guard:
            came.append(time.monotonic())
            changed.wait(guard)

    thread = in_thread(wait)
    wait_until(lambda: len(lowlevel.waiters(key=changed)) == 1)
    (waiter,) = lowlevel.waiters(key=changed)
    assert waiter.expects
    assert waiter.since >= came[0]
    with mutex:
        notified = time.monotonic()
        changed.notify_one()
        (waiter,) = lowlevel.waiters(mutex)
        assert not waiter.expects
        assert waiter.since >= notified
    thread.join()
    waits = only(mutex)
    assert (waits.mode, waits.waiter, waits.contended) == ("lock", "thread", 1)
    assert waits.total_wait <= time.monotonic() - notified


def test_a_bump_that_had_to_wait() -> None:
    lock = RwLock()
    with World("thread") as here:
        first = here.attempt(lock.write)
        guard = first.guard()
        second = here.attempt(lock.write)
        wait_until_parked(lock, 1)
        bump = first.later(guard.bump)  # type: ignore[attr-defined]
        second.guard()
        wait_until_parked(lock, 1)
        second.release()
        bump.result(WATCHDOG)
        first.release()
        waits = only(lock)
        assert (waits.mode, waits.contended, waits.handoffs >= 1) == ("write", 2, True)


@pytest.mark.parametrize("world", EVERY_WORLD)
def test_everybody_of_a_crowd_is_counted_once(world: str) -> None:
    lock = RwLock(name="crowd")
    with World(world) as here:
        for _ in range(5):
            guard = lock.write().acquire()
            attempts = [here.attempt(make) for make in (lock.read, lock.write, lock.upgradable_read, lock.read) * 2]
            wait_until_parked(lock, 8)
            guard.release()
            while attempts:
                wait_until(lambda attempts=attempts: any(attempt.done() for attempt in attempts))
                for attempt in [attempt for attempt in attempts if attempt.done()]:
                    attempt.release()
                    attempts.remove(attempt)
    statistics = lock.statistics()
    consistent(statistics)
    assert statistics.contended == 40
    assert {(w.mode, w.contended) for w in statistics.waits if len(WORLDS[world]) == 1} <= {
        ("read", 20),
        ("write", 10),
        ("upgradable_read", 10),
    }
    assert_idle(lock)


# --- where ----------------------------------------------------------------------------------------------------------


def line_of(function: Any, text: str) -> str:
    """Return the place of a text in a function of this file, as reports write it."""
    code = function.__code__
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    number = next(i for i in range(code.co_firstlineno, len(lines)) if text in lines[i - 1])
    return f"{__file__}:{number} in {code.co_qualname}"


def bare_thread(mutex: Any) -> None:
    with mutex:  # bare thread
        pass


def acquire_thread(mutex: Any) -> None:
    assert mutex.acquire(timeout=WATCHDOG)  # acquire
    mutex.release()


def request_thread(mutex: Any) -> None:
    with mutex.lock():  # request
        pass


async def bare_task(mutex: Any) -> None:
    async with mutex:  # bare task
        pass


async def request_task(mutex: Any) -> None:
    async with mutex.lock():  # task's request
        pass


PLACES = [
    (bare_thread, "# bare thread"),
    (acquire_thread, "# acquire"),
    (request_thread, "# request"),
    (bare_task, "# bare task"),
    (request_task, "# task's request"),
]


@pytest.mark.parametrize("make", [*KINDS[1:], compat.Lock])
@pytest.mark.parametrize(("take", "text"), PLACES)
def test_the_place_of_the_longest_wait(take: Any, text: str, make: Any) -> None:
    for kind in ("asyncio", "trio") if asyncio.iscoroutinefunction(take) else ("",):
        lock = make()
        guard = in_thread(lock.lock().acquire).join()  # another owner's
        if kind:
            with World(kind) as here:
                task = here._loop(f"{kind} 1").submit(take(lock))
                wait_until_parked(lock, 1)
                guard.release()
                task.result(WATCHDOG)
        else:
            thread = in_thread(take, lock)
            wait_until_parked(lock, 1)
            guard.release()
            thread.join()
        assert lock.statistics().longest_wait_at == line_of(take, text)


def test_the_place_is_that_of_the_longest() -> None:
    lock = Mutex()
    for seconds, acquire in ((0.001, bare_thread), (0.02, acquire_thread), (0.002, request_thread)):
        guard = lock.lock().acquire()
        thread = in_thread(acquire, lock)
        wait_until_parked(lock, 1)
        time.sleep(seconds)  # time itself is tested
        guard.release()
        thread.join()
    statistics = lock.statistics()
    assert statistics.contended == 3
    assert statistics.longest_wait >= 0.02
    assert statistics.longest_wait_at == line_of(acquire_thread, "# acquire")


def test_the_place_of_a_task_that_is_cancelled() -> None:
    for take, text in ((bare_task, "# bare task"), (request_task, "# task's request")):
        lock = Mutex()
        with World("asyncio") as here, lock:
            task = here._loop("asyncio 1").submit(take(lock))
            wait_until_parked(lock, 1)
            task.cancel()
            wait_until_parked(lock, 0)
            wait_until(lambda lock=lock: lock.statistics().longest_wait_at is not None)
            assert lock.statistics().longest_wait_at == line_of(take, text)


def test_what_it_shows_of_itself() -> None:
    lock = RwLock(name="catalog")
    with lock.read():
        shown = repr(lock.statistics())
    assert shown == "LockStatistics(locked=True, readers=1, write_locked=False, threads_waiting=0, tasks_waiting=0)"
    with lock.write(), lock.try_read_for(0.001) as late:
        assert late is None
    shown = repr(lock.statistics())
    assert "timeouts=1" in shown
    assert "test_what_it_shows_of_itself" in shown
    assert "handoffs" not in shown
    assert "histogram" not in shown
