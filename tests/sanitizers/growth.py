"""A pytest plugin (`-p tests.sanitizers.growth`) that runs each test again and again and fails it if something keeps growing.

As `python -m test -R 3:3` does for CPython's own: three runs to warm up, three that count, and what grew in each of those is
a leak. Counted are the objects of the project's own types, file descriptors, threads, allocated blocks, and, on a debug build
of CPython, all references. Caches that fill slowly look like leaks, so what grows is given more runs before it is believed.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import itertools
import os
import sys
import threading
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from _pytest.runner import runtestprotocol

WARM, COUNTED, LOOKS = 3, 3, 8
LONG = 3.0  # seconds: a test that takes longer is warm after one run
# In a test's name: a loop of uvloop's, each of which keeps a reference or two of its own, with nothing of aiolots about: even
# `uvloop.new_event_loop()`, one `run_until_complete` and `close()` do. So only its references are not counted.
FOREIGN = ("uvloop", "two_loops", "any_loop_kind")
ONLY_ONCE = ("test_locks_that_are_made_without_a_loop_serve_one_loop_after_the_other",)  # it is about a global of its own
# How much more, in each run, is growth. What is leaked is a block or more and a reference; a block or two without a reference
# come and go with the insides of dicts, here as in CPython's own hunt for leaks.
LEAST = {"blocks": 3}


def own(objects: Iterable[Any]) -> Counter[str]:
    """Count the objects of the project's own types, and sockets."""
    found: Counter[str] = Counter()
    for thing in objects:
        kind = type(thing)
        module: object = kind.__module__
        if isinstance(module, str) and (module.startswith("aiolots") or kind.__name__ == "socket"):
            found[f"{module}.{kind.__qualname__}"] += 1
    return found


def descriptors() -> int:
    """Count the open file descriptors, with the one that it takes to look."""
    return len(os.listdir("/proc/self/fd" if sys.platform == "linux" else "/dev/fd"))


COUNTERS: dict[str, Callable[[], int]] = {
    "own objects": lambda: own(gc.get_objects()).total(),
    "descriptors": descriptors,
    "threads": threading.active_count,
    "blocks": sys.getallocatedblocks,
}
if hasattr(sys, "gettotalrefcount"):
    COUNTERS["references"] = sys.gettotalrefcount


class Series:
    """What was counted after each run, in memory that was taken before: the counting itself must not grow."""

    def __init__(self, names: list[str], length: int) -> None:
        self.values = {name: array("q", [0] * length) for name in names}
        self.count = 0
        self.threads = threading.active_count()  # pytest-timeout has one

    def take(self) -> None:
        """Count."""
        settle(self.threads)
        for name, values in self.values.items():
            values[self.count] = COUNTERS[name]()
        self.count += 1

    def growing(self) -> dict[str, list[int]]:
        """Return what has grown in each of the last runs, and by how much."""
        found = {}
        for name, values in self.values.items():
            last = values[self.count - COUNTED - 1 : self.count]
            deltas = [after - before for before, after in itertools.pairwise(last)]
            if all(delta >= LEAST.get(name, 1) for delta in deltas):
                found[name] = deltas
        return found


def settle(threads: int) -> None:
    """Let go of all that is only waiting to be let go of, and of the threads that are on their way out."""
    end = time.monotonic() + 1.0
    while threading.active_count() > threads and time.monotonic() < end:
        time.sleep(0)
    if names := getattr(sys.modules.get("aiolots._threads"), "_names", None):
        names.clear()  # of threads that have ended a thousand are kept: that they are more each time is no leak
    for _ in range(3):
        gc.collect()


def once(item: pytest.Item, nextitem: pytest.Item | None) -> list[pytest.TestReport]:
    """Run a test, as if for the first time."""
    item._report_sections.clear()
    item._initrequest()  # type: ignore[attr-defined]
    return runtestprotocol(item, log=False, nextitem=nextitem)


def growth_of(item: pytest.Item, nextitem: pytest.Item | None) -> tuple[list[pytest.TestReport], str]:
    """Run a test until it is known whether it leaks; return its last reports, and what grew."""
    foreign = any(word in item.nodeid for word in FOREIGN)
    # Every object has a reference, so where those are counted blocks tell nothing more, but waver.
    unwanted = "references" if foreign or "references" not in COUNTERS else "blocks"
    names = [name for name in COUNTERS if name != unwanted]
    series = Series(names, WARM + COUNTED * LOOKS + 1)
    suspects = set(names)
    began = time.monotonic()
    reports = once(item, nextitem)
    if item.name in ONLY_ONCE:
        return reports, ""
    warm = WARM if time.monotonic() - began < LONG else 1
    runs = 1
    while all(report.passed for report in reports):
        if runs >= warm:
            series.take()
        if series.count > COUNTED and (series.count - 1) % COUNTED == 0:
            growing = {name: deltas for name, deltas in series.growing().items() if name in suspects}
            suspects = set(growing)  # what grew in every run until now
            if not growing:
                return reports, ""
            if series.count - 1 >= COUNTED * LOOKS:
                return reports, ", ".join(f"{name} by {deltas}" for name, deltas in growing.items())
        reports = once(item, nextitem)
        runs += 1
    return reports, ""


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool:
    """Run a test until it is known whether it leaks."""
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports, grew = growth_of(item, nextitem)
    for report in reports:
        if grew and report.when == "call":
            report.outcome = "failed"
            report.longrepr = f"keeps growing: {grew}\nnow there are: {own(gc.get_objects())}"
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def pytest_collection_finish() -> None:
    """Take what is there already, pytest and the tests themselves, out of the collector's sight: that makes it fast."""
    with contextlib.suppress(ImportError):
        # Its own plugin does so at the end, and then looks for who refers to trio's random numbers, among what is out of sight.
        importlib.import_module("hypothesis")
    gc.collect()
    gc.freeze()
