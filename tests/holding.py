"""What the tests of holds share: a clock around and inside of each, and what statistics() says of them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aiolots import telemetry, tracking

SHORT = 0.001  # seconds
numbers = itertools.count()  # for names: what is told of a label goes on from test to test


def pause(seconds: float) -> None:
    """Be so long, at least: the length of holds is tested."""
    time.sleep(seconds)


@pytest.fixture(autouse=True)
def every_hold() -> Iterator[None]:
    """Every hold is timed."""
    before = tracking.sample_holds(1)
    yield
    tracking.sample_holds(before)


class Clock:
    """What a hold is at least, and at most: looks at the clock inside of it, and around it."""

    def __init__(self) -> None:
        self.least = self.most = 0.0

    def acquire(self, function: Callable[[], Any]) -> Any:
        self._before = time.monotonic_ns()
        held = function()
        self._began = time.monotonic_ns()
        return held

    def release(self, function: Callable[[], Any]) -> Any:
        ends = time.monotonic_ns()
        result = function()
        self.least += (ends - self._began) / 1e9
        self.most += (time.monotonic_ns() - self._before) / 1e9
        return result


def kinds(lock: Any) -> dict[tuple[str, str], tuple[int, int]]:
    """Return (acquisitions, timed) by mode and waiter, after a look at the sums."""
    statistics = lock.statistics()
    for hold in statistics.holds:
        assert sum(hold.histogram) == hold.timed <= hold.acquisitions
        assert len(hold.histogram) == len(telemetry.BOUNDS) + 1
        low = sum(n * (0.0, *telemetry.BOUNDS)[i] for i, n in enumerate(hold.histogram))
        high = sum(n * (*telemetry.BOUNDS, float("inf"))[i] for i, n in enumerate(hold.histogram) if n)
        assert low <= hold.total_hold <= high
        assert hold.longest_hold <= hold.total_hold <= hold.longest_hold * hold.timed * (1 + 1e-9)
    assert statistics.acquisitions == sum(hold.acquisitions for hold in statistics.holds)
    assert statistics.longest_hold == max((hold.longest_hold for hold in statistics.holds), default=0.0)
    return {(hold.mode, hold.waiter): (hold.acquisitions, hold.timed) for hold in statistics.holds}


def only(lock: Any) -> telemetry.HoldStatistics:
    kinds(lock)
    (hold,) = lock.statistics().holds
    return hold
