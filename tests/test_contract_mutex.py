"""The contract of Mutex as a drop-in: what threading.Lock does, it does; what asyncio.Lock's `async with` does, too."""

from __future__ import annotations

import asyncio
import inspect
import math
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from aiolots import DeadlockError, Mutex, set_loop_block_policy
from aiolots._errors import NotHeld
from tests import tasks
from tests.worlds import (
    WATCHDOG,
    assert_idle,
    in_thread,
    on_each_loop,
    on_every_loop,
    parked,
    until_parked,
    wait_until,
    wait_until_parked,
)

each_lock = pytest.mark.parametrize("make", [threading.Lock, Mutex], ids=["threading", "aiolots"])

# What a program may do with a lock, called on a free and on a held one.
CALLS: dict[str, Callable[[Any], Any]] = {
    "acquire": lambda lock: lock.locked() or lock.acquire(),  # never on a held one
    "not blocking": lambda lock: lock.acquire(False),
    "not blocking by name": lambda lock: lock.acquire(blocking=False),
    "0": lambda lock: lock.acquire(0),
    "timeout 0": lambda lock: lock.acquire(timeout=0),
    "timeout 0.001": lambda lock: lock.acquire(True, 0.001),
    "timeout 1 ns": lambda lock: lock.acquire(timeout=1e-9),
    "timeout of int": lambda lock: lock.locked() or lock.acquire(timeout=1),
    "not blocking, -1": lambda lock: lock.acquire(False, -1),
    "-1.0": lambda lock: lock.locked() or lock.acquire(timeout=-1.0),
    "not blocking, timeout": lambda lock: lock.acquire(False, 1),
    "not blocking, timeout 0": lambda lock: lock.acquire(False, 0),
    "negative": lambda lock: lock.acquire(True, -2),
    "a little negative": lambda lock: lock.acquire(timeout=-0.5),
    "too large": lambda lock: lock.acquire(timeout=1e10),
    "inf": lambda lock: lock.acquire(timeout=math.inf),
    "nan": lambda lock: lock.acquire(timeout=math.nan),
    "str": lambda lock: lock.acquire(timeout="1"),
    "None": lambda lock: lock.acquire(timeout=None),
    "unknown argument": lambda lock: lock.acquire(wait=True),
    "too many": lambda lock: lock.acquire(True, 1, 1),
    "release": lambda lock: lock.release(),
    "locked": lambda lock: lock.locked(),
    "enter": lambda lock: lock.locked() or lock.__enter__(),
    "exit": lambda lock: lock.__exit__(None, None, None),
    "with": lambda lock: lock.locked() or _with(lock),
}


def _with(lock: Any) -> Any:
    with lock as value:
        return value


def outcome(call: Callable[[Any], Any], lock: Any) -> tuple[Any, bool]:
    """Return what came of a call, and whether the lock is held now."""
    try:
        result: Any = call(lock)
    except Exception as error:  # noqa: BLE001
        result = RuntimeError if isinstance(error, NotHeld) else type(error)  # a kind of our own, of the same base
    return result, lock.locked()


@pytest.mark.parametrize("held", [False, True], ids=["free", "held"])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_parity_with_threading_lock(call: Callable[[Any], Any], held: bool) -> None:
    theirs, ours = threading.Lock(), Mutex(None)
    if held:
        theirs.acquire()
        ours.acquire()
    assert outcome(call, ours) == outcome(call, theirs)
    assert ours.word == 8 * theirs.locked()
    if ours.locked():
        ours.release()
    assert_idle(ours)


def test_signatures() -> None:
    parameters = inspect.signature(Mutex(None).acquire).parameters
    assert [(p.name, p.default) for p in parameters.values()] == [("blocking", True), ("timeout", -1)]
    for name in ("release", "locked", "__enter__"):
        assert not inspect.signature(getattr(Mutex(None), name)).parameters


@each_lock
def test_a_condition_takes_it(make: Callable[[], Any]) -> None:
    condition = threading.Condition(make())
    log: list[str] = []

    def wait() -> None:
        with condition:
            log.append("waits")
            assert condition.wait_for(lambda: "go" in log, WATCHDOG)
            log.append("went")

    thread = in_thread(wait)
    while "go" not in log:
        with condition:
            if "waits" in log:
                log.append("go")
                condition.notify()
    thread.join()
    assert log == ["waits", "go", "went"]


@each_lock
def test_another_thread_may_release_it(make: Callable[[], Any]) -> None:
    lock = make()
    lock.acquire()
    in_thread(lock.release).join()
    assert not lock.locked()


def test_a_timeout_runs_out_and_leaves_no_trace() -> None:
    mutex = Mutex(None)
    with mutex:
        began = time.monotonic()
        assert mutex.acquire(timeout=0.02) is False
        assert time.monotonic() - began >= 0.02
        assert mutex.word == 8
    assert_idle(mutex)


def test_a_blocked_thread_gets_it_on_release() -> None:
    mutex = Mutex(None)
    mutex.acquire()
    threads = [in_thread(mutex.acquire), in_thread(mutex.acquire, timeout=WATCHDOG)]
    wait_until_parked(mutex, 2)
    mutex.release()
    while not all(thread.done() for thread in threads):
        if mutex.locked() and any(thread.done() for thread in threads):
            break
    mutex.release()
    assert [thread.join() for thread in threads] == [True, True]
    mutex.release()
    assert_idle(mutex)


def test_release_of_a_free_mutex_changes_nothing() -> None:
    mutex = Mutex(None, name="counter")
    for _ in range(3):
        with pytest.raises(RuntimeError, match="'counter'"):
            mutex.release()
        assert_idle(mutex)
    with mutex:
        assert mutex.word == 8
    assert_idle(mutex)


def test_the_drop_in_and_the_guard_are_the_same_lock() -> None:
    mutex = Mutex(1)
    with mutex:
        assert mutex.try_lock() is None
    with mutex.lock():
        assert not mutex.acquire(blocking=False)
    assert_idle(mutex)


def test_a_guard_whose_mutex_was_released_by_the_drop_in_says_so() -> None:
    mutex = Mutex(None)
    guard = mutex.lock().acquire()
    mutex.release()
    assert mutex.word == 0
    with pytest.raises(RuntimeError):
        guard.release()
    assert_idle(mutex)


@on_every_loop
async def test_a_guard_whose_mutex_was_released_by_the_drop_in_holds_it_no_more() -> None:
    """No false positives: an acquire that can end is not refused because of a guard that lost its lock."""
    mutex = Mutex(None)
    guard = await mutex.lock()
    mutex.release()
    in_thread(mutex.acquire).join()
    refused: list[DeadlockError] = []

    def release() -> None:
        wait_until(lambda: parked(mutex) == 1 or refused)
        mutex.release()

    thread = in_thread(release)
    policy = set_loop_block_policy("allow")
    try:
        mutex.acquire()
    except DeadlockError as error:
        refused.append(error)
    set_loop_block_policy(policy)
    thread.join()
    if not refused:
        mutex.release()
    with pytest.raises(RuntimeError):
        guard.release()
    assert_idle(mutex)
    assert not refused


@on_every_loop
async def test_tasks_exclude_each_other() -> None:
    mutex = Mutex(None)
    inside, most = 0, 0

    async def work() -> None:
        nonlocal inside, most
        for _ in range(5):
            async with mutex:
                inside += 1
                most = max(most, inside)
                await tasks.pause()
                inside -= 1

    async with tasks.Group() as group:
        for _ in range(5):
            group.start(work())
    assert (inside, most) == (0, 1)
    assert_idle(mutex)


@on_each_loop
async def test_async_with_gives_what_asyncio_lock_gives() -> None:
    async with asyncio.Lock() as theirs, Mutex(None) as ours:
        assert ours is theirs is None


@on_every_loop
async def test_a_thread_and_a_task_exclude_each_other() -> None:
    mutex = Mutex(None)
    async with mutex:
        thread = in_thread(mutex.acquire)
        await until_parked(mutex, 1)
        assert not thread.done()
    assert await tasks.in_a_thread(thread.join)
    task = tasks.start(mutex.__aenter__())
    await until_parked(mutex, 1)
    in_thread(mutex.release).join()
    await task
    assert mutex.locked()
    mutex.release()
    assert_idle(mutex)
