"""`asyncio` with the locks of aiolots: Lock, Event, Condition, Semaphore, BoundedSemaphore, bound to no event loop.

    from aiolots.compat import asyncio                # instead of `import asyncio`
    from aiolots.compat.asyncio import Lock, Event    # instead of `from asyncio import Lock, Event`

Signatures, return values and errors are the standard library's; every other name of `asyncio` is passed through (so Barrier
and Queue are asyncio's own). They can be made where no loop runs, and be used on any loops, in any threads, at once.

Where they differ: nothing is ever "bound to a different event loop". First come, first served holds among the tasks of one
loop; between loops, who comes by may take a free Lock before those who wait. wait() of a Condition returns when it was
notified, never for nothing. Each takes a `name` for messages and repr.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import aiolots
from aiolots import Mutex, _loops, lowlevel
from aiolots._errors import NotHeld
from aiolots._parking import EVERYBODY, notify

if TYPE_CHECKING:  # what type checkers are told of; at run time __getattr__ has these, and all others
    from asyncio import (
        ALL_COMPLETED,
        FIRST_COMPLETED,
        FIRST_EXCEPTION,
        AbstractEventLoop,
        AbstractServer,
        Barrier,
        BrokenBarrierError,
        CancelledError,
        DatagramProtocol,
        DatagramTransport,
        Future,
        Handle,
        IncompleteReadError,
        InvalidStateError,
        LifoQueue,
        PriorityQueue,
        Protocol,
        Queue,
        QueueEmpty,
        QueueFull,
        Runner,
        Server,
        StreamReader,
        StreamWriter,
        Task,
        TaskGroup,
        Timeout,
        TimeoutError,  # noqa: A004
        TimerHandle,
        Transport,
        all_tasks,
        as_completed,
        create_subprocess_exec,
        create_subprocess_shell,
        create_task,
        current_task,
        ensure_future,
        gather,
        get_event_loop,
        get_running_loop,
        iscoroutine,
        iscoroutinefunction,
        isfuture,
        new_event_loop,
        open_connection,
        run,
        run_coroutine_threadsafe,
        set_event_loop,
        shield,
        sleep,
        start_server,
        timeout,
        timeout_at,
        to_thread,
        wait,
        wait_for,
        wrap_future,
    )

__all__ = [
    "ALL_COMPLETED",
    "FIRST_COMPLETED",
    "FIRST_EXCEPTION",
    "AbstractEventLoop",
    "AbstractServer",
    "Barrier",
    "BoundedSemaphore",
    "BrokenBarrierError",
    "CancelledError",
    "Condition",
    "DatagramProtocol",
    "DatagramTransport",
    "Event",
    "Future",
    "Handle",
    "IncompleteReadError",
    "InvalidStateError",
    "LifoQueue",
    "Lock",
    "PriorityQueue",
    "Protocol",
    "Queue",
    "QueueEmpty",
    "QueueFull",
    "Runner",
    "Semaphore",
    "Server",
    "StreamReader",
    "StreamWriter",
    "Task",
    "TaskGroup",
    "Timeout",
    "TimeoutError",
    "TimerHandle",
    "Transport",
    "all_tasks",
    "as_completed",
    "create_subprocess_exec",
    "create_subprocess_shell",
    "create_task",
    "current_task",
    "ensure_future",
    "gather",
    "get_event_loop",
    "get_running_loop",
    "iscoroutine",
    "iscoroutinefunction",
    "isfuture",
    "new_event_loop",
    "open_connection",
    "run",
    "run_coroutine_threadsafe",
    "set_event_loop",
    "shield",
    "sleep",
    "start_server",
    "timeout",
    "timeout_at",
    "to_thread",
    "wait",
    "wait_for",
    "wrap_future",
]

P = TypeVar("P")


class _Named:
    """What all of them tell of themselves."""

    name: str | None

    def _state(self) -> str:
        raise NotImplementedError

    def _waiting(self) -> int:
        raise NotImplementedError

    def __repr__(self) -> str:
        name = "" if self.name is None else f" {self.name!r}"
        waiting = self._waiting()
        state = f"{self._state()}, waiters:{waiting}" if waiting else self._state()
        return f"<aiolots.compat.asyncio.{type(self).__qualname__}{name} object at {id(self):#x} [{state}]>"


class _AsyncWith:
    """`async with`."""

    async def acquire(self) -> Literal[True]:
        raise NotImplementedError

    def release(self) -> None:
        raise NotImplementedError

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.release()


class Lock(_AsyncWith, _Named):
    """An `asyncio.Lock` for the tasks of any event loops at once."""

    def __init__(self, *, name: str | None = None) -> None:
        self.name = name
        self._mutex = Mutex(None, name=name)

    def locked(self) -> bool:
        """Return whether anybody holds it. Never waits."""
        return self._mutex.locked()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.acquire is not Lock.acquire or cls.release is not Lock.release:  # `async with` calls those
            cls.__aenter__ = _AsyncWith.__aenter__  # type: ignore[method-assign]
            cls.__aexit__ = _AsyncWith.__aexit__  # type: ignore[method-assign]

    async def acquire(self) -> Literal[True]:
        """Take the lock; suspends until it is free. Gives True. Cancelled it leaves no trace."""
        await self._mutex
        return True

    def __aenter__(self) -> Any:
        """What `async with` awaits: shorter than to call acquire()."""
        return self._mutex

    def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> Any:
        return self._mutex.__aexit__(kind, error, tb)

    def release(self) -> None:
        """Release it, for those who wait longest. Any task may. Never waits. RuntimeError if it is not held."""
        try:
            self._mutex.release()
        except NotHeld:
            raise RuntimeError("Lock is not acquired.") from None

    def _state(self) -> str:
        return "locked" if self.locked() else "unlocked"

    def _waiting(self) -> int:
        return len(lowlevel.waiters(self._mutex))


class Event(_Named):
    """An `asyncio.Event` for the tasks of any event loops at once; anybody may set it, from any thread."""

    def __init__(self, *, name: str | None = None) -> None:
        self.name = name
        self._event = aiolots.Event(name=name)

    def is_set(self) -> bool:
        """Return whether the flag is up. Never waits."""
        return self._event.is_set()

    def set(self) -> None:
        """Put the flag up, and wake all who wait. Never waits."""
        self._event.set()

    def clear(self) -> None:
        """Take the flag down: who comes now waits for the next set(). Never waits."""
        self._event.clear()

    async def wait(self) -> Literal[True]:
        """Wait until the flag is up; suspends the task, unless it is up already. Gives True."""
        if not self._event.is_set():
            await self._event
        return True

    def _state(self) -> str:
        return "set" if self._event.is_set() else "unset"

    def _waiting(self) -> int:
        return len(lowlevel.waiters(key=self._event))


class Condition(_Named):
    """An `asyncio.Condition` for the tasks of any event loops at once: over a Lock of its own, or one that is given."""

    acquire: Callable[[], Coroutine[Any, Any, Literal[True]]]
    release: Callable[[], None]
    locked: Callable[[], bool]

    def __init__(self, lock: Lock | None = None, *, name: str | None = None) -> None:
        self.name = name
        self._lock = Lock(name=name) if lock is None else lock
        self.acquire = self._lock.acquire
        self.release = self._lock.release
        self.locked = self._lock.locked

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.release()

    async def wait(self) -> Literal[True]:
        """Release the lock, wait to be notified, and take the lock again. Gives True.

        Cancelled it takes the lock again, too, before the cancellation goes out; a notification that came for it goes to
        another. RuntimeError if the lock is not held.
        """
        if not self.locked():
            raise RuntimeError("cannot wait on un-acquired lock")
        released: list[bool] = []

        def release() -> None:
            self.release()
            released.append(True)

        notified = False
        try:
            try:
                await lowlevel.park(self, before_sleep=release)
                notified = True
            finally:
                if released:
                    await self._acquire_again()
        except BaseException:
            if notified:
                notify(id(self))
            raise
        return True

    async def _acquire_again(self) -> None:
        cancelled: BaseException | None = None
        while True:
            try:
                await self.acquire()
                break
            except sys.modules["asyncio"].CancelledError as error:
                cancelled = error
        if cancelled is not None:
            try:
                raise cancelled
            finally:
                cancelled = None  # its traceback leads here

    async def wait_for(self, predicate: Callable[[], P]) -> P:
        """Wait until predicate() is true; it is called with the lock held. Gives what it returned."""
        while not (result := predicate()):
            await self.wait()
        return result

    def notify(self, n: int = 1) -> None:
        """Wake up to `n` of those who wait; each goes on when it has got the lock. Never waits.

        RuntimeError if the lock is not held.
        """
        if not self.locked():
            raise RuntimeError("cannot notify on un-acquired lock")
        if n > 0:
            notify(id(self), min(n, EVERYBODY))

    def notify_all(self) -> None:
        """Wake all who wait now. Never waits. RuntimeError if the lock is not held."""
        self.notify(EVERYBODY)

    def _state(self) -> str:
        return "locked" if self.locked() else "unlocked"

    def _waiting(self) -> int:
        return len(lowlevel.waiters(key=self))


class Semaphore(_AsyncWith, _Named):
    """An `asyncio.Semaphore` for the tasks of any event loops at once."""

    def __init__(self, value: int = 1, *, name: str | None = None) -> None:
        if value < 0:
            raise ValueError("Semaphore initial value must be >= 0")
        self.name = name
        self._semaphore = aiolots.Semaphore(value, name=name)
        self._politely: set[object] = set()  # who lets others go first

    def locked(self) -> bool:
        """Return whether who acquires now has to wait: for a permit, or for its turn. Never waits."""
        return self._semaphore.locked() or self._others_first()

    def _others_first(self) -> bool:
        return self._semaphore.waiting > 0 or bool(self._politely)

    async def acquire(self) -> Literal[True]:
        """Take a permit; suspends until there is one. Gives True. Cancelled it leaves no trace."""
        semaphore = self._semaphore
        if semaphore.value > 0 and self._others_first():  # they were given a permit, and did not run yet
            turn = _Turn()
            self._politely.add(turn)
            try:
                await turn
            finally:
                self._politely.discard(turn)
        if not semaphore.try_acquire():
            await semaphore
        return True

    def release(self) -> None:
        """Give back a permit, to who waits longest. Any task may. Never waits."""
        self._semaphore.release()

    @property
    def _value(self) -> int:
        return self._semaphore.value

    def _state(self) -> str:
        return "locked" if self.locked() else f"unlocked, value:{self._value}"

    def _waiting(self) -> int:
        return self._semaphore.waiting


class BoundedSemaphore(Semaphore):
    """An `asyncio.BoundedSemaphore`: a Semaphore of which no more can be released than was acquired."""

    def __init__(self, value: int = 1, *, name: str | None = None) -> None:
        super().__init__(value, name=name)
        self._semaphore = aiolots.BoundedSemaphore(value, name=name)

    def release(self) -> None:
        """Give back a permit, to who waits longest. ValueError if more would be free than there were at first."""
        try:
            super().release()
        except ValueError:
            raise ValueError("BoundedSemaphore released too many times") from None


class _Turn:
    """One turn of the loop, as something to await."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, None]:
        if _loops.in_trio():
            yield from _loops.checkpoint()
        else:
            yield


# --- everything else of the module ------------------------------------------------------------------------------------

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        return getattr(sys.modules["asyncio"], name)  # the loops' port has imported it
