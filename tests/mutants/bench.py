"""Tries one mutant after the other: compiles it into the explorer and the C tests, and says what notices it.

A bench works on a copy of csrc, tests/explorer and tests/c in a folder of its own, so nobody's edits disturb a run, and
keeps the objects of what a mutant did not change.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path

from tests.explorer.__main__ import programs as gate
from tests.explorer.building import CORE, OWN
from tests.mutants.operators import Mutant

ROOT = Path(__file__).resolve().parent.parent.parent
PARTS = ("csrc", "tests/explorer", "tests/c")
CC = os.environ.get("CC", "cc").split()
FLAGS = ["-std=gnu11", "-O2", "-w", "-pthread"]
MODEL = ["-DLOTS_MODEL", "-Itests/explorer", "-Icsrc"]
PARKERS = ["futex", "pthread"] if os.uname().sysname == "Linux" else ["pthread"]
REAL = {"futex": ["-Icsrc"], "pthread": ["-Icsrc", "-DLOTS_PARKER_PTHREAD"]}
# Programs at the first look: this many executions of each; afterwards those of the second, for what still lives.
FIRST, SECOND = 3000, 30000
# What tests/test_explorer.py runs beside the programs of the gate: flags, options, programs.
BESIDE: list[tuple[str, list[str], list[str]]] = [
    ("-DBATCH_THREADS=1", [], ["W | R | R | tR", "R | L W sR | R", "hR | tW | R", "W | R R | R | R", "L R R | W | R | R"]),
    ("", ["--cas", "1"], ["R | W", "tW | R", "L cW R | W", "M | M", "hR | tW | R"]),
    ("", ["--stale", "1", "--executions", "10000"], [
        "R | W", "W | W", "M M | M", "R R | W W", "tW | R | R", "iW+R | R", "hR | L cW R", "fW W | W | R", "L cW R | W",
        "L W | L W", "X W | W", "D W | W | K", "L W sR | W"]),
]  # fmt: skip
CPU_SECONDS = 20  # of a program: a mutant may never end
C_TEST_SECONDS = 60
SLOW = ("test_fairness", "test_stress", "test_stress_loops")

Check = tuple[str, list[str], str]  # build, options, program

# A mutant may never end, or eat all the memory there is.
LIMITED = ["sh", "-c", f'ulimit -t {CPU_SECONDS} -c 0; ulimit -v 4000000; exec "$@"', "mutant"]


class Bench:
    """A folder with a copy of the sources, in which one file at a time is wrong."""

    def __init__(self, folder: Path, *, check: bool = True) -> None:
        self.folder = folder
        for part in PARTS:
            shutil.copytree(ROOT / part, folder / part)
        self.originals = {path.name: path.read_text(encoding="utf-8") for path in (folder / "csrc").glob("*.[ch]")}
        self.real = [path.stem for path in sorted((folder / "csrc").glob("*.c")) if not path.stem.startswith("parker_")]
        tests = [path.stem for path in (folder / "tests/c").glob("test_*.c")]
        self.c_tests = sorted(tests, key=lambda name: (name in SLOW, name))
        self.checks: list[Check] = [("", ["--executions", str(FIRST)], program) for program in gate()]
        self.checks += [(flags, options, program) for flags, options, programs in BESIDE for program in programs]
        self.last = [("", ["--executions", str(SECOND)], program) for program in gate()]
        self.objects = {key: self.compile(*key) for key in self.all_objects()}
        if refused := [key for key, code in self.objects.items() if code is None]:
            raise RuntimeError(f"not even the original compiles: {refused}")
        if check and (why := self.explore({}, [*self.checks, *self.last]) or self.c_tested(None, PARKERS)):
            raise RuntimeError(f"the core itself fails: {why}")

    # --- objects -------------------------------------------------------------------------------------------------------

    def all_objects(self) -> list[tuple[str, str]]:
        """Return build and source of every object: of the explorer, of it with small batches, and of the core."""
        own = [f"tests/explorer/{Path(name).stem}.c" for name in OWN]
        core = [f"csrc/{Path(name).stem}.c" for name in CORE]
        builds = ["", *sorted({flags for flags, _, _ in BESIDE if flags})]
        return [(b, s) for b in builds for s in [*own, *core]] + [(p, f"csrc/{name}.c") for p in PARKERS for name in self.real]

    def compile(self, build: str, source: str) -> bytes | None:
        """Return the object code, or None if the compiler refuses."""
        out = self.folder / "one.o"
        flags = REAL.get(build) or [*MODEL, *build.split()]
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
                command = [*LIMITED, built[build], *options, program]
                done = subprocess.run(command, capture_output=True, check=False, timeout=20 * CPU_SECONDS)
                failed = done.returncode != 0
            except subprocess.TimeoutExpired:
                failed = True
            if failed:
                if check in self.checks:  # what killed one kills the next: it goes first
                    self.checks.remove(check)
                    self.checks.insert(0, check)
                return f"explorer: {program}"
        return ""

    def c_tested(self, file: str | None, parkers: list[str]) -> str:
        """Build and run the C tests with what is in the folder now, the slow ones with the first parker only."""
        if file:
            (self.folder / "csrc" / file).touch()
        environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
        for parker in parkers:
            flags = f"-std=gnu11 -w -O2 -pthread -I../../csrc -I. -MMD {' '.join(REAL[parker][1:])}"
            command = ["make", "-s", "-C", "tests/c", f"PARKER={parker}", f"BUILD={self.folder}/c", f"FLAGS={flags}", "build"]
            if subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, check=False).returncode:
                return "C tests: do not build"
            for test in self.c_tests:
                if test in SLOW and parker != parkers[0]:
                    continue
                if self.fails(parker, test) and self.fails(parker, test):  # chance and load do not count
                    return f"C tests: {test}"
        return ""

    def fails(self, parker: str, test: str) -> bool:
        """Run one C test."""
        command = [*LIMITED, f"{self.folder}/c/{parker}/{test}", "1"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            return process.wait(C_TEST_SECONDS) != 0
        except subprocess.TimeoutExpired:
            return True
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # and what it forked
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
            modelled = any(b not in PARKERS for b, _ in changed)
            real = [parker for parker in PARKERS if any(b == parker for b, _ in changed)]
            who = self.explore(changed, list(self.checks)) if modelled else ""
            who = who or self.c_tested(mutant.file, real)
            who = who or (self.explore(changed, self.last) if modelled else "")
            return ("killed", who) if who else ("survived", "")
        finally:
            path.write_text(self.originals[mutant.file], encoding="utf-8")
            path.touch()
