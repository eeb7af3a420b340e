"""A read-write lock with a choice of faults: each is one that some library has had, and the machine must find it.

It is the plain way to build such a lock: all under one door, every release hands over. Without a fault it is sound, and the
machine must find nothing.
"""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from collections.abc import Generator
from typing import Any, NamedTuple

from aiolots import LockTimeout
from tests.fuzz import model
from tests.fuzz.subject import Kind, Subject

LOOK_EVERY = 0.002  # seconds: a thread is interrupted between two looks
FAULTS = {
    "lost grant": "a task that is cancelled when it was let in already keeps the lock for ever",
    "lost wake": "a writer that leaves does not wake the readers that queued behind it",
    "stuck flag": "a writer that leaves keeps WRITER",
    "double release": "a second release is accepted",
    "borrow": "a reader that is released twice is counted twice",
    "barging readers": "readers enter past a writer that waits",
    "polite recursion": "a recursive read queues behind a writer although readers are in",
    "one reader": "a release lets one of the readers in that wait side by side",
    "last come": "who came last is let in first",
    "ghost waiter": "who times out stays queued",
    "stale flag": "the last to leave the queue leaves PARKED",
    "two writers": "a writer is let in beside readers",
    "greedy": "a try takes the lock beside those who are in",
}


class Toy:
    """The lock."""

    def __init__(self, value: Any = None, *, name: str | None = None, fault: str = "") -> None:
        self.name, self.value, self.fault = name, value, fault
        self.door = threading.RLock()
        self.readers = 0
        self.writer: Request | None = None
        self.drainer: Request | None = None
        self.queue: list[Request] = []
        self.stale = False

    @property
    def word(self) -> int:
        flags = bool(self.queue or self.stale) * model.PARKED | (self.drainer is not None) * model.WRITER_PARKED
        return flags | (self.writer is not None) * model.WRITER | self.readers * model.ONE_READER

    def read(self, timeout: float | None = None) -> Request:
        return Request(self, model.READ, timeout, raises=True)

    def read_recursive(self, timeout: float | None = None) -> Request:
        return Request(self, model.READ_RECURSIVE, timeout, raises=True)

    def write(self, timeout: float | None = None) -> Request:
        return Request(self, model.WRITE, timeout, raises=True)

    def __getattr__(self, name: str) -> Any:
        for mode in (model.READ, model.READ_RECURSIVE, model.WRITE):
            if name == f"try_{mode}":
                return functools.partial(self._try, mode)
            if name == f"try_{mode}_for":
                return functools.partial(Request, self, mode, raises=False)
        raise AttributeError(name)

    def _try(self, mode: str) -> Request | None:
        request = Request(self, mode, 0, raises=False)
        with self.door:
            if self.fault == "greedy":
                self.take(request)
                request.state = "held"
                return request
        return request.acquire()

    # --- under the door ---

    def may_enter(self, request: Request) -> bool:
        if request.mode == model.READ and self.fault == "barging readers":
            return self.writer is None or self.drainer is not None
        passes = request.mode == model.READ_RECURSIVE and self.readers and self.fault != "polite recursion"
        return self.writer is None or bool(passes)

    def take(self, request: Request) -> None:
        if request.mode == model.WRITE:
            self.writer = request
            self.drainer = request if self.readers and self.fault != "two writers" else None
        else:
            self.readers += 1

    def admit(self) -> None:
        while self.queue and self.writer is None:
            first = self.queue.pop(-1 if self.fault == "last come" else 0)
            self.take(first)
            if first is not self.drainer:
                first.wake()
            if self.fault == "one reader":
                break

    def give_back(self, request: Request) -> None:
        if request.mode == model.WRITE:
            self.writer = None
            self.admit()
            return
        self.readers -= 1
        if self.readers == 0 and self.drainer is not None:
            drainer, self.drainer = self.drainer, None
            drainer.wake()


class Request:
    """A request, and the guard."""

    def __init__(self, lock: Toy, mode: str, timeout: float | None = None, *, raises: bool) -> None:
        self._lock, self.mode, self._timeout, self._raises = lock, mode, timeout, raises
        self.state = "pending"
        self.owner = 0
        self._woken: threading.Event | asyncio.Future[None] = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def value(self) -> Any:
        return self._lock.value

    def is_held(self) -> bool:
        return self.state == "held"

    def wake(self) -> None:
        self.state = "held"
        if isinstance(self._woken, threading.Event):
            self._woken.set()
        elif self._loop is not None:
            self._loop.call_soon_threadsafe(resolve, self._woken)

    def _enter(self) -> bool:
        """Be in, or queued. Under the door."""
        lock = self._lock
        if lock.may_enter(self):
            if self._timeout == 0 and self.mode == model.WRITE and lock.readers:
                return False
            lock.take(self)
            if self is not lock.drainer:
                self.state = "held"
                return True
        elif self._timeout != 0:
            lock.queue.append(self)
        return False

    def _leave(self, *, keeps: bool) -> bool:
        """End the wait early. True if it was too late for that, and a timeout keeps what it got."""
        lock = self._lock
        with lock.door:
            if self.state == "held":
                if not keeps and lock.fault != "lost grant":
                    self.state = "gone"
                    lock.give_back(self)
                return keeps
            self.state = "gone"
            if self is lock.drainer:
                lock.drainer = None
                if lock.fault != "stuck flag":
                    lock.writer = None
                if lock.fault != "lost wake":
                    lock.admit()
            elif self in lock.queue and not (keeps and lock.fault == "ghost waiter"):
                lock.queue.remove(self)
                lock.stale |= lock.fault == "stale flag" and not lock.queue
            return False

    def _result(self) -> Request | None:
        """The wait is over: return what came of it."""
        if self.state == "held" or self._leave(keeps=True):
            return self
        if self._raises:
            raise LockTimeout("too late", lock_name=None, mode=self.mode, waited=0.0, word=0)
        return None

    def acquire(self) -> Request | None:
        self.owner = threading.get_ident()
        with self._lock.door:
            if self._enter():
                return self
        end = float("inf") if self._timeout is None else time.monotonic() + self._timeout
        try:
            while not self._woken.wait(LOOK_EVERY):  # type: ignore[union-attr]
                if time.monotonic() > end:
                    break
        except BaseException:
            self._leave(keeps=False)
            raise
        return self._result()

    __enter__ = acquire

    def __await__(self) -> Generator[Any, None, Request | None]:
        self.owner = id(asyncio.current_task())
        self._loop = asyncio.get_running_loop()
        self._woken = future = self._loop.create_future()
        with self._lock.door:
            if self._enter():
                return self
        # Not wait_for: on 3.11 that keeps a cancellation to itself which comes when the future is done.
        timer = None
        if self._timeout is not None:
            timer = self._loop.call_later(self._timeout, resolve, future)
        try:
            yield from future
        except BaseException:
            self._leave(keeps=False)
            raise
        finally:
            if timer is not None:
                timer.cancel()
        return self._result()

    async def __aenter__(self) -> Request | None:
        return await self

    def release(self) -> None:
        lock = self._lock
        with lock.door:
            if self.state != "held":
                if lock.fault == "borrow":
                    lock.readers -= 1
                if lock.fault in ("double release", "borrow"):
                    return
                raise RuntimeError("this guard is not held")
            self.state = "released"
            lock.give_back(self)

    release_fair = release


def resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class Waiter(NamedTuple):
    """What the stage wants to know of who waits."""

    owner: int
    draining: bool
    woken: bool = False


def waiters(lock: Toy) -> list[Waiter]:
    """Return who waits, first come first."""
    with lock.door:
        queued = [Waiter(request.owner, draining=False) for request in lock.queue]
        return [*queued, *([Waiter(lock.drainer.owner, draining=True)] if lock.drainer is not None else [])]


def toy(fault: str) -> Subject:
    """Return a toy with that fault as a subject of the machine."""
    make = functools.partial(Toy, fault=fault)
    return Subject((Kind(make, (model.READ, model.READ_RECURSIVE, model.WRITE)),), waiters)
