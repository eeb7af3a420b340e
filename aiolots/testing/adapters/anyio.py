"""anyio's, for the tasks of one loop; locks are owned by the task that acquired them. As they are made: without fast_acquire.

No SHIELD: its shields hold off cancel scopes, not the cancel() of asyncio.
"""

from __future__ import annotations

import importlib
from typing import Any

from aiolots.testing.conformance import Adapter, Mode, Offer


class Lock(Adapter):
    """anyio.Lock."""

    name = "anyio.Lock"
    package = "anyio"
    offers = Offer.TASK | Offer.OWNER

    def make(self) -> Any:
        """Return a new lock."""
        return importlib.import_module("anyio").Lock()

    def dump(self, lock: Any) -> object:
        """Return what there is to know of it."""
        return repr(lock), lock.statistics()

    async def acquire_task(self, lock: Any, mode: Mode, timeout: float | None) -> Any:
        """Acquire in a task."""
        await lock.acquire()
        return True

    async def release_task(self, lock: Any, mode: Mode, held: Any) -> None:
        """Release in that task."""
        lock.release()


class Condition(Lock):
    """anyio.Condition."""

    name = "anyio.Condition"
    kinds = ("condition",)

    def make(self) -> Any:
        """Return a new condition."""
        return importlib.import_module("anyio").Condition()

    async def wait_task(self, lock: Any, held: Any, timeout: float | None) -> bool:
        """Wait; it gives nothing."""
        await lock.wait()
        return True

    def notify(self, lock: Any, held: Any, everybody: bool) -> None:
        """Notify."""
        if everybody:
            lock.notify_all()
        else:
            lock.notify(1)


class Semaphore(Lock):
    """anyio.Semaphore."""

    name = "anyio.Semaphore"
    offers = Offer.TASK | Offer.HANDOVER
    kinds = ("semaphore", "lock")

    def make(self) -> Any:
        """Return one with one permit."""
        return self.make_many(1)

    def make_many(self, permits: int) -> Any:
        """Return one with so many."""
        return importlib.import_module("anyio").Semaphore(permits)


class Event(Adapter):
    """anyio.Event."""

    name = "anyio.Event"
    package = "anyio"
    offers = Offer.TASK
    kinds = ("event",)

    def make(self) -> Any:
        """Return a new event."""
        return importlib.import_module("anyio").Event()

    async def wait_task(self, lock: Any, held: Any, timeout: float | None) -> bool:
        """Wait; it gives nothing."""
        await lock.wait()
        return True

    def set(self, event: Any) -> None:
        """Put the flag up."""
        event.set()
