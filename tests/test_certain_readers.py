"""Two tasks that read and ask to write: each waits for its own share too, and is refused; whatever looked at them before."""

from __future__ import annotations

import asyncio
import gc

import pytest

from aiolots import DeadlockError, Mutex, RwLock, deadlock
from tests.test_certain_tasks import alone, pytestmark
from tests.worlds import assert_idle, until, until_parked

__all__ = ["pytestmark"]  # with the GIL off tasks are not looked at


async def write_while_reading(lock: RwLock[None], told: asyncio.Event) -> None:
    async with lock.read():
        await told.wait()
        async with lock.write():
            pass


async def take(mutex: Mutex[None]) -> None:
    async with mutex:
        pass


@alone
async def test_two_readers_that_ask_to_write() -> None:
    lock, told = RwLock(), asyncio.Event()
    tasks = [asyncio.ensure_future(write_while_reading(lock, told)) for _ in range(2)]
    await until(lambda: lock.reader_count() == 2)
    told.set()
    came = await asyncio.gather(*tasks, return_exceptions=True)
    assert any(isinstance(one, DeadlockError) for one in came)
    assert all(one is None or isinstance(one, DeadlockError) for one in came)
    assert_idle(lock)


@alone
async def test_what_looked_before_leaves_nothing_behind() -> None:
    """A look goes through the calls of all threads, its own too; what it saw must not count as one more who has the guard."""
    lock, other, told = RwLock(), Mutex(), asyncio.Event()
    gc.collect()
    gc.disable()
    try:
        reader = asyncio.ensure_future(write_while_reading(lock, told))
        async with other:
            waits = asyncio.ensure_future(take(other))
            await until_parked(other, 1)
            assert lock.reader_count() == 1
            assert deadlock.check() == []  # somebody waits, so it looks at all tasks
            told.set()
            with pytest.raises(DeadlockError):
                await reader
        await waits
    finally:
        gc.enable()
    assert_idle(lock, other)
