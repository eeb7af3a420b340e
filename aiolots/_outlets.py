"""Where a watchdog's report goes: without waiting for a lock, nor for who does not read."""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

_PIECE = 2048  # bytes: a pipe that is writable takes that many without waiting
_PATIENCE = 2.0  # seconds for the standard error to take a report, and for logging

_log = logging.getLogger("aiolots")


def write(descriptor: int, text: str, seconds: float = _PATIENCE) -> bool:
    """Write a text, as far as that goes within some seconds. Whether it was all of it."""
    data, end = text.encode(errors="backslashreplace"), time.monotonic() + seconds
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    with contextlib.suppress(OSError):
        while data and (left := end - time.monotonic()) > 0:
            if poll.poll(int(left * 1000) + 1):
                data = data[os.write(descriptor, data[:_PIECE]) :]
    return not data


class Log:
    """Logs from a thread of its own: handlers take locks, which may be what everybody waits for. Then it goes to the standard
    error instead."""

    def __init__(self) -> None:
        self._texts: deque[str] = deque()
        self._some = threading.Event()
        self._ended = False
        threading.Thread(target=self._run, name="aiolots-log", daemon=True).start()

    def __call__(self, text: str) -> None:
        """Have it logged as CRITICAL, to the logger "aiolots". Waits until it is, but not for long."""
        logged = threading.Event()
        self._texts.append(text)
        self._done = logged
        self._some.set()
        if not logged.wait(_PATIENCE):
            write(2, text)

    def end(self) -> None:
        """The thread ends, when it has logged what there is."""
        self._ended = True
        self._some.set()

    def _run(self) -> None:
        while not self._ended:
            self._some.wait()
            self._some.clear()
            while self._texts:
                done = self._done
                _log.critical("%s", self._texts.popleft().rstrip("\n"))
                done.set()


def to_file(path: Path) -> Callable[[str], None]:
    """Return what appends a report to a file (mode 0600), and says so on the standard error."""

    def dump(text: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(path, flags, 0o600)
        except OSError as error:
            write(2, f"aiolots watchdog: {path}: {error.strerror}; the report:\n{text}")
            return
        try:
            write(descriptor, f"{time.strftime('%Y-%m-%d %H:%M:%S')} process {os.getpid()}\n{text}\n")
        finally:
            os.close(descriptor)
        write(2, f"{text.splitlines()[0]}\naiolots watchdog: the report is in {path}\n")

    return dump


def abort(text: str) -> None:
    """Write a report to the standard error, with what the interpreter says of its threads, and abort the process."""
    if write(2, text):
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            faulthandler.dump_traceback(2)
    os.abort()
