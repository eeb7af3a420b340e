"""R29, R30, R31: a wait that is certain to be for ever raises DeadlockError at once. What is legal: test_legal_waits.py."""

from __future__ import annotations

import asyncio
import queue
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiolots import DeadlockError, FairMutex, Mutex, RwLock, _certain, _watched, deadlock, lowlevel
from aiolots._front import NATIVE
from aiolots._lib import MUTEX
from tests.test_scenarios_loops import policy
from tests.worlds import assert_idle, in_thread, on_each_loop, wait_until, wait_until_parked

HERE = Path(__file__).name
GIL = getattr(sys, "_is_gil_enabled", lambda: True)()
SOURCE = Path(__file__).read_text(encoding="utf-8").splitlines()

ALONE = "use ReentrantMutex"
READ = "read_recursive()"
WRITE = "upgradable_read(), then upgrade()"


def marked(function: Callable[..., Any], mark: str) -> int:
    """The line of a function that says so."""
    begin = function.__code__.co_firstlineno
    return next(number for number, line in enumerate(SOURCE[begin - 1 :], begin) if line.endswith(f"# {mark}"))


def assert_says(error: DeadlockError, function: Callable[..., Any], lock_name: str, advice: str) -> None:
    """The lock, the decoded word, where it is held, where it was asked for, what to do."""
    text = str(error)
    assert repr(lock_name) in text
    assert re.search(r"word 0x[0-9a-f]+ \([a-z]", text), text
    assert re.search(rf"asked for at \S*{HERE}:{marked(function, 'WAITS')} in", text), text
    assert re.search(rf"taken at \S*{HERE}:{marked(function, 'HOLDS')} in", text), text
    assert advice in text, text


class Owner:
    """Locks that are attributes, as they mostly are."""

    __slots__ = ("mutex",)
    rw: RwLock[None] = RwLock(name="rw of the class")

    def __init__(self) -> None:
        self.mutex: Mutex[None] = Mutex(name="mutex of a slot")

    def mutex_twice(self) -> None:
        with self.mutex.lock():  # HOLDS
            self.helper()

    def helper(self) -> None:
        self.mutex.acquire()

    def read_then_write(self) -> None:
        with self.rw.read():  # HOLDS
            with self.rw.write():  # WAITS
                pass


def mutex_itself(lock: Any) -> None:
    with lock:  # HOLDS
        with lock:  # WAITS
            pass


def mutex_guard_itself(lock: Any) -> None:
    with lock.lock() as guard:  # HOLDS
        guard.value = None
        lock.lock().acquire()  # WAITS


def mutex_acquire_inside(lock: Any) -> None:
    with lock:  # HOLDS
        lock.acquire()  # WAITS


def bare_guard(lock: Any) -> None:
    guard = lock.write().acquire()  # HOLDS
    try:
        lock.read().acquire()  # WAITS
    finally:
        guard.release()


def write_while_reading(lock: Any) -> None:
    with lock.read():  # HOLDS
        with lock.write():  # WAITS
            pass


def write_while_reading_with_a_limit_on_the_first(lock: Any) -> None:
    with lock.try_read_for(1) as guard:  # HOLDS
        assert guard
        lock.write().acquire()  # WAITS


def read_while_writing(lock: Any) -> None:
    with lock.write() as guard:  # HOLDS
        assert guard.is_held()
        for request in (lock.write, lock.read_recursive, lock.upgradable_read):
            with pytest.raises(DeadlockError):
                request().acquire()
        with lock.read():  # WAITS
            pass


def read_after_a_downgrade(lock: Any) -> None:
    with lock.write() as guard:  # HOLDS
        guard.downgrade()
        lock.write().acquire()  # WAITS


def passed_down(lock: Any) -> None:
    with lock.read() as guard:  # HOLDS
        ask(lock, guard)


def ask(lock: Any, guard: Any) -> None:
    assert guard.is_held()
    lock.write().acquire()


def write_while_upgradable(lock: Any) -> None:
    with lock.upgradable_read():  # HOLDS
        lock.write().acquire()  # WAITS


def upgrade_beside_its_own_share(lock: Any) -> None:
    with lock.upgradable_read() as guard:
        with lock.read():  # HOLDS
            guard.upgrade()  # WAITS


CASES: dict[Callable[[Any], None], tuple[type[Any], str]] = {
    mutex_itself: (Mutex, ALONE),
    mutex_guard_itself: (Mutex, ALONE),
    mutex_acquire_inside: (FairMutex, ALONE),
    bare_guard: (RwLock, ALONE),
    write_while_reading: (RwLock, WRITE),
    write_while_reading_with_a_limit_on_the_first: (RwLock, WRITE),
    read_while_writing: (RwLock, ALONE),
    read_after_a_downgrade: (RwLock, WRITE),
    write_while_upgradable: (RwLock, WRITE),
    upgrade_beside_its_own_share: (RwLock, WRITE),
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_r29_r30_a_thread_waits_for_itself(case: Callable[[Any], None]) -> None:
    kind, advice = CASES[case]
    lock = kind(name="it")
    with pytest.raises(DeadlockError) as caught:
        in_thread(case, lock).join()
    assert_says(caught.value, case, "it", advice)
    assert_idle(lock)


def test_a_guard_that_is_passed_down_is_its_calls() -> None:
    lock = RwLock()
    with pytest.raises(DeadlockError, match=rf"taken at \S*{HERE}:{marked(passed_down, 'HOLDS')} in passed_down"):
        in_thread(passed_down, lock).join()
    assert_idle(lock)


def test_locks_that_are_attributes() -> None:
    owner = Owner()
    with pytest.raises(DeadlockError, match="mutex of a slot"):
        in_thread(owner.mutex_twice).join()
    with pytest.raises(DeadlockError, match="rw of the class"):
        in_thread(owner.read_then_write).join()
    assert_idle(owner.mutex, owner.rw)


def read_write_read(lock: Any) -> None:
    with lock.read():  # HOLDS
        wait_until_parked(lock, 1)
        lock.read_recursive().acquire().release()
        with lock.read():  # WAITS
            pass


def test_r29_a_read_behind_a_writer_that_waits_for_the_first() -> None:
    lock = RwLock(name="it")
    reader = in_thread(read_write_read, lock)
    wait_until(lambda: lock.reader_count() == 1)
    writer = in_thread(lambda: lock.write().acquire().release())
    with pytest.raises(DeadlockError) as caught:
        reader.join()
    assert_says(caught.value, read_write_read, "it", READ)
    writer.join()
    assert_idle(lock)


@pytest.mark.skipif(not GIL, reason="with the GIL off it is not known whether a task gives up")
def test_r29_the_writer_is_a_task() -> None:
    lock = RwLock(name="it")
    reader = in_thread(read_write_read, lock)
    wait_until(lambda: lock.reader_count() == 1)

    async def write() -> None:
        async with lock.write():
            pass

    writer = in_thread(lambda: asyncio.run(write()))
    with pytest.raises(DeadlockError) as caught:
        reader.join()
    assert_says(caught.value, read_write_read, "it", READ)
    writer.join()
    assert_idle(lock)


def test_the_switch() -> None:
    lock = Mutex()
    assert deadlock.is_immediate()
    assert deadlock.set_immediate(False) is True
    try:
        waits = in_thread(mutex_itself, lock)
        wait_until_parked(lock, 1)
        assert not waits.done()
        assert deadlock.check()
        lock.release()  # the inner one gets it
        with pytest.raises(RuntimeError, match="nobody holds"):
            waits.join()
    finally:
        assert deadlock.set_immediate(True) is False
    assert_idle(lock)


# --- R31: who joins -----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not (NATIVE and GIL), reason="the C types look, at what the GIL keeps still")
@pytest.mark.parametrize("generations", [1, 2])
def test_r31_a_thread_waits_for_who_joins_it(generations: int) -> None:
    lock, errors = RwLock(name="it"), queue.SimpleQueue[Any]()

    def child(more: int) -> None:
        if more:
            return start_and_join(more - 1)
        try:
            with lock.write():
                pass
        except DeadlockError as error:
            errors.put(error)

    def start_and_join(more: int) -> None:
        thread = threading.Thread(target=child, args=(more,), daemon=True)
        thread.start()
        thread.join()

    def parent() -> None:
        with lock.read():
            start_and_join(generations - 1)

    in_thread(parent).join()
    assert re.search(r"which joins thread .*release it before", str(errors.get_nowait()))
    assert_idle(lock)


@pytest.mark.skipif(not (NATIVE and GIL), reason="the C types look, at what the GIL keeps still")
def test_r31_a_join_that_is_no_deadlock() -> None:
    """Of a thread that waits for a third one; and with a limit."""
    lock, other = RwLock(), Mutex()

    looks: list[Any] = []

    def child() -> None:
        with other:
            pass

    def parent() -> None:
        with lock.read():
            thread = threading.Thread(target=child)
            thread.start()
            thread.join(0.2)
            joined.append(1)
            thread.join()

    joined: list[int] = []
    _watched.looks_at_joined(lambda *asked: (looks.append((asked, list(joined))), _certain.refuse_joined(*asked))[1])
    try:
        with other:
            joins = in_thread(parent)
            wait_until(lambda: looks)
            wait_until_parked(other, 1)
        joins.join()
    finally:
        _watched.looks_at_joined(_certain.refuse_joined)
    assert looks == [((other, MUTEX), [1])]
    assert_idle(lock, other)


# --- the thread of a loop -----------------------------------------------------------------------------------------------


@on_each_loop
async def test_r22_a_threads_hold_in_a_task_that_is_suspended() -> None:
    """The classic freeze: `with` in a task, over an await; then the loop's thread asks for it."""
    mutex, lock = Mutex(name="m"), RwLock(name="rw")
    end = asyncio.Event()

    async def hold() -> None:
        with mutex, lock.read() as guard:
            assert guard
            await end.wait()

    holder = asyncio.ensure_future(hold())
    await asyncio.sleep(0)
    with policy("allow"):
        for request in (mutex.lock, lock.write):
            with pytest.raises(DeadlockError, match="of the event loop that this thread would block"):
                request().acquire()
    end.set()
    await holder
    assert_idle(mutex, lock)


@on_each_loop
async def test_who_is_refused_was_never_queued() -> None:
    mutex = Mutex()
    refused = in_thread(mutex_itself, mutex)
    with pytest.raises(DeadlockError):
        await asyncio.to_thread(refused.join)
    assert lowlevel.waiters(mutex) == []
    assert_idle(mutex)
