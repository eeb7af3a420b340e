"""The example that stands still for three reasons: the tools name each, and from outside all look the same."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CAUSES = ("contention", "deadlock", "corruption")


@cache
def shown(cause: str) -> str:
    command = [sys.executable, "-m", "examples.incident", f"--{cause}"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stderr == ""
    return ended.stdout


def section(text: str, head: str) -> str:
    """Return what a tool said: the lines from its head to the next empty one."""
    return text.partition(f"\n-- {head}")[2].partition("\n")[2].partition("\n\n")[0]


@pytest.mark.parametrize("cause", CAUSES)
def test_the_cause_is_named(cause: str) -> None:
    assert shown(cause).splitlines()[-1] == f"cause: {cause}"


def test_contention_is_a_long_hold_and_ends() -> None:
    text = shown("contention")
    held = section(text, "who holds, who waits")
    assert "<aiolots.RwLock 'catalog' readers=1 writer-waiting waiters=7>" in held
    assert "thread waits to write, for readers to leave" in held
    assert section(text, "does each wait") == "no: nobody is in a cycle"
    assert section(text, "does a word lie") == "no: words, queues and guards agree"
    assert "6 of 6 requests are served in the end" in text


def test_deadlock_names_both_and_their_places() -> None:
    text = shown("deadlock")
    report = section(text, "does each wait")
    assert re.match(r"deadlock: 2 owners wait for each other, (task '.*' -> thread 'updater'|thread 'updater' -> task)", report)
    for file, statement in (("proxy.py", "async with self.backends.lock()"), ("__main__.py", "with proxy.catalog.write()")):
        source = (ROOT / "examples" / "incident" / file).read_text(encoding="utf-8").splitlines()
        line = next(number for number, code in enumerate(source, 1) if statement in code)
        assert f"waits at {ROOT}/examples/incident/{file}:{line} in" in report
    assert "advice: locks are taken in different orders" in report
    assert section(text, "does a word lie") == "no: words, queues and guards agree"
    assert "0 of 6 requests are served in the end" in text


def test_corruption_is_seen_in_the_word() -> None:
    text = shown("corruption")
    assert section(text, "does each wait") == "no: nobody is in a cycle"
    assert "the proxy says LockCorruption: " in text or text.count("task waits to read") == 6
    finding = section(text, "does a word lie")
    assert re.match(r"<aiolots.RwLock 'catalog'>, word 0xf{15}[ef]: impossible word", finding)
    assert "a count that was decremented below zero, or overwritten" in finding
    steps = [line.partition(" s ago ")[2] for line in finding.splitlines() if " s ago " in line]
    assert len(steps) == 3
    assert all(step.startswith("thread 'updater'") for step in steps)
    assert steps[2].endswith("timed out (write): 0x1a (readers=1 writer-waiting) -> 0x10 (readers=1)")
    assert "none of these made it 0xfffffffffffffffe" in finding


def test_they_look_the_same_from_outside_and_different_to_the_tools() -> None:
    outside = {tuple(line for line in shown(cause).splitlines() if "are served within" in line) for cause in CAUSES}
    assert outside == {("0 of 6 requests are served within 0.5 s",)}
    assert len({(section(shown(cause), "does each"), section(shown(cause), "does a word")) for cause in CAUSES}) == len(CAUSES)


def test_one_of_them_is_asked_for() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "examples.incident"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 2
    assert "one of the arguments --contention --deadlock --corruption is required" in ended.stderr
