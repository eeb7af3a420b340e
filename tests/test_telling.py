"""Who tells what the wait graph cannot look at with the GIL off: loops that answer, and loops and threads that stand still.

With the GIL the same cases are looked at directly; what is no deadlock is none there either.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from aiolots import FairMutex, Mutex, RwLock, _telling, _watched, deadlock, lowlevel, set_loop_block_policy
from tests.waiting import InThread, assert_idle, in_thread, parked, wait_until, wait_until_parked
from tests.worlds import LoopThread

GIL = getattr(sys, "_is_gil_enabled", lambda: True)()
OFF = pytest.mark.skipif(GIL, reason="nobody has to tell")


@pytest.fixture
def loops() -> Iterator[list[LoopThread]]:
    both = [LoopThread(), LoopThread()]
    yield both
    for loop in both:
        loop.close()


@pytest.fixture(autouse=True)
def waits_that_are_certain_wait() -> Iterator[None]:
    before, policy = deadlock.set_immediate(False), set_loop_block_policy("allow")
    yield
    deadlock.set_immediate(before)
    set_loop_block_policy(policy)


class Busy:
    """A callback that a loop does not come back from until it may."""

    def __init__(self, loop: LoopThread) -> None:
        self._begun, self._may_end = threading.Event(), threading.Event()
        loop.loop.call_soon_threadsafe(self._be_busy)
        assert self._begun.wait(20)

    def _be_busy(self) -> None:
        self._begun.set()
        self._may_end.wait(60)

    def end(self) -> None:
        self._may_end.set()


def thread_that_waits_for(a: Any, b: Any) -> InThread[None]:
    """It holds b, and waits for a."""

    def take() -> None:
        with b.lock(), a.lock():
            pass

    thread = in_thread(take)
    wait_until_parked(a, 1)
    return thread


def crossed(loop: LoopThread, hand_on: Any = None) -> tuple[Mutex[None], Mutex[None], asyncio.Task[None], InThread[None]]:
    """A task holds a and waits for b, a thread holds b and waits for a."""
    a, b = Mutex(name="a"), Mutex(name="b")
    go = asyncio.Event()

    async def take() -> None:
        async with a.lock() as guard:
            if hand_on is not None:
                hand_on(a, guard)
            del guard
            await go.wait()
            async with b.lock():
                pass

    task = loop.call(lambda: loop.start_task(take()))
    wait_until(a.is_locked)
    thread = thread_that_waits_for(a, b)
    loop.call(go.set)
    wait_until_parked(b, 1)
    return a, b, task, thread


def dissolve(loop: LoopThread, task: asyncio.Task[None], thread: InThread[None]) -> None:
    loop.call(task.cancel)
    thread.join()


def test_a_loop_that_answers_is_seen(loops: list[LoopThread]) -> None:
    a, b, task, thread = crossed(loops[0])
    found: list[deadlock.Cycle] = []
    wait_until(lambda: found.extend(deadlock.check()) or found)
    [cycle] = found
    assert sorted(owner.kind for owner in cycle.owners) == ["task", "thread"]
    dissolve(loops[0], task, thread)
    wait_until(lambda: deadlock.check() == [])
    assert_idle(a, b)


@OFF
def test_of_a_loop_that_does_not_answer_nothing_is_said_until_it_does(loops: list[LoopThread]) -> None:
    a, b, task, thread = crossed(loops[0])
    busy = Busy(loops[0])
    assert deadlock.check() == []
    questions = list(_telling._open.values())
    assert deadlock.check() == []
    assert list(_telling._open.values()) == questions  # the one that is not answered yet is not put again
    busy.end()
    wait_until(lambda: len(deadlock.check()) == 1)
    dissolve(loops[0], task, thread)
    wait_until(task.done)
    assert_idle(a, b)


def test_a_guard_that_a_task_of_a_busy_loop_has_too_is_not_held_for_ever(loops: list[LoopThread]) -> None:
    """The task of the cycle handed its guard to one of another loop, which does not answer: that one could release it."""
    go, kept = asyncio.Event(), threading.Event()

    async def keep(guard: Any) -> None:
        kept.set()
        await go.wait()
        del guard

    def hand_on(_lock: Any, guard: Any) -> None:
        loops[1].loop.call_soon_threadsafe(lambda: loops[1].start_task(keep(guard)))

    a, b, task, thread = crossed(loops[0], hand_on)
    assert kept.wait(20)
    busy = Busy(loops[1])
    assert deadlock.check() == []
    busy.end()
    assert loops[1].call(deadlock.check) == []
    loops[1].call(go.set)
    wait_until(lambda: len(deadlock.check()) == 1)  # now nobody else has it
    dissolve(loops[0], task, thread)
    wait_until(task.done)
    assert_idle(a, b)


def test_another_loop_that_is_busy_is_in_nobodys_way(loops: list[LoopThread]) -> None:
    """Nothing but the tasks of the cycle refers to its guards."""
    a, b, task, thread = crossed(loops[0])
    loops[1].call(lambda: loops[1].start_task(asyncio.Event().wait()))
    busy = Busy(loops[1])
    wait_until(lambda: len(deadlock.check()) == 1)
    busy.end()
    dissolve(loops[0], task, thread)
    wait_until(task.done)
    assert_idle(a, b)


def test_a_loop_asks_while_it_is_part_of_it(loops: list[LoopThread]) -> None:
    a, b, task, thread = crossed(loops[0])
    assert len(loops[0].call(deadlock.check)) == 1
    dissolve(loops[0], task, thread)
    wait_until(task.done)
    assert_idle(a, b)


@OFF
def test_what_was_told_is_taken_back(loops: list[LoopThread]) -> None:
    lock = RwLock(name="held")

    async def takes_it_as_a_thread_does() -> None:
        with lock.read():
            pass

    with lock.write():
        thread = in_thread(lambda: lock.read().acquire().release())
        task = loops[0].submit(takes_it_as_a_thread_does())
        wait_until_parked(lock, 2)
        assert loops[0].thread.ident is not None
        idents = {thread.ident, loops[0].thread.ident}
        wait_until(lambda: idents <= set(_watched.standing) and loops[0].thread.ident in _watched.standing_loops)
        assert thread.ident not in _watched.standing_loops
        wait_until_parked(lock, 2)
    thread.join()
    task.result(20)
    assert not _watched.standing
    assert not _watched.standing_loops
    assert not _watched.telling
    assert_idle(lock)


def test_the_thread_of_a_loop_that_tells_keeps_its_place(loops: list[LoopThread]) -> None:
    lock, order = FairMutex(name="fair"), list[str]()

    async def of_a_loop() -> None:
        with lock.lock():
            order.append("loop")

    def other() -> None:
        with lock.lock():
            order.append("thread")

    with lock.lock():
        task = loops[0].submit(of_a_loop())
        wait_until_parked(lock, 1)
        thread = in_thread(other)
        wait_until_parked(lock, 2)
        if not GIL:
            wait_until(lambda: loops[0].thread.ident in _watched.standing_loops)
        wait_until_parked(lock, 2)
    task.result(20)
    thread.join()
    assert order == ["loop", "thread"]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_been_told_nothing() -> None:
    lock: Mutex[None] = Mutex(name="held")
    with lock.lock():
        thread = in_thread(lambda: lock.lock().acquire().release())
        wait_until_parked(lock, 1)
        wait_until(lambda: GIL or thread.ident in _watched.standing)
        child = os.fork()
        if not child:
            os._exit(0 if not _watched.standing and deadlock.check() == [] else 1)
        assert os.waitpid(child, 0)[1] == 0
    thread.join()


def test_a_join_of_a_thread_that_can_run_is_no_deadlock() -> None:
    lock: Mutex[None] = Mutex(name="held")
    may_end = threading.Event()
    child = in_thread(lambda: may_end.wait(60))

    def waits() -> None:
        with lock.lock():
            child.thread.join()

    parent = in_thread(waits)
    wait_until(lock.is_locked)
    other = in_thread(lambda: lock.lock().acquire().release())
    wait_until_parked(lock, 1)
    for _ in range(5):
        assert deadlock.check() == []
    may_end.set()
    for thread in (child, parent, other):
        thread.join()
    assert_idle(lock)


def test_a_join_with_a_limit_is_no_deadlock() -> None:
    lock: Mutex[None] = Mutex(name="held")
    joins = threading.Event()

    def parent() -> None:
        with lock.lock():
            child = in_thread(lambda: lock.lock().acquire().release())
            wait_until_parked(lock, 1)
            joins.set()
            child.thread.join(1)
        child.join()

    thread = in_thread(parent)
    assert joins.wait(20)
    while not thread.done() and parked(lock):
        assert deadlock.check() == []
    thread.join()
    assert lowlevel.waiters() == []
