"""Who plays a scenario of more than one step: a thread, or a task, that does what it is told, one thing after the other.

An Attempt (_world.py) is an acquire and its release; an Actor waits, notifies, upgrades and sets as well, all of it in the
same thread or task.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import queue
import threading
from typing import Any, Literal

from aiolots.testing._adapter import Mode
from aiolots.testing._waiting import Broken, settle, wait_until
from aiolots.testing._world import Loop, World, outcome

Verb = Literal["acquire", "release", "wait", "notify", "upgrade", "downgrade", "set", "arrive", "once"]
Future = concurrent.futures.Future[Any]


class Actor:
    """Somebody, and what he holds."""

    def __init__(self, world: World) -> None:
        self.adapter, self.thing = world.adapter, world.lock
        self.mode: Mode = "write"
        self.held: Any = None
        self.doing: Future = concurrent.futures.Future()

    def begin(self, verb: Verb, *arguments: Any) -> Future:
        """Start to do something; what will come of it."""
        self.doing = concurrent.futures.Future()
        self._tell(self.doing, verb, arguments)
        return self.doing

    def _tell(self, future: Future, verb: Verb, arguments: tuple[Any, ...]) -> None:
        raise NotImplementedError

    def settle(self) -> None:
        """Return when it is done, or waits, as far as can be told."""
        raise NotImplementedError

    def does(self, what: str, verb: Verb, *arguments: Any) -> Any:
        """Do it, and wait for that; Hang, with `what`, if it does not end."""
        return outcome(self.begin(verb, *arguments), what)

    def done(self) -> bool:
        """Whether what was begun has ended."""
        return self.doing.done()

    def ends(self, what: str) -> Any:
        """Wait until what was begun has ended, and return or raise what came of it; Hang, with `what`, if it does not."""
        return outcome(self.doing, what)

    # The words of a lock, with what he holds.

    def asks(self, mode: Mode = "write", timeout: float | None = None) -> None:
        """Start to acquire."""
        self.mode = mode
        self.begin("acquire", mode, timeout)

    def has(self, what: str) -> None:
        """Wait until it is acquired."""
        self.held = self.ends(what)
        if self.held is None:
            raise Broken(f"{what}: refused")

    def enters(self, what: str, mode: Mode = "write") -> None:
        """Acquire, and wait for that."""
        self.asks(mode)
        self.has(what)

    def leaves(self) -> None:
        """Release, and wait for that."""
        self.does(f"the release of a {self.mode} does not end", "release", self.mode, self.held)

    def waits(self, timeout: float | None = None) -> None:
        """Start to wait for a notification, or for the event; return when he waits, as far as can be told."""
        self.begin("wait", self.held, timeout)
        self.settle()

    def is_told(self, what: str) -> None:
        """Wait until that is over: Broken if it says that nothing came."""
        if not self.ends(what):
            raise Broken(f"{what}: it says that nothing came in time")

    def tells(self, everybody: bool = False) -> None:
        """Acquire, notify and release."""
        self.enters("somebody who is about to notify does not get the lock")
        self.does("a notify does not end", "notify", self.held, everybody)
        self.leaves()


class ThreadActor(Actor):
    """A thread."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._orders: queue.SimpleQueue[tuple[Future, Verb, tuple[Any, ...]]] = queue.SimpleQueue()
        self._native_id = 0
        threading.Thread(target=self._live, daemon=True).start()

    def _live(self) -> None:
        self._native_id = threading.get_native_id()
        while True:
            future, verb, arguments = self._orders.get()
            try:
                future.set_result(getattr(self.adapter, verb)(self.thing, *arguments))
            except BaseException as error:  # noqa: BLE001 it is raised where it is asked for
                future.set_exception(error)

    def _tell(self, future: Future, verb: Verb, arguments: tuple[Any, ...]) -> None:
        self._orders.put((future, verb, arguments))

    def settle(self) -> None:
        wait_until(lambda: self._native_id, "a thread does not start")
        if not self.done():
            settle(self._native_id)


class TaskActor(Actor):
    """A task."""

    def __init__(self, world: World, loop: Loop) -> None:
        super().__init__(world)
        self.loop = loop
        self._orders: asyncio.Queue[tuple[Future, Verb, tuple[Any, ...]]] = asyncio.Queue()
        self._task = loop.call(lambda: loop.loop.create_task(self._live()))

    async def _live(self) -> None:
        while True:
            future, verb, arguments = await self._orders.get()
            try:
                future.set_result(await getattr(self.adapter, f"{verb}_task")(self.thing, *arguments))
            except BaseException as error:  # noqa: BLE001
                future.set_exception(error)

    def _tell(self, future: Future, verb: Verb, arguments: tuple[Any, ...]) -> None:
        self.loop.begin(lambda: self._orders.put_nowait((future, verb, arguments)))

    def settle(self) -> None:
        if not self.done():
            self.loop.settle()

    def cancel(self, message: str) -> None:
        """Cancel what it does now; it goes on living."""
        self.loop.call(lambda: self._task.cancel(message))

    def cancel_soon(self) -> None:
        """Do so in the next turn of its loop, whoever calls."""
        self.loop.loop.call_soon_threadsafe(self._task.cancel, "soon")


class Cast:
    """The actors of a world, in turn: threads and tasks."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._count = 0

    def next(self) -> Actor:
        """Return one more, whose turn it is."""
        kinds = self._world.kinds
        kind = kinds[self._count % len(kinds)]
        self._count += 1
        return self.thread() if kind == "thread" else self.task(self._world.loop(kind))

    def several(self, count: int) -> list[Actor]:
        """Return so many."""
        return [self.next() for _ in range(count)]

    def thread(self) -> Actor:
        """Return a thread."""
        return ThreadActor(self._world)

    def task(self, loop: Loop | None = None) -> TaskActor:
        """Return a task."""
        return TaskActor(self._world, loop or self._world.loop())
