"""Who holds which lock, since when, taken where; and locks that are taken in different orders.

    aiolots.tracking.enable()               # every lock from now on; or AIOLOTS_TRACK=1; or RwLock(..., track=True) for one

    for holder in aiolots.tracking.holders(lock):
        print(holder)                       # thread or task, mode, seconds, file and line
        print("\\n".join(holder.stack))      # where it is now

    for inversion in aiolots.tracking.inversions():
        print(inversion)                    # A, then B here; B, then A there: also logged once, as WARNING

    print(lock.statistics().holds)          # how often it was acquired, and held for how long: docs/telemetry.md

Off, an acquire looks at one flag. On, an uncontended one takes up to twice as long. What was acquired before is not known. A
LockTimeout, and a deadlock's report, say who holds the lock and where it was taken as far as it is tracked.

The order is looked at as the Linux kernel's lockdep does: it is enough that two orders were seen, at whatever times. Who only
tries (`try_x()`, `acquire(False)`) or waits for a time adds no order, for it does not wait for ever; what it got is held all
the same. Readers keep each other out only where a writer can come in between: an order of reads counts once somebody was seen
to wait to write. Locks with the same `lock_class="..."` are one for this purpose: thousands of locks, one for each key, are a
class. Of two of a class, one within the other is reported once, unless allow_nesting says that they have an order of their own.
It is taken for granted that who acquires also releases: a guard that is given away still counts as its first owner's.
"""

from __future__ import annotations

import operator
import os
from typing import Any

from aiolots import _lock_order, _track
from aiolots._lock_order import Inversion, Order
from aiolots._track import HolderInfo

__all__ = [
    "HolderInfo",
    "Inversion",
    "Order",
    "allow_nesting",
    "disable",
    "enable",
    "holders",
    "inversions",
    "is_enabled",
    "reset",
    "sample_holds",
]

_MOST_SELDOM = 1_000_000


def enable() -> None:
    """Track every lock of the process: what is acquired from now on. Never waits."""
    _track.functions.track_switch(True)


def disable() -> None:
    """Track only locks that were made with `track=True`. What is held is known until it is released. Never waits."""
    _track.functions.track_switch(False)


def is_enabled() -> bool:
    """Return whether every lock of the process is tracked. Never waits."""
    return bool(_track.functions.track_is_on())


def holders(lock: Any) -> tuple[HolderInfo, ...]:
    """Return who holds a lock, as far as it was tracked when it was acquired, who came first at the beginning.

    Empty if nobody does, or if it was not tracked. Takes no lock, never waits; from any thread or task. It tells of one moment
    that may be over when it returns. TypeError for what is no lock.
    """
    if not hasattr(lock, "word"):
        raise TypeError(f"holders(lock): an RwLock or a mutex, not {lock!r}")
    return tuple(_track.infos(lock)[0])


def inversions() -> tuple[Inversion, ...]:
    """Return the inversions of the lock order that were found since the last reset(), up to 1000, each once.

    Works on what is new first, which may take a moment; waits for whoever is at that already, up to a second. Takes no lock.
    """
    _lock_order.wait_settled()
    return tuple(_lock_order.found)


def allow_nesting(lock_class: str) -> None:
    """Say that locks of a class are taken one within another in an order of their own: that is not reported. Never waits."""
    _lock_order.graph.nestable.add(lock_class)


def reset() -> None:
    """Forget the lock order and its inversions, as if nothing had been taken yet; for tests. Holders stay known."""
    _track.functions.track_reset()
    _lock_order.wait_settled()
    _lock_order.reset()


def sample_holds(every: int | None) -> int | None:
    """Take the length of one hold of so many, for statistics() and the exporters; None: of none. Returns what it was.

    64, to begin with. It takes two looks at the exact clock, some 25 ns each. For every lock that is tracked, and for what is
    acquired from now on: the first hold of each lock, mode and colour is timed, then one of `every` on average, at random.
    A hold that is timed stays so, whatever is switched until it ends. ValueError below 1 or above a million. Never waits.
    """
    if every is not None and not 1 <= every <= _MOST_SELDOM:
        raise ValueError(f"one hold of 1 to {_MOST_SELDOM:,} is timed, or none (None), not one of {every!r}")
    return int(_track.functions.track_sample(0 if every is None else operator.index(every))) or None


def start_as_environment_says() -> None:
    """AIOLOTS_TRACK=1 tracks every lock from the beginning."""
    if os.environ.get("AIOLOTS_TRACK", "0") not in ("", "0"):
        enable()
