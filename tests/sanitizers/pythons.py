"""The special Pythons: one built for debugging, which counts references, and a free-threaded one built with ThreadSanitizer.

Neither is needed to run the rest: where there is none, its checks say what they did without, or that they were skipped.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.sanitizers.outcome import ROOT, clean, run

CACHE = Path.home() / ".cache" / "aiolots"
SCRIPT = ROOT.parent / "shared" / "tools" / "freethreaded-python"
CONFIGURE = "--with-thread-sanitizer --disable-test-modules"
BUILDING = 2400.0  # seconds that a build of CPython may take
SUITE = [
    "setuptools>=77",
    "cffi>=1.17.1",
    "pytest>=8.3",
    "pytest-asyncio>=0.25",
    "pytest-timeout>=2.3",
    "hypothesis>=6.100",
    "uvloop>=0.21",
    "trio>=0.31",
    "anyio>=4.8",
]
PIP = ["-m", "pip", "install", "-q", "--disable-pip-version-check"]


def says(python: str, expression: str) -> bool:
    """Ask a Python whether something is true of it."""
    command = [python, "-c", f"import sys; sys.exit(not ({expression}))"]
    return subprocess.run(command, check=False, capture_output=True, env=clean(None)).returncode == 0


def base_debug_python() -> str:
    """Return a debug build of CPython, of the version that runs this: AIOLOTS_DEBUG_PYTHON, or as Debian names it."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    for name in (os.environ.get("AIOLOTS_DEBUG_PYTHON", ""), f"{version}-dbg", f"{version}d"):
        found = shutil.which(name) if name else None
        if found and says(found, "hasattr(sys, 'gettotalrefcount')"):
            return found
    return ""


@functools.cache
def debug_python() -> str:
    """Return a Python that counts references, with what the suite needs; nothing, if there is none.

    An extension module that is built for an ordinary Python runs there as well, but the references that it takes and gives
    are not counted: so cffi is built anew.
    """
    base = base_debug_python()
    if not base:
        return ""
    folder = ROOT / ".venvs" / "sanitizers-debug"
    python, built = folder / "bin" / "python", folder / ".built"
    if not built.exists() or built.read_text() != "\n".join(SUITE):
        made = run("debug-venv", [base, "-m", "venv", "--clear", folder], 300)
        made = run("debug-pip", [python, *PIP, "--no-binary", "cffi", *SUITE], 900) if made.status == 0 else made
        if made.status != 0:
            raise RuntimeError(f"no virtual environment for {base}: see {made.log}")
        built.write_text("\n".join(SUITE))
    return str(python)


@functools.cache
def sanitized_python() -> str:
    """Return a free-threaded CPython that is built with ThreadSanitizer; build it, if there is a script that can."""
    prefix = CACHE / "freethreaded-tsan-3.13"
    if not (prefix / "ready").exists():
        if not os.access(SCRIPT, os.X_OK):
            return ""
        # Its own races, while it compiles itself, are not under test.
        env = dict(os.environ, PYTHON_CONFIGURE=CONFIGURE, TSAN_OPTIONS="report_bugs=0 exitcode=0")
        if run("freethreaded-tsan", [SCRIPT, prefix], BUILDING, env=env).status != 0:
            return ""
    return str(prefix / "bin" / "python3.13t")
