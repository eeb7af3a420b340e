"""The C tests of tests/c, one by one: the core alone, under each parker, without Python in between.

`make ctest` runs the same without pytest, and `make -C tests/c test SANITIZE=thread` (or `address`) under a sanitizer.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

FOLDER = Path(__file__).parent / "c"
TESTS = sorted(path.stem for path in FOLDER.glob("test_*.c"))
PARKERS = ["futex", "pthread"] if sys.platform == "linux" else ["pthread"]
SECONDS = 200  # a test's own watchdog comes first, and says where it hung


def make(*arguments: str) -> None:
    """Run make in tests/c; if it fails, with all that it printed."""
    # Not the MAKEFLAGS of the make that may run us: its job server is not ours.
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    command = ["make", "-C", str(FOLDER), "--no-print-directory", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"


@pytest.fixture(scope="module", params=PARKERS)
def parker(request: pytest.FixtureRequest) -> str:
    """Build every test with one parker."""
    if not shutil.which("make"):
        pytest.skip("no make here")
    make("-j", str(os.cpu_count() or 1), f"PARKER={request.param}", "build")
    return str(request.param)


@pytest.mark.timeout(SECONDS + 20)
@pytest.mark.parametrize("name", TESTS)
def test_c(parker: str, name: str) -> None:
    make(f"PARKER={parker}", name)


@pytest.mark.timeout(SECONDS + 20)
@pytest.mark.parametrize("parker", PARKERS)
def test_the_trail_says_who_led_to_the_words_of_2025_05_28(parker: str) -> None:
    """With the bug of that day put back: the same test, which finds both words then, and the writer that timed out."""
    if not shutil.which("make"):
        pytest.skip("no make here")
    make(f"PARKER={parker}", "BUG=465", "test_trail_incident")
