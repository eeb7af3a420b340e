"""Semaphores, events and barriers with one fault each, and adapters."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import threading
from collections.abc import Callable
from typing import Any

from aiolots.testing.adapters.stdlib import AsyncioLock
from aiolots.testing.adapters.stdlib_waits import AsyncioEvent, ThreadingEvent
from aiolots.testing.conformance import Adapter, Offer


class Semaphore:
    """For the tasks of one loop: a permit that is released goes to the first who waits; `fault` says what is wrong with it."""

    def __init__(self, permits: int, fault: str) -> None:
        self._free = permits + (fault == "lets one more in")
        self._fault = fault
        self._waiters: collections.deque[asyncio.Future[None]] = collections.deque()

    async def acquire(self) -> bool:
        if self._free:
            self._free -= 1
            return True
        turn = asyncio.get_running_loop().create_future()
        self._waiters.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled() and self._fault != "loses the permit of a cancelled waiter":
                self.release()
            raise
        finally:
            with contextlib.suppress(ValueError):
                self._waiters.remove(turn)
        return True

    def release(self) -> None:
        while self._waiters:
            turn = self._waiters.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


class SoundSemaphore(AsyncioLock):
    name = "toy.SoundSemaphore"
    kinds = ("semaphore", "lock")
    fault = ""

    def make(self) -> Any:
        return self.make_many(1)

    def make_many(self, permits: int) -> Any:
        return Semaphore(permits, self.fault)


class LosingSemaphore(SoundSemaphore):
    name = "toy.LosingSemaphore"
    fault = "loses the permit of a cancelled waiter"


class GenerousSemaphore(SoundSemaphore):
    name = "toy.GenerousSemaphore"
    fault = "lets one more in"


class Event:
    """For the tasks of one loop; `fault` says what is wrong with it."""

    def __init__(self, fault: str) -> None:
        self._fault = fault
        self._flag = False
        self._waiters: list[asyncio.Future[None]] = []

    async def wait(self) -> bool:
        while not self._flag:
            turn = asyncio.get_running_loop().create_future()
            self._waiters.append(turn)
            await turn
            if self._fault != "looks again":
                break
        return True

    def set(self) -> None:
        self._flag = True
        for turn in self._waiters:
            if turn.done():
                if self._fault == "stops at one who is cancelled":
                    break
                continue
            turn.set_result(None)
            if self._fault == "wakes the first only":
                break
        self._waiters.clear()

    def clear(self) -> None:
        self._flag = False


class SoundEvent(AsyncioEvent):
    name = "toy.SoundEvent"
    fault = ""

    def make(self) -> Any:
        return Event(self.fault)


class LazyEvent(SoundEvent):
    name = "toy.LazyEvent"
    fault = "wakes the first only"


class DoubtingEvent(SoundEvent):
    name = "toy.DoubtingEvent"
    fault = "looks again"


class BrittleEvent(SoundEvent):
    name = "toy.BrittleEvent"
    fault = "stops at one who is cancelled"


class BoastfulEvent(ThreadingEvent):
    name = "toy.BoastfulEvent"

    def wait(self, lock: Any, held: Any, timeout: float | None) -> bool:
        lock.wait(timeout)
        return True


class Barrier:
    """For threads; who gives up has not come. `fault` says what is wrong with it."""

    def __init__(self, parties: int, fault: str) -> None:
        self._parties, self._fault = parties, fault
        self._changed = threading.Condition()
        self._came = self._round = 0
        self._open = False

    def arrive(self, timeout: float | None) -> int:
        with self._changed:
            place, mine = self._came, self._round
            self._came += 1
            if self._came >= self._parties - (self._fault == "lets the last but one through"):
                self._came, self._round, self._open = 0, mine + 1, True
                self._changed.notify_all()
                return place
            if self._fault == "is never shut again":
                self._changed.wait_for(lambda: self._open, timeout)
                return place
            if not self._changed.wait_for(lambda: self._round != mine, timeout):
                if self._fault != "counts who has left":
                    self._came -= 1
                raise TimeoutError
            return 0 if self._fault == "gives all the first place" else place


class SoundBarrier(Adapter):
    name = "toy.SoundBarrier"
    offers = Offer.THREAD | Offer.THREAD_TIMEOUT
    kinds = ("barrier",)
    fault = ""

    def make(self) -> Any:
        return self.make_for(3)

    def make_for(self, parties: int) -> Any:
        return Barrier(parties, self.fault)

    def arrive(self, barrier: Any, timeout: float | None) -> int:
        return int(barrier.arrive(timeout))


class EarlyBarrier(SoundBarrier):
    name = "toy.EarlyBarrier"
    fault = "lets the last but one through"


class OpenBarrier(SoundBarrier):
    name = "toy.OpenBarrier"
    fault = "is never shut again"


class LevelBarrier(SoundBarrier):
    name = "toy.LevelBarrier"
    fault = "gives all the first place"


class CountingBarrier(SoundBarrier):
    name = "toy.CountingBarrier"
    fault = "counts who has left"


class TaskBarrier:
    """For threads and tasks, of all loops; `fault` says what is wrong with it."""

    def __init__(self, parties: int, fault: str) -> None:
        self._parties, self._fault = parties, fault
        self._guard = threading.Lock()
        self._bells: list[Callable[[], object]] = []

    def _come(self, bell: Callable[[], object]) -> int:
        """Return the place, or ring for all."""
        with self._guard:
            place = len(self._bells)
            self._bells.append(bell)
            if place + 1 < self._parties:
                return place
            bells, self._bells = self._bells, []
        for ring in bells:
            with contextlib.suppress(RuntimeError):  # a closed loop
                ring()
        return place

    def arrive(self) -> int:
        rung = threading.Event()
        place = self._come(rung.set)
        rung.wait()
        return place

    async def arrive_as_a_task(self) -> int:
        loop = asyncio.get_running_loop()
        rung = loop.create_future()

        def ring() -> None:
            loop.call_soon_threadsafe(lambda: rung.done() or rung.set_result(None))

        place = self._come(ring)
        try:
            await rung
        except asyncio.CancelledError:
            with self._guard, contextlib.suppress(ValueError):
                if self._fault == "forgets all when one is cancelled":
                    self._bells.clear()
                elif self._fault != "counts who is cancelled":
                    self._bells.remove(ring)
            raise
        return place


class SoundTaskBarrier(SoundBarrier):
    name = "toy.SoundTaskBarrier"
    offers = Offer.TASK

    def make_for(self, parties: int) -> Any:
        return TaskBarrier(parties, self.fault)

    def arrive(self, barrier: Any, timeout: float | None) -> int:
        return int(barrier.arrive())

    async def arrive_task(self, barrier: Any, timeout: float | None) -> int:
        return int(await barrier.arrive_as_a_task())


class CountingTaskBarrier(SoundTaskBarrier):
    name = "toy.CountingTaskBarrier"
    fault = "counts who is cancelled"


class ForgetfulTaskBarrier(SoundTaskBarrier):
    name = "toy.ForgetfulTaskBarrier"
    fault = "forgets all when one is cancelled"


class NaiveBarrier(SoundTaskBarrier):
    """Sound, but that it does not know that loops may be closed."""

    name = "toy.NaiveBarrier"
    offers = Offer.THREAD | Offer.TASK | Offer.MIXED | Offer.LOOPS
