"""Handing over or barging: the same core built with one policy after the other, and timed in turn.

What a policy costs and what it buys are different figures, so there is no bar here: acquisitions per second against the policy
that is shipped, how long they waited, and how often the least lucky one got the lock. Threads are timed on the core alone
(bench/core/handoff.c), tasks and threads beside tasks in Python (handoff_worker.py), each with an `aiolots._core` of its own
in build/bench-handoff.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import shutil
import statistics
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from bench.handoff_worker import WORKLOADS

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "bench-handoff"
MILLISECONDS = 100

# In admit.c: tasks of the loop that releases come first. A build without it; the core itself has no switch for what is no
# matter of degree. That the words are still there is checked.
OWN_LOOP = "(first->mailbox && first->mailbox == batch->own) || "


class Policy(NamedTuple):
    """When a wake hands the lock over."""

    name: str
    within_ns: int | None  # LOTS_FAIR_WITHIN_NS of csrc/parking_lot.h; None: as shipped
    own_loop: bool = True  # a release on a loop's own thread hands over to a task of that loop

    @property
    def macros(self) -> list[tuple[str, str | None]]:
        """What the core is compiled with."""
        return [] if self.within_ns is None else [("LOTS_FAIR_WITHIN_NS", str(self.within_ns))]

    @property
    def slug(self) -> str:
        """Its name, for a file."""
        return self.name.replace(" ", "-").replace(",", "")


SHIPPED = Policy("as shipped", None)
OWN_LOOP_OFF = Policy("own loop off", None, own_loop=False)
ALWAYS = Policy("always", 1)
NEVER = Policy("never", 0, own_loop=False)
TIMERS = [Policy("timer 0.1 ms", 200_000), Policy("timer 5 ms", 10_000_000)]
OF_THREADS = [SHIPPED, NEVER, *TIMERS, ALWAYS]
OF_TASKS = [SHIPPED, OWN_LOOP_OFF, NEVER, ALWAYS]
OF_BOTH = [SHIPPED, OWN_LOOP_OFF, NEVER, *TIMERS, ALWAYS]


class Outcome(NamedTuple):
    """What a policy made of a workload: medians of the rounds."""

    workload: str
    policy: str
    ratio: float  # acquisitions per second, to those of the shipped policy in the same round; above 1 is more
    low: float
    high: float
    per_second: float
    p99_ms: float
    longest_ms: float
    least: float  # acquisitions of the least lucky, in a round
    share: float  # the same, where 1 is what it would be if all had got as many
    rounds: int


Once = Callable[[str, int], dict[str, int]]  # a workload, for so many milliseconds


# --- building -----------------------------------------------------------------------------------------------------


def program(policy: Policy) -> Path:
    """Build the core alone with what times it."""
    defines = " ".join(f"-D{name}={value}" for name, value in policy.macros)
    command = ["make", "-s", "-C", str(ROOT / "bench" / "core"), "handoff", f"POLICY={policy.slug}", f"DEFINES={defines}"]
    return Path(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())


def core_module(policy: Policy) -> Path:
    """Build `aiolots._core`, as tools/build_core.py does, with one policy."""
    setuptools: Any = importlib.import_module("setuptools")  # neither has types
    build_core: Any = importlib.import_module("tools.build_core")
    # Away first: the linker would write into a file that may be mapped by a worker.
    folder = BUILD / policy.slug
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.chdir(ROOT), contextlib.redirect_stdout(sys.stderr):  # cffi and setuptools say what they do
        build_core.generate("aiolots._core", folder / "_core_glue.c")
        sources = [*build_core.core_sources(), str(folder / "_core_glue.c")]
        if not policy.own_loop:
            text = Path("csrc/admit.c").read_text(encoding="utf-8")
            if text.count(OWN_LOOP) != 1:
                raise LookupError(f"csrc/admit.c has changed: no {OWN_LOOP!r}")
            (folder / "admit.c").write_text(text.replace(OWN_LOOP, ""), encoding="utf-8")
            sources[sources.index("csrc/admit.c")] = str(folder / "admit.c")
        compile_args, link_args = build_core.flags()
        extension = setuptools.Extension(
            "aiolots._core",
            sources,
            include_dirs=["csrc"],
            define_macros=[*build_core.macros(), *policy.macros],
            extra_compile_args=compile_args,
            extra_link_args=link_args,
        )
        command = setuptools.Distribution({"name": "aiolots", "ext_modules": [extension]}).get_command_obj("build_ext")
        command.build_lib, command.build_temp, command.force = str(folder / "lib"), str(folder / "objects"), True
        command.ensure_finalized()
        command.run()
    return folder / "lib" / "aiolots" / f"_core{sysconfig.get_config_var('EXT_SUFFIX')}"


# --- timing -------------------------------------------------------------------------------------------------------


def in_turn(workload: str, policies: dict[str, Once], rounds: int, ms: int) -> Iterator[Outcome]:
    """Each policy beside the shipped one, as rounds.py does it: both within a fraction of a second, the order changing."""
    shipped, *others = policies
    found: dict[str, list[dict[str, int]]] = {name: [] for name in policies}
    ratios: dict[str, list[float]] = {name: [] for name in policies}
    for turn in range(rounds):
        for name in others:
            pair = [(side, policies[side](workload, ms)) for side in (shipped, name)[:: -1 if turn % 2 else 1]]
            for side, once in pair:
                found[side].append(once)
            speed = {side: once["done"] / once["ns"] for side, once in pair}
            ratios[name].append(speed[name] / speed[shipped])
    ratios[shipped] = [1.0]
    for name, these in found.items():
        low, _, high = statistics.quantiles(ratios[name] * 2, n=4, method="inclusive")  # twice: of one, too
        yield Outcome(
            workload, name, statistics.median(ratios[name]), low, high,
            statistics.median(1e9 * once["done"] / once["ns"] for once in these),
            statistics.median(once["p99"] for once in these) / 1e6,
            statistics.median(once["longest"] for once in these) / 1e6,
            statistics.median(once["least"] for once in these),
            statistics.median(once["least"] * once["actors"] / max(1, once["done"]) for once in these),
            rounds,
        )  # fmt: skip


def of_threads(rounds: int, *, smoke: bool) -> Iterator[Outcome]:
    """Threads, on the core alone."""
    policies = [SHIPPED, ALWAYS] if smoke else OF_THREADS
    programs = {policy.name: program(policy) for policy in policies}

    def once_of(path: Path) -> Once:
        def once(workload: str, ms: int) -> dict[str, int]:
            done = subprocess.run([path, workload, str(ms)], capture_output=True, text=True, check=True)
            result: dict[str, int] = json.loads(done.stdout)
            return result

        return once

    listed = subprocess.run([programs[SHIPPED.name]], capture_output=True, text=True, check=True).stdout.splitlines()
    for workload in listed[:2] if smoke else listed:
        once = {name: once_of(path) for name, path in programs.items()}
        yield from in_turn(workload, once, rounds, 5 if smoke else MILLISECONDS)


def of_tasks(rounds: int, *, smoke: bool) -> Iterator[Outcome]:
    """Tasks of one loop, and threads beside them, in Python."""
    policies = [SHIPPED, OWN_LOOP_OFF] if smoke else OF_BOTH
    with contextlib.ExitStack() as stack:

        def once_of(policy: Policy) -> Once:
            command = [sys.executable, "-m", "bench.handoff_worker", str(core_module(policy))]
            worker = stack.enter_context(
                subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            )

            def once(workload: str, ms: int) -> dict[str, int]:
                if worker.stdin is None or worker.stdout is None:
                    raise ValueError(worker)
                print(ms, workload, file=worker.stdin, flush=True)
                result: dict[str, int] = json.loads(worker.stdout.readline())
                return result

            return once

        every = {policy.name: once_of(policy) for policy in policies}
        for workload, (threads, _, _) in WORKLOADS.items():
            wanted = {policy.name for policy in (OF_BOTH if threads else OF_TASKS)}
            once = {name: once for name, once in every.items() if name in wanted}
            yield from in_turn(workload, once, rounds, 5 if smoke else MILLISECONDS)


def outcomes(rounds: int, *, smoke: bool) -> Iterator[Outcome]:
    """All of them."""
    yield from of_threads(rounds, smoke=smoke)
    yield from of_tasks(rounds, smoke=smoke)


HEAD = "policy|throughput|quartiles|p99 of the waits, ms|longest wait, ms|least lucky, times|of an equal share"


def lines(found: list[Outcome]) -> Iterator[str]:
    """The table of a report."""
    yield "\n### Handing over or barging\n"
    yield "Throughput: acquisitions per second, to those of the shipped policy beside it; above 1 is more. A wait: of more than"
    yield f"1 us. Times: of one thread or task in {MILLISECONDS} ms. Medians of {max(o.rounds for o in found)} rounds.\n"
    yield f"| work | {' | '.join(HEAD.split('|'))} |"
    yield "|---|---|--:|--:|--:|--:|--:|--:|"
    for o in found:
        span = f"[{o.low:.2f}, {o.high:.2f}]"
        times = f"{o.p99_ms:,.2f} | {o.longest_ms:.1f} | {o.least:,.0f} | {o.share:.2f}"
        yield f"| {o.workload} | {o.policy} | {o.ratio:.2f} | {span} | {times} |"
