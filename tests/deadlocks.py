"""Deadlocks on purpose, each in a process of its own: `python -m tests.deadlocks NAME`.

The process makes the deadlock, has it reported by the watcher (aiolots.deadlock.start), prints after how many seconds that
was and what the report says, and ends; without a report it ends too, with an error. Lines with `# HOLDS ...` and
`# WAITS ...` are what the report is to name: tests/test_deadlock_reports.py looks for them.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import uvloop

from aiolots import Mutex, RwLock, deadlock, set_loop_block_policy
from tests.waiting import parked, wait_until

A: RwLock[None] = RwLock(name="A")
B: RwLock[None] = RwLock(name="B")
C: Mutex[None] = Mutex(name="C")
LIMIT = 15.0


def thread(function: Callable[[], Any]) -> threading.Thread:
    made = threading.Thread(target=function, name=function.__name__, daemon=True)
    made.start()
    return made


def loop_thread(
    *mains: Callable[[], Coroutine[Any, Any, None]], make: Callable[[], Any] = asyncio.new_event_loop
) -> threading.Thread:
    """Run a loop with a task for each function, named as it is."""

    async def all_of_them() -> None:
        await asyncio.wait([asyncio.ensure_future(named(main)) for main in mains])

    async def named(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.set_name(main.__name__)
        await main()

    made = threading.Thread(target=lambda: make().run_until_complete(all_of_them()), name="loop", daemon=True)
    made.start()
    return made


def meeting(count: int) -> Callable[[], None]:
    """Return what each calls when it has its first lock: nobody goes on before all have."""
    arrived: list[int] = []
    return lambda: (arrived.append(1), wait_until(lambda: len(arrived) == count))[-1]


def async_meeting(count: int) -> Callable[[], Coroutine[Any, Any, None]]:
    arrived: list[int] = []

    async def meet() -> None:
        arrived.append(1)
        while len(arrived) < count:  # noqa: ASYNC110  # on any loop
            await asyncio.sleep(0)

    return meet


# --- threads ------------------------------------------------------------------------------------------------------------


def two_threads() -> None:
    meet = meeting(2)

    def one() -> None:
        with A.write():  # HOLDS one
            meet()
            with C:  # WAITS one
                pass

    def two() -> None:
        with C:  # HOLDS two
            meet()
            with A.read():  # WAITS two
                pass

    thread(one)
    thread(two)


def three_threads() -> None:
    meet = meeting(3)

    def one() -> None:
        with A.write():  # HOLDS one
            meet()
            B.read().acquire()  # WAITS one

    def two() -> None:
        with B.upgradable_read() as guard:  # HOLDS two
            guard.upgrade()
            meet()
            C.acquire()  # WAITS two

    def three() -> None:
        with C.lock():  # HOLDS three
            meet()
            with A.read():  # WAITS three
                pass

    for function in (one, two, three):
        thread(function)


def itself() -> None:
    def one() -> None:
        with C:  # HOLDS one
            with C:  # WAITS one
                pass

    thread(one)


def read_write_read() -> None:
    def reader() -> None:
        with A.read():  # HOLDS reader
            wait_until(lambda: parked(A) == 1)
            with A.read():  # WAITS reader
                pass

    def writer() -> None:
        wait_until(lambda: A.reader_count() == 1)
        A.write().acquire()  # WAITS writer

    thread(reader)
    thread(writer)


def read_then_write() -> None:
    def one() -> None:
        with A.read():  # HOLDS one
            with A.write():  # WAITS one
                pass

    thread(one)


def two_readers_want_to_write() -> None:
    meet = meeting(2)

    def one() -> None:
        with A.read():  # HOLDS one
            meet()
            A.write().acquire()  # WAITS one

    def two() -> None:
        with A.read():  # HOLDS two
            meet()
            A.write().acquire()  # WAITS two

    thread(one)
    thread(two)


def join() -> None:
    def child() -> None:
        with A.write():  # WAITS child
            pass

    def parent() -> None:
        with C:  # so that the core has seen this thread wait once
            pass
        with A.read():  # HOLDS parent
            thread(child).join()  # WAITS parent

    with C:
        thread(parent)
        wait_until(lambda: parked(C) == 1)
        deadlock.check()


# --- tasks --------------------------------------------------------------------------------------------------------------


def one_and_two(meet: Callable[[], Coroutine[Any, Any, None]]) -> tuple[Callable[[], Coroutine[Any, Any, None]], ...]:
    async def one() -> None:
        async with A.write():  # HOLDS one
            await meet()
            async with C:  # WAITS one
                pass

    async def two() -> None:
        async with C:  # HOLDS two
            await meet()
            guard = await A.read()  # WAITS two
            guard.release()

    return one, two


def two_tasks() -> None:
    loop_thread(*one_and_two(async_meeting(2)))


def two_loops() -> None:
    one, two = one_and_two(async_meeting(2))
    loop_thread(one)
    loop_thread(two, make=uvloop.new_event_loop)


def task_and_thread() -> None:
    meet = meeting(2)

    def one() -> None:
        with A.write():  # HOLDS one
            meet()
            with C:  # WAITS one
                pass

    async def two() -> None:
        guard = await C.lock()  # HOLDS two
        await asyncio.to_thread(meet)
        async with A.read():  # WAITS two
            guard.release()

    thread(one)
    loop_thread(two)


def task_itself() -> None:
    async def one() -> None:
        async with C:  # HOLDS one
            async with C:  # WAITS one
                pass

    loop_thread(one)


def loop_blocks_itself() -> None:
    """A task holds A; then its loop's thread sleeps, for C; last, the holder of C asks for A."""
    set_loop_block_policy("allow")

    async def patient() -> None:
        async with A.read():  # HOLDS patient
            await asyncio.Event().wait()  # WAITS patient

    async def hasty() -> None:
        while not A.reader_count() or not C.locked():  # noqa: ASYNC110
            await asyncio.sleep(0)
        with C:  # WAITS loop
            pass

    def other() -> None:
        with C:  # HOLDS other
            wait_until(lambda: parked(C) == 1)
            A.write().acquire()  # WAITS other

    loop_thread(patient, hasty)
    thread(other)


def await_task() -> None:
    async def child() -> None:
        async with A.write():  # WAITS child
            pass

    async def parent() -> None:
        async with A.read():  # HOLDS parent
            await asyncio.create_task(child(), name="child")  # WAITS parent

    loop_thread(parent)


def await_gather() -> None:
    async def child() -> None:
        async with A.write():  # WAITS child
            pass

    async def parent() -> None:
        async with A.read():  # HOLDS parent
            await asyncio.gather(asyncio.create_task(child(), name="child"), asyncio.sleep(0))  # WAITS parent

    loop_thread(parent)


def await_group() -> None:
    async def child() -> None:
        async with A.write():  # WAITS child
            pass

    async def parent() -> None:
        guard = await A.read()  # HOLDS parent
        async with asyncio.TaskGroup() as group:  # WAITS parent
            group.create_task(child(), name="child")
        guard.release()

    loop_thread(parent)


def await_to_thread() -> None:
    def work() -> None:
        A.write().acquire()  # WAITS work

    async def parent() -> None:
        async with A.read():  # HOLDS parent
            await asyncio.to_thread(work)  # WAITS parent

    loop_thread(parent)


def result_of_a_task() -> None:
    """A thread holds C and waits for what a task of a loop gives it; that task waits for C."""

    def one() -> None:
        with A.read():  # so that the core has seen this thread wait once
            pass
        loop = asyncio.new_event_loop()
        threading.Thread(target=loop.run_forever, daemon=True).start()
        with C:  # HOLDS one
            asyncio.run_coroutine_threadsafe(task(), loop).result()  # WAITS one

    async def task() -> None:
        current = asyncio.current_task()
        assert current is not None
        current.set_name("task")
        async with C:  # WAITS task
            pass

    with A.write():
        thread(one)
        wait_until(lambda: parked(A) == 1)
        deadlock.check()


def main(kind: Callable[[], None]) -> None:
    began = time.monotonic()

    def reported(cycle: deadlock.Cycle) -> None:
        sys.stdout.write(f"{time.monotonic() - began}\n{cycle}\n")
        sys.stdout.flush()
        os._exit(0)

    deadlock.set_immediate(False)
    kind()
    deadlock.start(interval=0.5, on_deadlock=reported)
    time.sleep(LIMIT)  # the watcher ends the process
    sys.stdout.write("nobody reported anything\n")
    os._exit(1)


if __name__ == "__main__":
    main(globals()[sys.argv[1]])
