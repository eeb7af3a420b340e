"""The command line of the demo: arguments in, exit status out, and never a traceback for what a user can do.

0: all is well. 1: a wrong response or another failure. 2: the options or the surroundings do not allow it to run.
130: Ctrl-C (128 and the number of the signal; likewise for a hang-up and for termination).
"""

from __future__ import annotations

import json
import os
import signal
import sys
from argparse import Namespace
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import fields
from types import FrameType

from aiolots.demo.errors import DemoError
from aiolots.demo.options import DemoOptions


def demo(arguments: Namespace) -> int:
    """Run the demo as the command line says."""
    options = DemoOptions(**{field.name: getattr(arguments, field.name) for field in fields(DemoOptions)})
    if options.create and options.database is None:
        return complain("--create needs --database PATH")
    with ended_by_signals() as ended:
        try:
            return run(options)
        except KeyboardInterrupt:
            # The shell's convention. Everything is down by now: the run takes itself apart on the way up here.
            return complain("interrupted; everything is stopped", 128 + (ended[0] if ended else signal.SIGINT))


def run(options: DemoOptions) -> int:
    """Run the demo, print its summary, and return the exit status."""
    try:
        from aiolots.demo.run import run_demo
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("aiolots"):
            raise
        return complain(f"the demo needs {error.name}: python -m pip install 'aiolots[demo]'")
    try:
        summary = run_demo(options)
    except DemoError as error:
        return complain(str(error))
    try:
        print(json.dumps(summary.as_json(), indent=2) if options.json else summary.as_text(), flush=True)
    except BrokenPipeError:
        # The reader has gone, for instance `| head`. The interpreter would complain once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0 if summary.ok else 1


def complain(message: str, status: int = 2) -> int:
    """Print a message the way argparse does, and return the exit status."""
    print(f"python -m aiolots demo: {message}", file=sys.stderr)
    return status


@contextmanager
def ended_by_signals() -> Generator[list[int]]:
    """Let SIGTERM and SIGHUP end a run as Ctrl-C does; yields the list of those that came."""
    came: list[int] = []

    def end(number: int, frame: FrameType | None) -> None:
        came.append(number)
        # asyncio.Runner replaces the handler of SIGINT by one that cancels its task, which is just what is needed.
        interrupt = signal.getsignal(signal.SIGINT)
        if callable(interrupt):
            interrupt(number, frame)
        else:
            raise KeyboardInterrupt

    ways = [signal.SIGTERM] + ([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])
    before = [(way, signal.signal(way, end)) for way in ways if signal.getsignal(way) is signal.SIG_DFL]
    try:
        yield came
    finally:
        for way, handler in before:
            signal.signal(way, handler)
