"""From one queue of the lot to another: requeue; and the example that is built on park."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest

from aiolots import Condvar, Mutex, lowlevel
from tests.waits import (
    loop_policy,
    loops_may_block,
    notified,
    patience,
    wait_until_waiting,
    waiting_at,
    world,
)
from tests.worlds import (
    LOOP_KINDS,
    Attempt,
    World,
    assert_idle,
    no_collector,
)

__all__ = ["loop_policy", "loops_may_block", "patience", "world"]  # fixtures

each_loop = pytest.mark.parametrize("kind", LOOP_KINDS)


class Key:
    """A key that can be referred to weakly."""


def park_some(world: World, key: object, count: int, **how: Any) -> list[Attempt]:
    parked = []
    for number in range(1, count + 1):
        parked.append(world.attempt(lambda: lowlevel.park(key, **how)))
        wait_until_waiting(key, number)
    return parked


def unparked(token: int = 0) -> lowlevel.ParkResult:
    return lowlevel.ParkResult(unparked=True, token=token, reason="unparked")


def invalid() -> lowlevel.ParkResult:
    return lowlevel.ParkResult(unparked=False, token=0, reason="invalid")


def timed_out() -> lowlevel.ParkResult:
    return lowlevel.ParkResult(unparked=False, token=0, reason="timed_out")


# --- requeue ----------------------------------------------------------------------------------------------------------


def test_requeue(world: World) -> None:
    source, target = Key(), Key()
    parked = park_some(world, source, 5)
    there = park_some(world, target, 1)
    assert lowlevel.requeue(source, target, wake=1, move=3, token=5) == lowlevel.UnparkResult(1, have_more=True, requeued=3)
    assert parked[0].guard() == unparked(5)
    assert (waiting_at(source), waiting_at(target)) == (1, 4)
    for attempt in [*there, *parked[1:4]]:  # behind those who were there, in their order
        assert lowlevel.unpark_one(target, 6)
        assert attempt.guard() == unparked(6)
    assert not parked[4].done()
    assert lowlevel.requeue(source, target, wake=0) == lowlevel.UnparkResult(0, have_more=False, requeued=1)
    assert lowlevel.unpark_one(target)
    assert parked[4].guard()


def test_requeue_to_itself_moves_nobody(world: World) -> None:
    key = Key()
    parked = park_some(world, key, 2)
    assert lowlevel.requeue(key, key) == lowlevel.UnparkResult(1, have_more=True, requeued=0)
    assert parked[0].guard()
    lowlevel.unpark_all(key)
    assert parked[1].guard()


def test_who_was_moved_keeps_the_new_key_alive(world: World) -> None:
    source, target = Key(), Key()
    old, new = weakref.ref(source), weakref.ref(target)
    with no_collector():
        keys = [source]
        parked = world.attempt(lambda: lowlevel.park(keys.pop()))
        wait_until_waiting(source, 1)
        lowlevel.requeue(source, target, wake=0)
        del source, target
        gc.collect()
        assert old() is None
        moved_to = new()
        assert moved_to is not None
        lowlevel.unpark_one(moved_to)
        assert parked.guard()


def test_a_moved_waiter_that_leaves_passes_its_unpark_on_where_it_is() -> None:
    with World("asyncio") as world:
        source, target = Key(), Key()
        parked = park_some(world, source, 1)
        lowlevel.requeue(source, target, wake=0)
        behind = park_some_more(world, target, 2)

        def both() -> None:
            assert lowlevel.unpark_one(target, 3)
            parked[0].task.cancel()  # type: ignore[attr-defined]

        parked[0].do(both)
        assert isinstance(parked[0].error(), asyncio.CancelledError)
        assert behind.guard() == unparked(3)


def park_some_more(world: World, key: object, count: int) -> Attempt:
    attempt = world.attempt(lambda: lowlevel.park(key))
    wait_until_waiting(key, count)
    return attempt


@pytest.mark.parametrize("numbers", [{"wake": -1}, {"move": -1}])
def test_requeue_of_less_than_nobody(numbers: dict[str, int]) -> None:
    with pytest.raises(ValueError):
        lowlevel.requeue(Key(), Key(), **numbers)


def test_waiters_of_a_condvar_are_not_moved(world: World) -> None:
    lock, condvar, target = Mutex(), Condvar(), Key()
    waits = world.attempt(lambda: notified(condvar, lock.lock))
    wait_until_waiting(condvar, 1)
    assert lowlevel.requeue(condvar, target) == lowlevel.UnparkResult(0, have_more=True, requeued=0)
    assert condvar.notify_one() == 1
    assert waits.guard() is True
    assert_idle(lock)


# --- the example --------------------------------------------------------------------------------------------------------


def test_the_example_runs() -> None:
    example = Path(__file__).parent.parent / "examples" / "semaphore.py"
    assert len(example.read_text(encoding="utf-8").splitlines()) < 60
    command = [sys.executable, "-W", "error", str(example)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    assert done.stdout.startswith("600 visits by threads and tasks, ")
    assert int(done.stdout.split(", ")[1].split()[0]) <= 2
    assert done.stdout.endswith(" 0 still there\n")
