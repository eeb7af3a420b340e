"""R22: a sync acquire on a loop's thread that could never end is refused; one that can is announced, by policy."""

from __future__ import annotations

import asyncio
import warnings
from typing import Any

import pytest

from aiolots import (
    DeadlockError,
    LockTimeout,
    LoopBlockedWarning,
    LoopBlockPolicy,
    Mutex,
    RwLock,
    lowlevel,
    set_loop_block_policy,
)
from tests import tasks
from tests.test_scenarios_loops import PROMPTLY, each_loop, policy, take
from tests.worlds import (
    LoopThread,
    assert_idle,
    in_thread,
    on_every_loop,
    wait_until,
    wait_until_parked,
)

# --- R22: it could never end ------------------------------------------------------------------------------------------


@on_every_loop
async def test_r22_task_holds_and_its_loops_thread_asks() -> None:
    lock = RwLock(name="r22")
    async with lock.write():
        for request in (lock.write, lock.read, lock.read_recursive):
            with pytest.raises(DeadlockError, match="a task of this loop holds"):
                request().acquire()
    async with lock.read():
        with pytest.raises(DeadlockError):
            lock.write().acquire()
        take(lock.read)  # a share beside a share is no deadlock
    mutex = Mutex()
    async with mutex:
        with pytest.raises(DeadlockError):
            mutex.acquire()
        assert lowlevel.waiters(mutex) == []
    assert_idle(lock, mutex)


@on_every_loop
async def test_r22_reader_behind_a_writer_that_waits_for_this_loop() -> None:
    """A task holds a share, a thread's writer drains, the loop's thread asks for a share: each waits for the next."""
    lock = RwLock()
    share = await lock.read()
    writer = in_thread(take, lock.write)
    await tasks.in_a_thread(wait_until_parked, lock, 1)
    last_resort = in_thread(wait_until_parked, lock, 2)  # if it does park, end it after all
    rescue = in_thread(lambda: (last_resort.join(), share.release()))
    try:
        with policy("allow"), pytest.raises(DeadlockError):
            lock.read().acquire().release()
    finally:
        if share.is_held():
            last = in_thread(take, lock.write)  # lets `last_resort` see two
            rescue.join()
            last.join()
        writer.join()
    assert_idle(lock)


@each_loop
def test_r22_chain_through_a_thread(kind: str) -> None:
    """The loop's thread asks for B; a thread holds B and waits for A; a task of the loop holds A."""
    a, b = RwLock(name="A"), RwLock(name="B")

    async def hold_a(held: asyncio.Event, go: asyncio.Event) -> None:
        async with a.write():
            held.set()
            await go.wait()

    def b_then_a() -> None:
        with b.write(), a.write():
            pass

    async def body() -> None:
        held, go = asyncio.Event(), asyncio.Event()
        holder = asyncio.ensure_future(hold_a(held, go))
        await held.wait()
        thread = in_thread(b_then_a)
        await asyncio.to_thread(wait_until_parked, a, 1)
        with pytest.raises(DeadlockError, match=r"'B' .*waits for .*'A'"):
            b.read().acquire()
        go.set()
        await holder
        await asyncio.to_thread(thread.join)

    with LoopThread(kind) as loop:
        loop.run(body())
    assert_idle(a, b)


@each_loop
def test_r22_holder_elsewhere_is_no_deadlock(kind: str) -> None:
    """A task of another loop holds it: that one can go on, so the sync acquire waits and ends."""
    lock = RwLock()
    with LoopThread(kind) as one, LoopThread(kind) as two, policy("allow"):

        async def grab() -> Any:
            return await lock.write()

        guard = one.run(grab())
        blocks = in_thread(two.call, lambda: take(lock.write))
        wait_until_parked(lock, 1)
        one.call(guard.release)
        blocks.join(PROMPTLY)
    assert_idle(lock)


@on_every_loop
async def test_r22_timed_acquire_just_times_out() -> None:
    lock = RwLock()
    async with lock.write():
        with policy("allow"):
            assert lock.try_write_for(0.01).acquire() is None
            assert lock.try_read_until(0.0).acquire() is None
            with pytest.raises(LockTimeout):
                lock.write(timeout=0.01).acquire()
    assert_idle(lock)


@each_loop
def test_r22_policy(kind: str) -> None:
    """A sync acquire that would park a running loop's thread, though it can end: allow, warn, raise."""
    lock = RwLock()

    def ask(name: LoopBlockPolicy) -> list[type[Warning]]:
        with policy(name), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            take(lock.write)
        return [warning.category for warning in caught]

    with LoopThread(kind) as loop:
        for name in ("allow", "warn", "raise"):
            assert loop.call(lambda name=name: ask(name)) == []  # free: it does not park
        for name, expected in (("allow", []), ("warn", [LoopBlockedWarning])):
            guard = lock.write().acquire()
            asked = in_thread(loop.call, lambda name=name: ask(name))
            wait_until_parked(lock, 1)
            guard.release()
            assert asked.join() == expected
        guard = lock.write().acquire()
        with pytest.raises(RuntimeError, match="running event loop") as caught:
            loop.call(lambda: ask("raise"))
        assert not isinstance(caught.value, DeadlockError)
        assert lowlevel.waiters(lock) == []
        guard.release()
    with pytest.raises(ValueError):
        set_loop_block_policy("sometimes")  # type: ignore[arg-type]
    assert_idle(lock)


@each_loop
def test_r22_refused_acquire_leaves_the_others_alone(kind: str) -> None:
    """An acquire that is refused was never queued: whoever comes later is served as if it had not been."""
    lock = RwLock()

    async def body() -> None:
        async with lock.write():
            with pytest.raises(DeadlockError):
                lock.write().acquire()

    with LoopThread(kind) as loop:
        loop.run(body())
        in_thread(take, lock.write).join(PROMPTLY)
    wait_until(lambda: lock.word == 0)
    assert_idle(lock)
