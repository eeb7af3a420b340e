"""`python -m aiolots ps | top | tree | dump`: asks a process, shows the answer, and says by its exit status what was found."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from aiolots import _console_client, _console_screens
from aiolots._console_client import NoAnswer, NobodyToAsk, printable
from aiolots._seconds import checked

WELL, TROUBLE, NOBODY, SILENT = 0, 1, 3, 4  # 2 is argparse's
STATUS = (
    "Exit status: 0 nothing is wrong; 1 a deadlock, a corrupt word, a dead owner, a leaked guard or a stuck loop was found; "
    "2 wrong arguments; 3 there is no process to ask, or there are several; 4 it does not answer; 130 Ctrl-C."
)
WHICH = "PID, socket or folder of the process; not needed if only one serves"
_COMMANDS = {
    "ps": ("list the locks of a running process, the most contended first", "ps"),
    "top": ("show the same, again and again", "ps"),
    "tree": ("show who waits for whom, and for which lock", "tree"),
    "dump": ("print all there is to say, to be pasted into an issue", "dump"),
}


def add_commands(commands: Any) -> None:
    """Add the commands that ask a process."""
    for name, (what, _) in _COMMANDS.items():
        description = f"{what.capitalize()}. In the process: aiolots.console.serve(), or AIOLOTS_CONSOLE=1. {STATUS}"
        parser = commands.add_parser(name, help=what, description=description)
        parser.add_argument("process", nargs="?", metavar="PROCESS", help=WHICH)
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        parser.add_argument(
            "--timeout", type=seconds, default=5.0, metavar="SECONDS", help="how long to wait for an answer (5)"
        )
        if name in ("ps", "top"):
            parser.add_argument("--all", action="store_true", help="locks that nobody waits for or holds, too")
        if name == "top":
            parser.add_argument("--interval", type=seconds, default=1.0, metavar="SECONDS", help="between two looks (1)")
            parser.add_argument("--once", action="store_true", help="show it once, as without a terminal")
        parser.set_defaults(run=run, name=name)


def seconds(text: str) -> float:
    """Return a number of seconds above 0 from an argument."""
    try:
        found = checked(float(text))
    except ValueError:
        found = 0.0
    if found <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return found


def run(arguments: argparse.Namespace) -> int:
    """Run one of the commands, and return its exit status."""
    try:
        path = _console_client.find(arguments.process)
        if arguments.name == "top" and not arguments.once and not arguments.json and sys.stdout.isatty():
            return _watch(path, arguments)
        return _show(path, arguments)
    except NobodyToAsk as error:
        sys.stderr.write(f"{printable(str(error))}\n")  # it names sockets, and command lines of processes
        return NOBODY
    except NoAnswer as error:
        sys.stderr.write(f"{printable(str(error))}\n")
        return SILENT
    except KeyboardInterrupt:
        return 130


def _ask(path: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    command, is_named = _COMMANDS[arguments.name][1], arguments.process is not None
    return _console_client.ask(path, command, arguments.timeout, is_named=is_named)


def _show(path: Path, arguments: argparse.Namespace) -> int:
    answer = _ask(path, arguments)
    if arguments.json:
        print(json.dumps(answer))
    else:
        _console_screens.show(arguments.name, answer, everything=getattr(arguments, "all", True))
    return status_of(answer)


def _watch(path: Path, arguments: argparse.Namespace) -> int:
    status = WELL
    with _console_screens.live() as show:
        while True:
            try:
                answer = _ask(path, arguments)
            except NoAnswer:
                if not path.exists():  # it has ended, as processes do
                    return status
                raise
            status = status_of(answer)
            show(answer, arguments.all)
            time.sleep(arguments.interval)


def status_of(answer: dict[str, Any]) -> int:
    """Return the exit status that an answer stands for."""
    return TROUBLE if answer.get("findings") or any(cause["trouble"] for cause in answer.get("causes", ())) else WELL
