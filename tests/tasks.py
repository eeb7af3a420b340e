"""What a test asks of the library that its tasks run on: the same for asyncio, uvloop and trio.

Under trio the tasks of `start` live in a nursery of the run (`nursery`), which the run's first task opens: see trios.py.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from types import TracebackType
from typing import Any, Self, TypeVar

try:
    import trio
except ImportError:  # then no test of it runs
    trio = None  # type: ignore[assignment]

T = TypeVar("T")

CANCELLED: tuple[type[BaseException], ...] = (
    (asyncio.CancelledError,) if trio is None else (asyncio.CancelledError, trio.Cancelled)
)
nursery: Any = None if trio is None else trio.lowlevel.RunVar("tests' nursery")


def in_trio() -> bool:
    """Whether trio runs on this thread. In these tests no loop runs inside another."""
    return trio is not None and trio.lowlevel.in_trio_run()


async def pause() -> None:
    """Let all others run that can."""
    if in_trio():
        await trio.lowlevel.checkpoint()
    else:
        await asyncio.sleep(0)


async def for_ever() -> None:
    """Wait until cancelled."""
    if in_trio():
        await trio.sleep_forever()
    else:
        await asyncio.get_running_loop().create_future()


async def in_a_thread(function: Callable[..., T], *arguments: Any) -> T:
    """Call it in a thread, and wait for that."""
    if in_trio():
        return await trio.to_thread.run_sync(function, *arguments)
    return await asyncio.to_thread(function, *arguments)


@contextlib.asynccontextmanager
async def timeout(seconds: float) -> AsyncGenerator[None]:
    """Cancel the body after some seconds: TimeoutError."""
    if in_trio():
        try:
            with trio.fail_after(seconds):
                yield
        except trio.TooSlowError:
            raise TimeoutError from None
    else:
        async with asyncio.timeout(seconds):
            yield


class TrioTask:
    """A task of trio's that can be cancelled, and awaited for its result, as asyncio's."""

    def __init__(self, awaitable: Awaitable[Any], where: Any = None) -> None:
        self._awaitable = awaitable
        self._scope = trio.CancelScope()
        self._ended = trio.Event()
        self._result: Any = None
        self._error: BaseException | None = None
        (where or nursery.get()).start_soon(self._run)

    async def _run(self) -> None:
        try:
            with self._scope:
                try:
                    self._result = await self._awaitable
                except BaseException as error:
                    self._error = error
                    if isinstance(error, trio.Cancelled):
                        raise
        finally:
            self._ended.set()

    def cancel(self, message: str | None = None) -> None:
        """Cancel it, with that reason."""
        self._scope.cancel(reason=message)

    def done(self) -> bool:
        """Whether it has ended."""
        return self._ended.is_set()

    def cancelled(self) -> bool:
        """Whether it ended by a cancellation."""
        return self.done() and isinstance(self._error, trio.Cancelled)

    def __await__(self) -> Generator[Any, None, Any]:
        return self._get().__await__()

    async def _get(self) -> Any:
        await self._ended.wait()
        if self._error is not None:
            raise self._error
        return self._result


Task = asyncio.Future[Any] | TrioTask


def start(awaitable: Awaitable[Any]) -> Task:
    """Start a task that awaits it."""
    return TrioTask(awaitable) if in_trio() else asyncio.ensure_future(awaitable)


async def all_of(*tasks: Task) -> list[Any]:
    """Wait for all, and return what they gave."""
    return [await task for task in tasks]


async def outcomes(*tasks: Task) -> list[Any]:
    """Wait for all, and return what they gave, or raised."""
    found = []
    for task in tasks:
        try:
            found.append(await task)
        except BaseException as error:
            if not task.done():  # not the task's: our own
                raise
            found.append(error)
    return found


class Group:
    """asyncio.TaskGroup, or a nursery: `group.start(coroutine)`."""

    def __init__(self) -> None:
        self._group: Any = trio.open_nursery() if in_trio() else asyncio.TaskGroup()
        self._inside: Any = None

    async def __aenter__(self) -> Self:
        self._inside = await self._group.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> Any:
        return await self._group.__aexit__(kind, error, tb)

    def start(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Start a task in it."""
        if in_trio():
            self._inside.start_soon(_await, coroutine)
        else:
            self._inside.create_task(coroutine)


async def _await(coroutine: Coroutine[Any, Any, Any]) -> None:
    await coroutine
