"""Locks with one fault each, and adapters for them: the conformance kit must find it."""

from __future__ import annotations

import asyncio
import collections
import ctypes
import os
import threading
import time
from typing import Any

from aiolots.testing.adapters.stdlib import AsyncioLock, ThreadingLock
from aiolots.testing.conformance import Adapter, Mode, Offer

FOR_EVER = 600  # seconds


class Mutex:
    """A mutex for the tasks of one loop, which is handed to the first who waits; `fault` says what is wrong with it."""

    def __init__(self, fault: str) -> None:
        self._fault = fault
        self._locked = False
        self._waiters: collections.deque[asyncio.Future[None]] = collections.deque()

    async def acquire(self) -> bool:
        if not self._locked and not (self._waiters and self._fault == "queues behind a cancelled waiter"):
            self._locked = True
            return True
        turn = asyncio.get_running_loop().create_future()
        self._waiters.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                passes_on = self._fault == "grants when a waiter is cancelled"
            else:
                passes_on = self._fault != "loses the grant of a cancelled waiter"
            if passes_on:
                self.release()
            raise
        finally:
            self._waiters.remove(turn)
        return True

    def release(self) -> None:
        for turn in self._waiters:
            if not turn.done():
                turn.set_result(None)
                return
        self._locked = False


class Sound(AsyncioLock):
    name = "toy.Sound"
    fault = ""

    def make(self) -> Any:
        return Mutex(self.fault)


class Polite(Sound):
    name = "toy.Polite"
    fault = "queues behind a cancelled waiter"


class Losing(Sound):
    name = "toy.Losing"
    fault = "loses the grant of a cancelled waiter"


class Generous(Sound):
    name = "toy.Generous"
    fault = "grants when a waiter is cancelled"


class Boastful(AsyncioLock):
    """asyncio.Lock, by someone who thinks that it works across loops."""

    name = "toy.Boastful"
    offers = AsyncioLock.offers | Offer.LOOPS


class ReaderWriterLock:
    """A read-write lock for threads, around a condition; a writer that times out is still counted as one that waits."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._readers = self._writers = self._waiting = 0

    def acquire(self, mode: Mode, timeout: float | None) -> bool:
        with self._changed:
            if mode == "read":
                got = self._changed.wait_for(lambda: not self._writers and not self._waiting, timeout)
                self._readers += got
                return got
            self._waiting += 1
            if not self._changed.wait_for(lambda: not self._writers and not self._readers, timeout):
                return False
            self._waiting -= 1
            self._writers += 1
            return True

    def release(self, mode: Mode) -> None:
        with self._changed:
            if mode == "read":
                self._readers -= 1
            else:
                self._writers -= 1
            self._changed.notify_all()


class Forgetful(Adapter):
    name = "toy.Forgetful"
    offers = Offer.THREAD | Offer.SHARED | Offer.THREAD_TIMEOUT

    def make(self) -> Any:
        return ReaderWriterLock()

    def acquire(self, lock: Any, mode: Mode, timeout: float | None) -> Any:
        return lock.acquire(mode, timeout) or None

    def release(self, lock: Any, mode: Mode, held: Any) -> None:
        lock.release(mode)


class Open(ThreadingLock):
    """No lock at all."""

    name = "toy.Open"

    def acquire(self, lock: Any, mode: Mode, timeout: float | None) -> Any:
        time.sleep(0)
        return True

    def release(self, lock: Any, mode: Mode, held: Any) -> None:
        pass


class Crashing(ThreadingLock):
    name = "toy.Crashing"

    def acquire(self, lock: Any, mode: Mode, timeout: float | None) -> Any:
        os._exit(3)


class Frozen(ThreadingLock):
    """Sleeps with the GIL."""

    name = "toy.Frozen"

    def acquire(self, lock: Any, mode: Mode, timeout: float | None) -> Any:
        ctypes.PyDLL(None).sleep(FOR_EVER)


class Missing(ThreadingLock):
    name = "toy.Missing"
    package = "there_is_no_such_package"
