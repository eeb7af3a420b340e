"""The stress, for a few seconds on every Python and for longer on the default one; and that its checks can fail."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.stress.ghost import Crew, Ghost

ROOT = Path(__file__).resolve().parent.parent


def stress(*options: str) -> None:
    command = [sys.executable, "-m", "tests.stress", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    print(done.stdout, done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\n0 violations" in done.stdout


def test_stress_shortly() -> None:
    stress("--seconds", "3", "--seed", "3")


@pytest.mark.once
@pytest.mark.parametrize(("loop", "seconds"), [("both", "9"), ("asyncio", "4"), ("uvloop", "4")])
def test_stress(loop: str, seconds: str) -> None:
    stress("--seconds", seconds, "--loop", loop)


def test_ghosts_see_what_is_wrong() -> None:
    wrong: list[str] = []
    ghost = Ghost("g", wrong)
    reader = ghost.read_in("r")
    writer = ghost.write_in("w")
    ghost.read_out("r", reader)
    other = ghost.write_in("v")
    ghost.write_out("v", other)
    ghost.write_out("w", writer)
    for what in ("beside the readers", "writes beside the reader r", "two writers", "lost update"):
        assert any(what in line for line in wrong), wrong


def test_a_stuck_worker_is_seen() -> None:
    crew = Crew([])
    worker = crew.worker("w")
    assert crew.stuck(0.0) == [worker]
    assert crew.stuck(1e6) == []
    worker.at = "ended"
    assert crew.stuck(0.0) == []
