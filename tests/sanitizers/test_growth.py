"""That the plugin sees what grows, and only that."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.sanitizers.outcome import ROOT, Outcome, run

pytestmark = pytest.mark.once

SAMPLE = """
import os
from aiolots import RwLock
kept = []
def test_clean():
    with RwLock().write():
        pass
def test_keeps_a_lock():
    kept.append(RwLock())
def test_keeps_a_descriptor():
    os.pipe()
def test_warms_up():
    if len(kept) < 100:
        kept.extend([object()] * 100)
"""


def test_what_grows_is_seen(tmp_path: Path) -> None:
    sample = tmp_path / "test_sample.py"
    sample.write_text(SAMPLE, encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-rA",
        "-p",
        "no:cacheprovider",
        "-p",
        "tests.sanitizers.growth",
        "-c",
        "pyproject.toml",
    ]
    done = subprocess.run([*command, str(sample)], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    for name, passed in {"clean": True, "keeps_a_lock": False, "keeps_a_descriptor": False, "warms_up": True}.items():
        assert f"{'PASSED' if passed else 'FAILED'} " in done.stdout
        line = next(
            line for line in done.stdout.splitlines() if line.startswith(("PASSED", "FAILED")) and f"test_{name}" in line
        )
        assert line.startswith("PASSED" if passed else "FAILED"), done.stdout
    assert "own objects by [1, 1, 1]" in done.stdout
    assert "descriptors by [2, 2, 2]" in done.stdout


def test_a_command_that_does_not_end_is_ended() -> None:
    done = run("test-endless", [sys.executable, "-c", "import threading; threading.Event().wait()"], 0.5)
    assert done.status is None


def test_an_outcome_says_what_there_was() -> None:
    outcome = Outcome("name", tests=3, seconds=2.4, reports=["report"])
    assert str(outcome) == "name: 3 tests, 2 seconds, 1 reports"
    assert not outcome.ok
