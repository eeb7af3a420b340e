"""Who acquires, and acquires once more inside of that: a thread or a task that does it in its own calls.

What it holds is in local variables of the calls that ask, and nowhere else, as in nested `with` statements: an Actor
(_actors.py) keeps it in an object, so that for all anybody knows somebody else may release it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from typing import Any

from aiolots.testing._adapter import Mode
from aiolots.testing._waiting import Broken, settle, wait_until
from aiolots.testing._world import Attempt, World, in_thread, outcome


class Nested:
    """Acquires `outer` as `first`; when it is told to, `inner` as `second`; then releases both.

    `inner` is the same lock if nothing is said; without `second` it only releases.
    """

    def __init__(
        self, world: World, kind: str, first: Mode, second: Mode | None, *, inner: Any = None, timeout: float | None = None
    ) -> None:
        self.refusal: Exception | None = None  # what the second acquire raised
        self.got = False  # it was let in
        self._adapter, self._outer, self._inner = world.adapter, world.lock, world.lock if inner is None else inner
        self._first: Mode = first
        self._second: Mode | None = second
        self._timeout = timeout
        self._is_in: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._loop = None if kind == "thread" else world.loop(kind)
        self._native_id = 0
        self._over: concurrent.futures.Future[None]
        if self._loop is None:
            self._told = threading.Event()
            self._over = in_thread(self._in_a_thread)
        else:
            self._told_task = asyncio.Event()
            self._over = self._loop.submit(self._as_a_task())

    def _in_a_thread(self) -> None:
        self._native_id = threading.get_native_id()
        held = self._adapter.acquire(self._outer, self._first, None)
        self._is_in.set_result(None)
        self._told.wait()
        if self._second is not None:
            more = None
            try:
                more = self._adapter.acquire(self._inner, self._second, self._timeout)
            except Exception as error:  # noqa: BLE001 whatever it is refused with
                self.refusal = error.with_traceback(None)
            if more is not None:
                self.got = True
                self._adapter.release(self._inner, self._second, more)
        self._adapter.release(self._outer, self._first, held)

    async def _as_a_task(self) -> None:
        held = await self._adapter.acquire_task(self._outer, self._first, None)
        self._is_in.set_result(None)
        await self._told_task.wait()
        if self._second is not None:
            more = None
            try:
                more = await self._adapter.acquire_task(self._inner, self._second, self._timeout)
            except Exception as error:  # noqa: BLE001
                self.refusal = error.with_traceback(None)
            if more is not None:
                self.got = True
                await self._adapter.release_task(self._inner, self._second, more)
        await self._adapter.release_task(self._outer, self._first, held)

    def enters(self) -> None:
        """Wait until the first is acquired."""
        wait_until(lambda: self._is_in.done() or self._over.done(), "a free lock has no room")
        if self._over.done():
            self._over.result()

    def goes_on(self) -> None:
        """Tell it to ask for the second, or to leave."""
        if self._loop is None:
            self._told.set()
        else:
            self._loop.call(self._told_task.set)

    def settle(self) -> None:
        """Return when it has ended, or waits, as far as can be told."""
        if self._over.done():
            return
        if self._loop is None:
            settle(self._native_id)
        else:
            self._loop.settle()

    def done(self) -> bool:
        """Whether all is released."""
        return self._over.done()

    def ends(self, what: str) -> None:
        """Wait until all is released; Hang, with `what`, if that does not come."""
        outcome(self._over, what)

    def is_let_in(self, what: str) -> None:
        """Wait for that; Hang, with `what`, if it does not end, and Broken if it ends otherwise."""
        self.ends(what)
        if self.refusal is not None:
            raise Broken(f"{what}: refused, {self.refusal!r}".partition("\n")[0])
        if self._second is not None and not self.got:
            raise Broken(f"{what}: it gave up")


def pairs_of(world: World) -> list[tuple[str, str]]:
    """Return what one is, and what another one is: threads, or tasks of which loop; each way round."""
    return list(zip(world.kinds, reversed(world.kinds), strict=True))


def attempt(world: World, kind: str, mode: Mode) -> Attempt:
    """Start to acquire, as a thread or as a task of that loop."""
    return world.thread(mode) if kind == "thread" else world.task(mode, loop=world.loop(kind))
