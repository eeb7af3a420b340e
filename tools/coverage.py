"""Line and branch coverage of csrc/*.c by gcov: under the C tests, under the explorer, and under either.

    python -m tools.coverage [--executions N] [--missing]

Exit 1 if fewer than 95 % of the branches ran, or if one of the slow paths' did not (FULL) that is not EXPLAINED.

The counts stay in build/coverage, with a copy of the sources, so that nobody's edits disturb a run. Compiled without
optimisation, so that branches are those of the source. All builds (the explorer, and each parker) have the same lines but
other atomics: a line's branches are matched by their place in it where two builds have as many, else the better of the two
counts. What a test that was killed has run is lost, which makes the figures smaller, never larger. Branches that are
explained are counted as missing in the table all the same.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from tests.explorer.__main__ import programs
from tests.explorer.building import CORE, OWN

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "build" / "coverage"
COPY = OUT / "copy"
CSRC, HERE = COPY / "csrc", COPY / "tests/explorer"
CC = os.environ.get("CC", "cc")
GCOV = os.environ.get("GCOV", "gcov")
PARKERS = ["futex", "pthread"] if sys.platform == "linux" else ["pthread"]
BAR = 0.95
# The slow paths, and all that a cancel may come through: every branch of them must run, but for these.
FULL = ("acquire.c", "thread_wait.c", "admit.c", "release.c", "unpark.c", "revoke.c", "mailbox.c")
EXPLAINED = {
    ("parking_lot.c", "while (after->next && after->next->ticket < w->ticket)"): "the last one's ticket is higher: it has been "
    "compared before, so the walk ends before the list does",
    ("bucket_lock.h", "static inline void bucket_lock_init(bucket_lock *l) { l->held = 0; }"): "the explorer's own, whose "
    "mailboxes begin zeroed",
}
# gcc's own fork would forget what pthread_atfork's handlers did in the child.
COVERED = ["--coverage", "-fprofile-update=atomic", "-fno-builtin-fork"]
# A child that leaves by _exit writes its counts too.
FLUSH = "void __gcov_dump(void); void __real__exit(int); void __wrap__exit(int s) { __gcov_dump(); __real__exit(s); }\n"

Line = tuple[str, int]
Counts = dict[Line, tuple[int, list[int]]]  # how often the line ran, and each of its branches


def run_c_tests(parker: str) -> list[Path]:
    """Build and run tests/c with one parker; return where the counts are."""
    flags = f"-std=gnu11 -O0 -g -pthread -w -I../../csrc -I. -MMD {' '.join(wrapped())}"
    flags += " -DLOTS_PARKER_PTHREAD" if parker == "pthread" else ""
    make = ["make", "-s", "-C", "tests/c", f"PARKER={parker}", f"BUILD={OUT}/c", "SECONDS_=2", f"FLAGS={flags}"]
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    make.append(f"CC={CC} {' '.join(COVERED)}")
    subprocess.run([*make, "build"], cwd=COPY, env=environment, check=True, stdout=sys.stderr)
    if subprocess.run([*make, "test"], cwd=COPY, env=environment, check=False, stdout=sys.stderr).returncode:
        print(f"a C test fails or is too slow here ({parker}): what it ran is not counted")
    return sorted((OUT / "c" / parker).glob("*.gcda"))


def wrapped() -> list[str]:
    """Return the flags that put FLUSH before every _exit."""
    return ["-Wl,--wrap=_exit", f"-Wl,{OUT}/flush.o"]


def run_explorer(executions: int) -> list[Path]:
    """Build and run the programs of the gate, in both sizes of a batch; return where the counts are."""
    folder = OUT / "explorer"
    for build, flags in (("gate", []), ("small", ["-DBATCH_THREADS=1"])):
        objects = folder / build
        objects.mkdir(parents=True)
        sources = [HERE / f"{Path(name).stem}.c" for name in OWN] + [CSRC / f"{Path(name).stem}.c" for name in CORE]
        command = [*CC.split(), *COVERED, "-std=gnu11", "-O0", "-g", "-w", "-DLOTS_MODEL", *flags, *wrapped()]
        command += [f"-I{HERE}", f"-I{CSRC}", "-o", "explorer", *map(str, sources)]
        subprocess.run(command, cwd=objects, check=True)
        limit = ["--executions", str(executions), "--cas", "1"]
        subprocess.run([objects / "explorer", *limit, *programs()], check=True, stdout=sys.stderr)
    return sorted(folder.glob("*/*.gcda"))


def counts(gcda: list[Path]) -> Counts:
    """Return what gcov tells of the files of csrc; a header's lines are those of all who include it together."""
    found: Counts = {}
    for path in gcda:
        done = subprocess.run([GCOV, "-b", "--json-format", "--stdout", path], capture_output=True, text=True, check=True)
        for answer in done.stdout.splitlines():
            for file in json.loads(answer)["files"]:
                name = Path(path.parent, file["file"]).resolve() if "/" not in file["file"] else Path(file["file"])
                if "csrc" not in name.parts or not (CSRC / name.name).exists():
                    continue
                for line in file["lines"]:
                    key = (name.name, int(line["line_number"]))
                    now = [int(branch["count"]) for branch in line["branches"]]
                    ran, before = found.get(key, (0, []))
                    longer, shorter = (now, before) if len(now) >= len(before) else (before, now)
                    both = [n + (shorter[i] if len(longer) == len(shorter) else 0) for i, n in enumerate(longer)]
                    found[key] = ran + int(line["count"]), both
    return found


def either(a: Counts, b: Counts) -> Counts:
    """Return the two together."""
    merged: Counts = {}
    for key in a.keys() | b.keys():
        ran_a, branches_a = a.get(key, (0, []))
        ran_b, branches_b = b.get(key, (0, []))
        if len(branches_a) == len(branches_b):
            branches = [x + y for x, y in zip(branches_a, branches_b, strict=True)]
        else:
            branches = max((branches_a, branches_b), key=lambda each: sum(map(bool, each)) / (len(each) or 1e9))
        merged[key] = ran_a + ran_b, branches
    return merged


def table(columns: dict[str, Counts]) -> None:
    """Print a row a file: lines and branches that ran, of how many."""
    print(f"{'file':16}" + "".join(f"{name + ' lines':>20}{'branches':>20}" for name in columns))
    files = sorted({file for file, _ in columns["either"]})
    totals: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for file in [*files, "all"]:
        row = f"{file:16}"
        for name, found in columns.items():
            lines = [each for (f, _), each in found.items() if f == file]
            branches = [count for _, each in lines for count in each]
            figures = [sum(ran > 0 for ran, _ in lines), len(lines), sum(count > 0 for count in branches), len(branches)]
            figures = totals[name] if file == "all" else figures
            if file != "all":
                totals[name] = [x + y for x, y in zip(totals[name], figures, strict=True)]
            for ran, of in (figures[:2], figures[2:]):
                row += f"{f'{ran}/{of} {100 * ran / of:5.1f} %' if of else '-':>20}"
        print(row)


def main() -> int:
    """Parse the options and run."""
    parser = argparse.ArgumentParser(prog="python -m tools.coverage", description=__doc__.splitlines()[0])
    parser.add_argument("--executions", type=int, default=3000, help="of each program of the explorer")
    parser.add_argument("--missing", action="store_true", help="list the lines with a branch that did not run")
    options = parser.parse_args()
    shutil.rmtree(OUT, ignore_errors=True)
    for part in ("csrc", "tests/c", "tests/explorer"):
        shutil.copytree(ROOT / part, COPY / part, ignore=shutil.ignore_patterns("__pycache__", "python"))
    (OUT / "flush.c").write_text(FLUSH)
    subprocess.run([*CC.split(), "-c", "-o", OUT / "flush.o", OUT / "flush.c"], check=True)
    c_tests: Counts = {}
    for parker in PARKERS:
        c_tests = either(c_tests, counts(run_c_tests(parker)))
    explored = counts(run_explorer(options.executions))
    both = either(c_tests, explored)
    table({"C tests": c_tests, "explorer": explored, "either": both})
    missing = {line: source_line(*line) for line, (ran, branches) in both.items() if not all([ran, *branches])}
    if options.missing:
        for (file, number), text in sorted(missing.items()):
            ran, branches = both[file, number]
            print(f"{file}:{number}: {f'branches {branches}' if ran else 'never ran'}: {text}")
            if (file, text) in EXPLAINED:
                print(f"    {EXPLAINED[file, text]}")
    return judged(both, missing)


def source_line(file: str, number: int) -> str:
    """Return a line of csrc."""
    return (CSRC / file).read_text(encoding="utf-8").splitlines()[number - 1].strip()


def judged(both: Counts, missing: dict[Line, str]) -> int:
    """Say what is below the bar, and which explanations explain nothing any more; return the exit status."""
    failed = False
    for (file, number), text in sorted(missing.items()):
        if file in FULL and (file, text) not in EXPLAINED:
            print(f"a slow path with a branch that never ran: {file}:{number}: {text}")
            failed = True
    for file, text in EXPLAINED.keys() - {(file, text) for (file, _), text in missing.items()}:
        print(f"explained, but it runs, or is no line any more: {file}: {text}")
        failed = True
    branches = [count for _, each in both.values() for count in each]
    share = sum(count > 0 for count in branches) / len(branches)
    print(f"branches {100 * share:.1f} %, the slow paths {'not ' if failed else ''}complete")
    return 1 if failed or share < BAR else 0


if __name__ == "__main__":
    sys.exit(main())
