"""What it costs to count what waiting costs: a wait that is counted against one that is not, and one that is told besides."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any

from aiolots import Mutex, telemetry
from aiolots._lib import CONTENTION, MUTEX, NULL, OP, TRAIL, WORD, ffi, lib
from bench.rounds import Context, Pair, Run
from bench.statements import thread_work

# One thread's op, polled by hand: queued, handed the mutex, released. The core only, but for how it is called.
_WAIT = (
    "take(word, MUTEX); init(op, word, MUTEX, NULL, 0, 0); counts(op, record); poll(op); "
    "release(word, MUTEX, 1, NULL); poll(op); op_release(op, 0, NULL)"
)


def _waits(record: Any, trail: Any = NULL) -> Run:
    if record:
        record.trail = trail
    names = {"trail": trail, "word": ffi.new(WORD), "op": ffi.new(OP), "record": record, "MUTEX": MUTEX, "NULL": NULL}
    verbs = {
        "take": lib.lots_try,
        "init": lib.lots_op_init,
        "counts": lib.lots_op_counts,
        "poll": lib.lots_op_poll,
        "release": lib.lots_release,
        "op_release": lib.lots_op_release,
    }
    return thread_work(_WAIT, **names, **verbs)


def core(_context: Context) -> Iterator[Pair]:
    """The core's part: two looks at the clock, and five counters; and the three steps of such a wait, as the trail has them."""
    text = "queue, be handed the mutex, release"
    yield Pair("statistics", f"{text}: counted", "the same", "not counted", _waits(ffi.new(CONTENTION)), _waits(NULL))
    noted, counted = _waits(ffi.new(CONTENTION), ffi.new(TRAIL)), _waits(ffi.new(CONTENTION))
    yield Pair("statistics", f"{text}: counted, its steps noted", "the same", "counted", noted, counted)


def told(context: Context) -> Iterator[Pair]:
    """Ten tasks hand a mutex round; somebody is told of each wait, or nobody listens. With what the thread that tells takes."""

    def round_of(subscribe: Callable[[], contextlib.AbstractContextManager[Any]]) -> Run:
        mutex = Mutex()

        async def take(n: int) -> None:
            for _ in range(n):
                async with mutex:
                    await asyncio.sleep(0)

        async def crowd(n: int) -> float:
            start = perf_counter()
            await asyncio.gather(*[take(n) for _ in range(10)])
            return perf_counter() - start

        def run(n: int) -> float:
            with subscribe():
                return context.loop.run(crowd(n))

        return run

    @contextlib.contextmanager
    def listening() -> Iterator[None]:
        unsubscribe = telemetry.on_contention(lambda _event: None)
        yield
        unsubscribe()

    text = "async with mutex: await asyncio.sleep(0), ten tasks"
    yield Pair(
        "statistics",
        f"{text}: told",
        "the same",
        "nobody listens",
        round_of(listening),
        round_of(contextlib.nullcontext),
        per=(10, 10),
        patience=4,
    )
