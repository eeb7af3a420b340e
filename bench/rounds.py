"""Two things timed against each other: ours, theirs, theirs, ours, ... in rounds of some 20 ms, the median of the ratios.

A machine that others use too is slower at one moment than at the next. Both sides of a pair are timed within the same few
hundredths of a second, so that a slow moment hits both; the order changes each round, so that neither is always second.
"""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Protocol

from bench.peers import Peers

Run = Callable[[int], float]  # does it so many times, returns the seconds that took

MOST = 1 << 26
BUDGET = 30.0  # seconds on the wall for one pair; a peer that crawls gets fewer rounds, at least three


class Loop(Protocol):
    """An event loop that is there to run one coroutine after the other (asyncio.Runner)."""

    def run(self, coro: Coroutine[Any, Any, float]) -> float:
        """Run it to its end."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a workload may use."""

    peers: Peers
    loop: Loop
    smoke: bool = False

    def sizes(self, *sizes: int) -> tuple[int, ...]:
        """Return the sizes; the smallest two of them for the smoke test."""
        return sizes[:2] if self.smoke else sizes


@dataclass(frozen=True, slots=True)
class Pair:
    """One comparison.

    Attributes:
        group: the workload it belongs to.
        ours: what we do, as shown in the table.
        peer: whom it is compared with.
        theirs: what the peer does.
        bar: the promise (a key of bars.BARS) that this is part of, or None: for information.
        per: how many operations one time of each side counts for.
        patience: rounds are longer by this factor; for what the scheduler of threads has a hand in.
    """

    group: str
    ours: str
    peer: str
    theirs: str
    run_ours: Run
    run_theirs: Run
    bar: str | None = None
    per: tuple[int, int] = (1, 1)
    patience: int = 1


Workload = Callable[[Context], Iterable[Pair]]


@dataclass(frozen=True, slots=True)
class Row:
    """What came of a pair; times in nanoseconds per operation, medians of the rounds."""

    group: str
    ours: str
    peer: str
    theirs: str
    bar: str | None
    loop: str
    ratio: float
    low: float
    high: float
    ours_ns: float
    theirs_ns: float
    rounds: int
    ratios: list[float] = field(repr=False)


def row_of(pair: Pair, loop: str, ours: list[float], theirs: list[float]) -> Row:
    """Make a row of paired times per operation."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else (ratios[0],) * 3
    return Row(
        pair.group, pair.ours, pair.peer, pair.theirs, pair.bar, loop,
        statistics.median(ratios), low, high, statistics.median(ours) * 1e9, statistics.median(theirs) * 1e9,
        len(ratios), ratios,
    )  # fmt: skip


def enough(run: Run, floor: float) -> int:
    """Find how often to do it for a round to last `floor` seconds; warms up on the way. A hiccup is not taken for it."""
    times = 1
    while times < MOST:
        took = run(times)
        if took >= floor:
            took = min(took, run(times), run(times))
        if took >= 0.8 * floor:
            break
        times = max(times + 1, min(times * 10, int(times * 1.2 * floor / took) if took > 0 else times * 10))
    return times


def measure(pair: Pair, loop: str, rounds: int, floor: float) -> Row:
    """Time both sides of a pair, `rounds` times."""
    floor *= pair.patience
    sides = ((pair.run_ours, enough(pair.run_ours, floor)), (pair.run_theirs, enough(pair.run_theirs, floor)))
    took: tuple[list[float], list[float]] = ([], [])
    gc.collect()
    end = monotonic() + BUDGET
    for turn in range(rounds):
        if turn >= 3 and monotonic() > end:
            break
        for side in (0, 1) if turn % 2 == 0 else (1, 0):
            run, times = sides[side]
            gc.disable()
            try:
                took[side].append(run(times) / times / pair.per[side])
            finally:
                gc.enable()
    return row_of(pair, loop, *took)


def rows(workload: Workload, context: Context, loop: str, rounds: int, floor: float) -> Iterator[Row]:
    """Measure all pairs of a workload."""
    for pair in workload(context):
        yield measure(pair, loop, rounds, floor)
