"""Deadlocks between threads and tasks, found in the wait graph and reported with their cause.

    for cycle in aiolots.deadlock.check():
        print(cycle)

    aiolots.deadlock.start()        # watch from a thread of its own; the log gets each deadlock once, as CRITICAL

A deadlock is a cycle of threads and tasks (of asyncio, uvloop and trio) of which each waits for the next one: for a lock
that it holds, for its end (`await task`, gather, TaskGroup, Thread.join), for its result (to_thread, run_coroutine_threadsafe),
or, a task, for its loop's thread that sleeps. What is reported was seen twice, with the same tickets, futures and holders.

What is no deadlock here: a wait with a timeout, asyncio.timeout or wait_for around it, or in a scope of anyio; a wait for
whatever nobody is known to owe (an Event, a Condvar, a Semaphore, a queue, a plain future). "Each waits for the next one" is
meant as far as owners release their own guards and nobody is cancelled: a guard that another thread keeps for them could be
released by that one. A guard that tasks have in hand (a variable, a `with`) is theirs; that several have is not counted as
long as one of them can run.

What cannot be seen: who holds what was put into an object or a container in a task (then it is said to be held by a task of
the loop on that thread, and found only where that thread sleeps); a thread that never had to wait for a lock, is not the one
that imported aiolots and never called check(), but holds one while it joins another; and with the GIL switched off, the tasks
of an event loop that neither comes to its callbacks nor sleeps in a wait for a lock.

Nothing of this costs the locks anything, nor takes one. With the GIL off, and only while somebody waits without a limit, event
loops are asked for their tasks. It is for diagnosis: it makes no deadlock impossible.

Apart from it, and without a watcher: a wait that is certain to be for ever raises DeadlockError at once (docs/semantics.md);
set_immediate(False) has it wait.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable

from aiolots import _certain, _certain_tasks, _cycles, _telling, _troubles, _wait_graph, _watched
from aiolots._cycles import Cycle, Held, Owner
from aiolots._seconds import checked

__all__ = ["Cycle", "Held", "Owner", "check", "is_immediate", "is_running", "set_immediate", "start", "stop"]

_log = logging.getLogger("aiolots")

_watched.looks_at_threads(_certain_tasks.refuse)
_watched.looks_at_joined(_certain.refuse_joined)
_watched.looks_at_tasks(_certain_tasks.look_soon)
_watched.watch(_watched.DEADLOCKS, on=sys.implementation.name == "cpython")  # whose frames and references can be read


def set_immediate(on: bool) -> bool:
    """Choose whether a wait that is certain to be for ever raises DeadlockError; return what it was. On, to begin with.

    Off, it waits, for the watcher to find. What is certain: docs/semantics.md. For the whole process and from the next wait on;
    never waits.
    """
    return _watched.watch(_watched.DEADLOCKS, on=on)


def is_immediate() -> bool:
    """Return whether a wait that is certain to be for ever raises DeadlockError. Never waits."""
    return bool(_watched.flags & _watched.DEADLOCKS)


def check() -> list[Cycle]:
    """Look for deadlocks now. Returns each cycle once, of those that share an owner the shortest; none: an empty list.

    Takes no lock, and never waits; but with the GIL off, a second at most for event loops that do not answer. From any
    thread, also in a signal handler. It goes through all threads and, where anybody
    waits for a lock without a limit, through the coroutines of all tasks.
    """
    return [cycle for cycle, _ in _check(lambda _wait: None)]


def _check(
    seconds_of: Callable[[_wait_graph.Wait], float | None], patience: float = _telling.PATIENCE
) -> list[tuple[Cycle, frozenset[object]]]:
    with _wait_graph.look(ask=patience) as first:
        if not first.stuck or not (cycles := _wait_graph.cycles(first)):
            return []
        with _wait_graph.look(ask=patience) as later:
            confirmed = [cycle for cycle in cycles if _wait_graph.is_confirmed(cycle, later)]
            for cycle in confirmed:
                _troubles.deadlock(cycle)
            return [
                (_cycles.report(cycle, later, seconds_of), frozenset(step.need.wait.identity for step in cycle))
                for cycle in confirmed
            ]


class _Watch:
    """A thread that looks every half an interval, and closely where somebody was waiting at the look before."""

    def __init__(self, interval: float, on_deadlock: Callable[[Cycle], object], ends: bool) -> None:
        self._interval = interval
        self._ends = ends
        self._on_deadlock = on_deadlock
        self._ended = threading.Event()
        self._reported: set[frozenset[object]] = set()
        self._since: dict[object, float] = {}  # when each ticket was seen first
        self.thread = threading.Thread(target=self._run, name="aiolots-deadlock", daemon=True)

    def end(self) -> None:
        """Have the thread end, soon."""
        self._ended.set()

    def _run(self) -> None:
        while not self._ended.wait(self._interval / 2):
            try:
                self._look()
            except Exception:  # noqa: BLE001
                _log.exception("aiolots.deadlock: this look for deadlocks failed; the next one comes")

    def _look(self) -> None:
        now = time.monotonic()
        self._since = {ticket: self._since.get(ticket, now) for ticket in _wait_graph.tickets()}
        if self._since and min(self._since.values()) == now:
            return  # nobody waits for long; without anybody there may be a cycle of joins and awaits

        def seconds_of(wait: _wait_graph.Wait) -> float | None:
            return None if wait.lock is None else self._seconds(now, wait.identity)

        found = _check(seconds_of, _telling.LONG_PATIENCE)
        new = [(cycle, key) for cycle, key in found if key not in self._reported]
        self._reported = {key for _, key in found}
        for cycle, key in new:
            self._on_deadlock(cycle)
            if self._ends:
                _certain_tasks.end_one(key, str(cycle))

    def _seconds(self, now: float, ticket: object) -> float | None:
        since = self._since.get(ticket, now)
        return now - since if since < now else None


_watch: _Watch | None = None


def log(cycle: Cycle) -> None:
    """Log a report as CRITICAL, to the logger "aiolots"."""
    _log.critical("%s", cycle)


def abort(cycle: Cycle) -> None:
    """Write a report to the standard error and abort the process: whoever supervises it starts it again."""
    os.write(2, f"{cycle}\n".encode(errors="backslashreplace"))
    os.abort()


def start(interval: float = 1.0, on_deadlock: Callable[[Cycle], object] = log, *, end_a_task: bool = False) -> None:
    """Watch from a daemon thread, and call `on_deadlock` there once for each cycle.

    With `end_a_task`, the wait of one task of each cycle ends by DeadlockError, with the report as its text; of a cycle of
    threads alone none does: nobody but the thread itself can leave a queue safely.

    A cycle is found between half an interval and one (in seconds) after it closed. The default logs it as CRITICAL to the
    logger "aiolots". What on_deadlock raises is logged, and watching goes on. Started again, the new settings hold. A forked
    child is not watched unless it calls this. ValueError for an interval that is not above 0. Never waits.
    """
    global _watch  # noqa: PLW0603
    if checked(interval) <= 0:
        raise ValueError("the interval is to be above 0 seconds")
    stop()
    _watch = _Watch(interval, on_deadlock, end_a_task)
    _watch.thread.start()


def stop() -> None:
    """End watching; nothing, if nobody watches. Never waits: a look that is under way may still report."""
    global _watch
    watch, _watch = _watch, None
    if watch is not None:
        watch.end()


def is_running() -> bool:
    """Return whether this process is being watched. Never waits."""
    return _watch is not None


def _forget() -> None:
    global _watch  # noqa: PLW0603
    _watch = None  # its thread is the parent's


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def start_as_environment_says() -> None:
    """AIOLOTS_DEADLOCK=report logs deadlocks, =raise also ends a task's wait, =abort ends the process at the first one.

    With `wait` (alone, or as in `report,wait`) waits that are certain to be for ever are not refused. Anything else warns.
    """
    words = {word.strip() for word in os.environ.get("AIOLOTS_DEADLOCK", "").split(",")} - {""}
    if unknown := words - {"report", "raise", "abort", "wait"}:
        warnings.warn(
            f"AIOLOTS_DEADLOCK: {', '.join(sorted(unknown))} is none of report, raise, abort, wait: ignored", stacklevel=2
        )
    if "wait" in words:
        set_immediate(False)
    if "abort" in words:
        start(on_deadlock=abort)
    elif words & {"report", "raise"}:
        start(end_a_task="raise" in words)
