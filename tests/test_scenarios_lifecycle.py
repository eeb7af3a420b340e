"""R05 on loops, and the lives of loops: closed with tasks that wait, collected, thousands of them, odd ones."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import signal
import warnings
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from aiolots import RwLock, _loops, lowlevel
from tests.test_scenarios_loops import PROMPTLY, each_loop, no_revocation, policy, take, take_in_task
from tests.worlds import (
    LOOPS,
    WATCHDOG,
    LoopThread,
    assert_idle,
    in_thread,
    outcome_of,
    wait_until,
    wait_until_parked,
)

__all__ = ["no_revocation"]  # a fixture

# --- R05: Ctrl-C on a loop --------------------------------------------------------------------------------------------


@each_loop
@pytest.mark.parametrize("sync", [False, True], ids=["task", "sync-acquire"])
def test_r05_ctrl_c_while_a_loop_waits(kind: str, sync: bool) -> None:
    """SIGINT ends the wait of the main task; a reader of another thread is in at once.

    A Runner answers the first SIGINT by cancelling its task. A sync acquire in that task stops at the second.
    """
    lock = RwLock()
    reader = lock.read().acquire()

    async def main() -> None:
        if sync:
            lock.try_write_for(WATCHDOG).acquire()
        else:
            await lock.write()

    def interrupt(runner: Any) -> None:
        wait_until_parked(lock, 1)
        os.kill(os.getpid(), signal.SIGINT)
        if sync:
            wait_until(lambda: runner._interrupt_count == 1)
            wait_until_parked(lock, 1)  # again: it leaves the queue while handlers run
            os.kill(os.getpid(), signal.SIGINT)

    with policy("allow"), pytest.raises(KeyboardInterrupt), asyncio.Runner(loop_factory=LOOPS[kind]) as runner:
        helper = in_thread(interrupt, runner)
        runner.run(main())
    helper.join()
    in_thread(take, lock.read).join(PROMPTLY)
    reader.release()
    assert_idle(lock)


# --- the end of loops -------------------------------------------------------------------------------------------------


@each_loop
def test_closing_a_loop_withdraws_its_tasks_at_once(kind: str, no_revocation: None) -> None:
    lock, drained = RwLock(), RwLock()
    guard, reader = lock.write().acquire(), drained.read().acquire()
    loop = LoopThread(kind)
    for i in range(5):
        loop.submit(take_in_task(lock.write))
        wait_until_parked(lock, i + 1)
    loop.submit(take_in_task(drained.write))
    wait_until_parked(drained, 1)
    loop.close(cancel=False)
    assert lowlevel.waiters(lock) == []
    assert lowlevel.waiters(drained) == []
    assert (lock.word, drained.word) == (8, 16)
    guard.release()
    reader.release()
    assert_idle(lock, drained)


def abandoned_loop(kind: str, lock: Any, *, close: bool) -> weakref.ref[asyncio.AbstractEventLoop]:
    """Make a loop with a task that waits for the lock, end it there, and drop it."""
    loop = LOOPS[kind]()
    task = loop.create_task(take_in_task(lock.write))
    loop.run_until_complete(asyncio.sleep(0))
    wait_until_parked(lock, 1)
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    if close:
        loop.close()
    return weakref.ref(loop)


@pytest.mark.parametrize(
    ("kind", "close"),
    # A uvloop loop that was not closed is never collected, whether aiolots knows it or not.
    [("asyncio", True), ("uvloop", True), ("asyncio", False)],
    ids=["asyncio-closed", "uvloop-closed", "asyncio-dropped"],
)
def test_loop_with_unfinished_tasks_is_collected(kind: str, close: bool, no_revocation: None) -> None:
    """Nothing of aiolots keeps a loop alive: closed or not, when it is dropped it goes, and its waiters with it."""
    lock = RwLock()
    guard = lock.write().acquire()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # an unclosed loop: that is the point
        gone = abandoned_loop(kind, lock, close=close)
        for _ in range(3):
            gc.collect()
    assert gone() is None, f"kept by {[type(by) for by in gc.get_referrers(gone())]}"
    assert lowlevel.waiters(lock) == []
    guard.release()
    in_thread(take, lock.write).join(PROMPTLY)
    assert_idle(lock)


def descriptors_and_ports() -> tuple[int, int]:
    return len(os.listdir("/proc/self/fd")), sum(type(found) is _loops.Port for found in gc.get_objects())


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
@each_loop
@pytest.mark.parametrize("finished", [True, False], ids=["finished", "unfinished"])
def test_a_thousand_loops_leak_nothing(kind: str, finished: bool) -> None:
    """Each with a task that waits: no descriptor is left, no port."""
    lock = RwLock()

    async def contend(guard: Any) -> None:
        other = asyncio.ensure_future(take_in_task(lock.write))
        await asyncio.sleep(0)
        assert len(lowlevel.waiters(lock)) == 1
        if finished:
            guard.release()
            await other
        other._log_destroy_pending = False  # type: ignore[attr-defined]

    def some_loops(count: int) -> None:
        for _ in range(count):
            guard = lock.write().acquire()
            loop = LOOPS[kind]()
            loop.run_until_complete(contend(guard))
            loop.close()
            if not finished:
                guard.release()
        del loop
        gc.collect()

    some_loops(10)
    before = descriptors_and_ports()
    some_loops(1000)
    assert descriptors_and_ports() == before
    assert_idle(lock)


# --- loops without add_reader -----------------------------------------------------------------------------------------


class NoReaders(asyncio.SelectorEventLoop):
    """A loop that cannot watch a descriptor, as Windows' proactor cannot."""

    def add_reader(self, *_: Any) -> None:
        raise NotImplementedError

    def remove_reader(self, *_: Any) -> bool:
        raise NotImplementedError


@pytest.fixture
def without_readers() -> Iterator[LoopThread]:
    LOOPS["no readers"] = NoReaders
    try:
        yield LoopThread("no readers")
    finally:
        del LOOPS["no readers"]


def test_loop_without_add_reader(without_readers: LoopThread, no_revocation: None) -> None:
    """A thread watches the mailbox for it; its end is noticed too, if not at once."""
    lock = RwLock()
    with without_readers as loop:
        for _ in range(50):
            guard = lock.write().acquire()
            waiting = [loop.submit(take_in_task(request)) for request in (lock.read, lock.write, lock.read)]
            wait_until_parked(lock, 3)
            guard.release()
            for one in waiting:
                outcome_of(one, PROMPTLY)
        guard = lock.write().acquire()
        loop.submit(take_in_task(lock.write))
        wait_until_parked(lock, 1)
        loop.close(cancel=False)
        wait_until_parked(lock, 0)
        guard.release()
    assert_idle(lock)


def test_loop_without_add_reader_and_a_high_descriptor(without_readers: LoopThread, no_revocation: None) -> None:
    """select(2) ends at descriptor 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2048:
        pytest.skip("not so many descriptors to be had")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    lock = RwLock()
    guard = lock.write().acquire()
    with contextlib.ExitStack() as opened, without_readers as loop:
        opened.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        while (descriptor := os.open(os.devnull, os.O_RDONLY)) < 1100:
            opened.callback(os.close, descriptor)
        opened.callback(os.close, descriptor)
        waiting = loop.submit(take_in_task(lock.write))
        wait_until_parked(lock, 1)
        guard.release()
        outcome_of(waiting, PROMPTLY)
    assert_idle(lock)


def test_loop_without_add_reader_is_collected() -> None:
    """The thread that watches does not keep a loop that was dropped without being closed."""
    LOOPS["no readers"] = NoReaders
    lock = RwLock()
    guard = lock.write().acquire()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gone = abandoned_loop("no readers", lock, close=False)
            wait_until(lambda: gc.collect() >= 0 and gone() is None, seconds=5)
    finally:
        del LOOPS["no readers"]
    wait_until_parked(lock, 0)
    guard.release()
    assert_idle(lock)
