"""Threads that wait for the locks of aiolots.compat.threading: as for the standard library's, and together with tasks."""

from __future__ import annotations

import asyncio
import sys
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from aiolots import DeadlockError, LoopBlockedWarning, lowlevel, set_loop_block_policy
from aiolots.compat import threading as compat
from tests.worlds import (
    WATCHDOG,
    Interrupted,
    ThreadAttempt,
    assert_idle,
    in_thread,
    on_each_loop,
    until,
    wait_until,
    wait_until_parked,
)

each_module = pytest.mark.parametrize("module", [threading, compat], ids=["stdlib", "aiolots"])


def queued(thing: Any) -> int:
    """How many wait at a condition, event, semaphore or barrier, of either module."""
    if hasattr(thing, "_waiters"):
        return len(thing._waiters)
    if hasattr(thing, "_cond"):
        return len(thing._cond._waiters)
    return len(lowlevel.waiters(key=thing))


def until_queued(thing: Any, count: int) -> None:
    wait_until(lambda: queued(thing) == count, lambda: f"not {count} wait at {thing!r}")


# --- threads that wait ----------------------------------------------------------------------------------------------------


@each_module
@pytest.mark.parametrize("lock", ["default", "Lock", "RLock", "the other's Lock", "the other's RLock"])
def test_a_condition_over_any_lock(module: Any, lock: str) -> None:
    maker = {"the other's": compat if module is threading else threading}.get(lock.rpartition(" ")[0], module)
    cond = module.Condition() if lock == "default" else module.Condition(getattr(maker, lock.rpartition(" ")[2])())
    log: list[str] = []

    def wait() -> None:
        with cond:
            log.append("waits")
            assert cond.wait_for(lambda: "go" in log, WATCHDOG) is True
            log.append("went")

    thread = in_thread(wait)
    until_queued(cond, 1)
    with cond:
        log.append("go")
        cond.notify()
    thread.join()
    assert log == ["waits", "go", "went"]


@each_module
def test_a_condition_lets_go_of_all_of_an_rlock_and_takes_all_of_it_again(module: Any) -> None:
    lock = module.RLock()
    cond = module.Condition(lock)

    def wait() -> int:
        with lock, lock, cond:
            cond.wait(WATCHDOG)
            return int(lock._recursion_count())

    thread = in_thread(wait)
    until_queued(cond, 1)
    with cond:
        cond.notify_all()
    assert thread.join() == 3
    with lock:
        assert lock._recursion_count() == 1


@each_module
def test_notifications_come_to_who_waits_longest(module: Any) -> None:
    cond = module.Condition(module.Lock())
    log: list[int] = []

    def wait(number: int) -> None:
        with cond:
            assert cond.wait()
            log.append(number)

    threads = []
    for number in range(4):
        threads.append(in_thread(wait, number))
        until_queued(cond, number + 1)
    for count in (1, 2):
        with cond:
            cond.notify()
        wait_until(lambda: len(log) == count)  # noqa: B023
    with cond:
        cond.notify(5)
    for thread in threads:
        thread.join()
    assert log[:2] == [0, 1]
    assert sorted(log) == [0, 1, 2, 3]


@each_module
def test_notify_wakes_no_more_than_it_is_asked_to(module: Any) -> None:
    cond = module.Condition()
    log: list[bool] = []

    def wait() -> None:
        with cond:
            cond.wait()
            log.append(True)

    threads = [in_thread(wait) for _ in range(5)]
    until_queued(cond, 5)
    with cond:
        cond.notify(3)
    wait_until(lambda: len(log) == 3)
    assert queued(cond) == 2
    with cond:
        cond.notify_all()
    for thread in threads:
        thread.join()


@each_module
def test_set_reaches_all_who_wait_even_if_clear_follows(module: Any) -> None:
    event = module.Event()
    threads = [in_thread(event.wait, timeout) for timeout in (None, WATCHDOG, WATCHDOG)]
    until_queued(event, 3)
    event.set()
    event.clear()
    assert [thread.join() for thread in threads] == [True] * 3
    assert event.wait(0) is False


@each_module
@pytest.mark.parametrize("kind", ["Semaphore", "BoundedSemaphore"])
def test_release_of_many_lets_many_in(module: Any, kind: str) -> None:
    sem = getattr(module, kind)(3)
    for _ in range(3):
        assert sem.acquire()
    threads = [in_thread(sem.acquire, timeout=WATCHDOG) for _ in range(3)]
    until_queued(sem, 3)
    sem.release(2)
    wait_until(lambda: sum(thread.done() for thread in threads) == 2)
    assert not sem.acquire(False)
    sem.release()
    assert [thread.join() for thread in threads] == [True] * 3


@each_module
def test_a_barrier_is_met_again_and_again(module: Any) -> None:
    acted: list[int] = []
    barrier = module.Barrier(3, lambda: acted.append(len(acted)), timeout=WATCHDOG)

    def meet() -> list[int]:
        return [barrier.wait() for _ in range(10)]

    indices = [thread.join() for thread in [in_thread(meet) for _ in range(3)]]
    assert [sorted(meeting) for meeting in zip(*indices, strict=True)] == [[0, 1, 2]] * 10
    assert acted == list(range(10))


@each_module
@pytest.mark.parametrize("end", ["abort", "reset", "timeout", "action"])
def test_a_barrier_breaks(module: Any, end: str) -> None:
    def fail() -> None:
        raise KeyError("action")

    barrier = module.Barrier(3, fail)
    threads = [in_thread(barrier.wait), in_thread(barrier.wait)]
    wait_until(lambda: barrier.n_waiting == 2 and queued(barrier) == 2)
    if end == "timeout":
        breaks = module.Barrier(2, timeout=0.001)
        with pytest.raises(module.BrokenBarrierError):
            breaks.wait()
        assert breaks.broken
        barrier.abort()
    elif end == "action":
        with pytest.raises(KeyError):
            barrier.wait()
    else:
        getattr(barrier, end)()
    for thread in threads:
        with pytest.raises(threading.BrokenBarrierError):
            thread.join()
    assert barrier.broken is (end != "reset")


@each_module
def test_an_rlock_is_its_threads(module: Any) -> None:
    lock = module.RLock()
    with lock, lock:
        assert in_thread(lock.acquire, False).join() is False
        assert in_thread(lock.acquire, timeout=0.001).join() is False
        with pytest.raises(RuntimeError, match="cannot release un-acquired lock"):
            in_thread(lock.release).join()
        assert in_thread(lock._is_owned).join() is False
    assert in_thread(lambda: (lock.acquire(), lock.release())).join() == (True, None)


# --- what is more than the standard library's -----------------------------------------------------------------------------


@pytest.mark.parametrize("make_lock", [compat.Lock, compat.RLock])
def test_a_thread_interrupted_in_a_wait_takes_the_lock_again(make_lock: Any) -> None:
    cond = compat.Condition(make_lock())
    held: list[bool] = []

    def wait() -> None:
        with cond:
            try:
                cond.wait()
            finally:
                held.append(cond._is_owned())

    attempt = ThreadAttempt(lambda: SimpleNamespace(acquire=wait))
    until_queued(cond, 1)
    attempt.cancel()
    assert isinstance(attempt.error(), Interrupted)
    assert held == [True]
    assert not in_thread(cond._is_owned).join()
    assert lowlevel.waiters(key=cond) == []
    assert in_thread(cond.acquire, False).join()
    attempt.close()


@on_each_loop
async def test_tasks_and_threads_share_a_lock() -> None:
    lock = compat.Lock()
    async with lock:
        thread = in_thread(lock.acquire, timeout=WATCHDOG)
        await asyncio.to_thread(wait_until_parked, lock, 1)
    await until(thread.done)
    assert thread.join()
    task = asyncio.ensure_future(lock.__aenter__())
    await asyncio.to_thread(wait_until_parked, lock, 1)
    in_thread(lock.release).join()
    await task
    lock.release()
    assert_idle(lock)


@on_each_loop
async def test_tasks_and_threads_share_semaphore_event_and_barrier() -> None:
    sem, event, barrier = compat.BoundedSemaphore(2), compat.Event(), compat.Barrier(2)
    async with sem, sem:
        thread = in_thread(sem.acquire)
        await asyncio.to_thread(until_queued, sem, 1)
    await until(thread.done)
    sem.release()
    thread = in_thread(event.wait)
    waits = asyncio.ensure_future(_awaiting(event))
    await asyncio.to_thread(until_queued, event, 2)
    event.set()
    assert await waits is True
    await until(thread.done)
    meets = in_thread(barrier.wait)
    assert sorted([await barrier, await asyncio.to_thread(meets.join)]) == [0, 1]


async def _awaiting(thing: Any) -> Any:
    return await thing


@on_each_loop
async def test_on_a_loops_thread_what_would_block_says_so() -> None:
    lock, event = compat.Lock(), compat.Event()
    thread = in_thread(lambda: (lock.acquire(), event.wait(WATCHDOG), lock.release()))
    await until(lock.locked)
    with pytest.warns(LoopBlockedWarning):
        assert lock.acquire(timeout=0.001) is False
    with pytest.warns(LoopBlockedWarning):
        assert event.wait(0.001) is False
    event.set()
    await until(thread.done)
    async with lock:
        with pytest.raises(DeadlockError):
            lock.acquire()


@on_each_loop
async def test_on_a_loops_thread_an_rlock_is_the_threads_as_the_standard_librarys() -> None:
    policy = set_loop_block_policy("raise")
    try:
        lock = compat.RLock()
        lock.acquire()

        async def another() -> None:
            assert lock.acquire()
            lock.release()

        await asyncio.ensure_future(another())
        lock.release()
        assert in_thread(lock.acquire, False).join()
    finally:
        set_loop_block_policy(policy)


@pytest.mark.parametrize("make_lock", [threading.RLock, compat.RLock])
def test_a_handler_may_take_an_rlock_between_any_two_steps_of_its_thread(make_lock: Any) -> None:
    """A signal handler, or a finalizer, that logs while the thread takes or releases the lock of the log."""
    lock = make_lock()
    entered = 0

    def handler(frame: Any, event: str, _argument: Any) -> Any:
        nonlocal entered
        frame.f_trace_opcodes = True
        if event in ("line", "opcode"):  # 3.12 has no opcodes for frames that run already
            sys.settrace(None)
            with lock, lock:
                entered += 1
                assert lock._is_owned()
            sys.settrace(handler)
        return handler if frame.f_globals.get("__name__") == "aiolots.compat._rlock" else None

    def live() -> None:
        before = sys.gettrace()
        sys.settrace(handler)
        try:
            for _ in range(2):
                with lock:
                    assert lock.acquire()
                    lock.release()
        finally:
            sys.settrace(before)
        assert not lock._is_owned()

    in_thread(live).join()
    assert in_thread(lambda: (lock.acquire(False), lock.release())).join() == (True, None)
    assert entered > 20 or make_lock is threading.RLock
