"""R36, R38 to R40: fork, re-entry, starvation, odd timeouts."""

from __future__ import annotations

import asyncio
import functools
import gc
import itertools
import math
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable

from aiolots.testing._adapter import Mode, Offer
from aiolots.testing._registry import scenario
from aiolots.testing._waiting import Broken, Hang, NotApplicable, until, wait_until
from aiolots.testing._world import World, in_thread, outcome

# --- R36 --------------------------------------------------------------------------------------------------------------


def in_child(play: Callable[[], None]) -> None:
    """Fork, play in the child, and wait for that."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12+: this process has threads, and that is the point
        child = os.fork()
    if child == 0:
        status = 1
        try:
            play()
            status = 0
        except Hang:
            status = 2
        finally:
            os._exit(status)
    ended: list[int] = [0, 0]

    def has_ended() -> bool:
        ended[:] = os.waitpid(child, os.WNOHANG)
        return ended[0] == child

    try:
        wait_until(has_ended, "in a forked child the lock is stuck", 8)
    except Hang:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise
    status = os.waitstatus_to_exitcode(ended[1])
    if status == 2:
        raise Hang("in a forked child the lock is stuck")
    if status:
        raise Broken("in a forked child the lock is broken")


@scenario("R36", "thread", "mixed", needs=Offer.FORK)
def forked_by_the_holder_while_others_wait(world: World) -> None:
    if not hasattr(os, "fork"):
        raise NotApplicable("no fork here")
    held = world.adapter.acquire(world.lock, "write", None)
    waiting = [world.attempt("write") for _ in range(2)]
    for one in waiting:
        one.settle()

    def child() -> None:
        world.adapter.release(world.lock, "write", held)
        for mode in ("write", "read") if world.shared else ("write",):
            world.sync_through("read" if mode == "read" else "write")
        one, two = world.thread("write"), world.thread("write")
        wait_until(lambda: one.done() or two.done(), "stuck")
        first, second = (one, two) if one.done() else (two, one)
        first.release()
        second.enters("stuck")
        second.release()

    in_child(child)
    world.adapter.release(world.lock, "write", held)
    wait_until(lambda: any(one.done() for one in waiting), "after a fork nobody gets in in the parent")
    for one in sorted(waiting, key=lambda one: not one.done()):
        one.enters("after a fork the second waiter does not get in in the parent")
        one.release()


# --- R38 --------------------------------------------------------------------------------------------------------------


class Garbage:
    """In a cycle, so that the collector finds it at any allocation."""

    def __init__(self, finalize: Callable[[], None]) -> None:
        self.me = self
        self.finalize = finalize

    def __del__(self) -> None:
        self.finalize()


def reentered(world: World, prepare: Callable[[Callable[[], None]], Callable[[], None]]) -> None:
    """Let a thread acquire and release, while something takes the same lock, if it is free, at any moment in that thread."""
    adapter, stop, ran = world.adapter, threading.Event(), [0]

    def reenter() -> None:
        ran[0] += 1
        try:
            held = adapter.acquire(world.lock, "write", 0)
        except RuntimeError:  # a lock may refuse whoever has it already
            return
        if held is not None:
            adapter.release(world.lock, "write", held)

    def contend() -> None:
        while not stop.is_set():
            world.sync_through("write")
            time.sleep(0)

    each_round = prepare(reenter)
    other = in_thread(contend)
    end = time.monotonic() + 0.6
    while time.monotonic() < end or (ran[0] < 50 and time.monotonic() < end + 5):
        each_round()
        world.sync_through("write")
        if world.shared:
            world.sync_through("read")
    stop.set()
    outcome(other, "a finalizer or signal handler tried the lock; another thread sleeps in it for ever")


@scenario("R38", "thread", needs=Offer.TRY)
def a_signal_handler_tries_the_lock(world: World) -> None:
    def prepare(reenter: Callable[[], None]) -> Callable[[], None]:
        def handler(*_: object) -> None:
            reenter()

        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        return lambda: None

    if threading.current_thread() is not threading.main_thread():
        raise NotApplicable("only the main thread handles signals")
    try:
        reentered(world, prepare)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_IGN)


@scenario("R38", "thread", needs=Offer.TRY)
def a_finalizer_tries_the_lock(world: World) -> None:
    def prepare(reenter: Callable[[], None]) -> Callable[[], None]:
        def litter() -> None:
            Garbage(reenter)

        return litter

    before = gc.get_threshold()
    gc.set_threshold(3)
    try:
        reentered(world, prepare)
    finally:
        gc.set_threshold(*before)


# --- R39 --------------------------------------------------------------------------------------------------------------


@scenario("R39", "thread", "task", "mixed", needs=Offer.SHARED | Offer.TURNS)
def readers_against_looping_writers(world: World) -> None:
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            world.sync_through("write")

    async def write_as_a_task() -> None:
        while not stop.is_set():
            held = await world.acquire("write")
            await asyncio.sleep(0)
            await world.release("write", held)

    writers = [
        in_thread(write) if kind == "thread" else world.loop(kind).submit(write_as_a_task())
        for _, kind in zip(range(3), itertools.cycle(world.kinds), strict=False)
    ]
    try:
        for _ in range(5):
            reader = world.attempt("read")
            reader.is_not_starved("three writers that take turns starve a reader")
            reader.release()
    finally:
        stop.set()
    for writer in writers:
        outcome(writer, "a writer hangs")


@scenario("R39", "thread", "task", "mixed", needs=Offer.SHARED | Offer.TURNS)
def a_writer_against_overlapping_readers(world: World) -> None:
    """Three readers, each of which stays until another one is in too: there is always one, until a writer waits."""
    stop, door = threading.Event(), threading.Lock()
    inside = 0

    def enter(by: int) -> float:
        nonlocal inside
        with door:
            inside += by
        return time.monotonic()

    def may_leave(since: float) -> bool:
        """Whether another is in, or nobody has come for a while: then only because a writer keeps them out."""
        return inside > 1 or stop.is_set() or time.monotonic() > since + 0.03

    def read() -> None:
        while not stop.is_set():
            held = world.adapter.acquire(world.lock, "read", None)
            since = enter(1)
            while not may_leave(since):
                time.sleep(0)
            enter(-1)
            world.adapter.release(world.lock, "read", held)

    async def read_as_a_task() -> None:
        while not stop.is_set():
            held = await world.acquire("read")
            since = enter(1)
            await asyncio.sleep(0)
            await until(functools.partial(may_leave, since), "time stands still")
            enter(-1)
            await world.release("read", held)

    readers = [
        in_thread(read) if kind == "thread" else world.loop(kind).submit(read_as_a_task())
        for _, kind in zip(range(3), itertools.cycle(world.kinds), strict=False)
    ]
    try:
        for _ in range(3):
            writer = world.attempt("write")
            writer.is_not_starved("three readers that overlap starve a writer")
            writer.release()
    finally:
        stop.set()
    for reader in readers:
        outcome(reader, "a reader hangs")


# --- R40 --------------------------------------------------------------------------------------------------------------


@scenario("R40", "thread", "task", timed=True)
def odd_timeouts(world: World) -> None:
    """On a lock that is held. What a timeout below 0 means, is the lock's: refused, none at all, or too late at once."""
    for mode in ("read", "write") if world.shared else ("write",):
        what: Mode = "read" if mode == "read" else "write"
        for timeout in (0, 1e-12, 1e-6, math.nan, -0.5, -math.inf, math.inf, threading.TIMEOUT_MAX * 2, 1e300):
            holder = world.attempt("write")
            holder.enters("after odd timeouts no writer gets in")
            odd = world.attempt(what, timeout)
            odd.settle()
            if math.isnan(timeout) or 0 <= timeout < 1:
                wait_until(odd.done, f"an acquire with a timeout of {timeout} does not end")
            error = _error_of(odd.result) if odd.done() else None
            if error and 0 <= timeout < 1:
                raise Broken(f"a timeout of {timeout} is refused: {error!r}")
            if odd.done() and not error and (timeout > 1 or odd.result()):
                raise Broken(f"an acquire with a timeout of {timeout} ends at once, without an error")
            holder.release()
            if not odd.done() or (not error and odd.result()):
                wait_until(odd.done, f"an acquire with a timeout of {timeout} does not end after a release")
                if not _error_of(odd.result) and odd.result():
                    odd.release()


def _error_of(function: Callable[[], object]) -> Exception | None:
    try:
        function()
    except Exception as error:  # noqa: BLE001 any is an answer
        return error
    return None
