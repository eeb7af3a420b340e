"""Events, on the parking lot.

Who waits remembers which set() was the last one, queues, and then looks: whether the flag is up, or another set() has been.
So a set() reaches all who waited when it was called, even if clear() follows before they run, and reaches nobody else: what
is passed on of a wake to one who came later finds the flag down and no other set(), and waits on.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from aiolots import _loops, _seconds
from aiolots._lib import BY_TIMEOUT, NULL, lib
from aiolots._parking import EVERYBODY, Reason, Wait, notify
from aiolots._waiters import waiters


class _Occurs(Wait[bool]):
    """A request to wait for the event: `.acquire()` in a thread, `await` in a task. Each gives whether it was set in time."""

    __slots__ = ("_event", "_last_set")

    def __init__(self, event: Event, seconds: float | None) -> None:
        super().__init__(event, seconds)
        self._event = event
        self._last_set: object = None

    def _at_once(self) -> bool:
        self._last_set = self._event._last_set
        return self._event._flag

    def _look(self) -> bool:
        return self._event._flag or self._event._last_set is not self._last_set

    def _woken(self, token: int) -> bool:
        return self._look()

    def _outcome(self, reason: Reason, token: int) -> bool:
        return reason != "timed_out" or self._look()

    def _abandon(self) -> None:
        lib.lots_op_cancel(self._op, BY_TIMEOUT, NULL)  # everybody else has the wake as well: nothing to pass on


class Event:
    """A flag that threads and tasks wait for, on any event loops at once.

    set(), clear(), is_set() and wait() are those of threading.Event; a task writes `await event`. Made without a running
    loop, it may be a module's global. Copied or pickled it gives a new one with the same flag and name.

    Args:
        name: appears in messages and repr.
    """

    __slots__ = ("__weakref__", "_flag", "_last_set", "name")

    def __init__(self, *, name: str | None = None) -> None:
        self.name = name
        self._flag = False
        self._last_set = object()

    def is_set(self) -> bool:
        """Return whether the flag is up. Never waits."""
        return self._flag

    def set(self) -> None:
        """Put the flag up, and wake all who wait. Any thread, task or signal handler may. Never waits."""
        try:
            self._flag = True
            self._last_set = object()
            notify(id(self), EVERYBODY)
        except BaseException:  # out of a signal handler: the flag is up, and who waits for it may sleep
            notify(id(self), EVERYBODY)
            raise

    def clear(self) -> None:
        """Take the flag down: who comes now waits for the next set(). Never waits."""
        self._flag = False

    def wait(self, timeout: float | None = None) -> bool:
        """Wait in a thread until the flag is up; blocks, up to `timeout` seconds. Returns whether it is, or was, in time.

        A signal handler that raises (Ctrl-C) interrupts it. ValueError for a negative timeout. In a task: `await event`.
        """
        seconds = None if timeout is None else _seconds.checked(timeout)
        return self._flag or _Occurs(self, seconds).acquire()

    def wait_for(self, seconds: float | None) -> _Occurs:
        """Request to wait up to `seconds` (0: only look; None, inf: for ever): `.acquire()` in a thread, `await` in a task.

        Either gives whether the flag was up in time. Cancellation and Ctrl-C leave no trace. ValueError if negative or NaN,
        TypeError if no number; RuntimeError when the request is used twice.
        """
        return _Occurs(self, None if seconds is None else _seconds.checked(seconds))

    def __await__(self) -> Generator[Any, None, bool]:
        """Wait in a task until the flag is up; suspends it, unless it is up already. Gives True.

        Cancellation leaves no trace. RuntimeError if it has to wait and no event loop runs.
        """
        if not self._flag:
            return (yield from _Occurs(self, None).__await__())
        if _loops.in_trio():
            yield from _loops.checkpoint()
        return True

    @property
    def waiting(self) -> int:
        """How many wait now. Never waits."""
        return sum(not waiter.woken for waiter in waiters(key=self))

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self._flag, self.name)

    def __repr__(self) -> str:
        name = "" if self.name is None else f" {self.name!r}"
        waiting = f" waiters={self.waiting}" if not self._flag else ""
        return f"<aiolots.{type(self).__name__}{name} {'set' if self._flag else 'unset'}{waiting.removesuffix(' waiters=0')}>"


def _rebuild(kind: type[Event], flag: bool, name: str | None) -> Event:
    event = kind(name=name)
    if flag:
        event.set()
    return event
