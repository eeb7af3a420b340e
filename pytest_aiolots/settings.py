"""What is asked of a test: options, where they come from, and which of them wins.

ini < environment < command line < mark, as pytest-timeout has it; of marks the one closest to the test, for each option.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest

ERROR, WARN, OFF = LEVELS = ("error", "warn", "off")


class AiolotsWarning(pytest.PytestWarning):
    """What is wrong with a test's locks, where its settings say "warn"."""


@dataclass(frozen=True)
class Settings:
    """What is asked of a test.

    Attributes:
        deadlock: a deadlock while it runs.
        held: a lock that it leaves held.
        loop_block: a sync acquire that parks the thread of a running event loop (LoopBlockedWarning).
        order: two locks taken in both orders (aiolots.tracking).
        timeout: seconds for setup, call and teardown together; 0: as long as it takes.
    """

    deadlock: str = ERROR
    held: str = ERROR
    loop_block: str = ERROR
    order: str = OFF
    timeout: float = 0.0

    @property
    def watches(self) -> bool:
        """Whether somebody has to look while the test runs."""
        return self.deadlock != OFF or self.timeout > 0

    def wants_aiolots(self, is_there: bool) -> bool:
        """Whether there is anything to be done; a limit or the order of locks is watched even before a test imports aiolots."""
        asked_for = self.timeout > 0 or self.order != OFF
        return asked_for or (is_there and (self.deadlock, self.held, self.loop_block) != (OFF, OFF, OFF))


@dataclass(frozen=True)
class _Option:
    name: str
    help: str

    @property
    def flag(self) -> str:
        return f"--aiolots-{self.name.replace('_', '-')}"

    @property
    def ini(self) -> str:
        return f"aiolots_{self.name}"

    @property
    def variable(self) -> str:
        return f"PYTEST_AIOLOTS_{self.name.upper()}"


_OPTIONS = (
    _Option("deadlock", "a deadlock of threads and tasks while a test runs"),
    _Option("held", "a lock that a test leaves held"),
    _Option("loop_block", "a sync acquire that parks the thread of a running event loop"),
    _Option("order", "locks that a test takes in an order that is the reverse of one seen before"),
    _Option("timeout", "seconds that a test may take, with its setup and teardown; then it fails, and says who waits for what"),
)


def add_options(parser: pytest.Parser) -> None:
    """Tell pytest of all of them."""
    group = parser.getgroup("aiolots", "locks of aiolots")
    for option in _OPTIONS:
        default = getattr(Settings, option.name)
        if option.name == "timeout":
            group.addoption(option.flag, dest=option.ini, metavar="SEC", help=f"{option.help} (default: no limit)")
        elif option.name == "order":  # a flag: `--aiolots-order tests` is not to take "tests" for its value
            group.addoption(option.flag, dest=option.ini, action="store_const", const=ERROR, help=f"fail on {option.help}")
        else:
            text = f"{option.help}: fails the test, warns, or is not looked for (default: {default})"
            group.addoption(option.flag, dest=option.ini, choices=LEVELS, help=text)
        values = "a number" if option.name == "timeout" else ", ".join(LEVELS)
        parser.addini(option.ini, f"{option.help}: {values}", default=None)


def of_session(config: pytest.Config, environment: Mapping[str, str] = os.environ) -> Settings:
    """Return what the configuration file, the environment and the command line say. UsageError if they say nonsense."""
    settings = Settings()
    for option in _OPTIONS:
        sources = (
            (config.getini(option.ini), f"the ini option {option.ini}"),
            (environment.get(option.variable), f"the environment variable {option.variable}"),
            (config.getoption(option.ini), option.flag),
        )
        for value, where in sources:
            if value is not None and value != "":
                settings = _with(settings, option.name, value, where)
    return settings


def of_test(item: pytest.Item, session: Settings) -> Settings:
    """Return what the marks of a test make of the session's settings. UsageError if they say nonsense."""
    marks = list(item.iter_markers("aiolots"))
    settings = session
    for mark in reversed(marks):  # the closest last
        where = f"the mark aiolots of {item.nodeid}"
        if mark.args:
            raise pytest.UsageError(f"{where}: it takes no positional arguments")
        for name, value in mark.kwargs.items():
            settings = _with(settings, name, value, where)
    return settings


def _with(settings: Settings, name: str, value: Any, where: str) -> Settings:
    if name == "timeout":
        return replace(settings, timeout=_seconds(value, where))
    if all(name != option.name for option in _OPTIONS):
        raise pytest.UsageError(f"{where}: {name} is none of {', '.join(option.name for option in _OPTIONS)}")
    if value not in LEVELS:
        raise pytest.UsageError(f"{where}: {name} is one of {', '.join(LEVELS)}, not {value!r}")
    changes: dict[str, Any] = {name: value}
    return replace(settings, **changes)


def _seconds(value: Any, where: str) -> float:
    try:
        seconds = 0.0 if value is None else float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not seconds >= 0:
        raise pytest.UsageError(f"{where}: the timeout is a number of seconds, not {value!r}")
    return 0.0 if math.isinf(seconds) else seconds
