"""The explorer's gate: every program of tests/explorer/programs.txt to the end at bound 2, and the bug of 2025-05-28 found."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.explorer import __main__ as explorer

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return explorer.build(tmp_path_factory.mktemp("explorer"))


def run(command: list[str | Path]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)


@pytest.mark.timeout(600)
def test_no_program_breaks_an_invariant_and_all_are_exhausted(built: Path) -> None:
    programs = explorer.programs()
    answer = run([built, "--bound", "2", *programs])
    assert answer.returncode == 0, answer.stdout
    last = answer.stdout.splitlines()[-1]
    assert re.fullmatch(rf"programs {len(programs)} schedules \d+ violations 0", last), answer.stdout
    assert answer.stdout.count("exhausted\n") == len(programs)
    assert "not exhausted" not in answer.stdout


def test_batches_that_are_full(tmp_path: Path) -> None:
    """With one thread a batch every crowd takes several: the rest is admitted after the first was woken."""
    small = explorer.build(tmp_path, "-DBATCH_THREADS=1")
    programs = ["W | R | R | tR", "R | L W sR | R", "hR | tW | R | R", "W | R R | R | R", "hR | tW | tR | R"]
    programs.append("L R R | W | R | R")
    answer = run([small, *programs])
    assert answer.returncode == 0, answer.stdout
    assert "not exhausted" not in answer.stdout


def test_a_weak_cas_may_fail_for_nothing(built: Path) -> None:
    answer = run([built, "--cas", "1", "R | W", "tW | R", "L cW R | W", "M | M", "hR | tW | R"])
    assert answer.returncode == 0, answer.stdout
    assert "not exhausted" not in answer.stdout


def test_the_bug_of_2025_05_28_is_found_and_its_schedule_replays(tmp_path: Path) -> None:
    broken = explorer.build(tmp_path, "-DLOTS_BUG_465")
    for program, word in explorer.BUGS["465"]:
        found = run([broken, "--expect", word, program])
        assert found.returncode == 0, found.stdout
        schedule = re.search(r"--replay '(\d*)'", found.stdout)
        assert schedule is not None, found.stdout
        again = run([broken, "--expect", word, "--replay", schedule[1], program])
        assert again.returncode == 0, again.stdout


def test_the_core_passes_the_schedules_that_broke_parking_lot(built: Path, tmp_path: Path) -> None:
    """The very schedules under which the 2025-05-28 logic fails, as far as the sound logic takes the same steps."""
    broken = explorer.build(tmp_path, "-DLOTS_BUG_465")
    for program, word in explorer.BUGS["465"]:
        found = run([broken, "--expect", word, program])
        schedule = re.search(r"--replay '(\d*)'", found.stdout)
        assert schedule is not None, found.stdout
        assert run([built, "--replay", schedule[1], program]).returncode == 0


def test_a_program_that_cannot_be_read_is_refused(built: Path) -> None:
    answer = run([built, "R | Q"])
    assert answer.returncode == 2
    assert "cannot read" in answer.stderr
