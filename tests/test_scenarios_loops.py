"""R20 and R21: a wake must reach somebody who can run. Loops that are stopped, closed, or asleep in a sync acquire.

Where another rule could save the day its means are taken away: `no_revocation` leaves nothing to the keeper's clock.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aiolots import (
    LoopBlockPolicy,
    Mutex,
    RwLock,
    lowlevel,
    set_loop_block_policy,
)
from tests.worlds import (
    EVERY_KIND,
    LOOP_KINDS,
    assert_idle,
    in_thread,
    new_loop,
    outcome_of,
    wait_until_parked,
)

PROMPTLY = 1.0  # seconds, as R20 has it
each_loop = pytest.mark.parametrize("kind", LOOP_KINDS)
each_kind = pytest.mark.parametrize("kind", EVERY_KIND)
each_release = pytest.mark.parametrize("fair", [False, True], ids=["release", "release_fair"])


@pytest.fixture
def no_revocation() -> Iterator[None]:
    """Let no wake be revoked for its age."""
    before = lowlevel.set_revoke_after(1e5)
    yield
    lowlevel.set_revoke_after(before)


@contextlib.contextmanager
def policy(name: LoopBlockPolicy) -> Iterator[None]:
    before = set_loop_block_policy(name)
    try:
        yield
    finally:
        set_loop_block_policy(before)


def let_go(guard: Any, *, fair: bool) -> None:
    if fair:
        guard.release_fair()
    else:
        guard.release()


def take(request: Callable[[], Any]) -> None:
    with request():
        pass


async def take_in_task(request: Callable[[], Any]) -> None:
    async with request():
        pass


# --- R20: the waiter's loop is stopped or closed ----------------------------------------------------------------------


@each_kind
@each_release
def test_r20_waiters_loop_stopped(kind: str, fair: bool) -> None:
    lock = RwLock()
    guard = lock.write().acquire()
    with new_loop(kind) as loop:
        waiting = loop.submit(take_in_task(lock.write))
        wait_until_parked(lock, 1)
        loop.stop()
        behind = in_thread(take, lock.write)  # queued behind the task that cannot run
        wait_until_parked(lock, 2)
        let_go(guard, fair=fair)
        behind.join(PROMPTLY)
        in_thread(take, lock.write).join(PROMPTLY)
        assert not waiting.done()
        loop.start()
        outcome_of(waiting)
    assert_idle(lock)


@each_kind
@each_release
def test_r20_next_comes_after_the_release(kind: str, fair: bool) -> None:
    lock = Mutex()
    guard = lock.lock().acquire()
    with new_loop(kind) as loop:
        waiting = loop.submit(take_in_task(lock.lock))
        wait_until_parked(lock, 1)
        loop.stop()
        let_go(guard, fair=fair)
        in_thread(take, lock.lock).join(PROMPTLY)
        loop.start()
        outcome_of(waiting)
    assert_idle(lock)


@each_kind
@each_release
def test_r20_waiters_loop_closed(kind: str, fair: bool, no_revocation: None) -> None:
    lock = RwLock()
    guard = lock.write().acquire()
    loop = new_loop(kind)
    loop.submit(take_in_task(lock.write))
    wait_until_parked(lock, 1)
    behind = in_thread(take, lock.write)
    wait_until_parked(lock, 2)
    loop.close(cancel=False)
    let_go(guard, fair=fair)
    behind.join(PROMPTLY)
    in_thread(take, lock.write).join(PROMPTLY)
    assert_idle(lock)


@each_kind
def test_r20_loop_closed_after_the_wake(kind: str, no_revocation: None) -> None:
    """The lock was handed to a task whose loop is closed before it looks: it is passed on."""
    lock = RwLock()
    guard = lock.write().acquire()
    loop = new_loop(kind)
    loop.submit(take_in_task(lock.write))
    wait_until_parked(lock, 1)
    behind = in_thread(take, lock.read)
    wait_until_parked(lock, 2)
    loop.stop()
    guard.release_fair()
    assert lock.is_locked_exclusive()
    assert not behind.done()
    loop.close(cancel=False)
    behind.join(PROMPTLY)
    assert_idle(lock)


@each_kind
@each_release
def test_r20_several_waiters_of_a_stopped_loop(kind: str, fair: bool) -> None:
    """One revocation is enough for a whole loop: its other tasks are passed over too."""
    lock = RwLock()
    guard = lock.write().acquire()
    with new_loop(kind) as loop:
        waiting = []
        for i, request in enumerate([lock.write, lock.read, lock.write, lock.read, lock.read, lock.write] * 4, 1):
            waiting.append(loop.submit(take_in_task(request)))
            wait_until_parked(lock, i)
        loop.stop()
        behind = in_thread(take, lock.write)
        wait_until_parked(lock, len(waiting) + 1)
        let_go(guard, fair=fair)
        behind.join(PROMPTLY)
        in_thread(take, lock.read).join(PROMPTLY)
        loop.start()
        for future in waiting:
            outcome_of(future)
    assert_idle(lock)


@each_kind
def test_r20_draining_writer_on_a_stopped_loop(kind: str) -> None:
    """A task owns WRITER and waits for readers to leave; when they do, it cannot run, and everybody is behind it."""
    lock = RwLock()
    reader = lock.read().acquire()
    with new_loop(kind) as loop:
        waiting = loop.submit(take_in_task(lock.write))
        wait_until_parked(lock, 1)
        assert lowlevel.waiters(lock)[0].draining
        loop.stop()
        behind = [in_thread(take, lock.read), in_thread(take, lock.write)]
        wait_until_parked(lock, 3)
        reader.release()
        for thread in behind:
            thread.join(PROMPTLY)
        in_thread(take, lock.write).join(PROMPTLY)
        loop.start()
        outcome_of(waiting)
    assert_idle(lock)


@each_kind
def test_r20_draining_writer_on_a_loop_closed(kind: str, no_revocation: None) -> None:
    """When its loop is closed a draining writer gives WRITER back: readers behind it enter while the first one is in."""
    lock = RwLock()
    reader = lock.read().acquire()
    loop = new_loop(kind)
    loop.submit(take_in_task(lock.write))
    wait_until_parked(lock, 1)
    behind = in_thread(take, lock.read)
    wait_until_parked(lock, 2)
    loop.close(cancel=False)
    behind.join(PROMPTLY)
    assert lock.reader_count() == 1
    reader.release()
    assert_idle(lock)


# --- R21: the loop's own thread sleeps in a sync acquire --------------------------------------------------------------


@each_kind
@each_release
@pytest.mark.parametrize("queued", [1, 3])
def test_r21_loop_blocks_on_itself(kind: str, fair: bool, queued: int, no_revocation: None) -> None:
    """Tasks of the loop are queued first, but only its sleeping thread can take the lock: it does."""
    lock = RwLock()
    guard = lock.write().acquire()
    with new_loop(kind) as loop, policy("allow"):
        tasks = [loop.submit(take_in_task(lock.write)) for _ in range(queued)]
        wait_until_parked(lock, queued)
        blocks = in_thread(loop.call, lambda: take(lock.write))
        wait_until_parked(lock, queued + 1)
        let_go(guard, fair=fair)
        blocks.join(PROMPTLY)
        for task in tasks:
            outcome_of(task)
    assert_idle(lock)


@each_kind
def test_r21_wake_sent_before_the_block(kind: str, no_revocation: None) -> None:
    """The task owns the lock already, by hand-over, when the thread of its loop goes to sleep for it: it is recalled."""
    lock = RwLock()
    guard = lock.write().acquire()

    def callback() -> None:
        in_thread(guard.release_fair).join()
        assert lowlevel.waiters(lock)[0].woken
        assert lock.is_locked_exclusive()
        take(lock.write)

    with new_loop(kind) as loop, policy("allow"):
        task = loop.submit(take_in_task(lock.write))
        wait_until_parked(lock, 1)
        loop.call(callback, PROMPTLY)
        outcome_of(task)
    assert_idle(lock)


@each_kind
def test_r21_wake_sent_by_itself(kind: str, no_revocation: None) -> None:
    """A release on the loop's own thread hands over to its task, and the same callback wants the lock again."""
    lock = Mutex()

    def callback() -> None:
        guard.release()
        assert lock.is_locked()
        take(lock.lock)

    with new_loop(kind) as loop, policy("allow"):
        guard = lock.lock().acquire()
        task = loop.submit(take_in_task(lock.lock))
        wait_until_parked(lock, 1)
        loop.call(callback, PROMPTLY)
        outcome_of(task)
    assert_idle(lock)


@each_kind
def test_r21_passed_over_meanwhile(kind: str, no_revocation: None) -> None:
    """A task that is passed over while its loop sleeps looks again afterwards, though nobody releases its lock any more."""
    lock, other = RwLock(), RwLock()
    guard, hold = lock.write().acquire(), other.write().acquire()
    with new_loop(kind) as loop, policy("allow"):
        task = loop.submit(take_in_task(lock.write))
        wait_until_parked(lock, 1)
        blocks = in_thread(loop.call, lambda: take(other.write))
        wait_until_parked(other, 1)
        guard.release_fair()  # nobody can take it
        assert lock.word == 1
        assert not task.done()
        hold.release()
        blocks.join()
        outcome_of(task, PROMPTLY)
    assert_idle(lock, other)


@each_kind
def test_r21_draining_writer_steps_back(kind: str, no_revocation: None) -> None:
    """A task of the loop owns WRITER and waits for a reader; its thread asks for a share: it is not in its own way."""
    lock = RwLock()
    reader = lock.read().acquire()
    with new_loop(kind) as loop, policy("allow"):
        task = loop.submit(take_in_task(lock.write))
        wait_until_parked(lock, 1)
        loop.call(lambda: take(lock.read), PROMPTLY)
        assert lock.reader_count() == 1
        assert not task.done()
        reader.release()
        outcome_of(task)
    assert_idle(lock)
