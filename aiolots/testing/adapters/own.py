"""The locks of this package."""

from __future__ import annotations

import sys
from typing import Any, ClassVar

import aiolots
from aiolots import lowlevel
from aiolots._front import NATIVE
from aiolots.testing.conformance import Adapter, Kind, Mode, Offer

# Who joins is seen by the C types alone, and with the GIL; who awaits, with the GIL: docs/semantics.md.
_GIL = bool(getattr(sys, "_is_gil_enabled", lambda: True)())
NOT_SEEN = (Offer.NOTHING if NATIVE and _GIL else Offer.JOINS) | (Offer.NOTHING if _GIL else Offer.AWAITS)


class RwLock(Adapter):
    """aiolots.RwLock: `with`, `async with`, or a guard that anybody may release."""

    name = "aiolots.RwLock"
    offers = ~(Offer.CLEAR | NOT_SEEN)
    kinds: ClassVar[tuple[Kind, ...]] = ("lock", "upgradable")

    def make(self) -> Any:
        """Return a new lock."""
        return aiolots.RwLock()

    def _request(self, lock: Any, mode: Mode, timeout: float | None) -> Any:
        verb = "upgradable_read" if mode == "upgradable" else mode
        return getattr(lock, verb)() if timeout is None else getattr(lock, f"try_{verb}_for")(timeout)

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

    def dump(self, lock: Any) -> object:
        """Return what there is to know of a lock."""
        return repr(lock), lock.statistics(), lowlevel.waiters(lock)

    def upgrade(self, lock: Any, held: Any, timeout: float | None) -> Any:
        """Upgrade the guard."""
        return held.upgrade() if timeout is None else held.try_upgrade_for(timeout)

    async def upgrade_task(self, lock: Any, held: Any, timeout: float | None) -> Any:
        """Upgrade the guard."""
        return await (held.upgrade() if timeout is None else held.try_upgrade_for(timeout))

    def downgrade(self, lock: Any, held: Any) -> Any:
        """Downgrade the guard."""
        return held.downgrade()


class Mutex(RwLock):
    """aiolots.Mutex, through its guards."""

    name = "aiolots.Mutex"
    offers = ~(Offer.SHARED | Offer.DOWNGRADE | Offer.CLEAR | NOT_SEEN)
    kinds: ClassVar[tuple[Kind, ...]] = ("lock",)

    def make(self) -> Any:
        """Return a new lock."""
        return aiolots.Mutex()

    def _request(self, lock: Any, mode: Mode, timeout: float | None) -> Any:
        return lock.lock() if timeout is None else lock.try_lock_for(timeout)


class FairMutex(Mutex):
    """aiolots.FairMutex, likewise."""

    name = "aiolots.FairMutex"

    def make(self) -> Any:
        """Return a new lock."""
        return aiolots.FairMutex()


class ReentrantMutex(Adapter):
    """aiolots.ReentrantMutex: acquire and release as those of threading.RLock; timed in a task, its guard."""

    name = "aiolots.ReentrantMutex"
    offers = ~(Offer.SHARED | Offer.DOWNGRADE | Offer.CLEAR | Offer.HANDOVER | Offer.DROPPED | Offer.JOINS | Offer.AWAITS)
    kinds = ("reentrant", "lock")

    def make(self) -> Any:
        """Return a new lock."""
        return aiolots.ReentrantMutex()

    def acquire(self, lock: Any, mode: Mode, timeout: float | None) -> Any:
        """Acquire in a thread."""
        return (lock.acquire() or None) if timeout is None else lock.try_lock_for(timeout).acquire()

    def release(self, lock: Any, mode: Mode, held: Any) -> None:
        """Release in that thread."""
        (lock if held is True else held).release()

    async def acquire_task(self, lock: Any, mode: Mode, timeout: float | None) -> Any:
        """Acquire in a task."""
        if timeout is not None:
            return await lock.try_lock_for(timeout)
        await lock
        return True

    async def release_task(self, lock: Any, mode: Mode, held: Any) -> None:
        """Release in that task."""
        self.release(lock, mode, held)

    def dump(self, lock: Any) -> object:
        """Return what there is to know of a lock."""
        return repr(lock), lock.statistics(), lowlevel.waiters(lock)
