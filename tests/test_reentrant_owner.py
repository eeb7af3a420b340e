"""Who owns a ReentrantMutex, and what is left of that: as threading.RLock says it, after a fork, of strange tasks."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import warnings
import weakref
from typing import Any

import pytest

from aiolots import Condvar, ReentrantMutex
from tests.test_reentrant_between import native
from tests.test_scenarios_fork import in_child
from tests.waiting import WATCHDOG, assert_idle, in_thread

# --- of threading.RLock --------------------------------------------------------------------------------------------------


def test_how_often_it_is_held_is_told_its_owner() -> None:
    mutex, rlock = ReentrantMutex(), threading.RLock()
    locks: list[Any] = [mutex] + [rlock] * hasattr(rlock, "_recursion_count")
    for lock in locks:
        assert lock._recursion_count() == 0
        with lock, lock:
            assert lock._recursion_count() == 2
            assert in_thread(lock._recursion_count).join() == 0
        assert lock._recursion_count() == 0
    with mutex, mutex.lock():
        assert mutex._recursion_count() == 2
    assert_idle(mutex)


def test_it_is_released_and_taken_again_as_a_whole() -> None:
    mutex = ReentrantMutex()
    with pytest.raises(RuntimeError, match="as a whole"):
        mutex._release_save()
    mutex.acquire()
    mutex.acquire()
    with pytest.raises(RuntimeError, match="as a whole"):
        in_thread(mutex._release_save).join()
    saved = mutex._release_save()
    assert in_thread(mutex.acquire, False).join() is True
    mutex._at_fork_reinit()
    assert_idle(mutex)
    mutex._acquire_restore(saved)
    assert mutex._recursion_count() == 2
    mutex.release()
    mutex.release()
    with pytest.raises(RuntimeError, match="does not own"):
        mutex.release()
    assert_idle(mutex)


def test_a_forked_child_makes_it_new() -> None:
    """Held by a thread that is not there: as threading's own locks are. The guards that are left hold nothing."""
    mutex = ReentrantMutex("value", name="m")
    guards = in_thread(lambda: [mutex.lock().acquire(), mutex.lock().acquire(), mutex.acquire()]).join()

    def child() -> None:
        assert not mutex.acquire(False)
        mutex._at_fork_reinit()
        assert_idle(mutex)
        with mutex.lock() as guard:
            guards.pop(0).release()
            guards.clear()
            gc.collect()
            assert guard.depth == 1
            assert guard.value == "value"
            assert mutex.is_owned()
        assert_idle(mutex)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        in_child(child)
    assert mutex.locked()
    for guard in guards[:2]:
        guard.release()
    assert mutex.locked()  # a level without a guard, of a thread that has ended
    mutex._at_fork_reinit()
    assert_idle(mutex)


def test_a_child_that_a_task_forked_runs_no_loop() -> None:
    """What it inherits of the loop does not count: it is the thread."""
    mutex = ReentrantMutex()

    def child() -> None:
        assert not mutex.is_owned()
        assert not mutex.acquire(False)
        with ReentrantMutex() as entered:
            assert entered
        mutex._at_fork_reinit()
        with mutex:
            assert in_thread(mutex.is_owned).join() is False

    async def body() -> None:
        async with mutex:
            in_child(child)
            assert mutex.is_owned()

    asyncio.run(body())
    assert_idle(mutex)


def test_the_colour_of_a_hold_is_that_of_its_first_level() -> None:
    """For diagnosis: a thread's, whatever its task goes deeper with; levels without a guard are counted."""
    mutex: Any = ReentrantMutex()

    async def body() -> None:
        with mutex.lock():
            async with mutex.lock(), mutex:
                task, _thread, of_task, bare, number = mutex._owner_note
                assert (task, of_task, bare) == (asyncio.current_task(), False, 1)
        async with mutex.lock():
            with mutex.lock(), mutex, mutex:
                _, _, of_task, bare, later = mutex._owner_note
                assert (of_task, bare) == (True, 2)
        assert later != number

    asyncio.run(body())
    with mutex:
        assert (mutex._owner_note[0], mutex._owner_note[2:4]) == (None, (False, 1))
    assert mutex._owner_note is None
    assert_idle(mutex)


# --- of the other guards -------------------------------------------------------------------------------------------------


def test_a_level_is_no_guard_to_step_aside_with() -> None:
    """Other levels may be left: nobody else gets in by it."""
    mutex, condvar = ReentrantMutex(), Condvar()
    with mutex.lock() as guard:
        for name in ("bump", "_begin_change", "_end_change", "downgrade", "upgrade"):
            assert not hasattr(guard, name)
        with pytest.raises(TypeError, match="waits with a guard"):
            condvar.wait(guard, 0)  # type: ignore[call-overload]
        assert guard.is_held()
    assert_idle(mutex)


@native
def test_nothing_is_left_of_who_asked() -> None:
    """Not of a task, which is referred to weakly, nor in the note of the lock for diagnosis."""
    mutex: Any = ReentrantMutex()

    async def other() -> None:
        for _ in range(50):
            assert not mutex.acquire(timeout=0)
            assert mutex.try_lock() is None
            assert mutex.try_lock_for(0).acquire() is None
            assert await mutex.try_lock_for(0) is None
            assert await mutex.try_lock_for(1e-6) is None
            assert not mutex.is_owned()
            with pytest.raises(RuntimeError):
                mutex.release()

    async def body() -> None:
        me: Any = weakref.ref(asyncio.current_task())  # type: ignore[arg-type]
        before = sys.getrefcount(me)
        async with mutex:
            it = weakref.ref(task := asyncio.ensure_future(other()))
            beforehand = sys.getrefcount(it)
            await task
            assert sys.getrefcount(it) == beforehand
        for _ in range(50):
            with mutex, mutex.lock():
                async with mutex.lock():
                    await mutex
                    mutex.release()
        assert sys.getrefcount(me) == before + 1  # of the mutex, for the next time
        assert mutex._exclusive_holder is None

    asyncio.run(body())
    assert_idle(mutex)


class Plain:
    """A task of a loop that makes its own kind: without weak references."""

    __slots__ = ("gone",)

    def __init__(self, gone: list[bool]) -> None:
        self.gone = gone

    def __del__(self) -> None:
        self.gone.append(True)


def test_a_task_without_weak_references_owns_it_and_is_not_kept() -> None:
    mutex, gone = ReentrantMutex(), list[bool]()

    def callback(loop: Any) -> None:
        task: Any = Plain(gone)
        asyncio.tasks._enter_task(loop, task)
        try:
            with mutex, mutex.lock() as guard:
                assert guard.depth == 2
                assert mutex.is_owned()
            assert not mutex.is_owned()
        finally:
            asyncio.tasks._leave_task(loop, task)

    async def body() -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon(callback, loop)
        while not gone:
            await asyncio.sleep(0)
            gc.collect(0)

    asyncio.run(asyncio.wait_for(body(), WATCHDOG))
    assert_idle(mutex)
