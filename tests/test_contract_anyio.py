"""Under anyio, on either backend, with nothing more: its cancel scopes, shields, task groups, and its threads."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from aiolots import LockTimeout, Mutex, RwLock, lowlevel
from tests import modes
from tests.modes import Mode, name_of
from tests.worlds import EVERY_KIND, LOOPS, WATCHDOG, assert_idle, in_thread, until_parked

anyio = pytest.importorskip("anyio")

each_wait = pytest.mark.parametrize("mode", modes.WAITS, ids=name_of)
each_way = pytest.mark.parametrize("mode", modes.ALL, ids=name_of)


def on_each_backend(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run an `async def test_...` under anyio on asyncio, uvloop and trio."""
    signature = inspect.signature(test)

    @functools.wraps(test)
    def run(backend: str, **arguments: Any) -> None:
        async def bounded() -> None:
            with anyio.fail_after(WATCHDOG):
                await test(**arguments)

        if backend == "trio":
            pytest.importorskip("trio")
            anyio.run(bounded, backend="trio")
        else:
            anyio.run(bounded, backend="asyncio", backend_options={"loop_factory": LOOPS[backend]})

    del run.__wrapped__
    kind = inspect.Parameter("backend", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    run.__signature__ = signature.replace(parameters=[kind, *signature.parameters.values()])  # type: ignore[attr-defined]
    each: Callable[..., None] = pytest.mark.parametrize("backend", EVERY_KIND)(run)
    return each


async def acquire_and_let_go(make: Callable[[], Any]) -> None:
    (await make()).release()


@each_way
@on_each_backend
async def test_a_task_group_on_one_lock(mode: Mode) -> None:
    lock, inside, most = mode.make(), 0, 0

    async def enter() -> None:
        nonlocal inside, most
        for _ in range(5):
            guard = await mode.request(lock)
            inside += 1
            most = max(most, inside)
            await anyio.sleep(0)
            inside -= 1
            guard.release()

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(enter)
    assert most == 1 or not mode.exclusive
    assert_idle(lock)


@each_wait
@on_each_backend
async def test_move_on_after(mode: Mode) -> None:
    lock = mode.make()
    hindrance = mode.hinder(lock)
    word = lock.word
    for seconds in (0, 0.001):
        with anyio.move_on_after(seconds) as scope:
            await mode.request(lock)
        assert scope.cancelled_caught
        assert lock.word == word
        assert lowlevel.waiters(lock) == []
    with pytest.raises(TimeoutError), anyio.fail_after(0.001):
        await mode.request(lock)
    assert lock.word == word
    hindrance.release()
    assert_idle(lock)


@each_way
@on_each_backend
async def test_a_scope_that_is_over_when_the_lock_is_free(mode: Mode) -> None:
    """trio cancels it at its checkpoint. On asyncio a free lock is none: it is held, and let go by the next one."""
    lock = mode.make()
    with anyio.move_on_after(0) as scope:
        guard = await mode.request(lock)
        try:
            assert lock.word == mode.adds
            await anyio.sleep_forever()
        finally:
            guard.release()
    assert scope.cancelled_caught
    assert_idle(lock)


@each_wait
@on_each_backend
async def test_level_cancellation(mode: Mode) -> None:
    """On asyncio anyio throws the cancellation in again and again: every wait in the scope ends by it, and leaves nothing."""
    lock = mode.make()
    hindrance = mode.hinder(lock)
    word = lock.word
    cancelled = anyio.get_cancelled_exc_class()
    raised = 0
    with anyio.CancelScope() as scope:
        scope.cancel()
        for _ in range(3):
            try:
                await mode.request(lock)
            except cancelled:
                raised += 1
            assert lock.word == word
        await anyio.sleep(0)
    assert raised == 3
    hindrance.release()
    assert_idle(lock)


@each_wait
@on_each_backend
async def test_a_release_in_a_cancelled_scope(mode: Mode) -> None:
    """__aexit__ waits for nothing, so a cancellation that comes again does not keep it from releasing (R14)."""
    lock = mode.make()
    order = []

    async def hold() -> None:
        guard = await mode.request(lock)
        try:
            order.append("held")
            await anyio.sleep_forever()
        finally:
            try:
                await anyio.sleep(0)  # here it comes again
            finally:
                guard.release()

    async def wait() -> None:
        guard = await lock.write() if isinstance(lock, RwLock) else await lock.lock()
        order.append("next")
        guard.release()

    async with anyio.create_task_group() as outer:
        async with anyio.create_task_group() as inner_group:
            inner_group.start_soon(hold)
            while not order:
                await anyio.sleep(0)
            outer.start_soon(wait)
            await until_parked(lock, 1)
            inner_group.cancel_scope.cancel()
    assert order == ["held", "next"]
    assert_idle(lock)


@each_wait
@on_each_backend
async def test_a_shield(mode: Mode) -> None:
    lock = mode.make()
    hindrance = mode.hinder(lock)
    held = []

    async def enter() -> None:
        with anyio.CancelScope(shield=True):
            guard = await mode.request(lock)
            held.append(lock.word)
            guard.release()
        await anyio.sleep_forever()

    async with anyio.create_task_group() as group:
        group.start_soon(enter)
        await until_parked(lock, 1)
        group.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            for _ in range(3):
                await anyio.sleep(0)
            assert len(lowlevel.waiters(lock)) == 1
            hindrance.release()
    assert held == [mode.adds]
    assert_idle(lock)


@each_wait
@on_each_backend
async def test_granted_then_cancelled(mode: Mode) -> None:
    """In one tick, either way round; who waits behind gets in."""
    for release_first in (True, False):
        lock = mode.make()
        hindrance = mode.hinder(lock)
        async with anyio.create_task_group() as outer:
            async with anyio.create_task_group() as inner:
                inner.start_soon(acquire_and_let_go, functools.partial(mode.request, lock))
                await until_parked(lock, 1)
                outer.start_soon(acquire_and_let_go, functools.partial(mode.request, lock))
                await until_parked(lock, 2)
                if release_first:
                    hindrance.release()
                    inner.cancel_scope.cancel()
                else:
                    inner.cancel_scope.cancel()
                    hindrance.release()
        assert_idle(lock)


@on_each_backend
async def test_limits_of_ones_own() -> None:
    lock = RwLock()
    with lock.write():
        with anyio.fail_after(WATCHDOG):
            assert await lock.try_read_for(0.001) is None
            assert await lock.try_read_for(0) is None
            with pytest.raises(LockTimeout):
                await lock.read(timeout=0.001)
        with anyio.move_on_after(0.001) as scope:
            await lock.read(timeout=WATCHDOG)
        assert scope.cancelled_caught
    assert_idle(lock)


@on_each_backend
async def test_its_threads() -> None:
    lock, mutex = RwLock(0), Mutex(0)

    def increase() -> None:
        with lock.write() as guard, mutex.lock() as other:
            guard.value += 1
            other.value += 1
        anyio.from_thread.run(increase_in_the_loop)

    async def increase_in_the_loop() -> None:
        async with lock.write() as guard, mutex.lock() as other:
            await anyio.sleep(0)
            guard.value += 1
            other.value += 1

    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(anyio.to_thread.run_sync, increase)
            group.start_soon(increase_in_the_loop)
    async with lock.read() as guard, mutex.lock() as other:
        assert guard.value == other.value == 30
    assert_idle(lock, mutex)


@on_each_backend
async def test_a_thread_of_ones_own_releases() -> None:
    lock = RwLock()
    for _ in range(20):
        guard = await lock.write()
        async with anyio.create_task_group() as group:
            for make in (lock.read, lock.write, lock.read):
                group.start_soon(acquire_and_let_go, make)
            await until_parked(lock, 3)
            in_thread(guard.release).join()
    assert_idle(lock)
