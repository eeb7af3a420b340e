"""The rounds, the watchdog over them, and the report."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import itertools
import sys
import threading
import time
import warnings
from collections import Counter
from dataclasses import dataclass, field

from aiolots import Mutex, RwLock, decode, lowlevel, set_loop_block_policy
from tests.stress import deaths, forks, tasks, threads
from tests.stress.ghost import Crew, Ghost
from tests.stress.tasks import NewLoop

PATIENCE = 20.0  # seconds without any progress until a worker counts as stuck
ROUND = 4.0  # seconds, at most
TICK = 0.02
FIVE_MICROSECONDS = 5e-6


@dataclass
class Report:
    """What a run has done, and what was wrong."""

    operations: Counter[str] = field(default_factory=Counter)
    timeouts: int = 0
    cancellations: int = 0
    revocations: int = 0
    forks: int = 0
    loop_deaths: int = 0
    rounds: int = 0
    longest_wait: float = 0.0
    longest_waiter: str = ""
    violations: list[str] = field(default_factory=list)
    stuck: bool = False

    def __str__(self) -> str:
        total = sum(self.operations.values())
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in sorted(self.operations.items()))
        lines = [
            f"{total:,} operations in {self.rounds} rounds ({kinds})",
            f"{self.timeouts:,} timeouts, {self.cancellations:,} cancellations, {self.revocations:,} revocations",
            f"{self.forks:,} forks, {self.loop_deaths:,} loop deaths",
            f"longest wait {self.longest_wait * 1e3:.1f} ms ({self.longest_waiter})",
            *(f"VIOLATION: {what}" for what in self.violations[:20]),
            f"{len(self.violations)} violations",
        ]
        return "\n".join(lines)


@dataclass(frozen=True)
class Options:
    """What a run is made of."""

    seed: int = 1
    loop: str = "both"
    fork: bool = True
    loop_death: bool = True
    drop: bool = False


class Round:
    """New locks, and a crew on them for a while."""

    def __init__(self, kind: str, seed: int, new_loops: tuple[NewLoop, NewLoop], options: Options) -> None:
        self.kind = kind
        self.options = options
        self.wrong: list[str] = []
        self.crew = Crew(self.wrong)
        self.ghosts = [Ghost(f"{kind} rwlock", self.wrong), Ghost(f"{kind} mutex", self.wrong)]
        self.lock = RwLock(self.ghosts[0], name=self.ghosts[0].name)
        self.mutex = Mutex(self.ghosts[1], name=self.ghosts[1].name)
        self.threads: list[threading.Thread] = []
        self.stuck = False
        {"parking_lot": self._start_parking_lot, "worlds": self._start_worlds}[kind](seed, new_loops)
        self.threads.append(threads.start(self.crew, "sampler", threads.sample_words([self.lock], [self.mutex], self.wrong)))

    def _start_parking_lot(self, _seed: int, _new_loops: tuple[NewLoop, NewLoop]) -> None:
        for i in range(4):
            self.threads.append(threads.start(self.crew, f"reader {i}", lambda worker: threads.read(worker, self.lock)))
        for i in range(3):
            self.threads.append(
                threads.start(self.crew, f"writer {i}", lambda worker: threads.write_for(worker, self.lock, FIVE_MICROSECONDS))
            )

    def _start_worlds(self, seed: int, new_loops: tuple[NewLoop, NewLoop]) -> None:
        lock, mutex, crew = self.lock, self.mutex, self.crew
        for i in range(4):
            self.threads.append(threads.start(crew, f"thread {i}", threads.mixed(lock, mutex, seed + i)))
        for i, new_loop in enumerate(new_loops):
            steps = tasks.steps_on_one_loop(lock, mutex, seed + 10 + i)
            self.threads.append(tasks.start_loop(crew, f"loop {i}", new_loop, steps))
        if self.options.loop_death:
            for i, new_loop in enumerate(new_loops):
                step = deaths.mortal_loops(lock, mutex, new_loop, seed + 20 + i, drop=self.options.drop)
                self.threads.append(threads.start(crew, f"mortal loops {i}", step))
        if self.options.fork:
            step = forks.forks(lock, mutex, new_loops[seed // 100 % 2], seed + 30, self.wrong)
            self.threads.append(threads.start(crew, "forks", step))

    def watch(self, seconds: float) -> None:
        """Let the crew work, end it, and check what is left behind."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.crew.stop.is_set() and not self._is_stuck():
            time.sleep(TICK)
        self.crew.stop.set()
        while any(thread.is_alive() for thread in self.threads) and not self._is_stuck():
            time.sleep(TICK)
        if self.stuck:
            return
        gc.collect()  # a loop that was dropped while another thread collected is still there
        for lock in (self.lock, self.mutex):
            if lock.word:
                self.wrong.append(f"{lock.name}: the last word is {lock.word:#x}: {decode(lock.word)}")
            if waiting := lowlevel.waiters(lock):
                self.wrong.append(f"{lock.name}: still queued: {waiting}")
        for ghost in self.ghosts:
            writes = sum(worker.writes.get(ghost.name, 0) for worker in self.crew.workers)
            if writes != ghost.count:
                self.wrong.append(f"{ghost.name}: lost update: {writes} writes were made, {ghost.count} are left")

    def _is_stuck(self) -> bool:
        stuck = self.crew.stuck(PATIENCE)
        if stuck and not self.stuck:
            self.stuck = True
            for worker in stuck:
                self.wrong.append(f"{self.kind}: stuck for {PATIENCE:.0f} s: {worker.name}, {worker.at}")
            self._dump()
        return self.stuck

    def _dump(self) -> None:
        """Show all that there is to see, without taking any lock."""
        for lock in (self.lock, self.mutex):
            print(f"{lock!r} word {lock.word:#x}", file=sys.stderr)
            for waiter in lowlevel.waiters(lock):
                print(f"    {waiter}", file=sys.stderr)
        faulthandler.dump_traceback(file=sys.stderr, all_threads=True)

    def add_to(self, report: Report) -> None:
        report.rounds += 1
        report.violations += self.wrong
        report.stuck |= self.stuck
        for worker in self.crew.workers:
            kind = f"{self.kind} tasks" if worker.name.startswith("loop") else f"{self.kind} threads"
            report.operations[kind if worker.name != "sampler" else "samples"] += worker.operations
            report.timeouts += worker.timeouts
            report.cancellations += worker.cancellations
            report.forks += worker.forks
            report.loop_deaths += worker.loop_deaths
            if worker.longest > report.longest_wait:
                report.longest_wait, report.longest_waiter = worker.longest, f"{self.kind}, {worker.name}"


def loop_makers(which: str) -> tuple[NewLoop, NewLoop]:
    """Return how the two loops of a round are made."""
    if which == "asyncio":
        return asyncio.new_event_loop, asyncio.new_event_loop
    import uvloop

    return (uvloop.new_event_loop if which == "uvloop" else asyncio.new_event_loop), uvloop.new_event_loop


def run(seconds: float, options: Options) -> Report:
    """Run rounds for so many seconds, a quarter of them parking_lot's mix; stop at the first that went wrong."""
    report = Report()
    new_loops = loop_makers(options.loop)
    policy, revoke_after, interval = set_loop_block_policy("allow"), lowlevel.set_revoke_after(0.1), sys.getswitchinterval()
    revocations = lowlevel.revocations()
    sys.setswitchinterval(50e-6)
    end = time.monotonic() + seconds
    length = min(ROUND, seconds / 4)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.filterwarnings("ignore", "unclosed", ResourceWarning)  # loops are dropped on purpose
            warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)  # 3.12+: this process has threads, as it should
            for i in itertools.count():
                left = end - time.monotonic()
                if left <= length / 10 or report.violations:
                    break
                # Wakes are revoked after 1 ms in half of the rounds: far more often than a sound setting would.
                lowlevel.set_revoke_after(0.001 if i % 2 else 0.1)
                this = Round("worlds" if i % 4 else "parking_lot", options.seed + 100 * i, new_loops, options)
                this.watch(min(length, left))
                this.add_to(report)
    finally:
        set_loop_block_policy(policy)
        lowlevel.set_revoke_after(revoke_after)
        sys.setswitchinterval(interval)
    report.revocations = lowlevel.revocations() - revocations
    return report
