"""What every test run shares."""

from __future__ import annotations

import os
import platform


def pytest_report_header() -> str:
    """Say which flavour of the core is under test, so that a log of CI can be read alone."""
    flavour = [f"{name}={value}" for name, value in sorted(os.environ.items()) if name.startswith("AIOLOTS_")]
    return f"aiolots: {platform.python_implementation()} {platform.python_version()} {' '.join(flavour)}".rstrip()
