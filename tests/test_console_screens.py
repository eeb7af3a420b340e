"""What the console's screens look like: they fit, they say what is left out, and they do without rich and without Unicode."""

from __future__ import annotations

import copy
import io
import sys
from typing import Any

import pytest

from aiolots import _console_dump, _console_layout, _console_screens
from aiolots.__main__ import main
from tests.consoles import trouble

HOLDER = {"holder": "thread 'updater'", "mode": "write", "asked_for_at": "/srv/app/routes.py:10 in update", "now_at": None}
LOCK: dict[str, Any] = {
    "lock": "<aiolots.RwLock 'catalog'>",
    "name": "catalog",
    "kind": "RwLock",
    "address": "0x7f00",
    "word": "0x9",
    "state": "write-locked parked",
    "problems": [],
    "holders": [HOLDER],
    "holders_left_out": 0,
    "waiting": 12,
    "longest": 3.25,
    "past": 0,
    "waiters": [],
}
PROCESS = {"pid": 4711, "command": "python -m service", "python": "3.11.7", "aiolots": "0.1.0", "front": "native", "time": 0.0}
CAUSE = {
    "kind": "contention",
    "lock": "<aiolots.RwLock 'catalog'>",
    "text": "<aiolots.RwLock 'catalog'>: 12 wait for it, the longest since 3.2 s at least; held by thread 'updater' (write)",
    "places": ["/srv/app/routes.py:10 in update"],
    "trouble": False,
}


def answer(**changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"process": PROCESS, "causes": [CAUSE], "locks": [LOCK], "locks_left_out": 0, "loops": []}
    return copy.deepcopy(made | changes)


def printed(found: dict[str, Any], width: int, *, everything: bool = True) -> list[str]:
    return _console_screens.plain(_console_layout.ps(found, width, everything=everything)).splitlines()


def crowd() -> dict[str, Any]:
    locks = [LOCK | {"name": f"a lock with a long name, number {i}", "holders": [HOLDER] * 5, "past": i} for i in range(30)]
    return answer(locks=locks, causes=[CAUSE | {"text": "word " * 100}] * 3)


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_it_fits(width: int) -> None:
    for found in (answer(), crowd()):
        assert max(map(len, printed(found, width))) <= width


def test_ps() -> None:
    assert printed(answer(), 100) == [
        "4711  python -m service  aiolots 0.1.0 native, Python 3.11.7",
        "",
        "WAIT  LONGEST  LOCK              STATE                HELD BY",
        "  12    3.2 s  RwLock 'catalog'  write-locked parked  thread 'updater' (write)",
        "",
        "contention: <aiolots.RwLock 'catalog'>: 12 wait for it, the longest since 3.2 s at least; held by",
        "    thread 'updater' (write)",
        "    at /srv/app/routes.py:10 in update",
    ]


def test_what_is_left_out_is_said() -> None:
    idle = LOCK | {"waiting": 0, "longest": 0.0, "holders": [], "name": "idle"}
    text = "\n".join(printed(answer(locks=[LOCK, idle], locks_left_out=7), 100, everything=False))
    assert "'idle'" not in text
    assert "and 8 more that nobody holds or waits for" in text
    assert "'idle'" in "\n".join(printed(answer(locks=[LOCK, idle]), 100))
    assert "and 2 more" in "\n".join(printed(answer(locks=[LOCK | {"holders": [HOLDER] * 3, "holders_left_out": 2}]), 200))
    assert "nothing is wrong" in printed(answer(locks=[], causes=[]), 80)


def tree() -> dict[str, Any]:
    def wait(by: dict[str, Any]) -> dict[str, Any]:
        return {
            "for": "read of <aiolots.RwLock 'catalog'>",
            "held": "write",
            "asked_for_at": "/a.py:1 in f",
            "seconds": 1.5,
            "at": "/b.py:2 in g",
            "by": by,
        }

    leaf = {"owner": "task 'three'", "now_at": None, "waiters": [], "left_out": 0}
    circle = {"owner": "thread 'one'", "now_at": None, "waiters": [], "closes_the_circle": True}
    two = {"owner": "thread 'two'", "now_at": None, "waiters": [wait(circle)], "left_out": 0}
    return answer(tree=[{"owner": "thread 'one'", "now_at": "/c.py:3 in h", "waiters": [wait(two), wait(leaf)], "left_out": 5}])


def test_tree() -> None:
    lines = _console_screens.plain(_console_layout.tree(tree(), 100)).splitlines()
    assert lines[2:12] == [
        "thread 'one'  at /c.py:3 in h",
        "├─ thread 'two' waits for read of <aiolots.RwLock 'catalog'> since 1.5 s",
        "│  │  at /b.py:2 in g",
        "│  │  which was asked for at /a.py:1 in f",
        "│  └─ thread 'one' waits for read of <aiolots.RwLock 'catalog'> since 1.5 s - and so the circle",
        "│     closes",
        "├─ task 'three' waits for read of <aiolots.RwLock 'catalog'> since 1.5 s",
        "│     at /b.py:2 in g",
        "│     which was asked for at /a.py:1 in f",
        "└─ and 5 more",
    ]


def test_without_unicode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    text = _console_screens.plain(_console_layout.tree(tree(), 80))
    text += _console_screens.plain(_console_layout.ps(answer(locks=[LOCK | {"name": "Schloß"}]), 80))
    assert text.isascii()
    assert "|- thread 'two' waits" in text


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("with_rich", [True, False])
def test_on_a_terminal(monkeypatch: pytest.MonkeyPatch, with_rich: bool) -> None:
    if with_rich:
        pytest.importorskip("rich")
    else:
        monkeypatch.setitem(sys.modules, "rich.console", None)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "stdout", terminal := Terminal())
    _console_screens.show("ps", answer(), everything=True)
    shown = terminal.getvalue()
    assert ("\x1b[" in shown) == with_rich
    assert "RwLock 'catalog'" in shown
    with _console_screens.live() as show:
        show(crowd(), True)
    assert "number 29" in terminal.getvalue() or "more lines: see ps" in terminal.getvalue()


def test_top_goes_on_until_the_process_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rich")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(sys, "stdout", terminal := Terminal())
    shown: list[float] = []
    with trouble("contention") as process:

        def pause(seconds: float) -> None:
            shown.append(seconds)
            if len(shown) == 3:
                process.process.kill()
                process.process.wait()
                process.socket.unlink()

        monkeypatch.setattr("aiolots._console_cli.time.sleep", pause)
        assert main(["top", str(process.socket), "--interval", "0.01"]) == 0
    assert shown == [0.01] * 3
    assert "RwLock 'A'" in terminal.getvalue()


def test_dump_is_text() -> None:
    waiter = {
        "waiter": "task 'x'",
        "mode": "read",
        "seconds": 1.0,
        "timed": True,
        "state": "queued",
        "at": None,
        "stack": ["/a.py:1 in f"],
    }
    found = tree() | {
        "locks": [LOCK | {"waiters": [waiter], "holders_left_out": 1}],
        "locks_left_out": 3,
        "deadlocks": ["deadlock: the report"],
        "findings": [{"kind": "impossible word", "lock": "<...>", "text": "what lies"}],
        "loops": [{"loop": "<loop>", "thread": "thread 'loop'", "stuck": 1.5, "now_at": "/d.py:4 in i"}],
        "threads": [{"thread": "thread 'one'", "stack": ["/c.py:3 in h"]}],
    }
    text = _console_dump.dumped(found)
    for wanted in (
        "process 4711: python -m service",
        "contention: <aiolots.RwLock 'catalog'>",
        "    held (write) by thread 'updater', asked for at /srv/app/routes.py:10 in update",
        "    and 1 more hold it",
        "    task 'x' waits (read) since 1.0 s, with a limit, queued",
        "    and 11 more wait",
        "and 3 more locks",
        "deadlock: the report",
        "what lies",
        "<loop> on thread 'loop', not at its callbacks for 1.5 s, at /d.py:4 in i",
        "thread 'one'\n    /c.py:3 in h",
        "├─ thread 'two' waits",
    ):
        assert wanted in text, text
