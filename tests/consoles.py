"""A process with a trouble (tests/troubles.py), and its console; for the tests of console and watchdog."""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests import troubles
from tests.waiting import WATCHDOG, Stuck

SOURCE = Path(troubles.__file__)
ROOT = SOURCE.parent.parent
PROMPTLY = 2.0  # seconds


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A private folder for sockets. Not pytest's: the path of a socket has to be short."""
    made = Path(tempfile.mkdtemp(prefix="lots-"))
    try:
        yield made
    finally:
        shutil.rmtree(made)


class Trouble:
    """The process, and where its console is."""

    def __init__(self, process: subprocess.Popen[bytes], place: Path) -> None:
        self.process = process
        self.socket = place / f"{process.pid}.sock"

    def errors_until(self, wanted: str, seconds: float = WATCHDOG) -> str:
        """Read the standard error until there is `wanted`, and no more at the moment."""
        assert self.process.stderr is not None
        return _read_until(self.process.stderr.fileno(), wanted, seconds)


@contextlib.contextmanager
def trouble(kind: str, **environment: str) -> Iterator[Trouble]:
    """Start a process with a trouble; it is there when this yields."""
    with folder() as place:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.troubles", kind],
            cwd=ROOT,
            env=os.environ | {"AIOLOTS_CONSOLE": str(place)} | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            assert process.stdout is not None
            _read_until(process.stdout.fileno(), "ready", WATCHDOG)
            yield Trouble(process, place)
        finally:
            process.kill()
            process.communicate()


def _read_until(descriptor: int, wanted: str, seconds: float) -> str:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    read, end = "", time.monotonic() + seconds
    while wanted not in read or poll.poll(50):
        left = end - time.monotonic()
        if left <= 0 or not poll.poll(int(left * 1000) + 1):
            raise Stuck(f"no {wanted!r} within {seconds} s, but {read!r}")
        piece = os.read(descriptor, 1 << 16)
        if not piece:
            assert wanted in read, f"no {wanted!r} to the end, but {read!r}"
            break
        read += piece.decode(errors="replace")
    return read


def place_in(function: str) -> int | None:
    """Return the line that a trouble's `# PLACE` marks; None if it has none."""
    source = SOURCE.read_text(encoding="utf-8").splitlines()
    begin = next(number for number, line in enumerate(source) if line.startswith(f"def {function}("))
    for number, line in enumerate(source[begin + 1 :], begin + 2):
        if line.startswith("def "):
            return None
        if re.search(r"# PLACE$", line):
            return number
    return None
