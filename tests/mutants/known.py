"""What is known of mutants from before: the survivors that have a reason, and the verdicts of earlier runs."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from pathlib import Path

from tests.mutants.bench import COMMON, PARTS, ROOT
from tests.mutants.bench import KINDS as BUILDS
from tests.mutants.operators import Mutant, mutants_of

SURVIVORS = Path(__file__).parent / "survivors.txt"
KINDS = ("equivalent", "not tested")
FILES = tuple(sorted(path.name for path in (ROOT / "csrc").glob("*.[ch]")))


def reasons(text: str) -> dict[str, str]:
    """Return the reason for each survivor that is listed, by its name."""
    found = {}
    for block in text.split("\n\n"):
        lines = [line for line in block.splitlines() if line and not line.startswith("#")]
        if lines:
            old, new, *reason = lines
            found[f"{old} {new}"] = " ".join(" ".join(reason).split())
    return found


def all_mutants(files: tuple[str, ...] = FILES) -> list[Mutant]:
    """Return every mutant of some files of csrc."""
    return [mutant for file in files for mutant in mutants_of(file, (ROOT / "csrc" / file).read_text(encoding="utf-8"))]


class Cache:
    """Verdicts of earlier runs. A mutant stays killed while its own file stays as it is; it stays alive while nothing that
    may kill it, and nothing of the core, has changed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = threading.Lock()
        self.suite = self.digest_of_suite()
        self.verdicts: dict[str, list[str]] = {}
        if path.exists():
            self.verdicts = json.loads(path.read_text(encoding="utf-8"))

    @staticmethod
    def digest_of_suite() -> str:
        """Return a name for the killers and the core as they are."""
        digest = hashlib.sha256(f"{COMMON} {BUILDS}".encode())
        for part in PARTS:
            for path in sorted((ROOT / part).glob("*.*")):
                if path.suffix in (".c", ".h", ".txt"):
                    digest.update(path.name.encode() + path.read_bytes())
        return digest.hexdigest()[:16]

    @staticmethod
    def key(mutant: Mutant) -> str:
        """Return a name for a mutant and how it is compiled."""
        return hashlib.sha256(f"{mutant.file} {BUILDS} {mutant.text}".encode()).hexdigest()[:24]

    def look(self, mutant: Mutant) -> tuple[str, str] | None:
        """Return the verdict, if there is one that still holds."""
        fate, who, suite = self.verdicts.get(self.key(mutant), ["", "", ""])
        return (fate, who) if fate and (fate != "survived" or suite == self.suite) else None

    def keep(self, mutant: Mutant, fate: str, who: str) -> None:
        """Write a verdict down at once: a run may be stopped at any time."""
        with self.lock:
            self.verdicts[self.key(mutant)] = [fate, who, self.suite]
            self.path.parent.mkdir(parents=True, exist_ok=True)
            new = self.path.with_suffix(".new")
            new.write_text(json.dumps(self.verdicts, indent=0), encoding="utf-8")
            os.replace(new, self.path)
