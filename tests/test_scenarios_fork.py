"""R36: fork(), whatever the other threads and the loops are doing."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiolots import Mutex, RwLock, lowlevel
from aiolots._lib import ffi, lib
from tests.test_scenarios_loops import each_loop, no_revocation, take, take_in_task
from tests.test_scenarios_wakes import compiled
from tests.worlds import (
    LOOPS,
    LoopThread,
    Stuck,
    assert_idle,
    in_thread,
    outcome_of,
    wait_until,
    wait_until_parked,
)

__all__ = ["no_revocation"]  # a fixture


def in_child(function: Callable[[], None]) -> None:
    """Fork, call the function in the child, and wait for that: AssertionError if it raises, Stuck if it does not end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12+: this process has threads, and that is the point
        child = os.fork()
    if child == 0:
        status = 1
        try:
            function()
            status = 0
        except BaseException:  # noqa: BLE001
            traceback.print_exc(file=sys.__stderr__)
        finally:
            os._exit(status)
    ended: list[int] = []

    def has_ended() -> bool:
        ended[:] = os.waitpid(child, os.WNOHANG)
        return ended[0] == child

    try:
        wait_until(has_ended, "a forked child does not end")
    except Stuck:
        os.kill(child, signal.SIGABRT)  # pytest's faulthandler shows where it is
        os.waitpid(child, 0)
        raise
    assert os.waitstatus_to_exitcode(ended[1]) == 0


def usable(*locks: Any) -> None:
    """Check that free locks work, contended, for threads and for tasks of new loops of each kind."""
    for lock in locks:
        assert_idle(lock)
        for kind in LOOPS:
            with LoopThread(kind) as loop:
                guard = lock.write().acquire()
                behind = [in_thread(take, lock.write), in_thread(take, lock.read)]
                tasks = [loop.submit(take_in_task(lock.write)), loop.submit(take_in_task(lock.read))]
                wait_until_parked(lock, 4)
                guard.release()
                for thread in behind:
                    thread.join()
                for task in tasks:
                    outcome_of(task)
        assert_idle(lock)


def test_r36_fork_while_another_thread_holds() -> None:
    """What was held stays held; timed acquires tell. The forking thread's own guard is released as ever."""
    held, own, free = RwLock(), RwLock(), RwLock()
    go, ready = threading.Event(), threading.Event()

    def hold() -> None:
        with held.write():
            ready.set()
            go.wait()

    thread = in_thread(hold)
    ready.wait()
    guard = own.write().acquire()

    def child() -> None:
        assert held.try_write_for(0.01).acquire() is None
        assert held.is_locked_exclusive()
        assert lowlevel.waiters() == []
        guard.release()
        usable(own, free)

    in_child(child)
    go.set()
    thread.join()
    guard.release()
    assert_idle(held, own, free)


@each_loop
def test_r36_fork_while_threads_and_tasks_wait(kind: str) -> None:
    """The child has nobody in its queues; in the parent all goes on."""
    lock = RwLock()
    guard = lock.write().acquire()
    with LoopThread(kind) as loop:
        threads = [in_thread(take, lock.write), in_thread(take, lock.read)]
        tasks = [loop.submit(take_in_task(lock.write)), loop.submit(take_in_task(lock.read))]
        wait_until_parked(lock, 4)

        def child() -> None:
            assert lowlevel.waiters() == []
            assert lock.word == 8
            guard.release()
            usable(lock)

        in_child(child)
        wait_until_parked(lock, 4)
        guard.release()
        for thread in threads:
            thread.join()
        for task in tasks:
            outcome_of(task)
    assert_idle(lock)


@each_loop
def test_r36_fork_gives_back_what_nobody_can_use(kind: str, no_revocation: None) -> None:
    """A thread's draining writer, a lock handed to a task that has not run: in the child both are gone, bits and all."""
    drained, handed, shared = RwLock(), Mutex(), RwLock()
    reader, owner, writer = drained.read().acquire(), handed.lock().acquire(), shared.write().acquire()
    with LoopThread(kind) as loop:
        draining = in_thread(take, drained.write)
        wait_until_parked(drained, 1)
        waiting = [loop.submit(take_in_task(handed.lock)), loop.submit(take_in_task(shared.read))]
        wait_until_parked(handed, 1)
        wait_until_parked(shared, 1)
        loop.stop()
        owner.release_fair()
        writer.release_fair()
        assert handed.is_locked()
        assert shared.reader_count() == 1

        def child() -> None:
            assert drained.word == 16
            take(drained.read)
            reader.release()
            assert_idle(handed)
            take(handed.lock)
            usable(drained, shared)

        in_child(child)
        loop.start()
        for task in waiting:
            outcome_of(task)
        reader.release()
        draining.join()
    assert_idle(drained, handed, shared)


@each_loop
def test_r36_child_has_a_keeper_of_its_own(kind: str) -> None:
    """The thread that revokes wakes is not forked: the child starts another when it needs one."""

    def stopped_loop() -> None:
        lock = RwLock()
        guard = lock.write().acquire()
        with LoopThread(kind) as loop:
            waiting = loop.submit(take_in_task(lock.write))
            wait_until_parked(lock, 1)
            loop.stop()
            behind = in_thread(take, lock.write)
            wait_until_parked(lock, 2)
            guard.release()
            behind.join()
            loop.start()
            outcome_of(waiting)
        assert_idle(lock)

    stopped_loop()
    in_child(stopped_loop)
    in_child(lambda: in_child(stopped_loop))


@pytest.mark.skipif(
    not getattr(sys, "_is_gil_enabled", lambda: True)(),
    reason="a thread that a free-threaded CPython has stopped for the fork may have been given one of the interpreter's own "
    "object locks just then: the child may wait for it for ever, whatever locks it was about; see the native hammer below",
)
def test_r36_fork_while_locks_are_hammered() -> None:
    """Wherever the other threads are, in a bucket's critical section too, the child can walk every bucket."""
    locks = [RwLock() for _ in range(4)]
    stop = threading.Event()

    def hammer(i: int, locks: list[RwLock[None]], stop: threading.Event) -> None:
        n = i
        while not stop.is_set():
            n += 1
            with locks[n % 4].try_write_for(20e-6):
                pass
            take(locks[(n + 1) % 4].read)

    def child() -> None:
        assert lowlevel.waiters() == []  # takes every bucket's lock
        for lock in locks:
            with lock.try_write_for(0.001):
                pass
        mine = RwLock()
        guard = mine.write().acquire()
        behind = in_thread(take, mine.write)
        wait_until_parked(mine, 1)
        guard.release()
        behind.join()

    threads = [in_thread(hammer, i, locks, stop) for i in range(4)]
    try:
        for _ in range(30):
            in_child(child)
    finally:
        stop.set()
    for thread in threads:
        thread.join()
    assert_idle(*locks)


HAMMER = """
#include <pthread.h>
#include "api.h"

static __typeof__(&lots_op_init) init;
static __typeof__(&lots_op_poll) poll;
static __typeof__(&lots_op_cancel) cancel;
static lots_word word = {8};
static int stop;

static void *run(void *unused)
{
    lots_op op;
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        init(&op, &word, LOTS_WRITE, NULL, 0, 0);
        poll(&op);
        cancel(&op, LOTS_BY_CANCEL, NULL);
    }
    return unused;
}

static pthread_t thread;

int start(uintptr_t i, uintptr_t p, uintptr_t c)
{
    init = (__typeof__(init))i;
    poll = (__typeof__(poll))p;
    cancel = (__typeof__(cancel))c;
    return pthread_create(&thread, NULL, run, NULL);
}

void end(void)
{
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
}
"""


def test_r36_fork_in_the_middle_of_a_critical_section(tmp_path: Path) -> None:
    """A thread without the GIL queues and leaves all the time: it has a bucket's lock at every other fork, or so."""
    hammer = compiled(HAMMER, tmp_path)
    hammer.start.argtypes = [ctypes.c_size_t] * 3
    names = ("lots_op_init", "lots_op_poll", "lots_op_cancel")
    assert hammer.start(*(int(ffi.cast("uintptr_t", ffi.addressof(lib, name))) for name in names)) == 0

    def child() -> None:
        assert lowlevel.waiters() == []  # takes every bucket's lock

    try:
        for _ in range(30):
            in_child(child)
    finally:
        hammer.end()
    assert lowlevel.waiters() == []
