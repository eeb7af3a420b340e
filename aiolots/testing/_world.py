"""Who plays a scenario: threads, tasks of one loop or of several, each of which acquires the lock and then waits to be told.

An Attempt is one acquire in a thread or task of its own, which also releases: locks that belong to their owner allow no other.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from aiolots.testing._adapter import Adapter, Mode, Offer
from aiolots.testing._waiting import PATIENCE, Broken, Hang, settle, until, wait_until

T = TypeVar("T")

# What each attempt of a world is, in turn: a thread, or a task of the loop of that name; and what a lock must offer for it.
WORLDS: dict[str, tuple[tuple[str, ...], Offer, Offer]] = {
    "thread": (("thread",), Offer.THREAD, Offer.THREAD_TIMEOUT),
    "task": (("one",), Offer.TASK, Offer.TASK_TIMEOUT),
    "mixed": (("thread", "one"), Offer.MIXED, Offer.THREAD_TIMEOUT | Offer.TASK_TIMEOUT),
    "loops": (("one", "two"), Offer.LOOPS, Offer.TASK_TIMEOUT),
}


def future_of(function: Callable[[], T], start: Callable[[Callable[[], None]], object]) -> concurrent.futures.Future[T]:
    """Have `start` run the function somewhere; what will come of it."""
    future: concurrent.futures.Future[T] = concurrent.futures.Future()

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as error:  # noqa: BLE001 it is raised where it is asked for
            future.set_exception(error)

    start(run)
    return future


def in_thread(function: Callable[[], T]) -> concurrent.futures.Future[T]:
    """Run a function in a thread of its own."""
    return future_of(function, lambda run: threading.Thread(target=run, daemon=True).start())


def outcome(future: concurrent.futures.Future[T], what: str, seconds: float = PATIENCE) -> T:
    """Return or raise what came of it; Hang, with `what`, if nothing does."""
    wait_until(future.done, what, seconds)
    return future.result()


class Loop:
    """An event loop that runs in a thread of its own."""

    def __init__(self, make: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop) -> None:
        self.loop = make()
        self.native_id = 0
        self.start()

    def start(self) -> None:
        """Run it; again, if it was stopped."""
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self.native_id = self.call(threading.get_native_id)

    def begin(self, function: Callable[[], T]) -> concurrent.futures.Future[T]:
        """Call a plain function on the loop's thread, between two steps of its tasks."""
        return future_of(function, self.loop.call_soon_threadsafe)

    def call(self, function: Callable[[], T]) -> T:
        """Do it, and wait for that."""
        return outcome(self.begin(function), "an event loop does not run any more")

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Start a task."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def settle(self) -> None:
        """Return when each task waits for something outside of the loop, as far as can be told."""
        for _ in range(3):
            self.call(lambda: None)
        settle(self.native_id)

    def stop(self) -> None:
        """Stop it as it is, tasks and all; its thread ends."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        wait_until(lambda: not self._thread.is_alive(), "an event loop does not stop")

    def close(self) -> None:
        """Stop and close it as it is, tasks and all."""
        self.stop()
        self.loop.close()


class Attempt:
    """One acquire, in a thread or task of its own."""

    def __init__(self, world: World, mode: Mode, timeout: float | None) -> None:
        self.mode: Mode = mode
        self._timeout = timeout
        self._adapter, self._lock = world.adapter, world.lock
        self._got: concurrent.futures.Future[Any] = concurrent.futures.Future()
        self._over: concurrent.futures.Future[None] = concurrent.futures.Future()

    def done(self) -> bool:
        """Whether the acquire has ended, somehow."""
        return self._got.done()

    def settle(self) -> None:
        """Return when it has ended, or is queued, as far as can be told."""
        raise NotImplementedError

    def result(self, what: str = "an acquire does not end") -> bool:
        """Wait until the acquire has ended; whether the lock is held. Hang, with `what`, if it does not end."""
        return outcome(self._got, what) is not None

    def enters(self, what: str) -> None:
        """Wait until the lock is held; Hang or Broken, with `what`, if it is not."""
        if not self.result(what):
            raise Broken(f"{what}: refused")

    def is_not_starved(self, what: str) -> None:
        """Do the same where others keep the lock busy: not to get in is Broken then, for nobody sleeps for ever."""
        try:
            self.enters(what)
        except Hang:
            raise Broken(f"{what} for {PATIENCE:.0f} s") from None

    def release(self) -> None:
        """Release where it was acquired, and wait for that."""
        self._tell_to_release()
        outcome(self._over, f"the release of a {self.mode} does not end")

    def _tell_to_release(self) -> None:
        raise NotImplementedError


class ThreadAttempt(Attempt):
    """In a thread."""

    def __init__(self, world: World, mode: Mode, timeout: float | None) -> None:
        super().__init__(world, mode, timeout)
        self._go = threading.Event()
        self._native_id = 0
        threading.Thread(target=self._live, daemon=True).start()

    def _live(self) -> None:
        self._native_id = threading.get_native_id()
        try:
            held = self._adapter.acquire(self._lock, self.mode, self._timeout)
        except BaseException as error:  # noqa: BLE001
            self._got.set_exception(error)
            return
        self._got.set_result(held)
        if held is not None:
            self._go.wait()
            try:
                self._adapter.release(self._lock, self.mode, held)
            except BaseException as error:  # noqa: BLE001
                self._over.set_exception(error)
            else:
                self._over.set_result(None)

    def settle(self) -> None:
        wait_until(lambda: self._native_id, "a thread does not start")
        if not self.done():
            settle(self._native_id)

    def _tell_to_release(self) -> None:
        self._go.set()


class TaskAttempt(Attempt):
    """As a task."""

    def __init__(self, world: World, mode: Mode, timeout: float | None, loop: Loop) -> None:
        super().__init__(world, mode, timeout)
        self.loop = loop
        self._go = asyncio.Event()
        self._task = loop.call(lambda: loop.loop.create_task(self._live()))

    async def _live(self) -> None:
        try:
            held = await self._adapter.acquire_task(self._lock, self.mode, self._timeout)
        except BaseException as error:  # noqa: BLE001
            self._got.set_exception(error)
            return
        self._got.set_result(held)
        if held is not None:
            await self._go.wait()
            try:
                await self._adapter.release_task(self._lock, self.mode, held)
            except BaseException as error:  # noqa: BLE001
                self._over.set_exception(error)
            else:
                self._over.set_result(None)

    def settle(self) -> None:
        if not self.done():
            self.loop.settle()

    def _tell_to_release(self) -> None:
        self.loop.begin(self._go.set)

    def cancel(self) -> None:
        """Cancel the acquire, and wait until it has ended."""
        self.loop.call(self._task.cancel)
        wait_until(self.done, "a cancelled acquire does not end")
        if self._got.exception() is None:
            raise Broken("a cancelled acquire raised nothing")


class World:
    """One lock, and who plays with it: see WORLDS."""

    def __init__(self, adapter: Adapter, name: str) -> None:
        self.adapter = adapter
        self.kinds = WORLDS[name][0]  # of attempts, in turn
        self._turn = itertools.cycle(self.kinds)
        self._loops: dict[str, Loop] = {}
        self.lock: Any = adapter.make()

    @property
    def shared(self) -> bool:
        """Whether the lock has readers."""
        return Offer.SHARED in self.adapter.offers

    def renew(self) -> None:
        """Take a new lock."""
        self.lock = self.adapter.make()

    def loop(self, name: str = "one") -> Loop:
        """Return one of the world's loops."""
        if name not in self._loops:
            self._loops[name] = Loop()
        return self._loops[name]

    def attempt(self, mode: Mode, timeout: float | None = None) -> Attempt:
        """Start to acquire, as a thread or task, whose turn it is."""
        kind = next(self._turn)
        return self.thread(mode, timeout) if kind == "thread" else self.task(mode, timeout, self.loop(kind))

    def thread(self, mode: Mode, timeout: float | None = None) -> Attempt:
        """Start to acquire in a thread."""
        return ThreadAttempt(self, mode, timeout)

    def task(self, mode: Mode, timeout: float | None = None, loop: Loop | None = None) -> TaskAttempt:
        """Start to acquire as a task."""
        return TaskAttempt(self, mode, timeout, loop or self.loop())

    def usable(self) -> None:
        """Check that the lock is free, and is one: a writer keeps others out, readers meet."""
        for _ in self.kinds:
            first = self.attempt("write")
            first.enters("afterwards no writer gets in")
            second = self.attempt("write")
            second.settle()
            if second.done() and second.result():
                raise Broken("afterwards two writers are in at the same time")
            first.release()
            second.enters("afterwards a second writer does not get in after the first")
            second.release()
        if self.shared:
            readers = [self.attempt("read") for _ in range(2)]
            for reader in readers:
                reader.enters("afterwards two readers do not get in")
            for reader in readers:
                reader.release()

    # What a scenario that is a coroutine uses, in its own task.

    async def acquire(self, mode: Mode, timeout: float | None = None) -> Any:
        """Acquire in the task that calls."""
        return await self.adapter.acquire_task(self.lock, mode, timeout)

    async def release(self, mode: Mode, held: Any) -> None:
        """Release in the task that calls."""
        await self.adapter.release_task(self.lock, mode, held)

    async def through(self, mode: Mode) -> None:
        """Acquire and release."""
        await self.release(mode, await self.acquire(mode))

    def sync_through(self, mode: Mode) -> None:
        """Acquire and release in the thread that calls."""
        self.adapter.release(self.lock, mode, self.adapter.acquire(self.lock, mode, None))

    async def ends(self, what: str, *tasks: asyncio.Task[Any]) -> None:
        """Wait until tasks have ended, with an exception or without; Hang, with `what`, if they do not."""
        await until(lambda: all(task.done() for task in tasks), what)
        for task in tasks:
            if not task.cancelled() and isinstance(error := task.exception(), Hang | Broken):
                raise error
