"""A guard of the thread's form that a task holds while it is suspended: told of, where somebody wants to know."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aiolots import (
    FairMutex,
    Mutex,
    ReentrantMutex,
    RwLock,
    Semaphore,
    SuspendedGuardWarning,
    SuspendPolicy,
    _suspended,
    set_suspend_policy,
    suspend_policy,
)
from aiolots.compat import threading as compat
from tests import tasks
from tests.worlds import EVERY_KIND, LOOP_KINDS, assert_idle, in_thread, run_on

HERE = Path(__file__).name


@contextlib.contextmanager
def policy(name: SuspendPolicy) -> Iterator[list[str]]:
    """The warnings so far; each only once, for the same place warns only once."""
    before = set_suspend_policy(name)
    said: list[str] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield said
        said += [str(warning.message) for warning in caught if warning.category is SuspendedGuardWarning]
    finally:
        assert set_suspend_policy(before) == name


OTHERS = ["reentrant", "reentrant guard", "reentrant acquire", "semaphore", "threading's semaphore"]


@pytest.mark.parametrize("kind", EVERY_KIND)
@pytest.mark.parametrize("form", ["read", "write", "acquire", "mutex", "mutex guard", "mutex acquire", *OTHERS])
def test_a_guard_over_an_await(form: str, kind: str) -> None:
    lock, mutex = RwLock(name="it"), FairMutex(name="it")
    reentrant, semaphore, other = ReentrantMutex(name="it"), Semaphore(name="it"), compat.Semaphore(name="it")
    took: dict[str, Any] = {
        "read": lock.read,
        "write": lock.write,
        "acquire": lock.write,
        "mutex": lambda: mutex,
        "mutex guard": mutex.lock,
        "mutex acquire": lambda: mutex,
        "reentrant": lambda: reentrant,
        "reentrant guard": reentrant.lock,
        "reentrant acquire": lambda: reentrant,
        "semaphore": lambda: semaphore,
        "threading's semaphore": lambda: other,
    }

    async def freeze() -> None:
        if "acquire" in form:
            asked = took[form]()
            held = asked.acquire()
            await pause()
            (asked if held is True else held).release()
        else:
            with took[form]():
                await pause()

    async def pause() -> None:
        await tasks.pause()
        await tasks.pause()
        await tasks.pause()

    with policy("warn") as said:
        run_on(kind, freeze())
    assert len(said) == 1
    assert "'it'" in said[0]
    assert f"{HERE}:" in said[0].partition(", and is held")[0]
    assert "in test_a_guard_over_an_await.<locals>.freeze" in said[0].partition(", and is held")[0]
    assert "pause" in said[0].partition("innermost first: ")[2]
    assert_idle(lock, mutex, reentrant)
    assert semaphore.value == other.value == 1


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_what_is_fine(kind: str) -> None:
    """Released before the await; of the task's form; tried; handed out by a task that ended; taken by no task."""
    lock, mutex = RwLock(), Mutex()

    async def body() -> None:
        with lock.read(), mutex:
            pass
        await tasks.pause()
        mutex.acquire()
        mutex.release()
        async with lock.write(), mutex:
            await tasks.pause()
        guard = lock.try_read()
        await tasks.pause()
        assert guard is not None
        guard.release()
        for _ in range(3):
            await tasks.pause()

    with policy("warn") as said:
        run_on(kind, body())
        with lock.write():
            in_thread(lambda: mutex.lock().acquire().release()).join()
    assert said == []
    assert_idle(lock, mutex)


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_what_is_fine_of_owners_and_permits(kind: str) -> None:
    """Released before the await; of the task's form, at whatever level; tried; a bare permit, which is anybody's to release."""
    mutex, semaphore = ReentrantMutex(), Semaphore(3)

    async def body() -> None:
        with mutex, semaphore, mutex.lock():
            pass
        mutex.acquire()
        mutex.release()
        await tasks.pause()
        async with mutex, semaphore:
            with mutex, mutex.lock():
                await tasks.pause()
        guard = mutex.try_lock()
        semaphore.acquire()
        await tasks.pause()
        semaphore.release()
        assert guard is not None
        guard.release()
        for _ in range(3):
            await tasks.pause()

    with policy("warn") as said:
        run_on(kind, body())
        with mutex, semaphore:
            pass
    assert said == []
    assert_idle(mutex)
    assert semaphore.value == 3


@pytest.mark.parametrize("kind", LOOP_KINDS)
@pytest.mark.parametrize("make", [ReentrantMutex, lambda: Semaphore(2)])
def test_what_another_task_holds_is_not_this_ones_fault(make: Any, kind: str) -> None:
    held = make()

    async def first() -> None:
        with held:
            pass
        await tasks.pause()
        await tasks.pause()

    async def second() -> None:
        with held:
            await tasks.pause()
            await tasks.pause()

    async def both() -> None:
        await asyncio.gather(first(), second())

    with policy("warn") as said:
        run_on(kind, both())
    assert len(said) == 1
    assert "<locals>.second" in said[0].partition(", and is held")[0]


@pytest.mark.parametrize("kind", LOOP_KINDS)
def test_a_reentrant_mutex_is_told_of_once_a_hold(kind: str) -> None:
    """By its first level; and again when it was free meanwhile."""
    mutex = ReentrantMutex()

    async def body() -> None:
        with mutex:
            with mutex:
                await tasks.pause()
                await tasks.pause()
        with mutex:
            await tasks.pause()
            await tasks.pause()

    with policy("warn") as said:
        run_on(kind, body())
    lines = [int(text.partition(" was taken with the thread's form at ")[2].split(":")[1].split(" ")[0]) for text in said]
    begin = body.__code__.co_firstlineno
    assert lines == [begin + 1, begin + 5]


@pytest.mark.parametrize("kind", LOOP_KINDS)
def test_a_mutex_that_is_taken_again_is_not_the_first_ones_fault(kind: str) -> None:
    mutex = Mutex(name="it")

    async def first() -> None:
        with mutex:
            pass
        await tasks.pause()

    async def second() -> None:
        with mutex:
            await tasks.pause()
            await tasks.pause()

    async def both() -> None:
        await asyncio.gather(first(), second())

    with policy("warn") as said:
        run_on(kind, both())
    assert len(said) == 1
    assert "<locals>.second" in said[0].partition(", and is held")[0]


@pytest.mark.parametrize("kind", LOOP_KINDS)
def test_a_guard_that_its_task_hands_out(kind: str) -> None:
    lock = RwLock()

    async def take() -> Any:
        return lock.write().acquire()

    async def body() -> None:
        guard = await asyncio.ensure_future(take())
        await tasks.pause()
        guard.release()

    with policy("warn") as said:
        run_on(kind, body())
    assert said == []
    assert_idle(lock)


def test_allow_does_not_look(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[Any] = []
    monkeypatch.setattr("aiolots._watched._taken_by_thread", looks.append)

    async def freeze() -> None:
        with RwLock().read(), Mutex():
            await tasks.pause()

    assert suspend_policy() == "allow"
    asyncio.run(freeze())
    assert looks == []
    with policy("warn"):
        asyncio.run(freeze())
    assert len(looks) == 2


def test_a_warning_that_is_an_error_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """There is nobody to raise it in: the task is suspended. The loop goes on."""

    async def freeze() -> str:
        with RwLock(name="it").write():
            await tasks.pause()
            await tasks.pause()
        return "done"

    before = set_suspend_policy("warn")
    try:
        with warnings.catch_warnings(), caplog.at_level(logging.ERROR, "aiolots"):
            warnings.simplefilter("error")
            assert asyncio.run(freeze()) == "done"
    finally:
        set_suspend_policy(before)
    assert "is held while its task is suspended" in caplog.text


def test_policies_have_names() -> None:
    with pytest.raises(ValueError, match="one of allow, warn"):
        set_suspend_policy("raise")  # type: ignore[arg-type]
    assert _suspended.suspend_policy() == "allow"


@pytest.mark.parametrize(("value", "expected"), [("warn", "warn"), ("allow", "allow"), ("sometimes", "allow")])
def test_environment(value: str, expected: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", "import aiolots; print(aiolots.suspend_policy())"],
        env=os.environ | {"AIOLOTS_SUSPEND_GUARD": value},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ended.stdout.strip() == expected
    assert ("'sometimes' is none of allow, warn" in ended.stderr) == (value == "sometimes")
