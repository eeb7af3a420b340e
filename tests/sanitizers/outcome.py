"""What a check came to, and how a command is run so that no report is overlooked."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = ROOT / "build" / "sanitizers"
LOGS = BUILD / "logs"

REPORT = re.compile(
    r"^.*(?:WARNING|ERROR|FATAL): (?:Thread|Address|Leak|UndefinedBehavior)Sanitizer.*$|^.*: runtime error: .*$", re.MULTILINE
)
MAKE_VARIABLES = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")


@dataclass
class Outcome:
    """What a check came to: how many tests ran, how long, what was reported, and what else went wrong."""

    name: str
    tests: int = 0
    seconds: float = 0.0
    reports: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    skipped: str = ""

    @property
    def ok(self) -> bool:
        """Whether all was as it should be."""
        return not self.reports and not self.failures

    def __str__(self) -> str:
        if self.skipped:
            return f"{self.name}: skipped: {self.skipped}"
        wrong = f", {len(self.failures)} failures" if self.failures else ""
        return f"{self.name}: {self.tests} tests, {self.seconds:.0f} seconds, {len(self.reports)} reports{wrong}"


@dataclass
class Done:
    """A command that has ended: its status (None: it did not end in time), and all that it printed."""

    command: str
    status: int | None
    output: str
    log: Path


def run(
    name: str, command: Sequence[str | Path], seconds: float, *, cwd: Path = ROOT, env: Mapping[str, str] | None = None
) -> Done:
    """Run a command in a session of its own, nicely, with its output in a log; end all of it when its time is up."""
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"{name}.log"
    words = ["nice", *map(str, command)]
    status: int | None = None
    with log.open("wb") as out:
        process = subprocess.Popen(
            words,
            cwd=cwd,
            env=clean(env),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = process.wait(seconds)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
    return Done(" ".join(words), status, log.read_text(encoding="utf-8", errors="replace"), log)


def clean(env: Mapping[str, str] | None) -> dict[str, str]:
    """Return an environment without what a make that runs us would tell another one."""
    return {name: value for name, value in (os.environ if env is None else env).items() if name not in MAKE_VARIABLES}


def judge(outcome: Outcome, done: Done, pattern: str, reports: Path | None = None) -> None:
    """Add to an outcome what a command says: its tests by a pattern, its reports, in its output and in files of their own."""
    outcome.tests += sum(int(found[1]) if found.re.groups else 1 for found in re.finditer(pattern, done.output, re.MULTILINE))
    texts = [done.output]
    if reports is not None:
        texts += [
            path.read_text(encoding="utf-8", errors="replace") for path in sorted(reports.parent.glob(f"{reports.name}.*"))
        ]
    found = [line.strip() for text in texts for line in REPORT.findall(text)]
    outcome.reports += found
    if done.status != 0:
        how = "did not end in time" if done.status is None else f"ended with {done.status}"
        outcome.failures.append(f"{done.command}: {how}; see {done.log}")


def timed(outcome: Outcome, began: float) -> Outcome:
    """Say how long a check took."""
    outcome.seconds = time.monotonic() - began
    return outcome
