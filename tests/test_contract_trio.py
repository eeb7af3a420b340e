"""What is special under trio: one checkpoint per acquire, cancel scopes, shields, its Ctrl-C, its runs and what is around."""

from __future__ import annotations

import functools
import signal
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from aiolots import LockTimeout, Mutex, RwLock, lowlevel
from tests import modes
from tests.modes import Mode, name_of
from tests.worlds import (
    WATCHDOG,
    assert_idle,
    in_thread,
    until_parked,
    wait_until_parked,
)

trio = pytest.importorskip("trio")
testing = pytest.importorskip("trio.testing")

each_wait = pytest.mark.parametrize("mode", modes.WAITS, ids=name_of)
each_guarded = pytest.mark.parametrize("mode", modes.GUARDED, ids=name_of)


def in_trio(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run an `async def test_...` in a run of its own."""

    @functools.wraps(test)
    def run(**arguments: Any) -> None:
        async def bounded() -> None:
            with trio.fail_after(WATCHDOG):
                await test(**arguments)

        trio.run(bounded)

    return run


class Points:
    """How many checkpoints and schedule points the running task has passed."""

    def __enter__(self) -> list[int]:
        self._task = trio.lowlevel.current_task()
        self._before = [self._task._cancel_points, self._task._schedule_points]
        self.passed: list[int] = []
        return self.passed

    def __exit__(self, *_: object) -> None:
        after = [self._task._cancel_points, self._task._schedule_points]
        self.passed += [now - then for now, then in zip(after, self._before, strict=True)]


async def acquire_and_let_go(request: Any) -> None:
    (await request).release()


# --- checkpoints ------------------------------------------------------------------------------------------------------


def acquires(mode: Mode, lock: Any) -> list[Any]:
    """Return a request of every form, all uncontended one after the other."""
    found = [mode.request(lock)]
    if mode is not modes.DROP_IN:
        found += [mode.request(lock, timeout=5), mode.try_(lock, "_for")(5), mode.try_(lock, "_for")(0)]
        found += [mode.try_(lock, "_until")(0.0)]
    return found


@pytest.mark.parametrize("mode", modes.ALL, ids=name_of)
@in_trio
async def test_one_checkpoint_for_each_uncontended_acquire(mode: Mode) -> None:
    lock = mode.make()
    for request in acquires(mode, lock):
        with testing.assert_checkpoints(), Points() as points:
            guard = await request
        assert points == [1, 1]
        with testing.assert_no_checkpoints():
            guard.release()
    assert_idle(lock)


@each_guarded
@in_trio
async def test_one_checkpoint_for_each_async_with(mode: Mode) -> None:
    lock = mode.make()
    with Points() as points:
        async with mode.request(lock):
            with testing.assert_no_checkpoints():
                pass
    assert points == [1, 1]
    assert_idle(lock)


@in_trio
async def test_one_checkpoint_for_the_drop_in() -> None:
    mutex = Mutex()
    with Points() as points:
        async with mutex:
            pass
    assert points == [1, 1]
    assert_idle(mutex)


@each_wait
@in_trio
async def test_one_checkpoint_where_one_waits_once(mode: Mode) -> None:
    lock = mode.make()
    hindrance = mode.hinder(lock)
    passed: list[int] = []

    async def enter() -> None:
        with Points() as points:
            guard = await mode.request(lock)
        passed.extend(points)
        guard.release()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(enter)
        await until_parked(lock, 1)
        hindrance.release()
    assert passed == [1, 1]
    assert_idle(lock)


@each_wait
@in_trio
async def test_a_checkpoint_where_nothing_is_got(mode: Mode) -> None:
    if mode is modes.DROP_IN:
        return
    lock = mode.make()
    hindrance = mode.hinder(lock)
    for seconds in (0, 0.001):
        with testing.assert_checkpoints(), Points() as points:
            assert await mode.try_(lock, "_for")(seconds) is None
        assert points[0] >= 1
        with testing.assert_checkpoints(), pytest.raises(LockTimeout):
            await mode.request(lock, timeout=seconds)
    hindrance.release()
    assert_idle(lock)


@in_trio
async def test_changes_of_a_guard_are_checkpoints_too() -> None:
    lock = RwLock()
    async with lock.upgradable_read() as guard:
        with Points() as points:
            writer = await guard.upgrade()
        assert points == [1, 1]
        upgradable = writer.downgrade_to_upgradable()
        with trio.move_on_after(0) as scope:
            await upgradable.upgrade()
        assert scope.cancelled_caught
        assert upgradable.try_upgrade() is not None, "it is upgradable still"
        with Points() as points:
            await writer.bump()
        assert points == [1, 1]
    assert_idle(lock)


# --- cancellation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", modes.ALL, ids=name_of)
@in_trio
async def test_move_on_after_0_holds_nothing(mode: Mode) -> None:
    lock = mode.make()
    for request in acquires(mode, lock):
        with trio.move_on_after(0) as scope:
            await request
            pytest.fail("acquired")
        assert scope.cancelled_caught
        assert lock.word == 0
    assert_idle(lock)


@in_trio
async def test_move_on_after_0_and_the_drop_in() -> None:
    mutex = Mutex()
    with trio.move_on_after(0) as scope:
        async with mutex:
            pytest.fail("acquired")
    assert scope.cancelled_caught
    assert_idle(mutex)


@each_wait
@in_trio
async def test_move_on_after_where_it_has_to_wait(mode: Mode) -> None:
    lock = mode.make()
    hindrance = mode.hinder(lock)
    word = lock.word
    for seconds in (0, 0.001):
        with trio.move_on_after(seconds) as scope:
            await mode.request(lock)
        assert scope.cancelled_caught
        assert lock.word == word
        assert lowlevel.waiters(lock) == []
    with pytest.raises(trio.TooSlowError), trio.fail_after(0.001):
        await mode.request(lock)
    assert lock.word == word
    hindrance.release()
    assert_idle(lock)


@each_wait
@in_trio
async def test_a_cancelled_scope_is_cancelled_for_good(mode: Mode) -> None:
    """Level cancellation: every acquire in it raises, contended or not, and none keeps anything."""
    lock = mode.make()
    hindrance = mode.hinder(lock)
    word = lock.word
    raised = 0
    with trio.CancelScope() as scope:
        scope.cancel()
        for _ in range(3):
            try:
                await mode.request(lock)
            except trio.Cancelled:
                raised += 1
        assert lock.word == word
        hindrance.release()
        try:
            await mode.request(lock)
        except trio.Cancelled:
            raised += 1
        assert_idle(lock)
        await trio.sleep(0)
    assert raised == 4


@each_wait
@in_trio
async def test_it_leaves_the_queue_at_once(mode: Mode) -> None:
    """Not only when the cancelled task runs: whoever asks in the same tick finds the queue without it."""
    lock = mode.make()
    hindrance = mode.hinder(lock)
    word = lock.word
    async with trio.open_nursery() as nursery:
        nursery.start_soon(acquire_and_let_go, mode.request(lock))
        await until_parked(lock, 1)
        with testing.assert_no_checkpoints():
            nursery.cancel_scope.cancel()
            assert lowlevel.waiters(lock) == []
            assert lock.word == word
    hindrance.release()
    assert_idle(lock)


@each_wait
@in_trio
async def test_granted_then_cancelled_in_one_tick(mode: Mode) -> None:
    """The grant wins, or is passed on: the lock is never lost (R07)."""
    for first in ("release", "cancel"):
        lock = mode.make()
        hindrance = mode.hinder(lock)
        got = []

        async def enter(lock: Any = lock, got: list[bool] = got) -> None:
            await acquire_and_let_go(mode.request(lock))
            got.append(True)

        async with trio.open_nursery() as outer, trio.open_nursery() as inner:
            inner.start_soon(enter)
            await until_parked(lock, 1)
            outer.start_soon(enter)
            await until_parked(lock, 2)
            for step in (first, "cancel" if first == "release" else "release"):
                if step == "release":
                    hindrance.release()
                else:
                    inner.cancel_scope.cancel()
        assert len(got) == 1 + (first == "release")
        assert_idle(lock)


@in_trio
async def test_cancelled_while_a_thread_releases() -> None:
    """The wake is in the mailbox, or on its way there, when the scope is cancelled."""
    lock = RwLock()
    for _ in range(200):
        guard = lock.write().acquire()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(acquire_and_let_go, lock.write())
            nursery.start_soon(acquire_and_let_go, lock.read())
            await until_parked(lock, 2)
            thread = in_thread(guard.release)
            nursery.cancel_scope.cancel()
        thread.join()
        with trio.fail_after(WATCHDOG):
            await acquire_and_let_go(lock.write())
    assert_idle(lock)


@each_wait
@in_trio
async def test_a_shield_keeps_a_cancellation_out(mode: Mode) -> None:
    lock = mode.make()
    hindrance = mode.hinder(lock)
    held = []

    async def enter() -> None:
        with trio.CancelScope(shield=True):
            guard = await mode.request(lock)
            held.append(lock.word)
            guard.release()
        await trio.sleep(0)
        pytest.fail("not cancelled after all")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(enter)
        await until_parked(lock, 1)
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            for _ in range(3):
                await trio.sleep(0)
            assert len(lowlevel.waiters(lock)) == 1
            hindrance.release()
    assert held == [mode.adds]
    assert_idle(lock)


@in_trio
async def test_a_time_limit_within_a_scope_that_ends_first() -> None:
    lock = RwLock()
    with lock.write():
        with trio.move_on_after(0.001) as scope:
            await lock.try_write_for(WATCHDOG)
        assert scope.cancelled_caught
        with trio.move_on_after(WATCHDOG) as scope:
            assert await lock.try_write_for(0.001) is None
        assert not scope.cancelled_caught
        assert lowlevel.waiters(lock) == []
    assert_idle(lock)


def test_the_clock_is_the_runs_own() -> None:
    async def main() -> None:
        lock = RwLock()
        async with lock.write():
            began = trio.current_time()
            assert await lock.try_read_for(3600) is None
            assert trio.current_time() - began > 3599
        assert_idle(lock)

    trio.run(main, clock=testing.MockClock(autojump_threshold=0))


# --- Ctrl-C -----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason="signals come to the main thread")
@each_wait
@pytest.mark.parametrize("restrict", [False, True], ids=["anywhere", "at checkpoints"])
def test_r05_a_keyboard_interrupt_of_trios(mode: Mode, restrict: bool) -> None:
    lock = mode.make()
    hindrance = mode.hinder(lock)
    word = lock.word

    def interrupt() -> None:
        wait_until_parked(lock, 1)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    async def main() -> None:
        await mode.request(lock)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        thread = in_thread(interrupt)
        with pytest.raises(KeyboardInterrupt):
            trio.run(main, restrict_keyboard_interrupt_to_checkpoints=restrict)
        thread.join()
    finally:
        signal.signal(signal.SIGINT, before)
    assert lock.word == word
    assert lowlevel.waiters(lock) == []
    hindrance.release()
    in_thread(lambda: mode.request(lock).acquire()).join(1).release()
    assert_idle(lock)
