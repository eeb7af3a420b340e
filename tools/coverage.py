"""Line and branch coverage of csrc/*.c by gcov: under the C tests, under the explorer, and under either.

    python -m tools.coverage [--executions N] [--missing]

The counts stay in build/coverage. Compiled without optimisation, so that branches are those of the source. Both builds
have the same lines but other atomics: a line's branches are matched by their place in it where both builds have as many,
else the better of the two counts. What a test that was killed has run is lost, which makes the figures smaller, never larger.
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
from tests.explorer.building import CORE, CSRC, HERE, OWN

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "build" / "coverage"
CC = os.environ.get("CC", "cc")
GCOV = os.environ.get("GCOV", "gcov")
PARKER = "futex" if sys.platform == "linux" else "pthread"
# gcc's own fork would forget what pthread_atfork's handlers did in the child.
COVERED = ["--coverage", "-fprofile-update=atomic", "-fno-builtin-fork"]
# A child that leaves by _exit writes its counts too.
FLUSH = "void __gcov_dump(void); void __real__exit(int); void __wrap__exit(int s) { __gcov_dump(); __real__exit(s); }\n"

Line = tuple[str, int]
Counts = dict[Line, tuple[int, list[int]]]  # how often the line ran, and each of its branches


def run_c_tests() -> list[Path]:
    """Build and run tests/c; return where the counts are."""
    flags = f"-std=gnu11 -O0 -g -pthread -w -I../../csrc -I. -MMD {' '.join(wrapped())}"
    flags += " -DLOTS_PARKER_PTHREAD" if PARKER == "pthread" else ""
    make = ["make", "-s", "-C", "tests/c", f"PARKER={PARKER}", f"BUILD={OUT}/c", "SECONDS_=2", f"FLAGS={flags}"]
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    subprocess.run([*make, f"CC={CC} {' '.join(COVERED)}", "test"], cwd=ROOT, env=environment, check=True, stdout=sys.stderr)
    return sorted((OUT / "c" / PARKER).glob("*.gcda"))


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
                if "csrc" not in name.parts or not (ROOT / "csrc" / name.name).exists():
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
    OUT.mkdir(parents=True)
    (OUT / "flush.c").write_text(FLUSH)
    subprocess.run([*CC.split(), "-c", "-o", OUT / "flush.o", OUT / "flush.c"], check=True)
    c_tests, explored = counts(run_c_tests()), counts(run_explorer(options.executions))
    both = either(c_tests, explored)
    table({"C tests": c_tests, "explorer": explored, "either": both})
    if options.missing:
        for (file, number), (ran, branches) in sorted(both.items()):
            if not ran or not all(branches):
                text = (ROOT / "csrc" / file).read_text(encoding="utf-8").splitlines()[number - 1].strip()
                print(f"{file}:{number}: {'never ran' if not ran else f'branches {branches}'}: {text}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
