"""R16 to R19: upgradable readers; and downgrades."""

from __future__ import annotations

import asyncio

from aiolots.testing._actors import Actor, Cast, TaskActor
from aiolots.testing._adapter import Offer
from aiolots.testing._registry import scenario
from aiolots.testing._waiting import Broken, wait_until
from aiolots.testing._world import World

ENTERS = "a free lock has no room"


def upgrades(actor: Actor, what: str) -> None:
    """Wait until an upgrade that was begun has come through."""
    held = actor.ends(what)
    if held is None:
        raise Broken(f"{what}: refused")
    actor.mode, actor.held = "write", held


@scenario("R16", "thread", "task", "mixed", "loops", kind="upgradable")
def upgradable_behind_a_writer(world: World) -> None:
    for _ in range(5):
        writer, waiting, second = Cast(world).several(3)
        writer.enters(ENTERS)
        for actor in (waiting, second):
            actor.asks("upgradable")
            actor.settle()
        writer.leaves()
        wait_until(lambda: waiting.done() or second.done(), "a writer leaves; an upgradable reader behind it does not wake")  # noqa: B023
        first, other = (waiting, second) if waiting.done() else (second, waiting)
        first.has("a writer leaves; an upgradable reader behind it does not wake")
        other.settle()
        if other.done():
            raise Broken("two upgradable readers are in at the same time")
        first.leaves()
        other.has("an upgradable reader leaves; the next one does not wake")
        other.leaves()


@scenario("R17", "thread", "task", "mixed", "loops", kind="upgradable")
def no_writer_comes_between(world: World) -> None:
    upgrader, reader, writer, late = Cast(world).several(4)
    upgrader.enters(ENTERS, "upgradable")
    reader.enters("a plain reader does not get in beside an upgradable one", "read")
    writer.asks()
    writer.settle()
    upgrader.begin("upgrade", upgrader.held, None)
    upgrader.settle()
    late.asks("read")  # behind the upgrade, or beside the reader
    late.settle()
    if late.done():
        late.has(ENTERS)
        late.leaves()
    if upgrader.done() or writer.done():
        raise Broken("an upgrade or a writer is through while a reader is in")
    reader.leaves()
    upgrades(upgrader, "the last reader leaves; an upgrade that waits for it is not woken, or a writer got in before it")
    writer.settle()
    if writer.done():
        raise Broken("an upgrader and a writer are in at the same time")
    upgrader.leaves()
    left = [actor for actor in (writer, late) if actor.held is None]
    what = "after an upgrade those who queued do not get in"
    while left:
        wait_until(lambda: any(actor.done() for actor in left), what)
        first = next(actor for actor in left if actor.done())
        first.has(what)
        first.leaves()
        left.remove(first)


@scenario("R18", "thread", "task", "mixed", "loops", kind="upgradable")
def a_queued_upgradable_blocks_no_reader(world: World) -> None:
    upgrader, queued, reader = Cast(world).several(3)
    upgrader.enters(ENTERS, "upgradable")
    queued.asks("upgradable")
    queued.settle()
    if queued.done():
        raise Broken("two upgradable readers are in at the same time")
    reader.enters("an upgradable reader is in, another queues; a plain reader does not get in", "read")
    reader.leaves()
    upgrader.leaves()
    queued.has("an upgradable reader leaves; the next one does not wake")
    queued.leaves()


def gives_up(world: World, by_timeout: bool) -> None:
    for seconds in (0.15, 0.6, 2.4):  # on a machine so slow that the upgrade is gone too early: again
        upgrader, reader, behind = Cast(world).several(3)
        upgrader.enters(ENTERS, "upgradable")
        reader.enters("a plain reader does not get in beside an upgradable one", "read")
        upgrader.begin("upgrade", upgrader.held, seconds if by_timeout else None)
        upgrader.settle()
        behind.asks("read")
        behind.settle()
        early = upgrader.done() or behind.done()
        if by_timeout:
            if upgrader.ends("a timed upgrade does not end") is not None:
                raise Broken("an upgrade is through while a reader is in")
        else:
            is_cancelled(upgrader)
        behind.has("an upgrade gave up; a reader that queued behind it does not get in")
        another = Cast(world).next()
        another.enters("an upgrade gave up; a new reader does not get in", "read")
        writer = Cast(world).next()
        writer.asks()
        writer.settle()
        for actor in (another, behind, reader):
            actor.leaves()
        writer.settle()
        if writer.done():
            raise Broken("an upgrade gave up; a writer gets in as if its upgradable reader had left")
        upgrader.begin("upgrade", upgrader.held, None)
        upgrades(upgrader, "an upgrade gave up; the next one does not come through, though nobody else is in")
        upgrader.leaves()
        writer.has("an upgraded writer leaves; the next does not get in")
        writer.leaves()
        if not early:
            break


def is_cancelled(upgrader: Actor) -> None:
    assert isinstance(upgrader, TaskActor)
    upgrader.cancel("enough")
    try:
        upgrader.ends("a cancelled upgrade does not end")
    except asyncio.CancelledError:
        return
    raise Broken("an upgrade swallows its cancellation, or is through while a reader is in")


@scenario("R19", "thread", "task", "mixed", "loops", timed=True, kind="upgradable")
def an_upgrade_times_out(world: World) -> None:
    gives_up(world, by_timeout=True)


@scenario("R19", "task", "loops", kind="upgradable")
def an_upgrade_is_cancelled(world: World) -> None:
    gives_up(world, by_timeout=False)


@scenario("U01", "thread", "task", "mixed", "loops", needs=Offer.SHARED | Offer.DOWNGRADE, kind="lock")
def a_writer_becomes_a_reader(world: World) -> None:
    writer, next_writer, reader = Cast(world).several(3)
    writer.enters(ENTERS)
    next_writer.asks()
    next_writer.settle()
    writer.held = writer.does("a downgrade does not end", "downgrade", writer.held)
    writer.mode = "read"
    next_writer.settle()
    if next_writer.done():
        raise Broken("a writer has become a reader, and another writer is in")
    writer.leaves()
    next_writer.has("a writer has become a reader, and left; the writer that queued does not get in")
    reader.asks("read")
    reader.settle()
    next_writer.held = next_writer.does("a downgrade does not end", "downgrade", next_writer.held)
    next_writer.mode = "read"
    reader.has("a writer becomes a reader; a reader that queued does not get in")
    reader.leaves()
    next_writer.leaves()
