"""aiologic's, for threads and tasks, of all loops; locks are owned by who acquired them. (Its read-write lock is a gist apart.)

Waits of a task on a condition or an event have no timeout of their own.
"""

from __future__ import annotations

import importlib
from typing import Any

from aiolots.testing.conformance import Adapter, Mode, Offer


class Lock(Adapter):
    """aiologic.Lock: green_acquire in a thread, async_acquire in a task."""

    name = "aiologic.Lock"
    package = "aiologic"
    offers = Offer.THREAD | Offer.TASK | Offer.THREAD_TIMEOUT | Offer.TASK_TIMEOUT | Offer.TRY | Offer.LOOPS | Offer.MIXED
    offers |= Offer.OWNER

    def make(self) -> Any:
        """Return a new lock."""
        return importlib.import_module("aiologic").Lock()

    def acquire(self, lock: Any, mode: Mode, timeout: float | None) -> Any:
        """Acquire in a thread."""
        return True if lock.green_acquire(timeout=timeout) else None

    def release(self, lock: Any, mode: Mode, held: Any) -> None:
        """Release in that thread."""
        lock.green_release()

    async def acquire_task(self, lock: Any, mode: Mode, timeout: float | None) -> Any:
        """Acquire in a task."""
        return True if await lock.async_acquire(timeout=timeout) else None

    async def release_task(self, lock: Any, mode: Mode, held: Any) -> None:
        """Release in that task."""
        lock.async_release()


class RLock(Lock):
    """aiologic.RLock."""

    name = "aiologic.RLock"
    kinds = ("reentrant", "lock")

    def make(self) -> Any:
        """Return a new lock."""
        return importlib.import_module("aiologic").RLock()


class Condition(Adapter):
    """aiologic.Condition, with a Lock."""

    name = "aiologic.Condition"
    package = "aiologic"
    offers = Lock.offers & ~Offer.TASK_TIMEOUT | Offer.SHIELD
    kinds = ("condition",)

    def make(self) -> Any:
        """Return a new condition."""
        aiologic = importlib.import_module("aiologic")
        return aiologic.Condition(aiologic.Lock())

    def acquire(self, lock: Any, mode: Mode, timeout: float | None) -> Any:
        """Acquire in a thread."""
        return True if lock.lock.green_acquire(timeout=timeout) else None

    def release(self, lock: Any, mode: Mode, held: Any) -> None:
        """Release in that thread."""
        lock.lock.green_release()

    async def acquire_task(self, lock: Any, mode: Mode, timeout: float | None) -> Any:
        """Acquire in a task."""
        return True if await lock.lock.async_acquire(timeout=timeout) else None

    async def release_task(self, lock: Any, mode: Mode, held: Any) -> None:
        """Release in that task."""
        lock.lock.async_release()

    def wait(self, lock: Any, held: Any, timeout: float | None) -> bool:
        """Wait in a thread."""
        return bool(lock.wait(timeout=timeout))

    async def wait_task(self, lock: Any, held: Any, timeout: float | None) -> bool:
        """Wait in a task."""
        return bool(await lock)

    def notify(self, lock: Any, held: Any, everybody: bool) -> None:
        """Notify."""
        if everybody:
            lock.notify_all()
        else:
            lock.notify()


class Semaphore(Lock):
    """aiologic.Semaphore."""

    name = "aiologic.Semaphore"
    offers = (Lock.offers | Offer.HANDOVER) & ~Offer.OWNER
    kinds = ("semaphore", "lock")

    def make(self) -> Any:
        """Return one with one permit."""
        return self.make_many(1)

    def make_many(self, permits: int) -> Any:
        """Return one with so many."""
        return importlib.import_module("aiologic").Semaphore(permits)


class REvent(Adapter):
    """aiologic.REvent: its event that can be cleared."""

    name = "aiologic.REvent"
    package = "aiologic"
    offers = Lock.offers & ~Offer.TASK_TIMEOUT | Offer.CLEAR
    kinds = ("event",)

    def make(self) -> Any:
        """Return a new event."""
        return importlib.import_module("aiologic").REvent()

    def wait(self, lock: Any, held: Any, timeout: float | None) -> bool:
        """Wait in a thread."""
        return bool(lock.wait(timeout=timeout))

    async def wait_task(self, lock: Any, held: Any, timeout: float | None) -> bool:
        """Wait in a task."""
        return bool(await lock)

    def set(self, event: Any) -> None:
        """Put the flag up."""
        event.set()

    def clear(self, event: Any) -> None:
        """Take it down."""
        event.clear()


class Barrier(Adapter):
    """aiologic.Barrier."""

    name = "aiologic.Barrier"
    package = "aiologic"
    offers = Lock.offers & ~Offer.TASK_TIMEOUT
    kinds = ("barrier",)

    def make(self) -> Any:
        """Return one for three."""
        return self.make_for(3)

    def make_for(self, parties: int) -> Any:
        """Return one for so many."""
        return importlib.import_module("aiologic").Barrier(parties)

    def arrive(self, barrier: Any, timeout: float | None) -> int:
        """Arrive in a thread."""
        return int(barrier.wait(timeout=timeout))

    async def arrive_task(self, barrier: Any, timeout: float | None) -> int:
        """Arrive in a task."""
        return int(await barrier)
