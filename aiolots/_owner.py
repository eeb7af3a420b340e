"""Who is running: the task, or outside of any the thread. For what must know its owner again.

An owner is an object, and is remembered by a weak reference: numbers of threads and tasks are used again, and a strong one
would keep the task of a loop that was dropped, and with it the guards that it holds, from ever being collected.
"""

from __future__ import annotations

import threading
import weakref
from typing import Any

from aiolots import _loops


class _Thread:
    """A thread, as an object that ends with it."""

    __slots__ = ("__weakref__",)


_local = threading.local()


def this_thread() -> Any:
    """Return the object that stands for this thread while it lives."""
    # In one step: a signal handler that gets here in between must see the same object.
    return _local.__dict__.setdefault("thread", _Thread())


def running_task() -> Any:
    """Return the running task, of whatever library; None outside of any."""
    return _loops.current_task()


def current() -> Any:
    """Return the owner of what is taken now: the running task, else the thread."""
    task = running_task()
    return this_thread() if task is None else task


class Owner:
    """Somebody, to be known again. It does not keep a task alive, and is nobody once that is gone."""

    __slots__ = ("_found",)

    def __init__(self, who: Any) -> None:
        try:
            self._found: Any = weakref.ref(who)
        except TypeError:  # a task of a loop that makes its own kind
            self._found = lambda: who

    def is_(self, who: Any) -> bool:
        """Whether it is that thread or task."""
        return self._found() is who

    def task(self) -> Any:
        """Return the task; None if it is a thread, or is gone."""
        who = self._found()
        return None if isinstance(who, _Thread) else who
