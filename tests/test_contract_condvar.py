"""The contract of Condvar, in every world and with the guards of every mode."""

from __future__ import annotations

import asyncio
import copy
import functools
import math
import pickle
from typing import Any

import pytest

from aiolots import Condvar, LoopBlockedWarning, Mutex, RwLock, lowlevel
from tests.waits import (
    Either,
    awaited,
    loop_policy,
    loops_may_block,
    notified,
    patience,
    until_waiting,
    wait_until_waiting,
    waiting_at,
    world,
)
from tests.worlds import (
    LOOP_KINDS,
    LoopThread,
    Stuck,
    World,
    assert_idle,
    in_thread,
    on_each_loop,
    outcome_of,
    parked,
    wait_until,
    wait_until_parked,
)

__all__ = ["loop_policy", "loops_may_block", "patience", "world"]  # fixtures

REQUESTS = [(Mutex, "lock"), (RwLock, "read"), (RwLock, "read_recursive"), (RwLock, "write"), (RwLock, "upgradable_read")]
each_request = pytest.mark.parametrize(("make", "mode"), REQUESTS, ids=[mode for _, mode in REQUESTS])
each_loop = pytest.mark.parametrize("kind", LOOP_KINDS)


# --- notifying ----------------------------------------------------------------------------------------------------------


@each_request
def test_notify_one_first_come_first_notified(world: World, make: Any, mode: str) -> None:
    lock, condvar = make(), Condvar()
    attempts = []
    for number in range(1, 4):
        attempts.append(world.attempt(lambda: notified(condvar, getattr(lock, mode))))
        wait_until_waiting(condvar, number)
    wait_until(lambda: lock.word == 0)  # they are in the queue a moment before they let go of the lock
    assert lowlevel.waiters(lock) == []
    for attempt in attempts:
        assert condvar.notify_one() == 1
        assert attempt.guard() is True
    assert condvar.notify_one() == 0
    assert_idle(lock)


@each_request
def test_notify_all(world: World, make: Any, mode: str) -> None:
    lock, condvar = make(), Condvar()
    attempts = [world.attempt(lambda: notified(condvar, getattr(lock, mode))) for _ in range(40)]
    wait_until_waiting(condvar, 40)
    assert condvar.notify_all() == 40
    assert all(attempt.guard() is True for attempt in attempts)
    assert condvar.notify_all() == 0
    assert_idle(lock)


def test_nobody_waits() -> None:
    condvar = Condvar()
    assert condvar.notify_one() == 0
    assert condvar.notify_all() == 0


def test_notified_while_the_lock_is_held(world: World) -> None:
    """They go to the lock's queue, and wake up one after the other."""
    lock, condvar = Mutex(), Condvar()
    inside: list[int] = []

    def alone(guard: Any) -> None:
        assert lock.locked()
        inside.append(1)
        assert len(inside) == 1
        inside.pop()

    attempts = [world.attempt(lambda: notified(condvar, lock.lock, then=alone)) for _ in range(10)]
    wait_until_waiting(condvar, 10)
    with lock.lock():
        assert condvar.notify_all() == 10
        assert waiting_at(condvar) == 0
        assert parked(lock) == 10
        assert {waiter.expects for waiter in lowlevel.waiters(lock)} == {False}
        assert not any(attempt.done() for attempt in attempts)
    assert all(attempt.guard() is True for attempt in attempts)
    assert_idle(lock)


def test_readers_enter_together(world: World) -> None:
    lock, condvar = RwLock(), Condvar()
    attempts = [world.attempt(lambda: notified(condvar, lock.read)) for _ in range(4)]
    wait_until_waiting(condvar, 4)
    with lock.read():
        assert condvar.notify_all() == 4
        assert all(attempt.guard() is True for attempt in attempts)
    assert_idle(lock)


def test_several_locks_on_one_condvar(world: World) -> None:
    locks: list[Any] = [Mutex(), RwLock(), Mutex()]
    condvar = Condvar()
    requests = [locks[0].lock, locks[1].write, locks[1].read, locks[2].lock]
    attempts = []
    for number, request in enumerate(requests * 2, 1):
        attempts.append(world.attempt(functools.partial(notified, condvar, request)))
        wait_until_waiting(condvar, number)
    assert [waiter.mode for waiter in lowlevel.waiters(key=condvar)] == ["lock", "write", "read", "lock"] * 2
    with locks[0].lock():
        assert condvar.notify_all() == 8
        for attempt in attempts[1:4] + attempts[5:]:
            assert attempt.guard() is True
        assert parked(locks[0]) == 2
    assert attempts[0].guard() is True
    assert attempts[4].guard() is True
    assert_idle(*locks)


def test_several_condvars_of_one_lock(world: World) -> None:
    lock, full, empty = Mutex(), Condvar(), Condvar()
    one = world.attempt(lambda: notified(full, lock.lock))
    two = world.attempt(lambda: notified(empty, lock.lock))
    wait_until_waiting(full, 1)
    wait_until_waiting(empty, 1)
    assert empty.notify_all() == 1
    assert two.guard() is True
    assert not one.done()
    assert full.notify_all() == 1
    assert one.guard() is True
    assert_idle(lock)


# --- the guard ----------------------------------------------------------------------------------------------------------


@each_request
def test_the_guard_meanwhile_and_afterwards(make: Any, mode: str) -> None:
    lock, condvar = make("value"), Condvar()
    taken: list[Any] = []

    def wait() -> bool:
        with getattr(lock, mode)() as guard:
            taken.append(guard)
            answer = condvar.wait(guard)
            assert guard.value == "value"
            assert lock.is_locked()
        return answer

    thread = in_thread(wait)
    wait_until_waiting(condvar, 1)
    (guard,) = taken
    wait_until(lambda: lock.word == 0)
    assert not guard.is_held()
    for misuse in (guard.release, lambda: guard.value, lambda: condvar.wait(guard)):
        with pytest.raises(RuntimeError):
            misuse()
    assert lock.word == 0
    condvar.notify_one()
    assert thread.join() is True
    assert not guard.is_held()
    assert_idle(lock)


def test_a_guard_keeps_its_mode(world: World) -> None:
    lock, condvar = RwLock(), Condvar()
    words: list[str] = []
    for mode in ("upgradable_read", "write", "read"):
        attempt = world.attempt(
            functools.partial(notified, condvar, getattr(lock, mode), then=lambda _: words.append(hex(lock.word)))
        )
        wait_until_waiting(condvar, 1)
        condvar.notify_one()
        assert attempt.guard() is True
    assert words == ["0x14", "0x8", "0x10"]
    assert_idle(lock)


@on_each_loop
async def test_downgraded_guards() -> None:
    lock, condvar = RwLock(), Condvar()

    async def wait() -> int:
        async with lock.write() as guard:
            shared = guard.downgrade()
            assert await condvar.wait(shared) is True
            return lock.word

    task = asyncio.create_task(wait())
    await until_waiting(condvar, 1)
    assert lowlevel.waiters(key=condvar)[0].mode == "read"
    condvar.notify_one()
    assert await task == 16
    assert_idle(lock)


@pytest.mark.parametrize("guard", [None, object(), Mutex()])
def test_what_is_no_guard(guard: Any) -> None:
    with pytest.raises(TypeError, match="guard"):
        Condvar().wait(guard)


@each_request
def test_a_guard_that_is_not_held(make: Any, mode: str) -> None:
    lock, condvar = make(), Condvar()
    guard = getattr(lock, mode)().acquire()
    guard.release()
    with pytest.raises(RuntimeError):
        condvar.wait(guard)
    with pytest.raises(RuntimeError):
        condvar.wait_for(guard, lambda: True)
    assert lowlevel.waiters(key=condvar) == []
    assert_idle(lock)


@on_each_loop
async def test_a_tasks_guard_that_is_not_held() -> None:
    lock, condvar = Mutex(), Condvar()
    guard = await lock.lock()
    coroutine = condvar.wait(guard)
    guard.release()
    with pytest.raises(RuntimeError):
        await coroutine
    assert_idle(lock)


# --- time ---------------------------------------------------------------------------------------------------------------


@each_request
@pytest.mark.parametrize("seconds", [0, 1e-9, 0.01])
def test_it_times_out_with_the_lock_held(world: World, make: Any, mode: str, seconds: float) -> None:
    lock, condvar = make(), Condvar()
    assert world.attempt(lambda: notified(condvar, getattr(lock, mode), seconds)).guard() is False
    assert lowlevel.waiters(key=condvar) == []
    assert condvar.notify_one() == 0
    assert_idle(lock)


@pytest.mark.parametrize("in_time", [True, False])
def test_the_timeout_is_for_the_notification(world: World, in_time: bool) -> None:
    """It runs out while it waits for the lock: it was notified in time, or it was not."""
    for seconds in (0.02, 0.2, 2.0):  # on a machine so slow that it is over too early: again
        lock, condvar = Mutex(), Condvar()
        attempt = world.attempt(functools.partial(notified, condvar, lock.lock, seconds))
        wait_until(lambda: waiting_at(condvar) == 1 or attempt.done())  # noqa: B023
        with lock.lock():
            as_wished = not attempt.done() and condvar.notify_one() == 1 if in_time else not attempt.done()
            if as_wished:
                wait_until_parked(lock, 1)
                lowlevel.park(object(), timeout=seconds).acquire()
                assert condvar.notify_one() == 0
                assert parked(lock) == 1
                assert not attempt.done()
        assert attempt.guard() is (as_wished and in_time)
        assert_idle(lock)
        if as_wished:
            return
    raise Stuck("it is over too early each time")


@pytest.mark.parametrize(("seconds", "error"), [(-1, ValueError), (math.nan, ValueError), ("1", TypeError)])
def test_timeouts_are_seconds(seconds: Any, error: type[Exception]) -> None:
    lock, condvar = Mutex(), Condvar()
    with lock.lock() as guard:
        with pytest.raises(error):
            condvar.wait(guard, seconds)
        with pytest.raises(error):
            condvar.wait_for(guard, lambda: True, seconds)
        assert guard.is_held()


@pytest.mark.parametrize("seconds", [math.inf, 1e30])
def test_for_ever(world: World, seconds: float) -> None:
    lock, condvar = Mutex(), Condvar()
    attempt = world.attempt(lambda: notified(condvar, lock.lock, seconds))
    wait_until_waiting(condvar, 1)
    condvar.notify_one()
    assert attempt.guard() is True


# --- wait_for -----------------------------------------------------------------------------------------------------------


def waits_for(condvar: Condvar, lock: Any, predicate: Any, timeout: float | None = None) -> Either:
    def thread() -> Any:
        with lock.lock() as guard:
            return condvar.wait_for(guard, lambda: predicate(guard), timeout)

    async def task() -> Any:
        async with lock.lock() as guard:
            return await condvar.wait_for(guard, lambda: predicate(guard), timeout)

    return Either(thread, task)


def test_wait_for(world: World) -> None:
    lock, condvar = Mutex(0), Condvar()
    attempt = world.attempt(lambda: waits_for(condvar, lock, lambda guard: guard.value > 2 and f"{guard.value}!"))
    for number in range(3):
        wait_until_waiting(condvar, 1)
        with lock.lock() as guard:
            guard.value = number + 1
            assert condvar.notify_one() == 1
    assert attempt.guard() == "3!"
    assert_idle(lock)


def test_wait_for_what_is_true_already(world: World) -> None:
    lock, condvar = Mutex(5), Condvar()
    assert world.attempt(lambda: waits_for(condvar, lock, lambda guard: guard.value)).guard() == 5
    assert world.attempt(lambda: waits_for(condvar, lock, lambda guard: guard.value, 0)).guard() == 5


@pytest.mark.parametrize("seconds", [0, 0.01])
def test_wait_for_times_out(world: World, seconds: float) -> None:
    lock, condvar = Mutex(0), Condvar()
    assert world.attempt(lambda: waits_for(condvar, lock, lambda guard: guard.value, seconds)).guard() == 0
    assert lowlevel.waiters(key=condvar) == []
    assert_idle(lock)


def test_wait_for_a_predicate_that_raises(world: World) -> None:
    lock, condvar = Mutex(0), Condvar()
    attempt = world.attempt(lambda: waits_for(condvar, lock, lambda guard: guard.value and 1 / 0))
    wait_until_waiting(condvar, 1)
    with lock.lock() as guard:
        guard.value = 1
        condvar.notify_one()
    assert isinstance(attempt.error(), ZeroDivisionError)
    assert_idle(lock)


def test_producers_and_consumers(world: World) -> None:
    """Bounded buffer, two condvars: each item once, in every world."""
    lock, not_empty, not_full = Mutex[list[int]]([]), Condvar(), Condvar()
    got: list[int] = []

    def put_all() -> None:
        for number in range(50):
            with lock.lock() as guard:
                not_full.wait_for(guard, lambda: len(guard.value) < 3)
                guard.value.append(number)
                not_empty.notify_one()

    async def put_all_async() -> None:
        for number in range(50):
            async with lock.lock() as guard:
                await not_full.wait_for(guard, lambda: len(guard.value) < 3)
                guard.value.append(number)
                not_empty.notify_one()

    def get_all() -> None:
        for _ in range(50):
            with lock.lock() as guard:
                not_empty.wait_for(guard, lambda: guard.value)
                got.append(guard.value.pop(0))
                not_full.notify_one()

    async def get_all_async() -> None:
        for _ in range(50):
            async with lock.lock() as guard:
                await not_empty.wait_for(guard, lambda: guard.value)
                got.append(guard.value.pop(0))
                not_full.notify_one()

    both_ways = [(put_all, put_all_async), (get_all, get_all_async)] * 3
    attempts = [world.attempt(functools.partial(Either, *colours)) for colours in both_ways]
    for attempt in attempts:
        attempt.guard()
    assert sorted(got) == sorted([*range(50)] * 3)
    assert_idle(lock)


# --- loops, copies, repr ------------------------------------------------------------------------------------------------


@each_loop
def test_a_sync_wait_on_a_loops_thread(kind: str, loop_policy: Any) -> None:
    lock, condvar = Mutex(), Condvar(name="news")
    with LoopThread(kind) as loop:
        with pytest.warns(LoopBlockedWarning, match="news"):
            assert loop.call(notified(condvar, lock.lock, 0.001).acquire) is False
        loop_policy("raise")
        with pytest.raises(RuntimeError, match="running event loop"):
            loop.call(notified(condvar, lock.lock).acquire)
    assert lowlevel.waiters(key=condvar) == []
    assert_idle(lock)


@each_loop
def test_who_waits_at_a_condvar_is_no_holder_and_in_no_deadlock(kind: str, loops_may_block: None) -> None:
    """A task has let go of the lock; its loop's thread may take it, though another thread has it just now."""
    lock, other, condvar = Mutex(), Mutex(), Condvar()
    with LoopThread(kind) as loop:
        task = loop.submit(awaited(notified(condvar, lock.lock)))
        wait_until_waiting(condvar, 1)
        holder = lock.lock().acquire()
        blocks = in_thread(loop.call, lock.acquire)
        wait_until_parked(lock, 1)
        holder.release()
        assert blocks.join() is True
        lock.release()
        thread = in_thread(notified(condvar, other.lock).acquire)
        wait_until_waiting(condvar, 2)
        assert condvar.notify_all() == 2
        assert outcome_of(task) is True
        assert thread.join() is True
    assert_idle(lock, other)


@pytest.mark.parametrize("take", [copy.copy, copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))])
def test_copies(take: Any) -> None:
    condvar = Condvar(name="news")
    other = take(condvar)
    assert type(other) is Condvar
    assert other is not condvar
    assert other.name == "news"


def test_repr(world: World) -> None:
    condvar, lock = Condvar(name="news"), Mutex()
    assert repr(condvar) == "<aiolots.Condvar 'news'>"
    attempt = world.attempt(lambda: notified(condvar, lock.lock))
    wait_until_waiting(condvar, 1)
    assert repr(condvar) == "<aiolots.Condvar 'news' waiters=1>"
    condvar.notify_one()
    attempt.guard()
    assert repr(Condvar()) == "<aiolots.Condvar>"
