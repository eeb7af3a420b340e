"""The parking lot's own verbs: park, unpark_one, unpark_all, unpark_filter, requeue."""

from __future__ import annotations

import asyncio
import copy
import math
import pickle
import threading
from typing import Any

import pytest

from aiolots import LoopBlockedWarning, Mutex, lowlevel
from tests.waits import (
    awaited,
    is_the_original,
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
    LoopThread,
    World,
    in_thread,
    on_each_loop,
    outcome_of,
    wait_until,
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


# --- unpark -----------------------------------------------------------------------------------------------------------


def test_first_come_first_unparked(world: World) -> None:
    key = Key()
    parked = park_some(world, key, 3)
    for number, attempt in enumerate(parked):
        assert lowlevel.unpark_one(key, number) == lowlevel.UnparkResult(1, have_more=number < 2)
        assert attempt.guard() == unparked(number)
        wait_until_waiting(key, 2 - number)
    assert lowlevel.unpark_one(key) == lowlevel.UnparkResult(0, have_more=False)
    assert not lowlevel.unpark_one(key)


def test_unpark_all(world: World) -> None:
    key, other = Key(), Key()
    parked = park_some(world, key, 40)
    elsewhere = park_some(world, other, 1)
    assert lowlevel.unpark_all(key, 2**64 - 1) == lowlevel.UnparkResult(40, have_more=False)
    assert {attempt.guard() for attempt in parked} == {unparked(2**64 - 1)}
    assert not elsewhere[0].done()
    assert lowlevel.unpark_all(other).count == 1
    assert elsewhere[0].guard()


def test_unpark_filter(world: World) -> None:
    key = Key()
    parked = park_some(world, key, 4)
    tickets = [waiter.ticket for waiter in lowlevel.waiters(key=key)]
    seen: list[lowlevel.Waiter] = []

    def choose(waiter: lowlevel.Waiter) -> bool:
        seen.append(waiter)
        return waiter.ticket in tickets[1:3]

    assert lowlevel.unpark_filter(key, choose, 7) == lowlevel.UnparkResult(2, have_more=True)
    assert [waiter.ticket for waiter in seen] == tickets
    assert [waiter.is_task for waiter in seen] == [attempt.is_task for attempt in parked]
    assert {(waiter.mode, waiter.key, waiter.expects, waiter.lock_name) for waiter in seen} == {("park", id(key), True, None)}
    assert [attempt.guard() for attempt in parked[1:3]] == [unparked(7)] * 2
    assert waiting_at(key) == 2
    lowlevel.unpark_all(key)
    assert parked[0].guard()
    assert parked[3].guard()


def test_the_callback_gets_the_result() -> None:
    key, results = Key(), []
    assert lowlevel.unpark_one(key, callback=results.append) == lowlevel.UnparkResult(0, have_more=False)
    parked = in_thread(lowlevel.park(key).acquire)
    wait_until_waiting(key, 1)
    result = lowlevel.unpark_one(key, callback=results.append)
    assert parked.join()
    assert results == [lowlevel.UnparkResult(0, have_more=False), result]


@pytest.mark.parametrize("token", [-1, 2**64])
def test_a_token_has_64_bits(token: int) -> None:
    with pytest.raises(OverflowError):
        lowlevel.unpark_one(Key(), token)


# --- park -------------------------------------------------------------------------------------------------------------


def test_it_validates_once_it_is_queued(world: World) -> None:
    key, seen = Key(), []

    def validate() -> bool:
        seen.append(waiting_at(key))
        return False

    assert world.attempt(lambda: lowlevel.park(key, validate=validate)).guard() == invalid()
    assert seen == [1]
    assert waiting_at(key) == 0


def test_an_unpark_while_it_validates_is_not_missed(world: World) -> None:
    for answer in (True, False):
        key = Key()

        def validate() -> bool:
            assert lowlevel.unpark_one(key, 9).count == 1  # noqa: B023
            return answer  # noqa: B023

        assert world.attempt(lambda: lowlevel.park(key, validate=validate)).guard() == unparked(9)  # noqa: B023


def test_before_sleep(world: World) -> None:
    key, log = Key(), []
    parked = world.attempt(
        lambda: lowlevel.park(
            key, validate=lambda: not log.append("validate"), before_sleep=lambda: log.append(waiting_at(key))
        )
    )
    wait_until(lambda: len(log) == 2)
    assert log == ["validate", 1]
    lowlevel.unpark_one(key)
    assert parked.guard()
    assert len(log) == 2


@pytest.mark.parametrize("where", ["validate", "before_sleep"])
def test_what_they_raise_goes_out(world: World, where: str) -> None:
    key = Key()

    def fail() -> bool:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        world.attempt(lambda: lowlevel.park(key, **{where: fail})).guard()
    assert lowlevel.waiters(key=key) == []


@pytest.mark.parametrize("seconds", [0, 1e-9, 0.01])
def test_it_times_out(world: World, seconds: float) -> None:
    key = Key()
    assert world.attempt(lambda: lowlevel.park(key, timeout=seconds)).guard() == timed_out()
    assert lowlevel.waiters(key=key) == []
    assert not lowlevel.unpark_one(key)


def test_with_no_time_it_validates_without_queueing(world: World) -> None:
    key, seen = Key(), []

    def park() -> lowlevel.Parked:
        return lowlevel.park(key, timeout=0, validate=lambda: bool(seen.append(waiting_at(key))), before_sleep=pytest.fail)

    assert world.attempt(park).guard() == invalid()
    assert seen == [0]


@pytest.mark.parametrize("seconds", [math.inf, 1e30])
def test_for_ever(world: World, seconds: float) -> None:
    parked = park_some(world, key := Key(), 1, timeout=seconds)
    lowlevel.unpark_one(key)
    assert parked[0].guard()


@pytest.mark.parametrize(("seconds", "error"), [(-1, ValueError), (math.nan, ValueError), ("1", TypeError)])
def test_timeouts_are_seconds(seconds: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        lowlevel.park(Key(), timeout=seconds)


def test_the_key_is_the_very_object(world: World) -> None:
    one, another = [1], [1]
    parked = park_some(world, one, 1)
    assert not lowlevel.unpark_one(another)
    assert lowlevel.unpark_one(one)
    assert parked[0].guard()


def test_the_truth_of_a_result() -> None:
    assert unparked()
    assert not invalid()
    assert not timed_out()
    assert lowlevel.UnparkResult(2, have_more=False)
    assert not lowlevel.UnparkResult(0, have_more=True)


# --- leaving ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("leaver", range(3))
def test_a_cancelled_park_leaves_no_trace(world: World, leaver: int) -> None:
    key = Key()
    parked = park_some(world, key, 3)
    parked[leaver].cancel("enough")
    assert is_the_original(parked.pop(leaver).error(), "enough")
    assert waiting_at(key) == 2
    for attempt in parked:
        assert lowlevel.unpark_one(key)
        assert attempt.guard()
    assert lowlevel.waiters(key=key) == []


@on_each_loop
async def test_unparked_then_cancelled_in_one_step_the_next_gets_it() -> None:
    async def park() -> lowlevel.ParkResult:
        return await lowlevel.park(key)

    for cancel_first in (False, True):
        key = Key()
        tasks = [asyncio.create_task(park()) for _ in range(2)]
        await until_waiting(key, 2)
        if cancel_first:
            tasks[0].cancel("enough")
        assert lowlevel.unpark_one(key, 4)  # the first is in the queue still, for its task has not run
        if not cancel_first:
            tasks[0].cancel("enough")
        with pytest.raises(asyncio.CancelledError, match="enough"):
            await tasks[0]
        assert await tasks[1] == unparked(4)
        assert lowlevel.waiters(key=key) == []


@on_each_loop
async def test_unparked_then_cancelled_and_nobody_else_is_there() -> None:
    key = Key()
    task = asyncio.ensure_future(awaited(lowlevel.park(key)))
    await until_waiting(key, 1)
    assert lowlevel.unpark_one(key)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert lowlevel.waiters(key=key) == []


def test_timeouts_race_with_unparks() -> None:
    """Each unpark that counts is somebody's result, and the other way round."""
    key, rounds = Key(), 300
    results: list[lowlevel.ParkResult] = []
    ended = threading.Event()

    def park() -> None:
        results.extend(lowlevel.park(key, timeout=0.0002).acquire() for _ in range(rounds))
        ended.set()

    thread = in_thread(park)
    count = 0
    while not ended.is_set():
        count += lowlevel.unpark_one(key).count
    thread.join()
    assert sum(map(bool, results)) == count
    assert {result.reason for result in results} <= {"unparked", "timed_out"}


# --- misuse -----------------------------------------------------------------------------------------------------------


def test_a_request_is_for_one_wait() -> None:
    request = lowlevel.park(Key(), timeout=0)
    assert request.acquire() == timed_out()
    with pytest.raises(RuntimeError, match="before"):
        request.acquire()
    with pytest.raises(RuntimeError, match="before"):
        request.__await__().send(None)


def test_a_dropped_request_warns() -> None:
    with pytest.warns(RuntimeWarning, match=r"park request of .*Key object.*test_lowlevel_park.py.*never"):
        lowlevel.park(Key())


def test_a_pending_request_is_neither_true_nor_false() -> None:
    request = lowlevel.park(Key(), timeout=0)
    with pytest.raises(TypeError):
        bool(request)
    assert "pending" in repr(request)
    request.acquire()
    assert not request
    assert "over" in repr(request)


@pytest.mark.parametrize("take", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_request_is_not_copied(take: Any) -> None:
    request = lowlevel.park(Key(), timeout=0)
    with pytest.raises(TypeError):
        take(request)
    request.acquire()


def test_a_task_needs_a_loop() -> None:
    with pytest.raises(RuntimeError, match="event loop"):
        lowlevel.park(Key()).__await__().send(None)


def test_waiters_of_a_lock_or_at_a_key() -> None:
    with pytest.raises(TypeError):
        lowlevel.waiters(Mutex(), key=Key())


# --- loops that cannot run ----------------------------------------------------------------------------------------------


@each_loop
def test_r20_the_unpark_of_a_stopped_loops_task_goes_to_the_next(kind: str) -> None:
    lowlevel.set_revoke_after(0.05)
    key = Key()
    with LoopThread(kind) as loop:
        task = loop.submit(awaited(lowlevel.park(key)))
        wait_until_waiting(key, 1)
        loop.stop()
        assert lowlevel.unpark_one(key, 1)
        behind = in_thread(lowlevel.park(key).acquire)
        assert behind.join() == unparked(1)
        loop.start()
        wait_until(lambda: lowlevel.unpark_one(key, 2))  # passed over, until it has looked
        assert outcome_of(task) == unparked(2)


@each_loop
def test_r20_the_unpark_of_a_closed_loops_task_goes_to_the_next(kind: str) -> None:
    key = Key()
    loop = LoopThread(kind)
    loop.submit(awaited(lowlevel.park(key)))
    wait_until_waiting(key, 1)
    behind = in_thread(lowlevel.park(key).acquire)
    wait_until_waiting(key, 2)
    loop.stop()
    assert lowlevel.unpark_one(key, 1)
    assert not behind.done()
    loop.close(cancel=False)
    assert behind.join() == unparked(1)
    assert lowlevel.waiters(key=key) == []


@each_loop
def test_r21_a_task_that_was_passed_over_validates_again(kind: str, loops_may_block: None) -> None:
    key, other, state = Key(), Key(), []
    with LoopThread(kind) as loop:
        task = loop.submit(awaited(lowlevel.park(key, validate=lambda: not state)))
        wait_until_waiting(key, 1)
        blocks = in_thread(loop.call, lowlevel.park(other).acquire)
        wait_until_waiting(other, 1)
        state.append("changed")
        assert lowlevel.unpark_one(key) == lowlevel.UnparkResult(0, have_more=True)
        assert lowlevel.waiters(key=key)[0].skipped
        lowlevel.unpark_one(other)
        assert blocks.join()
        assert outcome_of(task) == invalid()


@each_loop
def test_a_sync_park_on_a_loops_thread(kind: str, loop_policy: Any) -> None:
    key, log = Key(), []
    with LoopThread(kind) as loop:
        with pytest.warns(LoopBlockedWarning, match="Key object"):
            assert loop.call(lowlevel.park(key, timeout=0.001).acquire) == timed_out()
        loop_policy("raise")
        with pytest.raises(RuntimeError, match="running event loop"):
            loop.call(lowlevel.park(key, before_sleep=lambda: log.append("too late")).acquire)
        assert log == []
        assert loop.call(lowlevel.park(key, validate=lambda: False).acquire) == invalid()
        assert lowlevel.waiters(key=key) == []
