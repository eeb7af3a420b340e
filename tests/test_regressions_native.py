"""What the review of the native front found, a test for each. They say what is true of both fronts, and run on both.

What needs another process, or threads that run at the same time, is in test_regressions_races.py.
"""

from __future__ import annotations

import asyncio
import copy
import gc
import inspect
import pickle
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Generator
from typing import Any

import pytest

from aiolots import LockTimeout, Mutex, ReentrantMutex, RwLock, _blocking, _front, _pure, _pure_locks, _pure_reentrant
from tests import modes
from tests.modes import Mode, name_of
from tests.test_scenarios_loops import PROMPTLY, each_loop, no_revocation, policy, take_in_task
from tests.worlds import (
    LOOPS,
    WATCHDOG,
    assert_idle,
    in_thread,
    on_each_loop,
    parked,
    until_parked,
    wait_until,
    wait_until_parked,
)

__all__ = ["no_revocation"]  # a fixture

each_guarded = pytest.mark.parametrize("mode", modes.GUARDED, ids=name_of)


class Interrupt(BaseException):
    """What a signal handler raises: no Exception, as KeyboardInterrupt, but asyncio leaves it to the task."""


class MeddledLoop(asyncio.SelectorEventLoop):
    """After call_soon or call_later has done its work it calls `meddle`, once: as a signal that came meanwhile does."""

    meddle: Callable[[], None] | None = None

    def call_soon(self, *args: Any, **kwargs: Any) -> asyncio.Handle:
        handle = super().call_soon(*args, **kwargs)
        self._meddle()
        return handle

    def call_later(self, *args: Any, **kwargs: Any) -> asyncio.TimerHandle:
        handle = super().call_later(*args, **kwargs)
        self._meddle()
        return handle

    def _meddle(self) -> None:
        if (meddle := self.meddle) is not None:
            self.meddle = None
            meddle()


def interrupt(*_: object) -> None:
    raise Interrupt


def run_meddled(body: Callable[[MeddledLoop], Any]) -> None:
    """Run `await body(loop)` on a MeddledLoop."""

    async def bounded() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, MeddledLoop)
        async with asyncio.timeout(WATCHDOG):
            await body(loop)

    with asyncio.Runner(loop_factory=MeddledLoop) as runner:
        runner.run(bounded())


# --- a signal comes just then -----------------------------------------------------------------------------------------


@each_loop
def test_a_signal_just_as_a_loops_thread_wakes_up(kind: str, no_revocation: None) -> None:
    """The lock is handed over and the signal is there before the thread runs again: its loop must be unblocked all the same."""
    lock, other = RwLock(), RwLock()

    async def body() -> None:
        kept = other.write().acquire()
        waiting = asyncio.ensure_future(take_in_task(other.write))
        await until_parked(other, 1)
        guard = lock.write().acquire()

        def hand_over() -> None:
            wait_until_parked(lock, 1)
            interval = sys.getswitchinterval()
            sys.setswitchinterval(1000)  # the loop's thread has to wait for the GIL until this one is done
            guard.release_fair()
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
            sys.setswitchinterval(interval)

        helper = in_thread(hand_over)
        with policy("allow"), warnings.catch_warnings(), pytest.raises(Interrupt):
            warnings.simplefilter("ignore", ResourceWarning)  # acquired, and nobody took it
            with lock.write(timeout=WATCHDOG):
                helper.join()  # without a GIL the signal may be a little later
        helper.join()
        in_thread(kept.release).join()
        await asyncio.wait_for(waiting, PROMPTLY)

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with asyncio.Runner(loop_factory=LOOPS[kind]) as runner:
            runner.run(body())
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert_idle(lock, other)


@on_each_loop
async def test_a_signal_just_as_a_loop_was_blocked(monkeypatch: pytest.MonkeyPatch, no_revocation: None) -> None:
    """It comes when the loop is marked and its thread does not sleep yet."""
    real = _blocking.lib

    class Lib:
        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

        def lots_mailbox_block(self, mailbox: Any) -> None:
            real.lots_mailbox_block(mailbox)
            raise Interrupt

    lock, other = Mutex(), Mutex()
    kept, guard = other.lock().acquire(), lock.lock().acquire()
    waiting = asyncio.ensure_future(take_in_task(other.lock))
    await until_parked(other, 1)
    with monkeypatch.context() as patch, policy("allow"), pytest.raises(Interrupt):
        patch.setattr(_blocking, "lib", Lib())
        lock.acquire(timeout=WATCHDOG)
    in_thread(kept.release).join()
    await asyncio.wait_for(waiting, PROMPTLY)
    guard.release()
    assert_idle(lock, other)


def test_an_exception_out_of_the_drain_is_not_swallowed(no_revocation: None) -> None:
    """Ctrl-C while the bell's callback schedules a task: it comes out of that callback, and the task runs."""
    lock, seen = Mutex(), []

    async def body(loop: MeddledLoop) -> None:
        loop.set_exception_handler(lambda _, context: seen.append(context["exception"]))
        guard = lock.lock().acquire()
        waiting = asyncio.ensure_future(take_in_task(lock.lock))
        await until_parked(lock, 1)
        in_thread(guard.release).join()
        loop.meddle = interrupt
        await waiting

    run_meddled(body)
    assert [type(error) for error in seen] == [Interrupt]
    assert_idle(lock)


def test_an_exception_out_of_close_is_not_swallowed(no_revocation: None) -> None:
    """A writer that drains is closed, which admits a reader of this loop: Ctrl-C comes as that one is scheduled."""
    lock = RwLock()

    async def body(loop: MeddledLoop) -> None:
        share = lock.read().acquire()
        writer: Any = lock.write().__await__()
        writer.send(None)
        reader = asyncio.ensure_future(take_in_task(lock.read))
        await until_parked(lock, 2)
        loop.meddle = interrupt
        with pytest.raises(Interrupt):
            writer.close()
        await reader
        share.release()

    run_meddled(body)
    assert_idle(lock)


@pytest.mark.parametrize("mode", modes.WAITS, ids=name_of)
def test_an_exception_as_the_timer_is_cancelled(mode: Mode, monkeypatch: pytest.MonkeyPatch, no_revocation: None) -> None:
    """The task was woken in time and Ctrl-C comes before it could take the lock: it does not go on as if it held it."""
    lock = mode.make()
    armed: list[bool] = []
    cancel = asyncio.TimerHandle.cancel

    def cancel_or_raise(timer: asyncio.TimerHandle) -> None:
        cancel(timer)
        if armed:
            armed.clear()
            raise Interrupt

    async def body(_: MeddledLoop) -> None:
        hindrance = mode.hinder(lock)
        request = (lambda: mode.request(lock)) if mode is modes.DROP_IN else lambda: mode.request(lock, timeout=WATCHDOG)

        async def enter() -> None:
            got = await request()
            armed.clear()  # it had no timer
            got.release()

        waiting = asyncio.ensure_future(enter())
        await until_parked(lock, 1)
        hindrance.release()
        armed.append(True)
        try:
            await waiting
        except Interrupt:
            assert mode is not modes.DROP_IN
        else:
            assert mode is modes.DROP_IN

    with monkeypatch.context() as patch:
        patch.setattr(asyncio.TimerHandle, "cancel", cancel_or_raise)
        run_meddled(body)
    assert_idle(lock)


def test_an_await_that_is_closed_by_a_handler_in_the_middle_of_it(no_revocation: None) -> None:
    """As with a generator, that is refused: else its future was waited for by a wait that was over."""
    lock = RwLock()

    async def body(loop: MeddledLoop) -> None:
        guard = lock.write().acquire()
        steps: Any = lock.write(timeout=WATCHDOG).__await__()
        refused = []

        def close() -> None:
            with pytest.raises(ValueError, match="already executing"):
                steps.close()
            refused.append(True)

        class Stepping:
            def __await__(self) -> Generator[Any, None, Any]:
                loop.meddle = close
                return (yield from steps)

        async def enter() -> None:
            (await Stepping()).release()

        waiting = asyncio.ensure_future(enter())
        await until_parked(lock, 1)
        assert refused
        guard.release()
        await asyncio.wait_for(waiting, PROMPTLY)

    run_meddled(body)
    assert_idle(lock)


# --- who comes back, who was never there ------------------------------------------------------------------------------


@each_guarded
def test_a_request_that_its_own_warning_keeps_alive_is_dead(mode: Mode) -> None:
    """Its finalizer does not run again: acquired now, it would hold the lock for ever."""
    lock = mode.make()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        mode.request(lock)
    request: Any = caught[0].source
    assert not request
    with pytest.raises(RuntimeError, match="before"):
        request.acquire()
    assert_idle(lock)


@pytest.mark.filterwarnings("ignore:.*never entered:RuntimeWarning")
@on_each_loop
async def test_an_await_that_a_finalizer_brings_back_is_dead() -> None:
    """It had not begun when it was collected: sent on now, it would queue what nobody withdraws."""
    kept: list[Any] = []

    class Keeper:
        def __init__(self, steps: Any) -> None:
            self.me, self.steps = self, steps

        def __del__(self) -> None:
            kept.append(self.steps)

    lock = RwLock()
    guard = lock.write().acquire()
    Keeper(lock.write().__await__())
    gc.collect()
    with pytest.raises(RuntimeError if _front.NATIVE else StopIteration):
        kept.pop().send(None)
    assert parked(lock) == 0
    guard.release()
    assert_idle(lock)


@on_each_loop
async def test_an_aenter_that_never_ran_holds_nothing() -> None:
    mutex = Mutex()
    task = asyncio.ensure_future(mutex.__aenter__())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert_idle(mutex)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(mutex.__aenter__(), 0)
    assert_idle(mutex)
    mutex.__aenter__()  # not awaited
    assert_idle(mutex)


# --- what it looks like -----------------------------------------------------------------------------------------------


@each_guarded
def test_a_request_is_no_iterator(mode: Mode) -> None:
    """`yield from` and list() of a request ended at once, as if it had been acquired."""
    lock = mode.make()
    request = mode.request(lock)

    def delegate() -> Generator[Any, None, Any]:
        yield from request

    for use in (next, iter, list, lambda _: next(delegate())):
        with pytest.raises(TypeError):
            use(request)
    request.acquire()
    with pytest.raises(TypeError):
        list(request)
    assert request.is_held()
    request.release()
    assert_idle(lock)


@each_guarded
def test_a_guard_is_not_copied(mode: Mode) -> None:
    lock = mode.make()
    guard = mode.request(lock).acquire()
    for copier in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError):
            copier(guard)
    assert guard.is_held()
    assert lock.word == mode.adds
    guard.release()
    assert_idle(lock)


def test_docs_are_those_of_the_right_method() -> None:
    """`acquire` is a guard's and a mutex's."""
    mutex, lock, reentrant = Mutex(), RwLock(), ReentrantMutex()
    with lock.read() as share, mutex.lock() as guard, reentrant.lock() as level:
        for ours, documented in (
            (type(share), _pure.ReadRequest),
            (type(guard), _pure.MutexRequest),
            (type(level), _pure_reentrant.ReentrantRequest),
            (Mutex, _pure_locks.MutexFront),
            (ReentrantMutex, _pure_reentrant.ReentrantFront),
            (RwLock, _pure_locks.RwLockFront),
        ):
            for name in ("acquire", "release", "is_held", "read", "lock", "locked", "__enter__", "try_write_for"):
                if hasattr(documented, name):
                    assert inspect.getdoc(getattr(ours, name)) == inspect.getdoc(getattr(documented, name)), (ours, name)
    assert list(inspect.signature(type(share).acquire).parameters) == ["self"]
    assert list(inspect.signature(Mutex.acquire).parameters) == ["self", "blocking", "timeout"]


@each_guarded
def test_seconds_and_moment_are_keywords_too(mode: Mode) -> None:
    lock = mode.make()
    for request in (mode.try_(lock, "_for")(seconds=1), mode.try_(lock, "_until")(moment=time.monotonic() + 1)):
        request.acquire().release()
    for suffix in ("_for", "_until"):
        for wrong in ({}, {"timeout": 1}, {"seconds": 1, "moment": 1}):
            with pytest.raises(TypeError):
                mode.try_(lock, suffix)(**wrong)
    assert_idle(lock)


@on_each_loop
async def test_lock_timeout_says_how_long_it_really_waited() -> None:
    lock = RwLock()
    guard = lock.write().acquire()
    waiting = asyncio.ensure_future(take_in_task(lambda: lock.read(timeout=0.001)))
    await until_parked(lock, 1)
    busy = time.monotonic() + 0.05
    wait_until(lambda: time.monotonic() > busy)  # and the loop with it
    with pytest.raises(LockTimeout) as caught:
        await waiting
    assert 0.05 <= caught.value.waited < WATCHDOG
    guard.release()
    assert_idle(lock)
