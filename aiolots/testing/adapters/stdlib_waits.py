"""The standard library's conditions, semaphores and events, and RLock."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from aiolots.testing.adapters.stdlib import AsyncioLock, ThreadingLock
from aiolots.testing.conformance import Adapter, Offer


class ThreadingRLock(ThreadingLock):
    """threading.RLock: owned by the thread that acquired it."""

    name = "threading.RLock"
    offers = ThreadingLock.offers & ~Offer.HANDOVER | Offer.OWNER
    kinds = ("reentrant", "lock")

    def make(self) -> Any:
        """Return a new lock."""
        return threading.RLock()


class ThreadingCondition(ThreadingLock):
    """threading.Condition."""

    name = "threading.Condition"
    offers = ThreadingLock.offers & ~Offer.HANDOVER
    kinds = ("condition",)

    def make(self) -> Any:
        """Return a new condition, with a Lock and not an RLock."""
        return threading.Condition(threading.Lock())

    def wait(self, lock: Any, held: Any, timeout: float | None) -> bool:
        """Wait."""
        return bool(lock.wait(timeout))

    def notify(self, lock: Any, held: Any, everybody: bool) -> None:
        """Notify."""
        if everybody:
            lock.notify_all()
        else:
            lock.notify()


class AsyncioCondition(AsyncioLock):
    """asyncio.Condition: for the tasks of one loop."""

    name = "asyncio.Condition"
    offers = AsyncioLock.offers | Offer.SHIELD
    kinds = ("condition",)

    def make(self) -> Any:
        """Return a new condition."""
        return asyncio.Condition()

    async def wait_task(self, lock: Any, held: Any, timeout: float | None) -> bool:
        """Wait."""
        return bool(await lock.wait())

    def notify(self, lock: Any, held: Any, everybody: bool) -> None:
        """Notify."""
        if everybody:
            lock.notify_all()
        else:
            lock.notify()


class ThreadingSemaphore(ThreadingLock):
    """threading.Semaphore."""

    name = "threading.Semaphore"
    kinds = ("semaphore", "lock")

    def make(self) -> Any:
        """Return one with one permit."""
        return self.make_many(1)

    def make_many(self, permits: int) -> Any:
        """Return one with so many."""
        return threading.Semaphore(permits)


class AsyncioSemaphore(AsyncioLock):
    """asyncio.Semaphore: for the tasks of one loop."""

    name = "asyncio.Semaphore"
    kinds = ("semaphore", "lock")

    def make(self) -> Any:
        """Return one with one permit."""
        return self.make_many(1)

    def make_many(self, permits: int) -> Any:
        """Return one with so many."""
        return asyncio.Semaphore(permits)


class ThreadingEvent(Adapter):
    """threading.Event."""

    name = "threading.Event"
    offers = Offer.THREAD | Offer.THREAD_TIMEOUT | Offer.CLEAR
    kinds = ("event",)

    def make(self) -> Any:
        """Return a new event."""
        return threading.Event()

    def wait(self, lock: Any, held: Any, timeout: float | None) -> bool:
        """Wait."""
        return bool(lock.wait(timeout))

    def set(self, event: Any) -> None:
        """Put the flag up."""
        event.set()

    def clear(self, event: Any) -> None:
        """Take it down."""
        event.clear()


class AsyncioEvent(Adapter):
    """asyncio.Event: for the tasks of one loop."""

    name = "asyncio.Event"
    offers = Offer.TASK | Offer.CLEAR
    kinds = ("event",)

    def make(self) -> Any:
        """Return a new event."""
        return asyncio.Event()

    async def wait_task(self, lock: Any, held: Any, timeout: float | None) -> bool:
        """Wait."""
        return bool(await lock.wait())

    def set(self, event: Any) -> None:
        """Put the flag up."""
        event.set()

    def clear(self, event: Any) -> None:
        """Take it down."""
        event.clear()


class ThreadingBarrier(Adapter):
    """threading.Barrier."""

    name = "threading.Barrier"
    offers = Offer.THREAD | Offer.THREAD_TIMEOUT
    kinds = ("barrier",)

    def make(self) -> Any:
        """Return one for three."""
        return self.make_for(3)

    def make_for(self, parties: int) -> Any:
        """Return one for so many."""
        return threading.Barrier(parties)

    def arrive(self, barrier: Any, timeout: float | None) -> int:
        """Arrive."""
        return int(barrier.wait(timeout))


class AsyncioBarrier(Adapter):
    """asyncio.Barrier: for the tasks of one loop."""

    name = "asyncio.Barrier"
    offers = Offer.TASK
    kinds = ("barrier",)

    def make(self) -> Any:
        """Return one for three."""
        return self.make_for(3)

    def make_for(self, parties: int) -> Any:
        """Return one for so many."""
        return asyncio.Barrier(parties)

    async def arrive_task(self, barrier: Any, timeout: float | None) -> int:
        """Arrive."""
        return int(await barrier.wait())
