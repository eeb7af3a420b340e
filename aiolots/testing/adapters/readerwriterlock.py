"""readerwriterlock, both halves: RWLockFair is what its README uses. What gen_rlock or gen_wlock makes is the holder."""

from __future__ import annotations

import importlib
from typing import Any

from aiolots.testing.conformance import Adapter, Mode, Offer


class RWLockFair(Adapter):
    """readerwriterlock.rwlock.RWLockFair: for threads."""

    name = "readerwriterlock.RWLockFair"
    package = "readerwriterlock"
    offers = Offer.THREAD | Offer.SHARED | Offer.TURNS | Offer.THREAD_TIMEOUT | Offer.TRY | Offer.HANDOVER

    def make(self) -> Any:
        """Return a new lock."""
        return importlib.import_module("readerwriterlock.rwlock").RWLockFair()

    def acquire(self, lock: Any, mode: Mode, timeout: float | None) -> Any:
        """Acquire in a thread, as with `threading.Lock`."""
        marker = lock.gen_rlock() if mode == "read" else lock.gen_wlock()
        if timeout is None:
            return marker if marker.acquire() else None
        return marker if marker.acquire(blocking=True, timeout=timeout) else None

    def release(self, lock: Any, mode: Mode, held: Any) -> None:
        """Release the marker."""
        held.release()


class RWLockFairD(RWLockFair):
    """readerwriterlock.rwlock.RWLockFairD: its lock that can be downgraded."""

    name = "readerwriterlock.RWLockFairD"
    offers = RWLockFair.offers | Offer.DOWNGRADE

    def make(self) -> Any:
        """Return a new lock."""
        return importlib.import_module("readerwriterlock.rwlock").RWLockFairD()

    def downgrade(self, lock: Any, held: Any) -> Any:
        """Give the marker up for a reader's."""
        return held.downgrade()


class AsyncRWLockFair(Adapter):
    """readerwriterlock.rwlock_async.RWLockFair: for the tasks of one loop; release is a coroutine."""

    name = "readerwriterlock.async.RWLockFair"
    package = "readerwriterlock"
    offers = Offer.TASK | Offer.SHARED | Offer.TURNS | Offer.TASK_TIMEOUT | Offer.HANDOVER

    def make(self) -> Any:
        """Return a new lock."""
        return importlib.import_module("readerwriterlock.rwlock_async").RWLockFair()

    async def acquire_task(self, lock: Any, mode: Mode, timeout: float | None) -> Any:
        """Acquire in a task."""
        marker = await (lock.gen_rlock() if mode == "read" else lock.gen_wlock())
        if timeout is None:
            return marker if await marker.acquire() else None
        return marker if await marker.acquire(blocking=True, timeout=timeout) else None

    async def release_task(self, lock: Any, mode: Mode, held: Any) -> None:
        """Release the marker."""
        await held.release()
