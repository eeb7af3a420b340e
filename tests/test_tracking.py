"""Holders: who holds a lock that is tracked, since when, taken where, and what they do now."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from aiolots import Condvar, FairMutex, Mutex, ReentrantMutex, RwLock, tracking
from tests.modes import FAIR_LOCK, LOCK, READ, READ_RECURSIVE, UPGRADABLE_READ, WRITE, Mode
from tests.tracking_world import line, line_with, records, tracked
from tests.waiting import in_thread, until, wait_until, wait_until_parked
from tests.worlds import LoopThread, on_each_loop, on_every_loop

__all__ = ["tracked"]  # a fixture

TICK = 0.05  # seconds: the time of an acquire is noted to some milliseconds
MODES = (READ, READ_RECURSIVE, WRITE, UPGRADABLE_READ, LOCK, FAIR_LOCK)
each_mode = pytest.mark.parametrize("mode", MODES, ids=lambda mode: f"{mode.make.__name__}.{mode.name}")


def only(lock: Any) -> tracking.HolderInfo:
    """Return its one holder."""
    (holder,) = tracking.holders(lock)
    return holder


@pytest.fixture(autouse=True)
def nothing_is_left() -> Any:
    """Whatever a test does, in the end nobody is noted as a holder."""
    before = records()
    yield
    assert records() == before


# --- what is known of a holder ------------------------------------------------------------------------------------------


@each_mode
def test_a_thread_holds(mode: Mode, tracked: None) -> None:
    lock = mode.make()
    before = time.monotonic()
    with mode.request(lock):
        holder = only(lock)
        place = line(-2)
    assert (holder.mode, holder.kind, holder.name, holder.loop, holder.remark) == (mode.name, "thread", "MainThread", None, "")
    assert holder.place == place
    assert before - TICK <= holder.since <= time.monotonic()
    assert 0 <= holder.seconds <= time.monotonic() - before + TICK
    assert holder.stack[1].endswith("in test_a_thread_holds")
    assert tracking.holders(lock) == ()


@each_mode
def test_a_task_holds(mode: Mode, tracked: None) -> None:
    lock = mode.make()

    async def holds() -> None:
        async with mode.request(lock):  # here
            holder = only(lock)
            assert (holder.mode, holder.kind, holder.name, holder.remark) == (mode.name, "task", "the one", "")
            assert holder.loop == repr(asyncio.get_running_loop())
            assert holder.place == line_with(holds, "# here")
        assert tracking.holders(lock) == ()

    async def main() -> None:
        await asyncio.create_task(holds(), name="the one")

    asyncio.run(main())


@each_mode
def test_each_form_and_its_release(mode: Mode, tracked: None) -> None:
    lock = mode.make()
    forms: list[Callable[[], Any]] = [
        mode.try_(lock),
        lambda: mode.request(lock).acquire(),
        lambda: mode.try_(lock, "_for")(1).acquire(),
        lambda: mode.try_(lock, "_until")(time.monotonic() + 1).acquire(),
    ]
    for form in forms:
        for release in ("release", "release_fair", "__exit__"):
            guard = form()
            assert only(lock).mode == mode.name
            getattr(guard, release)(*(None,) * 3 * (release == "__exit__"))
            assert tracking.holders(lock) == ()


@pytest.mark.parametrize("make", [Mutex, FairMutex, ReentrantMutex])
def test_without_a_guard(make: Callable[..., Mutex[None]], tracked: None) -> None:
    mutex = make()
    with mutex:
        assert only(mutex).place == line(-1)
    assert tracking.holders(mutex) == ()
    assert mutex.acquire(timeout=1)
    assert only(mutex).place == line(-1)
    mutex.release()
    assert mutex.acquire(blocking=False)
    assert only(mutex).mode == "lock"
    in_thread(mutex.release).join() if make is not ReentrantMutex else mutex.release()
    assert tracking.holders(mutex) == ()

    async def task() -> None:
        async with mutex:
            assert (only(mutex).kind, only(mutex).place) == ("task", line(-1))
        assert tracking.holders(mutex) == ()

    asyncio.run(task())


@pytest.mark.parametrize("make", [Mutex, ReentrantMutex])
def test_a_task_that_takes_it_as_a_thread_does(make: Callable[..., Mutex[None]], tracked: None) -> None:
    mutex = make()

    async def main() -> None:
        with mutex:
            assert (only(mutex).kind, only(mutex).name) == ("task", "main")

    async def start() -> None:
        await asyncio.create_task(main(), name="main")

    asyncio.run(start())
    with mutex:
        assert only(mutex).kind == "thread"


@on_every_loop
async def test_tasks_of_every_library(tracked: None) -> None:
    lock, mutex = RwLock(), Mutex()
    async with lock.write(), mutex:
        assert [only(lock).kind, only(mutex).kind] == ["task", "task"]
        assert only(lock).place.endswith("test_tasks_of_every_library")
        assert only(lock).stack[1].endswith("test_tasks_of_every_library")
    assert records() == 0


def test_who_waited_for_it(tracked: None) -> None:
    lock = RwLock()
    guard = lock.write().acquire()

    def reads() -> tracking.HolderInfo:
        with lock.read():  # here
            return only(lock)

    reader = in_thread(reads)
    wait_until_parked(lock, 1)
    guard.release()
    holder = reader.join()
    assert holder.name == reader.thread.name
    assert holder.place == line_with(reads, "# here")


def test_several_readers_in_the_order_they_came(tracked: None) -> None:
    lock = RwLock()
    guards = [lock.read().acquire(), lock.upgradable_read().acquire(), lock.try_read(), lock.read_recursive().acquire()]
    assert [holder.mode for holder in tracking.holders(lock)] == ["read", "upgradable_read", "read", "read_recursive"]
    for guard in guards[::-1]:
        assert guard is not None
        guard.release()


# --- what they do now ---------------------------------------------------------------------------------------------------


def test_where_a_thread_is_now(tracked: None) -> None:
    lock, other = RwLock(), Mutex()

    def holds() -> None:
        with lock.write():
            waits()

    def waits() -> None:
        with other:  # waits here
            pass

    with other:
        thread = in_thread(holds)
        wait_until_parked(other, 1)
        stack = only(lock).stack
        assert stack[0].startswith(line_with(waits, "# waits here"))
        assert stack[1].endswith("test_where_a_thread_is_now.<locals>.holds")
    thread.join()


@on_each_loop
async def test_where_a_task_is_now(tracked: None) -> None:
    lock, go_on = RwLock(), asyncio.Event()

    async def holds() -> None:
        async with lock.write():
            await waits()

    async def waits() -> None:
        await go_on.wait()  # waits here

    task = asyncio.create_task(holds(), name="holder")
    await until(lambda: tracking.holders(lock))
    stack = only(lock).stack
    at = next(i for i, call in enumerate(stack) if call.startswith(line_with(waits, "# waits here")))
    assert stack[at + 1].endswith("test_where_a_task_is_now.<locals>.holds")
    assert not any("tracking.py" in call for call in stack if "/tests/" not in call)
    go_on.set()
    await task


def test_a_holder_that_has_ended(tracked: None) -> None:
    lock = RwLock()
    thread = in_thread(lambda: lock.write().acquire())
    guard = thread.join()
    wait_until(lambda: not thread.thread.is_alive())
    assert (only(lock).name, only(lock).remark, only(lock).stack) == (thread.thread.name, "has ended", ())
    guard.release()
    with LoopThread() as loop:

        async def takes() -> Any:
            return await lock.write()

        guard = loop.run(takes())
        assert (only(lock).kind, only(lock).remark, only(lock).stack) == ("task", "has ended", ())
        loop.call(guard.release)


# --- what becomes of a guard --------------------------------------------------------------------------------------------


def test_released_by_another_thread(tracked: None) -> None:
    lock = RwLock()
    guard = lock.read().acquire()
    other = lock.read().acquire()
    in_thread(guard.release).join()
    assert only(lock).place == line(-2)
    other.release()


@each_mode
def test_dropped(mode: Mode, tracked: None) -> None:
    lock = mode.make()
    with pytest.warns(ResourceWarning, match="dropped while it held"):
        mode.request(lock).acquire()
    assert tracking.holders(lock) == ()
    with pytest.warns(RuntimeWarning, match="never entered"):
        mode.request(lock)
    assert tracking.holders(lock) == ()


def test_a_change_of_the_mode_keeps_the_record(tracked: None) -> None:
    lock = RwLock()
    guard = lock.upgradable_read().acquire()
    first = only(lock)
    upgraded = guard.try_upgrade()
    assert upgraded is not None
    assert (only(lock).mode, only(lock).since, only(lock).place) == ("write", first.since, first.place)
    upgraded.downgrade_to_upgradable()
    assert only(lock).mode == "upgradable_read"
    guard.upgrade().downgrade()
    assert (only(lock).mode, only(lock).since) == ("read", first.since)
    upgraded.map(lambda value: value).release()
    assert tracking.holders(lock) == ()


def test_a_guard_that_steps_aside(tracked: None) -> None:
    lock = RwLock()
    guard = lock.write().acquire()
    first = only(lock)
    writer = in_thread(lambda: [holder.name for holder in _holders_inside(lock)])
    wait_until_parked(lock, 1)
    wait_until(lambda: time.monotonic() > first.since + TICK)
    guard.bump()
    assert writer.join() == [writer.thread.name]  # alone
    assert (only(lock).name, only(lock).place) == ("MainThread", first.place)
    assert only(lock).since > first.since
    guard.release()


def _holders_inside(lock: RwLock[Any]) -> tuple[tracking.HolderInfo, ...]:
    with lock.write():
        return tracking.holders(lock)


def test_who_waits_for_a_condition_holds_nothing(tracked: None) -> None:
    mutex, changed = Mutex(), Condvar()

    def waits() -> tuple[str, str]:
        with mutex.lock() as guard:
            first = only(mutex)
            assert changed.wait(guard)
            return first.place, only(mutex).place

    waiter = in_thread(waits)
    wait_until(lambda: mutex.word == 0 and not waiter.done() and "waiters=1" in repr(changed))
    assert tracking.holders(mutex) == ()
    with mutex.lock():
        assert only(mutex).name == "MainThread"
        changed.notify_one()
    first, second = waiter.join()
    assert first == second
    assert tracking.holders(mutex) == ()


def test_a_reentrant_mutex_has_one_holder(tracked: None) -> None:
    mutex = ReentrantMutex()
    with mutex:
        first = only(mutex)
        with mutex.lock(), mutex:
            assert (only(mutex).since, only(mutex).place) == (first.since, first.place)
        assert (only(mutex).since, first.place) == (first.since, line(-4))
    assert tracking.holders(mutex) == ()


# --- on, off ------------------------------------------------------------------------------------------------------------


def test_off_nothing_is_known() -> None:
    lock = RwLock()
    assert not tracking.is_enabled()
    with lock.read():
        assert tracking.holders(lock) == ()
        tracking.enable()
        try:
            assert tracking.is_enabled()
            assert tracking.holders(lock) == ()  # taken before
            with lock.read():
                assert len(tracking.holders(lock)) == 1
        finally:
            tracking.disable()


def test_what_is_held_is_known_until_it_is_released(tracked: None) -> None:
    lock, mutex = RwLock(), Mutex()
    with lock.read(), mutex:
        tracking.disable()
        assert len(tracking.holders(lock)) == len(tracking.holders(mutex)) == 1
        with lock.read():
            assert len(tracking.holders(lock)) == 1
    assert tracking.holders(lock) == tracking.holders(mutex) == ()


@pytest.mark.parametrize("make", [RwLock, Mutex, FairMutex, ReentrantMutex])
def test_one_lock_alone(make: Callable[..., Any]) -> None:
    one, other = make(track=True), make()
    for lock, count in ((one, 1), (other, 0)):
        guard = lock.try_write() if make is RwLock else lock.try_lock()
        assert len(tracking.holders(lock)) == count
        guard.release()
        assert tracking.holders(lock) == ()
    assert not tracking.is_enabled()


def test_what_is_no_lock() -> None:
    with pytest.raises(TypeError, match="not 7"):
        tracking.holders(7)
    for make in (RwLock, Mutex, FairMutex, ReentrantMutex):
        with pytest.raises(TypeError, match="lock_class"):
            make(lock_class=7)  # type: ignore[arg-type]
