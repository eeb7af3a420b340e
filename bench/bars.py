"""The promises: for each, the ratio ours/theirs that is not to be exceeded, and the worst that was measured of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from bench.rounds import Row


class Bar(NamedTuple):
    """A promise."""

    work: str
    limit: float


BARS = {
    "mutex": Bar("`with mutex:` vs `with threading.Lock()`", 0.75),
    "rw": Bar("`with rw.read():` / `.write():` vs `with threading.Lock()`", 0.95),
    "async-mutex": Bar("`async with mutex:` vs `async with asyncio.Lock()`", 0.35),
    "async-rw": Bar("`async with rw.read():` / `.write():` vs `async with asyncio.Lock()`", 0.45),
    "others": Bar("any of these vs aiologic, anyio, aiorwlock, readerwriterlock, fasteners", 0.12),
    "crowd": Bar("100 tasks on one loop vs asyncio.Lock", 1.0),
    "counter": Bar("2 threads + 2 tasks vs aiologic", 0.2),
    "ping-executor": Bar("thread/task ping-pong vs a threading.Lock in an executor", 0.6),
    "ping-aiologic": Bar("thread/task ping-pong vs aiologic", 0.9),
    "woken": Bar("10,000 readers woken vs 100, cost per reader", 1.3),
    "bytes": Bar("RwLock object, vs 56 bytes (the header of an object, and 40), and no other allocation", 1.0),
    "tracked": Bar("uncontended, with tracking on vs off", 2.0),
    "core": Bar("core alone, uncontended and contended, vs Rust parking_lot", 1.1),
}


class Verdict(NamedTuple):
    """A promise and its worst row."""

    bar: Bar
    worst: Row

    @property
    def kept(self) -> bool:
        """Whether the median is within the limit."""
        return self.worst.ratio <= self.bar.limit


def kept(row: Row) -> bool | None:
    """Whether a row keeps its promise; None if it is part of none."""
    return None if row.bar is None else row.ratio <= BARS[row.bar].limit


def verdicts(rows: Iterable[Row]) -> list[Verdict]:
    """The worst row of each promise, in the order of the promises; those that were not measured are left out."""
    worst: dict[str, Row] = {}
    for row in rows:
        if row.bar is not None and (row.bar not in worst or row.ratio > worst[row.bar].ratio):
            worst[row.bar] = row
    return [Verdict(bar, worst[key]) for key, bar in BARS.items() if key in worst]
