"""The stress, for a few seconds on every Python and for longer on the default one; and that its checks can fail."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stress.forks import can_fork
from tests.stress.ghost import Crew, Ghost

ROOT = Path(__file__).resolve().parent.parent


def stress(*options: str) -> str:
    command = [sys.executable, "-m", "tests.stress", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    print(done.stdout, done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\n0 violations" in done.stdout
    return done.stdout


def figure(printed: str, name: str) -> int:
    found = re.search(rf"([\d,]+) {name}", printed)
    assert found, printed
    return int(found[1].replace(",", ""))


def test_stress_shortly() -> None:
    printed = stress("--seconds", "3", "--seed", "3")
    assert figure(printed, "loop deaths") > 0
    assert (figure(printed, "forks") > 0) == can_fork()
    for name in ("operations", "timeouts", "cancellations"):
        assert figure(printed, name) > 0
    assert figure(printed, "revocations") >= 0


def test_what_is_switched_off_does_not_happen() -> None:
    printed = stress("--seconds", "1", "--no-fork", "--no-loop-death")
    assert (figure(printed, "forks"), figure(printed, "loop deaths")) == (0, 0)


@pytest.mark.skipif(not can_fork(), reason="nothing forks here")
def test_a_child_that_goes_wrong_is_seen() -> None:
    """In a process of its own, for this one has threads."""
    wrong = """
from unittest import mock
from aiolots import Mutex, RwLock
from tests.stress import forks
from tests.stress.forks import can_fork
from tests.stress.ghost import Ghost, Worker
import asyncio
wrong = []
lock, mutex = RwLock(Ghost("l", wrong)), Mutex(Ghost("m", wrong))
step = forks.forks(lock, mutex, asyncio.new_event_loop, 1, wrong)
with mock.patch.object(forks, "meet", side_effect=AssertionError("told")):
    try:
        step(Worker("w"))
    except RuntimeError:
        print(wrong)
"""
    done = subprocess.run([sys.executable, "-c", wrong], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert "its child ended with 1" in done.stdout
    assert "AssertionError: told" in done.stderr


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
