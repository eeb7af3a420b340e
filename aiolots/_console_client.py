"""Asking a process's console: which processes there are, and one question at a time."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any, cast

from aiolots import _console_path
from aiolots._console_server import PROTOCOL

_PIECE = 1 << 16
Answer = dict[str, Any]


class NobodyToAsk(Exception):
    """No process, or several, or none of that number: the message says which there are."""


class NoAnswer(Exception):
    """There is a console, but it does not answer, or refuses to."""


def find(target: str | None) -> Path:
    """Return the socket of a process: of that number or path, or the only one that serves. NobodyToAsk if there is not one."""
    if target is not None and not target.isdecimal():
        path = Path(target)
        if not path.exists():
            raise NobodyToAsk(f"{path}: there is no such socket")
        return path if not path.is_dir() else _only(_console_path.sockets(path))
    found = _console_path.sockets()
    if target is None:
        return _only(found)
    for path in found:
        if path.name == f"{target}.sock":
            return path
    return _of_process(int(target), found)


def _only(found: list[Path]) -> Path:
    if len(found) == 1:
        return found[0]
    if not found:
        raise NobodyToAsk(
            f"no process of this user serves a console in {_console_path.default_folder()}: call "
            f"aiolots.console.serve() in it, or start it with {_console_path.VARIABLE}=1"
        )
    raise NobodyToAsk("several processes serve a console, give the number of one:\n" + "\n".join(map(_described, found)))


def _of_process(pid: int, found: list[Path]) -> Path:
    """Look for a process that serves at a path of its own choice."""
    for path in found:
        try:
            if ask(path, "who", 1.0).get("process", {}).get("pid") == pid:
                return path
        except NoAnswer:
            continue
    others = "none of this user does" if not found else "these do:\n" + "\n".join(map(_described, found))
    raise NobodyToAsk(f"process {pid} serves no console where it was looked for; {others}")


def _described(path: Path) -> str:
    pid = path.name.removesuffix(".sock")
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        command = str(path)
    return f"  {pid:>8}  {command[:100]}"


def ask(path: Path, command: str, seconds: float) -> dict[str, Any]:
    """Ask one question; the answer has no "error". NoAnswer if there is none within that time."""
    read = bytearray()
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(seconds)
            connection.connect(os.fspath(path))
            connection.sendall(json.dumps({"aiolots": PROTOCOL, "command": command}).encode() + b"\n")
            while piece := connection.recv(_PIECE):
                read += piece
    except TimeoutError:
        raise NoAnswer(
            f"{path}: no answer within {seconds:g} s. The process is stopped (SIGSTOP, a debugger), or native code in it "
            "keeps the GIL, so that no Python runs: see what its threads do with a debugger for C, as gdb or py-spy --native"
        ) from None
    except OSError as error:
        raise NoAnswer(f"{path}: {error.strerror or error}") from None
    try:
        read_answer: object = json.loads(read)
    except ValueError:
        raise NoAnswer(
            f"{path}: the connection was closed without an answer: it is served by another user, or its process ended"
        ) from None
    answer = cast("Answer", read_answer) if isinstance(read_answer, dict) else Answer()
    if answer.get("aiolots") != PROTOCOL:
        raise NoAnswer(f"{path}: the answer is of another version than this one, {PROTOCOL}: use the aiolots of that process")
    if "error" in answer:
        raise NoAnswer(f"{path}: {answer['error']}")
    return answer
