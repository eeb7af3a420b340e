"""`python -m aiolots`: the commands that come with the package."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence

from aiolots import _console_cli
from aiolots._word import decode
from aiolots.demo import cli, options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line (default: the process's own) and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m aiolots", description="Locks shared by threads and event loops.")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    demo = commands.add_parser(
        "demo",
        help="run the catalog proxy under load, and check every response",
        description="An HTTP proxy whose routes are read by tasks and changed by threads, under one RwLock; "
        "every response is checked against the routes. Exit status: 0 all well, 1 something was wrong, "
        "2 it could not run, 130 Ctrl-C.",
    )
    options.add_arguments(demo)
    demo.set_defaults(run=cli.demo)
    word = commands.add_parser(
        "decode",
        help="say what a lock word means",
        description="Say what a 64-bit lock word means. Exit status: 0, or 1 when no lock can get into that state.",
    )
    word.add_argument("word", type=lock_word, help="as lock.word or a debugger gives it: 24, 0x18, 0b11000")
    word.add_argument("--json", action="store_true", help="print one JSON object")
    word.set_defaults(run=decode_word)
    _console_cli.add_commands(commands)
    parsed = parser.parse_args(arguments)
    status: int = parsed.run(parsed)
    return status


def lock_word(text: str) -> int:
    """Return a 64-bit number from how people write one."""
    try:
        word = int(text, 0)
    except ValueError:
        word = -1
    if not 0 <= word < 1 << 64:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 64 bits")
    return word


def decode_word(arguments: argparse.Namespace) -> int:
    """Print what a word means; 1 if it is impossible."""
    decoded = decode(arguments.word)
    print(json.dumps(dataclasses.asdict(decoded)) if arguments.json else decoded)
    return 1 if decoded.problems else 0


if __name__ == "__main__":
    sys.exit(main())
