"""Barriers: all meet; and if somebody leaves before, nobody is left behind.

Who times out breaks a barrier for all of the standard library's threads; who is cancelled has not come for its tasks, and the
others wait on. Both are sound: what must not be is that fewer get through than the barrier is for, or that somebody sleeps on.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
from collections.abc import Sequence
from typing import Any

from aiolots.testing._actors import Actor, Cast, TaskActor
from aiolots.testing._adapter import Offer
from aiolots.testing._registry import scenario
from aiolots.testing._waiting import Broken, Hang, turns, wait_until
from aiolots.testing._world import Loop, World, in_thread, outcome

PARTIES = 3
ROUNDS = 100
LEFT = "somebody has left a barrier; of the others one sleeps on"


@scenario("B01", "thread", "task", "mixed", "loops", kind="barrier")
def nobody_gets_through_before_all_have_come(world: World) -> None:
    world.lock = world.adapter.make_for(PARTIES)
    actors = Cast(world).several(PARTIES)
    for turn in range(2 * PARTIES):
        *first, last = actors[turn % PARTIES :] + actors[: turn % PARTIES]
        for actor in first:
            actor.begin("arrive", None)
            actor.settle()
        if any(actor.done() for actor in first):
            raise Broken("somebody gets through a barrier before all have come")
        last.begin("arrive", None)
        places = sorted(actor.ends("all have come to a barrier; somebody does not get through") for actor in actors)
        if places != list(range(PARTIES)):
            raise Broken(f"those who meet at a barrier have the places {places}")


@scenario("B01", "thread", "task", "mixed", "loops", kind="barrier")
def who_comes_back_at_once_is_in_the_next_round(world: World) -> None:
    """Others are still to wake from the last one."""
    adapter, barrier = world.adapter, world.adapter.make_for(PARTIES)
    came: list[list[None]] = [[] for _ in range(ROUNDS)]

    def look(turn: int) -> None:
        if len(came[turn]) < PARTIES:
            raise Broken(f"{len(came[turn])} of {PARTIES} have come to a round of a barrier, and one is through")

    def meet() -> None:
        for turn in range(ROUNDS):
            came[turn].append(None)
            adapter.arrive(barrier, None)
            look(turn)

    async def meet_as_a_task() -> None:
        for turn in range(ROUNDS):
            came[turn].append(None)
            await adapter.arrive_task(barrier, None)
            look(turn)

    def begin(kind: str) -> concurrent.futures.Future[None]:
        return in_thread(meet) if kind == "thread" else world.loop(kind).submit(meet_as_a_task())

    for party in [begin(kind) for kind in itertools.islice(itertools.cycle(world.kinds), PARTIES)]:
        outcome(party, "all come to each round of a barrier; somebody does not get through", 10)


# --- somebody leaves --------------------------------------------------------------------------------------------------


def what_came(actor: Actor) -> int | None:
    """Wait until an actor is through, or was told that the barrier is broken: None."""
    try:
        place: int = actor.ends(LEFT)
    except Hang:
        raise
    except Exception:  # noqa: BLE001 whatever it is told with
        return None
    return place


def go_on(waits: Actor, third: Actor, fourth: Actor) -> None:
    """One has left, one waits. Either the barrier is broken, or two more are needed."""
    present = [waits, third]
    third.begin("arrive", None)
    third.settle()
    if not third.done() and not waits.done():
        present.append(fourth)
        fourth.begin("arrive", None)
    all_or_none([what_came(actor) for actor in present])


def all_or_none(places: Sequence[int | None]) -> None:
    through = sum(place is not None for place in places)
    if through not in (0, PARTIES):
        raise Broken(f"somebody has left a barrier for {PARTIES}; {through} get through")


@scenario("B02", "thread", "task", "mixed", "loops", timed=True, kind="barrier")
def one_times_out(world: World) -> None:
    world.lock = world.adapter.make_for(PARTIES)
    leaver, waits, third, fourth = Cast(world).several(4)
    leaver.begin("arrive", 0.1)
    leaver.settle()
    waits.begin("arrive", None)
    waits.settle()
    if what_came(leaver) is not None:
        raise Broken("somebody gets through a barrier before all have come")
    go_on(waits, third, fourth)


@scenario("B02", "task", "mixed", "loops", kind="barrier")
def one_is_cancelled(world: World) -> None:
    world.lock = world.adapter.make_for(PARTIES)
    cast = Cast(world)
    leaver = cast.task()
    waits, third, fourth = cast.several(3)
    for actor in (leaver, waits):
        actor.begin("arrive", None)
        actor.settle()
    is_cancelled(leaver)
    go_on(waits, third, fourth)


def is_cancelled(leaver: TaskActor) -> None:
    leaver.cancel("enough")
    wait_until(leaver.done, "somebody is cancelled at a barrier, and sleeps on")
    try:
        leaver.ends("")
    except asyncio.CancelledError:
        return
    raise Broken("somebody is cancelled at a barrier, and gets through before all have come")


@scenario("R20", "mixed", needs=Offer.LOOPS, kind="barrier")
def the_loop_of_a_party_is_closed(world: World) -> None:
    world.lock = world.adapter.make_for(PARTIES)
    cast, loop = Cast(world), Loop()
    lost = cast.task(loop)
    waits, third, fourth = cast.thread(), cast.thread(), cast.thread()
    for actor in (lost, waits):
        actor.begin("arrive", None)
        actor.settle()
    loop.close()
    go_on(waits, third, fourth)


@scenario("B03", "task", kind="barrier")
async def cancelled_in_the_turn_of_the_last(world: World) -> None:
    """Who was cancelled too late has come, too early has not, and either way the others are in one round."""
    for leaver, cancelled_first in itertools.product(range(PARTIES - 1), (False, True)):
        barrier = world.adapter.make_for(PARTIES)
        tasks: list[asyncio.Task[int]] = []

        def arrive(barrier: Any = barrier, tasks: list[asyncio.Task[int]] = tasks) -> None:
            tasks.append(asyncio.create_task(world.adapter.arrive_task(barrier, None)))

        for _ in range(PARTIES - 1):
            arrive()
            await turns()
        if cancelled_first:
            tasks[leaver].cancel()
        arrive()
        if not cancelled_first:
            await turns(1)
            tasks[leaver].cancel()
        await world.ends("somebody is cancelled at a barrier, and sleeps on", tasks[leaver])
        await turns()
        left = tasks.pop(leaver)
        came = not left.cancelled() and left.exception() is None
        if not came and not any(task.done() for task in tasks):
            arrive()
        await world.ends(LEFT, *tasks)
        through = [not task.cancelled() and task.exception() is None for task in tasks]
        if any(through) and not all(through):
            raise Broken("cancelled when the last arrives at a barrier; of the others some get through, some do not")
