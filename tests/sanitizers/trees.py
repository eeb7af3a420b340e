"""Copies of the tree with the extension modules built for one check, and the environment that a sanitizer wants."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.sanitizers.outcome import BUILD, ROOT, clean, run

HERE = Path(__file__).parent
PARTS = ("aiolots", "pytest_aiolots", "csrc", "tests", "tools", "pyproject.toml", "README.md", "LICENSE")
CC = os.environ.get("CC", "cc").split()
RUNTIMES = {"address": "libasan.so", "thread": "libtsan.so"}
SETUP = "from setuptools import setup; setup()"
# pymalloc would hide what is used after it is freed; a free-threaded Python has mimalloc, and no choice.
MEMORY = {"PYTHONMALLOC": "malloc"}

OPTIONS = {
    # Python leaves much behind when it ends: leaks are for the C program, and for the count of what grows.
    "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=1:allocator_may_return_null=1:log_path={reports}",
    "UBSAN_OPTIONS": "print_stacktrace=1:log_path={reports}",
    # A fork takes all 512 bucket locks, and TSan's detector of lock order crashes at 64; a forked child starts threads. When a
    # thread's variables are given memory 16 bytes into a page, once in 256 times, gcc 12 takes that for an old glibc's, reads
    # their size from what lies before them, and dies of it ("failed to allocate 0x1ecb000175000"): it need not look at them.
    "TSAN_OPTIONS": "detect_deadlocks=0:die_after_fork=0:history_size=4:intercept_tls_get_addr=0"
    ":log_path={reports}:suppressions={suppressions}",
}


@functools.cache
def tree(name: str, python: str, sanitize: str) -> Path:
    """Copy the tree, and build the extension modules in it: for one Python, with one sanitizer or none.

    pytest finds the plugin by what is said of the distribution beside them.
    """
    folder = BUILD / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    ignore = shutil.ignore_patterns("*.so", "*.o", "__pycache__")
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / part, ignore=ignore)
        else:
            shutil.copy2(ROOT / part, folder / part)
    env = dict(os.environ, AIOLOTS_SANITIZE=sanitize, AIOLOTS_DEBUG="", AIOLOTS_WERROR="")
    if sanitize == "thread":
        env["TSAN_OPTIONS"] = "report_bugs=0"  # of a Python that is itself built so: its compiling is not under test
    done = run(f"build-{name}", [python, "-c", SETUP, "-q", "egg_info", "build_ext", "--inplace"], 600, cwd=folder, env=env)
    if done.status != 0 or len(list((folder / "aiolots").glob("_*.so"))) != 2:
        raise RuntimeError(f"the extension modules do not build: see {done.log}")
    return folder


@functools.cache
def runtime(sanitize: str) -> str:
    """Return where the compiler keeps a sanitizer's runtime, or nothing if it has none."""
    command = [*CC, f"-print-file-name={RUNTIMES[sanitize]}"]
    found = subprocess.run(command, capture_output=True, text=True, check=False, env=clean(None)).stdout.strip()
    return found if Path(found).is_absolute() else ""


def environment(folder: Path, sanitize: str, reports: Path, *, pure: bool, preload: bool = True) -> dict[str, str]:
    """Return the environment in which a Python runs a copy of the tree."""
    env = dict(os.environ, PYTHONPATH=str(folder), AIOLOTS_PURE="1" if pure else "0", PYTHONUNBUFFERED="1")
    env["AIOLOTS_R23_WAKES"] = "200"  # they are counted against a clock, and everything is slower here
    if sanitize:
        suppressions = HERE / ("tsan-python.txt" if preload else "tsan-freethreaded.txt")
        for name, value in OPTIONS.items():
            env[name] = value.format(reports=reports, suppressions=suppressions)
        if preload:
            env.update(MEMORY, LD_PRELOAD=runtime(sanitize))
    return env


def reports_of(name: str) -> Path:
    """Return a new place for the reports of a check: the sanitizers append the process id to it."""
    folder = BUILD / "reports" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder / "report"


def own_python() -> str:
    """Return the Python that runs this, for most of the checks."""
    return sys.executable
