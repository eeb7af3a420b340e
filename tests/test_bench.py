"""The benchmarks run: all of them, with tiny rounds. What they measure is not looked at here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.once, pytest.mark.slow, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parent.parent


def test_smoke(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench", "--smoke", "--json", "--output", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    report = json.loads(done.stdout)
    measured = {row["bar"] for row in report["rows"]}
    # What needs no peer but the stdlib, and not the size of a full run.
    assert {"mutex", "rw", "async-mutex", "async-rw", "crowd", "ping-executor", "bytes"} <= measured
    assert all(row["ratio"] > 0 for row in report["rows"])
    assert "### Bars" in (tmp_path / "bench.md").read_text(encoding="utf-8")
