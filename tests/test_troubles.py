"""Each failure mode of docs/diagnosis.md that is no deadlock, made in a process of its own: console and watchdog name it.

The deadlocks are in tests/test_deadlock_reports.py; that the console names those too is in tests/test_console.py.
"""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from aiolots import _console_client
from tests.consoles import PROMPTLY, SOURCE, place_in, trouble
from tests.test_deadlock_reports import KINDS as DEADLOCKS

KINDS = {
    "stuck_loop": "stuck loop",
    "stuck_uvloop": "stuck loop",
    "dead_owner": "dead owner",
    "dead_owner_of_a_mutex": "dead owner",
    "dead_reader": "dead owner",
    "leaked_guard": "leaked guard",
    "leaked_by_a_task": "leaked guard",
    "contention": "contention",
    "passed_on": "contention",
    "corruption": "corruption",
}
GIL = getattr(sys, "_is_gil_enabled", lambda: True)()
WITHOUT_THE_GIL = ("dead_owner_of_a_mutex", "contention", "corruption")  # tasks and variables are not looked at then
EACH = pytest.mark.parametrize("made", KINDS if GIL else WITHOUT_THE_GIL)


def named(answer: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [cause for cause in answer["causes"] if cause["kind"] == kind]


@EACH
def test_the_console_names_cause_and_place(made: str) -> None:
    kind, line = KINDS[made], place_in(made)
    with trouble(made) as process:
        began = time.monotonic()
        while not (causes := named(answer := _console_client.ask(process.socket, "ps", 10.0), kind)):
            assert time.monotonic() - began < PROMPTLY, answer
    assert time.monotonic() - began < PROMPTLY
    assert [cause["kind"] for cause in answer["causes"]] == [kind], answer
    assert (line is None) == (made in ("dead_owner_of_a_mutex", "corruption", "passed_on"))
    if line is not None:
        assert f"{SOURCE}:{line} in {made}.<locals>." in causes[0]["text"], causes
        assert any(place.startswith(f"{SOURCE}:{line} in") for place in causes[0]["places"])
    lock = {"dead_owner_of_a_mutex": "<aiolots.Mutex 'C'>", "corruption": "<aiolots.RwLock 'routes'>"}.get(
        made, "<aiolots.RwLock 'A'>"
    )
    assert causes[0]["lock"] == lock
    assert causes[0]["trouble"] == (kind != "contention")


@EACH
def test_the_watchdog_names_cause_and_place(made: str) -> None:
    kind, line = KINDS[made], place_in(made)
    if made == "corruption":  # nobody waits for that lock: it is what a probe is for, see tests/test_watchdog.py
        pytest.skip("nobody waits")
    with trouble(made, AIOLOTS_WATCHDOG="0.3") as process:
        began = time.monotonic()
        report = process.errors_until(f"\n{kind}: ")
        assert time.monotonic() - began < PROMPTLY
    assert report.startswith("aiolots watchdog: not within 0.3 s: ")
    if line is not None:
        assert f"{SOURCE}:{line} in {made}.<locals>." in report.partition(f"\n{kind}: ")[2], report
    for other in set(KINDS.values()) - {kind}:
        assert f"\n{other}: " not in report, report


def test_a_guard_that_was_passed_on_is_not_lost() -> None:
    if not GIL:
        pytest.skip("variables are not looked at")
    with trouble("passed_on") as process:
        while not (causes := _console_client.ask(process.socket, "ps", 10.0)["causes"]):
            pass
    assert "held by a thread that has ended (write)" in causes[0]["text"]
    assert "whose guard thread 'heir' has in hand" in causes[0]["text"]


@pytest.mark.skipif(not GIL, reason="tasks are not looked at")
def test_tracking_knows_that_a_task_has_ended() -> None:
    with trouble("leaked_by_a_task", AIOLOTS_TRACK="1") as process:
        while not (causes := _console_client.ask(process.socket, "ps", 10.0)["causes"]):
            pass
    assert causes[0]["kind"] == "dead owner"
    assert "is held (write) by task 'careless', which has ended, asked for at" in causes[0]["text"]
    assert f"{SOURCE}:{place_in('leaked_by_a_task')} in leaked_by_a_task.<locals>.careless" in causes[0]["text"]


def test_nothing_is_wrong() -> None:
    with trouble("nothing", AIOLOTS_WATCHDOG="0.2") as process:
        answer = _console_client.ask(process.socket, "dump", 10.0)
    assert answer["causes"] == answer["findings"] == answer["deadlocks"] == []
    assert [(lock["name"], lock["waiting"], lock["holders"], lock["state"]) for lock in answer["locks"]] == [
        ("A", 0, [], "unlocked")
    ]


def test_the_page_lists_what_is_made() -> None:
    """Each failure of the page's table is made by something here or in test_deadlock_reports, and each of these is in it."""
    page = (Path(__file__).parent.parent / "docs" / "diagnosis.md").read_text(encoding="utf-8")
    rows = [row.split("|") for row in page.split("| failure | named by | made by |")[1].split("\n\n")[0].splitlines()[2:]]
    listed = {made for row in rows for made in re.findall(r"`(\w+)`", row[3])}
    assert len(rows) >= 14
    assert listed <= {*KINDS, *DEADLOCKS}
    assert {made for made in {*KINDS, *DEADLOCKS} if not made.startswith("trio_")} <= listed
