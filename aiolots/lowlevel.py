"""Below the locks: who waits in the parking lot, and the settings of its wakes."""

from __future__ import annotations

from aiolots import _seconds
from aiolots._lib import lib
from aiolots._waiters import Waiter, waiters

__all__ = ["Waiter", "revocations", "set_revoke_after", "waiters"]


def set_revoke_after(seconds: float) -> float:
    """Set how long a woken task may take to run before its wake goes to the next waiter (0.1 s by default).

    A loop that is stopped, closed, or busy for longer than this in one callback loses its turn, not its place. Returns the
    setting before, in seconds. For the whole process. ValueError unless positive and finite; never waits.
    """
    value = _seconds.checked(seconds)
    if value == 0 or value > 1e6:
        raise ValueError(f"the time to take up a wake is positive and finite, not {seconds!r}")
    return float(lib.lots_revoke_after(max(1, int(value * 1e9)))) / 1e9


def revocations() -> int:
    """Return how many wakes were revoked since the process began. Never waits."""
    return int(lib.lots_revocations())
