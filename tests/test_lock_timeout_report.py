"""LockTimeout explains itself: who holds the lock, since when and where, what they do now, and who else waits."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from aiolots import FairMutex, LockTimeout, Mutex, ReentrantMutex, RwLock, _timeout_report, _track, lowlevel
from tests.lines import lines_of
from tests.tracking_world import line, line_with, tracked
from tests.waiting import in_thread, until, until_parked, wait_until_parked
from tests.worlds import LoopThread, on_each_loop

__all__ = ["tracked"]  # a fixture
HINT = "AIOLOTS_TRACK=1"


def timeout_of(request: Any) -> LockTimeout:
    """Acquire in this thread; return the LockTimeout that it raises."""
    with pytest.raises(LockTimeout) as raised, request:
        pass
    return raised.value


# --- who holds it -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [Mutex, FairMutex, ReentrantMutex])
def test_a_thread_holds_a_mutex(make: Callable[..., Mutex[None]], tracked: None) -> None:
    mutex, other = make(name="m"), Mutex()

    def holds() -> None:
        with mutex:  # takes it
            waits()

    def waits() -> None:
        with other:  # waits here
            pass

    with other:
        thread = in_thread(holds)
        wait_until_parked(other, 1)
        error = timeout_of(mutex.lock(timeout=0.001))
    (holder,) = error.holders
    assert (holder.name, holder.kind, holder.mode, holder.place) == (
        thread.thread.name,
        "thread",
        "lock",
        line_with(holds, "# takes it"),
    )
    assert holder.stack[0] == line_with(waits, "# waits here")
    assert (error.more_holders, error.queued, error.more_queued) == (0, (), 0)
    text = str(error)
    first, second, *rest = text.splitlines()
    assert first == f"<aiolots.{make.__name__} 'm' {_state(make)}>: no lock within {error.waited:.3g} s (word 0x8)"
    assert second.startswith(f"    thread {thread.thread.name!r} holds it (lock), since ")
    assert second.endswith(f"acquired at {line_with(holds, '# takes it')}")
    assert rest[0].strip() == f"now at {line_with(waits, '# waits here')}"
    assert rest[1].strip() == f"from {line_with(holds, 'waits()')}"
    assert HINT not in text
    thread.join()


def _state(make: object) -> str:
    return "locked depth=1" if make is ReentrantMutex else "write-locked"


@on_each_loop
async def test_a_task_holds(tracked: None) -> None:
    lock, go_on = RwLock(name="catalog"), asyncio.Event()

    async def reloads() -> None:
        async with lock.write():
            await go_on.wait()  # sleeps here

    task = asyncio.create_task(reloads(), name="reload")
    await until(lock.is_locked_exclusive)
    with pytest.raises(LockTimeout) as raised:
        async with lock.read(timeout=0.001):
            pass
    error = raised.value
    assert [(holder.kind, holder.name, holder.mode) for holder in error.holders] == [("task", "reload", "write")]
    assert line_with(reloads, "# sleeps here") in error.holders[0].stack
    assert f"task 'reload' of {asyncio.get_running_loop()!r} holds it (write)" in str(error)
    go_on.set()
    await task


@pytest.mark.parametrize("tries", [1, 30])
def test_many_readers(tracked: None, tries: int) -> None:
    lock: RwLock[None] = RwLock()
    guards = [lock.read().acquire() for _ in range(30)]
    for _ in range(tries):
        error = timeout_of(lock.write(timeout=0.001))
    assert (len(error.holders), error.more_holders) == (8, 22)
    assert "    and 22 more hold it" in str(error).splitlines()
    assert error.decoded == "readers=30"
    for guard in guards:
        guard.release()


def test_an_upgrade(tracked: None) -> None:
    lock: RwLock[None] = RwLock()
    with lock.upgradable_read() as guard, lock.read_recursive():
        with pytest.raises(LockTimeout, match="no upgrade within") as raised:
            guard.upgrade(timeout=0.001)
        assert [(holder.mode, holder.place) for holder in raised.value.holders] == [
            ("upgradable_read", line(-4)),
            ("read_recursive", line(-5)),
        ]


# --- what is known when nothing is tracked --------------------------------------------------------------------------------


def test_untracked_a_thread_that_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_timeout_report, "_readers_looked_for", float("-inf"))
    lock, mutex = RwLock(), Mutex()
    for request in (lock.read, lock.write):
        with request():
            error = in_thread(timeout_of, lock.write(timeout=0.001)).join()
            mode = "read" if request == lock.read else "write"
            assert f"    thread 'MainThread' holds it ({mode}), acquired where nobody noted it" in str(error).splitlines()
            assert HINT in str(error)
            assert error.holders == ()
    with mutex:
        error = in_thread(timeout_of, mutex.lock(timeout=0.001)).join()
        assert "    thread 'MainThread' holds it (lock), acquired where nobody noted it" in str(error).splitlines()


def test_untracked_a_task() -> None:
    lock = RwLock()
    with LoopThread() as loop:

        async def takes() -> Any:
            return await lock.write()

        guard = loop.run(takes())
        text = str(timeout_of(lock.read(timeout=0.001)))
        assert "    a task of the loop on " in text
        assert HINT in text
        loop.call(guard.release)


def test_untracked_and_tracked_readers() -> None:
    lock: RwLock[None] = RwLock()
    guards = [lock.read().acquire() for _ in range(3)]
    _track.functions.track_switch(True)
    try:
        guards.append(lock.read().acquire())
        place = line(-1)
    finally:
        _track.functions.track_switch(False)
    error = timeout_of(lock.write(timeout=0.001))
    assert [holder.place for holder in error.holders] == [place]
    assert "    3 more hold it whom nobody noted" in str(error).splitlines()
    assert HINT in str(error)
    for guard in guards:
        guard.release()


def test_nobody_holds_it() -> None:
    """The time of an acquire ran out just when the lock was released: nothing is made up."""
    lock = RwLock(name="free")
    with pytest.raises(LockTimeout) as raised:
        _timeout_report.timed_out(lock, 2, 0.5)  # type: ignore[arg-type]
    assert "nobody holds it now" in str(raised.value)
    assert HINT not in str(raised.value)


# --- who waits ------------------------------------------------------------------------------------------------------------


@on_each_loop
async def test_threads_and_tasks_that_wait() -> None:
    lock = RwLock()
    guard = lock.try_write()
    assert guard is not None
    writer = asyncio.create_task(_with(lock.write()), name="the writer")
    await until_parked(lock, 1)
    thread = in_thread(lambda: lock.upgradable_read().acquire().release())
    await until_parked(lock, 2)
    reader = asyncio.create_task(_with(lock.read()), name="the reader")
    await until_parked(lock, 3)
    error = await asyncio.to_thread(timeout_of, lock.write(timeout=0.001))
    assert [(one.kind, one.name, one.mode) for one in error.queued] == [
        ("task", "the writer", "write"),
        ("thread", thread.thread.name, "upgradable_read"),
        ("task", "the reader", "read"),
    ]
    assert error.more_queued == 0
    names = f"task 'the writer' (write), thread {thread.thread.name!r} (upgradable_read), task 'the reader' (read)"
    assert f"    waiting, who came first at the beginning: {names}" in str(error).splitlines()
    guard.release()
    await asyncio.gather(writer, reader, asyncio.to_thread(thread.join))


async def _with(request: Any) -> None:
    async with request:
        pass


@on_each_loop
async def test_a_crowd_is_not_looked_at_one_by_one() -> None:
    lock, crowd = RwLock(name="crowded"), 3000
    guard = lock.try_write()
    assert guard is not None
    tasks = [asyncio.create_task(_with(lock.read()), name=f"reader {i}") for i in range(30)]
    await until_parked(lock, 30)
    few = min(lines_of(lambda: _report(lock)) for _ in range(3))
    tasks += [asyncio.create_task(_with(lock.read())) for _ in range(crowd - 30)]
    await until(lambda: len(lowlevel.waiters(lock)) == crowd)
    with pytest.raises(LockTimeout) as raised:
        await lock.read(timeout=0.001)
    error = raised.value
    assert [one.name for one in error.queued] == [f"reader {i}" for i in range(16)]
    assert error.more_queued == crowd - 16
    assert f"waiters={crowd}>" in str(error)
    assert str(error).splitlines()[-1].endswith(f" and {crowd - 16} more")
    many = min(lines_of(lambda: _report(lock)) for _ in range(3))
    assert many < 2 * few, "a report costs as much as there are who wait"  # a hundred times as many
    guard.release()
    await asyncio.gather(*tasks)


def _report(lock: RwLock[None]) -> None:
    with pytest.raises(LockTimeout):
        _timeout_report.timed_out(lock, 0, 0.5)  # type: ignore[arg-type]



# --- what it is ---------------------------------------------------------------------------------------------------------


def test_it_can_be_pickled(tracked: None) -> None:
    lock = RwLock(name="catalog")
    with lock.write():
        error = timeout_of(lock.read(timeout=0.001))
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)
    assert copy.holders[0].place == error.holders[0].place
    assert (copy.lock_name, copy.mode, copy.decoded) == ("catalog", "read", "write-locked")
    assert isinstance(copy, TimeoutError)


def test_a_report_that_fails_is_a_timeout_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> Any:
        raise ZeroDivisionError("on purpose")

    monkeypatch.setattr(_track, "infos", fails)
    lock = RwLock(name="catalog")
    with lock.write():
        error = timeout_of(lock.read(timeout=0.001))
    assert str(error).startswith("<aiolots.RwLock 'catalog' write-locked>: no read within ")
    assert "cannot be found out: ZeroDivisionError('on purpose')" in str(error)
    assert isinstance(error.__cause__, ZeroDivisionError)
    assert (error.lock_name, error.mode, error.word) == ("catalog", "read", 8)
