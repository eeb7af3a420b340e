"""What a watchdog tries: whether a lock can be had, a loop comes to its callbacks, a function returns; each in time.

A lock's probe takes the lock as the service does, and waits in its queue for the timeout at most. One thread for each probe
of a lock or function, so that one which is late does not keep the others waiting; who is late is judged by the watchdog's own
thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Literal, Protocol

from aiolots import _asyncio_graph as tasks_of
from aiolots import _loops
from aiolots._moment import label_of
from aiolots._pings import Ping

Mode = Literal["read", "write", "lock"]


class Probe(Protocol):
    """Something that a watchdog tries again and again."""

    name: str

    def late(self, timeout: float) -> bool:
        """Whether what was tried last has taken longer than that."""
        raise NotImplementedError

    def begin(self, timeout: float, /) -> None:
        """Try once more, unless the last try is under way. Never waits."""

    def end(self) -> None:
        """Try no more."""

    def forget(self) -> None:
        """In a forked child, where there is no thread to try: what its thread held here is released."""


class _Prober:
    """A thread that calls `attempt(timeout)` when it is told to: False means that it was too late."""

    def __init__(self, name: str, attempt: Callable[[float], bool]) -> None:
        self.name = name
        self._attempt = attempt
        self._began: float | None = None
        self._was_late = False
        self._timeout = 0.0
        self._ended = False
        self._wanted = threading.Event()
        self.thread = threading.Thread(target=self._run, name="aiolots-probe", daemon=True)
        self.thread.start()

    def begin(self, timeout: float) -> None:
        """Try once more, unless the last try is under way. Never waits."""
        if self._began is None:
            self._timeout = timeout
            self._began = time.monotonic()
            self._wanted.set()

    def late(self, timeout: float) -> bool:
        """Whether the last try has taken longer than that, or does."""
        began = self._began
        return self._was_late if began is None else self._was_late or time.monotonic() - began >= timeout

    def end(self) -> None:
        """Try no more: the thread ends, when its try does."""
        self._ended = True
        self._wanted.set()

    def forget(self) -> None:
        """In a forked child, where there is no thread to try."""

    def _run(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            if self._ended:
                return
            try:
                self._was_late = not self._attempt(self._timeout)
            except Exception:  # noqa: BLE001  # of a function; a lock whose word is corrupt refuses, too
                self._was_late = True
            self._began = None


class LockProbe(_Prober):
    """Takes a lock and lets go of it."""

    def __init__(self, lock: Any, mode: Mode | None = None) -> None:
        self.lock = lock
        if mode is None:
            mode = "read" if hasattr(lock, "try_read_for") else "lock"
        method = getattr(lock, f"try_{mode}_for", None)
        if method is None:
            raise TypeError(f"{lock!r} has no {mode}() to probe it by")
        self._method: Callable[[float], Any] = method
        self._held: list[Any] = []
        super().__init__(f"{mode} of {label_of(lock)}", self._try)

    def _try(self, timeout: float) -> bool:
        request = self._method(timeout)
        self._held.append(request)  # first: whenever a fork comes, the request itself says whether it holds
        try:
            guard = request.acquire()
            if guard is not None:
                guard.release()
        finally:  # it may raise, if another has released the lock meanwhile: the next request is another one
            self._held.clear()
        return guard is not None

    def forget(self) -> None:
        """In a forked child: what the probe's thread held at that moment nobody else would release."""
        for request in self._held:
            if request.is_held():
                request.release()


class FunctionProbe(_Prober):
    """Calls a function: late if it does not return in time, or raises, or returns False."""

    def __init__(self, function: Callable[[], object]) -> None:
        super().__init__(
            f"function {getattr(function, '__qualname__', repr(function))}", lambda _timeout: function() is not False
        )


class LoopProbe:
    """Has an event loop call back. While nobody runs the loop, it is not late."""

    def __init__(self, loop: Any) -> None:
        self.name = f"event loop {loop!r}"
        self.ping = Ping(loop, _loops.library_of(loop))

    def begin(self, _timeout: float) -> None:
        """Ask it to call back, unless it was asked. Never waits."""
        self.ping.ask()

    def late(self, timeout: float) -> bool:
        """Whether it has not come to it for that long."""
        return self.ping.seconds() >= timeout

    def end(self) -> None:
        """Ask no more."""

    def forget(self) -> None:
        """In a forked child."""


def probes_of(things: Iterable[Any]) -> list[Probe]:
    """Return the probes of all of these; of none, if there is one that cannot be probed: TypeError."""
    made: list[Probe] = []
    try:
        made.extend(map(_probe_of, things))
    except BaseException:
        for each in made:
            each.end()
        raise
    return made


def _probe_of(thing: Any) -> Probe:
    """Return the probe of a lock, an event loop, or a function; a probe as it is. TypeError for anything else."""
    if isinstance(thing, (_Prober, LoopProbe)):
        return thing
    if hasattr(thing, "word") and hasattr(thing, "address"):
        return LockProbe(thing)
    if tasks_of.is_loop(thing) or _loops.is_token(thing):
        return LoopProbe(thing)
    if callable(thing):
        return FunctionProbe(thing)
    raise TypeError(f"a watchdog probes locks, event loops and functions, not {thing!r}")
