"""R09 to R11, R20 and R34 for condition variables: notifications that get lost, and waits that come back without the lock."""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiolots.testing._actors import Actor, Cast
from aiolots.testing._adapter import Offer
from aiolots.testing._departures import Census
from aiolots.testing._registry import scenario
from aiolots.testing._waiting import Broken, NotApplicable, turns, wait_until
from aiolots.testing._world import Loop, World

ENTERS = "a free lock has no room"
OTHER = "the other waiter does not wake"


def waiting(cast: Cast, count: int) -> list[Actor]:
    """Return so many who wait for a notification, in this order."""
    actors = cast.several(count)
    for actor in actors:
        actor.enters(ENTERS)
        actor.waits()
    return actors


def come_back(what: str, *actors: Actor) -> None:
    """Let actors be notified, and hold the lock one at a time, in whatever order."""
    left = list(actors)
    while left:
        wait_until(lambda: any(actor.done() for actor in left), what)
        first = next(actor for actor in left if actor.done())
        for other in left:
            if other is not first and other.done():
                raise Broken("two waits have come back with the same lock")
        first.is_told(what)
        first.leaves()
        left.remove(first)


# --- R09 --------------------------------------------------------------------------------------------------------------


class Waiter:
    """A task of this loop that waits for a notification, with who is inside kept account of."""

    def __init__(self, world: World, census: Census) -> None:
        self._world, self._census = world, census
        self.told: bool | None = None
        self.task = asyncio.create_task(self._wait())

    async def _wait(self) -> None:
        world, census = self._world, self._census
        held = await world.acquire("write")
        try:
            self.told = await world.adapter.wait_task(world.lock, held, None)
        finally:
            census.enter("write")
            await turns(3)
            census.leave("write")
            await world.release("write", held)


@scenario("R09", "task", kind="condition")
async def notified_and_cancelled_in_one_turn(world: World) -> None:
    census = Census()
    for cancelled_first, leaver in itertools.product((False, True), range(2)):
        waiters: list[Waiter] = []
        for _ in range(2):
            waiters.append(Waiter(world, census))
            await turns()
        held = await world.acquire("write")
        if cancelled_first:
            waiters[leaver].task.cancel()
        await world.adapter.notify_task(world.lock, held, False)
        if not cancelled_first:
            waiters[leaver].task.cancel()
        await world.release("write", held)
        other = waiters[1 - leaver].task
        await world.ends("a cancelled wait does not end", waiters[leaver].task)
        await world.ends(f"two wait; in one turn one is notified, one cancelled; {OTHER}", other)
        other.result()


def overtakes(late: Actor, actor: Actor) -> bool:
    """Let an actor in. Whether the late one came back before, and has left again: then it was not notified in time."""
    actor.asks()
    wait_until(lambda: actor.done() or late.done(), "a wait does not let the lock go")
    overtaken = not actor.done()
    if overtaken:
        late.leaves()
    actor.has("a wait does not let the lock go")
    return overtaken


def late_or_other(world: World, seconds: float, notified_after: float) -> bool:
    """One wait is late, or nearly; one is notified; one of both wakes. False: the late one was too early for that."""
    cast = Cast(world)
    late, other, holder = cast.several(3)
    late.enters(ENTERS)
    began = time.monotonic()
    late.begin("wait", late.held, seconds)
    overtaken = overtakes(late, other)
    other.waits()
    if not overtaken:
        overtaken = overtakes(late, holder)
    else:
        holder.enters(ENTERS)
    time.sleep(max(0.0, began + notified_after - time.monotonic()))
    holder.does("a notify does not end", "notify", holder.held, False)
    holder.leaves()
    what = f"a wait has run out, as it says, and gets no notification; {OTHER}"
    if not overtaken:
        wait_until(lambda: late.done() or other.done(), "one of two was notified, none comes back")
        if late.done():
            told = late.ends("")
            late.leaves()
            if told:
                holder.tells()
        else:
            other.is_told(what)
            other.leaves()
            late.ends("a timed wait does not end")
            late.leaves()
            return True
    other.is_told(what)
    other.leaves()
    return not overtaken


@scenario("R09", "thread", "task", "mixed", "loops", timed=True, kind="condition")
def a_timeout_runs_out_before_the_notify(world: World) -> None:
    """The lock is held meanwhile, so the one who is late cannot come back before the notify: it is for the other."""
    for seconds in (0.15, 0.6, 2.4):  # on a machine so slow that it comes back too early: again
        if late_or_other(world, seconds, seconds + 0.1):
            break


@scenario("R09", "thread", "task", "mixed", timed=True, kind="condition")
def a_timeout_races_with_a_notify(world: World) -> None:
    for step in range(12):
        late_or_other(world, 0.06, 0.06 * (0.8 + 0.04 * step))


# --- R10, R11 ---------------------------------------------------------------------------------------------------------


async def cancelled_while_it_takes_the_lock_again(world: World, times: int) -> None:
    """Whether notified or not: once cancelled it has to wait for the lock, which somebody else holds."""
    for notified in (True, False):
        census = Census()
        waiter = Waiter(world, census)
        await turns()
        held = await world.acquire("write")
        census.enter("write")
        if notified:
            await world.adapter.notify_task(world.lock, held, False)
            await turns()
        for number in range(times):
            waiter.task.cancel(f"number {number}")
            await turns()
        if waiter.task.done():
            raise Broken("cancelled while somebody else holds the lock, a wait comes back without it")
        census.leave("write")
        await world.release("write", held)
        await world.ends("a cancelled wait does not come back when the lock is free", waiter.task)
        try:
            await waiter.task
        except asyncio.CancelledError as error:
            if error.args != ("number 0",):
                raise Broken(f"cancelled with 'number 0', a wait raises CancelledError{error.args}") from None
        else:
            raise Broken("a wait swallows its cancellation")


@scenario("R10", "task", needs=Offer.SHIELD, kind="condition")
async def cancelled_while_it_takes_the_lock_again_once(world: World) -> None:
    await cancelled_while_it_takes_the_lock_again(world, 1)


@scenario("R10", "task", needs=Offer.SHIELD, kind="condition")
async def cancelled_while_it_takes_the_lock_again_twice(world: World) -> None:
    await cancelled_while_it_takes_the_lock_again(world, 2)


async def timed_from_outside(world: World, limit: Callable[[Awaitable[Any]], Awaitable[Any]]) -> None:
    """Somebody else holds the lock when the time runs out, or nobody does."""
    for others_hold in (False, True):
        census, over = Census(), asyncio.Event()

        async def wait(census: Census = census, over: asyncio.Event = over) -> None:
            held = await world.acquire("write")
            try:
                await limit(world.adapter.wait_task(world.lock, held, None))
            except TimeoutError:
                census.enter("write")
                await turns(3)
                census.leave("write")
            else:
                raise Broken("nobody notifies, and a wait ends")
            finally:
                over.set()
                await world.release("write", held)

        task = asyncio.create_task(wait())
        await turns()
        if others_hold:
            held = await world.acquire("write")
            census.enter("write")
            try:
                await asyncio.wait_for(over.wait(), 0.2)
            except TimeoutError:
                pass
            else:
                await world.ends("", task)
                raise Broken("a wait that is timed from outside comes back without the lock")
            census.leave("write")
            await world.release("write", held)
        await world.ends("a wait that is timed from outside does not end", task)
        task.result()


async def by_wait_for(waits: Awaitable[Any]) -> Any:
    return await asyncio.wait_for(waits, 0.02)


async def by_timeout(waits: Awaitable[Any]) -> Any:
    async with asyncio.timeout(0.02):
        return await waits


@scenario("R11", "task", kind="condition")
async def a_wait_in_asyncio_timeout(world: World) -> None:
    await timed_from_outside(world, by_timeout)


@scenario("R11", "task", kind="condition")
async def a_wait_in_wait_for(world: World) -> None:
    if sys.version_info < (3, 12) and Offer.HANDOVER not in world.adapter.offers:
        raise NotApplicable("handover not offered; before Python 3.12 wait_for waits in a task of its own")
    await timed_from_outside(world, by_wait_for)


# --- R34, and all who wait --------------------------------------------------------------------------------------------


@scenario("R34", "thread", "task", "mixed", "loops", kind="condition")
def who_waits_queues_again_behind_others(world: World) -> None:
    """The holder lets the lock go by its wait: to those who queue already. One of them notifies, and all get in in the end."""
    holder, *others = left = Cast(world).several(4)
    holder.enters(ENTERS)
    for other in others:
        other.asks()
        other.settle()
    holder.waits()
    what = "a wait lets the lock go, and is notified; somebody does not get in"
    notified = False
    while left:
        wait_until(lambda: any(actor.done() for actor in left), what)
        first = next(actor for actor in left if actor.done())
        if first is holder:
            holder.is_told(what)
        else:
            first.has(what)
            if not notified:
                first.does("a notify does not end", "notify", first.held, False)
                notified = True
        for actor in left:
            actor.settle()
        if sum(actor.done() for actor in left) > 1:
            raise Broken("a wait is notified; two are in at the same time")
        first.leaves()
        left.remove(first)


@scenario("R34", "thread", "task", "mixed", "loops", kind="condition")
def all_who_wait_are_notified(world: World) -> None:
    cast = Cast(world)
    for count in (1, 5):
        actors = waiting(cast, count)
        cast.next().tells(everybody=True)
        come_back("everybody was notified; somebody does not come back", *actors)


@scenario("R34", "thread", "task", "mixed", "loops", kind="condition")
def one_notify_wakes_one(world: World) -> None:
    cast = Cast(world)
    actors, left = waiting(cast, 3), 3
    while left:
        cast.next().tells()
        left -= 1
        wait_until(lambda: any(actor.done() for actor in actors), "one of several was notified; none comes back")
        first = next(actor for actor in actors if actor.done())
        first.is_told("one of several was notified; none comes back")
        first.leaves()
        actors.remove(first)
        for actor in actors:
            actor.settle()
            if actor.done():
                raise Broken("one was notified, and two come back")


# --- R20, R24 ---------------------------------------------------------------------------------------------------------


def two_wait(world: World) -> tuple[Loop, Actor, Actor]:
    """A task of a loop that is going to end, and a thread behind it, wait."""
    cast, loop = Cast(world), Loop()
    lost, other = cast.task(loop), cast.thread()
    for actor in (lost, other):
        actor.enters(ENTERS)
        actor.waits()
    return loop, lost, other


@scenario("R20", "mixed", needs=Offer.LOOPS, kind="condition")
def the_loop_of_a_wait_is_stopped(world: World) -> None:
    """Notified, it may have the notification when it runs again, or leave it to the other. It must not keep the lock."""
    loop, lost, other = two_wait(world)
    loop.stop()
    teller, between = Cast(world).thread(), Cast(world).thread()
    teller.tells()
    between.asks()
    left = [lost, other]

    def back(what: str, *actors: Actor) -> None:
        """Let the first of these who has the lock leave again."""
        wait_until(lambda: any(actor.done() for actor in actors), what)
        first = next(actor for actor in actors if actor.done())
        if first in left:
            left.remove(first)
            first.is_told(what)
        else:
            first.has(what)
        first.leaves()

    while between.held is None:
        back("a task was notified whose loop is stopped; nobody gets the lock", between, *left)
    loop.start()
    if len(left) == 2:
        back("a task was notified whose loop was stopped; it runs again, and the notification is lost", *left)
    teller.tells()
    back("notified once more, the second does not come back", *left)


@scenario("R20", "mixed", needs=Offer.LOOPS, kind="condition")
def the_loop_of_a_wait_is_closed(world: World) -> None:
    loop, _, other = two_wait(world)
    loop.close()
    Cast(world).thread().tells()
    other.is_told("a task waits whose loop is closed; one is notified, and a thread that waits too does not wake")
    other.leaves()


@scenario("R20", "mixed", needs=Offer.LOOPS, kind="condition")
def notified_and_then_its_loop_is_closed(world: World) -> None:
    loop, _, other = two_wait(world)
    loop.stop()
    Cast(world).thread().tells()
    loop.loop.close()
    other.is_told("a task was notified, and its loop closed before it ran; a thread that waits too does not wake")
    other.leaves()


@scenario("R24", "mixed", kind="condition")
def a_thread_without_a_loop_notifies_a_task(world: World) -> None:
    """The task's loop is idle: it sleeps until it is woken."""
    cast = Cast(world)
    for _ in range(5):
        task = cast.task()
        task.enters(ENTERS)
        task.waits()
        cast.thread().tells()
        task.is_told("a thread notifies a task that waits on an idle loop: it does not wake")
        task.leaves()
