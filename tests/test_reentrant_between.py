"""Who comes in the middle of an acquire or a release of a ReentrantMutex: signal handlers, finalizers, other threads.

Of the C type there is a middle only where it calls Python: a loop that is asked for its port, for a future, for a timer. In
these tests it answers by doing what a handler would that comes just then. What threads do at the same time without a GIL is
explored in tests/explorer/levels.c, and hammered in test_reentrant_hammered.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from aiolots import ReentrantMutex, _front
from tests import tasks
from tests.test_scenarios_loops import no_revocation, policy
from tests.test_scenarios_reentry import PACKAGE, Injected, at_check, at_every_check
from tests.waiting import WATCHDOG, assert_idle, in_thread, until_parked, wait_until_parked
from tests.worlds import on_every_loop, run_on

__all__ = ["no_revocation"]  # a fixture

native = pytest.mark.skipif(not _front.NATIVE, reason="about the C types")
FORMS = ("guard", "fair", "drop-in", "whole")
each_form = pytest.mark.parametrize("form", FORMS)


class MeddledLoop(asyncio.SelectorEventLoop):
    """It calls `meddle`, once, where it is asked for its port, a future or a timer."""

    meddle: Callable[[], None] | None = None
    _port: Any = None

    def _meddle(self) -> None:
        if (meddle := self.meddle) is not None:
            self.meddle = None
            meddle()

    @property
    def _aiolots_port(self) -> Any:
        self._meddle()
        if self._port is None:
            raise AttributeError
        return self._port

    @_aiolots_port.setter
    def _aiolots_port(self, port: Any) -> None:
        self._port = port

    def create_future(self) -> asyncio.Future[Any]:
        future = super().create_future()
        self._meddle()
        return future

    def call_later(self, *args: Any, **kwargs: Any) -> asyncio.TimerHandle:
        handle = super().call_later(*args, **kwargs)
        self._meddle()
        return handle


def run_meddled(body: Callable[[MeddledLoop], Any]) -> None:
    """Run `await body(loop)` on a MeddledLoop."""

    async def bounded() -> None:
        loop: Any = asyncio.get_running_loop()
        async with asyncio.timeout(WATCHDOG):
            await body(loop)

    with asyncio.Runner(loop_factory=MeddledLoop) as runner:
        runner.run(bounded())


def taken(mutex: ReentrantMutex[Any], form: str) -> Callable[[], Any]:
    """Take it by one level, and return what releases that."""
    if form == "guard":
        return mutex.lock().acquire().release
    if form == "fair":
        return mutex.lock().acquire().release_fair
    mutex.acquire()
    return mutex.release if form == "drop-in" else mutex._release_save


# --- in a release -------------------------------------------------------------------------------------------------------


@native
@each_form
def test_a_handler_in_the_middle_of_the_last_release_has_it(form: str) -> None:
    """It looks for whom to wake, and has not let go yet: a handler goes deeper, leaves, and the release goes on."""
    mutex, seen = ReentrantMutex(), list[bool]()

    def handler() -> None:
        seen.append(mutex.acquire(blocking=False))
        with mutex.lock(timeout=0) as guard:
            assert guard.depth == 3
        mutex.release()

    async def body(loop: MeddledLoop) -> None:
        release = taken(mutex, form)
        waiting = in_thread(mutex.lock().acquire)
        wait_until_parked(mutex, 1)
        loop.meddle = handler
        release()
        assert seen == [True]
        waiting.join().release()
        assert_idle(mutex)

    run_meddled(body)


@native
@each_form
def test_a_handler_in_the_middle_of_the_last_release_keeps_it(form: str) -> None:
    """Then it was not the last: the mutex is its owner's still, and who waits goes on to."""
    mutex, kept = ReentrantMutex(), list[Any]()

    async def body(loop: MeddledLoop) -> None:
        release = taken(mutex, form)
        waiting = in_thread(mutex.lock().acquire)
        wait_until_parked(mutex, 1)
        loop.meddle = lambda: kept.append(mutex.lock().acquire())
        release()
        assert mutex.is_owned()
        assert kept[0].depth == 1
        wait_until_parked(mutex, 1)
        kept[0].release()
        assert not mutex.is_owned()
        waiting.join().release()
        assert_idle(mutex)

    run_meddled(body)


def test_a_fair_release_is_one_whoever_comes_in_between() -> None:
    """Another thread asks in the middle of it: it does not own the mutex, and the one that waits has it next."""
    mutex, seen = ReentrantMutex(), list[Any]()

    async def body(loop: MeddledLoop) -> None:
        guard = mutex.lock().acquire()
        waiting = in_thread(mutex.lock().acquire)
        wait_until_parked(mutex, 1)
        loop.meddle = lambda: seen.append(in_thread(mutex.try_lock).join())
        guard.release_fair()
        assert seen == [None]
        assert mutex.try_lock() is None
        waiting.join().release()
        assert_idle(mutex)

    run_meddled(body)


@native
def test_another_thread_leaves_its_level_in_the_middle_of_a_release() -> None:
    """Two levels, and neither is the last when its release begins: the second to be left is."""
    mutex = ReentrantMutex()

    async def body(loop: MeddledLoop) -> None:
        kept = list[Any]()
        guard = mutex.lock().acquire()
        waiting = in_thread(mutex.lock().acquire)
        wait_until_parked(mutex, 1)

        def handler() -> None:
            kept.append(mutex.lock().acquire())
            in_thread(kept[0].release).join()

        loop.meddle = handler
        guard.release()
        assert not kept[0].is_held()
        waiting.join().release()
        assert_idle(mutex)

    run_meddled(body)


def test_of_two_releases_of_a_guard_the_one_inside_of_the_other_fails() -> None:
    mutex, errors = ReentrantMutex(name="m"), list[BaseException]()

    async def body(loop: MeddledLoop) -> None:
        guard = mutex.lock().acquire()
        waiting = in_thread(mutex.lock().acquire)
        wait_until_parked(mutex, 1)

        def handler() -> None:
            with contextlib.suppress(RuntimeError):
                guard.release()
                errors.append(AssertionError("released twice"))

        loop.meddle = handler
        guard.release()
        assert errors == []
        waiting.join().release()
        assert_idle(mutex)

    run_meddled(body)


# --- in a wait ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["guard", "timed", "drop-in"])
@pytest.mark.parametrize("kind", ["asyncio", "trio"])
def test_a_handler_may_want_it_at_any_step_of_a_tasks_wait(kind: str, form: str) -> None:
    """Once it is released, whoever waits for it and is interrupted: its handler has it, be it by waiting for it."""
    mutex = ReentrantMutex[None]()

    async def takes() -> None:
        if form == "drop-in":
            async with mutex:
                assert mutex.is_owned()
        else:
            async with mutex.lock(timeout=WATCHDOG if form == "timed" else None) as guard:
                assert guard.depth == 1

    def run(number: int) -> int:
        seen = [0]

        async def body() -> None:
            nonlocal seen
            holder = in_thread(mutex.lock().acquire).join()

            def handler() -> None:
                if not holder.is_held():
                    assert mutex.acquire(timeout=WATCHDOG / 2)
                    mutex.release()

            async def waits() -> None:
                nonlocal seen
                with at_check(number, handler) as seen:
                    await takes()

            task = tasks.start(waits())
            await until_parked(mutex, 1)
            in_thread(holder.release).join()
            await task
            assert_idle(mutex)

        with policy("allow"):
            run_on(kind, body())
        return seen[0]

    assert at_every_check(run) >= 0


@pytest.mark.parametrize("form", ["guard", "timed", "drop-in"])
def test_a_handler_may_want_it_wherever_a_task_asks_its_loop(form: str) -> None:
    """For its port, a future, a timer. The handler has not got what another holds, and gets it before the task does."""
    mutex, seen = ReentrantMutex[None](), list[bool]()

    async def takes() -> None:
        if form == "drop-in":
            await mutex
            mutex.release()
        else:
            async with mutex.lock(timeout=WATCHDOG if form == "timed" else None) as guard:
                assert guard.depth == 1

    def tries(seconds: float) -> None:
        seen.append(mutex.acquire(timeout=seconds))
        if seen[-1]:
            mutex.release()

    async def body(loop: MeddledLoop) -> None:
        for skipped in range(4):
            holder = in_thread(mutex.lock().acquire).join()

            def handler(left: int = skipped, holder: Any = holder, loop: MeddledLoop = loop) -> None:
                if left:
                    loop.meddle = lambda: handler(left - 1)
                    return
                tries(0)
                in_thread(holder.release).join()
                tries(WATCHDOG / 2)

            loop.meddle = handler
            waiting = asyncio.ensure_future(takes())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            if loop.meddle is not None:  # not so often
                loop.meddle = None
                in_thread(holder.release).join()
            await waiting
            assert_idle(mutex)

    with policy("allow"):
        run_meddled(body)
    assert len(seen) >= 4
    assert seen == [False, True] * (len(seen) // 2)


@on_every_loop
async def test_who_is_cancelled_just_when_it_has_got_it_holds_nothing() -> None:
    """Released and cancelled before its task runs again: with the wake, and with the mutex itself."""
    mutex = ReentrantMutex[None]()
    for fair in (False, True):
        for wait in (mutex.lock, lambda: mutex):
            holder = in_thread(mutex.lock().acquire).join()

            async def takes(wait: Any = wait) -> None:
                got = await wait()
                (got or mutex).release()  # trio lets it have what it was woken with, and cancels it at its next checkpoint
                await tasks.pause()
                raise AssertionError

            task = tasks.start(takes())
            await until_parked(mutex, 1)
            (holder.release_fair if fair else holder.release)()
            assert not task.done()
            task.cancel()
            with pytest.raises(tasks.CANCELLED):
                await task
            assert mutex.acquire(timeout=WATCHDOG)
            mutex.release()
            assert_idle(mutex)


def test_a_handler_raises_while_trio_makes_its_checkpoint() -> None:
    """The owner had it at once; under trio it lets the others run first, and is interrupted there."""
    mutex = ReentrantMutex[None]()

    async def takes() -> None:
        async with mutex.lock():
            async with mutex:
                assert mutex.is_owned()

    def handler() -> None:
        frame = sys._getframe(2)  # of aiolots: after the tracer
        while frame.f_code.co_filename.startswith(PACKAGE) and frame.f_back is not None:
            if frame.f_code.co_name == "__aexit__":  # nothing helps against what comes before its first step
                return
            frame = frame.f_back
        raise Injected

    def run(number: int) -> int:
        seen = [0]

        async def body() -> None:
            nonlocal seen
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with at_check(number, handler) as seen, contextlib.suppress(Injected):
                    await takes()

        run_on("trio", body())
        gc.collect()
        assert_idle(mutex)
        return seen[0]

    gc.collect()
    gc.freeze()  # what other tests have left is not looked through each time
    try:
        assert at_every_check(run) >= 0
    finally:
        gc.unfreeze()


@on_every_loop
async def test_who_was_cancelled_before_it_asked_holds_nothing() -> None:
    """Under trio an acquire is a checkpoint, and that one ends it."""
    mutex = ReentrantMutex[None]()

    async def takes(form: str) -> None:
        if form == "drop-in":
            async with mutex:
                await tasks.pause()
        else:
            async with mutex.lock(), mutex.lock():
                await tasks.pause()

    for form in ("drop-in", "guard"):
        task = tasks.start(takes(form))
        task.cancel()
        with pytest.raises(tasks.CANCELLED):
            await task
        assert_idle(mutex)


def test_the_end_of_a_wait_is_one_step() -> None:
    """What is freed then has a finalizer that wants the mutex: the task that waited owns it by now."""
    mutex, seen = ReentrantMutex[None](), list[tuple[bool, bool]]()

    class Future(asyncio.Future[Any]):
        def __del__(self) -> None:
            free = not mutex.locked()
            seen.append((free, mutex.acquire(blocking=False)))
            if seen[-1][1]:
                mutex.release()

    class Loop(MeddledLoop):
        def create_future(self) -> asyncio.Future[Any]:
            super().create_future()
            return Future(loop=self)

    async def body() -> None:
        loop: Any = asyncio.get_running_loop()
        for wait in (mutex.lock, lambda: mutex, lambda: mutex.lock(timeout=WATCHDOG)):
            holder = in_thread(mutex.lock().acquire).join()
            steps: Any = wait().__await__()
            loop.meddle = lambda: setattr(loop, "meddle", in_thread(holder.release).join)  # noqa: B023
            seen.clear()
            with pytest.raises(StopIteration) as stop:
                steps.send(None)
            gc.collect(0)
            assert (False, True) in seen
            (stop.value.value or mutex).release()
            assert_idle(mutex)

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(asyncio.wait_for(body(), WATCHDOG))


def test_nobody_who_comes_by_has_it_after_a_fair_release() -> None:
    """Two wait, so that the second is let in right after the first, when the lot's own fairness is not due again."""
    for _ in range(30):
        mutex = ReentrantMutex[None]()

        def passes_on(mutex: ReentrantMutex[None] = mutex) -> object:
            mutex.lock().acquire().release_fair()
            return mutex.try_lock()

        holder = mutex.lock().acquire()
        first = in_thread(passes_on)
        wait_until_parked(mutex, 1)
        last = in_thread(mutex.lock().acquire)
        wait_until_parked(mutex, 2)
        holder.release_fair()
        assert first.join() is None
        last.join().release()
        assert_idle(mutex)
