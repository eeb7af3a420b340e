"""Runs the checks from the command line; the exit status is 1 if any reports or fails."""

from __future__ import annotations

import argparse
import fnmatch
import signal
import sys

from tests import sanitizers
from tests.sanitizers.checks import Wanted, checks
from tests.sanitizers.outcome import Outcome

SHOWN = 10  # reports of one check


def show(outcome: Outcome) -> None:
    """Print a check's line, and what was wrong."""
    print(outcome, flush=True)
    for report, count in {report: outcome.reports.count(report) for report in outcome.reports[:SHOWN]}.items():
        print(f"    {count} x {report}", flush=True)
    for failure in outcome.failures:
        print(f"    {failure}", flush=True)


def table(outcomes: list[Outcome]) -> str:
    """Return one table of all that was checked."""
    lines = [f"{'check':22}{'tests':>8}{'seconds':>9}{'reports':>9}  result"]
    for one in outcomes:
        result = "skipped" if one.skipped else "ok" if one.ok else "FAILED"
        lines.append(f"{one.name:22}{one.tests:8}{one.seconds:9.0f}{len(one.reports):9}  {result}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.sanitizers", description=sanitizers.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = checks()
    parser.add_argument("--only", action="append", metavar="NAME", help=f"this check, or pattern: {', '.join(known)}")
    parser.add_argument("--seconds", type=float, default=0.0, help="of each stress (default 30, with --smoke 6)")
    parser.add_argument("--smoke", action="store_true", help="a part of each")
    options = parser.parse_args()
    wanted = Wanted(options.seconds or (6.0 if options.smoke else 30.0), options.smoke)
    names = [name for name in known if any(fnmatch.fnmatch(name, only) for only in options.only or ["*"])]
    if not names:
        parser.error(f"no check of that name; known are {', '.join(known)}")
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))  # what it runs is ended too, on the way out
    outcomes = []
    for name in names:
        try:
            outcome = known[name](wanted)
        except RuntimeError as error:
            outcome = Outcome(name, failures=[str(error)])
        if not outcome.tests and not outcome.skipped and outcome.ok:
            outcome.failures.append("nothing ran")
        outcomes.append(outcome)
        show(outcome)
    print(f"\n{table(outcomes)}", flush=True)
    return 0 if all(outcome.ok for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
