"""Deadlocks, corrupt words and holds that were left behind: each is counted once, whoever finds it, and however often."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aiolots import (
    DeadlockError,
    FairMutex,
    LockCorruption,
    Mutex,
    OnceCell,
    ReentrantMutex,
    RwLock,
    _troubles,
    audit,
    deadlock,
    telemetry,
)
from aiolots._console_data import Source
from aiolots._front import NATIVE
from aiolots._lib import WORD, ffi
from pytest_aiolots import watch
from tests.test_lock_corruption import INCIDENT
from tests.test_scenarios_fork import in_child
from tests.waiting import in_thread, parked, wait_until, wait_until_parked

GIL = getattr(sys, "_is_gil_enabled", lambda: True)()
with_tasks = pytest.mark.skipif(not GIL, reason="no wait of a task is refused or ended with the GIL off")
_numbers = itertools.count()


def new(name: str) -> str:
    """Return a name that nothing was counted of: what is counted goes on from test to test."""
    return f"{name} {next(_numbers)}"


def counted(*labels: str) -> list[tuple[int, int, int]]:
    found = {each.label: (each.deadlocks, each.corruptions, each.abandoned) for each in telemetry.troubles()}
    return [found.get(label, (0, 0, 0)) for label in labels]


# --- deadlocks --------------------------------------------------------------------------------------------------------------


def crossed(*locks: Any) -> None:
    """As many threads, each of which holds one lock and waits for the next one, for good: daemons of a forked child."""
    together = threading.Barrier(len(locks))

    def takes(first: Any, second: Any) -> None:
        with first:
            together.wait()
            second.acquire()

    for first, second in zip(locks, (*locks[1:], locks[0]), strict=True):
        threading.Thread(target=takes, args=(first, second), daemon=True).start()
    for lock in locks:
        wait_until_parked(lock, 1)


def test_a_cycle_is_counted_once_whoever_finds_it() -> None:
    def child() -> None:
        a, b = Mutex(name="a"), FairMutex(name="b")
        crossed(a, b)
        assert counted("a", "b") == [(0, 0, 0), (0, 0, 0)]  # nobody has looked
        assert len(deadlock.check()) == 1
        assert counted("a", "b") == [(1, 0, 0), (1, 0, 0)]
        for checker in [in_thread(deadlock.check) for _ in range(3)]:
            assert len(checker.join()) == 1
        assert len(watch._find(lambda _wait: None)) == 1
        console = Source()
        for _ in range(2):
            console.tick()
            assert "deadlock" in [cause["kind"] for cause in console.answer({"command": "ps"})["causes"]]
        told: list[Any] = []
        for _ in range(2):  # who watches anew, reports it anew
            deadlock.start(0.01, told.append)
            expected = len(told) + 1
            wait_until(lambda expected=expected: len(told) == expected)
        deadlock.stop()
        assert counted("a", "b") == [(1, 0, 0), (1, 0, 0)]
        crossed(Mutex(name="a"), Mutex(name="c"), Mutex(name="c"))
        assert len(deadlock.check()) == 2
        assert len(deadlock.check()) == 2
        assert counted("a", "b", "c") == [(2, 0, 0), (1, 0, 0), (1, 0, 0)]
        assert [each.label for each in telemetry.troubles()] == ["a", "b", "c"]

    in_child(child)


def test_who_watches_finds_it_first() -> None:
    def child() -> None:
        a, b = Mutex(name="a"), Mutex(name="b")
        told = threading.Event()
        deadlock.start(0.01, lambda _: told.set())
        crossed(a, b)
        told.wait()
        assert len(deadlock.check()) == 1
        assert counted("a", "b") == [(1, 0, 0), (1, 0, 0)]

    in_child(child)


@pytest.mark.skipif(not GIL, reason="cycles without a lock are not looked for with the GIL off")
def test_a_cycle_without_a_lock() -> None:
    """Two threads that join each other."""

    def child() -> None:
        threads: list[threading.Thread] = []
        both = threading.Barrier(3)

        def joins(other: int) -> None:
            both.wait()
            threads[other].join()

        threads += [threading.Thread(target=joins, args=(1 - i,), daemon=True) for i in range(2)]
        for thread in threads:
            thread.start()
        both.wait()
        wait_until(deadlock.check)
        deadlock.check()
        assert counted("(no lock)") == [(1, 0, 0)]
        assert len(telemetry.troubles()) == 1

    in_child(child)


def test_a_wait_that_is_refused_at_once() -> None:
    name = new("refused")
    mutex, lock = Mutex(name=name), RwLock(name=name)
    for expected in (1, 2):
        with mutex.lock(), pytest.raises(DeadlockError):
            mutex.lock().acquire()
        assert counted(name) == [(expected, 0, 0)]
    with lock.read(), pytest.raises(DeadlockError):
        lock.write().acquire()
    assert counted(name) == [(3, 0, 0)]
    with lock.read(), pytest.raises(TimeoutError):
        lock.write(timeout=0.001).acquire()  # it would have ended
    assert counted(name) == [(3, 0, 0)]


@with_tasks
def test_a_task_whose_wait_is_refused() -> None:
    name = new("refused to a task")
    mutex = Mutex(name=name)

    async def itself() -> None:
        async with mutex.lock():
            with pytest.raises(DeadlockError):
                await mutex.lock()

    async def blocks() -> None:
        async with mutex.lock():
            with pytest.raises(DeadlockError):
                mutex.acquire()

    asyncio.run(itself())
    assert counted(name) == [(1, 0, 0)]
    asyncio.run(blocks())
    assert counted(name) == [(2, 0, 0)]


@pytest.mark.skipif(not (NATIVE and GIL), reason="the C types look, at what the GIL keeps still")
def test_a_thread_that_is_joined_by_who_holds() -> None:
    name = new("joined")
    mutex = Mutex(name=name)

    def asks() -> None:
        with pytest.raises(DeadlockError):
            mutex.lock().acquire()

    with mutex.lock():
        thread = threading.Thread(target=asks)
        thread.start()
        thread.join()
    assert counted(name) == [(1, 0, 0)]


@with_tasks
def test_a_wait_that_a_watcher_ends_was_counted() -> None:
    name = new("ended")
    locks = [Mutex(name=name), Mutex(name=name)]

    async def main() -> None:
        both = asyncio.Barrier(2)

        async def takes(first: Any, second: Any) -> None:
            async with first:
                await both.wait()
                async with second:
                    pass

        results = await asyncio.gather(takes(*locks), takes(*reversed(locks)), return_exceptions=True)
        assert [type(result) for result in results if result is not None] == [DeadlockError]

    deadlock.start(0.02, lambda _: None, end_a_task=True)
    try:
        asyncio.run(main())
    finally:
        deadlock.stop()
    assert counted(name) == [(1, 0, 0)]


def test_what_is_no_lock_is_called_by_its_class() -> None:
    cell: OnceCell[int] = OnceCell()
    (before,) = counted("OnceCell")
    with pytest.raises(DeadlockError):
        cell.get_or_init(lambda: cell.get_or_init(int))
    assert counted("OnceCell") == [(before[0] + 1, 0, 0)]


# --- corrupt words ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def overwritten(lock: Any) -> Iterator[Callable[[int], None]]:
    """A word that is written to, and mended afterwards."""
    there, before = ffi.cast(WORD, lock.address), lock.word

    def write(word: int) -> None:
        there.bits = word

    try:
        yield write
    finally:
        there.bits = before


def test_a_lock_with_such_a_word_is_counted_once_for_each_word() -> None:
    name = new("corrupt")
    lock, other = RwLock(name=name), Mutex(name=name)
    with overwritten(lock) as write, overwritten(other) as write_other:
        write(INCIDENT[0])
        for _ in range(3):
            with pytest.raises(LockCorruption):
                lock.read().acquire()
        assert counted(name) == [(0, 1, 0)]
        assert [finding.kind for finding in audit(lock)] == ["impossible word"]

        async def task() -> None:
            with pytest.raises(LockCorruption):
                await lock.write()

        asyncio.run(task())
        assert counted(name) == [(0, 1, 0)]
        write_other(INCIDENT[0])
        audit(other)
        with pytest.raises(LockCorruption):
            other.acquire()
        assert counted(name) == [(0, 2, 0)]
        write(INCIDENT[1])
        audit(lock)
        assert counted(name) == [(0, 3, 0)]
        write(INCIDENT[0])  # once more
        audit(lock)
        assert counted(name) == [(0, 3, 0)]


def test_a_release_that_the_word_does_not_bear() -> None:
    name = new("corrupt at its release")
    mutex = Mutex(name=name)
    with overwritten(mutex) as write:
        write(INCIDENT[0])
        with pytest.raises(LockCorruption):
            mutex.release()
    assert counted(name) == [(0, 1, 0)]


def test_a_finding_that_is_no_such_word_is_not_counted() -> None:
    name = new("left locked")
    mutex = Mutex(name=name)
    with overwritten(mutex) as write:
        write(8)
        assert [finding.kind for finding in audit(mutex)] == ["held by nobody"]
    assert counted(name) == [(0, 0, 0)]


class Corrupt:
    """What is asked of a lock."""

    def __init__(self, name: str, address: int) -> None:
        self.name, self.address = name, address


def test_another_lock_at_the_same_address_is_another_one() -> None:
    name = new("at one address")
    first = Corrupt(name, 4096)
    for _ in range(2):
        _troubles.corruption(first, INCIDENT[0])
    assert counted(name) == [(0, 1, 0)]
    del first
    gc.collect()
    second = Corrupt(name, 4096)
    for _ in range(2):
        _troubles.corruption(second, INCIDENT[0])
    assert counted(name) == [(0, 2, 0)]


# --- left behind ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [RwLock, Mutex, FairMutex, ReentrantMutex])
def test_a_guard_that_is_dropped_while_it_holds(make: Callable[..., Any]) -> None:
    name = new("dropped")
    lock = make(name=name)
    guards = [(lock.write if make is RwLock else lock.lock)().acquire()]
    with pytest.warns(ResourceWarning, match="dropped"):
        guards.clear()
    assert counted(name) == [(0, 0, 1)]
    assert not lock.is_locked()


def test_what_holds_nothing_is_not_left_behind() -> None:
    name = new("never entered")
    lock = RwLock(name=name)
    with pytest.warns(RuntimeWarning):
        lock.read()
    with lock.read():
        pass
    assert counted(name) == [(0, 0, 0)]


def test_a_holder_that_has_ended_is_counted_once() -> None:
    def child() -> None:
        mutex = Mutex(name="left behind")
        console = Source()
        in_thread(mutex.acquire).join()
        threading.Thread(target=mutex.acquire, daemon=True).start()
        wait_until(lambda: parked(mutex) == 1)

        def finds() -> bool:
            console.tick()
            causes = console.answer({"command": "ps"})["causes"]
            return [cause["kind"] for cause in causes] == ["dead owner"]

        for _ in range(3):
            wait_until(finds)
        assert counted("left behind") == [(0, 0, 1)]

    in_child(child)


# --- anywhere ---------------------------------------------------------------------------------------------------------------


def test_many_threads_lose_none() -> None:
    name = new("by many")
    lock = Mutex(name=name)

    def refuses() -> None:
        for _ in range(500):
            _troubles.refused(lock)

    for thread in [in_thread(refuses) for _ in range(6)]:
        thread.join()
    assert counted(name) == [(3000, 0, 0)]


def test_of_many_threads_that_find_one_thing_one_counts_it() -> None:
    name = new("found by many")
    for number in range(50):
        lock = Corrupt(name, 8192 + number)
        together = threading.Barrier(4)

        def finds(lock: Corrupt = lock, together: threading.Barrier = together) -> None:
            together.wait()
            _troubles.corruption(lock, INCIDENT[0])

        for thread in [in_thread(finds) for _ in range(4)]:
            thread.join()
    assert counted(name) == [(0, 50, 0)]


def test_it_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    def child() -> None:
        monkeypatch.setattr(_troubles, "_MOST_LABELS", 5)
        monkeypatch.setattr(_troubles, "_MOST_SEEN", 10)
        for number in range(100):
            _troubles.corruption(Corrupt(f"lock {number}", number), INCIDENT[0])
            assert len(_troubles._seen) <= 10
        assert counted(*(f"lock {number}" for number in range(6)), "(others)") == [(0, 1, 0)] * 5 + [(0, 0, 0), (0, 95, 0)]

    in_child(child)


def test_the_label_is_that_of_its_waits() -> None:
    name = new("at first")
    mutex = Mutex(name=name)
    with mutex:
        in_thread(mutex.acquire, timeout=0.001).join()
    mutex.name = "later"
    with mutex.lock(), pytest.raises(DeadlockError):
        mutex.acquire()
    assert counted(name, "later") == [(1, 0, 0), (0, 0, 0)]


def test_a_forked_child_begins_at_nothing() -> None:
    name = new("before the fork")
    lock = Mutex(name=name)
    with overwritten(lock) as write:
        write(INCIDENT[0])
        audit(lock)
        assert counted(name) == [(0, 1, 0)]

        def child() -> None:
            assert telemetry.troubles() == []
            audit(lock)  # it finds it itself
            assert counted(name) == [(0, 1, 0)]

        in_child(child)


def test_in_a_finalizer_that_the_collector_runs() -> None:
    name = new("in a finalizer")
    lock = RwLock(name=name)

    class Cycle:
        def __init__(self) -> None:
            self.me, self.guard = self, lock.read().acquire()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        for _ in range(20):
            Cycle()
        gc.collect()
    assert counted(name) == [(0, 0, 20)]
    assert not lock.is_locked()
