"""Upgradable read-write locks and reentrant locks with one fault each, and adapters."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from aiolots.testing.adapters.stdlib_waits import ThreadingRLock
from aiolots.testing.conformance import Adapter, Mode, Offer


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
