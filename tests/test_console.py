"""`python -m aiolots ps | top | tree | dump`: what they print of processes that hang, their exit status, that they answer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aiolots import _console_client, console
from aiolots.__main__ import main
from tests.consoles import PROMPTLY, ROOT, folder, trouble
from tests.test_deadlock_reports import KINDS
from tests.waiting import in_thread, wait_until

GIL = getattr(sys, "_is_gil_enabled", lambda: True)()


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "aiolots", *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def time_of_a_start() -> float:
    """How long the command takes that asks nobody, on this machine as it is now: what is prompt is beside that."""
    began = time.monotonic()
    assert run("decode", "0x0").returncode == 0
    return time.monotonic() - began


@pytest.mark.parametrize("kind", KINDS)
def test_each_deadlock_is_named_by_each_command(
    kind: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    owners, advice = KINDS[kind]
    with trouble(kind) as process:
        bound = PROMPTLY + 4 * time_of_a_start()
        for command in ("ps", "top", "tree", "dump"):
            began = time.monotonic()
            named = False
            while not named:  # the last of them may not wait yet, or may not have told what he does
                status = main([command, str(process.socket)])
                printed = " ".join(capsys.readouterr().out.split())  # without its folding
                head = printed.partition("deadlock: ")[2]
                named = status == 1 and all(owner in head for owner in owners)
                assert time.monotonic() - began < bound, (command, status, printed)
            if command == "tree":
                assert "and so the circle closes" in printed
            if command == "dump":
                assert f"advice: {advice}" in printed or advice in printed
                assert "== threads thread '" in printed


@pytest.mark.parametrize("command", ["ps", "tree", "dump"])
def test_a_process_that_hangs_answers_promptly(command: str) -> None:
    with trouble("two_threads") as process:
        bound = PROMPTLY + 4 * time_of_a_start()
        began = time.monotonic()
        ran = run(command, str(process.process.pid), AIOLOTS_CONSOLE=str(process.socket.parent))
        assert time.monotonic() - began < bound
    assert ran.returncode == 1, ran.stdout + ran.stderr
    for named in ("deadlock: ", "thread 'one'", "thread 'two'", "RwLock 'A'", "tests/deadlocks.py:"):
        assert named in ran.stdout, ran.stdout
    assert ran.stderr == ""


@pytest.mark.parametrize("command", ["ps", "top", "tree", "dump"])
def test_json(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with trouble("contention") as process:
        assert main([command, str(process.socket), "--json"]) == 0
        answer = json.loads(capsys.readouterr().out)
        assert answer["process"]["pid"] == process.process.pid
    if command != "tree":
        [lock] = answer["locks"]
        assert (lock["name"], lock["kind"], lock["state"], lock["waiting"]) == ("A", "RwLock", "write-locked parked", 3)
        assert [(holder["holder"], holder["mode"]) for holder in lock["holders"]] == [("thread 'busy'", "write")]
        assert [(waiter["waiter"], waiter["mode"]) for waiter in lock["waiters"]] == [("thread 'asks_for_a'", "write")] * 3
    if command in ("tree", "dump"):
        [root] = answer["tree"]
        assert root["owner"] == "thread 'busy'"
        assert [wait["by"]["owner"] for wait in root["waiters"]] == ["thread 'asks_for_a'"] * 3
        assert "write of <aiolots.RwLock 'A'" in root["waiters"][0]["for"]
    if command == "dump":
        assert answer["findings"] == answer["deadlocks"] == []
        assert any("tests/troubles.py" in place for place in answer["locks"][0]["holders"][0]["stack"])


def test_a_wait_is_older_at_the_second_look() -> None:
    with trouble("contention") as process:

        def longest() -> float:
            found: float = _console_client.ask(process.socket, "ps", 10.0)["locks"][0]["longest"]
            return found

        first = longest()
        wait_until(lambda: longest() > first + 0.5)


def test_an_audit_is_part_of_a_dump(capsys: pytest.CaptureFixture[str]) -> None:
    with trouble("corruption") as process:
        answer = _console_client.ask(process.socket, "dump", 10.0)
        assert [finding["kind"] for finding in answer["findings"]] == ["impossible word"]
        [lock] = answer["locks"]
        first = lock["transitions"][0]
        assert (first["what"], first["mode"], first["before"], first["after"]) == ("queued", "read", "0x8", "0x9")
        assert _console_client.ask(process.socket, "ps", 10.0)["locks"][0]["transitions"] != []
        capsys.readouterr()
        assert main(["ps", str(process.socket)]) == main(["dump", str(process.socket)]) == 1
        text = capsys.readouterr().out
        for step in lock["transitions"]:
            assert step["text"].partition(" s ago ")[2] in text


def test_statuses_without_a_process(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with folder() as place:
        monkeypatch.setenv("AIOLOTS_CONSOLE", str(place))
        assert main(["ps"]) == 3
        assert "no process of this user serves a console" in capsys.readouterr().err
        assert main(["tree", "4000000"]) == 3
        assert "process 4000000 serves no console" in capsys.readouterr().err
        assert main(["dump", str(place / "nowhere")]) == 3
        assert "there is no such socket" in capsys.readouterr().err
        (place / "file.sock").touch()
        assert main(["ps", str(place / "file.sock")]) == 4
        for wrong in (["ps", "--interval", "1"], ["top", "--interval", "0"], ["ps", "--timeout", "x"]):
            with pytest.raises(SystemExit) as ended:
                main(wrong)
            assert ended.value.code == 2
            capsys.readouterr()


def test_a_process_with_a_path_of_its_own_is_found_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    with folder() as place:
        monkeypatch.setenv("AIOLOTS_CONSOLE", str(place))
        with console.serve(place / "service.sock"):
            asked = in_thread(_console_client.find, str(os.getpid()))
            assert asked.join() == place / "service.sock"
            with pytest.raises(_console_client.NobodyToAsk, match="these do"):
                _console_client.find("4000000")


def test_a_process_that_is_stopped_does_not_answer_and_the_message_says_so() -> None:
    with trouble("nothing") as process:
        process.process.send_signal(signal.SIGSTOP)
        ran = run("ps", str(process.socket), "--timeout", "0.3")
        process.process.send_signal(signal.SIGCONT)
        assert ran.returncode == 4
        assert "no answer within 0.3 s" in ran.stderr
        assert "SIGSTOP" in ran.stderr
        assert _console_client.ask(process.socket, "ps", 10.0)["causes"] == []


@pytest.mark.skipif(not GIL, reason="there is no GIL to keep")
def test_a_gil_that_is_kept_is_said_to_be_so() -> None:
    with trouble("keeps_the_gil") as process:
        wait_until(lambda: _is_silent(process.socket))
        ran = run("ps", str(process.socket), "--timeout", "0.3")
    assert ran.returncode == 4
    assert "native code in it keeps the GIL" in ran.stderr


def _is_silent(path: Path) -> bool:
    try:
        _console_client.ask(path, "who", 0.3)
    except _console_client.NoAnswer:
        return True
    return False


def test_help_lists_all() -> None:
    ran = run("--help")
    assert ran.returncode == 0
    for command in ("demo", "decode", "ps", "top", "tree", "dump"):
        assert f"    {command} " in ran.stdout
    assert "Exit status: 0 nothing is wrong; 1 a deadlock" in " ".join(run("ps", "--help").stdout.split())


def test_decode_is_as_before(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["decode", "0x18"]) == 0
    assert capsys.readouterr().out == "readers=1 writer-waiting\n"
    assert main(["decode", "0xffffffffffffffff"]) == 1
