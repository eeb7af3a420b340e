"""What tracking keeps: nothing for longer than a hold; with threads that fight, in a forked child, and around a deadlock."""

from __future__ import annotations

import asyncio
import copy
import gc
import itertools
import os
import pickle
import subprocess
import sys
import time
import weakref
from pathlib import Path
from typing import Any

import pytest

from aiolots import Mutex, ReentrantMutex, RwLock, _front, _pure_tracking, tracking
from tests.test_deadlock_reports import marked, run
from tests.test_scenarios_fork import in_child
from tests.tracking_world import line, locks_known, owners_known, records, tracked
from tests.waiting import assert_idle, in_thread, wait_until_parked
from tests.worlds import LoopThread, on_each_loop

__all__ = ["tracked"]  # a fixture


# --- nothing leaks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [RwLock, Mutex, ReentrantMutex])
def test_locks_are_forgotten(make: Any, tracked: None) -> None:
    gc.collect()
    before = locks_known()
    for _ in range(3):
        locks = [make(lock_class="forgotten" if i % 2 else None, track=i % 3 == 0) for i in range(300)]
        for lock in locks:
            with lock.write() if make is RwLock else lock:
                pass
        assert records() == 0
        del lock, locks
        gc.collect()
        assert locks_known() == before


def test_a_mutex_that_is_dropped_while_it_is_held(tracked: None) -> None:
    before = records()
    for make in (Mutex, ReentrantMutex):
        mutex = make()
        mutex.acquire()
        assert records() == before + 1
        del mutex
        gc.collect()
        assert records() == before


@on_each_loop
async def test_tasks_are_forgotten(tracked: None) -> None:
    lock = RwLock()

    async def holds() -> None:
        async with lock.read():
            await asyncio.sleep(0)

    for _ in range(20):
        tasks = [asyncio.create_task(holds()) for _ in range(200)]
        await asyncio.gather(*tasks)
        last = weakref.ref(tasks[-1])
        del tasks
    await asyncio.sleep(0)  # the loop has called the last one
    assert records() == 0
    gc.collect()
    assert last() is None
    assert owners_known() < 1000  # of 4000


@pytest.mark.filterwarnings("ignore:a write request:ResourceWarning")  # whichever is collected first, its guard or its task
def test_a_record_does_not_keep_a_task_alive(tracked: None) -> None:
    """A loop is dropped with a task that holds: the guard is collected, and releases."""
    lock = RwLock()
    loop = asyncio.new_event_loop()

    async def holds() -> None:
        async with lock.write():
            await asyncio.Event().wait()

    task = loop.create_task(holds())
    loop.call_soon(loop.stop)  # after the first step of the task
    loop.run_forever()
    assert len(tracking.holders(lock)) == 1
    gone = weakref.ref(task)
    loop.set_exception_handler(lambda *_: None)
    loop.close()
    del task, loop, holds
    gc.collect()
    assert gone() is None
    assert_idle(lock)
    assert tracking.holders(lock) == ()


def test_the_address_of_a_task_is_used_again(tracked: None) -> None:
    """A guard outlives the task that took it; a later task is another owner, wherever it is."""
    lock, other = RwLock(), Mutex()
    with LoopThread() as loop:
        kept = []

        async def takes() -> Any:
            return await lock.read()

        async def locks() -> str:
            async with other:
                (holder,) = tracking.holders(other)
                return holder.remark

        for _ in range(50):
            kept.append(loop.run(takes()))
            assert loop.run(locks()) == ""
        assert {holder.remark for holder in tracking.holders(lock)} == {"has ended"}
        assert tracking.inversions() == ()
        for guard in kept:
            loop.call(guard.release)
    assert records() == 0


# --- threads that fight ---------------------------------------------------------------------------------------------------


@pytest.mark.skipif(_front.NATIVE, reason="the C types have tables of their own")
def test_the_front_in_python_does_not_iterate_over_what_other_threads_add_to(
    tracked: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Changing(weakref.WeakSet[Any]):
        def __iter__(self) -> Any:
            raise RuntimeError("Set changed size during iteration")

    monkeypatch.setattr(_pure_tracking, "_every_note", Changing())
    lock = Mutex()
    with lock:
        assert len(tracking.holders(lock)) == 1
        assert len(_pure_tracking.track_records(None, 10)[0]) == 1
        assert _pure_tracking.track_count()[2] == 1


def test_everybody_at_once(tracked: None) -> None:
    """Threads and tasks take and release, in all modes, give guards to each other, and look; in the end nothing is noted."""
    locks: list[Any] = [RwLock(), RwLock(track=True), Mutex(), ReentrantMutex(), Mutex(lock_class="fought for")]
    end = time.monotonic() + 1
    rounds = itertools.count()

    def work() -> None:
        while time.monotonic() < end:
            for lock in locks:
                if isinstance(lock, RwLock):
                    with lock.read():
                        pass
                    if (upgradable := lock.try_upgradable_read()) is not None:
                        if (writer := upgradable.try_upgrade()) is not None:
                            writer.downgrade_to_upgradable()
                        upgradable.release()
                else:
                    with lock:
                        pass
                if (guard := lock.try_write() if isinstance(lock, RwLock) else lock.try_lock()) is not None:
                    given = in_thread(guard.release) if next(rounds) % 50 == 0 else None
                    if given is None:
                        guard.release()
                    else:
                        given.join()
                for holder in tracking.holders(lock):
                    assert holder.place
                short: Any = Mutex()
                with short, short.__class__():
                    pass

    async def work_as_tasks() -> None:
        async def one() -> None:
            while time.monotonic() < end:
                for lock in locks:
                    async with lock.write() if isinstance(lock, RwLock) else lock:
                        await asyncio.sleep(0)

        await asyncio.gather(*(one() for _ in range(3)))

    threads = [in_thread(work) for _ in range(3)] + [in_thread(asyncio.run, work_as_tasks())]
    for thread in threads:
        thread.join()
    assert_idle(*locks)
    assert [tracking.holders(lock) for lock in locks] == [()] * len(locks)
    assert records() == 0


def test_switched_on_and_off_all_the_time() -> None:
    locks: list[Any] = [RwLock(), Mutex()]
    end = time.monotonic() + 0.5

    def work() -> None:
        while time.monotonic() < end:
            with locks[0].write(), locks[1]:
                pass
            with locks[1].lock(), locks[0].read():
                pass

    threads = [in_thread(work)]
    try:
        while time.monotonic() < end:
            tracking.enable()
            tracking.disable()
            if time.monotonic() % 0.01 < 0.001:
                tracking.reset()
    finally:
        tracking.disable()
    for thread in threads:
        thread.join()
    assert records() == 0
    tracking.reset()


# --- fork -------------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_knows_who_held(tracked: None) -> None:
    mine, theirs, waits = Mutex(name="mine"), RwLock(name="theirs"), Mutex()

    def holds() -> None:
        with theirs.write(), waits:
            pass

    with waits, mine.lock() as guard:
        place = line(-1)
        thread = in_thread(holds)
        wait_until_parked(waits, 1)

        def child() -> None:
            (own,) = tracking.holders(mine)
            assert (own.remark, own.kind, own.place) == ("", "thread", place)
            assert own.stack
            (other,) = tracking.holders(theirs)
            assert (other.remark, other.mode) == ("of the parent process, before the fork", "write")
            assert other.stack == ()
            guard.release()
            assert tracking.holders(mine) == ()
            with mine, RwLock().write():
                assert len(tracking.holders(mine)) == 1
            new = Mutex()
            assert in_thread(lambda: (new.acquire(), tracking.holders(new)[0].remark, new.release())[1]).join() == ""

        in_child(child)
        assert tracking.holders(theirs)[0].remark == ""
    thread.join()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_the_lock_order_goes_on_in_a_forked_child(tracked: None) -> None:
    a, b = Mutex(name="A"), Mutex(name="B")
    with a, b:
        pass

    def child() -> None:
        with b, a:
            pass
        assert len(tracking.inversions()) == 1

    in_child(child)
    assert tracking.inversions() == ()


# --- around it --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["", "0", "1"])
def test_the_environment(value: str) -> None:
    says = "import aiolots; print(aiolots.tracking.is_enabled())"
    done = subprocess.run(
        [sys.executable, "-c", says],
        env=os.environ | {"AIOLOTS_TRACK": value},
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.strip() == str(value == "1")


def test_copies_are_tracked_as_the_original_is(tracked: None) -> None:
    tracking.disable()
    for make in (RwLock, Mutex, ReentrantMutex):
        for lock in (make(5, name="n", track=True, lock_class="copied"), make(5, name="n")):
            for again in (copy.copy(lock), copy.deepcopy(lock), pickle.loads(pickle.dumps(lock))):
                guard = again._try_alone()
                assert len(tracking.holders(again)) == (1 if lock.name and _is_tracked(lock) else 0)
                guard.release()
                assert again.name == "n"


def _is_tracked(lock: Any) -> bool:
    guard = lock._try_alone()
    found = bool(tracking.holders(lock))
    guard.release()
    return found


@pytest.mark.parametrize("kind", ["two_threads", "two_readers_want_to_write"])
def test_a_deadlocks_report_says_where_a_thread_took_it(kind: str) -> None:
    done = run(kind, AIOLOTS_TRACK="1")
    assert done.returncode == 0, done.stderr
    for number in marked(kind)["HOLDS"]:
        said = [line for line in done.stdout.splitlines() if "), asked for at " in line]
        assert any(f"deadlocks.py:{number} in" in line for line in said), done.stdout
