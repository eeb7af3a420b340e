"""The checks, each a function from what was asked for to an outcome."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.sanitizers import pythons
from tests.sanitizers.outcome import BUILD, ROOT, Outcome, judge, run, timed
from tests.sanitizers.trees import CC, HERE, environment, reports_of, runtime, tree

PARKERS = ("futex", "pthread") if sys.platform == "linux" else ("pthread",)
SUITE = ("tests/test_contract_*.py", "tests/test_scenarios_*.py", "tests/test_regressions_*.py")
BESIDE = ("tests/test_capi.py", "tests/test_lock_word.py")
# ASan of gcc 12 does not hold its allocator over a fork: if another thread is in there, the child hangs at its next malloc. So
# these have Python's own allocator, which asks for memory far less often.
FORKS = ("tests/test_scenarios_fork.py",)
SMOKE = ("tests/test_contract_cancel.py", "tests/test_scenarios_cancel_release.py", "tests/test_regressions_native.py")
PASSED, C_TEST, CYCLES, STRESS = r"^.*?(\d+) passed", r"^  [a-z]\w+", r"^  \d+ cycles:", r"^[\d,]+ operations in"
FLAGS = {"address": "address,undefined", "thread": "thread", "leak": "leak"}
PLANTED = {"address": ("freed", "overflow"), "thread": ("race",), "leak": ("leak",)}
SUITE_SECONDS = 3000.0


@dataclass
class Wanted:
    """What the command line asks for."""

    seconds: float
    smoke: bool

    @property
    def cycles(self) -> int:
        """How many acquisitions the leak checks cancel."""
        return 100_000 if self.smoke else 1_000_000

    def files(self, folder: Path, more: tuple[str, ...] = ()) -> list[str]:
        """Return the test files to run, as seen from a copy of the tree."""
        patterns = SMOKE if self.smoke else (*SUITE, *more)
        return sorted(path.relative_to(folder).as_posix() for pattern in patterns for path in folder.glob(pattern))


Check = Callable[[Wanted], Outcome]


def bites(sanitize: str, _wanted: Wanted) -> Outcome:
    """See that the sanitizer reports a planted bug: in a program, and in a library that Python loads."""
    outcome, began = Outcome(f"bites-{sanitize}"), time.monotonic()
    built = BUILD / "broken" / sanitize
    built.parent.mkdir(parents=True, exist_ok=True)
    flags: list[str | Path] = [
        f"-fsanitize={FLAGS[sanitize]}",
        "-fno-sanitize-recover=all",
        "-g",
        "-O1",
        "-pthread",
        HERE / "broken.c",
    ]
    done = run(f"{outcome.name}-build", [*CC, *flags, "-o", built], 60)
    judge(outcome, done, "(?!)")
    in_python = sanitize in ("address", "thread")
    if in_python:
        judge(outcome, run(f"{outcome.name}-library", [*CC, *flags, "-shared", "-fPIC", "-o", f"{built}.so"], 60), "(?!)")
    if not outcome.ok:
        return timed(outcome, began)
    for bug in PLANTED[sanitize]:
        reports = reports_of(f"{outcome.name}-{bug}")
        env = environment(ROOT, sanitize, reports, pure=False) if in_python else dict(os.environ)
        commands: dict[str, list[str | Path]] = {"program": [built, bug]}
        if in_python:
            commands["python"] = [sys.executable, "-c", f"import ctypes; ctypes.CDLL('{built}.so').{bug}()"]
        for where, command in commands.items():
            name = f"{outcome.name}-{bug}-{where}"
            caught = Outcome(name)
            judge(caught, run(name, command, 60, env=env if where == "python" else None), "(?!)", reports)
            outcome.tests += 1
            if not caught.reports:
                outcome.failures.append(f"{name}: the planted bug is not reported")
    return timed(outcome, began)


def c_tests(sanitize: str, wanted: Wanted) -> Outcome:
    """Run the C tests under a sanitizer, with each parker."""
    outcome, began = Outcome(f"c-{sanitize}"), time.monotonic()
    seconds = 2 if wanted.smoke else max(2, int(wanted.seconds / 4))
    for parker in PARKERS:
        make = [
            "make",
            "-C",
            "tests/c",
            "--no-print-directory",
            f"SANITIZE={sanitize}",
            f"PARKER={parker}",
            f"SECONDS_={seconds}",
        ]
        judge(outcome, run(f"{outcome.name}-{parker}", [*make, "test"], 1200 + 4 * wanted.seconds), C_TEST)
    return timed(outcome, began)


def leaks(wanted: Wanted) -> Outcome:
    """Let the C program begin and cancel acquisitions, and look for what it has lost: by LSan alone, and beside ASan."""
    outcome, began = Outcome("c-leak"), time.monotonic()
    for sanitize in ("leak", "address", "thread"):
        for parker in PARKERS:
            make = ["make", "-C", "tests/c", "--no-print-directory", f"SANITIZE={sanitize}", f"PARKER={parker}"]
            judge(outcome, run(f"leak-{sanitize}-{parker}", [*make, f"CYCLES={wanted.cycles}", "leaks"], 900), CYCLES)
    return timed(outcome, began)


def pytest(python: str, *options: str) -> list[str]:
    """Return the command for the suite, with patience for what a sanitizer slows down."""
    return [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not once", "-o", "timeout=900", *options]


def suite(sanitize: str, pure: bool, wanted: Wanted) -> Outcome:
    """Run the suite on one front, with the extension modules built for a sanitizer whose runtime is preloaded."""
    outcome, began = Outcome(f"{sanitize}-{'pure' if pure else 'native'}"), time.monotonic()
    folder, reports = tree(sanitize, sys.executable, sanitize), reports_of(outcome.name)
    env = environment(folder, sanitize, reports, pure=pure)
    files = wanted.files(folder, BESIDE)
    apart = [file for file in files if sanitize == "address" and file in FORKS]
    done = run(
        outcome.name, pytest(sys.executable, *(file for file in files if file not in apart)), SUITE_SECONDS, cwd=folder, env=env
    )
    judge(outcome, done, PASSED, reports)
    if apart:
        del env["PYTHONMALLOC"]
        judge(
            outcome,
            run(f"{outcome.name}-forks", pytest(sys.executable, *apart), SUITE_SECONDS, cwd=folder, env=env),
            PASSED,
            reports,
        )
    return timed(outcome, began)


def stress(sanitize: str, wanted: Wanted) -> Outcome:
    """Run the stress on both fronts."""
    outcome, began = Outcome(f"{sanitize}-stress"), time.monotonic()
    folder = tree(sanitize, sys.executable, sanitize)
    for pure in (False, True):
        reports = reports_of(f"{outcome.name}-{pure}")
        env = environment(folder, sanitize, reports, pure=pure)
        command = [sys.executable, "-m", "tests.stress", "--seconds", str(wanted.seconds)]
        done = run(f"{outcome.name}-{'pure' if pure else 'native'}", command, 120 + 2 * wanted.seconds, cwd=folder, env=env)
        judge(outcome, done, STRESS, reports)
    return timed(outcome, began)


def freethreaded(wanted: Wanted) -> Outcome:
    """Run the stress without a GIL, on a CPython that is itself built with ThreadSanitizer."""
    outcome, began = Outcome("freethreaded-stress"), time.monotonic()
    python = pythons.sanitized_python()
    if not python:
        outcome.skipped = "no free-threaded CPython with ThreadSanitizer here, and nothing that builds one"
        return outcome
    folder = tree("freethreaded", python, "thread")
    for pure in (False, True):
        reports = reports_of(f"{outcome.name}-{pure}")
        env = environment(folder, "thread", reports, pure=pure, preload=False)
        command = [python, "-X", "gil=0", "-m", "tests.stress", "--loop", "asyncio", "--seconds", str(wanted.seconds)]
        done = run(f"{outcome.name}-{'pure' if pure else 'native'}", command, 120 + 2 * wanted.seconds, cwd=folder, env=env)
        judge(outcome, done, STRESS, reports)
    return timed(outcome, began)


def growth(pure: bool, wanted: Wanted) -> Outcome:
    """Run each test of the suite again and again, and count what keeps growing: on a debug build of CPython, references too."""
    outcome, began = Outcome(f"growth-{'pure' if pure else 'native'}"), time.monotonic()
    python = pythons.debug_python()
    options = ["-X", "dev"] if not python else []
    folder = tree("debug" if python else "plain", python or sys.executable, "")
    env = environment(folder, "", Path(), pure=pure)
    words = pytest(python or sys.executable, "-p", "tests.sanitizers.growth", "-p", "no:faulthandler", *wanted.files(folder))
    words[1:1] = options
    judge(outcome, run(outcome.name, words, SUITE_SECONDS, cwd=folder, env=env), PASSED)
    return timed(outcome, began)


def cycles(wanted: Wanted) -> Outcome:
    """Cancel acquisitions in Python, on both fronts, and count what keeps growing."""
    outcome, began = Outcome("growth-cycles"), time.monotonic()
    python = pythons.debug_python()
    folder = tree("debug" if python else "plain", python or sys.executable, "")
    for pure in (False, True):
        command = [python or sys.executable, "-m", "tests.sanitizers.cycles", str(wanted.cycles)]
        env = environment(folder, "", Path(), pure=pure)
        judge(outcome, run(f"{outcome.name}-{'pure' if pure else 'native'}", command, 1200, cwd=folder, env=env), r"cancelled,")
    return timed(outcome, began)


def checks() -> dict[str, Check]:
    """Name the checks, in their order."""
    found: dict[str, Check] = {}
    for sanitize in ("address", "thread", "leak"):
        found[f"bites-{sanitize}"] = partial(bites, sanitize)
    for sanitize in ("address", "thread"):
        found[f"c-{sanitize}"] = partial(c_tests, sanitize)
    found["c-leak"] = leaks
    for sanitize in ("address", "thread"):
        if runtime(sanitize):
            found[f"{sanitize}-native"] = partial(suite, sanitize, False)
            found[f"{sanitize}-pure"] = partial(suite, sanitize, True)
            found[f"{sanitize}-stress"] = partial(stress, sanitize)
    found["freethreaded-stress"] = freethreaded
    found["growth-native"] = partial(growth, False)
    found["growth-pure"] = partial(growth, True)
    found["growth-cycles"] = cycles
    return found
