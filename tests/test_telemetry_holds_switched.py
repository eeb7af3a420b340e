"""R37: tracking and sampling are switched while locks are held. No hold is longer than it was, and none is timed by halves."""

from __future__ import annotations

import asyncio
import random
import threading
import time

import pytest

from aiolots import Condvar, Mutex, RwLock, tracking
from tests.holding import Clock, every_hold, kinds, only, pause
from tests.tracking_world import records, tracked
from tests.waiting import in_thread, wait_until

__all__ = ["every_hold", "tracked"]  # fixtures


def test_r37_sampling_is_switched_amid_a_hold(tracked: None) -> None:
    lock = RwLock()
    tracking.sample_holds(None)
    guard = lock.write().acquire()
    tracking.sample_holds(1)
    guard.release()
    assert kinds(lock) == {("write", "thread"): (1, 0)}
    clock = Clock()
    guard = clock.acquire(lambda: lock.write().acquire())
    tracking.sample_holds(None)
    pause(0.002)
    tracking.sample_holds(1)
    tracking.sample_holds(None)
    clock.release(guard.release)
    assert kinds(lock) == {("write", "thread"): (2, 1)}
    assert clock.least <= only(lock).total_hold <= clock.most


def test_r37_tracking_is_switched_amid_a_hold() -> None:
    lock, mutex = RwLock(), Mutex()
    guard, _ = lock.write().acquire(), mutex.acquire()
    tracking.enable()
    try:
        guard.release()
        mutex.release()
        assert kinds(lock) == kinds(mutex) == {}
        clock, clocks = Clock(), Clock()
        guard = clock.acquire(lambda: lock.write().acquire())
        clocks.acquire(mutex.acquire)
    finally:
        tracking.disable()
    pause(0.002)
    clock.release(guard.release)
    clocks.release(mutex.release)
    for one, looks in ((lock, clock), (mutex, clocks)):
        hold = only(one)
        assert (hold.acquisitions, hold.timed) == (1, 1)
        assert looks.least <= hold.total_hold <= looks.most
    with lock.write(), mutex:
        pass
    assert only(lock).acquisitions == only(mutex).acquisitions == 1
    assert records() == 0


def test_r37_tracking_is_switched_off_before_the_guard_steps_aside() -> None:
    mutex, condvar = Mutex(), Condvar()
    tracking.enable()
    try:
        guard = mutex.lock().acquire()
    finally:
        tracking.disable()
    before = time.monotonic()
    assert not condvar.wait(guard, timeout=0.05)
    waited = time.monotonic() - before
    guard.release()
    hold = only(mutex)
    assert (hold.acquisitions, hold.timed) == (2, 2)
    assert waited >= 0.05 > hold.total_hold


def test_r37_everything_is_switched_while_threads_and_tasks_hold() -> None:
    """However it falls, no hold is longer than the test, and none is timed twice, or without being counted."""
    lock, mutex = RwLock(), Mutex()
    ended = threading.Event()
    began = time.monotonic()

    def threads(seed: int) -> int:
        dice, count = random.Random(seed), 0
        while not ended.is_set():
            with lock.read() if dice.random() < 0.7 else lock.write(), mutex:
                count += 1
        return count

    async def tasks() -> int:
        count = 0
        while not ended.is_set():
            async with lock.read(), mutex:
                count += 1
            await asyncio.sleep(0)
        return count

    workers = [in_thread(threads, seed) for seed in range(3)] + [in_thread(asyncio.run, tasks())]
    dice = random.Random(7)
    try:
        for _ in range(300):
            dice.choice([tracking.enable, tracking.disable])()
            tracking.sample_holds(dice.choice([None, 1, 2, 1000]))
            pause(0.0005)
    finally:
        tracking.disable()
        ended.set()
    count = sum(worker.join() for worker in workers)
    lasted = time.monotonic() - began
    wait_until(lambda: records() == 0)
    for one in (lock, mutex):
        found = kinds(one)
        assert found
        assert sum(acquisitions for acquisitions, _ in found.values()) <= count
        assert one.statistics().longest_hold <= lasted
        assert sum(hold.total_hold for hold in one.statistics().holds if hold.mode in ("write", "lock")) <= lasted


# --- sampling --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("every", [2, 10, 64])
def test_one_hold_of_so_many_is_timed(every: int, tracked: None) -> None:
    tracking.sample_holds(every)
    mutex, holds = Mutex(), 4000
    for _ in range(holds):
        with mutex:
            pass
    hold = only(mutex)
    assert hold.acquisitions == holds
    # Gaps are even between 1 and 2n - 1: their sum of k has a deviation of sqrt(k / 3) n.
    expected = holds / every
    assert abs(hold.timed - expected) <= 6 * (expected / 3) ** 0.5 + 2
    assert hold.timed < holds


def test_locks_that_are_taken_in_turns_are_all_timed(tracked: None) -> None:
    """Not by one count for all, of which each second lock would never be the tenth."""
    tracking.sample_holds(10)
    locks = [Mutex(), Mutex()]
    for _ in range(500):
        for lock in locks:
            with lock:
                pass
    assert all(only(lock).timed > 20 for lock in locks)


def test_a_rhythm_is_not_followed(tracked: None) -> None:
    """Each second hold is a long one: of one in two that are timed some are long, and some are not."""
    tracking.sample_holds(2)
    mutex = Mutex()
    for i in range(200):
        with mutex:
            pause(0.0005 * (i % 2))
    hold = only(mutex)
    long = sum(hold.histogram[9:])  # of half a millisecond and more
    assert 15 <= long <= hold.timed - 15


def test_a_hold_that_follows_one_that_was_timed_is_timed_in_its_turn(tracked: None) -> None:
    tracking.sample_holds(1_000_000)
    lock = RwLock()
    guard = lock.upgradable_read().acquire()
    guard.upgrade()
    guard.downgrade_to_upgradable()  # type: ignore[attr-defined]
    guard.release()
    assert kinds(lock) == {("upgradable_read", "thread"): (2, 1), ("upgrade", "thread"): (1, 1)}


def test_the_first_hold_of_each_kind_is_timed(tracked: None) -> None:
    tracking.sample_holds(1_000_000)
    lock = RwLock()
    for request in (lock.read, lock.write, lock.read, lock.write):
        with request():
            pass
    assert kinds(lock) == {("read", "thread"): (2, 1), ("write", "thread"): (2, 1)}


def test_settings() -> None:
    before = tracking.sample_holds(3)
    assert tracking.sample_holds(None) == 3
    assert tracking.sample_holds(1_000_000) is None
    assert tracking.sample_holds(before) == 1_000_000
    for wrong in (0, -1, 1_000_001):
        with pytest.raises(ValueError, match="one hold of"):
            tracking.sample_holds(wrong)
    with pytest.raises(TypeError):
        tracking.sample_holds("often")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        tracking.sample_holds(2.5)  # type: ignore[arg-type]
    assert tracking.sample_holds(before) == before


def test_one_lock_alone_is_tracked() -> None:
    lock, other = RwLock(track=True), RwLock()
    for one in (lock, other):
        with one.read():
            pass
    assert kinds(lock) == {("read", "thread"): (1, 1)}
    assert kinds(other) == {}
    assert "acquisitions=1" in repr(lock.statistics())
    assert "acquisitions" not in repr(other.statistics())
    assert "holds=" not in repr(lock.statistics())
