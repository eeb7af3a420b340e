"""R01 by cancellation, R06 to R08, R12 to R14, R41, R42: tasks of one loop, and steps that fall together in one turn of it."""

from __future__ import annotations

import asyncio
import gc
import itertools
import math
import random
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any

from aiolots.testing._adapter import Mode, Offer
from aiolots.testing._registry import scenario
from aiolots.testing._waiting import Broken, NotApplicable, turns
from aiolots.testing._world import World


def pairs(world: World) -> list[tuple[Mode, Mode]]:
    """Return how the lock may be held, and asked for, so that the one who asks has to wait."""
    return [("write", "write"), ("read", "write"), ("write", "read")] if world.shared else [("write", "write")]


# --- R01 --------------------------------------------------------------------------------------------------------------


@scenario("R01", "task", needs=Offer.SHARED)
async def a_cancelled_writer_and_the_last_reader(world: World) -> None:
    """In one turn, in either order; with a reader behind the writer, and without."""
    for third, releases_first in itertools.product((False, True), repeat=2):
        held = await world.acquire("read")
        writer = asyncio.create_task(world.through("write"))
        await turns()
        others = [asyncio.create_task(world.through("read"))] if third else []
        await turns()
        if not releases_first:
            writer.cancel()
        await world.release("read", held)
        if releases_first:
            writer.cancel()
        others.append(asyncio.create_task(world.through("write")))
        await world.ends("a writer is cancelled when the last reader leaves; the next never get in", *others)
        await world.ends("a cancelled writer does not end", writer)


# --- R06, R07, R08 ----------------------------------------------------------------------------------------------------


@scenario("R06", "task")
async def cancelled_released_and_asked_for_in_one_turn(world: World) -> None:
    for (hold, wait), steps in itertools.product(pairs(world), itertools.permutations(("cancel", "release", "ask"))):
        held = await world.acquire(hold)
        waiter = asyncio.create_task(world.through(wait))
        await turns()
        following: list[asyncio.Task[None]] = []
        for step in steps:
            if step == "cancel":
                waiter.cancel()
            elif step == "release":
                await world.release(hold, held)
            else:
                following.append(asyncio.create_task(world.through(wait)))
        await world.ends(f"in one turn: {', '.join(steps)}; the one who asked never gets in", *following)
        await world.ends("a cancelled waiter does not end", waiter)


@scenario("R07", "task")
async def granted_then_cancelled(world: World) -> None:
    for hold, wait in pairs(world):
        held = await world.acquire(hold)
        first = asyncio.create_task(world.through(wait))
        await turns()
        second = asyncio.create_task(world.through(wait))
        await turns()
        await world.release(hold, held)
        first.cancel()
        await world.ends("released, the first waiter cancelled in the same turn; the second never gets in", second)
        await world.ends("a cancelled waiter does not end", first)


@scenario("R08", "task")
async def one_waiter_cancelled_and_the_lock_released_in_one_turn(world: World) -> None:
    inside = 0

    async def enter() -> None:
        nonlocal inside
        held = await world.acquire("write")
        inside += 1
        for _ in range(5):
            if inside > 1:
                raise Broken("a cancel and a release in one turn let two writers in")
            await asyncio.sleep(0)
        inside -= 1
        await world.release("write", held)

    for leaver, releases_first in itertools.product(range(3), (False, True)):
        held = await world.acquire("write")
        tasks: list[asyncio.Task[None]] = []
        for _ in range(3):
            tasks.append(asyncio.create_task(enter()))
            await turns()
        if not releases_first:
            tasks[leaver].cancel()
        await world.release("write", held)
        if releases_first:
            tasks[leaver].cancel()
        await world.ends("a cancel and a release in one turn; the other waiters do not get in", *tasks)


# --- R12, R13, R14 ----------------------------------------------------------------------------------------------------


async def acquired_by(world: World, helper: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
    for contended in (False, True):
        held = await world.acquire("write") if contended else None
        asked = asyncio.ensure_future(helper(world.acquire("write")))
        await turns()
        if contended:
            await world.release("write", held)
        await world.ends("an acquire in a helper task does not end", asked)
        await world.release("write", await asked)


@scenario("R12", "task", needs=Offer.HANDOVER)
async def acquired_in_a_helper_task(world: World) -> None:
    await acquired_by(world, asyncio.ensure_future)


@scenario("R12", "task")
async def acquired_in_wait_for(world: World) -> None:
    if sys.version_info < (3, 12) and Offer.HANDOVER not in world.adapter.offers:
        raise NotApplicable("handover not offered; before Python 3.12 wait_for acquires in a task of its own")
    await world.release("write", await asyncio.wait_for(world.acquire("write"), 5))


@scenario("R13", "task", needs=Offer.DROPPED)
def an_abandoned_acquire(world: World) -> None:
    """A thread asks a loop to acquire, and gives up waiting; later the loop does acquire, for nobody."""
    holder = world.task("write")
    holder.enters("a free lock has no room")
    abandoned = world.loop().submit(world.acquire("write"))
    world.loop().settle()
    del abandoned
    holder.release()
    world.loop().settle()
    gc.collect()


@scenario("R14", "task")
async def cancelled_during_a_release(world: World) -> None:
    """Holders leave, contended, and each is cancelled twice: before its release, in it, or after it."""
    hold: Mode = "read" if world.shared else "write"
    timeout = 5.0 if Offer.TASK_TIMEOUT in world.adapter.offers else None  # it may take more turns, and locks of the lock's own

    async def through(mode: Mode) -> None:
        await world.release(mode, await world.acquire(mode, timeout))

    orders: list[tuple[Mode, ...]] = [(hold, "write", hold), ("write", hold, "write")]
    for later, apart, order in itertools.product(range(12), range(3), orders):
        gate = asyncio.Event()

        async def leave(gate: asyncio.Event = gate) -> None:
            held = await world.acquire(hold)
            try:
                await gate.wait()
            finally:
                await world.release(hold, held)

        holders = [asyncio.create_task(leave()) for _ in range(4)]
        await turns()
        others = [asyncio.create_task(through(mode)) for mode in order]
        await turns(later)
        gate.set()
        await turns(1)
        for _ in range(2):
            for holder in holders:
                holder.cancel()
            await turns(apart)
        await world.ends("a holder is cancelled while it releases; others never get in", *holders, *others)


# --- R41, R42 ---------------------------------------------------------------------------------------------------------


@scenario("R41", "task")
async def ten_thousand_waiters_are_cancelled(world: World) -> None:
    """What it costs to cancel one does not grow with the number of those who wait.

    The collector's part does not count, and what the cancellation of a mere future costs more among so many is taken off: both
    are measured in turn, so that whatever else the machine does it does to both.
    """
    loop = asyncio.get_running_loop()

    async def wait_for_a_future() -> None:
        await loop.create_future()

    async def cost(count: int, wait: Callable[[], Coroutine[Any, Any, None]]) -> float:
        held = await world.acquire("write")
        tasks = [asyncio.create_task(wait()) for _ in range(count)]
        await turns()
        random.Random(41).shuffle(tasks)
        gc.disable()
        try:
            began = time.thread_time()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            spent = time.thread_time() - began
        finally:
            gc.enable()
        await world.release("write", held)
        return spent / count

    def ours() -> Coroutine[Any, Any, None]:
        return world.through("write")

    few = many = few_futures = many_futures = math.inf
    end, rounds = time.monotonic() + 6, 0
    while rounds < 2 or (rounds < 4 and time.monotonic() < end):
        rounds += 1
        few, few_futures = min(few, await cost(500, ours)), min(few_futures, await cost(500, wait_for_a_future))
        many, many_futures = min(many, await cost(10_000, ours)), min(many_futures, await cost(10_000, wait_for_a_future))
        if many / few < 3 * max(1.0, many_futures / few_futures):
            break
    else:
        raise Broken(f"cancelling a waiter costs {few * 1e6:.0f} us among 500, {many * 1e6:.0f} us among 10,000")


@scenario("R42", "task")
async def eager_tasks(world: World) -> None:
    if sys.version_info < (3, 12):
        raise NotApplicable("eager tasks came with Python 3.12")
    make: Any = asyncio.Task
    loop = asyncio.get_running_loop()

    def eagerly(coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = make(coroutine, loop=loop, eager_start=True)
        return task

    await world.ends("an eager task does not get a free lock", eagerly(world.through("write")))
    held = await world.acquire("write")
    tasks = [eagerly(world.through("write")) for _ in range(3)]
    if any(task.done() for task in tasks):
        raise Broken("an eager task got a lock that is held, or failed")
    tasks[1].cancel()
    await world.release("write", held)
    tasks.append(eagerly(world.through("write")))
    await world.ends("eager tasks that wait do not get in", *tasks)
    if [task.cancelled() for task in tasks] != [False, True, False, False]:
        raise Broken("of eager tasks others were cancelled than the one that was to be")
    for task in tasks:
        if not task.cancelled():
            task.result()
