"""aiorwlock.RWLock: for the tasks of one loop; owned by the task that acquired it."""

from __future__ import annotations

import importlib
from typing import Any

from aiolots.testing.conformance import Adapter, Mode, Offer


class RWLock(Adapter):
    """aiorwlock.RWLock: what `async with lock.reader_lock:` does, in two steps."""

    name = "aiorwlock.RWLock"
    package = "aiorwlock"
    offers = Offer.TASK | Offer.SHARED | Offer.TURNS | Offer.OWNER

    def make(self) -> Any:
        """Return a new lock."""
        return importlib.import_module("aiorwlock").RWLock()

    def _side(self, lock: Any, mode: Mode) -> Any:
        return lock.reader_lock if mode == "read" else lock.writer_lock

    async def acquire_task(self, lock: Any, mode: Mode, timeout: float | None) -> Any:
        """Acquire in a task."""
        await self._side(lock, mode).acquire()
        return True

    async def release_task(self, lock: Any, mode: Mode, held: Any) -> None:
        """Release in that task."""
        self._side(lock, mode).release()
