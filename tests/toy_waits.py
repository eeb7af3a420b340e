"""Condition variables, semaphores, events and the like with one fault each, and adapters: the kit must find it there too."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from aiolots.testing.adapters.stdlib import AsyncioLock, ThreadingLock
from aiolots.testing.adapters.stdlib_waits import AsyncioEvent, ThreadingEvent, ThreadingRLock
from aiolots.testing.conformance import Adapter, Mode, Offer

# --- conditions -----------------------------------------------------------------------------------------------------------


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


# --- for threads and tasks ------------------------------------------------------------------------------------------------


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


# --- an upgradable read-write lock ----------------------------------------------------------------------------------------


class UpgradableLock:
    """For threads, around a condition; writers are preferred; `fault` says what is wrong with it."""

    def __init__(self, fault: str) -> None:
        self._fault = fault
        self._changed = threading.Condition()
        self._readers = self._upgradable = self._writers = 0
        self._wants = collections.Counter[str]()  # who waits, and to be what
        self._stuck = False

    @contextlib.contextmanager
    def _wanting(self, what: str) -> Iterator[None]:
        self._wants[what] += 1
        try:
            yield
        finally:
            self._wants[what] -= 1

    def _may(self, mode: str) -> bool:
        if self._writers or (mode == "write" and (self._readers or self._upgradable)):
            return False
        if mode == "upgradable":
            return not self._upgradable and not (self._fault == "forgets upgradable readers" and self._wants["forgotten"])
        if mode == "read":
            shut = self._wants["upgrade"] or self._stuck
            return not shut and not (self._fault == "readers queue behind upgradable ones" and self._wants["upgradable"])
        return True

    def acquire(self, mode: Mode, timeout: float | None = None) -> bool:
        with self._changed:
            forgotten = "forgotten" if mode == "upgradable" and self._writers else mode
            with self._wanting(mode), self._wanting(forgotten):
                if not self._changed.wait_for(lambda: self._may(mode), timeout):
                    return False
            self._count(mode, 1)
            return True

    def _count(self, mode: Mode, by: int) -> None:
        self._readers += by * (mode == "read")
        self._upgradable += by * (mode == "upgradable")
        self._writers += by * (mode == "write")
        self._changed.notify_all()

    def release(self, mode: Mode) -> None:
        with self._changed:
            self._count(mode, -1)

    def upgrade(self, timeout: float | None) -> bool:
        if self._fault == "releases before it upgrades":
            self.release("upgradable")
            with self._changed:
                self._changed.wait_for(lambda: not self._wants["write"])
            return self.acquire("write")
        with self._changed:
            with self._wanting("upgrade"):
                upgraded = self._changed.wait_for(lambda: not self._readers, timeout)
            if upgraded:
                self._upgradable -= 1
                self._writers += 1
            else:
                self._stuck = self._fault == "keeps readers out when an upgrade has timed out"
                self._changed.notify_all()
            return upgraded

    def downgrade(self) -> None:
        if self._fault == "releases before it downgrades":
            self.release("write")
            with self._changed:
                self._changed.wait_for(lambda: not self._wants["write"])
            self.acquire("read")
            return
        with self._changed:
            self._writers -= 1
            self._count("read", 1)


class SoundUpgradable(Adapter):
    name = "toy.SoundUpgradable"
    offers = Offer.THREAD | Offer.SHARED | Offer.THREAD_TIMEOUT | Offer.DOWNGRADE
    kinds = ("lock", "upgradable")
    fault = ""

    def make(self) -> Any:
        return UpgradableLock(self.fault)

    def acquire(self, lock: Any, mode: Mode, timeout: float | None) -> Any:
        return lock.acquire(mode, timeout) or None

    def release(self, lock: Any, mode: Mode, held: Any) -> None:
        lock.release(mode)

    def upgrade(self, lock: Any, held: Any, timeout: float | None) -> Any:
        return lock.upgrade(timeout) or None

    def downgrade(self, lock: Any, held: Any) -> Any:
        lock.downgrade()
        return True


class ForgetfulUpgradable(SoundUpgradable):
    name = "toy.ForgetfulUpgradable"
    fault = "forgets upgradable readers"


class LeakyUpgradable(SoundUpgradable):
    name = "toy.LeakyUpgradable"
    fault = "releases before it upgrades"


class PoliteUpgradable(SoundUpgradable):
    name = "toy.PoliteUpgradable"
    fault = "readers queue behind upgradable ones"


class StuckUpgradable(SoundUpgradable):
    name = "toy.StuckUpgradable"
    fault = "keeps readers out when an upgrade has timed out"


class LeakyDowngrade(SoundUpgradable):
    name = "toy.LeakyDowngrade"
    fault = "releases before it downgrades"


# --- semaphores and events ------------------------------------------------------------------------------------------------


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


# --- once -----------------------------------------------------------------------------------------------------------------


class Cell:
    """What is made once, by threads; `fault` says what is wrong with it."""

    def __init__(self, fault: str) -> None:
        self._fault = fault
        self._changed = threading.Condition()
        self._maker: int | None = None
        self._values: list[object] = []

    def get(self, f: Callable[[], object]) -> object:
        with self._changed:
            if self._maker == threading.get_ident() and self._fault != "waits for itself":
                raise RuntimeError("it asks for itself")
            if self._fault != "does not wait":
                self._changed.wait_for(lambda: self._values or self._maker is None)
            if self._values:
                return self._values[0]
            self._maker = threading.get_ident()
        failed = True
        try:
            made = f()
            failed = False
        finally:
            with self._changed:
                if not failed:
                    self._values.append(made)
                self._maker = -1 if failed and self._fault == "is stuck when it has failed" else None
                self._changed.notify_all()
        return made


class SoundOnce(Adapter):
    name = "toy.SoundOnce"
    offers = Offer.THREAD
    kinds = ("once",)
    fault = ""

    def make(self) -> Any:
        return Cell(self.fault)

    def once(self, cell: Any, f: Callable[[], object]) -> object:
        return cell.get(f)


class HastyOnce(SoundOnce):
    name = "toy.HastyOnce"
    fault = "does not wait"


class StuckOnce(SoundOnce):
    name = "toy.StuckOnce"
    fault = "is stuck when it has failed"


class SelfishOnce(SoundOnce):
    name = "toy.SelfishOnce"
    fault = "waits for itself"


class TaskCell:
    """What is made once, by tasks of one loop; a failure tells the first who waits. `fault` says what is wrong with it."""

    def __init__(self, fault: str) -> None:
        self._fault = fault
        self._maker: asyncio.Task[Any] | None = None
        self._values: list[object] = []
        self._waiters: collections.deque[asyncio.Future[None]] = collections.deque()

    async def get(self, f: Callable[[], Awaitable[object]]) -> object:
        if self._maker is asyncio.current_task():
            raise RuntimeError("it asks for itself")
        while not self._values and self._maker is not None:
            turn = asyncio.get_running_loop().create_future()
            self._waiters.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if not turn.cancelled() and self._fault != "loses the turn of a cancelled waiter":
                    self._tell(1)
                raise
        if self._values:
            return self._values[0]
        self._maker = asyncio.current_task()
        try:
            self._values.append(await f())
        except BaseException as error:
            if not (isinstance(error, asyncio.CancelledError) and self._fault == "is stuck when it is cancelled"):
                self._maker = None
                self._tell(1)
            raise
        self._tell(len(self._waiters))
        return self._values[0]

    def is_made_by_another(self) -> bool:
        return self._maker is not None and not self._values

    def _tell(self, count: int) -> None:
        while self._waiters and count:
            turn = self._waiters.popleft()
            if not turn.done():
                turn.set_result(None)
                count -= 1


class SoundTaskOnce(Adapter):
    name = "toy.SoundTaskOnce"
    offers = Offer.TASK
    kinds = ("once",)
    fault = ""

    def make(self) -> Any:
        return TaskCell(self.fault)

    async def once_task(self, cell: Any, f: Callable[[], Awaitable[object]]) -> object:
        return await cell.get(f)


class StuckTaskOnce(SoundTaskOnce):
    name = "toy.StuckTaskOnce"
    fault = "is stuck when it is cancelled"


class LosingTaskOnce(SoundTaskOnce):
    name = "toy.LosingTaskOnce"
    fault = "loses the turn of a cancelled waiter"


class NaiveOnce(SoundTaskOnce):
    """For threads, who look again and again, and tasks; does not know that loops may be closed."""

    name = "toy.NaiveOnce"
    offers = Offer.THREAD | Offer.TASK | Offer.MIXED | Offer.LOOPS

    def once(self, cell: Any, f: Callable[[], object]) -> object:
        async def as_a_task() -> object:
            return f()

        while cell.is_made_by_another():
            time.sleep(0)
        return asyncio.run(cell.get(as_a_task))


# --- reentrant ------------------------------------------------------------------------------------------------------------


class ByThread(ThreadingRLock):
    """An RLock that tasks take too, by someone who forgot that they share a thread."""

    name = "toy.ByThread"
    offers = ThreadingRLock.offers | Offer.TASK | Offer.MIXED

    async def acquire_task(self, lock: Any, mode: Mode, timeout: float | None) -> Any:
        while not lock.acquire(blocking=False):  # noqa: ASYNC110
            await asyncio.sleep(0)
        return True

    async def release_task(self, lock: Any, mode: Mode, held: Any) -> None:
        lock.release()


class OnlyOnce(ThreadingRLock):
    """Not reentrant at all."""

    name = "toy.OnlyOnce"

    def make(self) -> Any:
        return threading.Lock()
