"""The actors: threads and event loops that do one thing when told to. After it each is done with it, or parked.

Nothing here sleeps and hopes: `Stage.settle` returns when every acquire that was begun has ended or is queued with no wake
under way, as the queues themselves say, and raises Stuck if that does not come true.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import ctypes
import functools
import queue
import signal
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple, TypeVar

from aiolots import LockTimeout
from tests.fuzz.subject import Subject
from tests.worlds import LOOP_KINDS, WATCHDOG, YIELD, Interrupted, LoopThread, Stuck, outcome_of

T = TypeVar("T")

THREADS = 3
LOOPS = LOOP_KINDS  # one of each kind
LET_GO = 2.0  # seconds, for what is left behind
IN, LATE, OUT = "in", "timed out", "cancelled"


class Place(NamedTuple):
    """Where something is done: in the test's own thread (the default), one of the threads, on one of the loops."""

    thread: int | None = None
    loop: int | None = None

    def __str__(self) -> str:
        if self.loop is not None:
            return f"loop {self.loop} ({LOOPS[self.loop]})"
        return "here" if self.thread is None else f"thread {self.thread}"


HERE = Place()


class Attempt:
    """One acquire, from the request to the guard. `op` is what the model calls it."""

    def __init__(self, op: int, kind: int, mode: str, place: Place, request: Any) -> None:
        self.op, self.kind, self.mode, self.place = op, kind, mode, place
        self.request = request
        self.guard: Any = None
        self.owner = 0  # as the queues name who waits
        self.is_task = place.loop is not None  # the guard's colour
        self.leaves = False  # it was cancelled, or its time will be up: parked is not where it stays
        self.outcome: concurrent.futures.Future[str] = concurrent.futures.Future()
        self.task: asyncio.Task[None] | None = None
        self.coroutine: Coroutine[Any, Any, None] | None = None

    def __repr__(self) -> str:
        return f"{self.mode} {self.op} of {self.place}"

    @property
    def done(self) -> bool:
        return self.outcome.done()

    def acquire(self, enter: bool) -> None:
        """Acquire, in this thread."""
        self.owner = threading.get_ident()
        try:
            self._got(self.request.__enter__() if enter else self.request.acquire())
        except BaseException as error:  # noqa: BLE001
            self._failed(error)

    def start(self, loop: asyncio.AbstractEventLoop, enter: bool) -> None:
        """Acquire, in a new task; on the loop's thread."""
        self.coroutine = self._awaits(enter)
        self.task = loop.create_task(self.coroutine)
        self.owner = id(self.task)

    async def _awaits(self, enter: bool) -> None:
        try:
            self._got(await (self.request.__aenter__() if enter else self.request))
        except GeneratorExit:  # its loop was closed
            raise
        except BaseException as error:  # noqa: BLE001
            self._failed(error)

    def _got(self, guard: Any) -> None:
        self.guard = guard
        self.outcome.set_result(LATE if guard is None else IN)

    def _failed(self, error: BaseException) -> None:
        if isinstance(error, LockTimeout):
            self.outcome.set_result(LATE)
        elif isinstance(error, (asyncio.CancelledError, Interrupted)):
            self.outcome.set_result(OUT)
        else:
            self.outcome.set_exception(error)

    def collect(self) -> None:
        """Take its frame away, as if the task were collected: its loop is closed."""
        if self.task is not None and self.coroutine is not None:
            self.task._log_destroy_pending = False  # type: ignore[attr-defined]
            with contextlib.suppress(RuntimeError):
                self.coroutine.close()
        self.task = self.coroutine = None

    def forget(self) -> None:
        """Drop the request, which is the guard."""
        self.request = self.guard = self.task = self.coroutine = None


class Actor:
    """A thread that does what it is told, one thing after the other."""

    def __init__(self) -> None:
        self._todo: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._live, daemon=True)
        self.thread.start()

    def _live(self) -> None:
        while True:
            with contextlib.suppress(Interrupted):  # that came too late, on a broken stage
                task = self._todo.get()
                if task is None:
                    return
                task()
            task = None  # it may hold the last reference to a guard

    def post(self, function: Callable[[], None]) -> None:
        self._todo.put(function)

    def end(self) -> None:
        self._todo.put(None)


class Stage:
    """Threads and loops, and the acquires that were begun on them."""

    def __init__(self, subject: Subject, patience: float = WATCHDOG) -> None:
        self.subject, self.patience = subject, patience
        self.actors = [Actor() for _ in range(THREADS)]
        self.loops = [LoopThread(kind) for kind in LOOPS]
        self.pending: list[Attempt] = []
        self._before = signal.signal(signal.SIGUSR1, lambda *_: None)

    # --- doing things ---

    def post(self, place: Place, function: Callable[[], T]) -> concurrent.futures.Future[T]:
        """Let it be done there, and do not wait for that."""
        future: concurrent.futures.Future[T] = concurrent.futures.Future()

        def run() -> None:
            try:
                future.set_result(function())
            except BaseException as error:  # noqa: BLE001
                future.set_exception(error)

        if place.loop is not None:
            self.loops[place.loop].loop.call_soon_threadsafe(run)
        elif place.thread is not None:
            self.actors[place.thread].post(run)
        else:
            run()
        return future

    def do(self, place: Place, function: Callable[[], T]) -> T:
        """Let it be done there: its result, or what it raised."""
        return outcome_of(self.post(place, function))

    def begin(self, attempt: Attempt, *, enter: bool) -> Callable[[], None]:
        """Return what begins an acquire when it is called at its place."""
        self.pending.append(attempt)
        if attempt.place.loop is None:
            attempt.owner = self.actors[attempt.place.thread or 0].thread.ident or 0
            return functools.partial(attempt.acquire, enter)
        return functools.partial(attempt.start, self.loops[attempt.place.loop].loop, enter)

    def interrupt(self, attempt: Attempt, seconds: float = WATCHDOG) -> None:
        """Raise Interrupted in a thread that waits. The signal is there to end its sleep: it may come too early, so again."""
        thread = self.actors[attempt.place.thread or 0].thread
        ident = thread.ident or 0
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(Interrupted))
        end = time.monotonic() + seconds
        while not attempt.done:
            if time.monotonic() > end:
                raise Stuck(f"interrupted, it waits on: {attempt}")
            signal.pthread_kill(ident, signal.SIGUSR1)
            time.sleep(YIELD)
        outcome_of(
            self.post(attempt.place, lambda: None), seconds
        )  # the last signal has been dealt with when the thread runs again

    def close_loop(self, index: int) -> list[Attempt]:
        """Close a loop over the heads of its tasks, and put a new one in its place. Returns the acquires that it ended."""
        lost = [attempt for attempt in self.pending if attempt.place.loop == index]
        self.pending = [attempt for attempt in self.pending if attempt.place.loop != index]
        self.loops[index].close(cancel=False)
        for attempt in lost:
            attempt.collect()
        self.loops[index] = LoopThread(LOOPS[index])
        return lost

    # --- waiting ---

    def settle(self, locks: list[Any]) -> tuple[list[Attempt], list[list[Any]]]:
        """Wait until every acquire has ended or is parked. Returns those that have ended, and each lock's queue."""
        end = time.monotonic() + self.patience
        before: object = None
        while True:
            waiting = sorted(attempt.owner for attempt in self.pending if not attempt.done)
            queues = [self.subject.waiters(lock) for lock in locks]
            everybody = [waiter for queue in queues for waiter in queue]
            calm = waiting == sorted(waiter.owner for waiter in everybody) and not any(waiter.woken for waiter in everybody)
            calm = calm and all(attempt.done for attempt in self.pending if attempt.leaves)
            if calm and before == (waiting, queues):  # twice the same: nobody moved while the queues were read
                break
            before = (waiting, queues) if calm else None
            if time.monotonic() > end:
                raise Stuck(f"neither done nor parked: {[a for a in self.pending if not a.done]}, queued: {queues}")
            time.sleep(0)
        ended = [attempt for attempt in self.pending if attempt.done]
        self.pending = [attempt for attempt in self.pending if not attempt.done]
        return ended, queues

    # --- the end ---

    def close(self, *, broken: bool) -> None:
        """End all, as far as possible: if the stage is `broken`, some of it may never end."""
        with contextlib.suppress(Stuck) if broken else contextlib.nullcontext():
            for attempt in self.pending:
                if attempt.place.loop is None and not attempt.done:
                    self.interrupt(attempt, LET_GO)
        for actor in self.actors:
            actor.end()
            actor.thread.join(LET_GO)
        with contextlib.suppress(Stuck) if broken else contextlib.nullcontext():
            for loop in self.loops:
                loop.close(cancel=not broken)
        for attempt in self.pending:
            attempt.collect()
        if not any(actor.thread.is_alive() for actor in self.actors):  # else a signal may be on its way
            signal.signal(signal.SIGUSR1, self._before)
