"""What looks like a deadlock of a thread with itself, and is legal: it waits, and ends. See test_certain_deadlocks.py."""

from __future__ import annotations

import asyncio
import itertools
import queue
import random
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from aiolots import DeadlockError, FairMutex, Mutex, RwLock
from aiolots.compat import threading as compat
from tests.worlds import InThread, assert_idle, in_thread, wait_until, wait_until_parked


@pytest.mark.parametrize("limited", ["timeout", "asyncio.timeout"])
def test_r29_a_writer_with_a_limit_gives_up(limited: str) -> None:
    """So the second read waits for that, and ends."""
    lock, go = RwLock(), threading.Event()

    def read() -> bool:
        with lock.read():
            wait_until_parked(lock, 1)
            asked.append(1)
            with lock.read():
                return True

    async def write() -> None:
        async with asyncio.timeout(None) as scope:
            done = asyncio.ensure_future(asyncio.to_thread(go.wait))
            scope.reschedule(asyncio.get_running_loop().time() + 1000)
            asyncio.get_running_loop().call_later(0, lambda: done.add_done_callback(lambda _: scope.reschedule(0)))
            async with lock.write():
                pass

    asked: list[int] = []
    reader = in_thread(read)
    wait_until(lambda: lock.reader_count() == 1)
    if limited == "timeout":
        writer: InThread[Any] = in_thread(lambda: lock.try_write_for(0.5).acquire())
    else:
        writer = in_thread(lambda: asyncio.run(write()))
        wait_until_parked(lock, 2)
    assert not reader.done() or limited == "timeout"
    go.set()
    assert reader.join()
    if limited == "timeout":
        assert writer.join() is None
    else:
        with pytest.raises(TimeoutError):
            writer.join()
    assert_idle(lock)


def test_a_bare_acquire_is_a_signal() -> None:
    for lock in (Mutex(), FairMutex(), compat.Lock()):
        waits = in_thread(lambda lock=lock: (lock.acquire(), lock.acquire()))
        wait_until_parked(lock, 1)
        lock.release()
        waits.join()
        lock.release()
        assert_idle(lock)


def test_a_lock_of_threading_is_a_signal_inside_of_its_with_too() -> None:
    lock = compat.Lock()

    def nested(lock: Any) -> None:
        with lock:
            with lock:
                pass

    def wait_for_a_signal() -> None:
        with lock:
            lock.acquire()

    waits = in_thread(wait_for_a_signal)
    wait_until_parked(lock, 1)
    lock.release()
    waits.join()
    assert_idle(lock)
    with pytest.raises(DeadlockError):
        in_thread(nested, lock).join()
    assert_idle(lock)


def keep(lock: Any, kept: list[Any]) -> None:
    with lock.read() as guard:
        kept.append(guard)
        lock.write().acquire().release()


def close_over(lock: Any, kept: list[Any]) -> None:
    with lock.read() as guard:
        kept.append(lambda: guard)
        lock.write().acquire().release()


def refer_weakly(lock: Any, kept: list[Any]) -> None:
    with lock.read() as guard:
        kept.append(weakref.ref(guard))
        lock.write().acquire().release()


def map_it(lock: Any, kept: list[Any]) -> None:
    with lock.read() as guard:
        kept.append(guard.map(lambda value: value))
        lock.write().acquire().release()


@pytest.mark.parametrize("share", [keep, close_over, refer_weakly, map_it])
def test_a_guard_that_somebody_else_has_may_be_released(share: Callable[[Any, list[Any]], None]) -> None:
    lock: RwLock[Any] = RwLock([])
    kept: list[Any] = []
    asks = in_thread(share, lock, kept)
    wait_until_parked(lock, 1)
    guard = kept.pop()
    (guard if share in (keep, map_it) else guard()).release()
    del guard
    asks.join()
    assert_idle(lock)


def test_a_with_in_a_generator_is_not_in_these_calls() -> None:
    """It may be closed by another thread, as the pools of web frameworks do."""
    lock = RwLock()

    def dependency() -> Any:
        with lock.read():
            yield

    made: list[Any] = []

    def use() -> None:
        made.append(dependency())
        next(made[0])
        lock.write().acquire().release()

    user = in_thread(use)
    wait_until_parked(lock, 1)
    made[0].close()
    user.join()
    assert_idle(lock)


def test_a_limit_is_no_deadlock() -> None:
    lock, mutex = RwLock(), Mutex()

    def ask() -> None:
        with lock.read(), mutex:
            assert lock.try_write_for(0.01).acquire() is None
            assert not mutex.acquire(timeout=0.01)
            with pytest.raises(TimeoutError):
                lock.write(timeout=0.01).acquire()

    in_thread(ask).join()
    assert_idle(lock, mutex)


def test_released_inside_of_its_with() -> None:
    lock, mutex = RwLock(), Mutex()

    def ask() -> None:
        with lock.write() as guard:
            guard.release()
            others.append(in_thread(hold))
            wait_until(lambda: lock.reader_count() == 1)
            with lock.write():
                pass
        with mutex:
            mutex.release()
            mutex.acquire()

    def hold() -> None:
        with lock.read():
            wait_until_parked(lock, 1)

    others: list[InThread[None]] = []
    in_thread(ask).join()
    others[0].join()
    assert_idle(lock, mutex)


class PassedOn:
    """Its `with` gives a guard that somebody else has too, and releases."""

    def __init__(self, ask: Callable[[], Any], kept: list[Any]) -> None:
        self.ask, self.kept = ask, kept

    def __enter__(self) -> Any:
        guard = self.ask().acquire()
        self.kept.append(guard)
        return guard

    def __exit__(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(
    ("make", "first", "second"), [(RwLock, "write", "read"), (RwLock, "read", "write"), (Mutex, "lock", "lock")]
)
def test_a_with_that_gives_a_guard_and_does_not_keep_it(make: Any, first: str, second: str) -> None:
    lock, kept = make(None), list[Any]()

    def ask() -> None:
        with PassedOn(getattr(lock, first), kept) as guard:
            assert guard
            getattr(lock, second)().acquire().release()

    asks = in_thread(ask)
    wait_until_parked(lock, 1)
    kept.pop().release()
    asks.join()
    assert_idle(lock)


class Held:
    lock: Any = None


def local_read(old: Any, new: Any) -> None:
    lock = old
    with lock.read():
        lock = new
        lock.write().acquire().release()


def attribute_write(old: Any, new: Any) -> None:
    held = Held()
    held.lock = old
    with held.lock.write():
        held.lock = new
        held.lock.read().acquire().release()


def local_mutex(old: Any, new: Any) -> None:
    lock = old
    with lock:
        lock = new
        with lock:
            pass


def attribute_mutex(old: Any, new: Any) -> None:
    held = Held()
    held.lock = old
    with held.lock:
        held.lock = new
        with held.lock:
            pass


@pytest.mark.parametrize(
    ("use", "make", "mode"),
    [
        (local_read, RwLock, "read"),
        (attribute_write, RwLock, "write"),
        (local_mutex, Mutex, "lock"),
        (attribute_mutex, Mutex, "lock"),
    ],
)
def test_a_with_whose_name_leads_to_another_lock_by_now(use: Any, make: Any, mode: str) -> None:
    old, new, kept = make(None), make(None), list[Any]()

    def ask() -> None:
        kept.append(getattr(new, mode)().acquire())
        use(old, new)

    asks = in_thread(ask)
    wait_until_parked(new, 1)
    kept.pop().release()
    asks.join()
    assert_idle(old, new)


# --- 100,000 operations -------------------------------------------------------------------------------------------------

OPERATIONS, THREADS, TASKS = 100_000, 3, 3


def test_legal_use_gives_no_error() -> None:
    """Threads and tasks that nest locks in one order, read recursively, upgrade, pass guards on and signal each other."""
    locks: list[RwLock[None]] = [RwLock(name=f"{i}") for i in range(3)]
    mutexes: list[Mutex[None]] = [Mutex(name=f"{i}") for i in range(2)]
    passed: queue.SimpleQueue[Any] = queue.SimpleQueue()
    numbers = itertools.count()

    def more() -> bool:
        return next(numbers) < OPERATIONS

    def releases_for_others() -> None:
        while (guard := passed.get()) is not None:
            guard.release()

    def work(seed: int) -> None:
        choose = random.Random(seed)
        while more():
            step(choose.randrange(5))

    def step(kind: int) -> None:
        if kind == 0:
            with locks[0].read(), locks[1].write() as guard, mutexes[0]:
                guard.downgrade()
                with locks[2].read(), locks[2].read_recursive(), mutexes[1].lock():
                    pass
        elif kind == 1:  # a guard that another thread releases, while this one asks again
            passed.put(locks[1].write().acquire())
            with locks[1].read():
                pass
        elif kind == 2:
            with locks[2].write() as guard:
                passed.put(guard)
                with locks[2].upgradable_read() as upgradable:
                    upgradable.upgrade()
        elif kind == 3:  # a signal
            mutexes[1].acquire()
            passed.put(mutexes[1])
            mutexes[1].acquire()
            mutexes[1].release()
        else:
            with locks[0].write(timeout=60), mutexes[0]:
                pass

    async def task(seed: int) -> None:
        choose = random.Random(seed)
        while more():
            kind = choose.randrange(3)
            if kind == 0:
                async with locks[0].read(), locks[1].write(), mutexes[0]:
                    await asyncio.sleep(0)
            elif kind == 1:
                passed.put(await locks[1].write())
                async with locks[1].read():
                    pass
            else:
                async with locks[2].upgradable_read() as guard:
                    await guard.upgrade()

    async def tasks() -> None:
        await asyncio.gather(*(task(seed) for seed in range(TASKS)))

    releaser = in_thread(releases_for_others)
    workers = [in_thread(work, seed) for seed in range(THREADS)]
    loop = in_thread(asyncio.run, tasks())
    for worker in (*workers, loop):
        worker.join(240)
    passed.put(None)
    releaser.join()
    assert_idle(*locks, *mutexes)
