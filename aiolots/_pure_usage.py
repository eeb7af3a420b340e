"""How often tracked locks were acquired and how long they were held, for the front in Python: what csrc/python/usage.c is for
the other one, with the same functions and the same rules, which stand there.

The records are the core's: `acquired` are all acquisitions, the rest is of those holds that were timed.
"""

from __future__ import annotations

import random
import time
from typing import Any

from aiolots._contention import ONE, Gone, Kept, Kind, forget_the_gone, read
from aiolots._lib import CONTENTION, WAIT_BUCKETS, ffi, lib
from aiolots._living import locks

_SHORTEST = 10  # as in csrc/contention.c

_every = 64  # 0: no hold is timed
_dice = random.Random()  # our own: users may have a seed in theirs
_gone: Gone = {}


class Uses(Kept):
    """What is counted of one lock, and whose turn it is to be timed."""

    __slots__ = ("_every", "_left")

    def __init__(self, label: str) -> None:
        super().__init__(label, _gone)
        self._left: dict[Kind, int] = {}
        self._every = _every

    def begins(self, mode: int, is_task: bool) -> int:
        """Count a hold. Returns when it began, if it is timed; else 0."""
        lib.lots_contention_add(self.record(mode, is_task), ONE)
        if self._every != _every:
            self._every = _every
            self._left.clear()
        if not self._every:
            return 0
        kind = (mode, is_task)
        left = self._left.get(kind, 1) - 1  # of two at a time both may be timed, or one too few: nothing hangs on it
        self._left[kind] = left or _dice.randint(1, 2 * self._every - 1)
        return 0 if left else time.monotonic_ns()

    def ends(self, mode: int, is_task: bool, timed: int) -> None:
        """A hold that was timed has ended."""
        ns = max(1, time.monotonic_ns() - timed)
        one = ffi.new(CONTENTION)
        one.waited_ns = one.longest_ns = ns
        one.buckets[min(max(0, ns.bit_length() - _SHORTEST), WAIT_BUCKETS - 1)] = 1
        lib.lots_contention_add(self.record(mode, is_task), one)


def _uses_of(lock: Any) -> Uses | None:
    return None if lock._tracked is None else lock._tracked.uses


def track_usage(lock: Any) -> list[tuple[Any, ...]]:
    """Return what is counted of each kind of holds: of a lock, or (None) of all that there ever were, by their label."""
    if lock is not None:
        kept = [] if (uses := _uses_of(lock)) is None else [(uses.label, uses.records)]
        found: list[Any] = []
    else:
        found = locks()  # alive until the end: so none of them becomes one of those that are gone
        kept = [(uses.label, uses.records) for each in found if (uses := _uses_of(each)) is not None]
        kept += list(_gone.items())
    sums: dict[tuple[str, Kind], list[Any]] = {}
    for label, records in kept:
        for kind, record in list(records.items()):
            sums.setdefault((label, kind), []).append(record)
    counted = ((label, kind, read(*of_both)) for (label, kind), of_both in sums.items())
    return [
        (label, mode, is_task, counts.acquired, counts.waited_ns, counts.longest_ns, counts.buckets)
        for label, (mode, is_task), counts in counted
        if counts.acquired
    ]


def track_sample(every: int) -> int:
    """Time one hold of so many; 0: none. Returns what it was."""
    global _every
    before, _every = _every, every
    return before


def forked() -> None:
    """In a forked child all begins at nothing."""
    forget_the_gone(_gone)
    for lock in locks():
        if (uses := _uses_of(lock)) is not None:
            uses.forget()


__all__ = ["Uses", "forked", "track_sample", "track_usage"]
