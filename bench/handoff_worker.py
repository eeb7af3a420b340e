"""One policy of handing over, timed from Python: `python -m bench.handoff_worker CORE`, where CORE is an `aiolots._core` that
was built with that policy. handoff.py starts one for each and has them work in turn.

Reads lines of `MILLISECONDS WORKLOAD`, answers each with a line of JSON, as bench/core/handoff.c prints it. Every acquisition
is timed from asking to having, so the clock is in the throughput, under every policy alike; what took less than a microsecond
is no wait.
"""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import json
import sys
import threading
from collections.abc import Callable, Coroutine
from time import perf_counter_ns
from typing import Any

NO_WAIT = 1000  # nanoseconds

Waits = list[int]
ThreadActor = Callable[[Any, list[int], list[bool], Waits], None]
TaskActor = Callable[[Any, list[int], list[bool], Waits], Coroutine[Any, Any, None]]


def load_core(path: str) -> None:
    """Have this file be `aiolots._core`, in place of the one that is installed."""
    spec = importlib.util.spec_from_file_location("aiolots._core", path)
    if spec is None or spec.loader is None:
        raise ImportError(path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)


def in_thread(mutex: Any, box: list[int], stop: list[bool], waits: Waits) -> None:
    """Count, as a thread."""
    now, note = perf_counter_ns, waits.append
    while not stop:
        start = now()
        with mutex:
            note(now() - start)
            box[0] += 1


async def suspends_outside(mutex: Any, box: list[int], stop: list[bool], waits: Waits) -> None:
    """Count, as a task; let others of its loop run in between."""
    now, note, sleep = perf_counter_ns, waits.append, asyncio.sleep
    while not stop:
        start = now()
        async with mutex:
            note(now() - start)
            box[0] += 1
        await sleep(0)


async def suspends_inside(mutex: Any, box: list[int], stop: list[bool], waits: Waits) -> None:
    """Count, as a task that suspends while it holds the lock, and asks for it again at once."""
    now, note, sleep = perf_counter_ns, waits.append, asyncio.sleep
    while not stop:
        start = now()
        async with mutex:
            note(now() - start)
            box[0] += 1
            await sleep(0)


async def suspends_both(mutex: Any, box: list[int], stop: list[bool], waits: Waits) -> None:
    """Count, as a task that suspends while it holds the lock, and before it asks again."""
    now, note, sleep = perf_counter_ns, waits.append, asyncio.sleep
    while not stop:
        start = now()
        async with mutex:
            note(now() - start)
            box[0] += 1
            await sleep(0)
        await sleep(0)


WORKLOADS: dict[str, tuple[int, int, TaskActor]] = {
    "2 threads + 2 tasks, one counter": (2, 2, suspends_outside),
    "100 tasks of one loop, suspend inside": (0, 100, suspends_inside),
    "100 tasks of one loop, suspend inside and outside": (0, 100, suspends_both),
}


def work(runner: asyncio.Runner, mutex: Any, workload: str, ms: int) -> dict[str, int]:
    """Let all of them run for so long."""
    threads, tasks, task = WORKLOADS[workload]
    box, stop = [0], list[bool]()
    waits: list[Waits] = [[] for _ in range(threads + tasks)]
    gate = threading.Barrier(threads + 1)

    def body(mine: Waits) -> None:
        gate.wait()
        in_thread(mutex, box, stop, mine)

    async def crowd() -> None:
        asyncio.get_running_loop().call_later(ms / 1000, stop.append, True)
        await asyncio.gather(*[task(mutex, box, stop, mine) for mine in waits[threads:]])

    actors = [threading.Thread(target=body, args=(mine,)) for mine in waits[:threads]]
    for actor in actors:
        actor.start()
    gate.wait()
    start = perf_counter_ns()
    runner.run(crowd())
    for actor in actors:
        actor.join()
    took = perf_counter_ns() - start
    done = sum(map(len, waits))
    if box[0] != done:
        raise AssertionError(f"{done - box[0]} of {done} increments got lost")
    every = sorted(wait for mine in waits for wait in mine if wait > NO_WAIT) or [0]
    return {
        "done": done,
        "least": min(map(len, waits)),
        "actors": len(waits),
        "ns": took,
        "p99": every[(len(every) - 1) * 99 // 100],
        "longest": every[-1],
    }


def main(core: str) -> None:
    """Answer line after line."""
    load_core(core)
    from aiolots import Mutex

    with asyncio.Runner() as runner:
        for line in sys.stdin:
            ms, _, workload = line.strip().partition(" ")
            gc.collect()
            gc.disable()
            print(json.dumps(work(runner, Mutex(), workload, int(ms))), flush=True)
            gc.enable()


if __name__ == "__main__":
    main(sys.argv[1])
