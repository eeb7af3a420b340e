"""R29 to R31: who asks for what only he himself could give back.

What counts. To let him in is sound, to refuse him with an exception is, and then the writer that waited has its turn. To sleep
for ever is a hang, whatever the documentation says of it: whoever runs into it has a program that stands still, and no word
why. Not asked is

* who may be waiting for somebody else: where a lock belongs to nobody, as a threading.Lock, a second acquire may wait for
  another thread's release, which is how one signals with it. So a writer asks again only if the lock offers OWNER. A reader
  who asks again is asked of every lock with readers, for nobody signals with a share;
* a lock that does not say that it looks at joins and awaits (R31: JOINS, AWAITS). No lock could serve these programs: one that
  hangs there has not broken its word.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading

from aiolots.testing._adapter import Mode, Offer
from aiolots.testing._nested import Nested, attempt, pairs_of
from aiolots.testing._registry import scenario
from aiolots.testing._waiting import Broken, turns
from aiolots.testing._world import World, in_thread, outcome

ALL = ("thread", "task", "mixed", "loops")


def asks_twice(world: World, first: Mode, second: Mode) -> None:
    for kind, _ in pairs_of(world):
        owner = Nested(world, kind, first, second)
        owner.enters()
        owner.goes_on()
        owner.ends(f"who holds the lock ({first}) asks for it once more ({second}), and sleeps for ever")


def asks_twice_before_a_writer(world: World, second: Mode) -> None:
    for kind, other in pairs_of(world):
        owner = Nested(world, kind, "read", second)
        owner.enters()
        writer = attempt(world, other, "write")
        writer.settle()
        if writer.done() and writer.result():
            raise Broken("a writer is let in while a reader is in")
        owner.goes_on()
        owner.ends(f"a writer waits for a reader, who asks once more ({second}): both sleep for ever")
        writer.enters("a reader has asked once more, and has left; the writer that waited for it does not get in")
        writer.release()


# --- R29, R30 ---------------------------------------------------------------------------------------------------------


@scenario("R29", *ALL, needs=Offer.SHARED)
def reads_while_it_reads(world: World) -> None:
    asks_twice(world, "read", "read")


@scenario("R29", *ALL, needs=Offer.SHARED)
def reads_while_it_reads_and_a_writer_waits(world: World) -> None:
    asks_twice_before_a_writer(world, "read")


@scenario("R29", *ALL, needs=Offer.SHARED | Offer.OWNER)
def reads_while_it_writes(world: World) -> None:
    asks_twice(world, "write", "read")


@scenario("R29", *ALL, needs=Offer.OWNER)
def writes_while_it_writes(world: World) -> None:
    asks_twice(world, "write", "write")


@scenario("R30", *ALL, needs=Offer.SHARED)
def writes_while_it_reads(world: World) -> None:
    asks_twice(world, "read", "write")


@scenario("R30", *ALL, needs=Offer.SHARED)
def writes_while_it_reads_and_a_writer_waits(world: World) -> None:
    asks_twice_before_a_writer(world, "write")


@scenario("R30", *ALL, needs=Offer.SHARED)
def two_readers_ask_to_write(world: World) -> None:
    """Each waits for the other to leave, unless one is refused."""
    for kind, other in pairs_of(world):
        owners = [Nested(world, who, "read", "write") for who in (kind, other)]
        for owner in owners:
            owner.enters()
        for owner in owners:
            owner.goes_on()
        for owner in owners:
            owner.ends("two readers ask to write: both sleep for ever")


# --- R31 --------------------------------------------------------------------------------------------------------------

LEFT = "a reader that was waited for is over; a writer that waited too does not get in"


def joins_who_asks(world: World, mode: Mode, *, before_a_writer: bool) -> None:
    adapter, lock = world.adapter, world.lock
    is_in, told = threading.Event(), threading.Event()

    def child() -> None:
        with contextlib.suppress(Exception):  # refused: whatever with
            world.sync_through(mode)

    def parent() -> None:
        held = adapter.acquire(lock, mode, None)
        is_in.set()
        told.wait()
        thread = threading.Thread(target=child, daemon=True)
        thread.start()
        thread.join()
        adapter.release(lock, mode, held)

    over = in_thread(parent)
    is_in.wait(10)
    writers = [world.thread("write")] if before_a_writer else []
    for writer in writers:
        writer.settle()
    told.set()
    outcome(over, "who holds the lock joins a thread that asks for it: both sleep for ever")
    for writer in writers:
        writer.enters(LEFT)
        writer.release()


@scenario("R31", "thread", needs=Offer.JOINS)
def joined_by_who_holds(world: World) -> None:
    joins_who_asks(world, "write", before_a_writer=False)


@scenario("R31", "thread", needs=Offer.JOINS | Offer.SHARED)
def joined_by_a_reader_before_a_writer(world: World) -> None:
    joins_who_asks(world, "read", before_a_writer=True)


async def awaits_who_asks(world: World, mode: Mode, *, before_a_writer: bool) -> None:
    is_in, told = asyncio.Event(), asyncio.Event()

    async def parent() -> None:
        held = await world.acquire(mode)
        is_in.set()
        await told.wait()
        with contextlib.suppress(Exception):
            await asyncio.create_task(world.through(mode))
        await world.release(mode, held)

    first = asyncio.create_task(parent())
    await is_in.wait()
    writers = [asyncio.create_task(world.through("write"))] if before_a_writer else []
    await turns()
    told.set()
    await world.ends("who holds the lock awaits a task that asks for it: both sleep for ever", first)
    await world.ends(LEFT, *writers)
    for task in (first, *writers):
        task.result()


@scenario("R31", "task", needs=Offer.AWAITS)
async def awaited_by_who_holds(world: World) -> None:
    await awaits_who_asks(world, "write", before_a_writer=False)


@scenario("R31", "task", needs=Offer.AWAITS | Offer.SHARED)
async def awaited_by_a_reader_before_a_writer(world: World) -> None:
    await awaits_who_asks(world, "read", before_a_writer=True)
