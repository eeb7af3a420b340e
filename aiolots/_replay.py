"""Histograms that were counted, told to who takes values one by one only (OpenTelemetry).

What was counted since the last time becomes as many values: of each bucket as many as were in it, at places in their buckets
that make their sum the one that was. So whoever sorts them into these buckets again gets the same histogram, and the same sum
but for a millionth.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence

from aiolots import _holding
from aiolots._contention import OTHERS
from aiolots._holding import NOTHING, Uses
from aiolots._lib import WAIT_BUCKETS

_LOWS = (0, *(1024 << i for i in range(WAIT_BUCKETS - 1)))  # ns
_EDGE = 1e-6  # of a bucket: no value is on its bounds, which belong to one side only


def values_of(buckets: Sequence[int], total: int) -> Iterator[tuple[float, int]]:
    """Yield (nanoseconds, how many): values in these buckets with that sum, as far as their bounds allow."""
    *bounded, longest = buckets
    if longest:  # which has no end: whatever the others are not
        rest = total - sum(1.5 * low * count for low, count in zip(_LOWS, bounded, strict=False))
        yield max(_LOWS[-1] * (1 + _EDGE), rest / longest), longest
        share = 0.5
    else:
        least = sum(low * count for low, count in zip(_LOWS, bounded, strict=False))
        most = sum(high * count for high, count in zip(_LOWS[1:], bounded, strict=True))
        share = min(max((total - least) / (most - least), _EDGE), 1 - _EDGE) if most > least else 0.5
    for low, high, count in zip(_LOWS, _LOWS[1:], bounded, strict=False):
        if count:
            yield low + share * (high - low), count


class Replay:
    """The holds of tracked locks, from now on: told() tells what is new."""

    def __init__(self, record: Callable[[float, dict[str, str]], object]) -> None:
        """`record` is called with seconds and labels, once for each hold that was timed."""
        self._record = record
        self._told = dict(_holding.totals())  # with what was not told, for it was before
        self._process = os.getpid()
        self._not_before = 0.0

    def tell_at_times(self) -> None:
        """Tell what is new; but not if that took more than a twentieth of the time, for there are so many locks."""
        began = time.monotonic()
        if began >= self._not_before:
            self.tell()
            self._not_before = began + 20 * (time.monotonic() - began)

    def tell(self) -> None:
        """Tell what is new. By one thread."""
        now = _holding.totals()
        if self._process != os.getpid():  # forked: all has begun at nothing
            self._told, self._process = {}, os.getpid()
        for series in [series for series in self._told if series not in now]:  # there are too many labels: see usage.c
            heir = series._replace(lock=OTHERS)
            self._told[heir] = _sum(self._told.get(heir, NOTHING), self._told.pop(series))
        for series, uses in now.items():
            before = self._told.get(series, NOTHING)
            new = [max(0, a - b) for a, b in zip(uses.buckets, before.buckets, strict=True)]
            told = before.held_ns
            for ns, count in values_of(new, uses.held_ns - told) if any(new) else ():
                told += round(ns * count)
                for _ in range(count):
                    self._record(ns / 1e9, series._asdict())
            self._told[series] = uses._replace(held_ns=told)


def _sum(one: Uses, other: Uses) -> Uses:
    buckets = tuple(a + b for a, b in zip(one.buckets, other.buckets, strict=True))
    return one._replace(held_ns=one.held_ns + other.held_ns, buckets=buckets)


__all__ = ["Replay", "values_of"]
