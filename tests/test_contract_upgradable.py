"""The contract of upgradable reads, upgrades, downgrades and bump, in every world; R16 to R19."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aiolots import (
    AsyncReadGuard,
    AsyncUpgradableGuard,
    AsyncWriteGuard,
    LockTimeout,
    ReadGuard,
    RwLock,
    UpgradableGuard,
    WriteGuard,
    lowlevel,
)
from tests.changes import Change
from tests.modes import READER, UPGRADABLE, WRITER
from tests.worlds import (
    WATCHDOG,
    WORLDS,
    Interrupted,
    World,
    assert_idle,
    in_thread,
    no_collector,
    on_each_loop,
    wait_until,
    wait_until_parked,
)

ALONE = READER | UPGRADABLE


@pytest.fixture(autouse=True)
def patience() -> Iterator[None]:
    """Let no wake be revoked because the machine is slow: that has its own tests."""
    before = lowlevel.set_revoke_after(WATCHDOG)
    yield
    lowlevel.set_revoke_after(before)


@pytest.fixture(params=WORLDS)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with World(request.param) as world:
        yield world


# --- upgradable reads ------------------------------------------------------------------------------------------------


def test_beside_readers_and_one_at_a_time(world: World) -> None:
    lock = RwLock(1)
    reader, upgradable = world.attempt(lock.read), world.attempt(lock.upgradable_read)
    reader.guard()
    upgradable.guard()
    second = world.attempt(lock.upgradable_read)
    wait_until_parked(lock, 1)
    late = world.attempt(lock.read)  # R18: the second one that queues does not keep plain readers out
    late.guard()
    assert lock.word == 3 * READER | UPGRADABLE | 1
    assert lock.try_upgradable_read() is None
    assert lock.try_write() is None
    upgradable.release()
    second.guard()
    assert lock.word == 3 * READER | UPGRADABLE
    for attempt in (reader, late, second):
        attempt.release()
    assert_idle(lock)


def test_r16_one_that_waits_behind_a_writer_gets_in_after_it(world: World) -> None:
    lock = RwLock(None)
    writer = world.attempt(lock.write)
    writer.guard()
    waiting = [world.attempt(lock.upgradable_read)]
    wait_until_parked(lock, 1)
    waiting.append(world.attempt(lock.read))
    wait_until_parked(lock, 2)
    writer.release()
    for attempt in waiting:
        attempt.guard()
    assert lock.word == 2 * READER | UPGRADABLE
    for attempt in waiting:
        attempt.release()
    assert_idle(lock)


@pytest.mark.parametrize("leave", ["release", "downgrade"])
def test_a_writer_waits_for_it_and_it_keeps_nobody_else_out(world: World, leave: str) -> None:
    lock = RwLock(None)
    upgradable = world.attempt(lock.upgradable_read)
    upgradable.guard()
    writer = world.attempt(lock.write)
    wait_until_parked(lock, 1)
    assert lock.word == ALONE | 1  # it cannot own WRITER yet
    reader = world.attempt(lock.read)
    reader.guard()
    upgradable.do(getattr(upgradable.guard(), leave))
    wait_until(lambda: lock.word & WRITER, lambda: repr(lock))  # it owns WRITER now, and waits for the readers
    reader.release()
    if leave == "downgrade":
        upgradable.release()
    writer.release()
    assert_idle(lock)


# --- upgrades --------------------------------------------------------------------------------------------------------


def test_an_upgrade_waits_for_the_other_readers(world: World) -> None:
    lock = RwLock("old")
    upgradable, reader = world.attempt(lock.upgradable_read), world.attempt(lock.read)
    guard = upgradable.guard()
    reader.guard()
    assert upgradable.do(guard.try_upgrade) is None
    change = Change(upgradable, lambda guard: guard.upgrade())
    wait_until_parked(lock, 1)
    assert lock.word == READER | WRITER | 2
    assert not guard.is_held()
    assert not guard
    with pytest.raises(RuntimeError, match="not held"):
        guard.release()  # it is about to be the writer's
    late = world.attempt(lock.read)
    wait_until_parked(lock, 2)
    reader.release()
    assert change.result() is guard
    assert lock.word == WRITER | 1
    assert isinstance(guard, AsyncWriteGuard if upgradable.is_task else WriteGuard)
    guard.value = "new"
    upgradable.release()
    assert late.guard().value == "new"
    late.release()
    assert_idle(lock)


def test_r17_no_writer_is_in_between(world: World) -> None:
    lock = RwLock(0)
    upgradable, reader = world.attempt(lock.upgradable_read), world.attempt(lock.read)
    guard = upgradable.guard()
    reader.guard()
    writer = world.attempt(lock.write)
    wait_until_parked(lock, 1)
    change = Change(upgradable, lambda guard: guard.upgrade())
    wait_until_parked(lock, 2)
    reader.release()
    change.result()
    assert not writer.done()
    assert guard.value == 0
    guard.value = 1
    upgradable.release()
    assert writer.guard().value == 1
    writer.release()
    assert_idle(lock)


@pytest.mark.parametrize("how", ["try_upgrade_for", "upgrade", "cancel"])
def test_r19_an_upgrade_that_gives_up_is_upgradable_and_lets_readers_in(world: World, how: str) -> None:
    lock = RwLock(None)
    upgradable, reader = world.attempt(lock.upgradable_read), world.attempt(lock.read)
    guard = upgradable.guard()
    reader.guard()
    begin: dict[str, Callable[[Any], Any]] = {
        "try_upgrade_for": lambda guard: guard.try_upgrade_for(0.05),
        "upgrade": lambda guard: guard.upgrade(timeout=0.05),
        "cancel": lambda guard: guard.upgrade(),
    }
    change = Change(upgradable, begin[how])
    wait_until(lambda: lock.word & WRITER or change.done())
    late = world.attempt(lock.read)
    if how == "cancel":
        wait_until_parked(lock, 2)
        change.cancel()
        with pytest.raises(BaseException) as raised:
            change.result()
        assert type(raised.value).__name__ in (Interrupted.__name__, "CancelledError", "Cancelled")
    elif how == "upgrade":
        with pytest.raises(LockTimeout, match="no upgrade within"):
            change.result()
    else:
        assert change.result() is None
    late.guard()
    assert lock.word == 3 * READER | UPGRADABLE
    assert guard.is_held()
    assert isinstance(guard, AsyncUpgradableGuard if upgradable.is_task else UpgradableGuard)
    late.release()
    reader.release()
    assert upgradable.do(guard.try_upgrade) is guard
    upgradable.release()
    assert_idle(lock)


def test_an_upgrade_of_what_is_not_held(world: World) -> None:
    lock = RwLock(None)
    upgradable = world.attempt(lock.upgradable_read)
    guard = upgradable.guard()
    upgradable.release()
    with pytest.raises(RuntimeError, match="was released before"):
        guard.try_upgrade()
    with pytest.raises(RuntimeError, match="was released before"):
        Change(upgradable, lambda guard: guard.upgrade()).result()
    for wrong in (-1, float("nan")):
        with pytest.raises(ValueError, match="seconds"):
            guard.try_upgrade_for(wrong)
    assert_idle(lock)


# --- downgrades ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("to", ["downgrade", "downgrade_to_upgradable"])
def test_a_downgrade_lets_queued_readers_in_beside_it(world: World, to: str) -> None:
    lock = RwLock("old")
    writer = world.attempt(lock.write)
    guard = writer.guard()
    guard.value = "new"
    readers = []
    for count in range(1, 4):
        readers.append(world.attempt(lock.read))
        wait_until_parked(lock, count)
    next_writer = world.attempt(lock.write)
    wait_until_parked(lock, 4)
    assert writer.do(getattr(guard, to)) is guard
    for reader in readers:
        assert reader.guard().value == "new"
    kind = {
        "downgrade": AsyncReadGuard if writer.is_task else ReadGuard,
        "downgrade_to_upgradable": AsyncUpgradableGuard if writer.is_task else UpgradableGuard,
    }[to]
    assert isinstance(guard, kind)
    with pytest.raises(AttributeError):
        guard.value = "mine"
    assert not next_writer.done()
    for reader in (*readers, writer):
        reader.release()
    next_writer.release()
    assert_idle(lock)


def test_an_upgradable_one_goes_on_as_a_reader(world: World) -> None:
    lock = RwLock(None)
    first = world.attempt(lock.upgradable_read)
    first.guard()
    second = world.attempt(lock.upgradable_read)
    wait_until_parked(lock, 1)
    first.do(first.guard().downgrade)
    second.guard()
    assert lock.word == 2 * READER | UPGRADABLE
    first.release()
    second.release()
    assert_idle(lock)


def test_the_modes_there_and_back() -> None:
    lock = RwLock(0)
    with lock.upgradable_read() as guard:
        for number in range(1, 100):
            assert guard.upgrade().value == number - 1
            guard.value = number  # type: ignore[misc]
            assert lock.word == WRITER
            guard.downgrade_to_upgradable()  # type: ignore[attr-defined]
            assert lock.word == ALONE
    assert_idle(lock)


def test_a_guard_that_changed_and_was_dropped_releases_what_it_holds() -> None:
    lock = RwLock(None)

    def change_and_drop() -> None:
        guard = lock.write().acquire()
        guard.downgrade_to_upgradable()

    with pytest.warns(ResourceWarning, match="was dropped while it held"):
        change_and_drop()
    assert_idle(lock)


@on_each_loop
async def test_a_guard_that_is_garbage_in_the_middle_of_an_upgrade_releases() -> None:
    """The collector comes to the guard while it is changing, and then to what changes it, which makes it held again."""
    lock = RwLock(None)
    reader = lock.try_read()
    assert reader is not None

    async def begin_and_drop() -> None:
        guard = await lock.upgradable_read()
        upgrade: Any = guard.upgrade()
        upgrade.send(None)
        assert lock.word & WRITER
        garbage: list[Any] = [guard, upgrade]
        garbage.append(garbage)

    with no_collector():
        await begin_and_drop()
        with pytest.warns(ResourceWarning, match="was dropped while it held"):
            gc.collect()
    assert lock.word == READER
    reader.release()
    assert_idle(lock)


def test_of_two_threads_one_changes_it() -> None:
    for _ in range(200):
        lock = RwLock(None)
        guard = lock.write().acquire()

        def lose(do: Callable[[], Any]) -> bool:
            try:
                do()
            except RuntimeError:
                return False
            return True

        one, other = in_thread(lose, guard.downgrade), in_thread(lose, guard.release)
        downgraded, released = one.join(), other.join()
        assert released or guard.is_held()
        if guard.is_held():
            assert downgraded
            guard.release()
        assert_idle(lock)


# --- bump -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["write", "upgradable_read", "read"])
def test_bump_lets_those_in_who_wait(world: World, mode: str) -> None:
    lock = RwLock(0)
    holder = world.attempt(getattr(lock, mode))
    guard = holder.guard()
    assert Change(holder, lambda guard: guard.bump()).result() is None  # nobody waits: nothing happens
    writer = world.attempt(lock.write)
    wait_until_parked(lock, 1)
    change = Change(holder, lambda guard: guard.bump())
    writer.guard().value = 1
    wait_until_parked(lock, 1)
    assert not change.done()
    writer.release()
    change.result()
    assert guard.is_held()
    assert guard.value == 1
    holder.release()
    assert_idle(lock)


def test_a_cancelled_bump_holds_nothing(world: World) -> None:
    lock = RwLock(None)
    holder = world.attempt(lock.write)
    guard = holder.guard()
    writer = world.attempt(lock.write)
    wait_until_parked(lock, 1)
    change = Change(holder, lambda guard: guard.bump())
    writer.guard()
    wait_until_parked(lock, 1)
    change.cancel()
    with pytest.raises(BaseException) as raised:
        change.result()
    assert type(raised.value).__name__ in (Interrupted.__name__, "CancelledError", "Cancelled")
    assert not guard.is_held()
    writer.release()
    assert_idle(lock)
