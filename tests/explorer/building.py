"""Compiles the explorer together with the core's own C files, or with those of a copy of csrc."""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
CSRC = HERE.parent.parent / "csrc"
OWN = ("main.c", "engine.c", "seam.c", "memory.c", "parker.c", "programs.c", "ghosts.c", "actors.c", "litmus.c", "armed.c",
       "gifts.c", "queues.c", "verbs.c", "locks.c", "changes.c", "notices.c",
       "levels.c", "trails.c")
CORE = ("modes", "admit", "acquire", "thread_wait", "release", "revoke", "mailbox", "parking_lot", "each", "unpark", "notify",
        "contention", "trail")


def _cc() -> str:
    return os.environ.get("CC", "cc")


def compile_objects(folder: Path, csrc: Path, only: set[str] | None, *flags: str) -> dict[str, Path]:
    """Compile the files named in `only` (all if None) against `csrc`, into `folder`; return the objects by name."""
    # Not position independent: keys are addresses and buckets hang on them, so a schedule replays only at the same ones.
    common = ["-std=gnu11", "-O2", "-g", "-fno-pie", "-Wall", "-Wextra", "-Werror", "-DLOTS_MODEL", *flags]
    common += [f"-I{HERE}", f"-I{csrc}"]
    sources = [*(HERE / name for name in OWN), *(csrc / f"{name}.c" for name in CORE)]
    objects = {s.stem: folder / f"{s.stem}.o" for s in sources if only is None or s.stem in only}

    def compile_one(source: Path) -> None:
        subprocess.run([_cc(), *common, "-c", "-o", str(objects[source.stem]), str(source)], check=True)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(compile_one, [s for s in sources if s.stem in objects]))
    return objects


def link(out: Path, objects: dict[str, Path]) -> Path:
    """Link the objects to the explorer `out`."""
    subprocess.run([_cc(), "-no-pie", "-o", str(out), *map(str, objects.values())], check=True)
    return out


def build(folder: Path, *flags: str) -> Path:
    """Compile the explorer with the core as it is into `folder` and return its path."""
    return link(folder / "explorer", compile_objects(folder, CSRC, None, *flags))
