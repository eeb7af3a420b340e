"""Forks at random moments, while others hold and wait: the child must be able to use its locks, and to end."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import os
import random
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from aiolots import Mutex, RwLock, lowlevel
from tests.stress.ghost import Ghost, Worker
from tests.stress.tasks import NewLoop
from tests.stress.threads import Lock

LIMIT = 15.0  # seconds that a child may take
PAUSE = 0.05  # seconds between two forks, at most
TICK = 0.001
HOLDS = ("nothing", "a share", "the lock", "the mutex")


def can_fork() -> bool:
    """Whether a fork stops the other threads' Python. A free-threaded 3.13 does not: its own locks may be left held."""
    return hasattr(os, "fork") and getattr(sys, "_is_gil_enabled", lambda: True)()


def forks(lock: Lock, mutex: Mutex[Ghost], new_loop: NewLoop, seed: int, wrong: list[str]) -> Callable[[Worker], None]:
    """Make a thread's step: fork, holding this or that; the child goes through `use`."""
    choices = random.Random(seed)

    def step(worker: Worker) -> None:
        time.sleep(choices.uniform(0, PAUSE))
        holds = choices.choice(HOLDS)
        worker.begins(f"forks, holding {holds}")
        with held(holds, lock, mutex, worker) as guard:
            child = os.fork()
            if child == 0:
                os._exit(use(holds, guard, lock, mutex, new_loop, worker.name))
        worker.forks += 1
        status = ended(child)
        if status != 0:
            wrong.append(f"{worker.name}, which held {holds}: its child ended with {status}")
            raise RuntimeError("a child that went wrong")
        worker.done()

    return step


@contextlib.contextmanager
def held(holds: str, lock: Lock, mutex: Mutex[Ghost], worker: Worker) -> Iterator[Any]:
    if holds == "nothing":
        yield None
    elif holds == "a share":
        with lock.read() as guard:
            worker.entered()
            seen = guard.value.read_in(worker.name)
            yield guard
            guard.value.read_out(worker.name, seen)
    else:
        with lock.write() if holds == "the lock" else mutex.lock() as guard:
            worker.entered()
            seen = guard.value.write_in(worker.name)
            yield guard
            guard.value.write_out(worker.name, seen)
            worker.wrote(guard.value)


def ended(child: int) -> int:
    """Wait for a child, and make an end of it when it takes too long. Returns its exit code."""
    end = time.monotonic() + LIMIT + 3  # it shows its own stacks first
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid == child:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
        time.sleep(TICK)


# --- in the child -----------------------------------------------------------------------------------------------------


def use(holds: str, guard: Any, lock: Lock, mutex: Mutex[Ghost], new_loop: NewLoop, name: str) -> int:
    """Use what there is in a child. Returns its exit code."""
    faulthandler.dump_traceback_later(LIMIT, exit=True)
    try:
        assert lowlevel.waiters() == [], "somebody waits in a child"
        if guard is not None:
            leave(holds, guard, mutex if holds == "the mutex" else lock, name)
        for _ in range(3):
            share(lock)
            alone(lock.try_write_for(TICK))
            alone(mutex.try_lock_for(TICK))
        meet(RwLock(), new_loop)
    except BaseException:  # noqa: BLE001
        traceback.print_exc(file=sys.__stderr__)
        return 1
    return 0


def leave(holds: str, guard: Any, lock: Any, name: str) -> None:
    """Release what the forking thread held. If it was alone, nobody else is in or waits: those who waited are gone."""
    ghost = guard.value
    if holds == "a share":
        ghost.readers.discard(name)
        guard.release()
        return
    assert not ghost.readers, f"beside its writer: {ghost.readers}"
    ghost.writer = None
    guard.release()
    assert lock.word == 0, f"the word of a lock that nobody has: {lock.word:#x}"


def share(lock: Lock) -> None:
    """Read if that is possible. What a thread of the parent held stays held here, so it may not be."""
    with lock.try_read_for(TICK) as guard:
        assert guard is None or guard.value.writer is None, "read beside a writer"


def alone(request: Any) -> None:
    """Write if that is possible."""
    with request as guard:
        if guard is not None:
            assert (guard.value.writer, guard.value.readers) == (None, set()), "alone beside others"


def meet(lock: RwLock[None], new_loop: NewLoop) -> None:
    """A new lock, contended by a thread and by tasks of a new loop."""

    def in_thread() -> None:
        with lock.read():
            pass

    async def in_task() -> None:
        async with lock.write():
            await asyncio.sleep(0)

    async def in_tasks() -> None:
        await asyncio.gather(in_task(), in_task())

    def on_a_loop() -> None:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(in_tasks())

    threads = [threading.Thread(target=target, daemon=True) for target in (in_thread, on_a_loop)]
    with lock.write():
        for thread in threads:
            thread.start()
        while len(lowlevel.waiters(lock)) < 3:  # faulthandler ends it
            time.sleep(TICK)
    for thread in threads:
        thread.join()
    assert lock.word == 0, f"{lock.word:#x}"
