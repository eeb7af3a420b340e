"""R43: what is done once, when the one who does it fails. And locks that their owner may take again."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from aiolots.testing._actors import Actor, Cast, TaskActor
from aiolots.testing._adapter import Offer
from aiolots.testing._registry import scenario
from aiolots.testing._waiting import Broken, Hang, until, wait_until
from aiolots.testing._world import Loop, World, in_thread, outcome

ENTERS = "a free lock has no room"
NEXT = "the next caller neither does it nor has its result"


class Failed(Exception):
    """What an initialiser raises."""


class Initialiser:
    """Waits until it is let go, then gives a value, or raises; counts how often it was called."""

    def __init__(self, value: object = 1, error: BaseException | None = None) -> None:
        self.calls = 0
        self.last: Callable[[], object] = int  # called at its end
        self._value, self._error = value, error
        self._go = threading.Event()

    def let_go(self) -> Initialiser:
        """Do not wait any more."""
        self._go.set()
        return self

    def has_begun(self) -> None:
        """Wait until it was called."""
        wait_until(lambda: self.calls, "nobody calls the initialiser")

    def for_(self, actor: Actor) -> Callable[[], Any]:
        """Return it as a plain function, or as an `async def`."""
        return self._as_task if isinstance(actor, TaskActor) else self._plainly

    def _plainly(self) -> object:
        self.calls += 1
        self._go.wait()
        return self._end()

    async def _as_task(self) -> object:
        self.calls += 1
        await until(self._go.is_set, "the initialiser is not let go", 60)
        return self._end()

    def _end(self) -> object:
        self.last()
        if self._error is not None:
            raise self._error
        return self._value


def has_value(actor: Actor, value: object, what: str) -> None:
    """Wait until an actor has the result."""
    found = actor.ends(what)
    if found != value:
        raise Broken(f"what is made once is {found!r} for one of the callers")


@scenario("R43", "thread", "task", "mixed", "loops", kind="once")
def of_many_one_does_it(world: World) -> None:
    for _ in range(3):
        actors, init = Cast(world).several(6), Initialiser()
        for actor in actors:
            actor.begin("once", init.for_(actor))
            actor.settle()
        if any(actor.done() for actor in actors):
            raise Broken("a caller is through before the initialiser has ended")
        init.let_go()
        for actor in actors:
            has_value(actor, 1, "what was waited for is done; somebody who waited does not wake")
        if init.calls != 1:
            raise Broken(f"what is to be done once was done {init.calls} times")
        world.renew()


@scenario("R43", "thread", "task", "mixed", "loops", kind="once")
def the_initialiser_raises(world: World) -> None:
    for _ in range(3):
        first, second, third = Cast(world).several(3)
        bad, good = Initialiser(error=Failed("no")), Initialiser(2).let_go()
        first.begin("once", bad.for_(first))
        bad.has_begun()
        for actor in (second, third):
            actor.begin("once", good.for_(actor))
            actor.settle()
        bad.let_go()
        try:
            first.ends("an initialiser raises; its caller does not come back")
        except Failed:
            pass
        else:
            raise Broken("what the initialiser raises does not come out")
        for actor in (second, third):
            has_value(actor, 2, f"an initialiser raised; {NEXT}")
        if good.calls != 1:
            raise Broken(f"what is to be done once was done {good.calls} times")
        world.renew()


@scenario("R43", "task", "mixed", "loops", kind="once")
def the_initialiser_is_cancelled(world: World) -> None:
    cast = Cast(world)
    first, second = cast.task(), cast.next()
    slow, good = Initialiser(), Initialiser(2).let_go()
    first.begin("once", slow.for_(first))
    slow.has_begun()
    second.begin("once", good.for_(second))
    second.settle()
    first.cancel("enough")
    try:
        first.ends("a cancelled initialiser does not end")
    except asyncio.CancelledError:
        pass
    else:
        raise Broken("a cancelled initialiser swallows that")
    has_value(second, 2, f"an initialiser was cancelled; {NEXT}")


@scenario("R43", "task", "mixed", kind="once")
def a_waiter_is_cancelled_when_the_initialiser_fails(world: World) -> None:
    """It may have been told that it is the next to try: then another has to be."""
    cast = Cast(world)
    for told_first in (False, True):
        first, leaver, other = cast.next(), cast.task(), cast.task()
        bad, good = Initialiser(error=Failed("no")), Initialiser(2).let_go()
        first.begin("once", bad.for_(first))
        bad.has_begun()
        for actor in (leaver, other):
            actor.begin("once", good.for_(actor))
            actor.settle()
        if told_first:
            bad.last = leaver.cancel_soon
        else:
            leaver.cancel("enough")
        bad.let_go()
        wait_until(leaver.done, "a cancelled caller does not end")
        wait_until(first.done, "an initialiser raises; its caller does not come back")
        has_value(other, 2, f"an initialiser raised, a waiter was cancelled; {NEXT}")
        world.renew()


@scenario("R43", "thread", "task", kind="once")
def the_initialiser_asks_for_itself(world: World) -> None:
    """It could never end, so it has to be refused."""
    actor = Cast(world).next()
    good = Initialiser(2).let_go()

    def again() -> object:
        return world.adapter.once(world.lock, good.for_(actor))

    async def again_as_a_task() -> object:
        return await world.adapter.once_task(world.lock, good.for_(actor))

    actor.begin("once", again_as_a_task if isinstance(actor, TaskActor) else again)
    try:
        actor.ends("an initialiser asks for its own result: it sleeps for ever")
    except Hang:
        raise
    except Exception:  # noqa: BLE001 whatever it is refused with
        actor.begin("once", good.for_(actor))
        has_value(actor, 2, f"an initialiser was refused its own result; {NEXT}")
        return
    raise Broken("an initialiser asks for its own result, and has it")


@scenario("R43", "mixed", needs=Offer.LOOPS, kind="once")
def the_loop_of_the_initialiser_is_closed(world: World) -> None:
    cast, loop = Cast(world), Loop()
    first, second = cast.task(loop), cast.thread()
    slow, good = Initialiser(), Initialiser(2).let_go()
    first.begin("once", slow.for_(first))
    slow.has_begun()
    second.begin("once", good.for_(second))
    second.settle()
    loop.close()
    has_value(second, 2, f"the loop of an initialiser is closed; {NEXT}")


# --- reentrant --------------------------------------------------------------------------------------------------------


@scenario("M01", "thread", "task", "mixed", "loops", kind="reentrant")
def the_owner_gets_in_again(world: World) -> None:
    for depth in (2, 5):
        owner, other = Cast(world).several(2)
        owner.enters(ENTERS)
        other.asks()
        other.settle()
        kept: list[Any] = []
        for _ in range(depth - 1):
            kept.append(owner.held)
            owner.enters("the owner of a reentrant lock asks for it again, and does not get in")
        while kept:
            owner.leaves()
            owner.held = kept.pop()
            other.settle()
            if other.done():
                raise Broken("another gets in before the owner has left as often as it came")
        owner.leaves()
        other.has("the owner has left as often as it came; another does not get in")
        other.leaves()


@scenario("M02", "thread", "task", "mixed", "loops", kind="reentrant")
def who_does_not_own_it_may_not_release(world: World) -> None:
    owner, thief, other = Cast(world).several(3)
    owner.enters(ENTERS)
    try:
        thief.does("a release does not end", "release", "write", owner.held)
    except Exception:  # noqa: BLE001 whatever it is refused with
        pass
    else:
        raise Broken("somebody else releases what it does not own")
    other.asks()
    other.settle()
    if other.done():
        raise Broken("somebody else's release was refused, and lets another in")
    owner.leaves()
    other.has("after a release that was refused nobody gets in any more")
    other.leaves()


@scenario("M03", "mixed", kind="reentrant")
def a_task_is_not_its_thread(world: World) -> None:
    """A plain call on the loop's thread does not get in as the task that owns the lock: it waits, or is refused."""
    owner = Cast(world).task()
    owner.enters(ENTERS)
    asks = owner.loop.begin(lambda: world.adapter.acquire(world.lock, "write", 0))
    try:
        if outcome(asks, "a loop's thread asks at once or never for what a task of it owns: it sleeps") is not None:
            raise Broken("a loop's thread gets in as if it were the task that owns the lock")
    except (Broken, Hang):
        raise
    except Exception:  # noqa: BLE001 refused
        pass
    owner.leaves()
    outcome(in_thread(lambda: world.sync_through("write")), "a task has left; a thread does not get in")
