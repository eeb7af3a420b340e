"""A release imports nothing: a signal handler that raised in there left the releasing thread behind on the import's lock."""

from __future__ import annotations

import subprocess
import sys

from tests.waiting import WATCHDOG

RELEASES = """
import asyncio, sys, threading
import aiolots
from aiolots import lowlevel

PORT = "aiolots._trio_port"
lock, key = aiolots.Mutex(None), object()

async def main():
    guard = lock.lock().acquire()
    waiting = [asyncio.create_task(wait()) for wait in (locked, parked)]
    threads = [threading.Thread(target=lambda: lock.lock().acquire().release())]
    threads[0].start()
    while len(lowlevel.waiters()) < 3:
        await asyncio.sleep(0.0005)
    import trio
    guard.release()
    assert lowlevel.unpark_one(key)
    assert PORT not in sys.modules, "imported by a release"
    await asyncio.gather(*waiting)
    threads[0].join()

async def locked():
    guard = await lock.lock()
    guard.release()

async def parked():
    await lowlevel.park(key)

asyncio.run(main())
import trio

async def in_trio():
    async with lock.lock():
        pass

trio.run(in_trio)
assert PORT in sys.modules
"""


def test_a_release_does_not_import_the_port_of_trio() -> None:
    done = subprocess.run([sys.executable, "-c", RELEASES], capture_output=True, text=True, timeout=WATCHDOG, check=False)
    assert done.returncode == 0, done.stderr
