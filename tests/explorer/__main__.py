"""Compiles the explorer with the core's own C files and runs programs on it.

    python -m tests.explorer                     every program of programs.txt
    python -m tests.explorer --bug 465           the logic of 2025-05-28 put back: exit 0 only if both words are found
    python -m tests.explorer -- --replay 001 'R | tW'     one execution, step by step
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
CSRC = HERE.parent.parent / "csrc"
OWN = ("main.c", "engine.c", "seam.c", "programs.c", "actors.c")
CORE = ("modes", "admit", "acquire", "release", "revoke", "mailbox", "parking_lot", "each", "unpark")
# Each bug with the programs that show it, and what must be found there. The two words of the incident.
BUGS = {"465": [("tW | R | W", "0xffffffffffffffff"), ("tW | R", "0xfffffffffffffffe")]}


def programs() -> list[str]:
    """Return the programs of the gate, without comments."""
    lines = (HERE / "programs.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def build(folder: Path, *flags: str) -> Path:
    """Compile the explorer into `folder` and return its path."""
    out = folder / "explorer"
    sources = [HERE / name for name in OWN] + [CSRC / f"{name}.c" for name in CORE]
    command = [os.environ.get("CC", "cc"), "-std=gnu11", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-DLOTS_MODEL"]
    command += [*flags, f"-I{HERE}", f"-I{CSRC}", "-o", str(out), *map(str, sources)]
    subprocess.run(command, check=True)
    return out


def find_bug(folder: Path, name: str) -> int:
    """Explore with a known bug compiled in; 0 only if every word that it is known for was found."""
    explorer = build(folder, f"-DLOTS_BUG_{name}")
    answers = [subprocess.run([explorer, "--expect", word, program], check=False).returncode for program, word in BUGS[name]]
    found = answers.count(0)
    print(f"bug {name}: found {found} of {len(answers)}")
    return 0 if found == len(answers) else 1


def main() -> int:
    """Parse the options and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.explorer", description=__doc__.splitlines()[0])
    parser.add_argument("--bug", choices=sorted(BUGS), help="put a known bug back; succeed only if it is found")
    parser.add_argument("--small-batches", action="store_true", help="wake one thread a batch, so that batches are full")
    parser.add_argument("rest", nargs="*", help="options and programs for the explorer itself")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.bug:
            return find_bug(Path(folder), options.bug)
        arguments = options.rest if any(not a.startswith("-") and not a.isdigit() for a in options.rest) else None
        explorer = build(Path(folder), *(["-DBATCH_THREADS=1"] if options.small_batches else []))
        return subprocess.run([explorer, *(arguments or [*options.rest, *programs()])], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
