"""`python -m aiolots demo` as its user meets it: exit statuses, messages without tracebacks, nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from aiolots.__main__ import main

pytest.importorskip("aiohttp")

BOUND = 60.0
SMALL = ("--seconds=1", "--clients=8", "--hosts=200")
DEMO = (sys.executable, "-m", "aiolots", "demo")
# main() as `python -m aiolots` runs it, in a process to which a package is missing.
WITHOUT = "import sys; sys.modules[sys.argv.pop(1)] = None; from aiolots.__main__ import main; sys.exit(main())"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder for everything temporary; after the test it must hold what the test put there, and nothing else."""
    place = tmp_path / "place"
    place.mkdir()
    return place


def start(place: Path, *command: str, **more: Any) -> subprocess.Popen[str]:
    """Start a command away from the tree, with its own folder for temporary files."""
    environment = {**os.environ, "TMPDIR": str(place)}
    return subprocess.Popen(
        command, cwd=place, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more
    )


def run(place: Path, *options: str, command: tuple[str, ...] = DEMO) -> tuple[int, str, str]:
    """Run a command to its end; return status, output and errors, the latter without a traceback in any case."""
    with start(place, *command, *options) as process:
        output, errors = process.communicate(timeout=BOUND)
    assert "Traceback" not in errors
    return process.returncode, output, errors


def processes_that_name(text: str) -> list[str]:
    """Return the command lines of the processes with this text in them."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in line:
            found.append(line)
    return found


def test_a_run_with_summary_and_progress(place: Path) -> None:
    status, output, errors = run(place, *SMALL)
    assert (status, "all is well" in output) == (0, True), output + errors
    for word in ("requests", "p50", "p99", "wrong responses  0", "write timeouts", "longest writer wait", "0x0"):
        assert word in output
    assert "proxies at http://127.0.0.1:" in errors
    assert list(place.iterdir()) == []


def test_json_is_all_that_is_printed(place: Path) -> None:
    status, output, errors = run(place, *SMALL, "--json", "--uvloop", "--loops=1", "--updaters=1")
    assert (status, errors) == (0, "")
    summary = json.loads(output)
    assert summary["ok"] is True
    assert summary["problems"] == []
    assert summary["wrong_responses"] == summary["lock_word"] == 0
    assert summary["event_loop"] == "uvloop"
    assert summary["requests"] > 0
    assert summary["changes_applied"] == summary["changes_logged"] > 0


def test_a_named_database_is_made_once_and_kept(place: Path) -> None:
    path = place / "own.sqlite"
    status, output, _ = run(place, *SMALL, "--json", "--create", f"--database={path}")
    assert (status, json.loads(output)["hosts"]) == (0, 200)
    status, output, _ = run(place, *SMALL, "--json", "--create", f"--database={path}", "--changes-per-second=0")
    summary = json.loads(output)
    assert (status, summary["hosts"], summary["changes_logged"]) == (0, 200, 0)
    assert [file.name for file in place.iterdir()] == ["own.sqlite"]


def test_edits_by_others_during_a_run_are_applied_and_checked(place: Path) -> None:
    path = place / "own.sqlite"
    options = ("--seconds=3", "--clients=8", "--hosts=200", "--create", f"--database={path}", "--changes-per-second=0")
    with start(place, *DEMO, *options) as process:
        assert process.stderr is not None
        while "proxies at" not in process.stderr.readline():
            pass
        with sqlite3.connect(path, timeout=BOUND) as connection:
            connection.execute("UPDATE routes SET backend = 'backend-3' WHERE host < 'host-00100.example'")
        connection.close()
        output, errors = process.communicate(timeout=BOUND)
    assert process.returncode == 0, output + errors
    assert "100 applied of 100 logged" in output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--clients=0"], "'0' is not a whole number from 1"),
        (["--clients=many"], "'many' is not a whole number"),
        (["--seconds=nan"], "'nan' is not a number from"),
        (["--seconds=-1"], "'-1' is not a number from"),
        (["--port=65536"], "'65536' is not a whole number from 0 to 65535"),
        (["--changes-per-second=inf"], "'inf' is not a number"),
        (["--nonsense"], "unrecognized arguments: --nonsense"),
    ],
)
def test_bad_options(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["demo", *options])
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["nonsense"]])
def test_bad_commands(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert "usage: python -m aiolots" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("word", "status", "meaning"),
    [
        ("0", 0, "unlocked"),
        ("0x20", 0, "readers=2"),
        ("0b11011", 0, "readers=1 writer-waiting parked"),
        ("0xffffffffffffffff", 1, "impossible"),
        ("18446744073709551614", 1, "impossible"),
    ],
)
def test_decode(word: str, status: int, meaning: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["decode", word]) == status
    assert meaning in capsys.readouterr().out
    assert main(["decode", "--json", word]) == status
    assert bool(json.loads(capsys.readouterr().out)["problems"]) is bool(status)


@pytest.mark.parametrize("word", ["-1", "0x10000000000000000", "many", ""])
def test_decode_refuses_what_is_no_word(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["decode", "--", word])
    assert exit_.value.code == 2
    assert "is not a number of 64 bits" in capsys.readouterr().err


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["demo", "--help"])
    assert exit_.value.code == 0
    shown = capsys.readouterr().out
    for option in ("seconds", "clients", "hosts", "changes-per-second", "uvloop", "json", "database", "port"):
        assert f"--{option}" in shown


def test_databases_that_will_not_do(place: Path) -> None:
    missing = place / "missing.sqlite"
    assert run(place, f"--database={missing}") == (
        2,
        "",
        complaint(f"there is no database at {missing}; add --create to make one"),
    )
    assert run(place, "--create") == (2, "", complaint("--create needs --database PATH"))
    text = place / "text.sqlite"
    text.write_text("this is no database " * 100)
    assert run(place, f"--database={text}") == (2, "", complaint(f"{text}: file is not a database"))
    other = place / "other.sqlite"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE routes (host)")
    connection.close()
    status, output, errors = run(place, f"--database={other}")
    assert (status, output) == (2, "")
    assert "not one of a catalog proxy (it has no table backends, changes)" in errors
    assert {file.name for file in place.iterdir()} == {"text.sqlite", "other.sqlite"}


def test_a_port_in_use(place: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        message = complaint(f"cannot listen on 127.0.0.1 port {port}: it is in use")
        assert run(place, *SMALL, f"--port={port}") == (2, "", message)
    assert list(place.iterdir()) == []


@pytest.mark.parametrize(
    ("package", "message"),
    [
        ("aiohttp", "the demo needs aiohttp: python -m pip install 'aiolots[demo]'"),
        ("uvloop", "--uvloop needs uvloop: python -m pip install 'aiolots[demo]'"),
    ],
)
def test_missing_extras(package: str, message: str, place: Path) -> None:
    command = (sys.executable, "-c", WITHOUT, package, "demo", "--uvloop")
    assert run(place, command=command) == (2, "", complaint(message))
    assert list(place.iterdir()) == []


def test_rich_is_not_needed(place: Path) -> None:
    status, output, _ = run(place, *SMALL, command=(sys.executable, "-c", WITHOUT, "rich", "demo"))
    assert (status, "all is well" in output) == (0, True)


@pytest.mark.parametrize("uvloop", [[], ["--uvloop"]], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_run_leaves_nothing_behind(number: signal.Signals, uvloop: list[str], place: Path) -> None:
    with start(place, *DEMO, "--seconds=60", *SMALL[1:], *uvloop, start_new_session=True) as process:
        assert process.stderr is not None
        # The first line of progress: by now everything runs, the writer process too.
        while "requests" not in (line := process.stderr.readline()):
            assert line
        assert any("change_writer" in found for found in processes_that_name(str(place)))
        process.send_signal(number)
        output, errors = process.communicate(timeout=BOUND)
    assert (process.returncode, output) == (128 + number, "")
    assert errors.endswith(complaint("interrupted; everything is stopped"))
    assert "Traceback" not in errors
    assert list(place.iterdir()) == []
    assert processes_that_name(str(place)) == []


def test_a_killed_run_takes_its_writer_with_it(place: Path) -> None:
    with start(place, *DEMO, "--seconds=60", *SMALL[1:], start_new_session=True) as process:
        assert process.stderr is not None
        while "requests" not in process.stderr.readline():
            pass
        process.kill()
    deadline = time.monotonic() + BOUND
    while processes_that_name(str(place)):
        assert time.monotonic() < deadline, "the change writer outlived the demo"


def complaint(message: str) -> str:
    """Return the one line that the demo prints."""
    return f"python -m aiolots demo: {message}\n"
