"""Catches what would otherwise scroll past: errors in callbacks, tasks, threads and finalizers, and lock warnings.

A run in which a task died unseen, or a guard was dropped without being released, has not gone well, whatever the
numbers say.
"""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

KEPT = 20


class _Collector(logging.Handler):
    """A log handler that keeps errors as one line each."""

    def __init__(self, troubles: list[str]) -> None:
        super().__init__(logging.ERROR)
        self.troubles = troubles

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage().splitlines()[0]
        if record.exc_info is not None and record.exc_info[0] is not None:
            text += f": {record.exc_info[0].__name__}: {record.exc_info[1]}"
        self.note(f"{record.name} logged: {text}")

    def note(self, text: str) -> None:
        if len(self.troubles) < KEPT:
            self.troubles.append(text)


@contextmanager
def collected_troubles() -> Generator[list[str]]:
    """Yield a list that fills with errors nobody awaited, for the time of the `with`."""
    collector = _Collector([])

    def note_thread(details: threading.ExceptHookArgs) -> None:
        name = details.thread.name if details.thread is not None else "a thread"
        collector.note(f"{name} died of {details.exc_type.__name__}: {details.exc_value}")

    def note_unraisable(details: UnraisableHookArgs) -> None:
        kind = type(details.exc_value).__name__
        collector.note(f"{details.err_msg or 'ignored'} {details.object!r}: {kind}: {details.exc_value}")

    def note_warning(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, ResourceWarning | RuntimeWarning):
            collector.note(f"{category.__name__} at {filename}:{lineno}: {message}")
        else:
            shown(message, category, filename, lineno, file, line)

    shown = warnings.showwarning
    root = logging.getLogger()
    hooks = threading.excepthook, sys.unraisablehook
    with warnings.catch_warnings():
        # These two are what aiolots says of leaked guards and dropped requests.
        warnings.simplefilter("always", ResourceWarning)
        warnings.simplefilter("always", RuntimeWarning)
        warnings.showwarning = note_warning
        root.addHandler(collector)
        threading.excepthook, sys.unraisablehook = note_thread, note_unraisable
        try:
            yield collector.troubles
        finally:
            threading.excepthook, sys.unraisablehook = hooks
            root.removeHandler(collector)
