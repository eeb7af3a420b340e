"""Whom the console's client believes: what another user, or a process with odd names, could put on somebody's terminal."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aiolots import _console_client, _console_path, console
from aiolots.__main__ import main
from tests.consoles import ROOT, folder
from tests.waiting import WATCHDOG

NASTY = "\x1b]0;owned\x07\r\x9b2J\u202e\u2028\ud800\tend"
ESCAPED = "\\x1b]0;owned\\x07\\r\\x9b2J\\u202e\\u2028\\ud800\\tend"
NOBODY = 65534


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of temporary files, where the default one is."""
    with folder() as made:
        monkeypatch.delenv("AIOLOTS_CONSOLE", raising=False)
        monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
        monkeypatch.setattr("tempfile.tempdir", str(made))
        yield made


@contextlib.contextmanager
def server(path: Path, answer: bytes) -> Iterator[list[bytes]]:
    """Says that to whoever asks; yields the questions."""
    asked: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            while True:
                try:
                    connected, _ = listener.accept()
                except OSError:
                    return
                with connected, contextlib.suppress(OSError):
                    connected.settimeout(WATCHDOG)
                    if question := connected.recv(4096):
                        asked.append(question)
                        connected.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield asked
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(WATCHDOG)


def saying(**answer: Any) -> bytes:
    return json.dumps({"aiolots": 1, **answer}).encode() + b"\n"


# --- the folder ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["open to others", "a link", "a file"])
def test_a_default_folder_that_is_not_private_is_not_looked_into(
    place: Path, what: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, elsewhere = place / f"aiolots-{os.geteuid()}", place / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    if what == "open to others":
        ours.mkdir()
        ours.chmod(0o777)
    elif what == "a link":
        ours.symlink_to(elsewhere)
    else:
        ours.touch()
    with contextlib.ExitStack() as stack:
        asked = [] if what == "a file" else stack.enter_context(server(ours / f"{os.getpid()}.sock", saying(error="fake")))
        for value in ("", "1"):
            monkeypatch.setenv("AIOLOTS_CONSOLE", value)
            for arguments in (["ps"], ["ps", str(os.getpid())]):
                assert main(arguments) == 3
                assert "not a folder of this user alone (mode 0700): nobody is asked there" in capsys.readouterr().err
        assert asked == []


@pytest.mark.skipif(os.geteuid() != 0, reason="to give a folder to another user takes root")
def test_a_default_folder_of_another_user_is_not_looked_into(place: Path) -> None:
    ours = place / f"aiolots-{os.geteuid()}"
    ours.mkdir(mode=0o700)
    os.chown(ours, NOBODY, NOBODY)
    with pytest.raises(_console_client.NobodyToAsk, match="not a folder of this user alone"):
        _console_client.find(None)


def test_a_folder_that_is_given_may_be_open(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = place / "shared"
    shared.mkdir()
    shared.chmod(0o755)
    assert _console_path.sockets() == []  # nobody has made the default one
    with console.serve(shared) as made:
        assert _console_client.find(str(shared)) == made.path
        monkeypatch.setenv("AIOLOTS_CONSOLE", str(shared))
        assert _console_client.find(None) == made.path


# --- who serves ---------------------------------------------------------------------------------------------------------

SERVE_AS = """
import os, socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o777)
os.setgid(65534), os.setuid(65534)
listener.listen()
print("ready", flush=True)
while True:
    connected, _ = listener.accept()
    if connected.recv(4096):
        connected.sendall(b'{"aiolots": 1, "error": "it was asked"}\\n')
    connected.close()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="to become another user takes root")
def test_root_asks_a_process_of_another_user_only_if_it_is_told_to(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ours = place / f"aiolots-{os.geteuid()}"
    ours.mkdir(mode=0o700)
    path = ours / "7.sock"
    with subprocess.Popen([sys.executable, "-c", SERVE_AS, str(path)], cwd="/", stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            assert main(["ps"]) == 4
            assert f"it is served by another user, {NOBODY}, and not asked; give its path" in capsys.readouterr().err
            for named in ("7", str(path), str(ours)):
                assert main(["ps", named]) == 4
                assert "it was asked" in capsys.readouterr().err
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("server_is", "client_is", "is_named", "asks"),
    [
        (1000, 1000, False, True),
        (0, 1000, False, True),
        (1001, 1000, False, False),
        (1001, 1000, True, False),
        (1001, 0, False, False),
        (1001, 0, True, True),
        (None, 1000, False, True),
    ],
)
def test_who_is_asked(
    place: Path, monkeypatch: pytest.MonkeyPatch, server_is: int | None, client_is: int, is_named: bool, asks: bool
) -> None:
    monkeypatch.setattr(_console_client, "uid_of", lambda _connected: server_is)
    with server(place / "s", saying(process={})) as asked:
        monkeypatch.setattr(os, "geteuid", lambda: client_is)
        if asks:
            assert "process" in _console_client.ask(place / "s", "who", WATCHDOG, is_named=is_named)
        else:
            with pytest.raises(_console_client.NoAnswer, match="served by another user, 1001"):
                _console_client.ask(place / "s", "who", WATCHDOG, is_named=is_named)
        assert bool(asked) is asks


# --- what is read -------------------------------------------------------------------------------------------------------


def test_an_answer_is_bounded(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_console_client, "_LONGEST", 1)
    with server(place / "long", saying(text="x" * (2 << 20))):
        with pytest.raises(_console_client.NoAnswer, match="longer than 1 MiB"):
            _console_client.ask(place / "long", "ps", WATCHDOG)
    with server(place / "short", saying(text="x" * (1 << 19))):
        assert len(_console_client.ask(place / "short", "ps", WATCHDOG)["text"]) == 1 << 19


def test_an_answer_that_is_nested_without_an_end(place: Path) -> None:
    with server(place / "deep", b'{"aiolots": 1, "x": ' + b"[" * 500_000), pytest.raises(_console_client.NoAnswer):
        _console_client.ask(place / "deep", "ps", WATCHDOG)


def test_no_control_characters_are_printed(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with server(place / "error", saying(error=NASTY)):
        assert main(["ps", str(place / "error")]) == 4
        assert ESCAPED in capsys.readouterr().err
    with server(place / "all", saying(**{NASTY: [NASTY, [NASTY], {NASTY: NASTY}], "number": 1, "text": "a\nb"})):
        answer = _console_client.ask(place / "all", "ps", WATCHDOG)
    assert answer == {
        "aiolots": 1,
        ESCAPED: [ESCAPED, [ESCAPED], {ESCAPED: ESCAPED}],
        "number": 1,
        "text": "a\nb",
    }
    nasty = place / f"no{NASTY[:9]}where"
    assert main(["ps", str(nasty)]) == 3
    assert "there is no such socket" in (printed := capsys.readouterr().err)
    assert "\x1b" not in printed


@pytest.mark.parametrize("command", ["ps", "tree", "dump", "top"])
def test_odd_names_of_a_process_are_printed_escaped(command: str) -> None:
    program = (
        "import aiolots, sys, threading, time\n"
        f"lock = aiolots.Mutex(name={NASTY[:9]!r})\nlock.acquire()\n"
        "threading.Thread(target=lock.acquire, name='\\x1b[2J', daemon=True).start()\n"
        "while not lock.statistics().contended and not aiolots.telemetry.snapshot(): time.sleep(0.01)\n"
        "print('ready', flush=True)\nsys.stdin.read()\n"
    )
    with folder() as place, subprocess.Popen(
        [sys.executable, "-X", "odd=\x1b[31m", "-c", program],
        cwd=ROOT,
        env=os.environ | {"AIOLOTS_CONSOLE": str(place), "COLUMNS": "300"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            ran = subprocess.run(
                [sys.executable, "-m", "aiolots", command, str(place)], cwd=ROOT, capture_output=True, timeout=60, check=False
            )
        finally:
            process.kill()
    assert ran.returncode == 0, ran
    assert b"x1b" in ran.stdout
    assert b"\x1b" not in ran.stdout + ran.stderr
