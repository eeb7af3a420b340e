"""Locks that know their owners, and what is wrong with how they refuse them, or with what they tell of themselves."""

from __future__ import annotations

import collections
import threading
import time
from typing import Any

from aiolots.testing.adapters.stdlib import ThreadingLock
from aiolots.testing.conformance import Adapter, Mode, Offer
from tests.toy_locks import Mutex, Sound

held_by: dict[int, list[OwnedLock]] = collections.defaultdict(list)  # a thread's locks
orders: set[tuple[int, int]] = set()  # of locks, by id: the first was held when the second was asked for


class OwnedLock:
    """A read-write lock for threads that prefers writers, and refuses whoever has it already."""

    def __init__(self, fault: str) -> None:
        self._fault = fault
        self._changed = threading.Condition()
        self.holds: list[tuple[int, Mode]] = []  # a thread, and how it holds it
        self.releases = 0
        self._waiting = 0  # writers
        self._stuck = False

    def _may(self, mode: Mode) -> bool:
        if mode == "read":
            return not self._waiting and all(held == "read" for _, held in self.holds)
        return not self.holds and not self._stuck

    def _refuse(self, timeout: float | None) -> None:
        me = threading.get_ident()
        if any(thread == me for thread, _ in self.holds) and self._fault != "lets its owner wait":
            self._stuck = self._fault == "keeps the writer out that waits when somebody is refused" and bool(self._waiting)
            raise RuntimeError("who asks has it")
        for other in held_by[me]:
            if self._fault == "refuses a second order" and (id(self), id(other)) in orders:
                raise RuntimeError("taken in two orders")
            orders.add((id(other), id(self)))
        if self._fault == "refuses who has another lock, and a timeout" and timeout is not None and held_by[me] and self.holds:
            raise RuntimeError("two have what the other one wants")

    def acquire(self, mode: Mode, timeout: float | None) -> bool:
        with self._changed:
            self._refuse(timeout)
            self._waiting += mode == "write"
            got = self._changed.wait_for(lambda: self._may(mode), timeout)
            self._waiting -= mode == "write"
            if got:
                self.holds.append((threading.get_ident(), mode))
                held_by[threading.get_ident()].append(self)
            self._changed.notify_all()
            return got

    def release(self, mode: Mode) -> None:
        with self._changed:
            self.releases += 1
            self.holds.remove((threading.get_ident(), mode))
            held_by[threading.get_ident()].remove(self)
            self._changed.notify_all()


class Refusing(Adapter):
    name = "toy.Refusing"
    offers = Offer.THREAD | Offer.SHARED | Offer.OWNER | Offer.THREAD_TIMEOUT
    fault = ""

    def make(self) -> Any:
        return OwnedLock(self.fault)

    def acquire(self, lock: Any, mode: Mode, timeout: float | None) -> Any:
        return lock.acquire(mode, timeout) or None

    def release(self, lock: Any, mode: Mode, held: Any) -> None:
        lock.release(mode)


class Patient(Refusing):
    name = "toy.Patient"
    fault = "lets its owner wait"


class Sulking(Refusing):
    name = "toy.Sulking"
    fault = "keeps the writer out that waits when somebody is refused"


class Blind(Refusing):
    """Says that it sees joins, and does not."""

    name = "toy.Blind"
    offers = Refusing.offers | Offer.JOINS


class BlindTask(Sound):
    name = "toy.BlindTask"
    offers = Sound.offers | Offer.AWAITS


class Orderly(Refusing):
    name = "toy.Orderly"
    fault = "refuses a second order"


class Hasty(Refusing):
    name = "toy.Hasty"
    fault = "refuses who has another lock, and a timeout"


class Possessive(ThreadingLock):
    """Refuses who acquired it last, whoever has it now."""

    name = "toy.Possessive"

    def make(self) -> Any:
        return [threading.Lock(), 0]

    def acquire(self, lock: Any, mode: Mode, timeout: float | None) -> Any:
        if lock[0].locked() and lock[1] == threading.get_ident():
            raise RuntimeError("who asks has it")
        got = lock[0].acquire() if timeout is None else lock[0].acquire(timeout=timeout)
        if got:
            lock[1] = threading.get_ident()
        return got or None

    def release(self, lock: Any, mode: Mode, held: Any) -> None:
        lock[0].release()


class ThreadsMutex(Mutex):
    """Of the tasks of one thread only one may ask at a time."""

    async def acquire(self) -> bool:
        if self._locked:
            raise RuntimeError("this thread has it")
        return await super().acquire()


class OneThread(Sound):
    name = "toy.OneThread"

    def make(self) -> Any:
        return ThreadsMutex("")


class Locking(ThreadingLock):
    """What it tells of itself it looks up under itself."""

    name = "toy.Locking"

    def dump(self, lock: Any) -> object:
        with lock:
            return repr(lock)


class Touchy(Refusing):
    """Tells how often it was released, and minds being used meanwhile."""

    name = "toy.Touchy"

    def dump(self, lock: Any) -> object:
        before, end = lock.releases, time.monotonic() + 0.02
        while lock.releases == before and time.monotonic() < end:
            time.sleep(0)
        if lock.releases != before:
            raise RuntimeError("it changed while it was looked at")
        return before
