"""Builds the explorer with one bug of corpus.py in a copy of csrc, and looks whether it is found."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from tests.explorer.building import CSRC, compile_objects, link
from tests.explorer.corpus import Bug

# What the explorer wraps in files of its own.
INCLUDED = {"parker_futex.c": {"parker", "locks"}, "keeper.c": {"armed"}}
SECONDS = 1.0  # processor time in which a bug must be found


@dataclass(frozen=True)
class Finding:
    """What exploring one bug gave. `replay` holds the explorer's options for the schedule that shows it."""

    bug: Bug
    found: bool
    schedules: int
    seconds: float
    report: str
    replay: str


class StaleSubstitution(Exception):
    """A substitution of the corpus does not fit the code any more."""


def mutate(bug: Bug, csrc: Path) -> None:
    """Apply the bug's substitutions to the copy of csrc."""
    path = csrc / bug.file
    text = path.read_text()
    for old, new in bug.edits:
        if text.count(old) != 1:
            message = f"{bug.name}: {bug.file} has the text to be replaced {text.count(old)} times, not once: {old!r}"
            raise StaleSubstitution(message)
        text = text.replace(old, new)
    path.write_text(text)


def explore(bug: Bug, shared: dict[str, Path]) -> Finding:
    """Build and explore one bug. `shared`: the objects of the sound core, by name, used where the bug changes nothing."""
    with tempfile.TemporaryDirectory() as folder_:
        folder = Path(folder_)
        csrc = folder / "csrc"
        shutil.copytree(CSRC, csrc, ignore=shutil.ignore_patterns("python"))
        mutate(bug, csrc)
        # A changed header may reach any file.
        only = INCLUDED.get(bug.file, {Path(bug.file).stem}) if bug.file.endswith(".c") else None
        objects = shared | compile_objects(folder, csrc, only, "-w")
        explorer = link(folder / "explorer", objects)
        command = [str(explorer), "--bound", "2", *bug.options, "--expect", bug.expect, bug.program]
        answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        found = finding(bug, answer)
        return replace(found, found=found.found and replays(explorer, found))


def replays(explorer: Path, found: Finding) -> bool:
    """Run the schedule that was found once more: whether it ends in the same violation."""
    command = [str(explorer), *shlex.split(found.replay)]
    again = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    return ended_in(again.stdout) == ended_in(found.report)


def ended_in(output: str) -> str:
    """Return the violation, without the addresses, which differ from run to run."""
    *_, last = [line for line in output.splitlines() if not line.startswith("programs ")] or [""]
    return re.sub(r"0x[0-9a-f]{6,}", "", last.partition(" s  ")[2] or last)


def finding(bug: Bug, answer: subprocess.CompletedProcess[str]) -> Finding:
    """Read the explorer's answer."""
    line, *rest = answer.stdout.splitlines() or [""]
    numbers = re.search(r"(\d+) schedules +([\d.]+) s  (.*)", line)
    replay = re.search(r"replay: (.*)", rest[0]) if rest else None
    seconds = float(numbers[2]) if numbers else 0.0
    found = answer.returncode == 0 and seconds <= SECONDS
    report = numbers[3] if numbers else answer.stdout + answer.stderr
    return Finding(bug, found, int(numbers[1]) if numbers else 0, seconds, report, replay[1] if replay else "")


def explore_all(bugs: tuple[Bug, ...], tell: Callable[[Finding], None]) -> list[Finding]:
    """Explore each bug, two at a time."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        shared = compile_objects(Path(folder), CSRC, None)
        findings = []
        for found in pool.map(lambda bug: explore(bug, shared), bugs):
            tell(found)
            findings.append(found)
        return findings
