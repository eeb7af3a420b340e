"""Asking a process's console: which processes there are, and one question at a time.

An answer ends up on somebody's terminal, so it is not taken from everybody: where nobody said which socket, the folder has to
be this user's alone, and whoever serves has to be this user or root. What is read is bounded, and has no control characters.
"""

from __future__ import annotations

import json
import os
import re
import socket
from pathlib import Path
from typing import Any, cast

from aiolots import _console_path
from aiolots._console_server import PROTOCOL, uid_of

_PIECE = 1 << 16
_LONGEST = 64  # MiB of an answer
# What moves the cursor, gives orders to a terminal, turns the direction of writing, or cannot be encoded.
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
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
    try:
        found = _console_path.sockets()
    except PermissionError as error:
        raise NobodyToAsk(str(error)) from None
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
            if ask(path, "who", 1.0, is_named=True).get("process", {}).get("pid") == pid:
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


def printable(text: str) -> str:
    """Return a text with its control characters escaped, except the ends of lines."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def _printable(value: Any) -> Any:
    """Return what json.loads() has found in an object. The objects in it have been here before."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list):
        things: list[Any] = value  # pyright: ignore[reportUnknownVariableType]
        return [_printable(each) for each in things]
    return value


def _check_who_serves(connection: socket.socket, path: Path, *, is_named: bool) -> None:
    """NoAnswer if another user serves. Root may ask any, but has to say which one."""
    uid, own = uid_of(connection), os.geteuid()
    if uid is None or uid in (own, 0) or (own == 0 and is_named):
        return
    hint = "; give its path or number, if it is to be" if own == 0 else ""
    raise NoAnswer(f"{path}: it is served by another user, {uid}, and not asked{hint}")


def ask(path: Path, command: str, seconds: float, *, is_named: bool = False) -> dict[str, Any]:
    """Ask one question; the answer has no "error". NoAnswer if there is none within that time, or if another user serves.

    `is_named`: that this process is asked, and no other, was the user's decision. Root may ask those of others then.
    """
    read = bytearray()
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(seconds)
            connection.connect(os.fspath(path))
            _check_who_serves(connection, path, is_named=is_named)
            connection.sendall(json.dumps({"aiolots": PROTOCOL, "command": command}).encode() + b"\n")
            while piece := connection.recv(_PIECE):
                read += piece
                if len(read) > _LONGEST << 20:
                    raise NoAnswer(f"{path}: the answer is longer than {_LONGEST} MiB, and not read any further")
    except TimeoutError:
        raise NoAnswer(
            f"{path}: no answer within {seconds:g} s. The process is stopped (SIGSTOP, a debugger), or native code in it "
            "keeps the GIL, so that no Python runs: see what its threads do with a debugger for C, as gdb or py-spy --native"
        ) from None
    except OSError as error:
        raise NoAnswer(f"{path}: {error.strerror or error}") from None
    try:
        read_answer: object = json.loads(
            read, object_pairs_hook=lambda pairs: {printable(name): _printable(value) for name, value in pairs}
        )
    except RecursionError:
        raise NoAnswer(f"{path}: the answer is nested too deeply to be read") from None
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
