"""The state of a lock at one moment, and what waiting for it has cost so far, as values."""

from __future__ import annotations

import operator
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

from aiolots import _holding
from aiolots._contention import Counts, Kind, read
from aiolots._lib import WAIT_BUCKETS
from aiolots._refusals import place
from aiolots._waiters import MODE_NAMES, waiters
from aiolots._word import PARKED, decode

if TYPE_CHECKING:
    from aiolots._front import LockBase

# The upper ends of the histograms' buckets, in seconds; the last bucket has none.
BOUNDS: tuple[float, ...] = tuple(2**bucket * 1024 / 1e9 for bucket in range(WAIT_BUCKETS - 1))


@dataclass(frozen=True)
class WaitStatistics:
    """What waits for a lock have cost: of one mode and colour, since the lock was made, or the process was forked.

    Attributes:
        mode: "read", "read_recursive", "write", "lock", "upgradable_read" or "upgrade".
        waiter: who waited: "thread" or "task".
        contended: acquisitions that had to wait.
        handoffs: those of them that were given the lock by its holder, instead of competing for it.
        timeouts: waits that ended because their time was up. A try that does not wait is none.
        cancellations: waits that a task's cancellation ended, a signal handler that raised in the thread, or the end of a loop.
        revocations: wakes that were taken away from tasks whose event loop came too late, or could not run.
        total_wait: how long the contended acquisitions waited, all in all, in seconds.
        longest_wait: the longest wait, however it ended, in seconds.
        histogram: how many contended acquisitions waited how long: below `telemetry.BOUNDS[0]`, below `BOUNDS[1]`..., longer.
    """

    mode: str
    waiter: Literal["thread", "task"]
    contended: int
    handoffs: int
    timeouts: int
    cancellations: int
    revocations: int
    total_wait: float
    longest_wait: float
    histogram: tuple[int, ...]


@dataclass(frozen=True)
class HoldStatistics:
    """How often a tracked lock was acquired, and held for how long: in one mode and colour, while it was tracked.

    Attributes:
        mode: "read", "read_recursive", "write", "lock", "upgradable_read"; "upgrade": it writes, and was an upgradable reader.
        waiter: with whose colour it was acquired: "thread" or "task".
        acquisitions: how many such holds began.
        timed: of how many of them the length was taken, once they had ended: tracking.sample_holds.
        total_hold: how long those were, all in all, in seconds.
        longest_hold: the longest one of them, in seconds.
        histogram: how many of them were how long: below `telemetry.BOUNDS[0]`, below `BOUNDS[1]`..., longer.
    """

    mode: str
    waiter: Literal["thread", "task"]
    acquisitions: int
    timed: int
    total_hold: float
    longest_hold: float
    histogram: tuple[int, ...]


@dataclass(frozen=True)
class LockStatistics:
    """A lock at one moment, and what waiting for it has cost since it was made, or the process was forked.

    Two are equal if they tell of the same state; what has been counted is not compared. Only what had to wait is counted:
    an acquire of a free lock costs nothing and leaves no trace. Of a tracked lock (aiolots.tracking) all acquisitions are.

    Attributes:
        locked: somebody holds it, in any mode.
        readers: how many readers hold it.
        write_locked: a writer (or the mutex's owner) holds it.
        threads_waiting: threads in its queues.
        tasks_waiting: tasks in its queues, of all event loops, with those that were woken and have not run yet.
        contended: acquisitions that had to wait.
        timeouts: waits that ended because their time was up.
        cancellations: waits that a cancellation, or a signal handler that raised, ended.
        handoffs: contended acquisitions that were given the lock by its holder, instead of competing for it.
        revocations: wakes that were taken away from tasks whose event loop came too late, or could not run.
        total_wait: how long the contended acquisitions waited, all in all, in seconds.
        longest_wait: the longest wait, however it ended, in seconds.
        longest_wait_at: where that was: `file.py:12 in function`; None if there was none.
        histogram: how many contended acquisitions waited how long: below `telemetry.BOUNDS[0]`, below `BOUNDS[1]`..., longer.
        waits: all that apart, for each mode and colour that had to wait, with the histograms.
        acquisitions: how often it was acquired while it was tracked, waited for or not.
        longest_hold: the longest of those holds that were timed, in seconds.
        holds: both apart, for each mode and colour, with the histograms.
    """

    locked: bool
    readers: int
    write_locked: bool
    threads_waiting: int
    tasks_waiting: int
    contended: int = field(default=0, compare=False)
    timeouts: int = field(default=0, compare=False)
    cancellations: int = field(default=0, compare=False)
    handoffs: int = field(default=0, compare=False)
    revocations: int = field(default=0, compare=False)
    total_wait: float = field(default=0.0, compare=False)
    longest_wait: float = field(default=0.0, compare=False)
    longest_wait_at: str | None = field(default=None, compare=False)
    histogram: tuple[int, ...] = field(default=(0,) * WAIT_BUCKETS, compare=False)
    waits: tuple[WaitStatistics, ...] = field(default=(), compare=False)
    acquisitions: int = field(default=0, compare=False)
    longest_hold: float = field(default=0.0, compare=False)
    holds: tuple[HoldStatistics, ...] = field(default=(), compare=False)

    def __repr__(self) -> str:
        # Of what was counted only what is: most locks have nothing to tell, and a histogram is mostly zeros.
        told = [(each.name, getattr(self, each.name)) for each in fields(self)]
        shown = told[:5] + [pair for pair in told[5:] if pair[1] and pair[0] not in _MANY]
        return f"LockStatistics({', '.join(f'{name}={value!r}' for name, value in shown)})"


_MANY = ("histogram", "waits", "holds")


def statistics_of(lock: LockBase[Any]) -> LockStatistics:
    """Look at word, queues and counters. They are read one after the other: under load they may tell of different moments."""
    word = decode(lock.word)
    waiting = waiters(lock)
    tasks = sum(w.is_task for w in waiting)
    waits = waits_of(lock)
    holds = tuple(_holds(kind, uses) for kind, uses in _holding.of_lock(lock))
    longest = lock._longest
    return LockStatistics(
        locked=word.write_locked or word.readers > 0,
        readers=word.readers,
        write_locked=word.write_locked,
        threads_waiting=len(waiting) - tasks,
        tasks_waiting=tasks,
        contended=sum(w.contended for w in waits),
        timeouts=sum(w.timeouts for w in waits),
        cancellations=sum(w.cancellations for w in waits),
        handoffs=sum(w.handoffs for w in waits),
        revocations=sum(w.revocations for w in waits),
        total_wait=sum(w.total_wait for w in waits),
        longest_wait=max((w.longest_wait for w in waits), default=0.0),
        longest_wait_at=None if longest is None else place(None if longest[1] is None else longest[1:]),
        histogram=tuple(map(sum, zip((0,) * WAIT_BUCKETS, *(w.histogram for w in waits), strict=True))),
        waits=waits,
        acquisitions=sum(h.acquisitions for h in holds),
        longest_hold=max((h.longest_hold for h in holds), default=0.0),
        holds=holds,
    )


def waits_of(lock: LockBase[Any]) -> tuple[WaitStatistics, ...]:
    """Return what has been counted, kind by kind; nothing of kinds that never had to wait."""
    kept = lock._kept
    records = [] if kept is None else sorted(kept.records.items(), key=operator.itemgetter(0))
    counted = ((kind, read(record)) for kind, record in records)
    return tuple(_statistics(kind, counts) for kind, counts in counted if counts.longest_ns or counts.revocations)


def _statistics(kind: Kind, counts: Counts) -> WaitStatistics:
    mode, is_task = kind
    return WaitStatistics(
        mode=MODE_NAMES[mode],
        waiter="task" if is_task else "thread",
        contended=counts.acquired,
        handoffs=counts.handoffs,
        timeouts=counts.timeouts,
        cancellations=counts.cancellations,
        revocations=counts.revocations,
        total_wait=counts.waited_ns / 1e9,
        longest_wait=counts.longest_ns / 1e9,
        histogram=counts.buckets,
    )


def _holds(kind: Kind, uses: _holding.Uses) -> HoldStatistics:
    mode, is_task = kind
    return HoldStatistics(
        mode=MODE_NAMES[mode],
        waiter="task" if is_task else "thread",
        acquisitions=uses.acquisitions,
        timed=uses.timed,
        total_hold=uses.held_ns / 1e9,
        longest_hold=uses.longest_ns / 1e9,
        histogram=uses.buckets,
    )


def describe(lock: LockBase[Any]) -> str:
    """The repr of a lock: its word, decoded."""
    name = "" if lock.name is None else f" {lock.name!r}"
    word = decode(lock.word & ~PARKED)  # the queue says it better
    waiting = sum(not w.woken for w in waiters(lock))
    return f"<aiolots.{type(lock).__name__}{name} {word}{f' waiters={waiting}' if waiting else ''}>"
