"""What can be asked of the demo, and what makes sense to ask. Imports nothing that may be missing."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """One run of the demo. Times in seconds, rates per second."""

    seconds: float = 10.0
    clients: int = 64
    hosts: int = 10_000
    changes_per_second: float = 200.0
    backends: int = 4
    loops: int = 2
    updaters: int = 2
    write_timeout: float = 0.01
    patience: int = 10
    hang_ups: float = 0.02
    uvloop: bool = False
    json: bool = False
    database: Path | None = None
    create: bool = False
    port: int = 0
    seed: int = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give a parser the options of the demo; what it parses goes into `DemoOptions(**vars(...))`."""
    default = DemoOptions()
    add = parser.add_argument
    add("--seconds", type=number(0.1, 86_400), default=default.seconds, help="how long (default %(default)g)")
    add("--clients", type=whole(1, 20_000), default=default.clients, help="at once (default %(default)d)")
    add("--hosts", type=whole(1, 1_000_000), default=default.hosts, help="in a new database (default %(default)d)")
    add(
        "--changes-per-second",
        type=number(0, 100_000),
        default=default.changes_per_second,
        metavar="RATE",
        help="made by a process of its own (default %(default)g; 0 leaves it to you)",
    )
    add("--backends", type=whole(1, 256), default=default.backends, help="servers (default %(default)d)")
    add("--loops", type=whole(1, 64), default=default.loops, help="proxies, a thread each (default %(default)d)")
    add("--updaters", type=whole(1, 64), default=default.updaters, help="threads (default %(default)d)")
    add(
        "--write-timeout",
        type=number(0, 60),
        default=default.write_timeout,
        metavar="SECONDS",
        help="how long an updater asks for the lock before it reports and asks again (default %(default)g)",
    )
    add(
        "--patience",
        type=whole(1, 1_000_000),
        default=default.patience,
        metavar="TRIES",
        help="timeouts in a row before an updater begins to ask longer (default %(default)d)",
    )
    add(
        "--hang-ups",
        type=number(0, 1),
        default=default.hang_ups,
        metavar="SHARE",
        help="of the requests, given up by the client midway (default %(default)g)",
    )
    add("--uvloop", action="store_true", help="run all event loops on uvloop")
    add("--json", action="store_true", help="print the summary as one JSON object, and no progress")
    add("--database", type=Path, metavar="PATH", help="use this file, and keep it (default: a new temporary one)")
    add("--create", action="store_true", help="make the file of --database if there is none")
    add("--port", type=whole(0, 65_535), default=default.port, help="of the first proxy (default: a free one)")
    add("--seed", type=int, default=default.seed, help="of all that is random (default %(default)d)")


def number(low: float, high: float) -> Callable[[str], float]:
    """Return an argparse type: a finite number from `low` to `high`."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {low:g} to {high:g}")
        return value

    return parse


def whole(low: int, high: int) -> Callable[[str], int]:
    """Return an argparse type: a whole number from `low` to `high`."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {low} to {high}")
        return value

    return parse
