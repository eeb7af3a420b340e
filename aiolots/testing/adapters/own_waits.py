"""What this package has besides locks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import aiolots
from aiolots import lowlevel
from aiolots.testing.adapters.own import Mutex
from aiolots.testing.conformance import Adapter, Mode, Offer


class Condvar(Mutex):
    """aiolots.Condvar, with the guards of a Mutex."""

    name = "aiolots.Condvar"
    kinds = ("condition",)

    def make(self) -> Any:
        """Return both."""
        return aiolots.Mutex(), aiolots.Condvar()

    def _request(self, lock: Any, mode: Mode, timeout: float | None) -> Any:
        return super()._request(lock[0], mode, timeout)

    def wait(self, lock: Any, held: Any, timeout: float | None) -> bool:
        """Wait in a thread."""
        return bool(lock[1].wait(held, timeout))

    async def wait_task(self, lock: Any, held: Any, timeout: float | None) -> bool:
        """Wait in a task."""
        return bool(await lock[1].wait(held, timeout))

    def dump(self, lock: Any) -> object:
        """Return what there is to know of both."""
        return super().dump(lock[0]), repr(lock[1]), lowlevel.waiters(key=lock[1])

    def notify(self, lock: Any, held: Any, everybody: bool) -> None:
        """Notify; the lock need not be held for it."""
        if everybody:
            lock[1].notify_all()
        else:
            lock[1].notify_one()


class Semaphore(Adapter):
    """aiolots.Semaphore."""

    name = "aiolots.Semaphore"
    offers = ~(Offer.SHARED | Offer.DOWNGRADE | Offer.CLEAR | Offer.DROPPED | Offer.OWNER | Offer.JOINS | Offer.AWAITS)
    kinds = ("semaphore", "lock")

    def make(self) -> Any:
        """Return one with one permit."""
        return self.make_many(1)

    def make_many(self, permits: int) -> Any:
        """Return one with so many."""
        return aiolots.Semaphore(permits)

    def acquire(self, lock: Any, mode: Mode, timeout: float | None) -> Any:
        """Acquire in a thread."""
        return (lock.acquire() if timeout is None else lock.try_acquire_for(timeout).acquire()) or None

    def release(self, lock: Any, mode: Mode, held: Any) -> None:
        """Release."""
        lock.release()

    async def acquire_task(self, lock: Any, mode: Mode, timeout: float | None) -> Any:
        """Acquire in a task."""
        got = await (lock if timeout is None else lock.try_acquire_for(timeout))
        return True if got else None

    async def release_task(self, lock: Any, mode: Mode, held: Any) -> None:
        """Release."""
        lock.release()

    def dump(self, lock: Any) -> object:
        """Return what there is to know of it."""
        return repr(lock), lowlevel.waiters(key=lock)


class BoundedSemaphore(Semaphore):
    """aiolots.BoundedSemaphore, likewise."""

    name = "aiolots.BoundedSemaphore"

    def make_many(self, permits: int) -> Any:
        """Return one with so many permits."""
        return aiolots.BoundedSemaphore(permits)


class Event(Adapter):
    """aiolots.Event."""

    name = "aiolots.Event"
    offers = Semaphore.offers | Offer.CLEAR
    kinds = ("event",)

    def make(self) -> Any:
        """Return a new event."""
        return aiolots.Event()

    def wait(self, lock: Any, held: Any, timeout: float | None) -> bool:
        """Wait in a thread."""
        return bool(lock.wait(timeout))

    async def wait_task(self, lock: Any, held: Any, timeout: float | None) -> bool:
        """Wait in a task."""
        return bool(await lock.wait_for(timeout))

    def set(self, event: Any) -> None:
        """Put the flag up."""
        event.set()

    def clear(self, event: Any) -> None:
        """Take it down."""
        event.clear()


class Barrier(Adapter):
    """aiolots.Barrier."""

    name = "aiolots.Barrier"
    offers = Event.offers & ~Offer.CLEAR
    kinds = ("barrier",)

    def make(self) -> Any:
        """Return one for three."""
        return self.make_for(3)

    def make_for(self, parties: int) -> Any:
        """Return one for so many."""
        return aiolots.Barrier(parties)

    def arrive(self, barrier: Any, timeout: float | None) -> int:
        """Arrive in a thread."""
        return int(barrier.wait(timeout))

    async def arrive_task(self, barrier: Any, timeout: float | None) -> int:
        """Arrive in a task."""
        return int(await barrier.wait_for(timeout))


class OnceCell(Adapter):
    """aiolots.OnceCell: what Once and LazyLock are made of too."""

    name = "aiolots.OnceCell"
    offers = Offer.THREAD | Offer.TASK | Offer.LOOPS | Offer.MIXED
    kinds = ("once",)

    def make(self) -> Any:
        """Return a new cell."""
        return aiolots.OnceCell[object]()

    def once(self, cell: Any, f: Callable[[], object]) -> object:
        """Make the value in a thread."""
        return cell.get_or_init(f)

    async def once_task(self, cell: Any, f: Callable[[], Awaitable[object]]) -> object:
        """Make the value in a task."""
        return await cell.get_or_init(f)
