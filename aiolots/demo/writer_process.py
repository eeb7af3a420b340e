"""The other end of the change writer: starts its process, ends it, reads what it did."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from aiolots.demo.change_writer import READY
from aiolots.demo.errors import DemoError

END_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Written:
    """What the change writer did: how many changes, and where it left each host that it touched."""

    changes: int
    final: dict[str, str | None]


class WriterProcess:
    """Runs a change writer for the time of a `with`, at the latest."""

    def __init__(self, path: Path, rate: float, seed: int) -> None:
        command = [sys.executable, "-m", "aiolots.demo.change_writer", str(path), "--rate", repr(rate)]
        # A session of its own: Ctrl-C in the terminal is for the demo, which ends the writer itself.
        self._process = subprocess.Popen(
            [*command, "--seed", str(seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def wait_until_ready(self) -> None:
        """Return when it begins to make changes, so that a timed run does not pay for its start. DemoError if it failed."""
        assert self._process.stdout is not None
        if self._process.stdout.readline().strip() != READY:
            self.finish()

    def finish(self) -> Written:
        """End the writer and return what it did. Raises DemoError with its own words when it failed."""
        try:
            output, errors = self._process.communicate(timeout=END_SECONDS)
        except subprocess.TimeoutExpired:
            raise DemoError(f"the change writer did not end within {END_SECONDS:g} s") from None
        if self._process.returncode != 0:
            raise DemoError(f"the change writer failed: {errors.strip() or f'status {self._process.returncode}'}")
        report = json.loads(output)
        return Written(report["changes"], report["final"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._process.poll() is None:
            self._process.kill()
        # Reads what is left and closes the pipes; after finish() there is nothing to do.
        self._process.communicate()
