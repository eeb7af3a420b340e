"""aiologic.Lock: for threads and tasks, of all loops; owned by who acquired it. (Its read-write lock is a gist apart.)"""

from __future__ import annotations

import importlib
from typing import Any

from aiolots.testing.conformance import Adapter, Mode, Offer


class Lock(Adapter):
    """aiologic.Lock: green_acquire in a thread, async_acquire in a task."""

    name = "aiologic.Lock"
    package = "aiologic"
    offers = Offer.THREAD | Offer.TASK | Offer.THREAD_TIMEOUT | Offer.TASK_TIMEOUT | Offer.TRY | Offer.LOOPS | Offer.MIXED

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
