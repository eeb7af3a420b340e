"""R43: an initialiser raises, is cancelled, loses its loop or its task: the next caller runs it."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import time
import warnings
from typing import Any

import pytest

from aiolots import LazyLock, Once, OnceCell, lowlevel
from tests import tasks
from tests.onces import WORLDS, Initialiser, asks, assert_at_rest, first_of, wait_until_waiting
from tests.test_scenarios_loops import PROMPTLY, each_loop, no_revocation
from tests.worlds import (
    LOOPS,
    YIELD,
    Interrupted,
    LoopThread,
    World,
    in_thread,
    on_every_loop,
    outcome_of,
    wait_until,
)

__all__ = ["no_revocation"]  # a fixture

each_world = pytest.mark.parametrize("kind", WORLDS)
each_cell = pytest.mark.parametrize("make", [Once, OnceCell])


# --- it raises ----------------------------------------------------------------------------------------------------------


@each_world
@each_cell
def test_r43_initialiser_raises(kind: str, make: Any, no_revocation: None) -> None:
    """Exactly one of those who waited is the next; the others go on waiting."""
    cell, go = make(), threading.Event()
    initialiser = Initialiser(ZeroDivisionError(), go=go)
    with World(kind) as world:
        first = first_of(world.attempt(asks(cell, initialiser)), initialiser)
        others = [world.attempt(asks(cell, initialiser)) for _ in range(5)]
        wait_until_waiting(cell, 5)
        go.set()
        assert isinstance(first.error(), ZeroDivisionError)
        assert {attempt.guard() for attempt in others} == {None if make is Once else 2}
    assert initialiser.begun == [1, 2]
    assert_at_rest(cell)


@each_world
def test_r43_every_initialiser_raises(kind: str, no_revocation: None) -> None:
    """Each caller gets the error of its own, one after the other; nobody hangs."""
    cell, go = OnceCell[int](), threading.Event()
    initialiser = Initialiser(*[ZeroDivisionError(number) for number in range(8)], go=go)
    with World(kind) as world:
        attempts = [first_of(world.attempt(asks(cell, initialiser)), initialiser)]
        attempts += [world.attempt(asks(cell, initialiser)) for _ in range(7)]
        wait_until_waiting(cell, 7)
        go.set()
        assert sorted(str(attempt.error()) for attempt in attempts) == list("01234567")
        assert world.attempt(asks(cell, initialiser)).guard() == 9
    assert_at_rest(cell)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError])
def test_r43_initialiser_raises_what_is_no_exception(error: type[BaseException]) -> None:
    cell, initialiser = OnceCell[int](), Initialiser(error())
    with pytest.raises(error):
        cell.get_or_init(initialiser.plain)
    assert cell.get_or_init(initialiser.plain) == 2
    assert_at_rest(cell)


def test_r43_lazy_lock_tries_again() -> None:
    lazy = LazyLock(Initialiser(ZeroDivisionError()).plain)
    with pytest.raises(ZeroDivisionError):
        lazy.get()
    assert lazy.get() == 2


# --- it is cancelled, or interrupted ------------------------------------------------------------------------------------


@each_world
@each_cell
def test_r43_initialiser_is_cancelled(kind: str, make: Any, no_revocation: None) -> None:
    cell, go = make(), threading.Event()
    initialiser = Initialiser(go=go)
    with World(kind) as world:
        first = first_of(world.attempt(asks(cell, initialiser)), initialiser)
        others = [world.attempt(asks(cell, initialiser)) for _ in range(3)]
        wait_until_waiting(cell, 3)
        first.cancel()
        assert isinstance(first.error(), (Interrupted, *tasks.CANCELLED))
        wait_until(lambda: initialiser.begun == [1, 2])
        wait_until_waiting(cell, 2)
        go.set()
        assert {attempt.guard() for attempt in others} == {None if make is Once else 2}
    assert_at_rest(cell)


@each_world
def test_r43_a_waiter_is_cancelled(kind: str, no_revocation: None) -> None:
    """It leaves no trace; who waits behind it gets the value."""
    cell, go = OnceCell[int](), threading.Event()
    initialiser = Initialiser(go=go)
    with World(kind) as world:
        first = first_of(world.attempt(asks(cell, initialiser)), initialiser)
        second, third = [world.attempt(asks(cell, initialiser)) for _ in range(2)]
        wait_until_waiting(cell, 2)
        second.cancel()
        assert isinstance(second.error(), (Interrupted, *tasks.CANCELLED))
        wait_until_waiting(cell, 1)
        go.set()
        assert (first.guard(), third.guard()) == (1, 1)
    assert_at_rest(cell)


@on_every_loop
async def test_r43_the_next_is_cancelled_in_the_moment_in_which_it_is_woken(no_revocation: None) -> None:
    """The initialiser fails and wakes the next, which is cancelled before it runs: the one behind it initialises."""
    cell, go = OnceCell[int](), threading.Event()
    initialiser = Initialiser(ZeroDivisionError(), go=go)
    waiting: list[Any] = []

    async def fail() -> None:
        try:
            await cell.get_or_init(initialiser.coloured)
        finally:
            waiting[0].cancel()

    first = tasks.start(fail())
    while not initialiser.begun:
        await tasks.pause()
    for number in range(1, 4):
        waiting.append(tasks.start(cell.get_or_init(initialiser.coloured)))
        while cell.waiting < number:
            await tasks.pause()
    go.set()
    async with tasks.timeout(PROMPTLY):
        with pytest.raises(ZeroDivisionError):
            await first
        assert [await task for task in waiting[1:]] == [2, 2]
        if tasks.in_trio():  # which has it run up to its next checkpoint
            assert await waiting[0] == 2
        else:
            with pytest.raises(tasks.CANCELLED):
                await waiting[0]
    assert_at_rest(cell)


@pytest.mark.parametrize("initialises", [True, False], ids=["initialiser", "waiter"])
def test_r43_ctrl_c(initialises: bool) -> None:
    """SIGINT in the main thread, while its plain initialiser runs, or while it waits for another's."""
    cell, go = OnceCell[int](), threading.Event()
    initialiser = Initialiser(go=go)
    if not initialises:
        other = in_thread(cell.get_or_init, initialiser.plain)
        wait_until(lambda: initialiser.begun)

    raised: list[int] = []

    def handler(*_: Any) -> None:
        if not raised:
            raised.append(1)
            raise KeyboardInterrupt

    def interrupt() -> None:
        wait_until(lambda: initialiser.inside and (initialises or cell.waiting == 1))
        while not raised:  # one that comes just before the thread sleeps is not seen before it wakes up
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(YIELD)

    before = signal.signal(signal.SIGINT, handler)
    try:
        helper = in_thread(interrupt)
        with pytest.raises(KeyboardInterrupt):
            cell.get_or_init(initialiser.plain)
        helper.join()
    finally:
        signal.signal(signal.SIGINT, before)
    assert cell.waiting == 0
    go.set()
    if initialises:
        assert cell.get_or_init(initialiser.plain) == 2
    else:
        assert other.join() == 1
    assert_at_rest(cell)


# --- its loop, its task -------------------------------------------------------------------------------------------------


@each_loop
@each_cell
@pytest.mark.parametrize("waits", ["thread", "task"])
def test_r43_initialisers_loop_is_closed(kind: str, make: Any, waits: str, no_revocation: None) -> None:
    cell = make()
    call = cell.call_once if make is Once else cell.get_or_init
    initialiser, second = Initialiser(go=threading.Event()), Initialiser()
    loop, other = LoopThread(kind), LoopThread("asyncio")
    with other:
        lost = loop.submit(call(initialiser.coloured))
        wait_until(lambda: initialiser.begun)
        waiting: Any = in_thread(call, second.plain) if waits == "thread" else other.submit(call(second.coloured))
        wait_until_waiting(cell, 1)
        loop.close(cancel=False)
        result = waiting.join(PROMPTLY) if waits == "thread" else outcome_of(waiting, PROMPTLY)
        assert result == (None if make is Once else 1)
    assert second.begun == [1]
    del lost
    gc.collect()  # the coroutine of the lost task ends here
    assert cell.is_initialized()
    assert_at_rest(cell)


@each_loop
def test_r43_the_next_callers_loop_is_closed_too(kind: str, no_revocation: None) -> None:
    """Who was woken as the next is gone before it ran: the one behind it initialises."""
    cell, go = OnceCell[int](), threading.Event()
    initialiser, last = Initialiser(ZeroDivisionError(), go=go), Initialiser()
    loop = LoopThread(kind)
    first = in_thread(cell.get_or_init, initialiser.plain)
    wait_until(lambda: initialiser.begun)
    loop.submit(cell.get_or_init(initialiser.coloured))
    wait_until_waiting(cell, 1)
    behind = in_thread(cell.get_or_init, last.plain)
    wait_until_waiting(cell, 2)

    def fail() -> None:
        go.set()
        with pytest.raises(ZeroDivisionError):
            first.join()
        loop.loop.stop()  # the wake is in the mailbox

    loop.call(fail)
    loop.thread.join()
    loop.close(cancel=False)
    assert behind.join(PROMPTLY) in (1, 2)
    assert_at_rest(cell)


@each_loop
def test_r43_initialisers_loop_is_stopped_and_goes_on(kind: str) -> None:
    """A loop that stands still may go on: it is waited for."""
    cell, go = OnceCell[int](), threading.Event()
    initialiser = Initialiser(go=go)
    with LoopThread(kind) as loop:
        task = loop.submit(cell.get_or_init(initialiser.coloured))
        wait_until(lambda: initialiser.begun)
        loop.stop()
        go.set()
        waiting = in_thread(cell.get_or_init, initialiser.plain)
        wait_until_waiting(cell, 1)
        loop.start()
        assert outcome_of(task) == waiting.join() == 1
    assert_at_rest(cell)


@each_loop
def test_r43_a_waiters_loop_is_stopped(kind: str, no_revocation: None) -> None:
    """Others are woken at once; the task of that loop gets the value when it runs."""
    cell, go = OnceCell[int](), threading.Event()
    initialiser = Initialiser(ZeroDivisionError(), go=go)
    with LoopThread(kind) as loop:
        first = in_thread(cell.get_or_init, initialiser.plain)
        wait_until(lambda: initialiser.begun)
        task = loop.submit(cell.get_or_init(initialiser.coloured))
        wait_until_waiting(cell, 1)
        loop.stop()
        behind = in_thread(cell.get_or_init, initialiser.plain)
        wait_until_waiting(cell, 2)
        lowlevel.set_revoke_after(0.05)
        go.set()
        with pytest.raises(ZeroDivisionError):
            first.join()
        assert behind.join(PROMPTLY) == 2
        loop.start()
        assert outcome_of(task) == 2
    assert_at_rest(cell)


# Of garbage, a socket may be finalized before its loop, which then fails to close: with the GIL off in this very order.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("close", [True, False], ids=["closed", "dropped"])
def test_r43_initialisers_loop_is_dropped(close: bool, no_revocation: None) -> None:
    cell, initialiser = OnceCell[int](), Initialiser(go=threading.Event())

    def lose() -> None:
        loop = LOOPS["asyncio"]()
        task: Any = loop.create_task(cell.get_or_init(initialiser.coloured))
        loop.run_until_complete(asyncio.sleep(0))
        task._log_destroy_pending = False
        if close:
            loop.close()

    in_thread(lose).join()
    assert initialiser.begun == [1]
    last = Initialiser()
    waiting = in_thread(cell.get_or_init, last.plain)
    if not close:
        wait_until_waiting(cell, 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # of asyncio, for a loop that was not closed
            gc.collect()
    assert waiting.join(PROMPTLY) == 1
    gc.collect()
    assert_at_rest(cell)


@each_loop
def test_r43_initialisers_task_is_collected(kind: str, no_revocation: None) -> None:
    """Nobody but the cell knew of it, and what it awaits nobody else knows."""
    cell = OnceCell[int]()

    async def for_ever() -> int:
        await asyncio.get_running_loop().create_future()
        return 1

    async def lose() -> None:
        task: Any = asyncio.ensure_future(cell.get_or_init(for_ever))
        task._log_destroy_pending = False
        await asyncio.sleep(0)

    with LoopThread(kind) as loop:
        loop.run(lose())
        waiting = in_thread(cell.get_or_init, lambda: 2)
        wait_until(lambda: gc.collect() >= 0 and waiting.done())
        assert waiting.join() == 2
    assert_at_rest(cell)


@on_every_loop
async def test_r43_initialisers_coroutine_is_closed(no_revocation: None) -> None:
    """By whoever drives it: another caller that waits goes on."""
    cell = OnceCell[int]()
    initialiser = Initialiser(go=threading.Event())

    async def close_it() -> None:
        steps = cell.get_or_init(initialiser.coloured).__await__()
        next(steps)
        waiting = in_thread(cell.get_or_init, lambda: 2)
        wait_until_waiting(cell, 1)
        steps.close()
        assert waiting.join(PROMPTLY) == 2

    if not tasks.in_trio():  # trio minds that what it was asked for is not waited for
        await close_it()
        assert initialiser.inside == 0
        assert_at_rest(cell)
