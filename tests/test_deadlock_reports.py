"""Every kind of deadlock that aiolots.deadlock knows, made in a process of its own: who, where, and what to do about it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PROMPTLY = 2.0  # seconds

IN_ORDER = "take them in one order"
HOLDS_ALREADY = "it holds this lock already"
NOT_WHILE_HOLDING = "must not hold what that one needs"
KINDS: dict[str, tuple[tuple[str, ...], str]] = {
    "two_threads": (("thread 'one'", "thread 'two'"), IN_ORDER),
    "three_threads": (("thread 'one'", "thread 'two'", "thread 'three'"), IN_ORDER),
    "itself": (("thread 'one'",), HOLDS_ALREADY),
    "read_write_read": (("thread 'reader'", "thread 'writer'"), "read_recursive()"),
    "read_then_write": (("thread 'one'",), "use upgradable_read(), then upgrade()"),
    "two_readers_want_to_write": (("thread 'one'", "thread 'two'"), "use upgradable_read(), then upgrade()"),
    "join": (("thread 'parent'", "thread 'child'"), NOT_WHILE_HOLDING),
    "two_tasks": (("task 'one'", "task 'two'"), IN_ORDER),
    "two_loops": (("task 'one'", "task 'two'"), IN_ORDER),
    "task_and_thread": (("thread 'one'", "task 'two'"), IN_ORDER),
    "task_itself": (("task 'one'",), HOLDS_ALREADY),
    "loop_blocks_itself": (("task 'patient'", "thread 'loop'", "thread 'other'"), "write `async with` or `await`"),
    "await_task": (("task 'parent'", "task 'child'"), NOT_WHILE_HOLDING),
    "await_gather": (("task 'parent'", "task 'child'"), NOT_WHILE_HOLDING),
    "await_group": (("task 'parent'", "task 'child'"), NOT_WHILE_HOLDING),
    "await_to_thread": (("task 'parent'", "thread 'asyncio_0'"), NOT_WHILE_HOLDING),
    "result_of_a_task": (("thread 'one'", "task 'task'"), NOT_WHILE_HOLDING),
    "trio_two_tasks": (("task 'one'", "task 'two'"), IN_ORDER),
    "trio_itself": (("task 'one'",), HOLDS_ALREADY),
    "trio_task_and_thread": (("thread 'one'", "task 'two'"), IN_ORDER),
    "trio_task_and_asyncio_task": (("task 'second'", "task 'third'"), IN_ORDER),
    "trio_nursery": (("task 'parent'", "task 'child'"), NOT_WHILE_HOLDING),
    "trio_to_thread": (("task 'parent'", "thread 'worker'"), NOT_WHILE_HOLDING),
    "trio_blocks_itself": (("task 'patient'", "thread 'run'", "thread 'other'"), "write `async with` or `await`"),
}


def source_of(kind: str) -> Path:
    return HERE / ("trio_deadlocks.py" if kind.startswith("trio_") else "deadlocks.py")


def run(kind: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"tests.{source_of(kind).stem}", kind],
        cwd=HERE.parent,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def marked(function: str) -> dict[str, list[int]]:
    """Return the lines that a function's marks say: who holds, who waits."""
    source = source_of(function).read_text(encoding="utf-8").splitlines()
    begin = next(number for number, line in enumerate(source) if line.startswith(f"def {function}("))
    found: dict[str, list[int]] = {"HOLDS": [], "WAITS": []}
    for number, line in enumerate(source[begin + 1 :], begin + 2):
        if line.startswith("def "):
            break
        if mark := re.search(r"# (HOLDS|WAITS) ", line):
            found[mark[1]].append(number)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_report_names_owners_places_and_advice(kind: str) -> None:
    owners, advice = KINDS[kind]
    ended = run(kind)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    seconds, _, report = ended.stdout.partition("\n")
    assert float(seconds) < PROMPTLY
    head = report.splitlines()[0]
    assert sorted(re.findall(r"(?:task|thread) '\w+'", head)[:-1]) == sorted(owners), report
    assert advice in report.partition("advice: ")[2], report
    lines = marked("one_and_two" if kind in ("two_tasks", "two_loops") else kind)
    for number in lines["WAITS"]:
        assert f"waits at {source_of(kind)}:{number} in" in report, report
    for number in lines["HOLDS"]:
        assert re.search(rf"(inside the `with` at|asked for at) {re.escape(str(source_of(kind)))}:{number} in", report), report
    assert "holds <aiolots." in report


def test_environment_report_logs_it() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", "import aiolots; print(aiolots.deadlock.is_running())"],
        env=os.environ | {"AIOLOTS_DEADLOCK": "report"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ended.stdout == "True\n"


def test_environment_abort_ends_the_process_with_the_report() -> None:
    program = "import threading, aiolots\nlock = aiolots.Mutex(name='doomed')\nlock.acquire()\nlock.acquire()\n"
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"AIOLOTS_DEADLOCK": "abort"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == -signal.SIGABRT
    assert "deadlock: one owner waits for itself" in ended.stderr
    assert "'doomed'" in ended.stderr


def test_environment_that_says_something_else_warns() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", "import aiolots; print(aiolots.deadlock.is_running())"],
        env=os.environ | {"AIOLOTS_DEADLOCK": "sometimes"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ended.stdout == "False\n"
    assert "sometimes is none of report, raise, abort, wait" in ended.stderr
