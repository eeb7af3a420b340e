"""The locks of this package."""

from __future__ import annotations

from typing import Any

import aiolots
from aiolots.testing.conformance import Adapter, Mode, Offer


class RwLock(Adapter):
    """aiolots.RwLock: `with`, `async with`, or a guard that anybody may release."""

    name = "aiolots.RwLock"
    offers = ~Offer.NOTHING

    def make(self) -> Any:
        """Return a new lock."""
        return aiolots.RwLock()

    def _request(self, lock: Any, mode: Mode, timeout: float | None) -> Any:
        return getattr(lock, mode)() if timeout is None else getattr(lock, f"try_{mode}_for")(timeout)

    def acquire(self, lock: Any, mode: Mode, timeout: float | None) -> Any:
        """Acquire in a thread; a guard, or None."""
        return self._request(lock, mode, timeout).acquire()

    def release(self, lock: Any, mode: Mode, held: Any) -> None:
        """Release the guard."""
        held.release()

    async def acquire_task(self, lock: Any, mode: Mode, timeout: float | None) -> Any:
        """Acquire in a task; a guard, or None."""
        return await self._request(lock, mode, timeout)

    async def release_task(self, lock: Any, mode: Mode, held: Any) -> None:
        """Release the guard."""
        held.release()


class Mutex(RwLock):
    """aiolots.Mutex, through its guards."""

    name = "aiolots.Mutex"
    offers = ~Offer.SHARED

    def make(self) -> Any:
        """Return a new lock."""
        return aiolots.Mutex()

    def _request(self, lock: Any, mode: Mode, timeout: float | None) -> Any:
        return lock.lock() if timeout is None else lock.try_lock_for(timeout)
