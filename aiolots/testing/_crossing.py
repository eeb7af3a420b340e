"""R20 to R28: wakes that cross threads and loops."""

from __future__ import annotations

import asyncio
import functools
import importlib
import threading
import time
from collections.abc import Callable
from typing import Any

from aiolots.testing._adapter import Mode, Offer
from aiolots.testing._departures import Census
from aiolots.testing._registry import scenario
from aiolots.testing._waiting import Broken, NotApplicable, settle, wait_until
from aiolots.testing._world import Loop, World, in_thread, outcome

NEXT = "the next thread does not get in"


# --- R20 --------------------------------------------------------------------------------------------------------------


@scenario("R20", "mixed", needs=Offer.LOOPS)
def the_waiters_loop_is_stopped(world: World) -> None:
    loop, holder = Loop(), world.thread("write")
    holder.enters("a free lock has no room")
    waiting = world.task("write", loop=loop)
    waiting.settle()
    loop.stop()
    behind = world.thread("write")
    behind.settle()
    holder.release()
    behind.enters(f"a task waits whose loop is stopped; {NEXT}")
    behind.release()
    last = world.thread("write")
    last.enters(f"a task waits whose loop is stopped; {NEXT} but one")
    last.release()
    loop.start()
    waiting.enters("a task waited whose loop was stopped; it runs again, and the task does not get in")
    waiting.release()


@scenario("R20", "mixed", needs=Offer.LOOPS)
def the_waiters_loop_is_closed(world: World) -> None:
    loop, holder = Loop(), world.thread("write")
    holder.enters("a free lock has no room")
    world.task("write", loop=loop).settle()
    loop.close()
    behind = world.thread("write")
    behind.settle()
    holder.release()
    behind.enters(f"a task waits whose loop is closed; {NEXT}")
    behind.release()


# --- R21, R22 ---------------------------------------------------------------------------------------------------------


@scenario("R21", "mixed")
def a_loop_blocks_on_itself(world: World) -> None:
    """A task is queued first, then its loop's own thread waits: it gets in, or is refused."""
    holder, loop = world.thread("write"), world.loop()
    holder.enters("a free lock has no room")
    waiting = world.task("write")
    waiting.settle()
    blocks = loop.begin(lambda: world.sync_through("write"))
    settle(loop.native_id)
    holder.release()
    wait_until(blocks.done, "the thread of a loop waits behind a task of that loop: it sleeps for ever")
    waiting.enters("the thread of a loop waited behind a task of that loop: the task does not get in")
    waiting.release()


@scenario("R22", "mixed", needs=Offer.OWNER)
def a_task_holds_and_the_thread_of_its_loop_asks(world: World) -> None:
    """It could never end, so it has to be refused."""
    holder = world.task("write")
    holder.enters("a free lock has no room")
    asks = world.loop().begin(lambda: world.adapter.acquire(world.lock, "write", None))
    wait_until(asks.done, "a task holds the lock and the thread of its loop asks: it sleeps for ever")
    if asks.exception() is None:
        raise Broken("a task and the thread of its loop hold the lock at the same time")
    holder.release()


# --- R23 --------------------------------------------------------------------------------------------------------------


def throw_and_catch(world: World, make: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Let four threads wake a task each of one idle loop, again and again: it has no timer that would hide a lost wake."""
    rounds, adapter, loop = 150, world.adapter, Loop(make)
    balls = [[adapter.make(), adapter.make()] for _ in range(4)]
    caught = [0] * 4

    async def catch(who: int) -> None:
        for turn in range(rounds):
            ball = balls[who][turn % 2]
            held = await adapter.acquire_task(ball, "write", None)
            await adapter.release_task(ball, "write", held)
            caught[who] = turn + 1

    def throw(who: int) -> None:
        """Hold one while the other is thrown, so that the task always finds the next one held."""
        held: list[Any] = [adapter.acquire(balls[who][0], "write", None), None]
        ready.wait(10)
        for turn in range(rounds):
            here, there = turn % 2, 1 - turn % 2
            held[there] = adapter.acquire(balls[who][there], "write", None)
            adapter.release(balls[who][here], "write", held[here])
            thrown = turn + 1
            wait_until(lambda: caught[who] >= thrown, f"a wake to an idle loop got lost, the {thrown}th")  # noqa: B023
        adapter.release(balls[who][rounds % 2], "write", held[rounds % 2])

    ready = threading.Barrier(5)
    throwers = [in_thread(functools.partial(throw, who)) for who in range(4)]
    ready.wait(10)
    catchers = [loop.submit(catch(who)) for who in range(4)]
    for thrower in throwers:
        outcome(thrower, "a thread waits for a lock that a task has released", 10)
    for catcher in catchers:
        outcome(catcher, "a task waits for a lock that a thread has released")


@scenario("R23", "mixed")
def wakes_to_an_idle_asyncio_loop(world: World) -> None:
    throw_and_catch(world, asyncio.new_event_loop)


@scenario("R23", "mixed")
def wakes_to_an_idle_uvloop(world: World) -> None:
    try:
        uvloop: Any = importlib.import_module("uvloop")
    except ImportError:
        raise NotApplicable("uvloop is not installed") from None
    throw_and_catch(world, uvloop.new_event_loop)


# --- R24, R26 ---------------------------------------------------------------------------------------------------------


@scenario("R24", "mixed")
def released_by_a_thread_without_a_loop(world: World) -> None:
    for wait in ("write", "read") if world.shared else ("write",):
        mode: Mode = "read" if wait == "read" else "write"
        holder = world.thread("write")
        holder.enters("a free lock has no room")
        waiting = world.task(mode)
        waiting.settle()
        holder.release()
        waiting.enters("a thread releases; a task that waits on an idle loop is not woken")
        waiting.release()


@scenario("R24", "mixed", needs=Offer.HANDOVER | Offer.LOOPS)
def acquired_by_a_task_released_by_a_thread(world: World) -> None:
    one, two = Loop(), Loop()
    held = outcome(one.submit(world.acquire("write")), "a free lock has no room")
    waiting = world.task("write", loop=two)
    waiting.settle()
    outcome(in_thread(lambda: world.adapter.release(world.lock, "write", held)), "a release does not end")
    waiting.enters("a thread releases what a task had; a task of another loop is not woken")
    waiting.release()


@scenario("R26", "loops")
def woken_from_another_loop(world: World) -> None:
    """The loop of the one who waits has no timer: it sleeps until it is woken."""
    for holder_on, waiter_on in (("one", "two"), ("two", "one")):
        for _ in range(5):
            holder = world.task("write", loop=world.loop(holder_on))
            holder.enters("a free lock has no room")
            waiting = world.task("write", loop=world.loop(waiter_on))
            waiting.settle()
            holder.release()
            waiting.enters("a task releases; a task that waits on another loop, which is idle, is not woken")
            waiting.release()


# --- R25, R27 ---------------------------------------------------------------------------------------------------------


@scenario("R25", "thread", "mixed")
def a_spinner_and_one_who_asks_once(world: World) -> None:
    stop = threading.Event()

    def spin() -> None:
        while not stop.is_set():
            world.sync_through("write")

    spinner = in_thread(spin)
    try:
        for _ in range(10):
            one = world.attempt("write")
            one.is_not_starved("a thread that acquires and releases without a pause starves another waiter")
            one.release()
    finally:
        stop.set()
    outcome(spinner, "a thread that acquires and releases hangs")


@scenario("R27", "thread", "task", "mixed", "loops")
def everybody_at_once(world: World) -> None:
    """Releases meet waiters that are about to sleep; if one wake is lost, all who are left sleep for ever."""
    end, census = time.monotonic() + 0.6, Census()

    def in_a_thread() -> None:
        while time.monotonic() < end:
            held = world.adapter.acquire(world.lock, "write", None)
            census.enter("write")
            census.leave("write")
            world.adapter.release(world.lock, "write", held)

    async def as_a_task() -> None:
        while time.monotonic() < end:
            held = await world.acquire("write")
            census.enter("write")
            await asyncio.sleep(0)
            census.leave("write")
            await world.release("write", held)

    running = [
        in_thread(in_a_thread) if kind == "thread" else world.loop(kind).submit(as_a_task())
        for kind in (*world.kinds, *world.kinds) * (4 // (2 * len(world.kinds)) or 1)
    ]
    for one in running:
        outcome(one, "everybody sleeps, nobody holds: a wake got lost", 6)


# --- R28 --------------------------------------------------------------------------------------------------------------


@scenario("R28", "thread", "task", "mixed", "loops", needs=Offer.SHARED)
def all_readers_meet(world: World) -> None:
    for _ in range(5):
        writer = world.attempt("write")
        writer.enters("a free lock has no room")
        readers = [world.attempt("read") for _ in range(5)]
        for reader in readers:
            reader.settle()
        writer.release()
        for reader in readers:
            reader.enters("a writer leaves, five readers waited; not all of them get in together")
        for reader in readers:
            reader.release()
