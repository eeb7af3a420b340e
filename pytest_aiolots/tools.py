"""What looks at tests, once aiolots is there to be looked at: this imports it."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import pytest

from aiolots import _blocking, _pure, _pure_locks, _wait
from pytest_aiolots.held import Baseline, words
from pytest_aiolots.loop_block import noted
from pytest_aiolots.order import Orders
from pytest_aiolots.settings import ERROR, OFF, AiolotsWarning, Settings
from pytest_aiolots.watch import Running, Watch, message


class Tools:
    """Those of one run of pytest."""

    def __init__(self, write: Callable[[str], None], give_up: Callable[[str], None]) -> None:
        """`write` shows a text at once, `give_up` ends the process with one."""
        self._write = write
        self._give_up = give_up
        self._watch: Watch | None = None
        self._orders = Orders()
        self._baseline: Baseline | None = None
        self._test: Running | None = None
        self._failed = False
        for ours in (_blocking, _pure, _pure_locks, _wait):  # pytest is to show where the user's code waits
            ours.__dict__["__tracebackhide__"] = True

    def begin(self, item: pytest.Item, settings: Settings, *, imported_it: bool) -> None:
        """A test begins: once for each. One that `imported_it`, aiolots, has run already, and there was no lock before it."""
        self._failed = False
        self._baseline = None if settings.held == OFF else Baseline.of_nothing() if imported_it else Baseline.now()
        self._orders.begin(wanted=settings.order != OFF)
        test = self._test = Running(item.nodeid, settings, lambda text: self._write(f"{item.nodeid}: {message(text)}\n"))
        if settings.timeout > 0:
            test.deadline = time.monotonic() + settings.timeout
        if settings.watches:
            if self._watch is None:
                self._watch = Watch(self._give_up)
            self._watch.begin(test)
        elif self._watch is not None:  # who wants to be alone, perhaps to fork, is
            self._watch.end()
            self._watch = None

    def over(self) -> None:
        """It has ended, or was never begun."""
        if self._watch is not None:
            self._watch.over()
        self._test = self._baseline = None

    def end(self) -> None:
        """No test comes any more."""
        if self._watch is not None:
            self._watch.end()
            self._watch = None
        self._orders.end()

    def debugged(self) -> None:
        """Somebody looks at this test in a debugger."""
        if self._test is not None:
            self._test.debugged = True

    def runs(self, phase: str) -> Generator[None, Any, Any]:
        """Around a phase of a test: it fails with what was found meanwhile, if it did not fail by itself."""
        test = self._test
        assert test is not None
        blocked: list[str] = []
        why = ""
        try:
            with _looking_for_blocked_loops(blocked, test.settings):
                test.enter(phase)
                try:
                    result = yield
                finally:
                    why = test.leave()
        except BaseException as error:
            self._failed = True
            if why and not isinstance(error, pytest.fail.Exception):  # an event loop's own way of being interrupted
                raise pytest.fail.Exception(message(why), pytrace=False) from error
            raise
        if why:
            self._failed = True
            pytest.fail(message(why), pytrace=False)
        if blocked:
            self._found(test.settings.loop_block, "an event loop was blocked: " + "\n".join(blocked))
        if phase == "call" and (inversions := self._orders.found()):
            self._found(test.settings.order, "\n".join(inversions))
        if phase == "teardown" and not self._failed and self._baseline is not None and (left := self._baseline.left()):
            many = "a lock is" if len(left) == 1 else f"{len(left)} locks are"
            self._found(test.settings.held, f"{many} left held: " + "\n    ".join(["", *left] if len(left) > 1 else left))
        return result

    def _found(self, level: str, what: str) -> None:
        if level == ERROR:
            self._failed = True
            pytest.fail(message(what), pytrace=False)
        warnings.warn(AiolotsWarning(message(what)), stacklevel=2)

    @contextmanager
    def wide_fixture(self) -> Generator[None]:
        """Around the setup of a fixture that outlives the test: what it takes, it keeps."""
        before = words() if self._baseline is not None else {}
        try:
            yield
        finally:
            if self._baseline is not None:
                self._baseline.allow(before)


@contextmanager
def _looking_for_blocked_loops(found: list[str], settings: Settings) -> Generator[None]:
    if settings.loop_block == OFF:
        yield
    else:
        with noted(found):
            yield

