"""The console's socket: whom it answers, what it does with what is no question, and that nothing is left of it."""

from __future__ import annotations

import contextlib
import json
import os
import random
import select
import socket
import stat
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiolots import _console_client, _console_path, _console_server, console
from tests.consoles import ROOT, folder
from tests.waiting import WATCHDOG, in_thread, wait_until

QUESTION = b'{"aiolots": 1, "command": "ps"}\n'


@pytest.fixture
def served() -> Iterator[Path]:
    with folder() as place, console.serve(place) as made:
        yield made.path


def said(path: Path, sent: bytes, *, half_closed: bool = False) -> bytes:
    """Send bytes, and return all that comes back."""
    got = b""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(WATCHDOG)
        connection.connect(str(path))
        with contextlib.suppress(BrokenPipeError):
            connection.sendall(sent)
        if half_closed:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            while piece := connection.recv(1 << 16):
                got += piece
    return got


def answers(path: Path) -> bool:
    return "locks" in json.loads(said(path, QUESTION))


# --- serve and close ----------------------------------------------------------------------------------------------------


def test_the_socket_is_its_users_alone_and_is_gone_afterwards() -> None:
    with folder() as place:
        with console.serve(place) as made:
            assert made.path == place / f"{os.getpid()}.sock"
            found = os.lstat(made.path)
            assert stat.S_ISSOCK(found.st_mode)
            assert stat.S_IMODE(found.st_mode) == 0o600
            assert console.serve() is made
            assert answers(made.path)
            assert list(place.iterdir()) == [made.path]
        assert list(place.iterdir()) == []
        made.close()
        with console.serve(place / "own") as another:
            assert another is not made
            assert another.path == place / "own"
            assert answers(another.path)


def test_the_default_folder_is_made_private(monkeypatch: pytest.MonkeyPatch) -> None:
    with folder() as place:
        monkeypatch.delenv("AIOLOTS_CONSOLE", raising=False)
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(place))
        with console.serve() as made:
            assert made.path.parent == place / "aiolots"
            assert stat.S_IMODE(made.path.parent.stat().st_mode) == 0o700
            assert _console_client.find(None) == _console_client.find(str(os.getpid())) == made.path
        place.chmod(0o755)  # open to others: not used
        monkeypatch.setattr("tempfile.tempdir", str(place))
        with console.serve() as made:
            assert made.path.parent == place / f"aiolots-{os.geteuid()}"


@pytest.mark.parametrize("what", ["open to others", "a link", "a file"])
def test_a_default_folder_that_is_not_private_is_refused(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    with folder() as place:
        monkeypatch.delenv("AIOLOTS_CONSOLE", raising=False)
        monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
        monkeypatch.setattr("tempfile.tempdir", str(place))
        (place / "elsewhere").mkdir(mode=0o700)
        ours = place / f"aiolots-{os.geteuid()}"
        if what == "open to others":
            ours.mkdir()
            ours.chmod(0o710)
        elif what == "a link":
            ours.symlink_to(place / "elsewhere")
        else:
            ours.touch()
        with pytest.raises(PermissionError, match="not a folder of this user alone"):
            console.serve()
        monkeypatch.setenv("AIOLOTS_CONSOLE", "1")
        with pytest.warns(UserWarning, match="no console is served"):
            console.serve_as_environment_says()


def test_a_path_that_is_too_long() -> None:
    with folder() as place, pytest.raises(ValueError, match="at most"):
        console.serve(place / ("x" * 100))


def test_a_stale_socket_is_replaced_and_one_that_is_served_is_not() -> None:
    with folder() as place:
        path = place / "here"
        dead = socket.socket(socket.AF_UNIX)
        dead.bind(str(path))
        dead.close()
        with console.serve(path):
            assert answers(path)
        with socket.socket(socket.AF_UNIX) as alive:
            alive.bind(str(path))
            alive.listen()
            with pytest.raises(FileExistsError):
                console.serve(path)
        path.unlink()
        path.touch()
        with pytest.raises(FileExistsError):
            console.serve(path)
        assert list(place.iterdir()) == [path]


def test_stale_sockets_are_removed_by_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    with folder() as place:
        monkeypatch.setenv("AIOLOTS_CONSOLE", str(place))
        dead = socket.socket(socket.AF_UNIX)
        dead.bind(str(place / "1.sock"))
        dead.close()
        with pytest.raises(_console_client.NobodyToAsk, match="no process of this user serves"):
            _console_client.find(None)
        assert list(place.iterdir()) == []
        with console.serve() as made, socket.socket(socket.AF_UNIX) as other:
            other.bind(str(place / "7.sock"))
            other.listen()
            with pytest.raises(_console_client.NobodyToAsk, match=r"several processes(.|\n)*\b7\b"):
                _console_client.find(None)
            assert _console_client.find(str(os.getpid())) == made.path


def test_environment_serves() -> None:
    program = "import os, aiolots; print(aiolots.console.serve().path); import gc"
    with folder() as place:
        for value, wanted in ((str(place), place), (str(place / "sock"), place / "sock")):
            ran = subprocess.run(
                [sys.executable, "-c", program],
                env=os.environ | {"AIOLOTS_CONSOLE": value},
                capture_output=True,
                text=True,
                timeout=60,
                check=True,
            )
            assert Path(ran.stdout.strip()) in (wanted, wanted / Path(ran.stdout.strip()).name)
            assert list(place.iterdir()) == []  # at exit it is removed


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_does_not_serve_its_parents_socket(served: Path) -> None:
    reader, writer = os.pipe()
    kept = socket.socket(socket.AF_UNIX)  # an open connection, which the child would inherit
    kept.connect(str(served))
    assert answers(served)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork with threads
        pid = os.fork()
    if not pid:
        try:
            inherited = [found for found in Path("/proc/self/fd").iterdir() if _is_socket_of(found, served)]
            os.write(writer, json.dumps([console._console is None, len(inherited)]).encode())
            with folder() as place, console.serve(place) as own:
                os.write(writer, b"\n" + json.dumps([own.path.parent == place, answers(own.path)]).encode() + b"\n")
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as lines:
        assert [json.loads(line) for line in lines] == [[True, 0], [True, True]]
    assert os.waitpid(pid, 0)[1] == 0
    assert answers(served)
    kept.close()


def _is_socket_of(descriptor: Path, path: Path) -> bool:
    try:
        with socket.socket(fileno=os.dup(int(descriptor.name))) as found:
            return found.family == socket.AF_UNIX and found.getsockname() == str(path)
    except OSError:
        return False


# --- what is no question ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent",
    [
        b"\n",
        b"null\n",
        b"[]\n",
        b"{}\n",
        b"\xff\xfe\x00\n",
        b'{"aiolots": 2, "command": "ps"}\n',
        b'{"aiolots": 1}\n',
        b'{"aiolots": 1, "command": "run"}\n',
        b'{"aiolots": 1, "command": ["ps"]}\n',
        b'{"aiolots": 1, "command": {}}\n',
        b"[" * 4000 + b"\n",
        b'{"aiolots": ' + b"1" * 4000 + b"}\n",
    ],
)
def test_what_is_no_question_gets_an_error(served: Path, sent: bytes) -> None:
    answer = json.loads(said(served, sent))
    assert answer["aiolots"] == 1
    assert list(answer) == ["aiolots", "error"]
    assert answers(served)


def test_a_question_without_an_end_is_bounded(served: Path) -> None:
    got = said(served, b"x" * (_console_server.LONGEST + 1))
    assert not got or "at most" in json.loads(got)["error"]  # or the connection was reset by what was not read
    assert answers(served)
    assert said(served, QUESTION[:-1], half_closed=True) == b""
    assert answers(served)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sent=st.binary(max_size=6000), half_closed=st.booleans())
def test_whatever_is_sent_the_next_question_is_answered(served: Path, sent: bytes, half_closed: bool) -> None:
    ended = sent if b"\n" in sent or half_closed else sent + b"\n"
    got = said(served, ended, half_closed=half_closed)
    if got:
        assert json.loads(got)["aiolots"] == 1
    assert "process" in json.loads(said(served, b'{"aiolots": 1, "command": "who"}\n'))


def test_questions_that_were_damaged(served: Path) -> None:
    chance = random.Random(1)
    for _ in range(200):
        damaged = bytearray(QUESTION[:-1])
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(len(damaged))] = chance.choice(b'{}[]",:\x00\xff1ps')
        got = json.loads(said(served, bytes(damaged).replace(b"\n", b"") + b"\n"))
        assert got["aiolots"] == 1
    assert answers(served)


def test_who_says_nothing_is_dropped_and_keeps_nobody_waiting(served: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_console_server, "PATIENCE", 0.3)
    with socket.socket(socket.AF_UNIX) as silent, socket.socket(socket.AF_UNIX) as slow:
        for each in (silent, slow):
            each.settimeout(WATCHDOG)
            each.connect(str(served))
        slow.sendall(QUESTION[:5])
        assert answers(served)
        assert silent.recv(1) == slow.recv(1) == b""


def test_who_does_not_read_is_dropped(served: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = console.serve()._server
    monkeypatch.setattr(_console_server, "PATIENCE", 0.3)
    monkeypatch.setattr(server, "_answer", lambda question: {"locks": "x" * (10 << 20)})
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.connect(str(served))
        deaf.sendall(QUESTION)
        hangs_up = select.poll()
        hangs_up.register(deaf, 0)
        assert hangs_up.poll(WATCHDOG * 1000)
    monkeypatch.setattr(_console_server, "PATIENCE", WATCHDOG)
    assert len(said(served, QUESTION)) > 10 << 20


def test_many_connections_are_bounded(served: Path) -> None:
    server = console.serve()._server
    silent: list[socket.socket] = []
    try:
        for _ in range(_console_server.MOST):
            silent.append(socket.socket(socket.AF_UNIX))
            silent[-1].connect(str(served))
        wait_until(lambda: len(server._connections) == _console_server.MOST)
        assert json.loads(said(served, b""))["error"] == "too many connections"
        assert len(server._connections) <= _console_server.MOST + 1
    finally:
        for each in silent:
            each.close()
    wait_until(lambda: not server._connections)
    assert answers(served)


def test_many_ask_at_once(served: Path) -> None:
    asking = [in_thread(_console_client.ask, served, "dump", WATCHDOG) for _ in range(8)]
    assert all("findings" in each.join() for each in asking)


def test_an_answer_that_fails_is_an_error(served: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_question: dict[str, Any]) -> dict[str, Any]:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(console.serve()._server, "_answer", fails)
    with pytest.raises(_console_client.NoAnswer, match="ZeroDivisionError: oh"):
        _console_client.ask(served, "ps", WATCHDOG)


class Bad:
    """What ends whoever shows it."""

    def __str__(self) -> str:
        raise SystemExit(self)


class BadError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def raises_it(_question: object) -> Any:
    raise BadError


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (lambda _: {"name": Bad()}, "SystemExit"),
        (lambda _: {"name": {(): 1}}, "TypeError: keys must be"),
        (raises_it, "BadError"),
    ],
)
def test_an_answer_that_cannot_be_sent_is_an_error(
    served: Path, monkeypatch: pytest.MonkeyPatch, answer: Any, error: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(console.serve()._server, "_answer", answer)
        assert json.loads(said(served, QUESTION))["error"].startswith(error)
    assert answers(served)


@pytest.mark.parametrize("what", ["_read", "_is_allowed"])
def test_what_goes_wrong_with_one_connection_ends_that_alone(
    served: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def fails(_connection: object) -> Any:
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(console.serve()._server if what == "_read" else _console_server, what, fails)
        with contextlib.suppress(BrokenPipeError):
            assert said(served, QUESTION) == b""
    assert answers(served)


# --- who may ask --------------------------------------------------------------------------------------------------------

ASK_AS = """
import os, socket, sys
os.setgid(65534), os.setuid(65534)
connection = socket.socket(socket.AF_UNIX)
connection.settimeout(20)
try:
    connection.connect(sys.argv[1])
    connection.sendall(b'{"aiolots": 1, "command": "ps"}\\n')
    print("answer", len(connection.recv(100)))
except OSError as error:
    print(type(error).__name__)
"""


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="to become another user takes root")
def test_other_users_are_refused(served: Path) -> None:
    def asked() -> str:
        ran = subprocess.run(
            [sys.executable, "-c", ASK_AS, str(served)], cwd="/", capture_output=True, text=True, timeout=60, check=True
        )
        return ran.stdout.strip()

    assert asked() == "PermissionError"  # by the folder
    served.parent.chmod(0o755)
    assert asked() == "PermissionError"  # by the socket's own mode
    served.chmod(0o666)
    assert asked() in ("answer 0", "ConnectionResetError", "BrokenPipeError")  # by who it is
    assert answers(served)


@pytest.mark.parametrize(("uid", "allowed"), [(os.geteuid(), True), (0, True), (None, True), (12345, False)])
def test_who_is_allowed(monkeypatch: pytest.MonkeyPatch, uid: int | None, allowed: bool) -> None:
    monkeypatch.setattr(_console_server, "uid_of", lambda _connected: uid)
    with socket.socket(socket.AF_UNIX) as connected:
        assert _console_server._is_allowed(connected) is allowed


def test_the_system_says_who_has_connected() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert _console_server.uid_of(ours) == os.geteuid()


def test_nobody_answers_in_time() -> None:
    with folder() as place, socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(place / "1.sock"))
        mute.listen()
        began = time.monotonic()
        with pytest.raises(_console_client.NoAnswer, match=r"no answer within 0\.2 s"):
            _console_client.ask(place / "1.sock", "ps", 0.2)
        assert time.monotonic() - began < WATCHDOG


def test_the_thread_ends_with_the_console() -> None:
    def ours() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "aiolots-console"]

    before = len(ours())
    with folder() as place:
        with console.serve(place):
            assert len(ours()) == before + 1
        wait_until(lambda: len(ours()) == before)


def test_who_only_asks_does_not_serve() -> None:
    with folder() as place:
        ran = subprocess.run(
            [sys.executable, "-m", "aiolots", "ps"],
            cwd=ROOT,
            env=os.environ | {"AIOLOTS_CONSOLE": str(place), "AIOLOTS_WATCHDOG": "0.1"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ran.returncode == 3
        assert "no process of this user serves a console" in ran.stderr
        assert list(place.iterdir()) == []
    assert _console_path.only_asks() is False
