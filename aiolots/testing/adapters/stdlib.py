"""The standard library's mutexes."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from aiolots.testing.conformance import Adapter, Mode, Offer


class ThreadingLock(Adapter):
    """threading.Lock."""

    name = "threading.Lock"
    offers = Offer.THREAD | Offer.THREAD_TIMEOUT | Offer.TRY | Offer.HANDOVER | Offer.FORK

    def make(self) -> Any:
        """Return a new lock."""
        return threading.Lock()

    def acquire(self, lock: Any, mode: Mode, timeout: float | None) -> Any:
        """Acquire in a thread."""
        return (lock.acquire() if timeout is None else lock.acquire(timeout=timeout)) or None

    def release(self, lock: Any, mode: Mode, held: Any) -> None:
        """Release."""
        lock.release()


class AsyncioLock(Adapter):
    """asyncio.Lock: for the tasks of one loop."""

    name = "asyncio.Lock"
    offers = Offer.TASK | Offer.HANDOVER

    def make(self) -> Any:
        """Return a new lock."""
        return asyncio.Lock()

    async def acquire_task(self, lock: Any, mode: Mode, timeout: float | None) -> Any:
        """Acquire in a task."""
        await lock.acquire()
        return True

    async def release_task(self, lock: Any, mode: Mode, held: Any) -> None:
        """Release."""
        lock.release()
