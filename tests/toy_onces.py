"""What is done once, with one fault each, and adapters."""

from __future__ import annotations

import asyncio
import collections
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiolots.testing.conformance import Adapter, Offer


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
