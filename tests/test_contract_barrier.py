"""The contract of Barrier, in every world: all meet, once a round; and what breaks it."""

from __future__ import annotations

import asyncio
import copy
import functools
import math
import operator
import pickle
import threading
from typing import Any

import pytest

from aiolots import Barrier, LoopBlockedWarning, lowlevel
from tests.waits import (
    Either,
    awaited,
    is_the_original,
    loop_policy,
    loops_may_block,
    patience,
    until_waiting,
    wait_until_waiting,
    world,
)
from tests.worlds import (
    LOOP_KINDS,
    Attempt,
    LoopThread,
    World,
    in_thread,
    on_each_loop,
    outcome_of,
    wait_until,
)

__all__ = ["loop_policy", "loops_may_block", "patience", "world"]  # fixtures

each_loop = pytest.mark.parametrize("kind", LOOP_KINDS)


def arrive(world: World, barrier: Barrier, count: int) -> list[Attempt]:
    attempts = []
    for _ in range(count):
        before = barrier.n_waiting
        attempts.append(world.attempt(lambda: barrier.wait_for(None)))
        wait_until_waiting(barrier, before + 1)
    return attempts


def is_broken(attempt: Attempt) -> bool:
    return isinstance(attempt.error(), threading.BrokenBarrierError)


def test_all_meet(world: World) -> None:
    barrier = Barrier(3)
    for _ in range(3):
        attempts = arrive(world, barrier, 2)
        assert barrier.n_waiting == 2
        assert not any(attempt.done() for attempt in attempts)
        last = world.attempt(lambda: barrier.wait_for(None))
        assert [attempt.guard() for attempt in attempts] == [0, 1]
        assert last.guard() == 2
        assert barrier.n_waiting == 0
    assert lowlevel.waiters(key=barrier) == []
    assert not barrier.broken


def test_one_party_waits_for_nobody() -> None:
    barrier = Barrier(1)
    assert barrier.wait() == 0
    assert barrier.wait(0) == 0
    with pytest.raises(StopIteration):
        barrier.__await__().send(None)


def test_round_after_round(world: World) -> None:
    """Who comes back at once is in the next round; nobody is a round ahead."""
    parties, rounds = 4, 50
    arrived: list[int] = []
    barrier = Barrier(parties, lambda: arrived.append(-1))

    def thread() -> None:
        for number in range(rounds):
            arrived.append(number)
            barrier.wait()

    async def task() -> None:
        for number in range(rounds):
            arrived.append(number)
            await barrier

    attempts = [world.attempt(lambda: Either(thread, task)) for _ in range(parties)]
    for attempt in attempts:
        attempt.guard()
    assert arrived == [number for each in range(rounds) for number in [*[each] * parties, -1]]


def test_a_task_and_async_with() -> None:
    barrier = Barrier(2)

    async def party() -> int:
        async with barrier as index:
            return index

    @on_each_loop
    async def meet() -> None:
        assert sorted(await asyncio.gather(party(), party())) == [0, 1]

    for kind in LOOP_KINDS:
        meet(kind)


# --- the action ---------------------------------------------------------------------------------------------------------


def test_the_action_comes_first(world: World) -> None:
    log: list[str] = []
    barrier = Barrier(2, lambda: log.append(f"{attempts[0].done()}"))
    attempts = arrive(world, barrier, 1)
    attempts.append(world.attempt(lambda: barrier.wait_for(None)))
    assert [attempt.guard() for attempt in attempts] == [0, 1]
    assert log == ["False"]


def test_an_action_that_raises_breaks_it(world: World) -> None:
    barrier = Barrier(2, functools.partial(operator.truediv, 1, 0))
    first = arrive(world, barrier, 1)[0]
    last = world.attempt(lambda: barrier.wait_for(None))
    assert isinstance(last.error(), ZeroDivisionError)
    assert is_broken(first)
    assert barrier.broken
    assert is_broken(world.attempt(lambda: barrier.wait_for(None)))


def test_aborted_by_its_action() -> None:
    def abort() -> None:
        barrier.abort()

    barrier = Barrier(1, abort)
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait()
    assert barrier.broken


# --- leaving ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("leaver", range(2))
def test_who_is_cancelled_has_not_arrived(world: World, leaver: int) -> None:
    barrier = Barrier(3)
    attempts = arrive(world, barrier, 2)
    attempts[leaver].cancel("enough")
    assert is_the_original(attempts.pop(leaver).error(), "enough")
    assert barrier.n_waiting == 1
    attempts += arrive(world, barrier, 1)
    assert not barrier.broken
    last = world.attempt(lambda: barrier.wait_for(None))
    assert {last.guard(), *(attempt.guard() for attempt in attempts)} == {0, 1, 2}
    assert barrier.n_waiting == 0


@on_each_loop
async def test_released_then_cancelled_in_one_step() -> None:
    barrier = Barrier(2)
    first = asyncio.ensure_future(awaited(barrier))
    await until_waiting(barrier, 1)
    assert await barrier == 1
    first.cancel("enough")
    with pytest.raises(asyncio.CancelledError, match="enough"):
        await first
    assert barrier.n_waiting == 0
    assert not barrier.broken
    assert sorted(await asyncio.gather(awaited(barrier), awaited(barrier))) == [0, 1]


def test_a_timeout_breaks_it_for_all(world: World) -> None:
    barrier = Barrier(3)
    patient = arrive(world, barrier, 1)[0]
    hasty = world.attempt(lambda: barrier.wait_for(0.005))
    assert is_broken(hasty)
    assert is_broken(patient)
    assert barrier.broken
    assert barrier.n_waiting == 0
    assert is_broken(world.attempt(lambda: barrier.wait_for(None)))
    barrier.reset()
    assert not barrier.broken
    attempts = arrive(world, barrier, 2)
    assert world.attempt(lambda: barrier.wait_for(5)).guard() == 2
    assert [attempt.guard() for attempt in attempts] == [0, 1]


@pytest.mark.parametrize("seconds", [0, 0.001])
def test_a_timeout_of_the_barrier_itself(seconds: float) -> None:
    barrier = Barrier(2, timeout=seconds)
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait()
    assert barrier.broken


def test_abort_and_reset(world: World) -> None:
    for end in (Barrier.abort, Barrier.reset):
        barrier = Barrier(3)
        attempts = arrive(world, barrier, 2)
        end(barrier)
        assert all(is_broken(attempt) for attempt in attempts)
        assert barrier.broken is (end is Barrier.abort)
        barrier.reset()
        attempts = arrive(world, barrier, 2)
        assert world.attempt(functools.partial(barrier.wait_for, None)).guard() == 2
        assert [attempt.guard() for attempt in attempts] == [0, 1]


def test_reset_of_nobody() -> None:
    barrier = Barrier(2)
    barrier.reset()
    assert not barrier.broken


# --- loops ----------------------------------------------------------------------------------------------------------------


@each_loop
def test_r20_who_waits_on_a_loop_that_is_closed_has_not_arrived(kind: str) -> None:
    barrier = Barrier(2)
    loop = LoopThread(kind)
    loop.submit(awaited(barrier))
    wait_until_waiting(barrier, 1)
    loop.close(cancel=False)
    wait_until(lambda: barrier.n_waiting == 0)
    first = in_thread(barrier.wait)
    wait_until_waiting(barrier, 1)
    assert barrier.wait() == 1
    assert first.join() == 0


@each_loop
def test_r20_a_stopped_loops_task_hears_of_it_later(kind: str) -> None:
    lowlevel.set_revoke_after(0.02)
    barrier = Barrier(2)
    with LoopThread(kind) as loop:
        task = loop.submit(awaited(barrier))
        wait_until_waiting(barrier, 1)
        loop.stop()
        assert barrier.wait() == 1
        other = in_thread(barrier.wait)  # of the next round: it may get the task's wake, and waits on
        wait_until_waiting(barrier, 2)
        assert not other.done()
        loop.start()
        assert outcome_of(task) == 0
        assert barrier.wait() == 1
        assert other.join() == 0


@each_loop
def test_r21_a_sleeping_loops_task_hears_of_it_later(kind: str, loops_may_block: None) -> None:
    """A task and the thread of its own loop meet with a third."""
    barrier = Barrier(3)
    with LoopThread(kind) as loop:
        task = loop.submit(awaited(barrier))
        wait_until_waiting(barrier, 1)
        blocks = in_thread(loop.call, barrier.wait)
        wait_until_waiting(barrier, 2)
        assert barrier.wait() == 2
        assert blocks.join() == 1
        assert outcome_of(task) == 0


@each_loop
def test_a_sync_wait_on_a_loops_thread(kind: str, loop_policy: Any) -> None:
    barrier = Barrier(2, name="start")
    with LoopThread(kind) as loop:
        loop_policy("raise")
        with pytest.raises(RuntimeError, match="running event loop"):
            loop.call(barrier.wait)
        assert barrier.n_waiting == 0
        loop_policy("warn")
        with pytest.warns(LoopBlockedWarning, match="start"), pytest.raises(threading.BrokenBarrierError, match="start"):
            loop.call(lambda: barrier.wait(0.001))


# --- misuse, copies, repr -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("parties", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), ("2", TypeError)])
def test_parties(parties: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        Barrier(parties)


@pytest.mark.parametrize(("seconds", "error"), [(-1, ValueError), (math.nan, ValueError), ("1", TypeError)])
def test_timeouts_are_seconds(seconds: Any, error: type[Exception]) -> None:
    barrier = Barrier(2)
    for call in (barrier.wait, barrier.wait_for, lambda timeout: Barrier(2, timeout=timeout)):
        with pytest.raises(error):
            call(seconds)
    assert barrier.n_waiting == 0


def test_a_request_is_for_one_arrival() -> None:
    barrier = Barrier(1)
    request = barrier.wait_for(None)
    assert request.acquire() == 0
    with pytest.raises(RuntimeError, match="before"):
        request.acquire()
    with pytest.warns(RuntimeWarning):
        barrier.wait_for(1)


@pytest.mark.parametrize("take", [copy.copy, copy.deepcopy, lambda b: pickle.loads(pickle.dumps(b))])
def test_copies(take: Any) -> None:
    barrier = Barrier(2, int, 0.001, name="start")
    barrier.abort()
    other = take(barrier)
    assert (type(other), other.parties, other.name, other.broken, other.n_waiting) == (Barrier, 2, "start", False, 0)
    with pytest.raises(threading.BrokenBarrierError):
        other.wait()


def test_repr() -> None:
    barrier = Barrier(2, name="start")
    assert repr(barrier) == "<aiolots.Barrier 'start' 0/2>"
    barrier.abort()
    assert repr(barrier) == "<aiolots.Barrier 'start' broken>"
    assert repr(Barrier(3)) == "<aiolots.Barrier 0/3>"
