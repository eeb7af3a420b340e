"""Type checkers accept the documented use and reject the wrong one: line by line what typing_samples.py says."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = Path(__file__).resolve().with_name("typing_samples.py")


def wrong_lines() -> list[int]:
    return [n for n, line in enumerate(SAMPLES.read_text(encoding="utf-8").splitlines(), 1) if line.endswith("# wrong")]


def run(*command: str) -> str:
    """Run a checker in the root of the tree; it fails, for the samples have errors."""
    result = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=110, check=False
    )
    assert result.returncode == 1, result.stdout + result.stderr
    return result.stdout


def mypy(cache: Path) -> dict[int, str]:
    options = ("--strict", "--follow-imports=silent", "--no-pretty", "--show-error-codes", "--cache-dir", str(cache))
    found: dict[int, str] = {}
    for line in run("mypy", *options, str(SAMPLES)).splitlines():
        path, _, rest = line.partition(":")
        number, _, message = rest.partition(":")
        if message.strip().startswith("error"):
            assert Path(path).name == SAMPLES.name, line
            found[int(number)] = message.strip()
    return found


def pyright(project: Path) -> dict[int, str]:
    shutil.copy(SAMPLES, project)
    config = project / "pyrightconfig.json"
    settings: dict[str, Any] = {
        "typeCheckingMode": "strict",
        "pythonVersion": "3.11",
        "extraPaths": [str(ROOT)],
        "include": [SAMPLES.name],
    }
    # That a result is not used is what the samples are full of.
    settings |= {"reportUnusedExpression": False, "reportUnusedCoroutine": False, "reportPrivateUsage": False}
    settings |= {"reportMissingModuleSource": False}
    config.write_text(json.dumps(settings), encoding="utf-8")
    answer = json.loads(run("pyright", "--outputjson", "--pythonpath", sys.executable, "--project", str(config)))
    return {
        item["range"]["start"]["line"] + 1: item["message"]
        for item in answer["generalDiagnostics"]
        if item["severity"] == "error"
    }


@pytest.mark.parametrize("checker", [mypy, pyright], ids=["mypy", "pyright"])
def test_the_checker_rejects_exactly_what_is_wrong(checker: object, tmp_path: Path) -> None:
    assert callable(checker)
    found: dict[int, str] = checker(tmp_path)
    wrong = wrong_lines()
    assert len(wrong) > 25
    assert {line: message for line, message in found.items() if line not in wrong} == {}, "accepted use is rejected"
    assert [line for line in wrong if line not in found] == [], "wrong use is accepted"
