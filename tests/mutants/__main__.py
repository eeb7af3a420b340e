"""Mutants of the core: each with one small wrong change, which the explorer or a C test must notice.

    python -m tests.mutants                                     all of them, but known survivors
    python -m tests.mutants --sample 200 --seed 1 --budget 300  some, for five minutes at most
    python -m tests.mutants --file admit.c --recheck            known survivors of one file, too

A mutant whose object code is that of the original is none, nor is one that the compiler refuses. Who survives belongs in
survivors.txt, with a reason: three lines, `file function: old`, `=> new`, and the reason, which begins with `equivalent:`
(no test could ever notice it; not counted) or `not tested:` (say what would kill it; counted as alive). Those are not
tried again without --recheck. Verdicts are kept in build/mutants, so a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import os
import queue
import random
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.mutants.bench import ROOT, Bench, Workshop, processor_time
from tests.mutants.known import FILES, KINDS, SURVIVORS, Cache, all_mutants, reasons
from tests.mutants.operators import Mutant

HOME = ROOT / "build/mutants"
Verdict = tuple[Mutant, str, str]  # what became of it, and who killed it
BAR, BAR_OF_A_SAMPLE = 0.95, 0.90


class Run:
    """Tries mutants on some benches while there is time."""

    def __init__(self, cache: Cache, jobs: int, until: float, *, quiet: bool) -> None:
        self.cache, self.jobs, self.until, self.quiet = cache, jobs, until, quiet
        self.benches: queue.Queue[Bench] = queue.Queue()

    def judge(self, mutant: Mutant, *, deep: bool) -> Verdict:
        """Try one; "alive" if there was no time to tell."""
        if time.monotonic() > self.until:
            return mutant, "alive" if deep else "not tried", ""
        bench = self.benches.get()
        try:
            fate, who = bench.judge(mutant, deep=deep)
        finally:
            self.benches.put(bench)
        if fate != "alive":
            self.cache.keep(mutant, fate, who)
        if not self.quiet:
            print(f"{fate:9}{mutant.file}:{mutant.line} [{mutant.operator}] {mutant.old} => {mutant.new}  {who}", flush=True)
        return mutant, fate, who

    def judge_all(self, mutants: list[Mutant], *, deep: bool) -> list[Verdict]:
        """Try all of them quickly; then, if `deep`, those that live still with all there is."""
        with tempfile.TemporaryDirectory(prefix="aiolots-mutants-") as folder:
            shop = Workshop(HOME / "shop", self.cache.suite)
            shop.check(deep=deep)
            for job in range(self.jobs):
                self.benches.put(Bench(shop, Path(folder) / str(job)))
            with ThreadPoolExecutor(self.jobs) as pool:
                judged = list(pool.map(lambda mutant: self.judge(mutant, deep=False), mutants))
                alive = [mutant for mutant, fate, _ in judged if fate == "alive"]
                if deep:
                    judged = [verdict for verdict in judged if verdict[1] != "alive"]
                    judged += pool.map(lambda mutant: self.judge(mutant, deep=True), alive)
        return [verdict for verdict in judged if verdict[1] != "not tried"]


def report(judged: list[Verdict], known: dict[str, str]) -> float:
    """Print the table; return the share of those killed that are not equivalent."""
    rows: dict[str, Counter[str]] = {}
    for mutant, fate, who in judged:
        row = rows.setdefault(mutant.file, Counter())
        if fate in ("survived", "alive"):
            fate = known.get(mutant.name, "").partition(":")[0] or "no reason"
        row[who.partition(":")[0] if fate == "killed" else fate] += 1
    columns = ("explorer", "C tests", *KINDS, "no reason", "same", "refused")
    print(f"\n{'file':16}" + "".join(f"{column:>12}" for column in [*columns, "killed"]))
    total: Counter[str] = Counter()
    for row in rows.values():
        total += row
    for file, row in [*rows.items(), ("all", total)]:
        killed, alive = row["explorer"] + row["C tests"], row["not tested"] + row["no reason"]
        share = f"{100 * killed / (killed + alive):.1f} %" if killed + alive else "-"
        print(f"{file:16}" + "".join(f"{row[column]:12}" for column in columns) + f"{share:>12}")
    for mutant, fate, who in judged:
        if fate in ("survived", "alive") and mutant.name not in known:
            why = "not listed" if fate == "survived" else "no time to look deeply"
            print(f"\n{mutant.file} {mutant.place}: {mutant.old}\n=> {mutant.new}")
            print(f"{why}: line {mutant.line}, {mutant.operator}")
        elif fate == "killed" and mutant.name in known:
            print(f"\nkilled by {who}, so not a survivor any more:\n{mutant.name}")
    killed = total["explorer"] + total["C tests"]
    count = killed + total["not tested"] + total["no reason"]
    print(f"\nkilled {killed} of {count}")
    return killed / count if count else 1.0


def parsed() -> argparse.Namespace:
    """Parse the options."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sample", type=int, default=0, help="try so many, chosen at random (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice")
    parser.add_argument("--budget", type=float, default=float("inf"), help="begin no more mutants after so many seconds")
    parser.add_argument("--file", action="append", choices=FILES, help="only this file's")
    parser.add_argument("--recheck", action="store_true", help="try known survivors too")
    parser.add_argument("--fresh", action="store_true", help="forget the verdicts of earlier runs")
    parser.add_argument("--cached", action="store_true", help="only show what is known")
    parser.add_argument("--shallow", action="store_true", help="only the quick killers")
    parser.add_argument("--jobs", type=int, default=2, help="at once")
    parser.add_argument("--least", type=float, help=f"exit 1 if fewer are killed ({BAR}, or {BAR_OF_A_SAMPLE} of a sample)")
    parser.add_argument("--quiet", action="store_true", help="only the survivors and the table")
    parser.add_argument("--list", action="store_true", help="only list them")
    return parser.parse_args()


def main() -> int:
    """Run."""
    options = parsed()
    until = time.monotonic() + options.budget
    os.nice(5)
    mutants = all_mutants(tuple(options.file or FILES))
    if options.sample:
        chosen = random.Random(options.seed).sample(range(len(mutants)), min(options.sample, len(mutants)))
        mutants = [mutants[i] for i in chosen]
    if options.list:
        for m in mutants:
            print(f"{m.file}:{m.line} [{m.operator}] {m.old}  =>  {m.new}")
        return 0
    known = reasons(SURVIVORS.read_text(encoding="utf-8"))
    path = HOME / "verdicts.json"
    if options.fresh:
        path.unlink(missing_ok=True)
    cache = Cache(path)
    judged: list[Verdict] = []
    open_: list[Mutant] = []
    for mutant in mutants:
        if mutant.name in known and not options.recheck:
            judged.append((mutant, "survived", ""))
        elif (verdict := cache.look(mutant)) is not None:
            judged.append((mutant, *verdict))
        else:
            open_.append(mutant)
    if open_ and not options.cached:
        judged += Run(cache, options.jobs, until, quiet=options.quiet).judge_all(open_, deep=not options.shallow)
    judged.sort(key=lambda one: (one[0].file, one[0].line))
    share = report(judged, known)
    if open_:
        print(f"({processor_time():.0f} s of processor time)", file=sys.stderr)
    if len(judged) < len(mutants):
        print(f"(judged {len(judged)} of {len(mutants)}: no more time)", file=sys.stderr)
    least = options.least if options.least is not None else BAR_OF_A_SAMPLE if options.sample else BAR
    return 0 if share >= least else 1


if __name__ == "__main__":
    sys.exit(main())
