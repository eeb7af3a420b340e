"""Timeouts: seconds in, nanoseconds on the monotonic clock out."""

from __future__ import annotations

import math
import time
from typing import SupportsFloat, cast

from aiolots._lib import NEVER

_FAR = 1e9  # seconds, thirty years: as good as never, and far from overflowing 64 bits of nanoseconds


def checked(seconds: float) -> float:
    """Return a timeout in seconds as a float; ValueError if negative or NaN, TypeError if it is no number."""
    value = _number(seconds)
    if math.isnan(value) or value < 0:
        raise ValueError(f"a timeout is a number of seconds from 0 on, not {seconds!r}")
    return value


def checked_moment(moment: float) -> float:
    """Return a moment of time.monotonic() as a float; ValueError if NaN, TypeError if it is no number."""
    value = _number(moment)
    if math.isnan(value):
        raise ValueError("a deadline is a moment of time.monotonic(), not nan")
    return value


def _number(value: object) -> float:
    # The two of every day first: to ask for the protocol takes seventy times as long.
    if not isinstance(value, (float, int, SupportsFloat)):
        raise TypeError(f"a timeout is a number of seconds, not {type(value).__name__}")
    try:
        return float(value)
    except OverflowError:  # an integer with more than 300 digits: for ever
        return math.inf if cast("float", value) > 0 else -math.inf


def is_for_ever(seconds: float | None) -> bool:
    """Whether a wait of that many seconds has no end of its own."""
    return seconds is None or seconds > _FAR


def left_until(moment: float) -> float:
    """Return the seconds from now to a moment of time.monotonic(), at least 0."""
    return max(0.0, moment - time.monotonic())


def deadline_ns(seconds: float | None) -> int:
    """Return the deadline, in the core's nanoseconds, of a wait that begins now; None and inf: never."""
    if seconds is None or seconds > _FAR:  # is_for_ever, spelled out for the type checkers
        return NEVER
    return time.monotonic_ns() + math.ceil(seconds * 1e9)
