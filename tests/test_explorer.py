"""The explorer's gate: every program of programs.txt to the end at bound 2, and of one_preemption.txt at 1; each bug found."""

from __future__ import annotations

import re
import shutil
import subprocess
from itertools import combinations_with_replacement, product
from pathlib import Path

import pytest

from tests.explorer import __main__ as explorer
from tests.explorer import corpus, corpus_changes, corpus_levels, corpus_trail, mutants, running
from tests.explorer.building import CSRC, build, compile_objects, link

pytestmark = pytest.mark.once

CORPUS = corpus.CORPUS + corpus_changes.CHANGES + corpus_levels.LEVELS + corpus_trail.TRAIL
ORDERS = corpus.ORDERS + corpus_changes.CHANGE_ORDERS + corpus_levels.LEVEL_ORDERS + corpus_trail.TRAIL_ORDERS

# What can be done to each primitive, as verbs.h names it. Every two of them must meet in some execution of some program.
LOOPS = {"cancel", "fair", "given", "handoff", "revoke", "block", "close", "push", "drain"}
READS = {"read", "read_recursive", "try_read_for", "try_read_recursive_for"}
CHANGES = {"upgradable", "try_upgradable_for", "upgrade", "try_upgrade_for", "try_upgrade", "downgrade", "bump"}
VERBS = {
    "rwlock": {"write", "try_write_for"} | READS | LOOPS | CHANGES,
    "mutex": {"lock", "try_lock_for"} | LOOPS,
    "fair_mutex": {"lock", "try_lock_for"} | LOOPS,
    "queue": {"park", "park_for", "cancel", "unpark_one", "unpark_all", "unpark_some", "requeue", "push", "drain"},
}
# What goes on around a condition, and what is done to a lock meanwhile.
NOTIFYING = {"wait", "wait_for", "wait_cancelled", "notify_one", "notify_all", "requeue", "unpark_one", "release"}
ACQUIRING = {"read", "read_recursive", "write", "upgradable", "upgrade", "try_upgrade_for", "downgrade", "fair", "cancel",
             "close", "revoke"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("explorer"))


def run(command: list[str | Path]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)


def exhaust(built: Path, programs: list[str], *options: str, bound: int = 2) -> dict[str, running.Outcome]:
    """Explore all of the programs to the end, without a violation; return what each gave."""
    outcomes = {}
    for outcome in running.run_all(built, ["--bound", str(bound), *options], programs):
        assert outcome.violations == 0, "\n".join(outcome.lines)
        assert outcome.lines[0].endswith(" exhausted"), outcome.lines
        outcomes[outcome.program] = outcome
    assert len(outcomes) == len(programs)
    return outcomes


@pytest.fixture(scope="module")
def gate(built: Path) -> dict[str, running.Outcome]:
    """The gate's programs, each explored to the end."""
    return exhaust(built, explorer.programs(), "--pairs", "1")


@pytest.fixture(scope="module")
def met(built: Path, gate: dict[str, running.Outcome]) -> set[tuple[str, ...]]:
    """Which verbs met, in programs about which primitive, in the gate's two lists."""
    rest = exhaust(built, explorer.programs("one_preemption.txt"), "--pairs", "1", bound=1)
    lines = [line.split() for outcome in [*gate.values(), *rest.values()] for line in outcome.lines]
    pairs = [words[1:] for words in lines if words[0] == "pair"]
    return {(primitive, *two) for primitive, a, b in pairs for two in ((a, b), (b, a))}


@pytest.mark.timeout(600)
def test_no_program_breaks_an_invariant_and_all_are_exhausted(gate: dict[str, running.Outcome]) -> None:
    assert len(gate) >= 45
    assert sum(outcome.schedules for outcome in gate.values()) >= 5_000_000


@pytest.mark.timeout(600)
@pytest.mark.parametrize("primitive", VERBS)
def test_every_verb_meets_every_other(met: set[tuple[str, ...]], primitive: str) -> None:
    """In one execution, by two fibers or twice by one: the explorer says what was done, not what the programs' text says."""
    wanted = {(primitive, *pair) for pair in combinations_with_replacement(sorted(VERBS[primitive]), 2)}
    assert wanted - met == set()


@pytest.mark.timeout(600)
def test_whatever_is_done_to_a_lock_meets_whoever_waits_for_a_notification(met: set[tuple[str, ...]]) -> None:
    wanted = {("notice", *pair) for pair in product(sorted(ACQUIRING), sorted(NOTIFYING))}
    assert wanted - met == set()


def test_verbs_that_did_not_meet_are_not_said_to(built: Path) -> None:
    (outcome,) = running.run_all(built, ["--bound", "2", "--pairs", "1"], ["R | tW R"])
    pairs = {line.removeprefix("    pair rwlock ") for line in outcome.lines[1:]}
    assert {"read write", "read read", "read try_write_for"} <= pairs
    assert not {pair for pair in pairs if re.search("recursive|cancel|fair|close|write write", pair)}


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("stale", "smallest", "biggest"), [("2", 0, 15_000), ("1", 15_000, 30_000)])
def test_loads_that_are_given_old_values(
    built: Path, gate: dict[str, running.Outcome], stale: str, smallest: int, biggest: int
) -> None:
    """Old values, as far as C11 allows them, over the smaller programs."""
    programs = [program for program, outcome in gate.items() if smallest <= outcome.schedules < biggest]
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


@pytest.mark.timeout(600)
def test_a_weak_cas_may_fail_for_nothing(built: Path, gate: dict[str, running.Outcome]) -> None:
    small = [program for program, outcome in gate.items() if outcome.schedules < 10_000 and not program.startswith("!")]
    exhaust(built, ["hR | tW | R", *small], "--cas", "1")


def test_a_cut_program_is_said_to_be_cut(built: Path) -> None:
    outcomes = list(running.run_all(built, ["--bound", "3"], ["R | W", "W W | W W | W W"], seconds=0.2))
    assert [outcome.cut for outcome in outcomes] == [0, 1]
    assert re.fullmatch(r"programs 2 schedules \d+ violations 0 cut 1", running.closing(outcomes))
    assert re.fullmatch(r"programs 1 schedules \d+ violations 0", running.closing(outcomes[:1]))


def test_a_run_is_cut_so_that_it_ends_in_time(built: Path) -> None:
    outcomes = list(running.run_all(built, ["--bound", "3"], ["W W | W W | W W"] * 4, within=1.0))
    assert [outcome.cut for outcome in outcomes] == [1] * 4


def test_an_explorer_that_does_not_end_well_is_no_success(built: Path) -> None:
    with pytest.raises(RuntimeError, match="cannot read"):
        list(running.run_all(built, [], ["R | W", "R | Y"]))


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
@pytest.mark.parametrize("bugs", [CORPUS, ORDERS], ids=["corpus", "orders"])
def test_each_bug_of_the_corpus_is_found(bugs: tuple[corpus.Bug, ...]) -> None:
    """Calibration (L3): an explorer that misses a bug which is there says nothing about the bugs that are not."""
    assert len({bug.name for bug in bugs}) == len(bugs)
    missed = [finding for finding in mutants.explore_all(bugs, lambda finding: None) if not finding.found]
    assert missed == []


@pytest.mark.timeout(600)
def test_a_schedule_that_breaks_the_mutant_does_not_break_the_core(built: Path, gate: dict[str, running.Outcome]) -> None:
    """Of each bug's program: it is the bug that is found there, not the program. (Those with the keeper are crowds.)"""
    programs = {bug.program for bug in CORPUS + ORDERS if "A" not in bug.program}
    exhaust(built, sorted(programs - gate.keys()))


TWO_BUCKETS = corpus.bug("two buckets", "", "parking_lot.h", "#define LOT_BUCKETS 1 ", "#define LOT_BUCKETS 2 ", "")
SECOND_LOOK = "        if (a64_load(&w->key, RELAXED) == key)\n            return b;"
NO_SECOND_LOOK = corpus.bug("no second look", "", "parking_lot.c", SECOND_LOOK, "        return b;", "")


def build_changed(folder: Path, *bugs: corpus.Bug) -> Path:
    shutil.copytree(CSRC, folder / "csrc", ignore=shutil.ignore_patterns("python"))
    for bug in bugs:
        mutants.mutate(bug, folder / "csrc")
    return link(folder / "explorer", compile_objects(folder, folder / "csrc", None, "-w"))


def test_who_is_moved_to_another_bucket(tmp_path: Path) -> None:
    """The two queues in two buckets: requeue holds both locks, and who leaves meanwhile must find the right one."""
    programs = ["P | tP | Q V", "L P tP | Q V", "L P P | O | Q", "Q | Q | P P", "L W | cW | W", "D W | W | K", "X W R | R"]
    programs += ["S | X S | J", "M. | M. | *", "L qM. sM | 1 | 1", "R. | W. | *", "L M, M | 1", "X M. | M1", "L cS S | J Z"]
    programs += ["M. | B. | *", "L M. B. | *", "X M. B. | *", "F. | F. | *", "L F, F | 1", "X S | S | H"]
    exhaust(build_changed(tmp_path, TWO_BUCKETS), programs)


MOVED_BEHIND_THE_WALK = corpus.bug(
    "moved behind the walk",
    "own, in this core until it was reviewed: who is moved to a bucket that lots_mailbox_close has left behind stays there",
    "notify.c",
    "            if (w->mailbox && a32_load(&w->mailbox->closed, RELAXED))",
    "            if (0)",
    "S | X S | J",
)


def test_who_is_moved_past_the_walk_of_a_closing_loop_is_found(tmp_path: Path) -> None:
    (outcome,) = running.run_all(
        build_changed(tmp_path, TWO_BUCKETS, MOVED_BEHIND_THE_WALK), ["--bound", "2"], [MOVED_BEHIND_THE_WALK.program]
    )
    assert outcome.violations == 1


def test_who_leaves_by_a_lock_that_is_not_its_own_any_more_is_found(tmp_path: Path) -> None:
    broken = build_changed(tmp_path, TWO_BUCKETS, NO_SECOND_LOOK)
    (outcome,) = running.run_all(broken, ["--bound", "2"], ["P | tP | Q V"])
    assert outcome.violations == 1
    # A crash has its schedule too.
    (crashed,) = running.run_all(broken, ["--bound", "2"], ["L P tP | Q V"])
    assert "crashed by signal" in crashed.lines[0]
    again = run([broken, *replay_of("\n".join(crashed.lines)), "L P tP | Q V"])
    assert again.returncode == 1
    assert "crashed by signal" in again.stdout


def test_a_substitution_that_does_not_apply_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "admit.c").write_text((CSRC / "admit.c").read_text())
    gone = corpus.bug("gone", "a test", "admit.c", "this text is not there", "", "M | M")
    with pytest.raises(mutants.StaleSubstitution, match="0 times"):
        mutants.mutate(gone, tmp_path)


def test_a_program_that_cannot_be_read_is_refused(built: Path) -> None:
    answer = run([built, "R | Y"])
    assert answer.returncode == 2
    assert "cannot read" in answer.stderr
