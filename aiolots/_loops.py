"""Event loops: what the rest of aiolots needs of them, and which one runs here.

Of a loop it needs a *port*: the loop's mailbox in the C core, and how a task of it sleeps and is woken. What a library does
in its own way is in a file of its own, a Library: _asyncio_port.py (for uvloop too), and _trio_port.py, imported where trio
is. Nothing else knows an event loop. A loop is an object that lives as long as it may run: asyncio's, or trio's token.
"""

from __future__ import annotations

import atexit
import itertools
import os
import sys
import time
import weakref
from collections.abc import Callable, Generator
from typing import Any, Protocol

from aiolots import _asyncio_port
from aiolots._lib import ADDRESS, COOKIES, NULL, ffi, lib

_AT_ONCE = 256  # cookies taken from the mailbox at a time

# Locks are never bound to a loop; waiters are. A loop gets its port when the first of its tasks has to wait. The port
# belongs to the loop (it is kept there, and by whatever watches its mailbox), never to us: its table of futures leads back
# to the loop and its tasks, which must stay collectable.
_ATTRIBUTE = "_aiolots_port"
_ports: weakref.WeakKeyDictionary[Any, weakref.ref[Port]] = weakref.WeakKeyDictionary()
_every_port: weakref.WeakSet[Port] = weakref.WeakSet()
_cookies = itertools.count(1)


class Library(Protocol):
    """What a library of event loops does in its own way."""

    def watch(self, loop: Any, port: Port, /) -> None:
        """See to it that `port.drain(rung=True)` is called when the mailbox is readable, and `port.close()` at the end."""

    def new_future(self, loop: Any, port: Port, /) -> Any:
        """Return what the running task can wait for, with done() and set_result(in_time)."""
        raise NotImplementedError

    def wait(
        self, future: Any, seconds: float | None, leave: Callable[[], None], shielded: bool, /
    ) -> Generator[Any, None, bool]:
        """Suspend the task until set_result, or for some seconds: False. Cancelled, it may call `leave` at once."""
        raise NotImplementedError

    def call_later(self, loop: Any, seconds: float, function: Callable[[], None], /) -> bool:
        """Call it on the loop's own thread, where we are, after some seconds. False: it will not be called."""
        raise NotImplementedError

    def is_running(self, loop: Any, /) -> bool:
        """Whether some thread runs it now."""
        raise NotImplementedError

    def call_from_a_thread(self, loop: Any, function: Callable[[], None], /) -> None:
        """Call it on the loop's thread, soon; RuntimeError if the loop has ended. From any thread, never waits."""

    def call_soon(self, loop: Any, function: Callable[[], None], /) -> None:
        """Call it on the loop's own thread, after what is being done there now. Nothing, if the loop has ended."""

    def current_task(self) -> Any:
        """Return the running task; None outside of any. Where a loop of this library runs."""
        raise NotImplementedError

    def task_id(self) -> int:
        """Return a number that names the running task while it lives; 0 outside of any."""
        raise NotImplementedError

    def checkpoint(self) -> Generator[Any, None, None]:
        """Run what the library wants of an acquire that has waited for nothing."""
        raise NotImplementedError


def _end_mailbox(mailbox: Any) -> None:
    """Of a loop that was dropped with its tasks. Closed first: where loop, port and tasks are one garbage, this finalizer may
    come before those of the tasks that wait, which would find a mailbox that is gone. So they are withdrawn by then."""
    lib.lots_mailbox_close(mailbox)
    lib.lots_mailbox_free(mailbox)


class Port:
    """One loop's mailbox, and the futures of its tasks that wait."""

    __slots__ = (
        "__weakref__",
        "_again",
        "_buffer",
        "_draining",
        "_left",
        "_library",
        "_loop",
        "address",
        "closed",
        "looked",
        "looks",
        "mailbox",
        "waiting",
    )

    def __init__(self, loop: Any) -> None:
        mailbox = lib.lots_mailbox_new()
        if mailbox == NULL:
            raise OSError(ffi.errno, f"no descriptor for the mailbox of {loop!r}: {os.strerror(ffi.errno)}")
        self.mailbox: Any = ffi.gc(mailbox, _end_mailbox)
        self.address = int(ffi.cast(ADDRESS, mailbox))
        self._loop = weakref.ref(loop)
        self._library = library_of(loop)
        self.waiting: dict[int, Any] = {}
        self.looks = False  # somebody will look soon at who waits here (_certain_tasks.py): the cookies that were looked at
        self.looked: set[int] = set()
        self._buffer: Any = ffi.new(COOKIES, _AT_ONCE)
        self._draining = self._again = self._left = self.closed = False
        self._library.watch(loop, self)
        _every_port.add(self)

    @property
    def descriptor(self) -> int:
        """Readable when there is mail."""
        return int(lib.lots_mailbox_fd(self.mailbox))

    def close(self) -> None:
        """The loop has ended: withdraw its waiters from every queue, pass their wakes on. Never waits."""
        self.closed = True
        lib.lots_mailbox_close(self.mailbox)
        self.waiting.clear()

    def expect(self, cookie: int) -> Any:
        """Return the future that the next wake of `cookie` resolves. Before the core may know of the waiter: a release
        in a finalizer or a signal handler could come at any allocation."""
        future = self.waiting[cookie] = self._library.new_future(self._loop(), self)
        return future

    def wait(
        self, future: Any, seconds: float | None, leave: Callable[[], None] = lambda: None, *, shielded: bool = False
    ) -> Generator[Any, None, bool]:
        """Suspend the task until its wake, or for some seconds. False: the time is up. Cancellation passes through; what
        it leaves behind `leave` may have withdrawn by then. `shielded`: where a cancellation is a state and not a moment,
        as under trio, it does not end this wait; for who was cancelled, and has to wait on."""
        return self._library.wait(future, seconds, leave, shielded)

    def checkpoint(self) -> Generator[Any, None, None]:
        """Run what the library wants of an acquire that has waited for nothing."""
        return self._library.checkpoint()

    def task_id(self) -> int:
        """Return a number that names the running task while it lives; 0 outside of any."""
        return self._library.task_id()

    def forget(self, cookie: int) -> None:
        """The wait is over, however it ended."""
        self.waiting.pop(cookie, None)

    def call_later(self, seconds: float, function: Callable[[], None]) -> bool:
        """Call it on the loop's own thread, where we are, after some seconds. False: it will not be called."""
        loop = self._loop()
        return loop is not None and self._library.call_later(loop, seconds, function)

    def call_from_any_thread(self, function: Callable[[], None]) -> bool:
        """Call it on the loop's own thread, soon. False: it will not be called: the loop has ended, or is none of asyncio's."""
        loop = self._loop()
        return self._library is _asyncio_port and loop is not None and _asyncio_port.call_from_any_thread(loop, function)

    def drain(self, *, rung: bool = False) -> None:
        """Schedule the tasks that were woken. On the loop's own thread.

        The reference for aiolots._native.drain, which takes its place where the native front is in use.

        It may be entered again, by a finalizer or a signal handler that releases a lock: the outer call goes on then. And
        it may be left by an exception at any point: what was taken from the mailbox stays in the buffer until its task
        was scheduled, and the loop is asked to call again.
        """
        if self._draining:
            self._again = True
            return
        self._draining = True
        buffer, waiting = self._buffer, self.waiting
        taken = _AT_ONCE if self._left else 0
        self._left = True
        try:
            while True:
                for i in range(taken):
                    future = waiting.get(buffer[i])
                    if future is not None and not future.done():
                        future.set_result(True)
                    buffer[i] = 0
                if 0 < taken < _AT_ONCE and not self._again:
                    break
                self._again = False
                taken = lib.lots_mailbox_drain(self.mailbox, buffer, _AT_ONCE, rung)
                rung = False
                if not taken and not self._again:
                    break
            self._left = False
        finally:
            self._draining = False
            if self._left:
                loop = self._loop()
                if loop is not None:
                    self._library.call_soon(loop, self.drain)


def every_loop() -> list[tuple[Any, Library]]:
    """Return the loops of which a task had to wait once, each with its library. For diagnosis: never waits."""
    found = [(port._loop(), port._library) for port in _copied(_every_port) if not port.closed]
    return [(loop, library) for loop, library in found if loop is not None]


def names() -> dict[int, str]:
    """Return what to call the same loops, by the number that the core has for each. For diagnosis: never waits."""
    found = [(port, port._loop()) for port in _copied(_every_port)]
    return {
        int(lib.lots_mailbox_number(port.mailbox)): repr(loop) if port._library is _asyncio_port else "a run of trio"
        for port, loop in found
        if loop is not None
    }


def _copied(ports: weakref.WeakSet[Port]) -> list[Port]:
    """Copy what other threads change meanwhile."""
    for _ in range(1000):
        try:
            return list(ports)
        except RuntimeError:
            continue
    return []


def use_drain(drain: Callable[[Port, bool], None]) -> None:
    """Let every port be drained by a function of the native front."""

    def drain_natively(self: Port, *, rung: bool = False) -> None:
        drain(self, rung)

    Port.drain = drain_natively  # type: ignore[method-assign]


# --- which library runs here ------------------------------------------------------------------------------------------

_trio: Any = None  # aiolots._trio_port, from when trio is there


def _trio_if_loaded() -> Any:
    """Return aiolots._trio_port, or None while nobody has imported trio: we never do. Nor do we wait for who is at it.

    In an acquire, never in a release: a signal handler that raises in the middle of an import may leave its lock taken, and
    who then releases would wait for it.
    """
    global _trio  # noqa: PLW0603
    found = sys.modules.get("trio") if _trio is None else None
    if found is not None and not getattr(found.__spec__, "_initializing", False):
        from aiolots import _trio_port

        # The native front asks these in the middle of a release: trio's Ctrl-C comes after that.
        _trio_port.protect(running, in_trio, own_port, port_if_any)
        _trio = _trio_port
    return _trio


def trio_context() -> Any:
    """Return the thread-local object whose attributes say what trio runs on a thread; NotImplemented if there is no such
    thing, None while trio is not there. With it, the native front need not ask in_trio() each time."""
    trio = _trio_if_loaded()
    return None if trio is None else trio.RUN_CONTEXT


def in_trio() -> bool:
    """Whether the running task is one of trio's."""
    trio = _trio_if_loaded()
    return trio is not None and trio.runs_here(_asyncio_port.running())


def checkpoint() -> Generator[Any, None, None]:
    """Run what the library that runs here wants of an acquire that has waited for nothing: trio a checkpoint."""
    if in_trio():
        yield from _trio.checkpoint()


def running() -> Any:
    """Return the event loop that runs on this thread, or None."""
    loop = _asyncio_port.running()
    trio = _trio_if_loaded()
    return trio.token() if trio is not None and trio.runs_here(loop) else loop


def is_token(loop: Any) -> bool:
    """Whether it is what stands for a run of trio."""
    trio = _trio_if_loaded()
    return trio is not None and isinstance(loop, trio.Token)


def library_of(loop: Any) -> Library:
    """Return the library that a loop is of."""
    if is_token(loop):
        return _trio  # type: ignore[no-any-return]
    return _asyncio_port


def port(loop: Any) -> Port:
    """Return the loop's port; on its own thread. Raises OSError when the process has no descriptor left."""
    found = port_if_any(loop)
    if found is None:
        found = Port(loop)
        try:
            setattr(loop, _ATTRIBUTE, found)
        except AttributeError:  # a loop that takes none
            _ports[loop] = weakref.ref(found)
    return found


def every_port() -> list[Port]:
    """Return the ports of all loops whose tasks ever had to wait. From any thread."""
    for _ in range(1000):
        try:
            return list(_every_port)
        except RuntimeError:  # another thread has added one meanwhile
            continue
    return []


def own_port() -> Port | None:
    """Return the port of the loop that runs on this thread, if it has one yet. Imports nothing: what is not there has none."""
    loop = _asyncio_port.running()
    if _trio is not None and _trio.runs_here(loop):
        loop = _trio.token()
    return None if loop is None else port_if_any(loop)


def port_if_any(loop: Any) -> Port | None:
    """Return the loop's port, if it has one yet."""
    found: Port | None = getattr(loop, _ATTRIBUTE, None)
    if found is None and (kept := _ports.get(loop)) is not None:
        found = kept()
    return found


def new_cookie() -> int:
    """Return a number that names one wait in the core."""
    return next(_cookies)


def needs_a_loop() -> Any:
    """Return the running loop. RuntimeError where there is none."""
    loop = running()
    if loop is None:
        raise RuntimeError("awaiting a lock needs a running event loop; in a thread write `with lock.read():`, or .acquire()")
    return loop


def current_task() -> Any:
    """Return the running task, or None: no loop runs here, or it runs a plain callback."""
    loop = running()
    return None if loop is None else library_of(loop).current_task()


def task_id() -> int:
    """Return a number that names the running task while it lives; 0 outside of any."""
    return library_of(running()).task_id()


def call_soon(loop: Any, function: Callable[[], None]) -> None:
    """Call it on the running loop's thread, after what is being done there now."""
    library_of(loop).call_soon(loop, function)


def moment_after(seconds: float | None) -> float | None:
    """Return the moment of time.monotonic() that many seconds from now; None: never."""
    return None if seconds is None else time.monotonic() + seconds


def seconds_until(moment: float | None) -> float | None:
    """Return the seconds until that moment, at least 0; None: never."""
    return None if moment is None else max(0.0, moment - time.monotonic())


def _forget_all() -> None:
    for found in list(_every_port):
        loop = found._loop()
        if loop is not None and hasattr(loop, _ATTRIBUTE):
            delattr(loop, _ATTRIBUTE)
    _every_port.clear()
    _ports.clear()


# A forked child has no mailboxes: the descriptors are shared with the parent, and the lot is empty (csrc/fork.c).
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)


# At exit Python frees what waits without running it; the core must have forgotten it by then.
@atexit.register
def _close_all() -> None:
    for found in every_port():  # threads that are daemons may still make some
        found.close()
