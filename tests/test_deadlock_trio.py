"""R32 for trio: what looks like a deadlock there and is none; and runs that are hard to see."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from aiolots import Mutex, RwLock, _task_graph, _trio_graph, deadlock
from tests.waiting import WATCHDOG, in_thread, parked, until_parked, wait_until, wait_until_parked

LOOKS = 20

Main = Callable[[Any], Awaitable[None]]


def checked(main: Main) -> list[deadlock.Cycle]:
    """Run a function with a nursery; when it returns, look for deadlocks some times, and cancel what is left."""
    found: list[deadlock.Cycle] = []

    async def run() -> None:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                await main(nursery)
                for _ in range(LOOKS):
                    found.extend(await trio.to_thread.run_sync(deadlock.check))
                scope.cancel()

    trio.run(run)
    return found


def crossed(*, scope: Callable[[], Any]) -> Main:
    """Two tasks that take two locks in opposite orders, the second one in a scope."""

    async def main(nursery: Any) -> None:
        a, b = Mutex(name="a"), Mutex(name="b")
        both = trio.Event()

        async def take(one: Mutex[None], other: Mutex[None], inside: Callable[[], Any]) -> None:
            async with one.lock():
                if both.statistics().tasks_waiting:
                    both.set()
                await both.wait()
                with inside():
                    async with other.lock():
                        pass

        nursery.start_soon(take, a, b, trio.CancelScope)
        nursery.start_soon(take, b, a, scope)
        await until_parked(a, 1)
        await until_parked(b, 1)

    return main


def test_crossed_without_a_limit_is_one() -> None:
    """That what follows looks at something."""
    found = checked(crossed(scope=trio.CancelScope))
    assert len(found) == LOOKS
    assert all(len(cycle.owners) == 2 for cycle in found)
    assert all(owner.loop is not None and owner.loop.startswith("trio's run of ") for owner in found[0].owners)


@pytest.mark.parametrize(
    "scope",
    [lambda: trio.move_on_after(3600), lambda: trio.fail_after(3600), lambda: trio.CancelScope(deadline=1e9)],
)
def test_scopes_with_a_deadline_are_limits(scope: Callable[[], Any]) -> None:
    assert checked(crossed(scope=scope)) == []


def test_a_deadline_further_out_is_one_too() -> None:
    async def main(nursery: Any) -> None:
        ready = trio.Event()

        async def around() -> None:
            with trio.move_on_after(3600):
                async with trio.open_nursery() as inner:
                    await crossed(scope=trio.CancelScope)(inner)
                    ready.set()

        nursery.start_soon(around)
        await ready.wait()

    assert checked(main) == []


def test_a_shield_keeps_it_out() -> None:
    async def main(nursery: Any) -> None:
        ready = trio.Event()

        async def around() -> None:
            with trio.move_on_after(3600), trio.CancelScope(shield=True) as scope:
                scopes.append(scope)
                async with trio.open_nursery() as inner:
                    await crossed(scope=trio.CancelScope)(inner)
                    ready.set()

        nursery.start_soon(around)
        await ready.wait()

    scopes: list[Any] = []
    found: list[deadlock.Cycle] = []

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            await main(nursery)
            found.extend(await trio.to_thread.run_sync(deadlock.check))
            scopes[0].cancel()

    trio.run(run)
    assert len(found) == 1


def test_a_nursery_with_a_child_that_can_run_ends_one_day() -> None:
    lock = RwLock(name="lock")

    async def main(nursery: Any) -> None:
        async def parent() -> None:
            async with lock.read():
                async with trio.open_nursery() as inner:
                    inner.start_soon(writer)
                    inner.start_soon(trio.sleep_forever)

        async def writer() -> None:
            async with lock.write():
                pass

        nursery.start_soon(parent)
        await until_parked(lock, 1)

    assert checked(main) == []


def test_a_parent_in_the_body_of_its_nursery_can_run() -> None:
    lock = RwLock(name="lock")

    async def main(nursery: Any) -> None:
        async def parent() -> None:
            async with lock.read(), trio.open_nursery() as inner:
                inner.start_soon(writer)
                await trio.Event().wait()

        async def writer() -> None:
            async with lock.write():
                pass

        nursery.start_soon(parent)
        await until_parked(lock, 1)

    assert checked(main) == []


def test_a_thread_that_waits_for_a_task_that_can_run() -> None:
    lock = RwLock(name="lock")

    async def main(nursery: Any) -> None:
        ended = trio.Event()

        async def reader() -> None:
            async with lock.read():
                await ended.wait()

        def write() -> None:
            lock.write().acquire().release()

        async def asks() -> None:
            await trio.to_thread.run_sync(write)

        nursery.start_soon(reader)
        nursery.start_soon(asks)
        await until_parked(lock, 1)
        for _ in range(LOOKS):
            assert await trio.to_thread.run_sync(deadlock.check) == []
        ended.set()

    assert checked(main) == []


def test_tasks_that_come_and_go() -> None:
    """Look without a pause, from another thread, at tasks that wait for each other's guards and go on."""
    lock, mutex = RwLock(0, name="lock"), Mutex(name="mutex")
    ended = threading.Event()
    found: list[deadlock.Cycle] = []

    def look() -> None:
        while not ended.is_set():
            found.extend(deadlock.check())

    async def work() -> None:
        for _ in range(30):
            async with lock.read(), mutex.lock():
                await trio.lowlevel.checkpoint()
            async with lock.write() as guard:
                guard.value += 1
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(trio.lowlevel.checkpoint)

    async def main() -> None:
        with trio.fail_after(math.inf):
            async with trio.open_nursery() as nursery:
                for _ in range(10):
                    nursery.start_soon(work)

    looker = in_thread(look)
    try:
        trio.run(main)
    finally:
        ended.set()
        looker.join()
    assert [str(cycle) for cycle in found] == []
    assert lock.into_inner() == 300


def test_a_guest_run_is_seen_once_a_task_of_it_waited() -> None:
    lock = Mutex(name="lock")
    done: list[Any] = []

    def host() -> None:
        async def main() -> None:
            ended = asyncio.Event()

            async def guest() -> None:
                with trio.CancelScope() as scope:
                    done.append(scope)
                    async with lock.lock(), lock.lock():
                        pass

            loop = asyncio.get_running_loop()
            trio.lowlevel.start_guest_run(
                guest, run_sync_soon_threadsafe=loop.call_soon_threadsafe, done_callback=lambda _: ended.set()
            )
            await asyncio.to_thread(wait_until_parked, lock, 1)
            found = await asyncio.to_thread(deadlock.check)
            done[0].cancel()
            await ended.wait()
            assert len(found) == 1, found
            assert "holds <aiolots.Mutex 'lock'" in str(found[0])

        asyncio.run(main())

    in_thread(host).join()


def test_what_ended_is_gone() -> None:
    async def main() -> None:
        async with Mutex().lock():
            assert trio.lowlevel.current_task() in _task_graph.every_task()

    trio.run(main)
    wait_until(lambda: not _trio_graph.every_task())


def test_a_thread_and_a_run_that_wait_for_each_other_are_named() -> None:
    lock, other = RwLock(name="lock"), Mutex(name="other")
    scopes: list[Any] = []

    async def main() -> None:
        with trio.CancelScope() as scope:
            scopes.append(scope)
            async with lock.read():
                async with other.lock():
                    pass

    def holder() -> None:
        with other:
            wait_until_parked(other, 1)
            lock.write().acquire().release()

    def run() -> None:
        wait_until(other.locked)
        trio.run(main)

    threads = [in_thread(holder), in_thread(run)]
    wait_until(lambda: parked(lock) == parked(other) == 1)
    (cycle,) = deadlock.check()
    assert {owner.kind for owner in cycle.owners} == {"task", "thread"}
    assert not [place for owner in cycle.owners for place in owner.stack if "/trio/_core/" in place and owner.kind == "task"]
    scope = scopes[0]
    (task,) = [task for task in _trio_graph.every_task() if task.name.endswith("main") and "test_a_thread" in task.name]
    task._runner.entry_queue.run_sync_soon(scope.cancel)
    for thread in threads:
        thread.join(WATCHDOG)
