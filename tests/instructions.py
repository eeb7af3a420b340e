"""How many instructions something takes: what it costs, whatever else the machine is busy with. A step for each of ten thousand
waiters shows in it, where it would drown in time's noise.

The processor's trap flag makes each instruction of this thread a signal, which is counted; ten microseconds each, or so.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.test_scenarios_wakes import compiled

CAN_COUNT = sys.platform == "linux" and platform.machine() == "x86_64" and "san" not in os.environ.get("LD_PRELOAD", "")

SOURCE = r"""
#include <signal.h>

static volatile long counted;

static void on_trap(int signal) { (void)signal, counted++; }

/* Below the red zone, which may be in use. */
#define SET_FLAGS(change) \
    __asm__ volatile("lea -128(%%rsp), %%rsp\n pushfq\n " change "\n popfq\n lea 128(%%rsp), %%rsp" ::: "memory", "cc")

void begin(void)
{
    struct sigaction action = {.sa_handler = on_trap};
    sigaction(SIGTRAP, &action, 0);
    counted = 0;
    SET_FLAGS("orq $0x100, (%%rsp)");
}

long end(void)
{
    SET_FLAGS("andq $~0x100, (%%rsp)");
    return counted;
}
"""


class Counter:
    """Counts the instructions of this thread."""

    def __init__(self, folder: Path) -> None:
        library: Any = compiled(SOURCE, folder)
        library.end.restype = ctypes.c_long
        self._begin, self._end = library.begin, library.end
        self.found: list[int] = []

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        """Count what is done inside, and note it in `found`."""
        begin, end = self._begin, self._end
        begin()
        try:
            yield
        finally:
            self.found.append(end())
