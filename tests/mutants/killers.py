"""Runs what may notice a mutant: programs of the explorer, and C tests. A mutant may never end, or eat all the memory."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterable
from pathlib import Path

WALL_SECONDS = 300  # of one run of the explorer, which is many programs
LIMITED = ["sh", "-c", 'ulimit -t "$0"; ulimit -c 0; ulimit -v 4000000; exec "$@"']


class Order:
    """Killers, the latest successful ones first: what killed one mutant of a file kills the next."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = list(names)
        self.lock = threading.Lock()

    def now(self) -> list[str]:
        """Return them in the order to try."""
        with self.lock:
            return list(self.names)

    def killed(self, name: str) -> None:
        """Put one in front."""
        with self.lock:
            self.names.remove(name)
            self.names.insert(0, name)


def end(process: subprocess.Popen[str]) -> None:
    """Kill a process of ours and all that it forked."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def explore(explorer: Path, options: list[str], programs: list[str], seconds: int) -> str:
    """Run programs, each for so many seconds of processor time at most, until one shows a violation: return that program (or
    "?", if nobody knows which), or nothing."""
    command = [*LIMITED, str(seconds), str(explorer), *options, *programs]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, errors="replace", start_new_session=True
    )
    timer = threading.Timer(WALL_SECONDS, end, [process])
    timer.start()
    told = 0
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if told < len(programs) and line.startswith(programs[told]):
                if not line.rstrip().endswith(("exhausted", "cut", "no violation")):
                    return programs[told]
                told += 1
        # Whoever ends the explorer early, it was the program after the last that was told of.
        return "" if process.wait() == 0 else programs[told] if told < len(programs) else "?"
    finally:
        timer.cancel()
        end(process)
        if process.stdout is not None:
            process.stdout.close()


def run_test(program: Path, library: Path, seconds: float) -> bool:
    """Run one C test against the core in `library`'s folder: does it pass?"""
    command = [*LIMITED, str(int(seconds)), str(program), "1"]
    environment = {**os.environ, "LD_LIBRARY_PATH": str(library.parent)}
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True, start_new_session=True, env=environment
    )
    try:
        return process.wait(seconds) == 0
    except subprocess.TimeoutExpired:
        return False
    finally:
        end(process)
