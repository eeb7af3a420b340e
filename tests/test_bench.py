"""The benchmarks run: all of them, with tiny rounds. What they measure is not looked at here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.once, pytest.mark.slow, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parent.parent


def report_of(folder: Path, *arguments: str) -> Any:
    command = [sys.executable, "-m", "bench", "--smoke", "--json", "--output", str(folder), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


def test_smoke(tmp_path: Path) -> None:
    report = report_of(tmp_path)
    measured = {row["bar"] for row in report["rows"]}
    # What needs no peer but the stdlib, and not the size of a full run.
    assert {"mutex", "rw", "async-mutex", "async-rw", "crowd", "ping-executor", "bytes"} <= measured
    assert all(row["ratio"] > 0 for row in report["rows"])
    assert "### Bars" in (tmp_path / "bench.md").read_text(encoding="utf-8")


def test_policies_of_handing_over(tmp_path: Path) -> None:
    # Builds cores: that the words which are cut out of admit.c are still there is checked on the way.
    found = report_of(tmp_path, "--only", "handoff")["handoff"]
    assert {"as shipped", "always", "own loop off"} <= {outcome["policy"] for outcome in found}
    assert all(outcome["ratio"] > 0 for outcome in found)
    assert "### Handing over or barging" in (tmp_path / "bench.md").read_text(encoding="utf-8")


def test_a_peer_that_does_not_import_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "cereggii.py").write_text("raise RuntimeError('made for another Python')\n", encoding="utf-8")
    script = "from bench.peers import Peers; peers = Peers.found(); print(peers.get('cereggii'), *peers.skipped, sep='; ')"
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("None; ")
    assert "cereggii does not import here: RuntimeError: made for another Python" in done.stdout
