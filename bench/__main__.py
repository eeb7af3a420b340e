"""The command line."""

from __future__ import annotations

import asyncio
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path

from bench import core_alone, handoff, work_family, work_loop, work_shared, work_statistics, work_tracked, work_uncontended
from bench.bars import verdicts
from bench.machine import machine_line
from bench.peers import Peers
from bench.report import Report, plot
from bench.rounds import Context, Pair, Row, Workload, row_of, rows
from bench.weigh import Weight, weights

# name: the workload, and whether it is run on each kind of event loop
WORKLOADS: dict[str, tuple[Workload, bool]] = {
    "uncontended-thread": (work_uncontended.thread, False),
    "uncontended-task": (work_uncontended.task, True),
    "crowd": (work_loop.crowd, True),
    "counter": (work_shared.counter, True),
    "ping-pong": (work_shared.ping_pong, True),
    "threads": (work_shared.threads, False),
    "mixes": (work_shared.mixes, False),
    "woken": (work_loop.woken, True),
    "busy": (work_uncontended.busy, True),
    "busy-crowd": (work_loop.crowd_beside_busy_thread, True),
    "statistics-core": (work_statistics.core, False),
    "statistics-told": (work_statistics.told, True),
    "tracked": (work_tracked.on_and_off, True),
    "family-thread": (work_family.thread, False),
    "family-task": (work_family.task, True),
}
GROUPS = {  # all of them, for --only
    "family": ("family-thread", "family-task"),
    "statistics": ("statistics-core", "statistics-told"),
}
NAMES = (*WORKLOADS, "memory", "core")
ASKED_FOR = ("handoff",)  # compares policies of our own, takes minutes: only with --only


def parse(arguments: list[str] | None) -> Namespace:
    """Read the command line."""
    every = (*NAMES, *GROUPS, *ASKED_FOR)
    parser = ArgumentParser(prog="python -m bench", description="Times aiolots against its peers, in paired rounds.")
    parser.add_argument("--smoke", action="store_true", help="tiny rounds: only checks that everything works")
    parser.add_argument("--only", action="append", metavar="NAME", choices=every, help=f"one of: {', '.join(every)}")
    parser.add_argument("--rounds", type=int, help="paired rounds for each comparison (31)")
    parser.add_argument("--loop", choices=("asyncio", "uvloop", "both"), default="both", help="which event loops (both)")
    parser.add_argument("--output", type=Path, metavar="DIR", help="write bench.md, bench.json and bench.png there")
    parser.add_argument("--json", action="store_true", help="print JSON, not Markdown")
    parser.add_argument("--strict", action="store_true", help="exit status 1 if a bar is missed")
    return parser.parse_args(arguments)


def loops(wanted: str, peers: Peers) -> Iterator[tuple[str, asyncio.Runner]]:
    """The event loops that are wanted and here."""
    if wanted != "uvloop":
        yield "asyncio", asyncio.Runner()
    if wanted != "asyncio" and (uvloop := peers.get("uvloop")):
        yield "uvloop", asyncio.Runner(loop_factory=uvloop.new_event_loop)


def say(text: str) -> None:
    """Tell how far it is; the report goes to stdout, this does not."""
    print(text, file=sys.stderr, flush=True)


def bytes_of(found: list[Weight]) -> Iterator[Row]:
    """The promise about an RwLock's bytes, as a row; traced: less the header that the collector puts before it."""
    for weight in found:
        if weight.kind == "aiolots.RwLock":
            others = max(0.0, weight.traced - weight.size)
            promised = object.__basicsize__ + 40  # the header is 16 bytes; 32 on a free-threaded build
            pair = Pair("memory", "RwLock(), bytes", f"{promised} bytes", "no other allocation", float, float, "bytes")
            yield row_of(pair, "", [(weight.basic + round(others)) / 1e9], [promised / 1e9])


def measured(options: Namespace, peers: Peers, report: Report, names: tuple[str, ...]) -> None:
    """Run what is wanted, and fill in the report."""
    floor = 0.0002 if options.smoke else 0.02
    first = True
    for loop_name, runner in loops(options.loop, peers):
        with runner:
            context = Context(peers, runner, smoke=options.smoke)
            for name in names:
                workload, on_each_loop = WORKLOADS.get(name, (None, False))
                if workload is None or not (first or on_each_loop):
                    continue
                say(f"{name} ({loop_name})" if on_each_loop else name)
                for row in rows(workload, context, loop_name if on_each_loop else "", report.rounds, floor):
                    report.rows.append(row)
                    say(f"  {row.ratio:7.3f} [{row.low:.3f}, {row.high:.3f}]  {row.ours}  vs  {row.peer}: {row.theirs}")
        first = False
    if "memory" in names:
        say("memory")
        report.weights = weights(1_000 if options.smoke else 100_000)
        report.rows.extend(bytes_of(report.weights))
    if "core" in names:
        say("core")
        found, why_not = core_alone.rows(report.rounds, smoke=options.smoke)
        report.rows.extend(found)
        report.skipped.extend(why_not)
    if "handoff" in names:
        say("handoff")
        for outcome in handoff.outcomes(report.rounds, smoke=options.smoke):
            report.handoff.append(outcome)
            say(f"  {outcome.ratio:7.3f} [{outcome.low:.3f}, {outcome.high:.3f}]  {outcome.workload}: {outcome.policy}")


def main(arguments: list[str] | None = None) -> int:
    """Measure and report."""
    options = parse(arguments)
    peers = Peers.found()
    rounds = options.rounds or (2 if options.smoke else 31)
    report = Report(machine_line(peers), rounds)
    report.skipped.extend(peers.skipped)
    for why in peers.skipped:
        say(f"skipped: {why}")
    measured(options, peers, report, tuple(name for asked in options.only or NAMES for name in GROUPS.get(asked, (asked,))))
    print(report.as_json() if options.json else report.as_markdown())
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        (options.output / "bench.md").write_text(report.as_markdown(), encoding="utf-8")
        (options.output / "bench.json").write_text(report.as_json(), encoding="utf-8")
        if not plot(report.rows, report.machine, options.output / "bench.png"):
            say("no plot: nothing with a bar was measured, or matplotlib is missing (pip install aiolots[bench])")
    return 1 if options.strict and not all(verdict.kept for verdict in verdicts(report.rows)) else 0


if __name__ == "__main__":
    sys.exit(main())
