"""Tries one mutant after the other: compiles it into the explorer and the C tests, and says what notices it.

A bench works on a copy of csrc, tests/explorer and tests/c in a folder of its own, so nobody's edits disturb a run, and
keeps the objects of what a mutant did not change.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from pathlib import Path

from tests.explorer import __main__ as explorer
from tests.mutants.operators import Mutant

ROOT = Path(__file__).resolve().parent.parent.parent
PARTS = ("csrc", "tests/explorer", "tests/c")
CC = os.environ.get("CC", "cc").split()
FLAGS = ["-std=gnu11", "-O2", "-w", "-pthread"]
MODEL = ["-DLOTS_MODEL", "-Itests/explorer", "-Icsrc"]
PARKER = "futex" if os.uname().sysname == "Linux" else "pthread"
REAL = ["-Icsrc", *(["-DLOTS_PARKER_PTHREAD"] if PARKER == "pthread" else [])]
# Programs at the first look: this many executions of each; afterwards those of the second, for what still lives.
FIRST, SECOND = 3000, 60000
# What tests/test_explorer.py runs beside the programs of the gate: flags, options, programs.
BESIDE: list[tuple[str, list[str], list[str]]] = [
    ("-DBATCH_THREADS=1", [], ["W | R | R | tR", "R | L W sR | R", "hR | tW | R", "W | R R | R | R", "L R R | W | R | R"]),
    ("", ["--cas", "1"], ["R | W", "tW | R", "L cW R | W", "M | M", "hR | tW | R"]),
]
CPU_SECONDS = 20  # of a program: a mutant may never end
C_TEST_SECONDS = 60
SLOW = ("test_fairness", "test_stress", "test_stress_loops")

Folder = Path
Check = tuple[str, list[str], str]  # build, options, program


def limited() -> None:
    """Bound what a child may use; it is a mutant, after all."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))


class Bench:
    """A folder with a copy of the sources, in which one file at a time is wrong."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        for part in PARTS:
            shutil.copytree(ROOT / part, folder / part)
        self.originals = {path.name: path.read_text(encoding="utf-8") for path in (folder / "csrc").glob("*.[ch]")}
        self.real = [path.stem for path in sorted((folder / "csrc").glob("*.c")) if not path.stem.startswith("parker_")]
        self.c_tests = sorted((path.stem for path in (folder / "tests/c").glob("test_*.c")), key=lambda name: (name in SLOW, name))
        self.checks: list[Check] = [("", ["--executions", str(FIRST)], program) for program in explorer.programs()]
        self.checks += [(flags, options, program) for flags, options, programs in BESIDE for program in programs]
        self.last = [("", ["--executions", str(SECOND)], program) for program in explorer.programs()]
        self.objects = {key: self.compile(*key) for key in self.all_objects()}
        if any(code is None for code in self.objects.values()):
            raise RuntimeError("the core itself does not compile")
        if why := self.explore({}, [*self.checks, *self.last]) or self.c_tested(None):
            raise RuntimeError(f"the core itself fails: {why}")

    # --- objects -------------------------------------------------------------------------------------------------------

    def all_objects(self) -> list[tuple[str, str]]:
        """Return build and source of every object: of the explorer, of it with small batches, and of the real core."""
        own = [f"tests/explorer/{name}" for name in explorer.OWN]
        core = [f"csrc/{name}.c" for name in explorer.CORE]
        builds = ["", *sorted({flags for flags, _, _ in BESIDE if flags})]
        return [(b, s) for b in builds for s in [*own, *core]] + [("real", f"csrc/{name}.c") for name in self.real]

    def compile(self, build: str, source: str) -> bytes | None:
        """Return the object code, or None if the compiler refuses."""
        out = self.folder / "one.o"
        flags = REAL if build == "real" else [*MODEL, *build.split()]
        command = [*CC, *FLAGS, *flags, "-c", "-o", str(out), source]
        if subprocess.run(command, cwd=self.folder, capture_output=True, check=False).returncode:
            return None
        return out.read_bytes()

    def sources_of(self, file: str) -> list[str]:
        """Return what has to be compiled anew when `file` changes."""
        if file.endswith(".c"):
            return [f"csrc/{file}"]
        return sorted({source for _, source in self.objects if not source.endswith(("main.c", "engine.c"))})

    # --- what may notice ------------------------------------------------------------------------------------------------

    def link(self, build: str, changed: dict[tuple[str, str], bytes]) -> str:
        """Link the explorer of a build; return its path."""
        name = f"explorer{build}"
        objects = []
        for (b, source), code in self.objects.items():
            if b == build and code is not None:
                path = self.folder / f"{name}-{Path(source).stem}.o"
                path.write_bytes(changed.get((b, source), code))
                objects.append(str(path))
        out = str(self.folder / name)
        subprocess.run([*CC, "-pthread", "-o", out, *objects], check=True, capture_output=True)
        return out

    def explore(self, changed: dict[tuple[str, str], bytes], checks: list[Check]) -> str:
        """Run programs until one fails: what it was that did, or nothing."""
        built = {build: self.link(build, changed) for build in sorted({build for build, _, _ in checks})}
        for check in checks:
            build, options, program = check
            try:
                command = [built[build], *options, program]
                done = subprocess.run(command, capture_output=True, check=False, preexec_fn=limited, timeout=20 * CPU_SECONDS)  # noqa: PLW1509
                failed = done.returncode != 0
            except subprocess.TimeoutExpired:
                failed = True
            if failed:
                if check in self.checks:  # what killed one kills the next: it goes first
                    self.checks.remove(check)
                    self.checks.insert(0, check)
                return f"explorer: {program}"
        return ""

    def c_tested(self, file: str | None) -> str:
        """Build and run the C tests with what is in the folder now; a test has to fail twice."""
        if file:
            (self.folder / "csrc" / file).touch()
        make = ["make", "-s", "-C", "tests/c", f"PARKER={PARKER}", f"BUILD={self.folder}/c", "SECONDS_=1", "FLAGS+=-w"]
        environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
        flags = f"-std=gnu11 -w -O2 -pthread -I../../csrc -I. -MMD {' '.join(REAL[1:])}"
        command = [*make[:-1], f"FLAGS={flags}", "build"]
        if subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, check=False).returncode:
            return "C tests: do not build"
        for test in self.c_tests:
            if self.fails(test) and self.fails(test):
                return f"C tests: {test}"
        return ""

    def fails(self, test: str) -> bool:
        """Run one C test."""
        command = [f"{self.folder}/c/{PARKER}/{test}", "1"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, preexec_fn=limited)  # noqa: PLW1509
        try:
            return process.wait(C_TEST_SECONDS) != 0
        except subprocess.TimeoutExpired:
            return True
        finally:
            try:
                os.killpg(process.pid, 9)  # and what it forked
            except ProcessLookupError:
                pass
            process.wait()

    # --- one mutant -----------------------------------------------------------------------------------------------------

    def judge(self, mutant: Mutant) -> tuple[str, str]:
        """Return what became of a mutant (`refused`, `same`, `killed`, `survived`), and who killed it."""
        path = self.folder / "csrc" / mutant.file
        path.write_text(mutant.text, encoding="utf-8")
        try:
            changed: dict[tuple[str, str], bytes] = {}
            sources = self.sources_of(mutant.file)
            for key in [key for key in self.objects if key[1] in sources]:
                code = self.compile(*key)
                if code is None:
                    return "refused", ""
                if code != self.objects[key]:
                    changed[key] = code
            if not changed:
                return "same", ""
            modelled, real = any(b != "real" for b, _ in changed), any(b == "real" for b, _ in changed)
            who = (modelled and self.explore(changed, list(self.checks))) or (real and self.c_tested(mutant.file))
            who = who or (modelled and self.explore(changed, self.last))
            return ("killed", who) if who else ("survived", "")
        finally:
            path.write_text(self.originals[mutant.file], encoding="utf-8")
            path.touch()
