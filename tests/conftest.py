"""What every test run shares."""

from __future__ import annotations

import os
import platform
import signal
import sys
from collections.abc import Iterator

import pytest


def pytest_configure() -> None:
    """A shell has its background jobs ignore Ctrl-C, and tools/both_fronts.sh runs one front there; tests press it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Iterator[None]:
    """No test leaves an exception behind as "being handled": it would be the context of each that comes later."""
    left = sys.exc_info()[1]
    yield
    assert left is None, f"{left!r} is still being handled after the test"


def pytest_report_header() -> str:
    """Say which flavour of the core is under test, so that a log of CI can be read alone."""
    flavour = [f"{name}={value}" for name, value in sorted(os.environ.items()) if name.startswith("AIOLOTS_")]
    return f"aiolots: {platform.python_implementation()} {platform.python_version()} {' '.join(flavour)}".rstrip()
