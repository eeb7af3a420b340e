"""A ReentrantMutex used by threads and tasks at the same time, its guards released by others. Its twin: explorer/levels.c."""

from __future__ import annotations

import asyncio
import gc
import itertools
import queue
import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from aiolots import ReentrantMutex, _front
from tests import tasks
from tests.test_regressions_races import FREE_THREADED, short_slices, side_by_side
from tests.worlds import WATCHDOG, LoopThread, assert_idle, in_thread, new_loop

ROUNDS = 8000 if _front.NATIVE else 300
RACES = (20_000 if FREE_THREADED else 1000) if _front.NATIVE else 100


class Ground:
    """What a mutex protects: who is in, and how often somebody was."""

    def __init__(self) -> None:
        self.who: object = None
        self.times = 0

    def visit(self, who: object, meanwhile: Callable[[], Any] = lambda: None) -> None:
        """Be in alone, with a level of one's own."""
        self.who = who
        before = self.times
        meanwhile()
        assert self.who is who
        self.times = before + 1


class Releasers:
    """Threads that release the guards which they are given."""

    def __init__(self, count: int) -> None:
        self.given: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.threads = [in_thread(self._release) for _ in range(count)]

    def _release(self) -> None:
        while (guard := self.given.get()) is not None:
            guard.release()

    def close(self) -> None:
        """Wait until all are released."""
        for _ in self.threads:
            self.given.put(None)
        for thread in self.threads:
            thread.join()


def in_a_thread(mutex: ReentrantMutex[Ground], releasers: Releasers, seed: int) -> int:
    """Take it, deeper, and give the guards away; in a thread. Returns how often it was in."""
    chosen, me = random.Random(seed), object()
    for i in range(ROUNDS):
        guard = mutex.lock().acquire()
        guard.value.visit(me)
        outer = guard if chosen.random() < 0.5 else None
        if outer is not None:
            releasers.given.put(guard)  # and go deeper, or in anew
        with mutex:
            assert mutex.is_owned()
            inner = mutex.try_lock()
            assert inner is not None
            assert inner.depth >= 2
            inner.value.visit(me)
            (releasers.given.put if i % 3 else type(inner).release)(inner)
        if outer is None:
            guard.release()
    return 2 * ROUNDS


async def in_a_task(mutex: ReentrantMutex[Ground], releasers: Releasers, seed: int) -> int:
    """The same in a task, which lets others run meanwhile."""
    chosen, me = random.Random(seed), object()
    for _ in range(ROUNDS // 4):
        guard = await mutex.lock()
        guard.value.visit(me)
        if chosen.random() < 0.3:
            await tasks.pause()
            guard.value.visit(me)
        else:
            guard.value.visit(me)
        releasers.given.put(guard)
        async with mutex, mutex.lock() as inner:
            await tasks.pause()
            inner.value.visit(me)
            assert mutex.is_owned()
    return 3 * (ROUNDS // 4)


@pytest.mark.parametrize("kinds", [("asyncio", "uvloop"), ("asyncio", "trio")], ids="-".join)
def test_threads_and_tasks_and_who_releases_for_them(kinds: tuple[str, str]) -> None:
    mutex, seeds = ReentrantMutex(Ground()), itertools.count()
    releasers = Releasers(2)
    loops = [new_loop(kind) for kind in kinds]
    with short_slices():
        futures = [loop.submit(in_a_task(mutex, releasers, next(seeds))) for loop in loops for _ in range(2)]
        threads = [in_thread(in_a_thread, mutex, releasers, next(seeds)) for _ in range(3)]
        visits = sum(thread.join(60) for thread in threads) + sum(future.result(60) for future in futures)
        releasers.close()
    for loop in loops:
        loop.close()
    assert mutex.get_mut().times == visits
    assert_idle(mutex)


def test_the_owner_enters_while_its_last_guard_is_released() -> None:
    """Each time as nearly at the same time as can be; and a third thread wants it."""
    mutex = ReentrantMutex(Ground())
    guards: queue.SimpleQueue[Any] = queue.SimpleQueue()
    taken, stop = [0], threading.Event()

    def third() -> None:
        me = object()
        while not stop.is_set():
            time.sleep(0)  # there are two others
            if (guard := mutex.try_lock()) is not None:
                guard.value.visit(me)
                taken[0] += 1
                assert guard.depth == 1
                guard.release()

    def enters(_: int) -> None:
        me = mutex
        with mutex.lock() as guard:
            assert guard.depth >= 1  # more, where one is ahead of the other
            guard.value.visit(me)
        guards.put(mutex.lock().acquire())

    def releases(_: int) -> None:
        guards.get(timeout=WATCHDOG).release()

    other = in_thread(third)
    guards.put(mutex.lock().acquire())
    try:
        side_by_side(RACES, enters, releases)
    finally:
        stop.set()
    other.join()
    guards.get().release()
    assert mutex.get_mut().times == RACES + taken[0]
    assert_idle(mutex)


def test_of_many_releases_of_one_guard_each_time_one_succeeds() -> None:
    mutex = ReentrantMutex()
    guards = [mutex.lock().acquire() for _ in range(RACES)]
    done = [0, 0]

    def release(which: int) -> Callable[[int], None]:
        def once(i: int) -> None:
            with suppress(RuntimeError):
                guards[i].release()
                done[which] += 1

        return once

    side_by_side(RACES, release(0), release(1))
    assert sum(done) == RACES
    assert_idle(mutex)


def test_who_looks_at_it_meanwhile_sees_an_owner_or_none() -> None:
    """Diagnosis of a mutex whose owners are tasks that come and go, while the collector runs."""
    mutex = ReentrantMutex(name="m")
    stop, seen = threading.Event(), [0]

    def looks() -> None:
        while not stop.is_set():
            repr(mutex)
            seen[0] += len(mutex._holder_list())
            note = mutex._owner_note
            assert note is None or len(note) == 5
            assert not mutex.is_owned()
            with suppress(RuntimeError):
                mutex.release()
                raise AssertionError

    async def owns() -> None:
        async with mutex:
            await tasks.pause()

    async def comes_and_goes() -> None:
        rounds = 0
        while rounds < ROUNDS // 20 or (seen[0] < 50 and not watcher.done()):
            rounds += 1
            await asyncio.gather(owns(), owns())
            if rounds % 50 == 0:
                gc.collect(0)

    watcher = in_thread(looks)
    with LoopThread("asyncio") as loop, short_slices():
        loop.run(comes_and_goes(), 60)
    stop.set()
    watcher.join()
    assert_idle(mutex)
