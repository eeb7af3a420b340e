"""Runs every layer that says something about the locks, one after the other, and prints one table.

    python -m tests.proof                        all, under 30 minutes on two cores
    python -m tests.proof --slice ci             a shorter slice
    python -m tests.proof --only corpus --only 'bound 2'

The exit status is 1 if a layer failed or was not done in its time.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tests.proof.layers import SLICES, Command, Layer

TAIL = 4  # lines of a command that are shown when it has ended; all of a failed one's last
TAIL_OF_FAILED = 40
PAUSE = 10.0  # seconds between two signs of life


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    layer: str
    command: str
    figure: str
    seconds: float
    ok: bool


def shown(command: Command) -> str:
    """Return the command as one would type it."""
    variables = [word for word in command if is_variable(word)]
    return shlex.join([*variables, "python", *(word for word in command if not is_variable(word))])


def is_variable(word: str) -> bool:
    return re.fullmatch(r"[A-Z_]+=.*", word) is not None


def run_command(command: Command, seconds: float, tell: Callable[[str], None]) -> tuple[int | None, list[str]]:
    """Run one command with this Python; return its exit status (None: its time was up) and its output."""
    environment = os.environ | dict(word.split("=", 1) for word in command if is_variable(word))
    arguments = [sys.executable, *(word for word in command if not is_variable(word))]
    late = threading.Event()
    lines: list[str] = []
    told = time.monotonic()
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=environment,
        start_new_session=True,
    ) as process:  # fmt: skip

        def stop() -> None:
            late.set()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # it and what it started, nothing else

        timer = threading.Timer(seconds, stop)
        timer.start()
        try:
            for line in process.stdout or ():
                lines.append(line.rstrip())
                if time.monotonic() - told >= PAUSE:
                    told = time.monotonic()
                    tell(f"   ... {lines[-1]}")
            status = process.wait()
        except BaseException:  # Ctrl-C
            stop()
            raise
        finally:
            timer.cancel()
    return (None if late.is_set() else status), lines


def run_layer(layer: Layer, tell: Callable[[str], None]) -> list[Row]:
    """Run a layer's commands within its time, until one fails; a row for each."""
    rows = []
    end = time.monotonic() + layer.seconds
    for command in layer.commands:
        tell(f"== {layer.name}: {shown(command)}")
        began = time.monotonic()
        status, lines = run_command(command, max(1.0, end - began), tell)
        for line in deque(lines, TAIL if status == 0 else TAIL_OF_FAILED):
            tell(f"   {line}")
        rows.append(Row(layer.name, shown(command), figure(layer, status, lines), time.monotonic() - began, status == 0))
        if status != 0:
            break
    return rows


def figure(layer: Layer, status: int | None, lines: list[str]) -> str:
    """Return what the table says of a command."""
    found = [match[0] for line in lines if (match := re.search(layer.figure, line))]
    said = " ".join(found[-1].split()) if found else ""
    if status is None:
        return f"not done in {layer.seconds} s {said}".rstrip()
    return said or next((line for line in reversed(lines) if line.strip()), "no output")


def table(rows: Iterable[Row]) -> str:
    """Return the rows, in columns."""
    cells = [("layer", "command", "result", "seconds", "")]
    cells += [(r.layer, r.command, r.figure, f"{r.seconds:.0f}", "ok" if r.ok else "FAILED") for r in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    return "\n".join("  ".join(f"{cell:{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in cells)


def prove(layers: Iterable[Layer], tell: Callable[[str], None]) -> int:
    """Run the layers; print the table; return the exit status."""
    began = time.monotonic()
    rows = [row for layer in layers for row in run_layer(layer, tell)]
    failed = [row for row in rows if not row.ok]
    tell("\n" + table(rows))
    tell(f"layers {len({row.layer for row in rows})} failed {len(failed)} seconds {time.monotonic() - began:.0f}")
    return 1 if failed or not rows else 0


def main(arguments: list[str] | None = None) -> int:
    """Parse the options and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.proof", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--slice", choices=sorted(SLICES), default="full", help="which layers, and how much of each")
    parser.add_argument("--only", action="append", metavar="LAYER", help="only this one (may be repeated)")
    parser.add_argument("--seed", type=int, default=int(time.time()) % 1_000_000, help="of what is random (default: the time)")
    parser.add_argument("--list", action="store_true", help="only list the layers")
    options = parser.parse_args(arguments)
    layers = SLICES[options.slice](options.seed)
    names = [layer.name for layer in layers]
    if unknown := set(options.only or []) - set(names):
        parser.error(f"no layer {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    chosen = [layer for layer in layers if not options.only or layer.name in options.only]
    if options.list:
        for layer in chosen:
            print(f"{layer.name}, at most {layer.seconds} s")
            for command in layer.commands:
                print(f"    {shown(command)}")
        return 0
    print(f"seed {options.seed}", flush=True)
    return prove(chosen, lambda line: print(line, flush=True))


if __name__ == "__main__":
    sys.exit(main())
