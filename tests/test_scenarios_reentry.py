"""R38: locks taken inside of locks' own code, by finalizers, weakref callbacks and signal handlers."""

from __future__ import annotations

import asyncio
import dis
import gc
import itertools
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import pytest

import aiolots
from aiolots import Mutex, ReentrantMutex, RwLock, _changing, lowlevel
from tests.test_scenarios_loops import PROMPTLY, each_loop, no_revocation, take, take_in_task
from tests.worlds import (
    LOOP_KINDS,
    LOOPS,
    LoopThread,
    assert_idle,
    in_thread,
    outcome_of,
    until_parked,
    wait_until_parked,
)

__all__ = ["no_revocation"]  # a fixture

# --- R38: re-entry ----------------------------------------------------------------------------------------------------

PACKAGE = aiolots.__path__[0]
# After these CPython looks for signals, in C functions' answers too; the collector of 3.12+ runs there as well.
CHECKS = ("CALL", "CALL_FUNCTION_EX", "JUMP_BACKWARD", "RESUME", "CALL_KW", "CALL_INTRINSIC_1")


class Injected(Exception):
    """What a signal handler raises."""


def in_a_finalizer(frame: FrameType | None) -> bool:
    while frame is not None and frame.f_code.co_filename.startswith(PACKAGE):
        if frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False


@contextmanager
def at_check(number: int, handler: Callable[[], None]) -> Iterator[list[int]]:
    """Run `handler` once, as a signal handler or finalizer would, at the number-th check inside aiolots on this thread."""
    seen = [0]
    last: dict[int, str] = {}

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        frame.f_trace_opcodes = True
        if event == "call":  # another frame may have been there
            last[id(frame)] = "RESUME"
        if event == "exception":  # out of a call: its handler comes next, without a look
            last[id(frame)] = "raised"
        if event != "opcode":
            return trace
        if in_a_finalizer(frame):  # what is raised there goes nowhere
            return trace
        before, last[id(frame)] = last.get(id(frame), "RESUME"), dis.opname[frame.f_code.co_code[frame.f_lasti]]
        if before in CHECKS:
            seen[0] += 1
            if seen[0] == number:
                handler()
        return trace

    gc.disable()  # what it finalizes is some other test's, and what is raised there goes nowhere
    sys.settrace(trace)
    try:
        yield seen
    finally:
        sys.settrace(None)
        gc.enable()


def at_every_check(run: Callable[[int], int]) -> int:
    """Call run(1), run(2), ... until it answers with fewer checks than that; how many there were."""
    for number in itertools.count(1):
        if run(number) < number:
            return number - 1
    raise AssertionError


@each_loop
@pytest.mark.parametrize("mode", ["read", "write"])
def test_r38_handler_between_any_two_steps(kind: str, mode: str, no_revocation: None) -> None:
    """A task's acquire, wait and release; at every point in turn a finalizer takes and releases locks that have waiters."""
    lock, other = RwLock(), RwLock()

    def run(number: int) -> int:
        async def body() -> int:
            held = await other.write()
            others = [asyncio.ensure_future(take_in_task(other.write)) for _ in range(2)]
            await until_parked(other, 2)

            def handler() -> None:
                if (share := lock.try_read()) is not None:
                    share.release()
                if (whole := lock.try_write()) is not None:
                    whole.release()
                held.release()  # wakes a task of this loop, perhaps while its mailbox is being drained

            guard = await lock.write()
            waiting = asyncio.ensure_future(take_in_task(getattr(lock, mode)))
            with at_check(number, handler) as seen:
                await until_parked(lock, 1)
                guard.release()
                await waiting
            if held.is_held():
                held.release()
            await asyncio.wait_for(asyncio.gather(*others), PROMPTLY)
            return seen[0]

        with asyncio.Runner(loop_factory=LOOPS[kind]) as runner:
            checks = runner.run(body())
        assert_idle(lock, other)
        return checks

    assert at_every_check(run) >= 0


@each_loop
def test_r38_handler_raises_anywhere_in_a_release(kind: str) -> None:
    """An exception comes out of a release, or out of the drain in it: whoever was woken runs, whatever was held is freed.

    Mail that got lost between the core and the task is rung for anew by the keeper.
    """
    lock = RwLock()

    def run(number: int) -> int:
        async def body() -> int:
            def handler() -> None:
                raise Injected

            guard: Any = await lock.write()
            tasks = [asyncio.ensure_future(take_in_task(request)) for request in (lock.write, lock.read, lock.read)]
            await until_parked(lock, 3)
            try:
                with at_check(number, handler) as seen:
                    guard.release()
            except Injected:
                if guard.is_held():
                    guard.release()
            await asyncio.wait_for(asyncio.gather(*tasks), PROMPTLY)
            return seen[0]

        with asyncio.Runner(loop_factory=LOOPS[kind]) as runner:
            checks = runner.run(body())
        assert_idle(lock)
        return checks

    assert at_every_check(run) >= 0


@pytest.mark.filterwarnings("ignore:.*dropped while it held:ResourceWarning")
@pytest.mark.filterwarnings("ignore:.*never entered:RuntimeWarning")
@pytest.mark.parametrize("contended", [False, True])
def test_r38_handler_raises_anywhere_in_an_acquire(contended: bool) -> None:
    """Ctrl-C at any point of a thread's acquire: in the end nothing is held, nobody is queued."""
    lock = RwLock()

    def run(number: int) -> int:
        def handler() -> None:
            raise Injected

        reader = lock.read().acquire() if contended else None
        guard = None
        seen = [0]
        try:
            with at_check(number, handler) as seen:
                guard = lock.try_write_for(0.0005).acquire()
                if guard is not None:
                    guard.release()
        except Injected as error:
            error.__traceback__ = None
        del guard
        assert lowlevel.waiters(lock) == []
        if reader is not None:
            assert lock.reader_count() == 1
            reader.release()
        assert_idle(lock)
        return seen[0]

    assert at_every_check(run) >= 0


@pytest.fixture
def torture() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(1)
    yield
    gc.set_threshold(*before)


class Trash:
    """Garbage in a cycle, so that the collector finds it at any allocation; its finalizer takes locks."""

    def __init__(self, finalize: Callable[[], None]) -> None:
        self.me = self
        self.finalize = finalize

    def __del__(self) -> None:
        self.finalize()


@pytest.mark.parametrize("how", ["__del__", "weakref"])
@pytest.mark.parametrize("world", ["thread", *LOOP_KINDS])
def test_r38_collector_torture(world: str, how: str, torture: None) -> None:
    """gc.set_threshold(1): finalizers and weakref callbacks take the very locks whose code is running."""
    lock, mutex = RwLock(), Mutex()
    ran = itertools.count()
    refs: set[weakref.ref[Any]] = set()

    def finalize(ref: Any = None) -> None:
        refs.discard(ref)
        next(ran)
        for attempt in (lock.try_read, lock.try_write, lock.try_read_recursive, mutex.try_lock):
            if (guard := attempt()) is not None:
                guard.release()

    def litter() -> None:
        if how == "__del__":
            Trash(finalize)
        else:
            trash = Trash(lambda: None)
            refs.add(weakref.ref(trash, finalize))

    def in_threads(rounds: int) -> None:
        for _ in range(rounds):
            litter()
            take(lock.read)
            with lock.try_write_for(0.0005):
                litter()
            take(mutex.lock)

    async def in_tasks(rounds: int) -> None:
        for _ in range(rounds):
            litter()
            async with lock.read():
                await asyncio.sleep(0)
            async with lock.try_write_for(0.0005):
                litter()
            async with mutex:
                await asyncio.sleep(0)

    with LoopThread("asyncio" if world == "thread" else world) as loop:
        others = [in_thread(in_threads, 60) for _ in range(2)]
        if world != "thread":
            for task in [loop.submit(in_tasks(60)) for _ in range(3)]:
                outcome_of(task)
        for thread in others:
            thread.join()
    gc.collect()
    assert next(ran) > 100
    assert_idle(lock, mutex)


@pytest.mark.parametrize("kind", ["thread", *LOOP_KINDS])
def test_r38_signal_handler_takes_the_lock(kind: str) -> None:
    """A real signal, a thousand times a second, whose handler takes the lock that the main thread is busy with."""
    lock = RwLock(0)
    handled = [0]

    def handler(*_: object) -> None:
        handled[0] += 1
        for attempt in (lock.try_read, lock.try_write):
            if (guard := attempt()) is not None:
                guard.release()

    async def in_task() -> None:
        while handled[0] < 200:
            async with lock.write() as guard:
                guard.value += 1
            async with lock.read():
                await asyncio.sleep(0)

    stop = threading.Event()

    def contend() -> None:
        while not stop.is_set():
            with lock.write() as guard:
                guard.value += 1

    before = signal.signal(signal.SIGALRM, handler)
    thread = in_thread(contend)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        if kind == "thread":
            while handled[0] < 200:
                take(lock.write)
                take(lock.read)
        else:
            with asyncio.Runner(loop_factory=LOOPS[kind]) as runner:
                runner.run(in_task())
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        stop.set()
    thread.join()
    assert_idle(lock)


def test_a_guard_is_released_between_any_two_steps_of_its_downgrade() -> None:
    """By a handler here, as by another thread: whoever comes second finds nothing, and nobody is taken to hold it."""
    lock = RwLock()

    def run(number: int) -> int:
        guard = lock.write().acquire()

        def release() -> None:
            with suppress(RuntimeError):
                guard.release()

        with at_check(number, release) as seen, suppress(RuntimeError):
            guard.downgrade()
        if guard.is_held():
            guard.release()
        assert_idle(lock)
        return seen[0]

    assert at_every_check(run) >= 0


@pytest.mark.parametrize("mode", ["read", "upgradable_read", "write"])
def test_r38_handler_raises_anywhere_in_a_bump(mode: str) -> None:
    """Released or not when it comes: the guard knows which, and the word agrees."""
    lock = RwLock()

    def handler() -> None:
        raise Injected

    def run(number: int) -> int:
        guard: Any = getattr(lock, mode)().acquire()
        waiting = in_thread(take, lock.write)
        wait_until_parked(lock, 1)
        with at_check(number, handler) as seen, suppress(Injected):
            guard.bump()
        if guard.is_held():
            guard.release()
        waiting.join(PROMPTLY)
        assert_idle(lock)
        return seen[0]

    assert at_every_check(run) >= 0


@pytest.mark.parametrize("held", ["upgradable_read", "write"])
def test_r38_handler_raises_anywhere_in_an_upgrade(held: str) -> None:
    """Of what is upgradable, and of what is refused: the guard holds what the word says that it holds."""
    lock = RwLock()

    def handler() -> None:
        raise Injected

    def run(number: int) -> int:
        guard: Any = getattr(lock, held)().acquire()
        with at_check(number, handler) as seen, suppress(Injected, RuntimeError):
            _changing.upgrade(guard)
        assert guard.is_held()
        assert lock.is_locked_exclusive() == (type(guard).__name__ == "WriteRequest")
        guard.release()
        assert_idle(lock)
        return seen[0]

    assert at_every_check(run) >= 0


@pytest.mark.parametrize("form", ["guards", "drop-in"])
def test_r38_handler_takes_a_reentrant_mutex_between_any_two_steps(form: str) -> None:
    """It is its thread's: the handler has it, or enters, wherever its thread is in an acquire or a release."""
    mutex = ReentrantMutex()

    def handler() -> None:
        entered.append(mutex.acquire(blocking=False))
        if entered[-1]:
            mutex.release()

    def run(number: int) -> int:
        with at_check(number, handler) as seen:
            if form == "guards":
                with mutex.lock(), mutex.lock() as guard:
                    assert guard.depth == 2
            else:
                with mutex, mutex:
                    assert mutex.is_owned()
        assert entered in ([True], [])
        entered.clear()
        assert_idle(mutex)
        return seen[0]

    entered: list[bool] = []
    assert at_every_check(run) >= 0
