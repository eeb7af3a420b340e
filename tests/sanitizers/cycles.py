"""Very many acquisitions that are cancelled, in tasks of one loop and with threads beside it: does anything keep growing?

    python -m tests.sanitizers.cycles 1000000

The same, without Python, is tests/c/leak_cycles.c under LeakSanitizer. Here the count is of what Python itself has: allocated
blocks and the size of the process, and on a debug build all references. A tenth of the way is for warming up.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiolots import Mutex, RwLock

CROWD = 40
BLOCKS = 500  # that caches and free lists may differ by
KIBIBYTES = 8192


def kibibytes() -> int:
    """Return the size of this process, where the system tells."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.exists() else []
    return next((int(line.split()[1]) for line in lines if line.startswith("VmRSS:")), 0)


def sample() -> dict[str, int]:
    """Count."""
    gc.collect()
    counted = {"blocks": sys.getallocatedblocks(), "KiB": kibibytes()}
    if hasattr(sys, "gettotalrefcount"):
        counted["references"] = sys.gettotalrefcount()
    return counted


def time_out(lock: RwLock[None], mutex: Mutex[None], stop: threading.Event, done: list[int]) -> None:
    """Ask for what is held, and give up at once, again and again."""
    requests: list[Callable[[], Any]] = [
        lambda: lock.try_write_for(1e-6),
        lambda: lock.try_read_for(1e-6),
        lambda: mutex.try_lock_for(1e-6),
    ]
    while not stop.is_set():
        for request in requests:
            guard = request().acquire()
            if guard is not None:
                guard.release()
            done[0] += 1


async def one(request: Callable[[], Any]) -> None:
    async with request():
        raise AssertionError("it is held by another")


async def crowd(requests: list[Callable[[], Any]]) -> None:
    """Let a crowd of tasks queue, and cancel them."""
    tasks = [asyncio.ensure_future(one(requests[i % len(requests)])) for i in range(CROWD)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    for answer in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(answer, asyncio.CancelledError), answer


async def cycles(count: int) -> tuple[dict[str, int], dict[str, int]]:
    """Do so many; return what was there after a tenth, and at the end."""
    lock, mutex, done, stop = RwLock[None](), Mutex[None](), [0], threading.Event()
    requests: list[Callable[[], Any]] = [lock.read, lock.read_recursive, lock.write, mutex.lock]
    early: dict[str, int] = {}
    thread = threading.Thread(target=time_out, args=(lock, mutex, stop, done))
    async with lock.write(), mutex.lock():
        thread.start()
        for i in range(0, count, CROWD):
            await crowd(requests)
            if not early and i >= count // 10:
                early = sample()
        late = sample()
        stop.set()
        await asyncio.to_thread(thread.join)
    assert lock.word == mutex.word == 0
    print(f"{count:,} cancelled, {done[0]:,} timed out; after a tenth {early}, at the end {late}")
    return early, late


def main() -> int:
    early, late = asyncio.run(cycles(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000))
    limits = {"blocks": BLOCKS, "references": 2 * BLOCKS, "KiB": KIBIBYTES}
    grown = {name: late[name] - early[name] for name in late if late[name] - early[name] > limits[name]}
    for name, by in grown.items():
        print(f"growth: {name} by {by}")
    return 1 if grown else 0


if __name__ == "__main__":
    sys.exit(main())
