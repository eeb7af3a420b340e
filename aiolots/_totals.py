"""What is exported: the counts of all locks of one label together, those of locks that are gone among them.

A counter that is exported must not go down: whoever reads it takes that for a new process. So a lock's label is that of its
first wait, for good; and should a lock vanish between two looks at it, the last number that was told is told again.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from typing import Any, NamedTuple

from aiolots._contention import NOTHING, Counts, gone, read
from aiolots._lib import NULL
from aiolots._waiters import MODE_NAMES, _infos, contended, contended_locks


class Series(NamedTuple):
    """What one series of numbers is of."""

    lock: str  # a label
    mode: str
    waiter: str  # "thread" or "task"


class Pending(NamedTuple):
    """Who waits now."""

    waiters: int
    oldest: float  # for how long, whoever has waited longest; seconds


_told: dict[Series, Counts] = {}


def totals() -> dict[Series, Counts]:
    """Return what has been counted since the process began, or was forked."""
    global _told  # noqa: PLW0603
    locks = contended_locks()  # alive until the end: so none of them becomes one of those that are gone
    records: defaultdict[Series, list[Any]] = defaultdict(list)
    kept = [(of_lock.label, of_lock.records) for lock in locks if (of_lock := lock._kept) is not None]
    for label, of_label in [*list(gone.items()), *kept]:
        for (mode, is_task), record in list(of_label.items()):
            records[series_of(label, mode, is_task)].append(record)
    found = {series: _not_less(read(*of_series), _told.get(series, NOTHING)) for series, of_series in records.items()}
    _told = found  # of labels that are no more, there being too many, nothing
    return {series: counts for series, counts in found.items() if counts.longest_ns or counts.revocations}


def pending() -> dict[Series, Pending]:
    """Return who waits for locks now; of locks that somebody has waited for before nobody, if nobody does."""
    waiting: defaultdict[Series, list[int]] = defaultdict(list)
    for info in _infos(NULL):
        lock = contended.get(info.word)
        if lock is not None and lock._kept is not None and not info.expects:
            waiting[series_of(lock._kept.label, info.mode, bool(info.is_task))].append(info.since)
    now = time.monotonic()
    found = {series: Pending(len(since), max(0.0, now - min(since) / 1e9)) for series, since in waiting.items()}
    return {series: Pending(0, 0.0) for series in _told} | found


def series_of(label: str, mode: int, is_task: bool) -> Series:
    """Return what a kind of waits, or of holds, is exported as."""
    return Series(label, MODE_NAMES[mode], "task" if is_task else "thread")


def _not_less(now: Counts, before: Counts) -> Counts:
    both: Any = (now, before)
    higher = Counts(*map(max, *both))
    return higher._replace(buckets=tuple(map(max, now.buckets, before.buckets)))


def _begin_again() -> None:
    global _told  # noqa: PLW0603
    _told = {}


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_again)
