"""Condition variables with one fault each, and adapters; and what threads and tasks wait for that nobody can wake."""

from __future__ import annotations

import asyncio
import collections
import threading
from collections.abc import Callable
from typing import Any

from aiolots.testing.adapters.stdlib import AsyncioLock, ThreadingLock
from aiolots.testing.conformance import Adapter, Mode, Offer


class Condition:
    """A condition for the tasks of one loop; `fault` says what is wrong with it."""

    def __init__(self, fault: str) -> None:
        self._fault = fault
        self.lock = asyncio.Lock()
        self._waiters: collections.deque[asyncio.Future[None]] = collections.deque()

    async def wait(self) -> bool:
        turn = asyncio.get_running_loop().create_future()
        self._waiters.append(turn)
        self.lock.release()
        cancelled: asyncio.CancelledError | None = None
        try:
            await turn
        except asyncio.CancelledError as error:
            cancelled = error
        self._waiters.remove(turn)
        if cancelled is None or self._fault != "comes back without the lock when it is cancelled":
            while True:
                try:
                    await self.lock.acquire()
                    break
                except asyncio.CancelledError as error:
                    if self._fault == "gives up the lock when it is cancelled again":
                        raise
                    if cancelled is None or self._fault == "raises the last cancellation":
                        cancelled = error
        if cancelled is not None:
            if not turn.cancelled() and self._fault != "loses the notification of a cancelled waiter":
                self.notify(False)
            raise cancelled
        return True

    def notify(self, everybody: bool) -> None:
        if self._fault == "notifies one, whatever it is told":
            everybody = False
        if self._fault == "notifies all, whatever it is told":
            everybody = True
        for turn in list(self._waiters):
            if not turn.done():
                turn.set_result(None)
                if not everybody:
                    return


class SoundCondition(AsyncioLock):
    name = "toy.SoundCondition"
    offers = AsyncioLock.offers | Offer.SHIELD
    kinds = ("condition",)
    fault = ""

    def make(self) -> Any:
        return Condition(self.fault)

    async def acquire_task(self, lock: Any, mode: Mode, timeout: float | None) -> Any:
        return await lock.lock.acquire()

    async def release_task(self, lock: Any, mode: Mode, held: Any) -> None:
        lock.lock.release()

    async def wait_task(self, lock: Any, held: Any, timeout: float | None) -> bool:
        return bool(await lock.wait())

    def notify(self, lock: Any, held: Any, everybody: bool) -> None:
        lock.notify(everybody)


class LosingCondition(SoundCondition):
    name = "toy.LosingCondition"
    fault = "loses the notification of a cancelled waiter"


class BareCondition(SoundCondition):
    name = "toy.BareCondition"
    fault = "comes back without the lock when it is cancelled"


class ImpatientCondition(SoundCondition):
    name = "toy.ImpatientCondition"
    fault = "gives up the lock when it is cancelled again"


class RewordingCondition(SoundCondition):
    name = "toy.RewordingCondition"
    fault = "raises the last cancellation"


class WhisperingCondition(SoundCondition):
    name = "toy.WhisperingCondition"
    fault = "notifies one, whatever it is told"


class ShoutingCondition(SoundCondition):
    name = "toy.ShoutingCondition"
    fault = "notifies all, whatever it is told"


class Bells:
    """Who waits, threads and tasks, and how to wake them."""

    def __init__(self, wakes_idle_loops: bool) -> None:
        self._wakes_idle_loops = wakes_idle_loops
        self._bells: collections.deque[Callable[[], object]] = collections.deque()

    def add_thread(self) -> threading.Event:
        rung = threading.Event()
        self._bells.append(rung.set)
        return rung

    def add_task(self) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        rung = loop.create_future()
        if self._wakes_idle_loops:
            self._bells.append(lambda: loop.call_soon_threadsafe(rung.set_result, None))
        else:
            self._bells.append(lambda: rung.set_result(None))
        return rung

    def ring(self, everybody: bool) -> None:
        while self._bells:
            self._bells.popleft()()
            if not everybody:
                return


class NaiveCondition(ThreadingLock):
    """Does not know that loops may be closed."""

    name = "toy.NaiveCondition"
    offers = Offer.THREAD | Offer.TASK | Offer.MIXED | Offer.LOOPS | Offer.HANDOVER
    kinds = ("condition",)
    wakes_idle_loops = True

    def make(self) -> Any:
        return threading.Lock(), Bells(self.wakes_idle_loops)

    def acquire(self, lock: Any, mode: Mode, timeout: float | None) -> Any:
        return lock[0].acquire()

    def release(self, lock: Any, mode: Mode, held: Any) -> None:
        lock[0].release()

    async def acquire_task(self, lock: Any, mode: Mode, timeout: float | None) -> Any:
        while not lock[0].acquire(blocking=False):  # noqa: ASYNC110
            await asyncio.sleep(0)
        return True

    async def release_task(self, lock: Any, mode: Mode, held: Any) -> None:
        lock[0].release()

    def wait(self, lock: Any, held: Any, timeout: float | None) -> bool:
        rung = lock[1].add_thread()
        lock[0].release()
        rung.wait()
        return bool(lock[0].acquire())

    async def wait_task(self, lock: Any, held: Any, timeout: float | None) -> bool:
        rung = lock[1].add_task()
        lock[0].release()
        await rung
        return bool(await self.acquire_task(lock, "write", None))

    def notify(self, lock: Any, held: Any, everybody: bool) -> None:
        lock[1].ring(everybody)


class SilentCondition(NaiveCondition):
    """Does not know that loops sleep."""

    name = "toy.SilentCondition"
    wakes_idle_loops = False


class NaiveEvent(Adapter):
    name = "toy.NaiveEvent"
    offers = Offer.THREAD | Offer.TASK | Offer.MIXED | Offer.LOOPS
    kinds = ("event",)
    wakes_idle_loops = True

    def make(self) -> Any:
        return [False], Bells(self.wakes_idle_loops)

    def wait(self, lock: Any, held: Any, timeout: float | None) -> bool:
        if not lock[0][0]:
            lock[1].add_thread().wait()
        return True

    async def wait_task(self, lock: Any, held: Any, timeout: float | None) -> bool:
        if not lock[0][0]:
            await lock[1].add_task()
        return True

    def set(self, event: Any) -> None:
        event[0][0] = True
        event[1].ring(everybody=True)


class SilentEvent(NaiveEvent):
    name = "toy.SilentEvent"
    wakes_idle_loops = False
