"""Semaphores of several permits, and events. (A semaphore of one permit is a lock, and is played as one too.)"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

from aiolots.testing._actors import Actor, Cast
from aiolots.testing._adapter import Offer
from aiolots.testing._registry import scenario
from aiolots.testing._waiting import Broken, turns, wait_until
from aiolots.testing._world import Loop, World

ENTERS = "a semaphore with a free permit has no room"


# --- semaphores -------------------------------------------------------------------------------------------------------


@scenario("S01", "task", kind="semaphore")
async def permits_released_and_waiters_cancelled_in_one_turn(world: World) -> None:
    """Whoever is cancelled, no permit is lost, and none is won."""
    for released, leavers, releases_first in itertools.product((1, 2, 3), ((0,), (0, 1), (1, 2), (0, 2, 4)), (False, True)):
        world.lock = world.adapter.make_many(3)
        mine = [await world.acquire("write") for _ in range(3)]
        inside: list[object] = []

        async def enter(inside: list[object] = inside) -> None:
            inside.append(await world.acquire("write"))

        tasks: list[asyncio.Task[None]] = []
        for _ in range(5):
            tasks.append(asyncio.create_task(enter()))
            await turns()

        async def release(mine: list[object] = mine, released: int = released) -> None:
            for _ in range(released):
                await world.release("write", mine.pop())

        if releases_first:
            await release()
        for leaver in leavers:
            tasks[leaver].cancel()
        if not releases_first:
            await release()
        await world.ends("a cancelled waiter does not end", *[tasks[leaver] for leaver in leavers])
        stay = 5 - len(leavers)
        await turns()
        # A waiter that had its permit already, and was cancelled too late for that, may be in: that is its right.
        if not min(released, stay) <= len(inside) <= released:
            raise Broken(f"{released} permits released, {len(leavers)} of 5 waiters cancelled: {len(inside)} get in")
        for held in [*inside, *mine]:
            await world.release("write", held)
        await world.ends("all permits are released; somebody who waits does not get in", *tasks)
    world.renew()


@scenario("S02", "thread", "task", "mixed", "loops", kind="semaphore")
def as_many_get_in_as_there_are_permits(world: World) -> None:
    world.lock = world.adapter.make_many(3)
    cast = Cast(world)
    for _ in range(3):
        waiting, inside = cast.several(6), list[Actor]()
        for actor in waiting:
            actor.asks()
            actor.settle()
        while waiting or inside:
            wait_until(lambda: inside or any(actor.done() for actor in waiting), "a permit is free; nobody gets in")  # noqa: B023
            came = [actor for actor in waiting if actor.done()]
            for actor in came:
                actor.has(ENTERS)
                waiting.remove(actor)
            inside += came
            if len(inside) > 3:
                raise Broken("more are in than there are permits")
            inside.pop(0).leaves()
    world.renew()


# --- events -----------------------------------------------------------------------------------------------------------


def all_wake(world: World, set_by_task: bool, cleared: bool) -> None:
    cast = Cast(world)
    actors = cast.several(5)
    for actor in actors:
        actor.waits()
        if actor.done():
            raise Broken("a wait ends before the event is set")
    setter = cast.task() if set_by_task else cast.thread()
    setter.does("a set does not end", "set")
    if cleared:
        world.adapter.clear(world.lock)
    for actor in actors:
        actor.is_told(f"an event is set{', and cleared at once' if cleared else ''}; somebody who waited does not wake")
    if cleared:
        actor = cast.next()
        actor.waits()
        if actor.done():
            raise Broken("an event is cleared; a wait ends")
        setter.does("a set does not end", "set")
        actor.is_told("an event is set again; a wait does not end")
    actor = cast.next()
    actor.waits()
    actor.is_told("an event is set; who comes later does not get through")


@scenario("E01", "thread", "task", "mixed", "loops", kind="event")
def a_set_reaches_all_who_wait(world: World) -> None:
    for _ in range(3):
        all_wake(world, set_by_task=world.kinds[0] != "thread", cleared=False)
        world.renew()


@scenario("E02", "thread", "mixed", needs=Offer.CLEAR, kind="event")
def set_and_cleared_at_once(world: World) -> None:
    """Who waited when it was set has seen it."""
    for _ in range(3):
        all_wake(world, set_by_task=False, cleared=True)
        world.renew()


@scenario("E02", "task", needs=Offer.CLEAR, kind="event")
async def set_and_cleared_in_one_turn(world: World) -> None:
    tasks = [asyncio.create_task(world.adapter.wait_task(world.lock, None, None)) for _ in range(3)]
    await turns()
    await world.adapter.set_task(world.lock)
    world.adapter.clear(world.lock)
    await world.ends("an event is set and cleared in one turn; somebody who waited does not wake", *tasks)
    late = asyncio.create_task(world.adapter.wait_task(world.lock, None, None))
    await turns()
    if late.done():
        raise Broken("an event is cleared; a wait ends")
    await world.adapter.set_task(world.lock)
    await world.ends("an event is set again; a wait does not end", late)


@scenario("E03", "task", kind="event")
async def set_and_a_waiter_cancelled_in_one_turn(world: World) -> None:
    for leaver, cancelled_first in itertools.product(range(3), (False, True)):
        event = world.adapter.make()
        tasks = [asyncio.create_task(world.adapter.wait_task(event, None, None)) for _ in range(3)]
        await turns()
        if cancelled_first:
            tasks[leaver].cancel()
        await world.adapter.set_task(event)
        if not cancelled_first:
            tasks[leaver].cancel()
        await world.ends("an event is set and a waiter cancelled in one turn; another does not wake", *tasks)
        for number, task in enumerate(tasks):
            if number != leaver:
                task.result()


@scenario("E04", "thread", "task", timed=True, kind="event")
def a_wait_that_runs_out_says_so(world: World) -> None:
    cast = Cast(world)
    for seconds in (0, 0.02):
        late = cast.next()
        if late.does("a timed wait does not end", "wait", None, seconds):
            raise Broken("nobody has set the event, and a wait says that it is")
    late, other = cast.several(2)
    late.begin("wait", None, 0.02)
    other.waits()
    late.ends("a timed wait does not end")
    cast.next().does("a set does not end", "set")
    other.is_told("a wait has run out; another does not wake when the event is set")


def loop_ends(world: World, end: Callable[[Loop], None], how: str) -> None:
    cast, loop = Cast(world), Loop()
    lost, other = cast.task(loop), cast.thread()
    lost.waits()
    other.waits()
    end(loop)
    cast.thread().does(f"a task waits whose loop is {how}: a set does not end", "set")
    other.is_told(f"a task waits whose loop is {how}; a thread that waits too does not wake")


@scenario("R20", "mixed", needs=Offer.LOOPS, kind="event")
def the_loop_of_a_wait_for_an_event_is_stopped(world: World) -> None:
    loop_ends(world, Loop.stop, "stopped")


@scenario("R20", "mixed", needs=Offer.LOOPS, kind="event")
def the_loop_of_a_wait_for_an_event_is_closed(world: World) -> None:
    loop_ends(world, Loop.close, "closed")


@scenario("R24", "mixed", kind="event")
def a_thread_without_a_loop_sets(world: World) -> None:
    """The loop of the one who waits is idle: it sleeps until it is woken."""
    for _ in range(20):
        cast = Cast(world)
        task = cast.task()
        task.waits()
        cast.thread().does("a set does not end", "set")
        task.is_told("a thread sets an event; a task that waits on an idle loop does not wake")
        world.renew()
