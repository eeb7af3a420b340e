"""Compiles the explorer with the core's own C files and runs programs on it.

    python -m tests.explorer                     every program of programs.txt, to the end, at two preemptions
    python -m tests.explorer --list one_preemption.txt --bound 1       the rest of the gate
    python -m tests.explorer --bound 3           at three: cut after 40 s of processor time each, and counted as cut
    python -m tests.explorer --bug 465           the logic of 2025-05-28 put back: exit 0 only if both words are found
    python -m tests.explorer --corpus            every bug of corpus.py put back: exit 0 only if each is found
    python -m tests.explorer --mutant NAME       one of them, or one memory order that is too weak ('orders': all of those)
    python -m tests.explorer -- --stale 1 'R | W'         loads may be given an old value, once
    python -m tests.explorer -- --random 1000 --seed 1    the programs of crowds.txt, at random; --pct 3: by priorities
    python -m tests.explorer -- --replay 001 'R | tW'     one execution, step by step
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.explorer.building import CORE, CSRC, HERE, OWN, build
from tests.explorer.corpus import CORPUS, ORDERS, Bug
from tests.explorer.corpus_changes import CHANGE_ORDERS, CHANGES
from tests.explorer.corpus_levels import LEVEL_ORDERS, LEVELS
from tests.explorer.corpus_trail import TRAIL, TRAIL_ORDERS
from tests.explorer.mutants import Finding, StaleSubstitution, explore_all
from tests.explorer.running import AT_ONCE, closing, run_all

__all__ = ["BUGS", "CORE", "CSRC", "HERE", "OWN", "build", "main", "programs"]

# Each bug that has a switch in csrc, with the programs that show it, and what must be found there: the two words.
BUGS = {"465": [("tW | R | W", "0xffffffffffffffff"), ("tW | R", "0xfffffffffffffffe")]}


def programs(name: str = "programs.txt") -> list[str]:
    """Return the programs of the gate (or of another list), without comments."""
    lines = (HERE / name).read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def find_bug(folder: Path, name: str) -> int:
    """Explore with a known bug compiled in; 0 only if every word that it is known for was found."""
    explorer = build(folder, f"-DLOTS_BUG_{name}")
    answers = [subprocess.run([explorer, "--expect", word, program], check=False).returncode for program, word in BUGS[name]]
    found = answers.count(0)
    print(f"bug {name}: found {found} of {len(answers)}")
    return 0 if found == len(answers) else 1


def tell(found: Finding) -> None:
    """Print a line on one bug."""
    mark = "found" if found.found else "MISSED"
    count = f"{found.schedules:8} schedules {found.seconds:5.2f} s"
    print(f"{mark:6} {found.bug.name:32} {count}  {found.bug.program:14} {found.report}")
    if found.replay:
        print(f"       {found.bug.lineage}\n       {found.replay}", flush=True)


def find_all(what: str, bugs: tuple[Bug, ...]) -> int:
    """Explore with each bug; 0 only if all are found."""
    try:
        found = [finding.found for finding in explore_all(bugs, tell)]
    except StaleSubstitution as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{what} found {sum(found)} of {len(found)}")
    return 0 if all(found) else 1


def explore(explorer: Path, options: list[str], listed: list[str], limits: argparse.Namespace) -> int:
    """Explore the programs; 1 if there is a violation, 2 if the explorer itself fails."""
    outcomes = []
    try:
        for outcome in run_all(explorer, options, listed, limits.jobs, limits.seconds, limits.within):
            outcomes.append(outcome)
            print(*outcome.lines, sep="\n", flush=True)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 2
    print(closing(outcomes))
    return 1 if any(outcome.violations for outcome in outcomes) else 0


def main() -> int:
    """Parse the options and run."""
    corpus, orders = CORPUS + CHANGES + LEVELS + TRAIL, ORDERS + CHANGE_ORDERS + LEVEL_ORDERS + TRAIL_ORDERS
    by_name = {bug.name: (bug,) for bug in corpus + orders} | {"orders": orders}
    parser = argparse.ArgumentParser(prog="python -m tests.explorer", description=__doc__.splitlines()[0])
    parser.add_argument("--bug", choices=sorted(BUGS), help="put a known bug back; succeed only if it is found")
    parser.add_argument("--corpus", action="store_true", help="put every bug of the corpus in; succeed only if all are found")
    parser.add_argument("--mutant", choices=sorted(by_name), help="one bug of the corpus, or one memory order too weak")
    parser.add_argument("--small-batches", action="store_true", help="wake one thread a batch, so that batches are full")
    parser.add_argument("--bound", type=int, default=2, help="preemptions (default 2)")
    parser.add_argument("--seconds", type=float, help="of processor time, then a program is cut (default from bound 3 on: 40)")
    parser.add_argument("--within", type=float, default=0.0, help="cut programs so that all end in about so many seconds")
    parser.add_argument("--list", default="programs.txt", help="another list of programs")
    parser.add_argument("--jobs", type=int, default=AT_ONCE, help="programs at once (default 2)")
    parser.add_argument("rest", nargs="*", help="options and programs for the explorer itself")
    options = parser.parse_args()
    if options.corpus:
        return find_all("corpus", corpus)
    if options.mutant:
        return find_all("mutant", by_name[options.mutant])
    with tempfile.TemporaryDirectory() as folder:
        if options.bug:
            return find_bug(Path(folder), options.bug)
        explorer = build(Path(folder), *(["-DBATCH_THREADS=1"] if options.small_batches else []))
        if any(not a.startswith("-") and not a.isdigit() for a in options.rest):
            return subprocess.run([explorer, *options.rest], check=False).returncode
        at_random = "--random" in options.rest
        if options.seconds is None:
            options.seconds = 40.0 if options.bound > 2 else 0.0
        listed = programs("crowds.txt" if at_random else options.list)
        return explore(explorer, ["--bound", str(options.bound), *options.rest], listed, options)


if __name__ == "__main__":
    sys.exit(main())
