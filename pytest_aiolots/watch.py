"""Looks for deadlocks and for the end of a test's time while it runs, and has it fail.

A thread of this process looks. It cannot fail a test itself: the thread that runs the test must, which may be parked in a
lock, or asleep in a join or an event loop. So it is sent SIGURG, whose handler raises there: a signal that is ignored by
default, which next to nobody uses (Go's scheduler chose it for that), and not SIGALRM, which pytest-timeout has. Should the
test not end for that, it is sent again; should it never end, or run where no signal gets to it, the process writes the
report and ends.

A deadlock that goes on after the test was made to fail would be there for all tests to come, and its threads would keep the
process from ending: they get a DeadlockError, each in its wait.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import pytest

from aiolots import DeadlockError, _cycles, _telling, _troubles, _wait_graph
from aiolots import _task_graph as tasks_of
from aiolots._cycles import Cycle
from pytest_aiolots.report import hang_report, text_of
from pytest_aiolots.settings import ERROR, OFF, Settings

INTERVAL = 0.1  # seconds between two looks
AGAIN = 1.0  # seconds until a test that goes on is made to fail once more
PATIENCE = 10.0  # seconds until a test that was made to fail, and has a limit, is given up
SIGNAL = getattr(signal, "SIGURG", None)

Key = frozenset[object]
_BROKEN = "it was in a deadlock, which made a test fail"


@dataclass
class Running:
    """A test that runs, as the watcher sees it.

    Attributes:
        tell: called from the watcher's thread with what is only to be warned of.
        phase: what of it runs now: "setup", "call" or "teardown"; "" between them, where nothing can be raised.
        deadline: of time.monotonic(); None: as long as it takes.
        debugged: somebody looks at it in a debugger, and takes the time that it takes.
        why: what this phase is to fail with.
    """

    nodeid: str
    settings: Settings
    tell: Callable[[str], None]
    phase: str = ""
    deadline: float | None = None
    debugged: bool = False
    why: str = ""
    cycles: set[Key] = field(default_factory=set[Key])  # that it was made to fail for
    failing_since: float = 0.0
    sent: float = 0.0
    to_raise: bool = False
    tried: bool = False  # in this phase

    def enter(self, phase: str) -> None:
        """A phase begins."""
        self.tried, self.phase = False, phase  # `why` may have come a moment ago

    def leave(self) -> str:
        """It has ended. Returns what it should have failed with, if anything; what comes then has a limit of its own."""
        self.phase, self.to_raise = "", False
        why, self.why = self.why, ""
        if why and self.deadline is not None:
            self.deadline = time.monotonic() + self.settings.timeout
        return why


class Watch:
    """The thread that looks, and the signal handler by which it reaches the one that runs tests."""

    def __init__(self, give_up: Callable[[str], None]) -> None:
        """`give_up` is called with a report when a test cannot be made to fail; it is not to return."""
        self._give_up = give_up
        self._running: Running | None = None
        self._look_now = threading.Event()
        self._ended = False
        self._known: set[Key] = set()  # cycles that were reported, or there before
        self._since: dict[object, float] = {}
        self._main = threading.get_ident()
        self._before: Any = None
        self.has_signal = SIGNAL is not None and threading.current_thread() is threading.main_thread()
        if self.has_signal and SIGNAL is not None:
            self._before = signal.signal(SIGNAL, self._raise)
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._run, name="pytest-aiolots", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """End the thread, and give the signal back."""
        self._running, self._ended = None, True
        self._look_now.set()
        self._thread.join()
        if self.has_signal and SIGNAL is not None and signal.getsignal(SIGNAL) == self._raise:
            signal.signal(SIGNAL, signal.SIG_DFL if self._before is None else self._before)

    def begin(self, test: Running) -> None:
        """A test begins. Deadlocks that are there already are none of its own."""
        if test.settings.deadlock != OFF and _wait_graph.tickets():
            self._known |= {key for _, key, _ in _find(self._seconds)}
        self._running = test

    def over(self) -> None:
        """It has ended. A deadlock of its that goes on is ended too, or it would be there for all tests to come."""
        test, self._running = self._running, None
        end = time.monotonic() + AGAIN
        while test is not None and test.cycles and time.monotonic() < end:
            left = [nodes for _, key, nodes in _find(self._seconds) if key in test.cycles]
            if not left:
                return
            for nodes in left:
                self._break(nodes)
            time.sleep(INTERVAL)

    # --- the thread that looks -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._ended:
            self._look_now.wait(INTERVAL)
            test = self._running
            if test is not None and not test.debugged and not _is_debugging():
                self._look(test)

    def _look(self, test: Running) -> None:
        now = time.monotonic()
        cycles = self._cycles(now) if test.settings.deadlock != OFF else []
        new = [found for found in cycles if found[1] not in self._known]
        self._known |= {key for _, key, _ in cycles}
        if new and test.settings.deadlock == ERROR:
            test.cycles |= {key for _, key, _ in new}
            self._fail(test, "\n".join(text_of(cycle) for cycle, _, _ in new), now)
        elif new:
            for cycle, _, _ in new:
                test.tell(text_of(cycle))
        elif test.why:
            if now - test.sent >= AGAIN:
                self._fail_again(test, [nodes for _, key, nodes in cycles if key in test.cycles], now)
        elif test.deadline is not None and now >= test.deadline:
            self._fail(test, f"did not end within {test.settings.timeout:g} s\n{hang_report()}", now)

    def _fail_again(self, test: Running, cycles: list[list[tuple[str, int]]], now: float) -> None:
        """It was made to fail, but this phase of it goes on."""
        if now - test.failing_since > PATIENCE and (cycles or test.deadline is not None):
            self._end_the_process(test)
        for nodes in cycles:
            self._break(nodes)
        self._send(test, now)

    def _cycles(self, now: float) -> list[tuple[Cycle, Key, list[tuple[str, int]]]]:
        self._since = {ticket: self._since.get(ticket, now) for ticket in _wait_graph.tickets()}
        if not self._since or min(self._since.values()) == now:
            return []  # nobody waits for a lock, or not for long
        return _find(self._seconds)

    def _seconds(self, wait: _wait_graph.Wait) -> float | None:
        since = self._since.get(wait.identity) if wait.lock is not None else None
        return None if since is None else time.monotonic() - since

    def _fail(self, test: Running, why: str, now: float) -> None:
        if test.phase and test is self._running:  # else it is looked at again
            test.why, test.failing_since = why, now
            self._send(test, now)

    def _send(self, test: Running, now: float) -> None:
        test.sent, test.to_raise = now, True
        if not self.has_signal or SIGNAL is None or signal.getsignal(SIGNAL) != self._raise:
            self._end_the_process(test)
        else:
            signal.pthread_kill(self._main, SIGNAL)

    def _raise(self, _signal: int, _frame: FrameType | None) -> None:
        __tracebackhide__ = True
        test = self._running
        if test is not None and test.to_raise and test.phase and os.getpid() == self._pid:
            test.to_raise, first = False, not test.tried
            test.tried = True
            waits = tasks_of.main_task_that_waits_here() if first else None
            if waits is None:
                pytest.fail(message(test.why))
            tasks_of.end_wait_soon(waits, pytest.fail.Exception(message(test.why)))  # raised here, it would break trio

    def _end_the_process(self, test: Running) -> None:
        self._give_up(f"{test.nodeid}: {message(test.why)}")

    def _break(self, nodes: list[tuple[str, int]]) -> None:
        """The test has failed, and they wait still: end the waits that nobody else will end."""
        for kind, number in nodes:
            if kind == "thread" and number != self._main:
                raise_in_thread(number, _BROKEN)
            elif kind == "task":
                for task in tasks_of.every_task():
                    if id(task) == number:
                        tasks_of.end_wait_soon(task, DeadlockError(_BROKEN))


def message(why: str) -> str:
    """Return what a test fails with."""
    return f"aiolots: {why}"


def _find(seconds_of: Callable[[_wait_graph.Wait], float | None]) -> list[tuple[Cycle, Key, list[tuple[str, int]]]]:
    """As aiolots.deadlock.check does, with what tells the cycles apart and who is in them."""
    with _wait_graph.look(ask=_telling.PATIENCE) as first:
        if not first.stuck or not (cycles := _wait_graph.cycles(first)):
            return []
        with _wait_graph.look(ask=_telling.PATIENCE) as later:
            confirmed = [cycle for cycle in cycles if _wait_graph.is_confirmed(cycle, later)]
            for cycle in confirmed:
                _troubles.deadlock(cycle)
            return [
                (
                    _cycles.report(cycle, later, seconds_of),
                    frozenset(step.need.wait.identity for step in cycle),
                    [step.node for step in cycle],
                )
                for cycle in confirmed
            ]


def raise_in_thread(ident: int, why: str) -> None:
    """Raise a DeadlockError in another thread, also in its wait for a lock."""

    class Broken(DeadlockError):
        def __init__(self) -> None:
            super().__init__(why)

    Broken.__name__ = Broken.__qualname__ = "DeadlockError"
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(Broken))
    if SIGNAL is not None:
        signal.pthread_kill(ident, SIGNAL)  # it sleeps in a futex, and looks when that ends


def _is_debugging() -> bool:
    """Whether a debugger has hold of this process: then tests take their time."""
    pydevd = sys.modules.get("pydevd")
    if pydevd is not None and getattr(pydevd, "connected", True):
        return True
    monitoring = getattr(sys, "monitoring", None)
    return monitoring is not None and monitoring.get_tool(monitoring.DEBUGGER_ID) is not None
