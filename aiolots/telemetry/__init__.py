"""What waiting for locks costs: numbers of all locks that anybody had to wait for, and a callback for each wait that ends.

    for lock in aiolots.telemetry.snapshot():                  # now, from any thread
        print(lock.label, lock.statistics.contended, lock.statistics.longest_wait_at)

    unsubscribe = aiolots.telemetry.on_timeout(print)          # from now on

    aiolots.telemetry.troubles()                               # deadlocks, corrupt words, locks left behind

The numbers are counted always, by who waits anyway; an acquire of a free lock takes no part in it. How long locks are held, and
how often they are acquired, is counted of those that are tracked (aiolots.tracking). `telemetry.prometheus` and
`telemetry.opentelemetry` export it all, with the libraries of that name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from aiolots import _events, _troubles
from aiolots._events import LockEvent
from aiolots._statistics import BOUNDS, HoldStatistics, LockStatistics, WaitStatistics, statistics_of
from aiolots._waiters import contended_locks


@dataclass(frozen=True)
class LockSnapshot:
    """One lock at one moment.

    Attributes:
        kind: its class: "RwLock", "Mutex"...
        name: its name, or None.
        label: what metrics call it: its name, or its class; as it was at its first wait.
        statistics: what its statistics() returns.
    """

    kind: str
    name: str | None
    label: str
    statistics: LockStatistics


@dataclass(frozen=True)
class EventCounts:
    """What became of the events, since the process began, or was forked.

    Attributes:
        delivered: calls of callbacks that returned.
        failed: calls of callbacks that raised. The first failure of each is logged, to the logger "aiolots".
        dropped: events that came while 10,000 others were queued, or could not be made; nobody has heard of them.
    """

    delivered: int
    failed: int
    dropped: int


@dataclass(frozen=True)
class LockTroubles:
    """What was found with the locks of one label, since the process began, or was forked.

    Attributes:
        label: their name, or their class; "(no lock)" for a cycle of joins and awaits alone.
        deadlocks: confirmed cycles in which one of them was waited for, each once, whoever found it (the watcher, check(),
            the console, the pytest plugin); and waits for them that were refused at once (DeadlockError).
        corruptions: impossible words, each once for a lock: by LockCorruption, audit() or the console.
        abandoned: guards that were collected while they held (ResourceWarning), and holders that had ended while somebody
            waited (found by the console and the watchdog), once for each such hold.
    """

    label: str
    deadlocks: int
    corruptions: int
    abandoned: int


def troubles() -> list[LockTroubles]:
    """Return what was found with locks, by label; none: an empty list. It does not look for any. Never waits."""
    return [LockTroubles(label, *found) for label, found in sorted(_troubles.counts().items())]


def snapshot() -> list[LockSnapshot]:
    """Return every lock that anybody ever had to wait for and that is alive, with its statistics. Never waits.

    A lock that never was contended is not among them, for nobody knows it.
    """
    return [
        LockSnapshot(type(lock).__name__, lock.name, kept.label, statistics_of(lock))
        for lock in contended_locks()
        if (kept := lock._kept) is not None
    ]


def on_timeout(callback: Callable[[LockEvent], object]) -> Callable[[], None]:
    """Call `callback(event)` for each wait that ends because its time is up. Returns a function that ends that.

    It is called by a daemon thread of its own, soon after: within a tenth of a second on an idle machine. There it may do
    what it likes, and take locks, without any effect on who waited; events of its own waits are not told. What it raises is
    logged once, and counted (`counts`). Events that it is too slow for are dropped, and counted; events that are queued when
    the process exits are lost. A forked child has the same callbacks, and a thread of its own. TypeError if it is not
    callable. Never waits for a lock.
    """
    return _events.subscribe(callback, _events.TIMED_OUT)


def on_contention(callback: Callable[[LockEvent], object]) -> Callable[[], None]:
    """Call `callback(event)` for each wait that ends, however it does: `event.outcome` says how. All else as on_timeout."""
    return _events.subscribe(callback, _events.ALL)


def counts() -> EventCounts:
    """Return how many events were told, and how many were not. Never waits."""
    return EventCounts(int(_events.delivered), int(_events.failures), int(_events.dropped))


__all__ = [
    "BOUNDS",
    "EventCounts",
    "HoldStatistics",
    "LockEvent",
    "LockSnapshot",
    "LockStatistics",
    "LockTroubles",
    "WaitStatistics",
    "counts",
    "on_contention",
    "on_timeout",
    "snapshot",
    "troubles",
]
