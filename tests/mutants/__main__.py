"""Mutants of the core: each with one small wrong change, which the explorer or a C test must notice.

    python -m tests.mutants                        all of them, but known survivors
    python -m tests.mutants --sample 60 --seed 1   some
    python -m tests.mutants --file admit.c --recheck

A mutant whose object code is that of the original is none, nor is one that the compiler refuses. Who survives belongs in
survivors.txt, with a reason: three lines, `file: old`, `=> new`, and the reason, which begins with `equivalent:` (no test
could ever notice it; not counted), `more work:` (slower, or a wake too many, but never wrong) or `not tested:` (say what
would kill it). Those are not tried again without --recheck.
"""

from __future__ import annotations

import argparse
import os
import queue
import random
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.mutants.bench import ROOT, Bench
from tests.mutants.operators import Mutant, mutants_of

FILES = ("modes.c", "admit.c", "acquire.c", "release.c", "revoke.c", "mailbox.c", "parking_lot.c", "unpark.c", "each.c",
         "fast_path.h", "lock_word.h")  # fmt: skip
SURVIVORS = Path(__file__).parent / "survivors.txt"
KINDS = ("equivalent", "more work", "not tested")


def reasons() -> dict[str, str]:
    """Return the reason for each known survivor, by its name."""
    found = {}
    for block in SURVIVORS.read_text(encoding="utf-8").split("\n\n"):
        lines = [line for line in block.splitlines() if line and not line.startswith("#")]
        if lines:
            old, new, *reason = lines
            found[f"{old} {new}"] = " ".join(" ".join(reason).split())
    return found


def all_mutants(files: tuple[str, ...]) -> list[Mutant]:
    """Return every mutant of some files of csrc."""
    return [mutant for file in files for mutant in mutants_of(file, (ROOT / "csrc" / file).read_text(encoding="utf-8"))]


def judge_all(mutants: list[Mutant], folder: Path, jobs: int, *, quiet: bool) -> list[tuple[Mutant, str, str]]:
    """Try the mutants on `jobs` benches; return each with what became of it and who killed it."""
    benches: queue.Queue[Bench] = queue.Queue()
    for job in range(jobs):
        benches.put(Bench(folder / str(job)))

    def judge(mutant: Mutant) -> tuple[Mutant, str, str]:
        bench = benches.get()
        try:
            fate, who = bench.judge(mutant)
        finally:
            benches.put(bench)
        if not quiet or fate == "survived":
            print(f"{fate:9} {mutant.file}:{mutant.line} [{mutant.operator}] {mutant.old}  =>  {mutant.new}  {who}", flush=True)
        return mutant, fate, who

    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(judge, mutants))


def report(judged: list[tuple[Mutant, str, str]], known: dict[str, str]) -> float:
    """Print the table; return the share of those killed that are not equivalent."""
    rows: dict[str, Counter[str]] = {}
    for mutant, fate, who in judged:
        row = rows.setdefault(mutant.file, Counter())
        if fate == "survived":
            fate = known.get(mutant.name, "").partition(":")[0] or "no reason"
        row[who.partition(":")[0] if fate == "killed" else fate] += 1
    columns = ("explorer", "C tests", *KINDS, "no reason", "same", "refused")
    print(f"\n{'file':16}" + "".join(f"{column:>12}" for column in columns))
    total: Counter[str] = Counter()
    for file, row in rows.items():
        total += row
        print(f"{file:16}" + "".join(f"{row[column]:12}" for column in columns))
    print(f"{'all':16}" + "".join(f"{total[column]:12}" for column in columns))
    for mutant, fate, who in judged:
        if fate == "survived" and mutant.name not in known:
            print(f"\n{mutant.file}: {mutant.old}\n=> {mutant.new}\nnot tested: line {mutant.line}, {mutant.operator}")
        elif fate == "killed" and mutant.name in known:
            print(f"\nkilled by {who}, so not a survivor any more:\n{mutant.file}: {mutant.old}\n=> {mutant.new}")
    killed = total["explorer"] + total["C tests"]
    count = killed + total["more work"] + total["not tested"] + total["no reason"]
    print(f"killed {killed} of {count}")
    return killed / count if count else 1.0


def main() -> int:
    """Parse the options and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__.splitlines()[0])
    parser.add_argument("--sample", type=int, default=0, help="try so many, chosen at random (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice")
    parser.add_argument("--file", action="append", choices=FILES, help="only this file's")
    parser.add_argument("--recheck", action="store_true", help="try known survivors too")
    parser.add_argument("--jobs", type=int, default=1, help="at once")
    parser.add_argument("--least", type=float, default=0.0, help="exit 1 if a smaller share is killed")
    parser.add_argument("--quiet", action="store_true", help="only the survivors and the table")
    parser.add_argument("--list", action="store_true", help="only list them")
    options = parser.parse_args()
    os.nice(10)
    mutants = all_mutants(tuple(options.file or FILES))
    if options.sample:
        chosen = random.Random(options.seed).sample(range(len(mutants)), min(options.sample, len(mutants)))
        mutants = [mutants[i] for i in sorted(chosen)]
    if options.list:
        for m in mutants:
            print(f"{m.file}:{m.line} [{m.operator}] {m.old}  =>  {m.new}")
        return 0
    known = reasons()
    for name in sorted(known.keys() - {mutant.name for mutant in all_mutants(FILES)}):
        print(f"in survivors.txt, but no mutant any more: {name}")
    trusted = [] if options.recheck else [m for m in mutants if m.name in known]
    judged = [(m, "survived", "") for m in trusted]
    with tempfile.TemporaryDirectory(prefix="aiolots-mutants-") as folder:
        judged += judge_all([m for m in mutants if m not in trusted], Path(folder), options.jobs, quiet=options.quiet)
    judged.sort(key=lambda one: mutants.index(one[0]))
    return 0 if report(judged, known) >= options.least else 1


if __name__ == "__main__":
    sys.exit(main())
