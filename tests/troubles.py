"""Processes with a trouble, to be looked at from outside: `python -m tests.troubles NAME`.

NAME is one of the functions here, or of the deadlocks of tests/deadlocks.py and trio_deadlocks.py. The process says "ready"
when the trouble is there, and ends when its standard input does, or after LIMIT seconds. Lines with `# PLACE` are what a
report is to name.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import uvloop

from aiolots import RwLock, deadlock, lowlevel, set_loop_block_policy
from aiolots._lib import WORD, ffi
from tests import deadlocks, trio_deadlocks
from tests.deadlocks import A, C, loop_thread, thread
from tests.waiting import parked, wait_until

LIMIT = 60.0
KEPT: list[Any] = []


def asks_for_a() -> None:
    A.write().acquire()


def stuck_loop() -> None:
    """A task that holds A lets its loop's thread sleep; another thread wants A."""

    async def careless() -> None:
        async with A.read():
            thread(asks_for_a)
            time.sleep(LIMIT)  # noqa: ASYNC251  # PLACE

    loop_thread(careless)
    wait_until(lambda: parked(A) == 1)


def stuck_uvloop() -> None:
    """The same on uvloop, which does not say which thread runs it."""

    async def careless() -> None:
        async with A.read():
            thread(asks_for_a)
            time.sleep(LIMIT)  # noqa: ASYNC251  # PLACE

    loop_thread(careless, make=uvloop.new_event_loop)
    wait_until(lambda: parked(A) == 1)


def dead_owner() -> None:
    """A thread ends while it holds A."""

    def careless() -> None:
        KEPT.append(A.write().acquire())  # PLACE

    ends_after(careless)
    thread(asks_for_a)
    wait_until(lambda: parked(A) == 1)


def dead_owner_of_a_mutex() -> None:
    """A thread ends without the release of a mutex that it acquired as threading's locks are."""

    def careless() -> None:
        C.acquire()

    ends_after(careless)
    thread(C.acquire)
    wait_until(lambda: parked(C) == 1)


def dead_reader() -> None:
    """One of two readers has ended."""

    def careless() -> None:
        KEPT.append(A.read().acquire())  # PLACE

    ends_after(careless)
    thread(asks_for_a)
    wait_until(lambda: parked(A) == 1)


def leaked_guard() -> None:
    """A thread that lives on has put its guard away."""
    done = threading.Event()

    def careless() -> None:
        keep()
        done.set()
        threading.Event().wait()

    def keep() -> None:
        KEPT.append(A.write().acquire())  # PLACE

    thread(careless)
    done.wait()
    thread(asks_for_a)
    wait_until(lambda: parked(A) == 1)


def leaked_by_a_task() -> None:
    """A task has put its guard away and has ended; its loop runs on."""

    async def careless() -> None:
        KEPT.append(await A.write())  # PLACE

    async def other() -> None:
        await asyncio.Event().wait()

    loop_thread(careless, other)
    wait_until(A.is_locked)
    thread(asks_for_a)
    wait_until(lambda: parked(A) == 1)


def contention() -> None:
    """A thread holds A for long, others wait."""

    def busy() -> None:
        with A.write():
            threading.Event().wait()  # PLACE

    thread(busy)
    wait_until(A.is_locked_exclusive)
    for _ in range(3):
        thread(asks_for_a)
    wait_until(lambda: parked(A) == 3)


def passed_on() -> None:
    """What looks like a dead owner and is none: a thread that ends gives its guard to another one, which keeps it in a list."""
    ends_after(lambda: KEPT.append(A.write().acquire()))

    def heir() -> None:
        mine = [KEPT.pop()]
        threading.Event().wait()
        mine[0].release()

    thread(heir)
    thread(asks_for_a)
    wait_until(lambda: parked(A) == 1)


def corruption() -> None:
    """A stray write to a word."""
    lock: RwLock[None] = RwLock(name="routes")
    KEPT.append(lock)

    def waiter() -> None:
        with lock.read():
            pass

    with lock.write():
        thread(waiter)
        wait_until(lambda: parked(lock) == 1)
    wait_until(lambda: not lock.is_locked())
    ffi.cast(WORD, lock.address).bits = 0xFFFFFFFFFFFFFFFE


def nothing() -> None:
    """All is well; somebody had to wait for A once."""

    def waiter() -> None:
        with A.write():
            pass

    with A.read():
        waiting = thread(waiter)
        wait_until(lambda: parked(A) == 1)
    waiting.join()


def keeps_the_gil() -> None:
    """Native code never lets go of the GIL. The main thread says that it is ready just before."""
    import ctypes

    def busy() -> None:
        wait_until(lambda: bool(KEPT))
        ctypes.PyDLL(None).pause()

    thread(busy)


def ends_after(function: Callable[[], Any]) -> None:
    """Run it in a thread, and return when that is gone for the core too."""
    from aiolots import _threads
    from aiolots._lib import lib

    token: list[int] = []

    def run() -> None:
        token.append(int(lib.lots_thread_token()))
        function()

    threading.Thread(target=run, name="careless").start()
    wait_until(lambda: token and _threads.has_ended(token[0]))


def main(name: str) -> None:
    set_loop_block_policy("allow")
    deadlock.set_immediate(False)
    own = globals().get(name)
    (own or getattr(trio_deadlocks if name.startswith("trio_") else deadlocks, name))()
    if own is None:
        wait_until(lowlevel.waiters)
    os.write(1, b"ready\n")
    if name == "keeps_the_gil":
        KEPT.append(None)
    threading.Thread(target=lambda: (time.sleep(LIMIT), os._exit(1)), daemon=True).start()
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
