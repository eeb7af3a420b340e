"""FairMutex: strictly first come, first served, in every world and between them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from aiolots import FairMutex, lowlevel
from tests.modes import WRITER
from tests.worlds import WATCHDOG, WORLDS, World, assert_idle, wait_until, wait_until_parked


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


def test_in_the_order_of_arrival_and_nobody_barges_in(world: World) -> None:
    mutex: FairMutex[list[int]] = FairMutex([])
    holder = world.attempt(mutex.lock)
    holder.guard()
    waiting = []
    for number in range(8):
        waiting.append(world.attempt(mutex.lock))
        wait_until_parked(mutex, number + 1)
    holder.release()
    for number, attempt in enumerate(waiting):
        attempt.guard().value.append(number)
        assert mutex.word & WRITER  # it was handed over, and never free
        assert not any(later.done() for later in waiting[number + 1 :])
        attempt.release()
        if number < len(waiting) - 1:
            assert mutex.try_lock() is None
    assert mutex._value == list(range(8))
    assert_idle(mutex)


@pytest.mark.parametrize("leaver", range(3))
def test_who_leaves_the_queue_does_not_open_it(world: World, leaver: int) -> None:
    mutex = FairMutex(None)
    holder = world.attempt(mutex.lock)
    holder.guard()
    waiting = []
    for number in range(3):
        waiting.append(world.attempt(mutex.lock))
        wait_until_parked(mutex, number + 1)
    waiting.pop(leaver).cancel()
    holder.release()
    for attempt in waiting:
        attempt.guard()
        attempt.release()
    wait_until(lambda: mutex.word == 0)
    assert_idle(mutex)
