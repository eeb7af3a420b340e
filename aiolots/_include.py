"""Where the headers of the core's function table are."""

from __future__ import annotations

from pathlib import Path


def get_include() -> str:
    """Return the folder with capi.h, for native code of yours that takes and releases aiolots' locks. Never waits.

    `#include "capi.h"` after Python.h, call lots_import() once, and use the table's functions from any thread, with or without
    the GIL. A lock's word is at the address that `lock.address` gives, and stays there as long as the lock lives.
    """
    package = Path(__file__).parent
    installed = package / "include"
    return str(installed if installed.is_dir() else package.parent / "csrc")
