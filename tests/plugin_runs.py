"""Runs of pytest, each a process of its own: for the tests of the pytest plugin."""

from __future__ import annotations

import pytest


def run(pytester: pytest.Pytester, source: str, *options: str, **outcomes: int) -> str:
    """Run one test file; return what pytest printed, having checked the numbers of passed, failed, errors."""
    pytester.makepyfile(test_it=source)
    quiet = "asyncio_default_fixture_loop_scope=function"  # pytest-asyncio has something to say else
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIOLOTS_DEADLOCK", "wait")  # else the acquire itself would say so, before the plugin sees it
        ended = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-o", quiet, "-rA", *options, timeout=90)
    ended.assert_outcomes(**outcomes)
    return ended.stdout.str() + ended.stderr.str()


def line_of(source: str, mark: str) -> int:
    """Return the number of the line that has the mark, as pytester writes the source."""
    lines = source.strip("\n").splitlines()
    (found,) = [number for number, line in enumerate(lines, 1) if f"# {mark}" in line]
    return found
