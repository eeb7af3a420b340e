"""The contract of Semaphore and BoundedSemaphore, in every world: in order, none too many in, no permit lost."""

from __future__ import annotations

import asyncio
import copy
import math
import pickle
from typing import Any

import pytest

from aiolots import BoundedSemaphore, Semaphore, lowlevel
from tests.waits import (
    awaited,
    loop_policy,
    loops_may_block,
    patience,
    until_waiting,
    wait_until_waiting,
    waiting_at,
    world,
)
from tests.worlds import (
    LOOP_KINDS,
    Attempt,
    World,
    in_thread,
    on_each_loop,
)

__all__ = ["loop_policy", "loops_may_block", "patience", "world"]  # fixtures

each_loop = pytest.mark.parametrize("kind", LOOP_KINDS)
each_kind = pytest.mark.parametrize("make", [Semaphore, BoundedSemaphore])
PROMPTLY = 1.0


def permit(semaphore: Semaphore) -> Any:
    return semaphore.try_acquire_for(math.inf)


def queue_up(world: World, semaphore: Semaphore, count: int) -> list[Attempt]:
    attempts = []
    for number in range(1, count + 1):
        attempts.append(world.attempt(lambda: permit(semaphore)))
        wait_until_waiting(semaphore, number)
    return attempts


def assert_whole(semaphore: Semaphore, value: int) -> None:
    """Nobody waits, and all permits are back."""
    assert semaphore.value == value
    assert semaphore.waiting == 0
    assert lowlevel.waiters(key=semaphore) == []
    assert semaphore._grants == {}


# --- counting -----------------------------------------------------------------------------------------------------------


@each_kind
def test_it_counts(make: Any) -> None:
    semaphore = make(2)
    assert semaphore.acquire() is True
    assert semaphore.value == 1
    assert semaphore.acquire(timeout=0.01) is True
    assert semaphore.locked()
    assert semaphore.acquire(blocking=False) is False
    assert semaphore.acquire(timeout=0) is False
    assert semaphore.acquire(timeout=0.001) is False
    assert semaphore.try_acquire() is False
    semaphore.release(2)
    assert not semaphore.locked()
    with semaphore as answer:
        assert answer is True
        assert semaphore.value == 1
    assert_whole(semaphore, 2)


@each_kind
def test_a_task_uses_it(make: Any) -> None:
    semaphore = make(2)

    @on_each_loop
    async def use() -> None:
        async with semaphore:
            assert await semaphore is True
            assert semaphore.value == 0
            assert await semaphore.try_acquire_for(0) is False
            assert await semaphore.try_acquire_for(0.001) is False
            semaphore.release()
        assert_whole(semaphore, 2)

    for kind in LOOP_KINDS:
        use(kind)


def test_uncontended_it_needs_no_loop() -> None:
    semaphore = Semaphore(1)
    with pytest.raises(StopIteration) as done:
        semaphore.__await__().send(None)
    assert done.value.value is True
    with pytest.raises(RuntimeError, match="event loop"):
        semaphore.__await__().send(None)
    semaphore.release()
    assert_whole(semaphore, 1)


@pytest.mark.parametrize(
    ("value", "error"), [(-1, ValueError), (2**33, ValueError), (1.5, TypeError), ("1", TypeError), (None, TypeError)]
)
def test_what_it_cannot_begin_with(value: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        Semaphore(value)


@each_kind
@pytest.mark.parametrize("number", [0, -1])
def test_what_cannot_be_released(make: Any, number: int) -> None:
    semaphore = make(1)
    with pytest.raises(ValueError):
        semaphore.release(number)
    assert semaphore.value == 1


def test_more_may_be_released_than_there_were() -> None:
    semaphore = Semaphore(0)
    semaphore.release(3)
    assert_whole(semaphore, 3)


def test_but_not_with_a_bounded_one() -> None:
    semaphore = BoundedSemaphore(3)
    with pytest.raises(ValueError):
        semaphore.release()
    semaphore.acquire()
    with pytest.raises(ValueError):
        semaphore.release(2)
    assert semaphore.value == 2
    semaphore.release()
    assert_whole(semaphore, 3)


@pytest.mark.parametrize(
    "arguments", [{"timeout": -1}, {"timeout": math.nan}, {"blocking": False, "timeout": 1}, {"blocking": False, "timeout": 0}]
)
def test_timeouts_that_make_no_sense(arguments: dict[str, Any]) -> None:
    semaphore = Semaphore(1)
    with pytest.raises(ValueError):
        semaphore.acquire(**arguments)
    with pytest.raises(TypeError):
        semaphore.acquire(timeout="1")  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        semaphore.try_acquire_for(-1)
    assert_whole(semaphore, 1)


# --- order --------------------------------------------------------------------------------------------------------------


@each_kind
def test_first_come_first_served(world: World, make: Any) -> None:
    semaphore = make(1)
    semaphore.acquire()
    attempts = queue_up(world, semaphore, 4)
    assert semaphore.waiting == 4
    for attempt in attempts:
        semaphore.release()
        assert attempt.guard() is True
        assert semaphore.value == 0
    semaphore.release()
    assert_whole(semaphore, 1)


@on_each_loop
async def test_nobody_barges_in_between_a_release_and_its_waiter() -> None:
    semaphore = Semaphore(1)
    await semaphore
    task = asyncio.ensure_future(awaited(permit(semaphore)))
    await until_waiting(semaphore, 1)
    semaphore.release()
    assert semaphore.try_acquire() is False
    assert semaphore.acquire(blocking=False) is False
    late = asyncio.ensure_future(awaited(permit(semaphore)))
    await until_waiting(semaphore, 1)
    assert await task is True
    assert not late.done()
    semaphore.release()
    assert await late is True
    semaphore.release()
    assert_whole(semaphore, 1)


def test_release_of_several(world: World) -> None:
    semaphore = Semaphore(0)
    attempts = queue_up(world, semaphore, 5)
    semaphore.release(3)
    assert [attempt.guard() for attempt in attempts[:3]] == [True] * 3
    assert waiting_at(semaphore) == 2
    semaphore.release(4)
    assert [attempt.guard() for attempt in attempts[3:]] == [True] * 2
    assert_whole(semaphore, 2)


# --- misuse, copies, repr -----------------------------------------------------------------------------------------------


def test_requests_are_requests() -> None:
    semaphore = Semaphore(1, name="pool")
    request = semaphore.try_acquire_for(1)
    with pytest.raises(TypeError):
        bool(request)
    assert request.acquire() is True
    with pytest.raises(RuntimeError, match="before"):
        request.acquire()
    with pytest.warns(RuntimeWarning, match="pool.*test_contract_semaphore.py"):
        semaphore.try_acquire_for(1)
    semaphore.release()
    assert_whole(semaphore, 1)


@each_kind
@pytest.mark.parametrize("take", [copy.copy, copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))])
def test_copies(make: Any, take: Any) -> None:
    semaphore = make(3, name="pool")
    with semaphore:
        other = take(semaphore)
    assert type(other) is make
    assert (other.value, other.name) == (3, "pool")
    assert semaphore.value == 3


def test_repr() -> None:
    semaphore = BoundedSemaphore(1, name="pool")
    assert repr(semaphore) == "<aiolots.BoundedSemaphore 'pool' value=1>"
    semaphore.acquire()
    thread = in_thread(semaphore.acquire)
    wait_until_waiting(semaphore, 1)
    assert repr(semaphore) == "<aiolots.BoundedSemaphore 'pool' value=0 waiters=1>"
    semaphore.release()
    thread.join()
    assert repr(Semaphore()) == "<aiolots.Semaphore value=1>"
