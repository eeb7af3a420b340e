"""What the tests of tracking share: tracking on for a test, and where a line is."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aiolots import _track, tracking

NATIVE_RECORDS = 2  # the place of the records in what track_count gives


@pytest.fixture
def tracked() -> Iterator[None]:
    """Every lock is tracked; the lock order is new before, and forgotten afterwards."""
    tracking.reset()
    tracking.enable()
    try:
        yield
    finally:
        tracking.disable()
        tracking.reset()


def records() -> int:
    """Return how many holds are noted."""
    return int(_track.functions.track_count()[NATIVE_RECORDS])


def locks_known() -> int:
    """Return how many locks are known."""
    return int(_track.functions.track_count()[0])


def owners_known() -> int:
    """Return how many owners are known."""
    return int(_track.functions.track_count()[1])


def line(offset: int = 0) -> str:
    """Return "file:line in function" of the line of the caller, or of one so far from it."""
    frame = sys._getframe(1)
    return f"{frame.f_code.co_filename}:{frame.f_lineno + offset} in {frame.f_code.co_qualname}"


def line_with(function: Callable[..., Any], text: str) -> str:
    """Return "file:line in function" of the one line of a function's source that ends with that text."""
    source, first = inspect.getsourcelines(function)
    (number,) = [first + i for i, code in enumerate(source) if code.rstrip().endswith(text)]
    return f"{inspect.getsourcefile(function)}:{number} in {function.__qualname__}"
