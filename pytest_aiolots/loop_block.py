"""Sync acquires that park the thread of a running event loop, as LoopBlockedWarning tells of them.

The warnings that a test expects (pytest.warns) or ignores by a filter are not seen here: it means them.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TextIO

from aiolots import LoopBlockedWarning, _owners
from pytest_aiolots.held import holds
from pytest_aiolots.report import calls_of_tests


@contextmanager
def noted(found: list[str]) -> Generator[None]:
    """Add a report to `found` for each time that a loop is parked meanwhile, from any thread."""
    before = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, LoopBlockedWarning):
            found.append(_report(str(message), (filename, lineno)))
        before(message, category, filename, lineno, file, line)

    warnings.showwarning = show
    try:
        yield
    finally:
        if warnings.showwarning is show:
            warnings.showwarning = before


def _report(message: str, place: tuple[str, int]) -> str:
    frames = list(_frames())
    lock = next((frame.f_locals.get("lock") for frame in frames if frame.f_code.co_name == "before_blocking"), None)
    user = next((frame for frame in frames if (frame.f_code.co_filename, frame.f_lineno) == place), None)
    lines = [message, f"    taken at {place[0]}:{place[1]}"]
    lines += [f"    held: {hold}" for hold in (holds([lock]) if lock is not None else ())]
    users = _owners.stack(calls_of_tests(frames[frames.index(user) :] if user is not None else frames))
    return "\n".join([*lines, "    stack, innermost call first:", *(f"        {where}" for where in users)])


def _frames() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back
