"""Runs of trio and what is around them: threads, asyncio beside, outside and inside, and how a run ends."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from aiolots import RwLock, _loops, lowlevel
from tests import tasks
from tests.worlds import (
    WATCHDOG,
    LoopThread,
    assert_idle,
    in_thread,
    new_loop,
    outcome_of,
    until_parked,
    wait_until,
)

trio = pytest.importorskip("trio")
testing = pytest.importorskip("trio.testing")


async def acquire_and_let_go(request: Any) -> None:
    (await request).release()


# --- with others ------------------------------------------------------------------------------------------------------


def test_trio_asyncio_uvloop_and_threads_on_one_lock() -> None:
    lock, rounds = RwLock(0), 60

    def in_a_thread() -> None:
        for _ in range(rounds):
            with lock.write() as guard:
                guard.value += 1

    async def in_a_task() -> None:
        for number in range(rounds):
            if number % 3 == 2:
                async with lock.read() as shared:
                    assert shared.value >= 0
            async with lock.write() as guard:
                value = guard.value
                if number % 2:
                    await tasks.pause()
                guard.value = value + 1

    loops = [new_loop(kind) for kind in ("trio", "asyncio", "trio", "uvloop")]
    threads = [in_thread(in_a_thread) for _ in range(2)]
    running = [loop.submit(in_a_task()) for loop in loops for _ in range(2)]
    for thread in threads:
        thread.join()
    for one in running:
        outcome_of(one)
    for loop in loops:
        loop.close()
    with lock.read() as guard:
        assert guard.value == rounds * 10
    assert_idle(lock)


def test_threads_of_trios_own() -> None:
    lock = RwLock(0)

    def increase() -> None:
        with lock.write() as guard:
            guard.value += 1
        trio.from_thread.run(increase_in_the_run)

    async def increase_in_the_run() -> None:
        async with lock.write() as guard:
            await trio.sleep(0)
            guard.value += 1

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(trio.to_thread.run_sync, increase)
                nursery.start_soon(increase_in_the_run)
        async with lock.read() as guard:
            assert guard.value == 30

    trio.run(main)
    assert_idle(lock)


@pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
def test_a_guest_of_asyncio(kind: str) -> None:
    """Both run on one thread, and on one lock: each task waits in its own library's way."""
    lock, order = RwLock(), []

    async def hold(name: str) -> None:
        for _ in range(5):
            async with lock.write():
                order.append(name)
                await (trio.lowlevel.checkpoint() if trio.lowlevel.in_trio_task() else asyncio.sleep(0))

    async def guest() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hold, "guest")
            nursery.start_soon(hold, "guest")

    async def host() -> None:
        loop = asyncio.get_running_loop()
        ended = loop.create_future()
        trio.lowlevel.start_guest_run(
            guest,
            run_sync_soon_threadsafe=loop.call_soon_threadsafe,
            done_callback=ended.set_result,
            host_uses_signal_set_wakeup_fd=True,
        )
        await asyncio.gather(hold("host"), hold("host"))
        (await ended).unwrap()

    with LoopThread(kind) as loop:
        loop.run(host())
    assert sorted(order) == ["guest"] * 10 + ["host"] * 10
    assert_idle(lock)


def test_one_inside_a_task_of_the_other() -> None:
    lock = RwLock()

    async def twice() -> None:
        async with lock.read(), lock.read():
            pass

    async def trio_around_asyncio() -> None:
        await twice()
        asyncio.run(twice())
        await twice()

    async def asyncio_around_trio() -> None:
        await twice()
        trio.run(twice)
        await twice()

    trio.run(trio_around_asyncio)
    asyncio.run(asyncio_around_trio())
    assert_idle(lock)


# --- the ends of runs -------------------------------------------------------------------------------------------------


def test_one_run_after_the_other_in_one_thread() -> None:
    lock = RwLock()
    ports = []

    async def main() -> None:
        guard = await lock.write()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(acquire_and_let_go, lock.write())
            await until_parked(lock, 1)
            ports.append(_loops.own_port())
            in_thread(guard.release).join()

    for _ in range(3):
        trio.run(main)
    assert len({id(port) for port in ports}) == 3
    assert all(port is not None and port.closed for port in ports)
    assert _loops.own_port() is None
    assert_idle(lock)


def test_a_run_that_ends_takes_its_waiters_along() -> None:
    lock = RwLock()
    guard = lock.write().acquire()

    async def main() -> None:
        trio.lowlevel.spawn_system_task(acquire_and_let_go, lock.write())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(acquire_and_let_go, lock.read())
            await until_parked(lock, 2)
            nursery.cancel_scope.cancel()

    trio.run(main)
    assert lowlevel.waiters(lock) == []
    guard.release()
    assert_idle(lock)


BREAKS_DOWN = """
import trio
from aiolots import RwLock, lowlevel
lock = RwLock()
guard = lock.write().acquire()

async def take():
    async with lock.write():
        pass

async def main():
    async with trio.open_nursery() as nursery:
        nursery.start_soon(take)
        while not lowlevel.waiters(lock):
            await trio.sleep(0)
        with trio.move_on_after(0):
            await trio.lowlevel.wait_task_rescheduled(lambda _: None)  # no answer for trio

try:
    trio.run(main)
except trio.TrioInternalError:
    print("broke down", lowlevel.waiters(lock))
guard.release()
with lock.write():
    print("acquired")
"""


def test_a_run_that_breaks_down_takes_its_waiters_along() -> None:
    """Nobody unwinds its tasks then; but the run's instruments are told. In a process of its own, for trio complains loudly."""
    child = subprocess.run([sys.executable, "-c", BREAKS_DOWN], capture_output=True, text=True, timeout=WATCHDOG, check=True)
    assert child.stdout.splitlines() == ["broke down []", "acquired"]


def test_the_last_things_of_a_run_may_wait() -> None:
    """Finalizers of generators run when no system task does any more; shielded, they may wait for a thread."""
    lock = RwLock()
    done = []

    async def generate() -> AsyncGenerator[int]:
        try:
            yield 1
        finally:
            with trio.CancelScope(shield=True):
                thread = in_thread(release_when_parked, lock.write().acquire())
                async with lock.write():
                    done.append(True)
                thread.join()

    def release_when_parked(guard: Any) -> None:
        wait_until(lambda: lowlevel.waiters(lock))
        guard.release()

    async def main(waited_before: bool) -> None:
        if waited_before:
            with lock.write():
                assert await lock.try_write_for(0.001) is None
        kept.append(generate())
        await kept[-1].__anext__()

    for waited_before in (False, True):
        kept: list[AsyncGenerator[int]] = []
        trio.run(main, waited_before)
    assert len(done) == 2
    assert_idle(lock)
