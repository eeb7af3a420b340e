"""The contract of Event, in every world: set() reaches all who wait then, and nobody else."""

from __future__ import annotations

import asyncio
import copy
import functools
import math
import pickle
import signal
import threading
from typing import Any

import pytest

from aiolots import Event, LoopBlockedWarning, lowlevel
from tests.waits import (
    Either,
    awaited,
    is_the_original,
    loop_policy,
    loops_may_block,
    patience,
    signal_until,
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
)

__all__ = ["loop_policy", "loops_may_block", "patience", "world"]  # fixtures

each_loop = pytest.mark.parametrize("kind", LOOP_KINDS)
PROMPTLY = 1.0


def queue_up(world: World, event: Event, count: int) -> list[Attempt]:
    attempts = []
    for number in range(1, count + 1):
        attempts.append(world.attempt(lambda: event.wait_for(None)))
        wait_until_waiting(event, number)
    return attempts


def test_a_flag() -> None:
    event = Event()
    assert not event.is_set()
    assert event.wait(0) is False
    assert event.wait(0.001) is False
    event.set()
    event.set()
    assert event.is_set()
    assert event.wait() is True
    assert event.wait(0) is True
    event.clear()
    assert not event.is_set()
    assert event.wait(0) is False


def test_it_wakes_all(world: World) -> None:
    event = Event()
    attempts = queue_up(world, event, 40)
    assert event.waiting == 40
    event.set()
    assert [attempt.guard() for attempt in attempts] == [True] * 40
    assert lowlevel.waiters(key=event) == []
    assert world.attempt(lambda: event.wait_for(None)).guard() is True


def test_a_flag_that_is_taken_down_at_once_was_up(world: World) -> None:
    event = Event()
    attempts = queue_up(world, event, 3)
    event.set()
    event.clear()
    assert [attempt.guard() for attempt in attempts] == [True] * 3
    late = world.attempt(lambda: event.wait_for(0.005))
    assert late.guard() is False


def test_it_times_out(world: World) -> None:
    event = Event()
    for seconds in (0, 1e-9, 0.005):
        assert world.attempt(functools.partial(event.wait_for, seconds)).guard() is False
    assert lowlevel.waiters(key=event) == []
    event.set()
    for seconds in (0, math.inf):
        assert world.attempt(functools.partial(event.wait_for, seconds)).guard() is True


@pytest.mark.parametrize(("seconds", "error"), [(-1, ValueError), (math.nan, ValueError), ("1", TypeError)])
def test_timeouts_are_seconds(seconds: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        Event().wait(seconds)
    with pytest.raises(error):
        Event().wait_for(seconds)


def test_set_without_a_loop_it_needs_none() -> None:
    event = Event()
    with pytest.raises(RuntimeError, match="event loop"):
        event.__await__().send(None)
    event.set()
    with pytest.raises(StopIteration) as done:
        event.__await__().send(None)
    assert done.value.value is True


@pytest.mark.parametrize("leaver", range(3))
def test_a_cancelled_wait_leaves_no_trace(world: World, leaver: int) -> None:
    event = Event()
    attempts = queue_up(world, event, 3)
    attempts[leaver].cancel("enough")
    assert is_the_original(attempts.pop(leaver).error(), "enough")
    assert waiting_at(event) == 2
    event.set()
    assert [attempt.guard() for attempt in attempts] == [True] * 2


@on_each_loop
async def test_who_comes_after_the_clear_does_not_get_what_a_cancelled_one_leaves() -> None:
    event = Event()
    first = asyncio.ensure_future(awaited(event))
    await until_waiting(event, 1)
    event.set()
    event.clear()
    late = asyncio.ensure_future(awaited(event))
    first.cancel("enough")
    with pytest.raises(asyncio.CancelledError, match="enough"):
        await first
    await until_waiting(event, 1)
    assert not late.done()
    event.set()
    assert await late is True


def test_no_set_is_missed(world: World) -> None:
    """Ping-pong: a set() between the look and the sleep would end it."""
    ping, pong, rounds = Event(), Event(), 200

    def thread(mine: Event, other: Event) -> None:
        for _ in range(rounds):
            assert mine.wait()
            mine.clear()
            other.set()

    async def task(mine: Event, other: Event) -> None:
        for _ in range(rounds):
            assert await mine
            mine.clear()
            other.set()

    attempts = [
        world.attempt(functools.partial(Either, functools.partial(thread, *both), functools.partial(task, *both)))
        for both in ((ping, pong), (pong, ping))
    ]
    ping.set()
    for attempt in attempts:
        attempt.guard()
    assert ping.is_set()
    assert not pong.is_set()


@pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason="signals come to the main thread")
def test_set_by_a_signal_handler_in_the_thread_that_waits() -> None:
    event = Event()
    before = signal.signal(signal.SIGUSR1, lambda *_: event.set())
    try:
        thread = in_thread(signal_until, threading.get_ident(), event, event.is_set)
        assert event.wait(60) is True
        thread.join()
    finally:
        signal.signal(signal.SIGUSR1, before)


@each_loop
def test_r20_a_stopped_loops_task_hears_of_it_later(kind: str) -> None:
    lowlevel.set_revoke_after(0.02)
    event = Event()
    with LoopThread(kind) as loop:
        task = loop.submit(awaited(event))
        wait_until_waiting(event, 1)
        loop.stop()
        event.set()
        event.clear()
        behind = in_thread(event.wait)  # has the task's wake passed on to it, which is none of its own
        wait_until_waiting(event, 2)  # the task is queued again
        assert not behind.done()
        loop.start()
        assert outcome_of(task) is True
        event.set()
        assert behind.join() is True


@each_loop
def test_r20_a_closed_loop(kind: str) -> None:
    event = Event()
    loop = LoopThread(kind)
    loop.submit(awaited(event))
    wait_until_waiting(event, 1)
    behind = in_thread(event.wait)
    wait_until_waiting(event, 2)
    loop.close(cancel=False)
    assert waiting_at(event) == 1
    event.set()
    assert behind.join(PROMPTLY) is True


@each_loop
def test_r21_a_sleeping_loops_task_hears_of_it_later(kind: str, loops_may_block: None) -> None:
    event, other = Event(), Event()
    with LoopThread(kind) as loop:
        task = loop.submit(awaited(event))
        wait_until_waiting(event, 1)
        blocks = in_thread(loop.call, other.wait)
        wait_until_waiting(other, 1)
        event.set()
        event.clear()
        other.set()
        assert blocks.join(PROMPTLY) is True
        assert outcome_of(task) is True


@each_loop
def test_a_sync_wait_on_a_loops_thread(kind: str, loop_policy: Any) -> None:
    event = Event(name="ready")
    with LoopThread(kind) as loop:
        with pytest.warns(LoopBlockedWarning, match="ready"):
            assert loop.call(lambda: event.wait(0.001)) is False
        loop_policy("raise")
        with pytest.raises(RuntimeError, match="running event loop"):
            loop.call(event.wait)
        event.set()
        assert loop.call(event.wait) is True


@pytest.mark.parametrize("take", [copy.copy, copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))])
def test_copies(take: Any) -> None:
    event = Event(name="ready")
    assert not take(event).is_set()
    event.set()
    other = take(event)
    assert (type(other), other.is_set(), other.name) == (Event, True, "ready")
    other.clear()
    assert event.is_set()


def test_repr() -> None:
    event = Event(name="ready")
    assert repr(event) == "<aiolots.Event 'ready' unset>"
    thread = in_thread(event.wait)
    wait_until_waiting(event, 1)
    assert repr(event) == "<aiolots.Event 'ready' unset waiters=1>"
    event.set()
    thread.join()
    assert repr(event) == "<aiolots.Event 'ready' set>"


def test_a_request_that_is_dropped() -> None:
    with pytest.warns(RuntimeWarning, match="ready"):
        Event(name="ready").wait_for(1)
