"""How often tracked locks were acquired, and for how long they were held: of one lock, and of all that share a label.

Both fronts count, with the records of who holds what (csrc/python/usage.c, _pure_usage.py). As in _totals.py, what was told
once is never less the next time.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from aiolots import _track
from aiolots._contention import Kind
from aiolots._lib import WAIT_BUCKETS
from aiolots._totals import Series, series_of


class Uses(NamedTuple):
    """One kind of holds, at one moment."""

    acquisitions: int
    held_ns: int  # of those that were timed, as all that follows
    longest_ns: int
    buckets: tuple[int, ...]

    @property
    def timed(self) -> int:
        """How many holds were timed, and have ended."""
        return sum(self.buckets)


NOTHING = Uses(0, 0, 0, (0,) * WAIT_BUCKETS)
_told: dict[Series, Uses] = {}


def of_lock(lock: Any) -> list[tuple[Kind, Uses]]:
    """Return what is counted of a lock, kind by kind."""
    rows = _track.functions.track_usage(lock)
    return sorted(((mode, is_task), Uses(*counts)) for _, mode, is_task, *counts in rows)


def totals() -> dict[Series, Uses]:
    """Return what has been counted of all locks, those that are gone among them, since the process began or was forked."""
    global _told  # noqa: PLW0603
    rows = _track.functions.track_usage(None)
    found = {series_of(label, mode, is_task): Uses(*counts) for label, mode, is_task, *counts in rows}
    _told = {series: _not_less(uses, _told.get(series, NOTHING)) for series, uses in found.items()}
    return _told


def _not_less(now: Uses, before: Uses) -> Uses:
    both: Any = (now, before)
    higher = Uses(*map(max, *both))
    return higher._replace(buckets=tuple(map(max, now.buckets, before.buckets)))


def _begin_again() -> None:
    global _told  # noqa: PLW0603
    _told = {}


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_again)
