"""What the review of the native front found, continued: races of threads without a GIL, and what may crash a process.

On a free-threaded Python each race is run often enough to be lost nearly always by a front that can lose it; elsewhere the
same tests run a few times, and say that nothing else is wrong.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from aiolots import RwLock
from tests.worlds import assert_idle, in_thread, on_each_loop

FREE_THREADED = not getattr(sys, "_is_gil_enabled", lambda: True)()
ROOT = Path(__file__).parent.parent


def run(script: str) -> None:
    """Run a script that may crash; it prints `fine`."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-X", "faulthandler", "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "fine"), done.stderr


# --- threads at the same time -----------------------------------------------------------------------------------------


@contextmanager
def short_slices() -> Iterator[None]:
    """Let threads that wait for each other by looking get on with it where there is a GIL."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def side_by_side(rounds: int, one: Callable[[int], None], other: Callable[[int], None]) -> None:
    """For each i call one(i) here and other(i) in a thread, as nearly at the same time as can be."""
    at = [-1, -1]

    def follow() -> None:
        for i in range(rounds):
            at[1] = i
            while at[0] < i:
                pass
            other(i)

    with short_slices():
        follower = in_thread(follow)
        for i in range(rounds):
            while at[1] < i:
                if follower.done():  # it failed
                    follower.join()
            at[0] = i
            for _ in range(i % 7):
                pass
            one(i)
        follower.join()


def stale_holders(locks: list[RwLock[None]], guards: list[Any]) -> list[RwLock[None]]:
    """Release each lock while a thread fails to get it; which of them think that they are held still?"""
    requests = [lock.try_read_for(1e-9) for lock in locks]
    side_by_side(len(locks), lambda i: guards[i].release(), lambda i: requests[i].acquire() and None)
    for request in requests:
        if request:
            request.release()
    return [lock for lock in locks if lock._holder_list()]


STALE = 4000 if FREE_THREADED else 40


def test_a_note_of_contention_does_not_bring_a_holder_back() -> None:
    """A thread that is about to wait notes the lock in the same word as the holder, who lets go meanwhile."""
    locks = [RwLock(None) for _ in range(STALE)]
    assert stale_holders(locks, [lock.write().acquire() for lock in locks]) == []
    assert_idle(*locks[:10])


@on_each_loop
async def test_a_holder_that_is_gone_is_no_deadlock() -> None:
    """The same with a task that held: what its loop's thread asks for next would be refused."""
    locks = [RwLock(None) for _ in range(STALE)]
    stale = stale_holders(locks, [await lock.write() for lock in locks])
    for lock in stale or locks[:1]:
        reader = in_thread(lock.read().acquire).join()
        rescue = in_thread(reader.release)
        lock.write().acquire().release()  # DeadlockError?
        rescue.join()
    assert stale == []


def test_a_guard_that_is_released_as_its_with_ends() -> None:
    """Another thread may release it. `with` notices, or releases itself, and never complains."""
    lock = RwLock()
    guards: list[Any] = []
    rounds = 10_000 if FREE_THREADED else 40

    def steal(i: int) -> None:
        with suppress(RuntimeError):
            guards[i].release()

    guards = [lock.read().acquire() for _ in range(rounds)]
    side_by_side(rounds, lambda i: guards[i].__exit__(None, None, None), steal)
    assert_idle(lock)


def step_one_await_twice() -> None:
    lock = RwLock()
    guard = lock.write().acquire()

    async def body() -> None:
        loop = asyncio.get_running_loop()
        steps: list[Any] = [lock.read().__await__() for _ in range(3000 if FREE_THREADED else 40)]

        def step(i: int) -> None:
            asyncio._set_running_loop(loop)
            with suppress(ValueError, RuntimeError):  # it executes, or it did
                steps[i].send(None)

        side_by_side(len(steps), step, step)
        for each in steps:
            each.close()
        assert lock.statistics().tasks_waiting == 0

    asyncio.run(body())
    guard.release()
    assert_idle(lock)


def initialise_while_others_look() -> None:
    lock = RwLock(object())
    rounds = 400_000 if FREE_THREADED else 500

    def initialise() -> None:
        for i in range(rounds):
            lock.__init__(object(), name=str(i))  # type: ignore[misc]

    def look() -> None:
        for _ in range(rounds):
            _ = lock._value, lock.name

    for thread in [in_thread(function) for function in (initialise, initialise, look, look)]:
        thread.join()
    assert_idle(lock)


@pytest.mark.parametrize("function", [step_one_await_twice, initialise_while_others_look], ids=lambda f: f.__name__)
def test_what_may_crash(function: Callable[[], None]) -> None:
    """Two threads step one await; a lock is initialised again while others read its value and name."""
    run(f"from {__name__} import {function.__name__} as function\nfunction()\nprint('fine')")


# --- interpreters ------------------------------------------------------------------------------------------------------


FRESH = """
import aiolots
held = aiolots.RwLock().write().acquire()
try:
    held._lock.write(timeout=0).acquire()
except aiolots.LockTimeout:
    print("fine")
held.release()
"""
SCRIPTS = {
    "imported again": f"""
import gc, sys
import aiolots
for name in [name for name in sys.modules if name.startswith("aiolots")]:
    del sys.modules[name]
del aiolots
gc.collect()
{FRESH}"""
}
if sys.version_info < (3, 12):  # from then on a second interpreter is refused by import itself
    SCRIPTS["after a subinterpreter"] = f"""
import sys
import _xxsubinterpreters as interpreters
other = interpreters.create()
inside = "import aiolots; aiolots.RwLock().read().acquire().release()"
interpreters.run_string(other, f"import sys; sys.path[:0] = {{sys.path!r}}; {{inside}}")
interpreters.destroy(other)
{FRESH}"""


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_what_was_looked_up_at_the_first_import_is_looked_up_again(script: str) -> None:
    run(script)
