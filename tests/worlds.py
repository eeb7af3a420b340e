"""Where locks are waited for, and how a test waits for that: threads, tasks, loops, and the mix of them.

Nothing here sleeps and hopes. A test asks the lot who is parked (`wait_until_parked`), and whatever may hang hangs for
WATCHDOG seconds at most, then raises Stuck. A World hands out *attempts*: acquires that run by themselves, in a thread or
as a task, and can be asked how they went, told to release, and interrupted or cancelled.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import ctypes
import functools
import gc
import inspect
import itertools
import queue
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any, Self, TypeVar

import pytest
import uvloop

from tests import trios
from tests.tasks import CANCELLED
from tests.trios import TrioThread
from tests.waiting import (  # noqa: F401  # tests import all of it from here
    WATCHDOG,
    YIELD,
    InThread,
    Stuck,
    assert_idle,
    in_thread,
    outcome_of,
    parked,
    until,
    until_parked,
    wait_until,
    wait_until_parked,
)

T = TypeVar("T")

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
LOOP_KINDS = tuple(LOOPS)  # asyncio's: what runs on them may use asyncio
EVERY_KIND = (*LOOP_KINDS, "trio")  # what runs on these asks tests/tasks.py

# What each attempt of a world is, in turn: a thread, or a task of the loop of that number.
WORLDS: dict[str, tuple[str, ...]] = {
    "thread": ("thread",),
    "asyncio": ("asyncio 1",),
    "uvloop": ("uvloop 1",),
    "mixed": ("thread", "asyncio 1"),
    "two_loops": ("asyncio 1", "uvloop 2"),
    "trio": ("trio 1",),
    "trio_mixed": ("trio 1", "thread", "asyncio 2"),
}
TASK_WORLDS = ("asyncio", "uvloop")  # all tasks on one loop


class Interrupted(Exception):
    """What `Attempt.cancel` raises in a thread that waits, as a signal handler would."""


def is_the_original(error: BaseException, message: str) -> bool:
    """Whether this is the cancellation that was asked for: in a task with its message, in a thread its kind."""
    if isinstance(error, asyncio.CancelledError):
        return error.args == (message,)
    return isinstance(error, Interrupted) or (isinstance(error, CANCELLED) and repr(message) in str(error))


# --- loops ----------------------------------------------------------------------------------------------------------


class LoopThread:
    """An event loop that runs in a thread of its own."""

    def __init__(self, kind: str = "asyncio") -> None:
        self.kind = kind
        self.loop = LOOPS[kind]()
        self.thread: threading.Thread
        self.start()

    def start(self) -> None:
        """Run the loop; again, if it was stopped."""
        self.thread = threading.Thread(target=self.loop.run_forever, name=f"loop-{self.kind}", daemon=True)
        self.thread.start()
        self.call(lambda: None)

    def start_task(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start a task; on the loop's thread."""
        return self.loop.create_task(coroutine)

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Start a task on the loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def run(self, coroutine: Coroutine[Any, Any, T], seconds: float = WATCHDOG) -> T:
        """Run a task on the loop to its end: its result or exception, or Stuck."""
        return outcome_of(self.submit(coroutine), seconds)

    def call(self, function: Callable[[], T], seconds: float = WATCHDOG) -> T:
        """Call a plain function on the loop's thread, between two steps of its tasks."""
        future: concurrent.futures.Future[T] = concurrent.futures.Future()

        def run() -> None:
            try:
                future.set_result(function())
            except BaseException as error:  # noqa: BLE001
                future.set_exception(error)

        self.loop.call_soon_threadsafe(run)
        return outcome_of(future, seconds)

    def stop(self) -> None:
        """Stop the loop as it is, tasks and all; its thread ends. It is not closed."""
        if self.thread.is_alive():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join(WATCHDOG)
            if self.thread.is_alive():
                raise Stuck(f"{self.loop} does not stop")

    def close(self, *, cancel: bool = True) -> None:
        """Cancel the tasks (unless told not to), stop and close the loop."""
        if self.loop.is_closed():
            return
        if cancel:
            if not self.thread.is_alive():
                self.start()
            self.run(self._end())
        self.stop()
        self.loop.close()

    async def _end(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self.loop.shutdown_asyncgens()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def new_loop(kind: str) -> LoopThread | TrioThread:
    """Start a loop of any kind in a thread of its own."""
    return TrioThread() if kind == "trio" else LoopThread(kind)


def run_on(kind: str, coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a new loop of that kind, here; TimeoutError if it does not end."""
    if kind == "trio":
        try:
            return trios.run(coroutine)
        except BaseException:
            coroutine.close()  # perhaps not begun: skipped, where there is no trio
            raise

    async def bounded() -> T:
        async with asyncio.timeout(WATCHDOG):
            return await coroutine

    with asyncio.Runner(loop_factory=LOOPS[kind]) as runner:
        return runner.run(bounded())


def on_each_loop(test: Callable[..., Awaitable[None]], kinds: tuple[str, ...] = LOOP_KINDS) -> Callable[..., None]:
    """Make an `async def test_...` a test that runs on each kind of asyncio's event loops."""
    signature = inspect.signature(test)

    @functools.wraps(test)
    def run(loop_kind: str, **kwargs: Any) -> None:
        async def body() -> None:
            await test(**kwargs)

        run_on(loop_kind, body())

    del run.__wrapped__
    kind = inspect.Parameter("loop_kind", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    run.__signature__ = signature.replace(parameters=[kind, *signature.parameters.values()])  # type: ignore[attr-defined]
    each: Callable[..., None] = pytest.mark.parametrize("loop_kind", kinds)(run)
    return each


def on_every_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Make it one that runs on trio too: it asks tests/tasks.py for whatever asyncio does in another way."""
    return on_each_loop(test, EVERY_KIND)


# --- attempts -------------------------------------------------------------------------------------------------------


class Attempt:
    """One acquire that runs by itself. Of the two kinds, one thread each, or one task each."""

    is_task: bool

    def __init__(self) -> None:
        self._outcome: concurrent.futures.Future[Any] = concurrent.futures.Future()

    def done(self) -> bool:
        """Whether the acquire has ended, somehow."""
        return self._outcome.done()

    def guard(self, seconds: float = WATCHDOG) -> Any:
        """Wait until the acquire has ended: what it gave, or the exception that it raised."""
        return outcome_of(self._outcome, seconds)

    def error(self) -> BaseException:
        """Wait until the acquire has ended, and return the exception that it raised."""
        try:
            got = outcome_of(self._outcome)
        except Stuck:
            raise
        except BaseException as error:  # noqa: BLE001
            return error
        raise AssertionError(f"it raised nothing, but gave {got!r}")

    def release(self) -> None:
        """Release the guard where it was taken: in that thread, on that loop."""
        guard = self.guard()
        self.do(guard.release)

    def do(self, function: Callable[[], T]) -> T:
        """Call a plain function in that thread, or on that loop."""
        raise NotImplementedError

    def cancel(self, message: str = "enough") -> None:
        """Interrupt the acquire (a thread: Interrupted; a task: CANCELLED) and wait until it has ended."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of whatever is left."""
        raise NotImplementedError


def _nothing(*_: object) -> None:
    """A signal handler: that it was called has ended the sleep."""


class ThreadAttempt(Attempt):
    """An acquire in a thread, which then waits for what to do."""

    is_task = False

    def __init__(self, make: Callable[[], Any]) -> None:
        super().__init__()
        self._todo: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = in_thread(self._live, make)

    def _live(self, make: Callable[[], Any]) -> None:
        try:
            try:
                self._outcome.set_result(make().acquire())
            except BaseException as error:  # noqa: BLE001
                self._outcome.set_exception(error)
            while (task := self._todo.get()) is not None:
                task()
        except Interrupted:  # it came when the acquire was over already
            pass

    def do(self, function: Callable[[], T]) -> T:
        return outcome_of(self.later(function))

    def later(self, function: Callable[[], T]) -> concurrent.futures.Future[T]:
        """Call a function in that thread, which may block; do not wait for it."""
        future: concurrent.futures.Future[T] = concurrent.futures.Future()

        def run() -> None:
            try:
                future.set_result(function())
            except BaseException as error:  # noqa: BLE001
                future.set_exception(error)

        self._todo.put(run)
        return future

    def cancel(self, message: str = "enough") -> None:
        self.interrupt(self._outcome)

    def interrupt(self, outcome: concurrent.futures.Future[Any]) -> None:
        """Raise Interrupted in the thread. The signal is there to end its sleep: it may come too early, so again and again."""
        before = signal.signal(signal.SIGUSR1, _nothing)
        try:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread.ident), ctypes.py_object(Interrupted))
            end = time.monotonic() + WATCHDOG
            while not outcome.done():
                if time.monotonic() > end:
                    raise Stuck("an interrupted thread waits on")
                signal.pthread_kill(self._thread.ident, signal.SIGUSR1)
                time.sleep(YIELD)
        finally:
            # The last signal may come only after this, and the default would end the process.
            signal.signal(signal.SIGUSR1, _nothing if before is signal.SIG_DFL else before)

    def close(self) -> None:
        self._todo.put(None)
        if self._outcome.done():
            self._thread.join()


class TaskAttempt(Attempt):
    """An acquire in a task of its own."""

    is_task = True

    def __init__(self, make: Callable[[], Any], loop: LoopThread | TrioThread) -> None:
        super().__init__()
        self._loop = loop
        self.task: Any
        loop.call(functools.partial(self._start, make))

    def _start(self, make: Callable[[], Any]) -> None:
        self.task = self._loop.start_task(self._live(make))

    async def _live(self, make: Callable[[], Any]) -> None:
        try:
            self._outcome.set_result(await make())
        except BaseException as error:  # noqa: BLE001
            self._outcome.set_exception(error)

    def do(self, function: Callable[[], T]) -> T:
        return self._loop.call(function)

    def cancel(self, message: str = "enough") -> None:
        self._loop.call(lambda: self.task.cancel(message))
        wait_until(self.done, "a cancelled task waits on")

    def close(self) -> None:
        """Its loop does it."""


class World:
    """Hands out attempts: threads, tasks of one loop, a mix, tasks of two loops. See WORLDS."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._kinds = itertools.cycle(WORLDS[name])
        self._loops: dict[str, LoopThread | TrioThread] = {}
        self._attempts: list[Attempt] = []

    def attempt(self, make: Callable[[], Any]) -> Attempt:
        """Start to acquire what `make()` requests; the next kind of this world does it. Returns at once."""
        kind = next(self._kinds)
        attempt = ThreadAttempt(make) if kind == "thread" else TaskAttempt(make, self._loop(kind))
        self._attempts.append(attempt)
        return attempt

    def _loop(self, kind: str) -> LoopThread | TrioThread:
        if kind not in self._loops:
            self._loops[kind] = new_loop(kind.split(maxsplit=1)[0])
        return self._loops[kind]

    def close(self) -> None:
        """End all threads and loops."""
        for loop in self._loops.values():
            loop.close()
        for attempt in self._attempts:
            attempt.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def no_collector() -> Iterator[None]:
    """Keep the cyclic collector away: what is dropped here is dropped by its count."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
