"""Contended on one event loop: a hundred tasks want one lock; thousands of readers wait for one writer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from time import perf_counter, thread_time
from typing import Any

from aiolots import Mutex, RwLock
from bench.rounds import Context, Pair, Run
from bench.statements import beside_busy_thread, in_tasks

TASKS = 100
CROWD, WOKEN = f"{TASKS} tasks, one loop", "readers woken at once"
VARIANTS = (("pass", "nothing inside"), ("await sleep(0)", "sleep(0) inside"))


def crowd(context: Context) -> Iterator[Pair]:
    """A hundred tasks, one lock; with an await inside, all but one of them wait at any time."""
    for inside, _ in VARIANTS:
        mutex, rw = Mutex(), RwLock()
        takes: list[tuple[str, dict[str, Any]]]
        takes = [(f"async with mutex: {inside}", {"mutex": mutex}), (f"async with rw.write(): {inside}", {"rw": rw})]
        peers = [(name, f"async with lock: {inside}", names) for name, _, names, _ in context.peers.task_mutexes()]
        peers += [(name, f"async with lock.writer: {inside}", peer.names) for name, _, peer in context.peers.task_rwlocks()]
        for ours, names in takes:
            work = in_tasks(context, TASKS, ours, sleep=asyncio.sleep, **names)
            for name, theirs, their_names in peers[: None if "mutex" in names else 1]:
                other = in_tasks(context, TASKS, theirs, sleep=asyncio.sleep, **their_names)
                bar = "crowd" if name == "asyncio.Lock" else None
                yield Pair(CROWD, ours, name, theirs, work, other, bar, (TASKS, TASKS))


def crowd_beside_busy_thread(context: Context) -> Iterator[Pair]:
    """The same, while another thread runs Python."""
    inside = VARIANTS[1][0]
    ours, theirs = f"async with mutex: {inside}", f"async with lock: {inside}"
    names = {"sleep": asyncio.sleep, "clock": perf_counter}
    run = beside_busy_thread(in_tasks(context, TASKS, ours, mutex=Mutex(), **names))
    other = beside_busy_thread(in_tasks(context, TASKS, theirs, lock=asyncio.Lock(), **names))
    yield Pair(f"{CROWD}, beside a busy thread", ours, "asyncio.Lock", theirs, run, other, None, (TASKS, TASKS), patience=5)


# --- readers woken at once ----------------------------------------------------------------------------------------


class Gate:
    """A writer that is in, and readers who wait for it to leave: `shut` keeps them out, what it returns lets them in."""

    def __init__(self) -> None:
        self.lock = RwLock()

    async def shut(self) -> Callable[[], None]:  # noqa: D102
        guard = await self.lock.write()
        return guard.release

    def read(self) -> AbstractAsyncContextManager[Any]:  # noqa: D102
        return self.lock.read()


class AiorwlockGate:
    """The same of aiorwlock."""

    def __init__(self, aiorwlock: Any) -> None:
        self.lock = aiorwlock.RWLock(fast=True)

    async def shut(self) -> Callable[[], None]:  # noqa: D102
        await self.lock.writer.acquire()
        release: Callable[[], None] = self.lock.writer.release
        return release

    def read(self) -> AbstractAsyncContextManager[Any]:  # noqa: D102
        reader: AbstractAsyncContextManager[Any] = self.lock.reader
        return reader


class EventGate:
    """No lock at all: an asyncio.Event. What the loop itself takes to wake so many."""

    def __init__(self) -> None:
        self.event = asyncio.Event()

    async def shut(self) -> Callable[[], None]:  # noqa: D102
        self.event.clear()
        return self.event.set

    def read(self) -> AbstractAsyncContextManager[Any]:  # noqa: D102
        return self

    async def __aenter__(self) -> None:
        await self.event.wait()

    async def __aexit__(self, *_: object) -> None:
        return None


def woken_run(context: Context, gate: Gate | AiorwlockGate | EventGate, readers: int) -> Run:
    """Seconds from the writer's release until the last of the readers is through; the rest is not counted."""

    async def cycle() -> float:
        loop = asyncio.get_running_loop()
        let_in = await gate.shut()
        through, left, read = loop.create_future(), readers, gate.read

        async def reader() -> None:
            nonlocal left
            async with read():
                left -= 1
            if not left:
                through.set_result(None)

        tasks = [asyncio.ensure_future(reader()) for _ in range(readers)]
        await asyncio.sleep(0)  # all of them have started, and wait
        start = thread_time()
        let_in()
        await through
        took = thread_time() - start
        await asyncio.gather(*tasks)
        return took

    async def cycles(n: int) -> float:
        return sum([await cycle() for _ in range(n)])

    return lambda n: context.loop.run(cycles(n))


def woken(context: Context) -> Iterator[Pair]:
    """Many readers wait for one writer, which leaves."""
    sizes = context.sizes(100, 1_000, 10_000)
    runs = {size: woken_run(context, Gate(), size) for size in sizes}
    few = sizes[0]
    for many in sizes[1:]:
        ours, theirs = f"{many:,} readers, each", f"{few:,} readers, each"
        bar = "woken" if many == 10_000 else None
        yield Pair(WOKEN, ours, "aiolots.RwLock", theirs, runs[many], runs[few], bar, (many, few))
        event = [woken_run(context, EventGate(), size) for size in (many, few)]
        yield Pair(WOKEN, f"asyncio.Event: {ours}", "asyncio.Event", theirs, event[0], event[1], None, (many, few))
    for size in sizes:
        ours = f"{size:,} readers, each"
        yield Pair(WOKEN, ours, "asyncio.Event", ours, runs[size], woken_run(context, EventGate(), size), None, (size, size))
        if aiorwlock := context.peers.get("aiorwlock"):
            other = woken_run(context, AiorwlockGate(aiorwlock), size)
            yield Pair(WOKEN, ours, "aiorwlock.RWLock", ours, runs[size], other, None, (size, size))
