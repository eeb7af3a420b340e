"""Builds and runs bench/core, which times the C core alone, and makes rows of what it prints."""

from __future__ import annotations

import json
import subprocess
from collections import defaultdict
from pathlib import Path

from bench.rounds import Pair, Row, row_of

HERE = Path(__file__).parent / "core"


def rows(rounds: int, *, smoke: bool) -> tuple[list[Row], list[str]]:
    """Time the core alone; and say what had to be left out."""
    skipped: list[str] = []
    try:
        built = subprocess.run(["make", "-s", "-C", str(HERE)], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return [], ["the core alone: no make here"]
    if built.returncode:
        return [], [f"the core alone does not build here: {built.stderr.strip().splitlines()[-1:]}"]
    skipped.extend(line for line in built.stdout.splitlines() if line.startswith("parking_lot"))
    program = built.stdout.strip().splitlines()[-1]
    command = [program, str(rounds), "1" if smoke else "20"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return list(read(done.stdout)), skipped


def read(output: str) -> list[Row]:
    """Each line of the output is one round of one pair: what, ours, theirs, their name, and ns per operation of both."""
    times: dict[tuple[str, str, str], tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))
    for line in output.splitlines():
        found = json.loads(line)
        ours, theirs = times[found["group"], found["what"], found["peer"]]
        ours.append(found["ours"] / 1e9)
        theirs.append(found["theirs"] / 1e9)
    return [
        row_of(Pair(f"core, {group}", what, peer, what, float, float, "core" if "parking_lot" in peer else None), "", *both)
        for (group, what, peer), both in times.items()
    ]
