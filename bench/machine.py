"""The line that says where and with what the numbers were taken."""

from __future__ import annotations

import os
import platform
import sysconfig
from pathlib import Path

import aiolots
from aiolots._front import NATIVE
from bench.peers import Peers, gil_is_on


def processor() -> str:
    """Name the processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def gil() -> str:
    """Whether the GIL is on."""
    if gil_is_on():
        return "GIL on again" if sysconfig.get_config_var("Py_GIL_DISABLED") else "GIL on"
    return "GIL off"


def machine_line(peers: Peers) -> str:
    """The machine, the Python, the front, the peers."""
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    front = "native" if NATIVE else "pure"
    versions = ", ".join(f"{name} {version}" for name, version in peers.versions.items())
    return (
        f"{processor()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}{load}; "
        f"{python}, {gil()}; aiolots {aiolots.__version__} ({front} front); {versions}"
    )
