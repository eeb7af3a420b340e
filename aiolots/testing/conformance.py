"""The races that broke lock libraries, as a suite that runs against any lock.

    class MyLock(Adapter):
        name = "mine.Lock"
        offers = Offer.THREAD | Offer.HANDOVER

        def make(self): return mine.Lock()
        def acquire(self, lock, mode, timeout): lock.acquire(); return True
        def release(self, lock, mode, held): lock.release()

    for result in check("my_adapters:MyLock"):
        print(result)

An adapter says what the lock offers (`Offer`) and how it is used; what it does not offer is n/a, never a failure. A lock
without readers is asked for "write" alone. Condition variables, semaphores, events and the like have words and scenarios of
their own: `Adapter.kinds` says which are played, "lock" alone if nothing is said. A semaphore of one permit is a lock as
well. aiolots.testing.adapters has adapters for some thirty of them.

Each scenario is played in a new process, and anew after a variant that did not pass, for hangs are real here. Its variants
are worlds: threads, tasks, both, tasks of two loops. After each the lock must be free, and still a lock. The outcome of a
scenario is its worst: FAIL (the lock did what no lock may do, raised, starved or crashed), HANG (what should happen did not
within some seconds, or the process had to be killed), PASS, or NOT_APPLICABLE (no variant could be played).

The limit of a black box: nobody can be asked whether he is queued already. Each waiter says when it is about to acquire, and
its thread is then watched until it sleeps (see aiolots/testing/_waiting.py). Where that misleads, a broken lock may pass; a
sound one does not fail. Likewise what takes two threads at two places inside the lock at once is raced for here, many times,
and not forced. To pass is no proof.

What nobody can serve may be refused: see aiolots/testing/_endless.py for what counts, where one owner asks twice.
"""

from __future__ import annotations

import contextlib
import enum
import importlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from aiolots.testing._adapter import Adapter, Kind, Mode, Offer
from aiolots.testing._registry import VARIANTS, Variant

TITLES: dict[str, str] = {
    "R01": "a departing writer meets the last reader",
    "R02": "no writer is refused for ever after timeouts",
    "R03": "readers behind a departed writer get in at once",
    "R04": "a departed writer does not wedge the lock",
    "R05": "a signal interrupts a queued writer",
    "R06": "cancel, release and acquire in one turn",
    "R07": "granted, then cancelled or timed out",
    "R08": "cancel and release in one turn: one gets in",
    "R09": "a notification is not lost",
    "R10": "a cancelled wait comes back with the lock",
    "R11": "a wait is timed from outside",
    "R12": "acquired in a helper, released in the caller",
    "R13": "an abandoned acquire lets go",
    "R14": "cancelled during a release",
    "R16": "an upgradable reader behind a writer wakes",
    "R17": "no writer between a read and its upgrade",
    "R18": "a queued upgradable reader blocks no reader",
    "R19": "an upgrade that gives up is a reader again",
    "R20": "the waiter's loop is stopped or closed",
    "R21": "a loop's thread waits behind a task of its loop",
    "R22": "a task holds, its loop's thread asks: refused",
    "R23": "wakes to an idle loop, from four threads",
    "R24": "released by a thread without a loop",
    "R25": "a spinner does not starve who asks once",
    "R26": "woken from another loop",
    "R27": "no wake is lost when releases meet waiters",
    "R28": "shared is shared: five readers meet",
    "R29": "one owner asks again: let in, or refused",
    "R30": "a reader asks to write: let in, or refused",
    "R31": "what who awaits or joins one holds is refused",
    "R32": "legal waits are not refused",
    "R33": "repr and statistics lock nothing",
    "R34": "who waits queues again behind others",
    "R36": "fork while others wait",
    "R38": "re-entry from a signal handler or finalizer",
    "R39": "starvation of readers, of writers",
    "R40": "odd timeouts: 0, tiny, NaN, negative, inf",
    "R41": "ten thousand cancelled waiters, O(1) each",
    "R42": "eager tasks",
    "R43": "once: who does it fails, the next does it",
    # What has no number in that list.
    "U01": "a writer becomes a reader",
    "M01": "reentrant: the owner gets in again",
    "M02": "reentrant: others may not release",
    "M03": "reentrant: a task is not its loop's thread",
    "S01": "no permit is lost with who is cancelled",
    "S02": "as many get in as there are permits",
    "E01": "a set reaches all who wait",
    "E02": "set and cleared at once",
    "E03": "set and cancelled in one turn",
    "E04": "a wait that runs out says so",
    "B01": "all meet, round after round",
    "B02": "one leaves a barrier: nobody is left behind",
    "B03": "cancelled when the last one arrives",
}

LEFT_OUT: dict[str, str] = {
    "R15, R35, R37": "need what no adapter has a word for yet: a generator's guard, telemetry",
}

LIMIT = 40.0  # seconds for one variant: then its process is killed


class Outcome(enum.StrEnum):
    """What came of a scenario, best first."""

    NOT_APPLICABLE = "n/a"
    PASS = "pass"
    HANG = "hang"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class VariantResult:
    """What came of one way to play a scenario."""

    variant: str
    outcome: Outcome
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a scenario.

    Attributes:
        lock: the adapter's name.
        scenario: "R03".
        outcome: the worst of its variants'.
        reason: why, in a line; empty if it passed.
        variants: each way to play it.
    """

    lock: str
    scenario: str
    outcome: Outcome
    reason: str
    variants: tuple[VariantResult, ...]


def load(spec: str) -> Adapter:
    """Return the adapter that "module:Class" names. ImportError or AttributeError if there is none."""
    module, _, name = spec.partition(":")
    kind: type[Adapter] = getattr(importlib.import_module(module), name)
    return kind()


def installed(adapter: Adapter) -> bool:
    """Return whether the package that the adapter is for is here."""
    return not adapter.package or importlib.util.find_spec(adapter.package) is not None


def variants_of(scenario: str) -> list[Variant]:
    """Return the ways to play a scenario."""
    import_scenarios()
    return [variant for variant in VARIANTS if variant.scenario == scenario]


def import_scenarios() -> None:
    """Fill the registry."""
    locks = ("_departures", "_ticks", "_crossing", "_endless", "_legal", "_hygiene")
    for module in (*locks, "_notifies", "_upgrades", "_counts", "_meetings", "_onces"):
        importlib.import_module(f"aiolots.testing.{module}")


def check(spec: str, scenarios: Sequence[str] = tuple(TITLES)) -> Iterator[Result]:
    """Yield what comes of each scenario with the adapter that "module:Class" names."""
    for scenario in scenarios:
        yield play(spec, scenario)


def play(spec: str, scenario: str) -> Result:
    """Play one scenario in new processes: blocks for some seconds. KeyError if there is no such scenario."""
    adapter = load(spec)
    if scenario not in TITLES:
        raise KeyError(scenario)
    results: list[VariantResult] = []
    left: list[str] = []
    for variant in variants_of(scenario):
        if variant.kind not in adapter.kinds:
            results.append(VariantResult(variant.name, Outcome.NOT_APPLICABLE, f"not of this kind: {variant.kind}"))
        elif missing := variant.needs & ~adapter.offers:
            results.append(VariantResult(variant.name, Outcome.NOT_APPLICABLE, f"not offered: {missing}"))
        else:
            left.append(variant.name)
    while left:
        played = _play_in_child(spec, scenario, left)
        results += played
        left = left[len(played) :]
    worst = max(results, key=lambda result: list(Outcome).index(result.outcome))
    reason = "" if worst.outcome is Outcome.PASS else worst.reason
    if worst.outcome in (Outcome.FAIL, Outcome.HANG):
        reason = f"{worst.variant}: {reason}"
    return Result(adapter.name, scenario, worst.outcome, reason, tuple(results))


def _play_in_child(spec: str, scenario: str, names: list[str]) -> list[VariantResult]:
    """Play variants one after the other, until one does not pass; at least one."""
    command = [sys.executable, "-m", "aiolots.testing._child", spec, scenario, *names]
    path = os.pathsep.join(part for part in sys.path if part)
    child = subprocess.Popen(
        command,
        env=os.environ | {"PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,  # a forked grandchild goes with it
    )
    played: list[VariantResult] = []
    killed = threading.Event()

    def kill() -> None:
        killed.set()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)

    assert child.stdout is not None
    with child:
        while True:
            timer = threading.Timer(LIMIT, kill)
            timer.start()
            line = child.stdout.readline()
            timer.cancel()
            if not line:
                break
            answer = json.loads(line)
            played.append(VariantResult(answer["variant"], Outcome(answer["outcome"]), answer["reason"]))
    if len(played) < len(names) and all(one.outcome in (Outcome.PASS, Outcome.NOT_APPLICABLE) for one in played):
        if killed.is_set():
            how, reason = Outcome.HANG, f"the process stood still for {LIMIT:.0f} s and was killed"
        else:
            how, reason = Outcome.FAIL, f"the process died with status {child.returncode}"
        played.append(VariantResult(names[len(played)], how, reason))
    return played


__all__ = [
    "LEFT_OUT",
    "TITLES",
    "Adapter",
    "Kind",
    "Mode",
    "Offer",
    "Outcome",
    "Result",
    "VariantResult",
    "check",
    "installed",
    "load",
    "play",
]
