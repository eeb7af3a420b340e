"""SCENARIOS A, R06 to R14: cancellations that fall together with a release. One test or more for each, named after it.

The interleavings are directed: everything up to the step in question is waited for through the lot, and steps that have to
fall together are taken in one callback of the loop. Where two threads must meet inside the core, the explorer and the C
tests do it exactly; here they race many times over.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aiolots import decode, lowlevel
from tests import modes, tasks
from tests.modes import WRITER, Mode, name_of
from tests.tasks import CANCELLED
from tests.worlds import (
    LOOP_KINDS,
    WATCHDOG,
    WORLDS,
    LoopThread,
    World,
    assert_idle,
    in_thread,
    on_each_loop,
    on_every_loop,
    parked,
    until,
    until_parked,
    wait_until,
    wait_until_parked,
)

each_loop_kind = pytest.mark.parametrize("kind", LOOP_KINDS)
each_exclusive = pytest.mark.parametrize("mode", modes.EXCLUSIVE, ids=name_of)


@pytest.fixture(autouse=True)
def patience() -> Iterator[None]:
    """Let no wake be revoked because the machine is slow: that has its own tests."""
    before = lowlevel.set_revoke_after(WATCHDOG)
    yield
    lowlevel.set_revoke_after(before)


@pytest.fixture(params=WORLDS)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with World(request.param) as world:
        yield world


# --- R06, R07, R08: cancelled in the very tick of a release -----------------------------------------------------------------


@each_exclusive
@on_each_loop
async def test_r06_a_cancelled_waiter_in_the_queue_does_not_stop_the_next(mode: Mode) -> None:
    """In one tick: A is cancelled, O releases, N asks, all before A's task runs. N gets the lock."""
    for steps in itertools.permutations(("cancel", "release", "ask")):
        lock = mode.make()
        hindrance = mode.hinder(lock)
        waiter = asyncio.create_task(taken(lock, mode))
        await until_parked(lock, 1)
        following: asyncio.Task[None] | None = None
        for step in steps:
            if step == "cancel":
                waiter.cancel("enough")
            elif step == "release":
                hindrance.release()
            else:
                following = asyncio.create_task(taken(lock, mode))
        assert following is not None
        await following
        with pytest.raises(asyncio.CancelledError, match="enough"):
            await waiter
        assert_idle(lock)


async def taken(lock: Any, mode: Mode) -> None:
    """Take the lock, and release it."""
    (await mode.request(lock)).release()


async def granted_then_cancelled(mode: Mode, lock: Any, release: Callable[[Any], None]) -> bool:
    """B and C wait. A release grants B, which is cancelled before it runs; C must get in. Returns whether B was handed it."""
    hindrance = mode.hinder(lock)
    first = asyncio.create_task(taken(lock, mode))
    await until_parked(lock, 1)
    second = asyncio.create_task(taken(lock, mode))
    await until_parked(lock, 2)
    release(hindrance)
    assert any(waiter.woken for waiter in lowlevel.waiters(lock))
    handed_over = decode(lock.word).write_locked or decode(lock.word).readers > 0
    first.cancel("enough")
    await second
    with pytest.raises(asyncio.CancelledError, match="enough"):
        await first
    assert_idle(lock)
    return handed_over


@pytest.mark.parametrize("mode", modes.WAITS, ids=name_of)
@on_each_loop
async def test_r07_a_handoff_to_a_cancelled_waiter_goes_on_to_the_next(mode: Mode) -> None:
    assert await granted_then_cancelled(mode, mode.make(), lambda hindrance: hindrance.release())


@pytest.mark.parametrize("mode", modes.WAITS, ids=name_of)
@on_each_loop
async def test_r07_a_wake_of_a_cancelled_waiter_goes_on_to_the_next(mode: Mode) -> None:
    """Released by a thread, while this loop stands still: the wake lies in the mailbox, and says only that the lock is open.

    A millisecond after the last handoff of the bucket the next is due, for fairness; so again until it was a mere wake
    some times. A writer that waited for readers to leave is always handed the lock.
    """
    lock = mode.make()
    mere_wakes = 0
    began = time.monotonic()
    while mere_wakes < 3 and time.monotonic() < began + 3:
        mere_wakes += not await granted_then_cancelled(mode, lock, lambda hindrance: in_thread(hindrance.release).join())
        if mode is modes.WRITE_AFTER_READER:
            return
    if not mere_wakes:
        pytest.skip("this machine is too slow now for two releases within a millisecond")


@each_loop_kind
@pytest.mark.parametrize("mode", modes.WAITS, ids=name_of)
def test_r07_a_grant_to_a_cancelled_task_goes_on_to_a_thread(kind: str, mode: Mode) -> None:
    lock = mode.make()
    with LoopThread(kind) as loop:
        for _ in range(10):
            hindrance = mode.hinder(lock)
            first = loop.submit(taken(lock, mode))
            wait_until_parked(lock, 1)
            second = in_thread(lambda: mode.request(lock).acquire())
            wait_until_parked(lock, 2)
            task = loop.call(lambda: next(iter(asyncio.all_tasks(loop.loop))))

            def release_and_cancel(hindrance: Any = hindrance, task: Any = task) -> None:
                hindrance.release()
                task.cancel()

            loop.call(release_and_cancel)
            second.join().release()
            wait_until(first.done)
            assert first.cancelled()
            assert_idle(lock)


@pytest.mark.parametrize("mode", [modes.WRITE, modes.WRITE_AFTER_READER, modes.LOCK], ids=name_of)
def test_r07_a_grant_races_with_a_timeout(world: World, mode: Mode) -> None:
    """B's time runs out about when the lock is released; whoever wins, C gets in."""
    lock = mode.make()
    got = 0
    for round_ in range(15):
        hindrance = mode.hinder(lock)
        first = world.attempt(lambda: mode.try_(lock, "_for")(0.004))
        wait_until(lambda: parked(lock) == 1 or first.done())  # noqa: B023
        at = time.monotonic() + 0.004 * (0.4 + 0.04 * round_)
        second = world.attempt(lambda: mode.request(lock))
        wait_until(lambda: parked(lock) >= 1)
        while time.monotonic() < at and not first.done():
            pass
        hindrance.release()
        if first.guard() is not None:
            first.release()
            got += 1
        second.guard()
        second.release()
        assert_idle(lock)


@each_exclusive
@pytest.mark.parametrize("leaver", range(3))
@pytest.mark.parametrize("releases_first", [False, True])
@on_each_loop
async def test_r08_a_release_and_a_cancel_let_exactly_one_in(mode: Mode, leaver: int, releases_first: bool) -> None:
    lock = mode.make()
    hindrance = mode.hinder(lock)
    inside = 0
    order: list[int] = []

    async def enter(number: int) -> None:
        nonlocal inside
        guard = await mode.request(lock)
        inside += 1
        assert inside == 1
        order.append(number)
        for _ in range(3):
            await asyncio.sleep(0)
            assert inside == 1
            assert lock.word & ~1 == WRITER
        inside -= 1
        guard.release()

    tasks = []
    for number in range(3):
        tasks.append(asyncio.create_task(enter(number)))
        await until_parked(lock, number + 1)
    if releases_first:
        hindrance.release()
    tasks[leaver].cancel("enough")
    if not releases_first:
        hindrance.release()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(outcome, asyncio.CancelledError) for outcome in outcomes] == [n == leaver for n in range(3)]
    assert order == [number for number in range(3) if number != leaver]
    assert_idle(lock)


# --- R12, R13 -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", modes.GUARDED, ids=name_of)
@pytest.mark.parametrize("contended", [False, True])
@on_each_loop
async def test_r12_acquired_in_a_helper_task_released_in_the_caller(mode: Mode, contended: bool) -> None:
    lock = mode.make()
    for helper in (lambda request: asyncio.wait_for(request, WATCHDOG), asyncio.ensure_future, asyncio.gather):
        hindrance = mode.hinder(lock) if contended else None
        acquiring = asyncio.ensure_future(helper(mode.request(lock)))
        if hindrance:
            await until_parked(lock, 1)
            hindrance.release()
        got: Any = await acquiring
        guard = got[0] if isinstance(got, list) else got
        assert guard.is_held()
        assert lock.word == mode.adds
        guard.release()
        assert_idle(lock)


@pytest.mark.parametrize("mode", modes.GUARDED, ids=name_of)
@each_loop_kind
def test_r13_an_abandoned_acquire_warns_and_lets_go(kind: str, mode: Mode) -> None:
    """A thread asks a loop to acquire, and gives up waiting; later the loop does acquire, for nobody."""
    lock = mode.make(name="catalog")
    hindrance = mode.hinder(lock)

    async def acquire() -> Any:
        return await mode.request(lock)

    def release_and_wait_for(caught: Any) -> None:
        hindrance.release()
        # Without the GIL a thread drops its objects' last references when it runs: an idle loop has to be given a turn.
        wait_until(lambda: loop.call(list) or caught.list)

    with LoopThread(kind) as loop:
        future = asyncio.run_coroutine_threadsafe(acquire(), loop.loop)
        wait_until_parked(lock, 1)
        with pytest.raises(TimeoutError):
            future.result(0)
        del future
        with pytest.warns(ResourceWarning) as caught:
            release_and_wait_for(caught)
        message = str(caught[0].message)
        assert "'catalog'" in message
        assert f"{__file__}:" in message
        assert "acquire" in message
        assert_idle(lock)
        in_thread(lambda: mode.request(lock).acquire()).join().release()
    assert_idle(lock)


# --- R14 --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [*modes.GUARDED, modes.DROP_IN], ids=name_of)
@on_each_loop
async def test_r14_a_release_does_not_await_so_no_cancellation_falls_into_it(mode: Mode) -> None:
    lock = mode.make()
    after: list[int] = []
    exclusive = mode if mode.adds == WRITER else modes.WRITE

    async def hold() -> None:
        task = asyncio.current_task()
        assert task is not None
        async with lock if mode is modes.DROP_IN else mode.request(lock):
            await until_parked(lock, 3)
            task.cancel()
            task.cancel()
        after.append(lock.word)
        await asyncio.sleep(0)
        after.append(-1)

    holder = asyncio.create_task(hold())
    await until(lock.is_locked)
    others = []
    for count in range(1, 4):
        others.append(asyncio.create_task(taken(lock, exclusive)))
        await until_parked(lock, count)
    with pytest.raises(asyncio.CancelledError):
        await holder
    # Released, and handed to the first who waits, in the very step that left the block.
    assert after == [WRITER | 1]
    await asyncio.gather(*others)
    assert_idle(lock)


@pytest.mark.parametrize("mode", modes.GUARDED, ids=name_of)
@on_every_loop
async def test_r14_cancelled_twice_in_the_body(mode: Mode) -> None:
    lock = mode.make()

    async def hold() -> None:
        async with mode.request(lock):
            await tasks.for_ever()

    for _ in range(3):
        holder = tasks.start(hold())
        await until(lock.is_locked)
        others = [tasks.start(taken(lock, mode)) for _ in range(2)]
        holder.cancel()
        await tasks.pause()
        holder.cancel()
        with pytest.raises(CANCELLED):
            await holder
        await tasks.all_of(*others)
        assert_idle(lock)
