"""Deadlocks in which tasks of trio are, on purpose, each in a process of its own: see deadlocks.py."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import trio

from aiolots import set_loop_block_policy
from tests.deadlocks import A, C, loop_thread, main, meeting, thread
from tests.waiting import parked, wait_until


def trio_thread(*mains: Callable[[], Coroutine[Any, Any, None]]) -> threading.Thread:
    """Run trio with a task for each function, named as it is."""

    async def all_of_them() -> None:
        async with trio.open_nursery() as nursery:
            for main in mains:
                nursery.start_soon(main, name=main.__name__)

    made = threading.Thread(target=trio.run, args=(all_of_them,), name="run", daemon=True)
    made.start()
    return made


def trio_meeting() -> Callable[[], Coroutine[Any, Any, None]]:
    arrived: list[int] = []

    async def meet() -> None:
        arrived.append(1)
        while len(arrived) < 2:
            await trio.lowlevel.checkpoint()

    return meet


def trio_two_tasks() -> None:
    meet = trio_meeting()

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

    trio_thread(one, two)


def trio_itself() -> None:
    async def one() -> None:
        async with C:  # HOLDS one
            async with C:  # WAITS one
                pass

    trio_thread(one)


def trio_task_and_thread() -> None:
    meet = meeting(2)

    def one() -> None:
        with A.write():  # HOLDS one
            meet()
            with C:  # WAITS one
                pass

    async def two() -> None:
        guard = await C.lock()  # HOLDS two
        await trio.to_thread.run_sync(meet)
        async with A.read():  # WAITS two
            guard.release()

    thread(one)
    trio_thread(two)


def trio_task_and_asyncio_task() -> None:
    async def second() -> None:
        async with C:  # HOLDS second
            while not A.is_locked_exclusive():
                await trio.lowlevel.checkpoint()
            async with A.read():  # WAITS second
                pass

    async def third() -> None:
        async with A.write():  # HOLDS third
            while not C.locked():  # noqa: ASYNC110
                await asyncio.sleep(0)
            async with C:  # WAITS third
                pass

    trio_thread(second)
    loop_thread(third)


def trio_nursery() -> None:
    async def child() -> None:
        async with A.write():  # WAITS child
            pass

    async def parent() -> None:
        async with A.read():  # HOLDS parent
            async with trio.open_nursery() as nursery:  # WAITS parent
                nursery.start_soon(child, name="child")

    trio_thread(parent)


def trio_to_thread() -> None:
    def work() -> None:
        A.write().acquire()  # WAITS work

    async def parent() -> None:
        async with A.read():  # HOLDS parent
            await trio.to_thread.run_sync(work, thread_name="worker")  # WAITS parent

    trio_thread(parent)


def trio_blocks_itself() -> None:
    set_loop_block_policy("allow")
    has_it: list[bool] = []  # it has the lock before it has the guard: there is a checkpoint in between

    async def patient() -> None:
        async with A.read():  # HOLDS patient
            has_it.append(True)
            await trio.Event().wait()  # WAITS patient

    async def hasty() -> None:
        while not has_it or not C.locked():
            await trio.lowlevel.checkpoint()
        with C:  # WAITS run
            pass

    def other() -> None:
        with C:  # HOLDS other
            wait_until(lambda: parked(C) == 1)
            A.write().acquire()  # WAITS other

    trio_thread(patient, hasty)
    thread(other)


if __name__ == "__main__":
    main(globals()[sys.argv[1]])
