"""The explorer's gate: every program of tests/explorer/programs.txt to the end at bound 2, and each known bug found."""

from __future__ import annotations

import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.explorer import __main__ as explorer
from tests.explorer import corpus, mutants
from tests.explorer.building import CSRC, build

pytestmark = pytest.mark.once

AT_ONCE = 2  # explorers, each on a core


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("explorer"))


def run(command: list[str | Path]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)


def exhaust(built: Path, programs: list[str], *options: str) -> dict[str, int]:
    """Explore all of the programs; return how many schedules each has."""
    parts = [programs[i::AT_ONCE] for i in range(AT_ONCE)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(lambda part: run([built, "--bound", "2", *options, *part]), parts))
    schedules = {}
    for part, answer in zip(parts, answers, strict=True):
        assert answer.returncode == 0, answer.stdout + answer.stderr
        *lines, last = answer.stdout.splitlines()
        assert re.fullmatch(rf"programs {len(part)} schedules \d+ violations 0", last), answer.stdout
        assert all(line.endswith(" exhausted") for line in lines), answer.stdout
        for program, line in zip(part, lines, strict=True):
            found = re.search(r"(\d+) schedules", line)
            assert found is not None, line
            schedules[program] = int(found[1])
    assert len(schedules) == len(programs)
    return schedules


@pytest.fixture(scope="module")
def gate(built: Path) -> dict[str, int]:
    """The gate's programs, each explored to the end, and how many schedules each has."""
    return exhaust(built, explorer.programs())


@pytest.mark.timeout(600)
def test_no_program_breaks_an_invariant_and_all_are_exhausted(gate: dict[str, int]) -> None:
    assert list(gate) != []
    assert sum(gate.values()) >= 5_000_000


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("stale", "smallest", "biggest"), [("2", 0, 15_000), ("1", 15_000, 30_000)])
def test_loads_that_are_given_old_values(built: Path, gate: dict[str, int], stale: str, smallest: int, biggest: int) -> None:
    """Old values, as far as C11 allows them, over the smaller programs."""
    programs = [program for program, schedules in gate.items() if smallest <= schedules < biggest]
    assert len(programs) >= 10
    exhaust(built, programs, "--stale", stale)


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("!sb", "both missed"),
        ("!mp", "without the data"),
        ("!rs", "without the data"),
        ("!iriw", "two orders"),
        ("!race", "data race"),
        ("!sb-sc", None),
        ("!mp-ra", None),
        ("!rs-rmw", None),
        ("!corr", None),
        ("!corr-hb", None),
    ],
)
def test_the_explorers_memory_is_that_of_c11(built: Path, name: str, allowed: str | None) -> None:
    """It shows what C11 allows (but without stale loads only the race), and nothing that C11 forbids."""
    without = run([built, "--stale", "0", name])
    assert without.returncode == (name == "!race"), without.stdout
    answer = run([built, "--stale", "2", *(["--expect", allowed] if allowed else []), name])
    assert answer.returncode == 0, answer.stdout
    assert allowed is not None or "exhausted" in answer.stdout


def test_batches_that_are_full(tmp_path: Path) -> None:
    """With one thread a batch every crowd takes several: the rest is admitted after the first was woken."""
    small = build(tmp_path, "-DBATCH_THREADS=1")
    programs = ["W | R | R | tR", "R | L W sR | R", "hR | tW | R | R", "W | R R | R | R", "hR | tW | tR | R"]
    programs.append("L R R | W | R | R")
    exhaust(small, programs)


def test_a_weak_cas_may_fail_for_nothing(built: Path) -> None:
    exhaust(built, ["R | W", "tW | R", "L cW R | W", "M | M", "hR | tW | R"], "--cas", "1")


@pytest.mark.parametrize("how", [["--stale", "2", "--cas", "2"], ["--pct", "3", "--stale", "1"]], ids=["uniform", "pct"])
def test_crowds_at_random(built: Path, how: list[str]) -> None:
    """5 to 8 fibers: too many to exhaust. The seed is fixed here: `make proof` uses many."""
    answer = run([built, "--random", "10000", "--seed", "1", *how, *explorer.programs("crowds.txt")])
    assert answer.returncode == 0, answer.stdout
    assert "violations 0" in answer.stdout
    assert " seed 1 " in answer.stdout


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("broken"), "-DLOTS_BUG_465")


def replay_of(output: str) -> list[str]:
    found = re.search(r"replay: (--.*) --replay '(\w*)'", output)
    assert found is not None, output
    return [*found[1].split(), "--replay", found[2]]


@pytest.mark.parametrize("how", [[], ["--pct", "3"]], ids=["uniform", "pct"])
def test_random_schedules_find_the_bug_too_and_replay(broken: Path, how: list[str]) -> None:
    program = "tW | R | W | R | tW"
    found = run([broken, "--expect", "W1", "--random", "100000", "--seed", "3", *how, program])
    assert found.returncode == 0, found.stdout
    again = run([broken, "--expect", "W1", *replay_of(found.stdout), program])
    assert again.returncode == 0, again.stdout


def test_the_bug_of_2025_05_28_is_found_and_its_schedule_replays(broken: Path) -> None:
    for program, word in explorer.BUGS["465"]:
        found = run([broken, "--expect", word, program])
        assert found.returncode == 0, found.stdout
        again = run([broken, "--expect", word, *replay_of(found.stdout), program])
        assert again.returncode == 0, again.stdout


def test_the_core_passes_the_schedules_that_broke_parking_lot(built: Path, broken: Path) -> None:
    """The very schedules under which the 2025-05-28 logic fails, as far as the sound logic takes the same steps."""
    for program, word in explorer.BUGS["465"]:
        found = run([broken, "--expect", word, program])
        assert run([built, *replay_of(found.stdout), program]).returncode == 0


@pytest.mark.timeout(300)
@pytest.mark.parametrize("bugs", [corpus.CORPUS, corpus.ORDERS], ids=["corpus", "orders"])
def test_each_bug_of_the_corpus_is_found(bugs: tuple[corpus.Bug, ...]) -> None:
    """Calibration (L3): an explorer that misses a bug which is there says nothing about the bugs that are not."""
    assert len({bug.name for bug in bugs}) == len(bugs)
    missed = [finding for finding in mutants.explore_all(bugs, lambda finding: None) if not finding.found]
    assert missed == []


def test_a_schedule_that_breaks_the_mutant_does_not_break_the_core(built: Path) -> None:
    """Of each bug's program: it is the bug that is found there, not the program. (Those with the keeper are crowds.)"""
    programs = {bug.program for bug in corpus.CORPUS + corpus.ORDERS if "A" not in bug.program}
    exhaust(built, sorted(programs))


def test_a_substitution_that_does_not_apply_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "admit.c").write_text((CSRC / "admit.c").read_text())
    gone = corpus.bug("gone", "a test", "admit.c", "this text is not there", "", "M | M")
    with pytest.raises(mutants.StaleSubstitution, match="0 times"):
        mutants.mutate(gone, tmp_path)


def test_a_program_that_cannot_be_read_is_refused(built: Path) -> None:
    answer = run([built, "R | Q"])
    assert answer.returncode == 2
    assert "cannot read" in answer.stderr
