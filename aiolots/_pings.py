"""Event loops that are asked to call back: which of them does not come to it.

A loop has one ping under way at most. A loop that nobody runs is not asked: it cannot call back, and need not.
"""

from __future__ import annotations

import threading
import time
import weakref
from typing import Any

from aiolots import _asyncio_graph as tasks_of
from aiolots import _loops


class Ping:
    """One loop: since when it has been asked without an answer, and which thread ran it when it answered last."""

    def __init__(self, loop: Any, library: _loops.Library) -> None:
        self._loop: Any = weakref.ref(loop)
        self._library = library
        self.asked: float | None = None
        self.ident: int | None = None

    def __call__(self) -> None:
        """Answer; on the loop's thread."""
        self.ident = threading.get_ident()
        self.asked = None

    @property
    def loop(self) -> Any:
        """The loop; None if it is gone."""
        return self._loop()

    def is_running(self) -> bool:
        """Whether some thread runs the loop."""
        loop = self.loop
        return loop is not None and self._library.is_running(loop)

    def ask(self) -> None:
        """Ask it to call back, unless it was asked, or is not running. Never waits."""
        loop = self.loop
        if loop is None or not self._library.is_running(loop):
            self.asked = None
        elif self.asked is None:
            self.asked = time.monotonic()
            try:
                self._library.call_from_a_thread(loop, self)
            except RuntimeError:  # it has ended just now
                self.asked = None

    def seconds(self) -> float:
        """Return for how long it has not come to it; 0: it has answered, or is not running."""
        asked = self.asked
        return 0.0 if asked is None or not self.is_running() else time.monotonic() - asked

    def thread(self, frames: dict[int, set[int]]) -> int | None:
        """Return the ident of the thread that runs it, if that can be known; `frames` are the ids of each thread's."""
        return tasks_of.thread_of_any(self.loop, frames) or self.ident


class Pings:
    """The pings of all loops that are known: those whose tasks had to wait for a lock once, and asyncio's of living tasks."""

    def __init__(self) -> None:
        self._known: dict[int, Ping] = {}

    def meet(self, tasks: list[Any]) -> None:
        """Ask those loops that have not answered yet: which thread runs them."""
        for ping in self._all(tasks):
            if ping.ident is None:
                ping.ask()

    def ask(self, tasks: list[Any]) -> list[Ping]:
        """Ask each loop to call back. Returns the loops that run. Never waits."""
        found = self._all(tasks)
        for ping in found:
            ping.ask()
        return [ping for ping in found if ping.is_running()]

    def _all(self, tasks: list[Any]) -> list[Ping]:
        loops = dict[int, tuple[Any, _loops.Library]]()
        for loop, library in [*_loops.every_loop(), *tasks_of.loops_of(tasks)]:
            loops.setdefault(id(loop), (loop, library))
        known = {key: ping for key, ping in self._known.items() if key in loops and ping.loop is loops[key][0]}
        self._known = known | {key: Ping(*found) for key, found in loops.items() if key not in known}
        return list(self._known.values())

    def wait(self, seconds: float) -> None:
        """Wait until all have answered, but not for longer."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and any(ping.seconds() for ping in self._known.values()):
            time.sleep(0.002)
