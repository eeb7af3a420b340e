"""Runs programs on a built explorer, each in a process of its own, on both cores."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

AT_ONCE = 2
GREED, LEAST_SHARE = 4, 0.1  # many programs need less than their share; seconds of processor time


@dataclass(frozen=True)
class Outcome:
    """What exploring one program gave. `lines`: the explorer's own on it, with the replay of a violation."""

    program: str
    schedules: int
    violations: int
    cut: int
    lines: tuple[str, ...]


def run(explorer: Path, options: Iterable[str], program: str) -> Outcome:
    """Explore one program."""
    done = subprocess.run([explorer, *options, program], capture_output=True, text=True, check=False)
    *lines, last = done.stdout.splitlines() or [""]
    total = re.fullmatch(r"programs 1 schedules (\d+) violations (\d+)(?: cut (\d+))?", last)
    if total is None:
        message = f"the explorer did not end as it should on '{program}': {done.stdout}{done.stderr}"
        raise RuntimeError(message)
    return Outcome(program, int(total[1]), int(total[2]), int(total[3] or 0), tuple(lines))


def run_all(
    explorer: Path,
    options: Iterable[str],
    programs: Iterable[str],
    at_once: int = AT_ONCE,
    seconds: float = 0.0,
    within: float = 0.0,
) -> Iterator[Outcome]:
    """Explore the programs, `at_once` at a time; yield what each gave, in their order.

    `seconds`: of processor time, after which a program is cut. `within`: about when all should be through; no program may take
    more than GREED times its share of what is left of it, so that the last ones have their turn too.
    """
    given, end, listed = tuple(options), time.monotonic() + within, list(programs)

    def one(number: int, program: str) -> Outcome:
        left = max(0.0, end - time.monotonic()) * at_once / (len(listed) - number)
        share = max(LEAST_SHARE, GREED * left)
        most = min(seconds or share, share) if within else seconds
        return run(explorer, [*given, *(["--seconds", f"{most:.2f}"] if most else [])], program)

    with ThreadPoolExecutor(at_once) as pool:
        yield from pool.map(one, range(len(listed)), listed)


def closing(outcomes: Iterable[Outcome]) -> str:
    """Return the last line of a run: what was explored, and how many programs were not explored to the end."""
    all_ = list(outcomes)
    violations, cut = sum(each.violations for each in all_), sum(each.cut for each in all_)
    line = f"programs {len(all_)} schedules {sum(each.schedules for each in all_)} violations {violations}"
    return f"{line} cut {cut}" if cut else line
