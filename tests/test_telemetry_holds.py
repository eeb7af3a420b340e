"""Tracked locks: every acquisition is counted once, under its mode and colour; a hold that is timed is as long as it was."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import warnings
from typing import Any

import pytest

from aiolots import Condvar, FairMutex, Mutex, ReentrantMutex, RwLock, _holding
from aiolots._lib import MUTEX, NULL, READY, WORD, ffi, lib
from aiolots._totals import Series
from tests.holding import SHORT, Clock, every_hold, kinds, numbers, only, pause
from tests.modes import DROP_IN, FAIR_LOCK, LOCK, READ, READ_RECURSIVE, UPGRADABLE_READ, WRITE, Mode, name_of
from tests.tracking_world import records, tracked
from tests.waiting import in_thread, wait_until_parked
from tests.waits import wait_until_waiting
from tests.worlds import on_every_loop

__all__ = ["every_hold", "tracked"]  # fixtures

MODES = (READ, READ_RECURSIVE, WRITE, UPGRADABLE_READ, LOCK, FAIR_LOCK, DROP_IN)
each_mode = pytest.mark.parametrize("mode", MODES, ids=name_of)


def mode_of(mode: Mode) -> str:
    return "lock" if mode is DROP_IN else mode.name


# --- what is counted, and how long it is ----------------------------------------------------------------------------------


@each_mode
def test_holds_of_a_thread_are_as_long_as_they_are(mode: Mode, tracked: None) -> None:
    lock = mode.make()
    clock = Clock()
    for seconds in (0, 0.002, 0.004, 0):
        guard = clock.acquire(lambda: mode.request(lock).acquire())
        pause(seconds)
        clock.release(guard.release)
    hold = only(lock)
    assert (hold.mode, hold.waiter, hold.acquisitions, hold.timed) == (mode_of(mode), "thread", 4, 4)
    assert clock.least <= hold.total_hold <= clock.most
    assert 0.004 <= hold.longest_hold <= clock.most - 0.002


@each_mode
def test_holds_of_a_task_are_as_long_as_they_are(mode: Mode, tracked: None) -> None:
    lock = mode.make()
    clock = Clock()

    async def main() -> None:
        for _ in range(3):
            before = time.monotonic_ns()
            guard = await mode.request(lock)
            clock._before, clock._began = before, time.monotonic_ns()
            await asyncio.sleep(SHORT)
            clock.release(guard.release)

    asyncio.run(main())
    hold = only(lock)
    assert (hold.mode, hold.waiter, hold.acquisitions, hold.timed) == (mode_of(mode), "task", 3, 3)
    assert clock.least <= hold.total_hold <= clock.most


def test_a_hold_is_not_counted_as_held_before_it_has_ended(tracked: None) -> None:
    lock = RwLock()
    with lock.write():
        assert kinds(lock) == {("write", "thread"): (1, 0)}
    assert kinds(lock) == {("write", "thread"): (1, 1)}


def test_each_form_of_a_mutex(tracked: None) -> None:
    for make in (Mutex, FairMutex, ReentrantMutex):
        mutex = make()
        forms = 0
        for take in (mutex.acquire, mutex.lock().acquire, mutex.try_lock, mutex.try_lock_for(1).acquire):
            held: Any = take()
            mutex.release() if held is True else held.release()
            forms += 1
        with mutex:
            forms += 1

        async def tasks() -> None:
            async with mutex:  # noqa: B023
                pass
            async with mutex.lock():  # noqa: B023
                pass

        asyncio.run(tasks())
        assert kinds(mutex) == {("lock", "thread"): (forms, forms), ("lock", "task"): (2, 2)}


@on_every_loop
async def test_tasks_of_every_library(tracked: None) -> None:
    lock, mutex = RwLock(), Mutex()
    for _ in range(3):
        async with lock.read(), mutex:
            pass
    assert kinds(lock) == {("read", "task"): (3, 3)}
    assert kinds(mutex) == {("lock", "task"): (3, 3)}


def test_the_colour_is_that_of_the_form(tracked: None) -> None:
    """As waits are counted: a task that blocks its loop is a thread."""
    mutex = Mutex()

    async def main() -> None:
        with mutex:
            pass
        with mutex.lock():
            pass
        async with mutex:
            pass

    asyncio.run(main())
    assert kinds(mutex) == {("lock", "thread"): (2, 2), ("lock", "task"): (1, 1)}


def test_who_had_to_wait_is_counted_once(tracked: None) -> None:
    lock = RwLock()
    guard = lock.write().acquire()
    waits = in_thread(lock.read().acquire)
    wait_until_parked(lock, 1)
    assert lock.try_read() is None
    assert lock.try_write_for(0.001).acquire() is None
    assert kinds(lock) == {("write", "thread"): (1, 0)}  # who has not got it yet, or never, has not acquired it
    guard.release()
    waits.join().release()
    assert kinds(lock) == {("write", "thread"): (1, 1), ("read", "thread"): (1, 1)}
    assert lock.statistics().contended == 1


def test_a_hold_begins_where_the_wait_ends(tracked: None) -> None:
    """What was waited is in none."""
    mutex = Mutex()
    guard = mutex.lock().acquire()
    clock = Clock()

    def takes() -> None:
        held = mutex.lock().acquire()
        clock._before = clock._began = released  # it began after that
        clock.release(held.release)

    thread = in_thread(takes)
    wait_until_parked(mutex, 1)
    pause(0.01)
    released = time.monotonic_ns()
    guard.release()
    thread.join()
    hold = only(mutex)
    assert hold.longest_hold >= 0.01  # the first one
    assert hold.total_hold - hold.longest_hold <= clock.most


def test_a_reentrant_mutex_is_one_hold_at_whatever_depth(tracked: None) -> None:
    mutex = ReentrantMutex()
    clock = Clock()
    clock.acquire(mutex.acquire)
    with mutex, mutex.lock():
        assert kinds(mutex) == {("lock", "thread"): (1, 0)}
    assert kinds(mutex) == {("lock", "thread"): (1, 0)}
    clock.release(mutex.release)
    assert kinds(mutex) == {("lock", "thread"): (1, 1)}
    assert clock.least <= only(mutex).total_hold <= clock.most


# --- changes ---------------------------------------------------------------------------------------------------------------


def test_a_mode_that_changes_ends_one_hold_and_begins_another(tracked: None) -> None:
    lock = RwLock()
    guard = lock.upgradable_read().acquire()
    pause(0.002)
    assert guard.try_upgrade() is guard
    assert kinds(lock) == {("upgradable_read", "thread"): (1, 1), ("upgrade", "thread"): (1, 0)}
    pause(0.004)
    guard.downgrade_to_upgradable()  # type: ignore[attr-defined]
    assert kinds(lock) == {("upgradable_read", "thread"): (2, 1), ("upgrade", "thread"): (1, 1)}
    guard.upgrade()
    guard.downgrade()
    assert kinds(lock) == {
        ("upgradable_read", "thread"): (2, 2),
        ("upgrade", "thread"): (2, 2),
        ("read", "thread"): (1, 0),
    }
    before = time.monotonic()
    pause(0.001)
    guard.release()
    after = time.monotonic()
    by_mode = {hold.mode: hold for hold in lock.statistics().holds}
    assert by_mode["upgradable_read"].longest_hold >= 0.002
    assert by_mode["upgrade"].longest_hold >= 0.004
    assert 0.001 <= by_mode["read"].total_hold <= after - before + 0.001
    assert records() == 0


def test_a_change_that_fails_is_none(tracked: None) -> None:
    lock = RwLock()
    with lock.read(), lock.upgradable_read() as guard:
        assert guard.try_upgrade() is None
        assert guard.try_upgrade_for(0.001) is None
        assert kinds(lock) == {("read", "thread"): (1, 0), ("upgradable_read", "thread"): (1, 0)}


def test_who_waits_to_upgrade_holds_meanwhile(tracked: None) -> None:
    lock = RwLock()
    reader, guard = lock.read().acquire(), lock.upgradable_read().acquire()
    upgrading = in_thread(guard.upgrade)
    wait_until_parked(lock, 1)
    pause(0.005)
    reader.release()
    upgrading.join().release()
    by_mode = {hold.mode: (hold.acquisitions, hold.timed, hold.longest_hold) for hold in lock.statistics().holds}
    assert by_mode["upgradable_read"][:2] == by_mode["upgrade"][:2] == (1, 1)
    assert by_mode["upgradable_read"][2] >= 0.005


def test_who_waits_for_a_condition_holds_nothing(tracked: None) -> None:
    mutex, condvar = Mutex(), Condvar()
    began = time.monotonic()

    def waits() -> None:
        with mutex.lock() as guard:
            assert condvar.wait(guard)

    thread = in_thread(waits)
    wait_until_waiting(condvar, 1)
    assert kinds(mutex) == {("lock", "thread"): (1, 1)}
    pause(0.02)
    asleep = time.monotonic()
    condvar.notify_one()
    thread.join()
    hold = only(mutex)
    assert (hold.acquisitions, hold.timed) == (2, 2)
    assert hold.total_hold <= time.monotonic() - began - 0.02
    assert asleep - began >= 0.02


def test_a_bump_lets_others_in_and_is_two_holds(tracked: None) -> None:
    lock = RwLock()
    guard = lock.write().acquire()
    guard.bump()  # nobody waits: nothing happens
    assert kinds(lock) == {("write", "thread"): (1, 0)}
    held = threading.Event()

    def other() -> None:
        with lock.write():
            held.set()
            pause(0.02)

    thread = in_thread(other)
    wait_until_parked(lock, 1)
    clock = Clock()
    clock.acquire(lambda: None)
    clock.release(guard.bump)
    assert held.is_set()
    guard.release()
    thread.join()
    hold = only(lock)
    assert (hold.acquisitions, hold.timed) == (3, 3)
    assert hold.total_hold - hold.longest_hold < 0.02 <= hold.longest_hold  # of the three one was that long


# --- what ends in other ways -----------------------------------------------------------------------------------------------


def test_a_guard_that_is_collected_has_held_until_then(tracked: None) -> None:
    lock = RwLock()
    guards = [lock.read().acquire()]
    pause(0.003)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        guards.clear()
        gc.collect()
    hold = only(lock)
    assert (hold.acquisitions, hold.timed) == (1, 1)
    assert hold.longest_hold >= 0.003


def test_a_mutex_that_is_dropped_while_it_is_held_has_no_hold(tracked: None) -> None:
    name = f"dropped while held {next(numbers)}"
    for make in (Mutex, ReentrantMutex):
        mutex = make(name=name)
        mutex.acquire()
        del mutex
        gc.collect()
    uses = _holding.totals()[Series(name, "lock", "thread")]
    assert (uses.acquisitions, uses.timed) == (2, 0)


def test_released_behind_everybodys_back(tracked: None) -> None:
    """As native code does: nobody knows when that was, so it is no hold that lasted until the next one."""
    mutex = Mutex()
    mutex.acquire()
    assert lib.lots_release(ffi.cast(WORD, mutex.address), MUTEX, 0, NULL) == READY
    pause(0.01)
    with mutex:
        pass
    assert kinds(mutex) == {("lock", "thread"): (2, 1)}
    assert only(mutex).total_hold < 0.01


def test_released_by_another_thread(tracked: None) -> None:
    mutex = Mutex()
    assert mutex.acquire()
    in_thread(mutex.release).join()
    guard = mutex.lock().acquire()
    in_thread(guard.release).join()
    guard = mutex.lock().acquire()
    mutex.release()  # not by its guard
    assert kinds(mutex) == {("lock", "thread"): (3, 3)}
    with pytest.raises(RuntimeError):
        guard.release()
    assert kinds(mutex) == {("lock", "thread"): (3, 3)}
