"""Tracked locks: every acquisition is counted once, under its mode and colour; a hold that is timed is as long as it was."""

from __future__ import annotations

import asyncio
import gc
import itertools
import random
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aiolots import Condvar, FairMutex, Mutex, ReentrantMutex, RwLock, _holding, telemetry, tracking
from aiolots._totals import Series
from tests.modes import DROP_IN, FAIR_LOCK, LOCK, READ, READ_RECURSIVE, UPGRADABLE_READ, WRITE, Mode, name_of
from tests.test_scenarios_fork import in_child
from tests.tracking_world import records, tracked
from tests.waiting import in_thread, wait_until, wait_until_parked
from tests.waits import wait_until_waiting
from tests.worlds import on_every_loop

__all__ = ["tracked"]  # a fixture

MODES = (READ, READ_RECURSIVE, WRITE, UPGRADABLE_READ, LOCK, FAIR_LOCK, DROP_IN)
each_mode = pytest.mark.parametrize("mode", MODES, ids=name_of)
_numbers = itertools.count()


@pytest.fixture(autouse=True)
def every_hold() -> Iterator[None]:
    """Every hold is timed."""
    before = tracking.sample_holds(1)
    yield
    tracking.sample_holds(before)


class Clock:
    """What a hold is at least, and at most: looks at the clock inside of it, and around it."""

    def __init__(self) -> None:
        self.least = self.most = 0.0

    def acquire(self, function: Callable[[], Any]) -> Any:
        self._before = time.monotonic_ns()
        held = function()
        self._began = time.monotonic_ns()
        return held

    def release(self, function: Callable[[], Any]) -> Any:
        ends = time.monotonic_ns()
        result = function()
        self.least += (ends - self._began) / 1e9
        self.most += (time.monotonic_ns() - self._before) / 1e9
        return result


def kinds(lock: Any) -> dict[tuple[str, str], tuple[int, int]]:
    """Return (acquisitions, timed) by mode and waiter, after a look at the sums."""
    statistics = lock.statistics()
    for hold in statistics.holds:
        assert sum(hold.histogram) == hold.timed <= hold.acquisitions
        assert len(hold.histogram) == len(telemetry.BOUNDS) + 1
        low = sum(n * (0.0, *telemetry.BOUNDS)[i] for i, n in enumerate(hold.histogram))
        high = sum(n * (*telemetry.BOUNDS, float("inf"))[i] for i, n in enumerate(hold.histogram) if n)
        assert low <= hold.total_hold <= high
        assert hold.longest_hold <= hold.total_hold <= hold.longest_hold * hold.timed * (1 + 1e-9)
    assert statistics.acquisitions == sum(hold.acquisitions for hold in statistics.holds)
    assert statistics.longest_hold == max((hold.longest_hold for hold in statistics.holds), default=0.0)
    return {(hold.mode, hold.waiter): (hold.acquisitions, hold.timed) for hold in statistics.holds}


def only(lock: Any) -> telemetry.HoldStatistics:
    kinds(lock)
    (hold,) = lock.statistics().holds
    return hold


def mode_of(mode: Mode) -> str:
    return "lock" if mode is DROP_IN else mode.name


# --- what is counted, and how long it is ----------------------------------------------------------------------------------


@each_mode
def test_holds_of_a_thread_are_as_long_as_they_are(mode: Mode, tracked: None) -> None:
    lock = mode.make()
    clock = Clock()
    for pause in (0, 0.002, 0.004, 0):
        guard = clock.acquire(lambda: mode.request(lock).acquire())
        time.sleep(pause)
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
            await asyncio.sleep(0.001)
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
    time.sleep(0.01)
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
    time.sleep(0.002)
    assert guard.try_upgrade() is guard
    assert kinds(lock) == {("upgradable_read", "thread"): (1, 1), ("upgrade", "thread"): (1, 0)}
    time.sleep(0.004)
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
    time.sleep(0.001)
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
    time.sleep(0.005)
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
    time.sleep(0.02)
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
            time.sleep(0.02)

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
    time.sleep(0.003)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        guards.clear()
        gc.collect()
    hold = only(lock)
    assert (hold.acquisitions, hold.timed) == (1, 1)
    assert hold.longest_hold >= 0.003


def test_a_mutex_that_is_dropped_while_it_is_held_has_no_hold(tracked: None) -> None:
    name = f"dropped while held {next(_numbers)}"
    for make in (Mutex, ReentrantMutex):
        mutex = make(name=name)
        mutex.acquire()
        del mutex
        gc.collect()
    uses = _holding.totals()[Series(name, "lock", "thread")]
    assert (uses.acquisitions, uses.timed) == (2, 0)


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


# --- R37: what is switched meanwhile ----------------------------------------------------------------------------------------


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
    time.sleep(0.002)
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
    time.sleep(0.002)
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
            with (lock.read() if dice.random() < 0.7 else lock.write()), mutex:
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
            time.sleep(0.0005)
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


# --- all of one label --------------------------------------------------------------------------------------------------------


def test_what_is_told_of_a_label_never_goes_down(tracked: None) -> None:
    name = f"label of holds {next(_numbers)}"
    series = Series(name, "read", "thread")
    locks = [RwLock(name=name) for _ in range(3)]
    for lock in locks:
        with lock.read():
            time.sleep(0.001)
    before = _holding.totals()[series]
    assert (before.acquisitions, before.timed, sum(before.buckets)) == (3, 3, 3)
    assert before.held_ns == sum(round(only(lock).total_hold * 1e9) for lock in locks)
    assert before.longest_ns == max(round(only(lock).longest_hold * 1e9) for lock in locks)
    del lock, locks
    gc.collect()
    assert _holding.totals()[series] == before
    another = RwLock(name=name)
    with another.read():
        pass
    another.name = "by another name"
    with another.read():
        pass
    after = _holding.totals()[series]
    assert (after.acquisitions, after.timed) == (5, 5)
    assert Series("by another name", "read", "thread") not in _holding.totals()


def test_a_lock_without_a_name_is_called_by_its_class(tracked: None) -> None:
    class OwnKind(RwLock[None]):
        pass

    lock = OwnKind(None)
    with lock.write():
        pass
    assert _holding.totals()[Series("OwnKind", "write", "thread")].acquisitions == 1
    before = _holding.totals().get(Series("RwLock", "write", "thread"), _holding.NOTHING).acquisitions
    nameless = RwLock(name=["no text"])  # type: ignore[arg-type]
    with nameless.write():
        pass
    assert _holding.totals()[Series("RwLock", "write", "thread")].acquisitions == before + 1


def test_names_that_never_come_again_share_one_label(tracked: None) -> None:
    others = Series("(others)", "lock", "thread")

    def child() -> None:  # what is left of them is left for good
        for i in range(1500):
            with Mutex(name=f"once {i}"):
                pass
        gc.collect()
        found = _holding.totals()
        assert sum(uses.acquisitions for uses in found.values()) == 1500
        assert found[others].acquisitions >= 499
        assert len(found) <= 1001
        named_so = Mutex(name="(others)")
        with named_so:
            pass
        assert _holding.totals()[others].acquisitions == found[others].acquisitions + 1
        del named_so
        gc.collect()
        assert _holding.totals()[others].acquisitions == found[others].acquisitions + 1

    in_child(child)


def test_a_copy_begins_at_nothing(tracked: None) -> None:
    import copy

    lock = RwLock(name="copied")
    with lock.read():
        pass
    assert kinds(copy.copy(lock)) == {}


def test_a_forked_child_begins_at_nothing(tracked: None) -> None:
    name = f"forked holds {next(_numbers)}"
    lock, mutex = RwLock(name=name), Mutex(name=name)
    with lock.read():
        pass
    held = threading.Event()
    may_end = threading.Event()

    def holds() -> None:
        with lock.read():
            held.set()
            may_end.wait()

    thread = in_thread(holds)
    held.wait()
    mine = lock.read().acquire()
    before = kinds(lock)
    assert before == {("read", "thread"): (3, 1)}

    def child() -> None:
        assert kinds(lock) == {}
        assert _holding.totals() == {}
        mine.release()  # it began in the parent
        assert kinds(lock) == {}
        with lock.read(), mutex:
            pass
        assert kinds(lock) == {("read", "thread"): (1, 1)}
        assert {series: uses.acquisitions for series, uses in _holding.totals().items()} == {
            Series(name, "read", "thread"): 1,
            Series(name, "lock", "thread"): 1,
        }

    in_child(child)
    assert kinds(lock) == before
    may_end.set()
    thread.join()
    mine.release()
    assert kinds(lock) == {("read", "thread"): (3, 3)}


# --- many -------------------------------------------------------------------------------------------------------------------


def test_none_is_lost_and_none_counted_twice(tracked: None) -> None:
    """Threads and tasks, one lock that lives and locks that come and go, of one name."""
    name = f"hammered {next(_numbers)}"
    shared = RwLock(name=name)
    rounds, done = 300, threading.Event()
    looks: list[int] = []

    def watches() -> None:
        while not done.is_set():
            looks.append(sum(uses.acquisitions for series, uses in _holding.totals().items() if series.lock == name))

    def threads() -> None:
        for _ in range(rounds):
            with shared.read(), RwLock(name=name).write():
                pass

    async def tasks() -> None:
        async def one() -> None:
            for _ in range(rounds // 10):
                async with shared.write():
                    await asyncio.sleep(0)

        await asyncio.gather(*(one() for _ in range(10)))

    watcher = in_thread(watches)
    for worker in [in_thread(threads) for _ in range(3)] + [in_thread(asyncio.run, tasks())]:
        worker.join()
    done.set()
    watcher.join()
    assert looks == sorted(looks)
    gc.collect()
    assert kinds(shared) == {("read", "thread"): (3 * rounds, 3 * rounds), ("write", "task"): (rounds, rounds)}
    found = {series[1:]: (uses.acquisitions, uses.timed) for series, uses in _holding.totals().items() if series.lock == name}
    assert found == {
        ("read", "thread"): (3 * rounds, 3 * rounds),
        ("write", "thread"): (3 * rounds, 3 * rounds),
        ("write", "task"): (rounds, rounds),
    }
