"""A watchdog that uses the locks of the service itself, and says why they cannot be had.

    aiolots.watchdog.start(timeout=2.0, probes=[catalog, aiolots.watchdog.probe(routes, "write"), loop, is_alive])
    aiolots.watchdog.start(timeout=2.0)         # whoever waits for a lock for that long; and event loops

A service that looks alive from outside may be hung at one lock: its health check takes another one, or none. So each probe
takes the very lock, or has the very loop call back, once every interval. One that is late is reported once, until it is in
time again: which it is, why (deadlock, dead owner, leaked guard, stuck loop, corruption, or contention), word, holders and
queue, and where all threads are.

Without `probes` no lock is taken: then it is late if anybody waits for one for longer than the timeout.

The watchdog's threads are daemons. They take no lock but the ones to be probed; those they wait for no longer than the timeout,
and keep for some microseconds. A forked child has no watchdog unless it starts one.
"""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

from aiolots import _asyncio_graph as tasks_of
from aiolots import _console_data, _console_dump, _console_path, _outlets, _probes, _threads, _wait_graph
from aiolots._causes import AWHILE, causes, deadlocks
from aiolots._moment import Moment, Since, label_of
from aiolots._pings import Ping, Pings
from aiolots._seconds import checked
from aiolots._waiters import contended

__all__ = ["Action", "is_running", "probe", "start", "stop"]

Action = Literal["log", "dump", "abort"]
_ACTIONS = ("log", "dump", "abort")


class _Watchdog:
    """A thread that tries the probes once every interval, and looks more often whether they are late."""

    def __init__(
        self, timeout: float, interval: float, probes: list[_probes.Probe] | None, report: Callable[[str], object]
    ) -> None:
        self._timeout = timeout
        self._interval = interval
        self.probes = probes
        self._report = report
        self._since = Since()
        self._pings = Pings()
        self._reported: set[str] = set()
        self._ended = threading.Event()
        self.thread = threading.Thread(target=self._run, name="aiolots-watchdog", daemon=True)

    def end(self) -> None:
        """Have the threads end, soon."""
        self._ended.set()
        for each in self.probes or ():
            each.end()
        if isinstance(self._report, _outlets.Log):
            self._report.end()

    def _run(self) -> None:
        tick = min(0.25, self._timeout / 4, self._interval)
        begin = 0.0
        while not self._ended.wait(tick):
            try:
                if (now := time.monotonic()) >= begin:
                    begin = now + self._interval
                    _threads.remember_names()
                    for each in self.probes or ():
                        each.begin(self._timeout)
                self._look()
            except Exception as error:  # noqa: BLE001
                _outlets.write(2, f"aiolots watchdog: this look failed, the next one comes: {type(error).__name__}: {error}\n")

    def _look(self) -> None:
        self._since.look()
        pings = self._pings.ask(_tasks()) if self.probes is None else []
        late = self._late(pings)
        new = [name for name in late if name not in self._reported]
        self._reported = set(late)
        if new:
            self._report(self._text(new, {address for address in late.values() if address is not None}))

    def _late(self, pings: list[Ping]) -> dict[str, int | None]:
        """Return what is late, and the addresses of the locks among that."""
        if self.probes is not None:
            late = [each for each in self.probes if each.late(self._timeout)]
            return {each.name: each.lock.address if isinstance(each, _probes.LockProbe) else None for each in late}
        now, found = time.monotonic(), dict[str, int | None]()
        for info in _wait_graph.infos_of_locks():
            lock = contended.get(info.word)
            if lock is not None and self._since.of(info, now) >= self._timeout:
                found[f"{label_of(lock)}, for somebody who waits for it"] = info.word
        return found | {f"event loop {ping.loop!r}": None for ping in pings if ping.seconds() >= self._timeout}

    def _text(self, late: list[str], suspects: set[int]) -> str:
        awhile = min(AWHILE, self._timeout)
        pings = self._pings.ask(_tasks())
        self._pings.wait(awhile)  # a lock that was late may be held where a loop is stuck
        pings += [probe.ping for probe in self.probes or () if isinstance(probe, _probes.LoopProbe)]
        pings = list({id(ping.loop): ping for ping in pings}.values())
        moment = Moment(self._since)
        cycles = deadlocks(moment)
        found = causes(moment, cycles, pings, awhile, suspects)
        answer = _console_data.locks(moment, stacks=False)
        answer |= {
            "causes": [_console_data.cause_as_json(cause) for cause in found],
            "deadlocks": [str(cycle) for cycle, _ in cycles],
            "loops": _console_data.loops(pings, moment),
            "threads": _console_data.threads(moment),
        }
        return _console_dump.report(late, self._timeout, answer)


def _tasks() -> list[Any]:
    return tasks_of.every_task() if _wait_graph._nothing_moves_while_we_look() else []


_watchdog: _Watchdog | None = None


def probe(lock: Any, mode: _probes.Mode | None = None) -> _probes.LockProbe:
    """Return a probe for `start` that takes a lock in a mode: "read", "write" or "lock".

    By default an RwLock is read: that waits for whoever waits to write, but keeps nobody out. To write it waits in the queue
    as a writer, before which new readers wait, for the timeout at most. TypeError if the lock has no such mode.
    """
    return _probes.LockProbe(lock, mode)


def start(
    timeout: float = 5.0,
    action: Action = "log",
    probes: Iterable[Any] | None = None,
    *,
    interval: float = 1.0,
    file: str | os.PathLike[str] | None = None,
) -> None:
    """Watch from a daemon thread, and report what is late by more than `timeout` seconds.

    `probes`: locks, event loops (asyncio's, uvloop's, trio's tokens), functions, and what probe() gives; each is tried once
    every `interval` seconds, in a thread of its own but for loops. A function is late if it does not return in time, raises,
    or returns False. Without them: whoever waits for a lock, and all loops that are known.

    `action`: "log" logs a report as CRITICAL to the logger "aiolots"; "dump" appends it to a file, by default PID.watchdog
    where consoles are served (aiolots.console); "abort" writes it to the standard error and aborts the process. Started
    again, the new settings hold. ValueError for a time that is not above 0 or another action, TypeError for what cannot be
    probed. Never waits.
    """
    global _watchdog  # noqa: PLW0603
    if checked(timeout) <= 0 or checked(interval) <= 0:
        raise ValueError("timeout and interval are to be above 0 seconds")
    if action not in _ACTIONS:
        raise ValueError(f"a watchdog's action is one of {', '.join(_ACTIONS)}, not {action!r}")
    report: Callable[[str], object] = _outlets.abort
    if action == "dump":
        default = _console_path.private_folder() / f"{os.getpid()}.watchdog" if file is None else Path(file)
        report = _outlets.to_file(default.absolute())
    made = None if probes is None else _probes.probes_of(probes)
    stop()
    if action == "log":
        report = _outlets.Log()
    _watchdog = _Watchdog(timeout, interval, made, report)
    _watchdog.thread.start()


def stop() -> None:
    """End watching; nothing, if nobody watches. Never waits: a look that is under way may still report."""
    global _watchdog
    watching, _watchdog = _watchdog, None
    if watching is not None:
        watching.end()


def is_running() -> bool:
    """Return whether this process has a watchdog. Never waits."""
    return _watchdog is not None


def _forget() -> None:
    global _watchdog
    watched, _watchdog = _watchdog, None  # its threads are the parent's
    for each in (watched.probes if watched is not None else None) or ():
        each.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def start_as_environment_says() -> None:
    """AIOLOTS_WATCHDOG=SECONDS logs who waits for a lock for longer, and loops that are stuck; what is no number warns."""
    text = os.environ.get("AIOLOTS_WATCHDOG", "")
    if text in ("", "0") or _console_path.only_asks():
        return
    try:
        start(float(text))
    except (ValueError, TypeError) as error:
        warnings.warn(f"AIOLOTS_WATCHDOG={text!r} is no number of seconds: nobody watches ({error})", stacklevel=2)
