"""R32: no false positives. What looks like a deadlock and is none; and the watcher, its settings, and forks."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from aiolots import Condvar, Mutex, ReentrantMutex, RwLock, Semaphore, _front, _wait_graph, deadlock, lowlevel
from aiolots._lib import WRITE
from tests.waiting import InThread, assert_idle, in_thread, parked, until_parked, wait_until, wait_until_parked


@pytest.fixture(autouse=True)
def nobody_watches() -> Iterator[None]:
    yield
    deadlock.stop()


@contextlib.contextmanager
def checking() -> Iterator[list[deadlock.Cycle]]:
    """Look without a pause in a thread of its own."""
    found: list[deadlock.Cycle] = []
    ended = threading.Event()

    def look() -> int:
        looks = 0
        while not ended.is_set():
            found.extend(deadlock.check())
            looks += 1
        return looks

    checker = in_thread(look)
    try:
        yield found
    finally:
        ended.set()
        assert checker.join() > 0
    assert [str(cycle) for cycle in found] == []


def crossed(first: Any, second: Any, seconds: float | None) -> list[InThread[Any]]:
    """Two threads that take two locks in opposite orders, the second one with a limit if there is one; both are parked."""
    together = threading.Barrier(2)

    def take(one: Any, other: Any) -> None:
        with one.lock():
            together.wait()
            other.acquire(timeout=-1 if seconds is None else seconds)

    return [in_thread(take, first, second), in_thread(take, second, first)]


def test_waits_with_a_limit_are_no_deadlock() -> None:
    a, b = Mutex(name="a"), Mutex(name="b")
    threads = crossed(a, b, 0.3)
    wait_until(lambda: parked(a) == parked(b) == 1)
    assert deadlock.check() == []
    for thread in threads:
        thread.join()


def test_one_limit_is_enough() -> None:
    a, b = Mutex(name="a"), Mutex(name="b")
    together = threading.Barrier(2)

    def patient() -> None:
        with a.lock():
            together.wait()
            with b.lock():
                pass

    def hasty() -> None:
        with b.lock():
            together.wait()
            with a.try_lock_for(0.3) as guard:
                assert guard is None

    threads = [in_thread(patient), in_thread(hasty)]
    wait_until(lambda: parked(a) == parked(b) == 1)
    assert deadlock.check() == []
    for thread in threads:
        thread.join()
    assert_idle(a, b)


@pytest.mark.parametrize("how", ["timeout", "wait_for", "around_the_parent"])
async def test_limits_of_asyncio_are_limits(how: str) -> None:
    a, b = Mutex(name="a"), Mutex(name="b")
    together = asyncio.Barrier(2)

    async def take(one: Mutex[None], other: Mutex[None], *, limited: bool) -> None:
        async with one.lock():
            await together.wait()
            if limited and how == "timeout":
                async with asyncio.timeout(3600), other.lock():
                    pass
            else:
                async with other.lock():
                    pass

    async def parent() -> None:
        limited = take(b, a, limited=True)
        if how == "wait_for":
            await asyncio.wait_for(limited, 3600)
        elif how == "around_the_parent":
            async with asyncio.timeout(3600), asyncio.TaskGroup() as group:
                group.create_task(limited)
        else:
            await limited

    tasks = [asyncio.create_task(take(a, b, limited=False)), asyncio.create_task(parent())]
    await until_parked(a, 1)
    await until_parked(b, 1)
    assert deadlock.check() == []
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert_idle(a, b)


async def test_a_sibling_that_may_fail_ends_a_gather_and_a_group() -> None:
    """The parent holds what one child wants; the other child runs, and may raise: the group would end."""
    lock, event = Mutex(name="wanted"), asyncio.Event()

    async def child() -> None:
        async with lock.lock():
            pass

    async def parent() -> None:
        async with lock.lock():
            async with asyncio.TaskGroup() as group:
                group.create_task(child())
                group.create_task(fails())

    async def fails() -> None:
        await event.wait()
        raise LookupError

    task = asyncio.create_task(parent())
    await until_parked(lock, 1)
    assert deadlock.check() == []
    event.set()
    with pytest.raises(BaseExceptionGroup):
        await task
    assert_idle(lock)


async def test_a_guard_that_another_task_has_in_hand_is_not_held_for_ever() -> None:
    """A task holds A and waits for B, whose holder waits for A: but A's guard is in the hands of a third one, too."""
    a, b = RwLock(name="a"), RwLock(name="b")
    go = asyncio.Event()

    async def keeper(guard: Any) -> None:
        await go.wait()
        guard.release()

    async def first() -> None:
        guard = await a.write()
        helper = asyncio.create_task(keeper(guard))
        async with b.write():
            pass
        await helper

    async def second() -> None:
        async with b.write():
            async with a.write():
                pass

    tasks = [asyncio.create_task(second())]
    holder = await a.write()  # keeps `second` waiting for a until `first` has queued for b
    await until_parked(a, 1)
    holder.release()
    await tasks[0]
    tasks = [asyncio.create_task(first()), asyncio.create_task(second())]
    await until_parked(a, 1)
    assert deadlock.check() == []
    go.set()
    await asyncio.gather(*tasks)
    assert_idle(a, b)


def test_who_steps_aside_or_upgrades_does_not_wait_for_itself() -> None:
    lock = RwLock(name="aside")

    def upgrades() -> None:
        with lock.upgradable_read() as guard:
            guard.upgrade()

    share = lock.read().acquire()
    thread = in_thread(upgrades)
    wait_until_parked(lock, 1)
    assert deadlock.check() == []
    share.release()
    thread.join()

    mutex = Mutex(name="bumped")

    def bumps() -> None:
        with mutex.lock() as guard:
            wait_until_parked(mutex, 1)
            guard.bump()

    bumper = in_thread(bumps)
    wait_until(mutex.locked)
    taken = mutex.lock().acquire()
    wait_until_parked(mutex, 1)  # the one that stepped aside for this
    assert deadlock.check() == []
    taken.release()
    bumper.join()
    assert_idle(lock, mutex)


def test_who_waits_for_a_notification_is_not_stuck() -> None:
    mutex, condvar, semaphore = Mutex(name="m"), Condvar(), Semaphore(0)

    def waits() -> None:
        with mutex.lock() as guard:
            condvar.wait(guard)

    def acquires() -> None:
        semaphore.acquire()

    threads = [in_thread(waits), in_thread(acquires)]
    wait_until(lambda: len(lowlevel.waiters()) == 2)
    assert deadlock.check() == []
    condvar.notify_all()
    semaphore.release()
    for thread in threads:
        thread.join()


def test_who_waits_for_a_notification_is_no_link_of_a_cycle() -> None:
    """A thread holds n and waits to be notified, with m set aside; another one holds m and waits for n."""
    m, n, condvar = Mutex(name="m"), Mutex(name="n"), Condvar()

    def waits() -> None:
        with n.lock(), m.lock() as guard:
            condvar.wait(guard)

    def takes_both() -> None:
        m.acquire()
        with n.lock():
            pass

    threads = [in_thread(waits)]
    wait_until(lambda: len(lowlevel.waiters(key=condvar)) == 1)
    threads.append(in_thread(takes_both))
    wait_until_parked(n, 1)
    assert deadlock.check() == []  # whoever notifies need not hold m
    m.release()  # without a guard anybody may
    condvar.notify_all()
    for thread in threads:
        thread.join()
    assert_idle(m, n)


def test_a_cycle_that_dissolves_between_two_looks_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second look finds the same thread in the same kind of cycle, but with another ticket: it has run meanwhile."""
    mutex = Mutex(name="dissolves")

    def knots() -> None:
        for _ in range(3):
            mutex.acquire()

    thread = in_thread(knots)
    wait_until_parked(mutex, 1)
    look, looks = _wait_graph.look, [0]

    def look_and_dissolve(**how: float) -> _wait_graph.Look:
        looks[0] += 1
        seen = look(**how)
        if looks[0] == 1:
            [waiter] = lowlevel.waiters(mutex)
            mutex.release()
            wait_until(lambda: [w for w in lowlevel.waiters(mutex) if w.ticket != waiter.ticket and not w.woken])
        return seen

    with monkeypatch.context() as patched:
        patched.setattr(_wait_graph, "look", look_and_dissolve)
        assert deadlock.check() == []
    assert looks == [2]
    assert len(deadlock.check()) == 1
    mutex.release()
    thread.join()
    mutex.release()


def test_an_owner_that_goes_deeper_is_not_stuck() -> None:
    mutex = ReentrantMutex(name="deep")
    with mutex, mutex:
        thread = in_thread(lambda: mutex.lock().acquire().release())
        wait_until_parked(mutex, 1)
        assert deadlock.check() == []
    thread.join()


@pytest.mark.skipif(not _front.NATIVE, reason="about the C types; to import them changes the front in Python")
def test_a_holder_that_leaves_while_it_is_looked_for_is_none() -> None:
    """The note of an exclusive holder was read twice; between the two its lock was released."""
    from aiolots import _native_front

    class Released:
        word = 0
        notes = iter([(WRITE, 1, False), None])

        @property
        def _exclusive_holder(self) -> Any:
            return next(self.notes)

    assert [holder.thread for holder in _native_front._Holders._holder_list(Released())] == [1]


def test_legal_use_gives_no_report() -> None:
    """100,000 operations of threads and tasks on locks taken in one order, looked at without a pause. In pure a quarter."""
    locks: list[Any] = [RwLock(name="0"), Mutex(name="1"), RwLock(name="2")]
    rounds = 4200 if _front.NATIVE else 1000

    def in_a_thread(number: int) -> None:
        for i in range(rounds):
            with locks[0].write() if (i + number) % 3 == 0 else locks[0].read():
                with locks[1].lock():
                    pass
            with locks[2].upgradable_read() as guard:
                guard.upgrade()

    async def in_a_task(number: int) -> None:
        for i in range(rounds):
            async with locks[0].write() if (i + number) % 3 == 0 else locks[0].read():
                async with locks[1].lock():
                    pass
            async with locks[2].write():
                if i % 16 == 0:
                    await asyncio.sleep(0)

    async def tasks() -> None:
        await asyncio.gather(*(in_a_task(number) for number in range(4)))

    with checking():
        threads = [in_thread(in_a_thread, number) for number in range(4)]
        loop = in_thread(lambda: asyncio.run(tasks()))
        for thread in threads:
            thread.join(60)
        loop.join(60)
    assert_idle(*locks)


# --- the watcher --------------------------------------------------------------------------------------------------------


def held_by_itself() -> tuple[Mutex[None], InThread[Any]]:
    """A thread that waits for what it holds itself; whoever releases the mutex frees it."""
    mutex = Mutex(name="knot")

    def knot() -> None:
        mutex.acquire()
        mutex.acquire()

    thread = in_thread(knot)
    wait_until_parked(mutex, 1)
    return mutex, thread


def test_a_cycle_is_reported_once_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    mutex, thread = held_by_itself()
    found: list[deadlock.Cycle] = []
    deadlock.start(0.01, lambda cycle: (found.append(cycle), deadlock.log(cycle)))
    wait_until(lambda: found)
    looked = deadlock._watch
    assert looked is not None
    wait_until(lambda: caplog.records)
    [cycle] = deadlock.check()
    assert len(found) == 1
    assert cycle.owners[0].name == found[0].owners[0].name == thread.thread.name
    assert cycle.owners[0].seconds is None
    assert found[0].owners[0].seconds is not None
    assert found[0].owners[0].lock_name == "knot"
    assert found[0].owners[0].mode == "lock"
    assert [record.levelno for record in caplog.records] == [logging.CRITICAL]
    deadlock.stop()
    assert not deadlock.is_running()
    looked.thread.join(20)
    mutex.release()
    thread.join()
    mutex.release()
    assert deadlock.check() == []


def test_what_the_callback_raises_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    mutex, thread = held_by_itself()
    called = threading.Event()

    def fails(_cycle: deadlock.Cycle) -> None:
        called.set()
        raise LookupError

    deadlock.start(0.01, fails)
    assert called.wait(20)
    wait_until(lambda: caplog.records)
    assert deadlock.is_running()
    deadlock.stop()
    mutex.release()
    thread.join()
    mutex.release()


def test_interval_is_checked() -> None:
    for wrong in (0, -1, float("nan")):
        with pytest.raises(ValueError):
            deadlock.start(wrong)
    assert not deadlock.is_running()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_is_not_watched_and_may_look() -> None:
    """Forked while the watcher looks without a pause and another thread holds a lock that a third one waits for."""
    mutex, thread = held_by_itself()
    deadlock.start(1e-6, lambda _cycle: None)
    for _ in range(20):
        child = os.fork()
        if not child:
            fine = not deadlock.is_running() and deadlock.check() == []
            deadlock.start(0.01)
            fine = fine and deadlock.is_running()
            os._exit(0 if fine else 1)
        assert os.waitpid(child, 0)[1] == 0
    deadlock.stop()
    mutex.release()
    thread.join()
    mutex.release()
