"""Event loops: the only file that knows them.

What the rest of aiolots needs of a loop is a *port*: the loop's mailbox in the C core, and how a task of it sleeps and is
woken. Whoever adds another kind of loop (trio) gives `running()` and `port()` an answer for it, and a Port with the same
four verbs: expect, wait, forget, drain.
"""

from __future__ import annotations

import asyncio
import atexit
import itertools
import os
import select
import threading
import time
import weakref
from collections.abc import Callable, Generator
from typing import Any

from aiolots._lib import ADDRESS, COOKIES, NULL, ffi, lib

_AT_ONCE = 256  # cookies taken from the mailbox at a time
_LOOK_EVERY = 200  # ms: how often a thread that watches for a loop without add_reader looks whether that is there still

# Locks are never bound to a loop; waiters are. A loop gets its port when the first of its tasks has to wait. The port
# belongs to the loop (it is kept there, and by the reader callback that the loop holds), never to us: its table of futures
# leads back to the loop and its tasks, which must stay collectable.
_ATTRIBUTE = "_aiolots_port"
_ports: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, weakref.ref[Port]] = weakref.WeakKeyDictionary()
_every_port: weakref.WeakSet[Port] = weakref.WeakSet()
_cookies = itertools.count(1)


class Port:
    """One loop's mailbox, and the futures of its tasks that wait."""

    __slots__ = ("__weakref__", "_again", "_buffer", "_draining", "_left", "_loop", "address", "mailbox", "waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        mailbox = lib.lots_mailbox_new()
        if mailbox == NULL:
            raise OSError(ffi.errno, f"no descriptor for the mailbox of {loop!r}: {os.strerror(ffi.errno)}")
        self.mailbox: Any = ffi.gc(mailbox, lib.lots_mailbox_free)
        self.address = int(ffi.cast(ADDRESS, mailbox))
        self._loop = weakref.ref(loop)
        self.waiting: dict[int, asyncio.Future[bool]] = {}
        self._buffer: Any = ffi.new(COOKIES, _AT_ONCE)
        self._draining = self._again = self._left = False
        self._watch(loop)
        _every_port.add(self)

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        descriptor = lib.lots_mailbox_fd(self.mailbox)
        bell = _Bell(self)
        try:
            loop.add_reader(descriptor, bell)
        except NotImplementedError:
            _watch_from_a_thread(loop, descriptor, weakref.ref(self))
            return
        # The loop alone keeps the bell: when it is closed it lets go of it, and that is how we learn of it.
        weakref.finalize(bell, _close_port, weakref.ref(self)).atexit = False

    def close(self) -> None:
        """The loop has ended: withdraw its waiters from every queue, pass their wakes on. Never waits."""
        lib.lots_mailbox_close(self.mailbox)
        self.waiting.clear()

    def expect(self, cookie: int) -> asyncio.Future[bool]:
        """Return the future that the next wake of `cookie` resolves. Before the core may know of the waiter: a release
        in a finalizer or a signal handler could come at any allocation."""
        loop = asyncio.get_running_loop()
        future = self.waiting[cookie] = loop.create_future()
        return future

    def wait(self, future: asyncio.Future[bool], seconds: float | None) -> Generator[Any, None, bool]:
        """Suspend the task until its wake, or for some seconds. False: the time is up. Cancellation passes through."""
        if seconds is None:
            return (yield from future)
        timer = asyncio.get_running_loop().call_later(seconds, time_is_up, future)
        try:
            return (yield from future)
        finally:
            timer.cancel()

    def forget(self, cookie: int) -> None:
        """The wait is over, however it ended."""
        self.waiting.pop(cookie, None)

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
                if loop is not None and not loop.is_closed():
                    loop.call_soon(self.drain)


def _close_port(port: weakref.ref[Port]) -> None:
    found = port()
    if found is not None:  # else the port went first, and so did its waiters
        found.close()


def use_drain(drain: Callable[[Port, bool], None]) -> None:
    """Let every port be drained by a function of the native front."""

    def drain_natively(self: Port, *, rung: bool = False) -> None:
        drain(self, rung)

    Port.drain = drain_natively  # type: ignore[method-assign]


class _Bell:
    """What the loop calls when the mailbox is readable. The loop alone holds it."""

    __slots__ = ("__weakref__", "_port")

    def __init__(self, port: Port) -> None:
        self._port = port

    def __call__(self) -> None:
        self._port.drain(rung=True)


def time_is_up(future: asyncio.Future[bool]) -> None:
    """End a wait by its timer."""
    if not future.done():
        future.set_result(False)


def _watch_from_a_thread(loop: asyncio.AbstractEventLoop, descriptor: int, port: weakref.ref[Port]) -> None:
    """For loops without add_reader: a thread watches the descriptor and calls the loop. It keeps neither alive."""
    loop_ref = weakref.ref(loop)
    answered = threading.Event()
    answered.set()

    def ring() -> None:
        answered.set()
        ours = port()
        if ours is not None:
            ours.drain(rung=True)

    def call(ours: asyncio.AbstractEventLoop | None) -> bool:
        if ours is None or ours.is_closed():
            return False
        try:
            if answered.is_set():  # else it has been called, and has not come to it yet
                answered.clear()
                ours.call_soon_threadsafe(ring)
        except RuntimeError:  # closed just now
            return False
        return True

    def watch() -> None:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        while True:
            readable = poll.poll(_LOOK_EVERY)
            if readable and not call(loop_ref()):
                break
            if readable:
                answered.wait(_LOOK_EVERY / 1000)
            elif (ours := loop_ref()) is None or ours.is_closed():
                break
            else:
                del ours
        _close_port(port)

    threading.Thread(target=watch, name="aiolots-bell", daemon=True).start()


def running() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that runs on this thread, or None."""
    return asyncio._get_running_loop()


def port(loop: asyncio.AbstractEventLoop) -> Port:
    """Return the loop's port; on its own thread. Raises OSError when the process has no descriptor left."""
    found = port_if_any(loop)
    if found is None:
        found = Port(loop)
        try:
            setattr(loop, _ATTRIBUTE, found)
        except AttributeError:  # a loop that takes none
            _ports[loop] = weakref.ref(found)
    return found


def own_port() -> Port | None:
    """Return the port of the loop that runs on this thread, if it has one yet."""
    loop = asyncio._get_running_loop()
    return None if loop is None else port_if_any(loop)


def port_if_any(loop: asyncio.AbstractEventLoop) -> Port | None:
    """Return the loop's port, if it has one yet."""
    found: Port | None = getattr(loop, _ATTRIBUTE, None)
    if found is None and (kept := _ports.get(loop)) is not None:
        found = kept()
    return found


def new_cookie() -> int:
    """Return a number that names one wait in the core."""
    return next(_cookies)


def needs_a_loop() -> asyncio.AbstractEventLoop:
    """Return the running loop. RuntimeError where there is none."""
    loop = asyncio._get_running_loop()
    if loop is None:
        raise RuntimeError("awaiting a lock needs a running event loop; in a thread write `with lock.read():`, or .acquire()")
    return loop


def task_id() -> int:
    """Return a number that names the running task while it lives; 0 outside of any."""
    return id(asyncio.current_task())


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
    for found in list(_every_port):
        found.close()
