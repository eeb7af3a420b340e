"""What type checkers are to think of the documented use. test_typing.py runs mypy --strict and pyright over this file.

Each line that ends in `# wrong` must be rejected by both; all others must be accepted by both. Never run.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import assert_type

from aiolots import (
    AsyncMutexGuard,
    AsyncReadGuard,
    AsyncWriteGuard,
    LazyLock,
    LockStatistics,
    LockTimeout,
    MappedGuard,
    Mutex,
    MutexGuard,
    Once,
    OnceCell,
    ReadGuard,
    ReentrantGuard,
    ReentrantMutex,
    RwLock,
    WriteGuard,
    decode,
    lowlevel,
    telemetry,
)

catalog = RwLock({"a": 1}, name="catalog")
nothing = RwLock()
counter: Mutex[int] = Mutex(0)
bare = Mutex(name="bare")
assert_type(catalog, RwLock[dict[str, int]])
assert_type(nothing, RwLock[None])
assert_type(bare, Mutex[None])


def threads() -> None:
    with catalog.read() as reading:
        assert_type(reading, ReadGuard[dict[str, int]])
        assert_type(reading.value, dict[str, int])
        reading.value = {}  # wrong
    with catalog.read_recursive(timeout=0.5) as reading:
        assert_type(reading, ReadGuard[dict[str, int]])
    with catalog.write() as writing:
        assert_type(writing, WriteGuard[dict[str, int]])
        writing.value = {"b": 2}
        writing.value["c"] = 3
        writing.value = {"b": "2"}  # wrong
        writing.value = None  # wrong
    with counter.lock() as locking:
        assert_type(locking, MutexGuard[int])
        locking.value += 1
        locking.value = "1"  # wrong
    guard = catalog.write(timeout=1).acquire()
    assert_type(guard, WriteGuard[dict[str, int]])
    guard.release()
    guard.release_fair()
    assert_type(guard.is_held(), bool)
    catalog.write().release()  # wrong
    _ = catalog.write().value  # wrong


def tries() -> None:
    maybe = catalog.try_write()
    assert_type(maybe, WriteGuard[dict[str, int]] | None)
    maybe.release()  # wrong
    if maybe:
        maybe.release()
    assert_type(catalog.try_read(), ReadGuard[dict[str, int]] | None)
    assert_type(catalog.try_read_recursive(), ReadGuard[dict[str, int]] | None)
    assert_type(counter.try_lock(), MutexGuard[int] | None)
    with catalog.try_write_for(0.5) as timed:
        assert_type(timed, WriteGuard[dict[str, int]] | None)
        timed.value = {}  # wrong
        if timed is not None:
            timed.value = {}
    with catalog.try_read_until(1e9) as shared:
        assert_type(shared, ReadGuard[dict[str, int]] | None)
    assert_type(catalog.try_read_for(1).acquire(), ReadGuard[dict[str, int]] | None)
    assert_type(catalog.try_read_recursive_for(1).acquire(), ReadGuard[dict[str, int]] | None)
    assert_type(catalog.try_write_until(1e9).acquire(), WriteGuard[dict[str, int]] | None)
    assert_type(counter.try_lock_for(0).acquire(), MutexGuard[int] | None)
    assert_type(counter.try_lock_until(1e9).acquire(), MutexGuard[int] | None)
    catalog.try_write_for("1")  # wrong
    catalog.try_write_for(None)  # wrong
    catalog.try_write_for()  # wrong
    catalog.write(timeout="1")  # wrong


async def tasks() -> None:
    async with catalog.read() as reading:
        assert_type(reading, AsyncReadGuard[dict[str, int]])
        assert_type(reading.value, dict[str, int])
        reading.value = {}  # wrong
    async with catalog.write() as writing:
        assert_type(writing, AsyncWriteGuard[dict[str, int]])
        writing.value = {"b": 2}
    async with counter.lock() as locking:
        assert_type(locking, AsyncMutexGuard[int])
    guard = await catalog.write()
    assert_type(guard, AsyncWriteGuard[dict[str, int]])
    guard.release()
    await guard.release()  # wrong
    await guard  # wrong
    async with catalog.try_write_for(0.5) as timed:
        assert_type(timed, AsyncWriteGuard[dict[str, int]] | None)
    maybe = await counter.try_lock_for(0)
    assert_type(maybe, AsyncMutexGuard[int] | None)
    await catalog.try_read()  # wrong
    async with catalog:  # wrong
        pass
    assert_type(await asyncio.wait_for(catalog.read(), 5), AsyncReadGuard[dict[str, int]])


def takes_a_thread_guard(guard: WriteGuard[dict[str, int]]) -> None: ...


async def colours() -> None:
    takes_a_thread_guard(catalog.write().acquire())
    takes_a_thread_guard(await catalog.write())  # wrong
    takes_a_thread_guard(catalog.write())  # wrong
    takes_a_thread_guard(catalog.read().acquire())  # wrong
    with catalog:  # wrong
        pass


async def drop_in() -> None:
    with bare:
        pass
    async with bare:
        pass
    assert_type(bare.acquire(blocking=True, timeout=-1), bool)
    assert_type(bare.locked(), bool)
    bare.release()
    bare.acquire(wait=True)  # wrong
    condition = threading.Condition(threading.Lock())
    condition.notify()


def text() -> str:
    return ""


async def text_async() -> str:
    return ""


async def once() -> None:
    setup = Once(name="setup")
    setup.call_once(text)
    await setup.call_once(text_async)
    await setup.call_once(text)  # wrong
    assert_type(setup.is_completed(), bool)
    cell: OnceCell[str] = OnceCell()
    assert_type(OnceCell(1), OnceCell[int])
    assert_type(cell.get(), str | None)
    assert_type(cell.get_or_init(text), str)
    assert_type(await cell.get_or_init(text_async), str)
    assert_type(cell.set("a"), bool)
    assert_type(cell.take(), str | None)
    cell.set(1)  # wrong
    cell.get_or_init(int)  # wrong
    assert_type(LazyLock(text), LazyLock[str])
    assert_type(LazyLock(text).get(), str)
    assert_type(await LazyLock(text_async).get(), str)
    await LazyLock(text).get()  # wrong


async def reentrant() -> None:
    again = ReentrantMutex({"a": 1}, name="again")
    assert_type(again, ReentrantMutex[dict[str, int]])
    assert_type(ReentrantMutex(), ReentrantMutex[None])
    with again.lock() as guard:
        assert_type(guard, ReentrantGuard[dict[str, int]])
        assert_type(guard.depth, int)
        guard.value = {"b": 2}
        guard.value = {"b": "2"}  # wrong
    async with again.lock(timeout=1) as guard:
        assert_type(guard.value, dict[str, int])
    assert_type(await again.try_lock_for(0), ReentrantGuard[dict[str, int]] | None)
    assert_type(again.try_lock(), ReentrantGuard[dict[str, int]] | None)
    with again:
        pass
    async with again:
        pass
    assert_type(again.acquire(blocking=False), bool)
    assert_type(again.is_owned(), bool)
    assert_type(again.into_inner(), dict[str, int])


def mapping() -> None:
    with catalog.write() as writing:
        assert_type(writing.map(len), MappedGuard[int])
        assert_type(writing.map(len).value, int)
        writing.map(len).value = 1  # wrong
        writing.map_item("a").value = 1
        writing.map_attribute("a").map(str).release()
    with catalog.read() as reading:
        assert_type(reading.map(len).map(str).value, str)
        reading.map_item("a").value = 1  # wrong
    with catalog.write().acquire().map(len) as part:
        assert_type(part.value, int)
    assert_type(catalog.into_inner(), dict[str, int])
    assert_type(counter.get_mut(), int)


def diagnosis(error: LockTimeout) -> None:
    assert_type(catalog.word, int)
    catalog.word = 0  # wrong
    assert_type(catalog.statistics(), LockStatistics)
    catalog.statistics().readers = 1  # wrong
    assert_type(catalog.statistics().waits, tuple[telemetry.WaitStatistics, ...])
    assert_type(catalog.statistics().longest_wait_at, str | None)
    assert_type(telemetry.snapshot(), list[telemetry.LockSnapshot])
    assert_type(telemetry.on_timeout(lambda event: event.place), Callable[[], None])
    telemetry.on_contention(lambda: None)  # wrong
    assert_type(catalog.reader_count(), int)
    assert_type(catalog.is_locked(), bool)
    assert_type(catalog.is_locked_exclusive(), bool)
    assert_type(decode(catalog.word).readers, int)
    assert_type(decode(catalog.word).problems, tuple[str, ...])
    assert_type(lowlevel.waiters(catalog), list[lowlevel.Waiter])
    assert_type(error.lock_name, str | None)
    assert_type(error.waited, float)
    counter.reader_count()  # wrong
    counter.read()  # wrong
    catalog.lock()  # wrong
    RwLock[int]("1")  # wrong
    RwLock(1, "name")  # wrong
