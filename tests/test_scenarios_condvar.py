"""R09, R10 and R11: cancellations, timeouts and interrupts around a condvar. With R05, R20, R21 and R34 as they are there."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from aiolots import Condvar, Mutex, RwLock, lowlevel
from tests.waits import (
    Either,
    awaited,
    is_the_original,
    loops_may_block,
    notified,
    patience,
    until_waiting,
    wait_until_waiting,
    waiting_at,
    world,
)
from tests.worlds import (
    LOOP_KINDS,
    WATCHDOG,
    YIELD,
    World,
    assert_idle,
    in_thread,
    on_each_loop,
    parked,
    until,
    until_parked,
    wait_until,
    wait_until_parked,
)

__all__ = ["loops_may_block", "patience", "world"]  # fixtures

PROMPTLY = 1.0  # seconds, as R20 has it
each_loop = pytest.mark.parametrize("kind", LOOP_KINDS)
REQUESTS = [(Mutex, "lock"), (RwLock, "write"), (RwLock, "read"), (RwLock, "upgradable_read")]
each_request = pytest.mark.parametrize(("make", "mode"), REQUESTS, ids=[mode for _, mode in REQUESTS])


def hinder(lock: Any) -> Any:
    """Hold the lock, so that who was notified has to wait for it. Once it is let go of by who waits: a moment later."""
    return (lock.lock() if isinstance(lock, Mutex) else lock.write()).acquire()


# --- leaving --------------------------------------------------------------------------------------------------------------


@each_request
@pytest.mark.parametrize("leaver", range(3))
def test_a_cancelled_wait_holds_the_lock_and_leaves_no_trace(world: World, make: Any, mode: str, leaver: int) -> None:
    lock, condvar = make(), Condvar()
    attempts = []
    for number in range(1, 4):
        attempts.append(world.attempt(lambda: notified(condvar, getattr(lock, mode))))  # it asserts that the guard is held
        wait_until_waiting(condvar, number)
    attempts[leaver].cancel("enough")
    assert is_the_original(attempts.pop(leaver).error(), "enough")
    assert waiting_at(condvar) == 2
    assert condvar.notify_all() == 2
    assert all(attempt.guard() is True for attempt in attempts)
    assert_idle(lock)


# --- R09 ------------------------------------------------------------------------------------------------------------------


@on_each_loop
async def test_r09_notified_then_cancelled_in_one_step_the_other_wakes() -> None:
    for (make, mode), held, cancel_first in itertools.product(REQUESTS, (False, True), (False, True)):
        lock, condvar = make(), Condvar()
        request = getattr(lock, mode)
        tasks = [asyncio.ensure_future(awaited(notified(condvar, request))) for _ in range(2)]
        await until_waiting(condvar, 2)
        holder = hinder(lock) if held else None
        if cancel_first:
            tasks[0].cancel("enough")
        assert condvar.notify_one() == 1  # the first of the two: its task has not run
        if not cancel_first:
            tasks[0].cancel("enough")
        if holder is not None:
            await until_parked(lock, 2)
            assert not any(task.done() for task in tasks)
            holder.release()
        with pytest.raises(asyncio.CancelledError, match="enough"):
            await tasks[0]
        assert await tasks[1] is True
        assert lowlevel.waiters(key=condvar) == []
        assert_idle(lock)


@each_request
def test_r09_in_every_world_it_is_passed_on(world: World, make: Any, mode: str) -> None:
    """A is notified, waits for the lock, and is interrupted: B has the notification before A has the lock."""
    lock, condvar = make(), Condvar()
    attempts = []
    for number in (1, 2):
        attempts.append(world.attempt(lambda: notified(condvar, getattr(lock, mode))))
        wait_until_waiting(condvar, number)
    holder = hinder(lock)
    assert condvar.notify_one() == 1
    wait_until_parked(lock, 1)

    def release_when_it_was_passed_on() -> bool:
        wait_until(lambda: waiting_at(condvar) == 0)
        too_early = attempts[0].done() or attempts[1].done()
        holder.release()
        return too_early

    releasing = in_thread(release_when_it_was_passed_on)
    attempts[0].cancel("enough")
    assert releasing.join() is False
    assert is_the_original(attempts[0].error(), "enough")
    assert attempts[1].guard() is True
    assert_idle(lock)


@pytest.mark.parametrize("seconds", [0.0005])
def test_r09_timeouts_race_with_notifications(seconds: float) -> None:
    """What notify_one counts, some wait() returns True for; in threads and tasks, time and again."""
    lock, condvar, rounds = Mutex(), Condvar(), 100
    answers: list[bool] = []

    def thread() -> None:
        for _ in range(rounds):
            with lock.lock() as guard:
                answers.append(condvar.wait(guard, seconds))

    async def task() -> None:
        for _ in range(rounds):
            async with lock.lock() as guard:
                answers.append(await condvar.wait(guard, seconds))

    count = 0
    with World("mixed") as world:
        attempts = [world.attempt(lambda: Either(thread, task)) for _ in range(4)]
        while not all(attempt.done() for attempt in attempts):
            count += condvar.notify_one()
            time.sleep(YIELD)
        for attempt in attempts:
            attempt.guard()
    assert len(answers) == 4 * rounds
    assert sum(answers) == count
    assert_idle(lock)


# --- R10 ------------------------------------------------------------------------------------------------------------------


@on_each_loop
async def test_r10_cancelled_while_it_takes_the_lock_again() -> None:
    for (make, mode), was_notified in itertools.product(REQUESTS, (True, False)):
        lock, condvar = make(), Condvar()
        task = asyncio.ensure_future(awaited(notified(condvar, getattr(lock, mode))))
        await until_waiting(condvar, 1)
        holder = hinder(lock)
        if was_notified:
            condvar.notify_one()
            await until_parked(lock, 1)
        for message in ("the first", "the second", "the third"):
            task.cancel(message)
            await until_parked(lock, 1)
            for _ in range(5):
                await asyncio.sleep(0)
            assert not task.done(), "it came back without the lock"
            assert parked(lock) == 1
        holder.release()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert caught.value.args == ("the first",)
        assert lowlevel.waiters(key=condvar) == []
        assert_idle(lock)


@on_each_loop
async def test_r10_cancelled_twice_in_one_step() -> None:
    lock, condvar = Mutex(), Condvar()
    task = asyncio.ensure_future(awaited(notified(condvar, lock.lock)))
    await until_waiting(condvar, 1)
    with lock.lock():
        condvar.notify_one()
        task.cancel("the first")
        task.cancel("the second")
        await until(lambda: parked(lock) == 1)
        task.cancel("the third")
        await asyncio.sleep(0)
        assert not task.done()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    assert caught.value.args[0] in ("the first", "the second")  # which of the two it throws is asyncio's choice
    assert_idle(lock)


def test_r10_a_thread_interrupted_while_it_takes_the_lock_again() -> None:
    lock, condvar = Mutex(), Condvar()
    with World("thread") as world:
        attempt = world.attempt(lambda: notified(condvar, lock.lock))
        wait_until_waiting(condvar, 1)
        holder = lock.lock().acquire()
        assert condvar.notify_one() == 1

        def release_later() -> bool:
            lowlevel.park(object(), timeout=0.05).acquire()
            too_early = attempt.done()
            holder.release()
            return too_early

        releasing = in_thread(release_later)
        attempt.cancel()
        assert releasing.join() is False
        assert is_the_original(attempt.error(), "")
    assert_idle(lock)


# --- R11 ------------------------------------------------------------------------------------------------------------------


@on_each_loop
async def test_r11_wait_under_an_external_timeout() -> None:
    for (make, mode), how in itertools.product(REQUESTS, ("wait_for", "timeout")):
        lock, condvar = make(), Condvar()
        with pytest.raises(TimeoutError):
            async with getattr(lock, mode)() as guard:
                if how == "wait_for":
                    try:
                        await asyncio.wait_for(condvar.wait(guard), 0.01)
                    finally:
                        assert guard.is_held()
                else:
                    async with asyncio.timeout(0.01):
                        await condvar.wait(guard)
        assert lowlevel.waiters(key=condvar) == []
        assert_idle(lock)


@on_each_loop
async def test_r11_the_lock_is_not_free_when_the_time_is_up() -> None:
    lock, condvar = Mutex(), Condvar()

    async def wait() -> None:
        async with lock.lock() as guard:
            try:
                async with asyncio.timeout(0.01):
                    await condvar.wait(guard)
            finally:
                assert guard.is_held()

    task = asyncio.create_task(wait())
    await until_waiting(condvar, 1)
    async with lock.lock():
        await until_parked(lock, 1)
        assert not task.done()
    with pytest.raises(TimeoutError):
        await task
    assert_idle(lock)


# --- R05 ------------------------------------------------------------------------------------------------------------------

INTERRUPTED = """
import signal, sys, threading
from aiolots import Condvar, Mutex, lowlevel

lock, condvar, came = Mutex(), Condvar(), []
notified = sys.argv[1] == "notified"

def interrupt():
    while not lowlevel.waiters(key=condvar):
        pass
    guard = lock.lock().acquire()
    if notified:
        condvar.notify_one()
    while not came:  # one that comes just before the sleep does not end it
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        lowlevel.park(object(), timeout=0.01).acquire()
    lowlevel.park(object(), timeout=0.05).acquire()
    guard.release()

def once(*_):
    if not came:
        came.append(1)
        raise KeyboardInterrupt

signal.signal(signal.SIGINT, once)
thread = threading.Thread(target=interrupt)
thread.start()
try:
    with lock.lock() as guard:
        try:
            condvar.wait(guard)
        finally:
            print(guard.is_held())
except KeyboardInterrupt:
    print("interrupted")
thread.join()
print(lock.word, lowlevel.waiters())
"""


@pytest.mark.parametrize("how", ["notified", "waiting"])
def test_r05_ctrl_c(how: str) -> None:
    command = [sys.executable, "-c", INTERRUPTED, how]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env={**os.environ})
    assert (done.stdout, done.stderr) == ("True\ninterrupted\n0 []\n", "")


@pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason="signals come to the main thread")
def test_a_signal_handler_that_returns_disturbs_nobody() -> None:
    lock, condvar, calls = Mutex(), Condvar(), []
    before = signal.signal(signal.SIGUSR1, lambda *_: calls.append(waiting_at(condvar)))
    main = threading.get_ident()

    def disturb() -> None:
        wait_until_waiting(condvar, 1)
        while len(calls) < 5:
            signal.pthread_kill(main, signal.SIGUSR1)
            time.sleep(YIELD)
        with lock.lock():
            assert condvar.notify_one() == 1

    thread = in_thread(disturb)
    try:
        with lock.lock() as guard:
            assert condvar.wait(guard, WATCHDOG) is True
    finally:
        signal.signal(signal.SIGUSR1, before)
    thread.join()
    assert set(calls) == {1}, "it stays in the queue while handlers run"
    assert_idle(lock)


@pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason="signals come to the main thread")
def test_r05_signal_handlers_that_raise_at_any_moment() -> None:
    """The lock is held after every wait, however it ended; nothing is left, nothing is stuck."""
    lock, condvar, stop, chance = Mutex(), Condvar(), threading.Event(), random.Random(1)
    armed: list[bool] = []

    class Interrupt(BaseException):
        pass

    def interrupt(*_: object) -> None:
        if armed:
            armed.clear()
            raise Interrupt

    def notify() -> None:
        while not stop.is_set():
            with lock.lock():
                condvar.notify_one()
            time.sleep(0)

    lowlevel.unpark_one(object())  # what is imported on the way is imported now
    before = signal.signal(signal.SIGALRM, interrupt)
    thread, interrupted = in_thread(notify), 0
    try:
        for _ in range(1000):
            with lock.lock() as guard:
                try:
                    armed.append(True)
                    signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-6, 4e-4))
                    condvar.wait(guard, chance.choice([None, 0.0003, 0]))
                    armed.clear()
                except Interrupt:
                    interrupted += 1
                assert guard.is_held()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        stop.set()
    thread.join()
    assert interrupted
    assert lowlevel.waiters(key=condvar) == []
    assert_idle(lock)
