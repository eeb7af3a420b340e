"""Tries one mutant after the other: compiles what it changes, and says what notices it, the quickest killers first.

A workshop is what all benches share: a copy of csrc, tests/explorer and tests/c (so nobody's edits disturb a run), the
objects of the sound core, and the C tests, linked to the core as a shared library. A bench has a copy of csrc in which one
file at a time is wrong, and builds from it only the objects that change, one explorer and one library.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tests.explorer.building import CORE, OWN
from tests.explorer.mutants import INCLUDED
from tests.mutants.killers import Order, explore, run_test
from tests.mutants.operators import Mutant

ROOT = Path(__file__).resolve().parent.parent.parent
PARTS = ("csrc", "tests/explorer", "tests/c")
CC = os.environ.get("CC", "cc").split()
COMMON = ["-std=gnu11", "-O2", "-Werror=return-type", "-pthread"]
MODEL = ["-DLOTS_MODEL", "-I{shared}/tests/explorer"]
PARKERS = ["futex", "pthread"] if os.uname().sysname == "Linux" else ["pthread"]
# What the core is compiled for: under the explorer (in `small`, a batch wakes one thread), and with each parker.
KINDS = {
    "model": MODEL,
    "small": [*MODEL, "-DBATCH_THREADS=1"],
    "futex": ["-fPIC"],
    "pthread": ["-fPIC", "-DLOTS_PARKER_PTHREAD"],
}
# What a header makes of the test of its inline functions: the other tests are the judges, and are compiled without the mutant.
INLINES = "test_inlines"
MODELS = ("model", "small")
QUICK_TEST = 0.3  # seconds of processor time; tests that take longer are tried last
GLANCE = ["--bound", "1", "--executions", "300"]
Change = dict[tuple[str, str], Path]  # kind and stem of an object that differs, and where it is


class Look(NamedTuple):
    """Programs of the explorer with its options."""

    kind: str
    options: list[str]
    programs: list[str]
    seconds: int = 30  # of processor time, for each: a mutant may never end


class Cost(NamedTuple):
    """Of a C test, in seconds."""

    wall: float
    cpu: float


def processor_time() -> float:
    """Return what all ended children took."""
    times = os.times()
    return times.children_user + times.children_system


def programs_of(folder: Path) -> list[str]:
    """Return the programs of the gate, as they are in the copy."""
    lines = (folder / "tests/explorer/programs.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


class Workshop:
    """What all benches share. A later run finds it as it was, while `digest`, of all that goes into it, is the same."""

    def __init__(self, folder: Path, digest: str = "") -> None:
        self.folder = folder
        stamp = folder / "digest"
        self.is_there = bool(digest) and stamp.exists() and stamp.read_text(encoding="utf-8") == digest
        if not self.is_there:
            shutil.rmtree(folder, ignore_errors=True)
            for part in PARTS:
                shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__", "python"))
        self.originals = {path.name: path.read_text(encoding="utf-8") for path in (folder / "csrc").glob("*.[ch]")}
        gold = [*CC, "-fuse-ld=gold", "-pthread"]  # twice as quick, where it is installed
        has_gold = not subprocess.run([*gold, "-shared", "-o", folder / "none.so"], capture_output=True, check=False).returncode
        self.linker = gold if has_gold else [*CC, "-pthread"]
        self.model = [Path(name).stem for name in OWN] + [Path(name).stem for name in CORE]
        self.real = sorted(path.stem for path in (folder / "csrc").glob("*.c") if not path.stem.startswith("parker_"))
        gate = programs_of(folder)
        # First a glance at each program, then the whole of bound 1, then bound 2 and what tests/test_explorer.py has beside.
        self.glance = Order(gate)
        self.looks = [
            Look("model", ["--bound", "1", "--executions", "10000"], gate),
            Look("small", ["--executions", "3000"], gate),
            Look("model", ["--cas", "1", "--executions", "2000"], gate),
            Look("model", ["--stale", "1", "--executions", "4000"], gate),
            Look("model", ["--executions", "6000"], gate),
        ]
        self.stale = Look("model", ["--stale", "1", "--bound", "1", "--executions", "500"], gate)
        self.last = Look("model", ["--executions", "25000"], gate)
        self.objects = self.compile_all()
        self.tests = {kind: self.build_tests(kind) for kind in PARKERS}
        self.quick: dict[str, Order] = {}
        self.slow: list[str] = []
        self.patience: dict[str, float] = {}
        self.order_tests(dict.fromkeys(self.tests[PARKERS[0]], Cost(0.5, 0.1)))
        stamp.write_text(digest, encoding="utf-8")

    # --- building --------------------------------------------------------------------------------------------------------

    def stems(self, kind: str) -> list[str]:
        """Return the objects of a kind, by name."""
        return self.model if kind in MODELS else [*self.real, f"parker_{kind}", INLINES]

    def compile(self, kind: str, stem: str, csrc: Path, out: Path) -> bool:
        """Compile one object; False if the compiler refuses."""
        own = self.folder / "tests/explorer" / f"{stem}.c"
        # What the explorer wraps in a file of its own has that file's name.
        source = own if kind in MODELS and f"{stem}.c" in OWN else csrc / f"{stem}.c"
        flags = [flag.format(shared=self.folder) for flag in KINDS[kind]]
        if stem == INLINES:
            source = self.folder / "tests/c" / f"{stem}.c"
            flags.append(f"-I{self.folder}/tests/c")
        command = [*CC, *COMMON, *flags, "-MMD", f"-I{csrc}", "-c", "-o", str(out), str(source)]
        return subprocess.run(command, cwd=self.folder, capture_output=True, check=False).returncode == 0

    def compile_all(self) -> Change:
        """Compile the sound core and the explorer."""
        objects = {(kind, stem): self.folder / kind / f"{stem}.o" for kind in [*MODELS, *PARKERS] for stem in self.stems(kind)}
        self.includers = defaultdict[tuple[str, str], list[str]](list)  # file and kind: the objects that it is part of
        for kind in [*MODELS, *PARKERS]:
            (self.folder / kind).mkdir(exist_ok=True)

        def compile_one(key: tuple[str, str]) -> bool:
            return self.is_there or self.compile(*key, self.folder / "csrc", objects[key])

        with ThreadPoolExecutor(2) as pool:
            if not all(pool.map(compile_one, objects)):
                message = "not even the original compiles"
                raise RuntimeError(message)
        for (kind, stem), out in objects.items():
            for name in {Path(word).name for word in out.with_suffix(".d").read_text(encoding="utf-8").split()}:
                self.includers[name, kind].append(stem)
        return objects

    def link(self, kind: str, changed: Change, out: Path) -> Path:
        """Link the explorer, or the core as a library, with the objects that a mutant changed."""
        stems = [stem for stem in self.stems(kind) if stem != INLINES]
        objects = [str(changed.get((kind, stem), self.objects[kind, stem])) for stem in stems]
        out.unlink(missing_ok=True)
        options = [] if kind in MODELS else ["-shared", "-Wl,-soname,libcore.so"]
        subprocess.run([*self.linker, *options, "-o", str(out), *objects], check=True, capture_output=True)
        return out

    def build_tests(self, kind: str) -> dict[str, Path]:
        """Compile each C test, against the sound core."""
        library = self.link(kind, {}, self.folder / kind / "libcore.so")
        tests = {source: self.folder / kind / source.stem for source in sorted((self.folder / "tests/c").glob("test_*.c"))}

        def build_one(source: Path) -> None:
            flags = [*COMMON, *KINDS[kind], f"-I{self.folder}/csrc", f"-I{self.folder}/tests/c"]
            subprocess.run([*self.linker, *flags, "-o", str(tests[source]), str(source), str(library)], check=True)

        if not self.is_there:
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(build_one, tests))
        return {source.stem: out for source, out in tests.items()}

    # --- what a sound core does --------------------------------------------------------------------------------------------

    def order_tests(self, cost: dict[str, Cost]) -> None:
        """Order the C tests by what they cost; a mutant gets ten times as long, and some seconds."""
        names = sorted(cost, key=lambda name: cost[name].cpu)
        self.patience = {name: 4 + 10 * cost[name].wall for name in names}
        self.slow = [name for name in names if cost[name].cpu > QUICK_TEST]
        self.quick = {kind: Order(name for name in names if name not in self.slow) for kind in PARKERS}

    def check(self, *, deep: bool) -> None:
        """Run every killer on the sound core, and see how long the C tests take; but not again what was run before."""
        costs, looked = self.folder / "costs.json", self.folder / f"looked-{deep:d}"
        if not costs.exists():
            costs.write_text(json.dumps(self.cost_of_tests()), encoding="utf-8")
        self.order_tests({name: Cost(*cost) for name, cost in json.loads(costs.read_text(encoding="utf-8")).items()})
        if looked.exists():
            return
        glance = Look("model", GLANCE, self.glance.now())
        for kind, options, programs, _ in [glance, self.stale, *(self.looks if deep else [])]:
            if failed := explore(self.link(kind, {}, self.folder / kind / "explorer"), options, programs, 200):
                message = f"the core itself fails in the explorer: {failed}"
                raise RuntimeError(message)
        looked.touch()

    def cost_of_tests(self) -> dict[str, Cost]:
        """Run every C test, with every parker."""
        cost: dict[str, Cost] = {}
        for kind in PARKERS:
            for name, program in self.tests[kind].items():
                wall, cpu = time.monotonic(), processor_time()
                if not run_test(program, self.folder / kind / "libcore.so", 100):
                    message = f"the core itself fails {name}, with {kind}"
                    raise RuntimeError(message)
                now = Cost(time.monotonic() - wall, processor_time() - cpu)
                cost[name] = max(now, cost.get(name, now))
        return cost


class Bench:
    """Judges mutants, one at a time."""

    def __init__(self, workshop: Workshop, folder: Path) -> None:
        self.shop = workshop
        self.folder = folder
        shutil.copytree(workshop.folder / "csrc", folder / "csrc")

    def stems_of(self, file: str, kind: str) -> list[str]:
        """Return the objects that have to be compiled anew when `file` changes."""
        # The explorer's own files are the judges, not the judged: only those that wrap a file of the core.
        core = {Path(name).stem for name in CORE}.union(*INCLUDED.values())
        return [stem for stem in self.shop.includers[file, kind] if kind in PARKERS or stem in core]

    def compile(self, file: str, kind: str) -> Change | None:
        """Compile what `file` changes; return the objects that differ, or None if the compiler refuses."""
        changed: Change = {}
        (self.folder / kind).mkdir(exist_ok=True)
        for stem in self.stems_of(file, kind):
            out = self.folder / kind / f"{stem}.o"
            if not self.shop.compile(kind, stem, self.folder / "csrc", out):
                return None
            if out.read_bytes() != self.shop.objects[kind, stem].read_bytes():
                changed[kind, stem] = out
        return changed

    def explored(self, changed: Change, looks: list[Look]) -> str:
        """Explore: return who killed it, or nothing."""
        built: dict[str, Path] = {}
        for kind, options, programs, seconds in looks:
            if kind not in built:
                built[kind] = self.shop.link(kind, changed, self.folder / kind / "explorer")
            if (killer := explore(built[kind], options, programs, seconds)) != "":
                if killer in self.shop.glance.names:
                    self.shop.glance.killed(killer)
                return f"explorer: {killer}"
        return ""

    def tested(self, kind: str, names: list[str], changed: Change) -> str:
        """Run C tests: return who killed it, or nothing. Twice, for chance and load do not count."""
        library = self.shop.link(kind, changed, self.folder / kind / "libcore.so")
        tests = dict(self.shop.tests[kind])
        if (kind, INLINES) in changed:
            tests[INLINES] = self.folder / kind / INLINES
            command = [*self.shop.linker, "-o", str(tests[INLINES]), str(changed[kind, INLINES]), str(library)]
            subprocess.run(command, check=True, capture_output=True)
            names = [INLINES, *(name for name in names if name != INLINES)]
        for name in names:
            program, seconds = tests[name], self.shop.patience[name]
            if not run_test(program, library, seconds) and not run_test(program, library, seconds):
                if name in self.shop.quick[kind].names:
                    self.shop.quick[kind].killed(name)
                return f"C tests: {name}{'' if kind == PARKERS[0] else f' ({kind})'}"
        return ""

    def stages(self, mutant: Mutant) -> Iterator[tuple[bool, str, Callable[[Change], str]]]:
        """Yield what a mutant goes through, the quickest first: whether it is quick, the kind that has to be compiled for it,
        and the killer."""
        glance = Look("model", GLANCE, self.shop.glance.now(), 1)
        stale = [self.shop.stale] if mutant.operator == "memory order" else []
        yield True, "model", lambda changed: self.explored(changed, [glance, *stale])
        for kind in PARKERS:
            yield kind == PARKERS[0], kind, partial(self.tested, kind, self.shop.quick[kind].now())
        yield False, "small", lambda changed: self.explored(changed, self.shop.looks)
        yield False, PARKERS[0], partial(self.tested, PARKERS[0], self.shop.slow)
        yield False, "model", lambda changed: self.explored(changed, [self.shop.last])

    def judge(self, mutant: Mutant, *, deep: bool) -> tuple[str, str]:
        """Return what became of a mutant (`refused`, `same`, `killed`, `survived`, or `alive` if it was not looked at deeply),
        and who killed it."""
        path = self.folder / "csrc" / mutant.file
        path.write_text(mutant.text, encoding="utf-8")
        changed: Change = {}
        compiled: set[str] = set()
        try:
            for quick, kind, killer in [*self.stages(mutant)]:
                if not (quick or deep or not changed):
                    return "alive", ""
                if kind not in compiled:
                    compiled.add(kind)
                    built = self.compile(mutant.file, kind)
                    if built is None:
                        return "refused", ""
                    changed |= built
                if any(k == kind for k, _ in changed) and (who := killer(changed)):
                    return "killed", who
            return ("survived", "") if changed else ("same", "")
        finally:
            path.write_text(self.shop.originals[mutant.file], encoding="utf-8")
