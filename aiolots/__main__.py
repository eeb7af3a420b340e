"""`python -m aiolots`: the commands that come with the package."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

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
    parsed = parser.parse_args(arguments)
    status: int = parsed.run(parsed)
    return status


if __name__ == "__main__":
    sys.exit(main())
