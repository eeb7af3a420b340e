"""Runs the stress from the command line; the exit status is 1 if anything was wrong."""

from __future__ import annotations

import argparse
import os
import sys

from tests.stress.forks import can_fork
from tests.stress.rounds import Options, run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.stress", description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0, help="how long (default 30)")
    parser.add_argument("--seed", type=int, default=1, help="what the workers choose by; threads interleave as they like")
    parser.add_argument("--loop", choices=("asyncio", "uvloop", "both"), default="both", help="what the two loops are")
    either = argparse.BooleanOptionalAction
    parser.add_argument("--fork", action=either, default=can_fork(), help="fork now and then (default, where that is sound)")
    parser.add_argument("--loop-death", action=either, default=True, help="close and stop loops (default)")
    # Off until tests/test_fuzz_found.py passes: a loop that is dropped with several waiters frees its mailbox too early.
    parser.add_argument("--drop", action=either, default=False, help="drop asyncio's loops, too, without closing them")
    options = parser.parse_args()
    report = run(options.seconds, Options(options.seed, options.loop, options.fork, options.loop_death, options.drop))
    print(f"seed {options.seed}, loops: {options.loop}\n{report}", flush=True)
    if report.stuck:  # threads that never end would keep the process
        sys.stderr.flush()
        os._exit(1)
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
