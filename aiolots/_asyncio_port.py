"""asyncio, and whatever has the same interface (uvloop): how a task of it sleeps and is woken. See Library in _loops.py."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from aiolots import _bell

if TYPE_CHECKING:
    from aiolots._loops import Port


def running() -> asyncio.AbstractEventLoop | None:
    """Return asyncio's event loop that runs on this thread, or None."""
    return asyncio._get_running_loop()


# {loop: task} of the tasks that run now, before Python 3.14 also of other threads: for the native front, to which a call costs
# more than all the rest. None: current_task() is to be called.
current_tasks: dict[asyncio.AbstractEventLoop, asyncio.Task[Any]] | None = getattr(asyncio.tasks, "_current_tasks", None)


def watch(loop: asyncio.AbstractEventLoop, port: Port) -> None:
    """Have the mailbox watched by the loop."""
    bell = _Bell(port)
    try:
        loop.add_reader(port.descriptor, bell)
    except NotImplementedError:
        _bell.watch_from_a_thread(loop, port, _has_ended, call_from_a_thread)
        return
    # The loop alone keeps the bell: when it is closed it lets go of it, and that is how we learn of it.
    weakref.finalize(bell, _bell.close_port, weakref.ref(port)).atexit = False


class _Bell:
    """What the loop calls when the mailbox is readable. The loop alone holds it."""

    __slots__ = ("__weakref__", "_port")

    def __init__(self, port: Port) -> None:
        self._port = port

    def __call__(self) -> None:
        self._port.drain(rung=True)


def _has_ended(loop: asyncio.AbstractEventLoop) -> bool:
    return loop.is_closed()


def is_running(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether some thread runs it now."""
    return loop.is_running()


def call_from_a_thread(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    """Call it on the loop's thread, soon; RuntimeError if the loop has ended. From any thread, never waits."""
    loop.call_soon_threadsafe(function)


def new_future(_loop: asyncio.AbstractEventLoop, _port: Port) -> asyncio.Future[bool]:
    """Return a future of the running loop."""
    return asyncio.get_running_loop().create_future()


def wait(
    future: asyncio.Future[bool], seconds: float | None, _leave: Callable[[], None], _shielded: bool
) -> Generator[Any, None, bool]:
    """Await the future, which a timer may resolve."""
    if seconds is None:
        return (yield from future)
    timer = asyncio.get_running_loop().call_later(seconds, time_is_up, future)
    try:
        return (yield from future)
    finally:
        timer.cancel()


def time_is_up(future: asyncio.Future[bool]) -> None:
    """End a wait by its timer."""
    if not future.done():
        future.set_result(False)


def call_soon(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    """Call it on the loop's own thread, where we are."""
    if not loop.is_closed():
        loop.call_soon(function)


def current_task() -> asyncio.Task[Any] | None:
    """Return the running task; None outside of any."""
    return asyncio.current_task()


def task_id() -> int:
    """Return a number that names the running task while it lives; 0 outside of any."""
    return id(asyncio.current_task())


def checkpoint() -> Generator[Any, None, None]:
    """Asyncio wants none: a free lock is had without a turn of the loop."""
    yield from ()
