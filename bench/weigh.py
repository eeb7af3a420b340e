"""Bytes per lock, and per task that waits for one. Each is weighed in a process of its own: `python -m bench.weigh KIND N`.

    size      sys.getsizeof: with the header that the garbage collector puts before the object
    basic     tp_basicsize: the object itself
    traced    what tracemalloc saw allocated, per lock; all that belongs to it
    resident  growth of the process, per lock: with what malloc adds
    parked    traced, per parked task, less a task that waits for a bare future
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

KINDS = {
    "aiolots.RwLock": ("aiolots", "RwLock", {}, "lock.read()"),
    "aiolots.Mutex": ("aiolots", "Mutex", {}, "lock"),
    "threading.Lock": ("threading", "Lock", {}, None),
    "asyncio.Lock": ("asyncio", "Lock", {}, "lock"),
    "anyio.Lock": ("anyio", "Lock", {"fast_acquire": True}, "lock"),
    "aiologic.Lock": ("aiologic", "Lock", {}, "lock"),
    "aiorwlock.RWLock": ("aiorwlock", "RWLock", {"fast": True}, "lock.reader"),
    "readerwriterlock.RWLockWrite": ("readerwriterlock.rwlock", "RWLockWrite", {}, None),
    "fasteners.ReaderWriterLock": ("fasteners", "ReaderWriterLock", {}, None),
    "ft_utils.RWLock": ("ft_utils.synchronization", "RWLock", {}, None),
}  # the module, the class, its arguments; what a task enters, if tasks can
PAGE = 4096


class Weight(NamedTuple):
    """What a kind of lock weighs, in bytes; None: does not apply."""

    kind: str
    size: int
    basic: int
    traced: float
    resident: float
    parked: float | None


def maker(kind: str) -> Callable[[], Any]:
    module, name, arguments, _ = KINDS[kind]
    kind_of_lock = getattr(importlib.import_module(module), name)
    return lambda: kind_of_lock(**arguments)


def resident_pages() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) if sys.platform == "linux" else 0


def weigh_locks(make: Callable[[], Any], count: int) -> tuple[float, float]:
    make()
    gc.collect()
    kept: list[Any] = [None] * count
    before = resident_pages()
    for i in range(count):
        kept[i] = make()
    resident = (resident_pages() - before) * PAGE / count
    kept[:] = [None] * count
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for i in range(count):
        kept[i] = make()
    traced = (tracemalloc.get_traced_memory()[0] - before) / count
    tracemalloc.stop()
    return traced, resident


async def weigh_parked(make: Callable[[], Any], entered: str, count: int) -> float:
    """Traced bytes per parked task; entered 'future' is the tare."""
    loop = asyncio.get_running_loop()
    names: dict[str, Any] = {}
    exec(f"async def wait(lock):\n    async with {entered}:\n        pass\n", names)
    wait, lock = names["wait"], make()
    holding = lock.write() if entered == "lock.read()" else lock.writer if entered == "lock.reader" else lock

    async def hold(go: asyncio.Future[None]) -> None:
        async with holding:
            await go

    async def bare(future: asyncio.Future[None]) -> None:
        await future

    async def parked(new: Callable[[], Any]) -> tuple[float, list[asyncio.Future[Any]]]:
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        tasks: list[asyncio.Future[Any]] = [asyncio.ensure_future(new()) for _ in range(count)]
        await asyncio.sleep(0)
        traced = (tracemalloc.get_traced_memory()[0] - before) / count
        tracemalloc.stop()
        return traced, tasks

    futures: list[asyncio.Future[None]] = []

    def tare() -> Any:
        futures.append(loop.create_future())
        return bare(futures[-1])

    go = loop.create_future()
    holder = asyncio.ensure_future(hold(go))
    await asyncio.sleep(0)
    waiting, tasks = await parked(lambda: wait(lock))
    go.set_result(None)
    await asyncio.gather(holder, *tasks)
    alone, tasks = await parked(tare)
    for future in futures:
        future.set_result(None)
    await asyncio.gather(*tasks)
    return waiting - alone


def weigh(kind: str, count: int) -> Weight:
    """Weigh a kind of lock, in this process."""
    make, entered = maker(kind), KINDS[kind][3]
    traced, resident = weigh_locks(make, count)
    parked = asyncio.run(weigh_parked(make, entered, max(10, count // 100))) if entered else None
    lock = make()
    return Weight(kind, sys.getsizeof(lock), type(lock).__basicsize__, traced, resident, parked)


def weights(count: int) -> list[Weight]:
    """Weigh all kinds that are here, each in a process of its own."""
    found = []
    for kind in KINDS:
        command = [sys.executable, "-m", "bench.weigh", kind, str(count)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent.parent)
        if done.returncode == 0:
            found.append(Weight(*json.loads(done.stdout)))
        elif "ModuleNotFoundError" not in done.stderr:
            raise RuntimeError(f"weighing {kind} failed:\n{done.stderr}")
    return found


if __name__ == "__main__":
    print(json.dumps(weigh(sys.argv[1], int(sys.argv[2]))))
