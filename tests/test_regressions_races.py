"""What the reviews of the fronts found, continued: races of threads without a GIL, and what takes a process of its own.

On a free-threaded Python each race is run often enough to be lost nearly always by a front that can lose it; elsewhere the
same tests run a few times, and say that nothing else is wrong.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from aiolots import RwLock, _front
from tests.test_scenarios_loops import policy
from tests.worlds import LOOP_KINDS, assert_idle, in_thread, on_each_loop

FREE_THREADED = not getattr(sys, "_is_gil_enabled", lambda: True)()
ROOT = Path(__file__).parent.parent


def run(script: str, *arguments: str) -> None:
    """Run a script that may crash; it prints `fine`."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-X", "faulthandler", "-W", "ignore", "-c", script, *arguments]
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


def let_others() -> None:
    if not FREE_THREADED:
        time.sleep(0)


def side_by_side(rounds: int, one: Callable[[int], None], other: Callable[[int], None]) -> None:
    """For each i call one(i) here and other(i) in a thread, as nearly at the same time as can be.

    On a machine that has better things to do they go on without waiting for each other after a second.
    """
    at = [-1, -1]
    end = time.monotonic() + 1

    def follow() -> None:
        for i in range(rounds):
            at[1] = i
            while at[0] < i:
                let_others()
            other(i)

    with short_slices():
        follower = in_thread(follow)
        for i in range(rounds):
            while at[1] < i and time.monotonic() < end:
                let_others()
                if follower.done():  # it failed
                    follower.join()
            at[0] = i if time.monotonic() < end else rounds
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
        with policy("allow"):  # it waits for the rescue, or finds the lock free: either is right
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


@pytest.mark.skipif(
    FREE_THREADED and not _front.NATIVE,
    reason="in the pure front an await is a generator, and a free-threaded CPython 3.13 crashes when two threads step one",
)
def test_what_may_crash() -> None:
    """Two threads step one await."""
    run(f"from {__name__} import step_one_await_twice\nstep_one_await_twice()\nprint('fine')")


def test_a_lock_is_initialised_by_two_threads_at_once() -> None:
    """Each lets go of what was there before, or both did: then its count is off."""

    class Value:
        pass

    lock = RwLock()
    rounds = 10_000 if FREE_THREADED else 40
    values = [Value(), Value()]
    kept = [values[i % 2] for i in range(4 * rounds)]  # so that none of them is freed too early
    counts = [sys.getrefcount(value) for value in values]

    def initialise(i: int) -> None:
        lock.__init__(values[i % 2], name=str(i))  # type: ignore[misc]

    side_by_side(rounds, initialise, initialise)
    lock.__init__(None)  # type: ignore[misc]
    assert [sys.getrefcount(value) for value in values] == counts
    assert len(kept) == 4 * rounds
    assert_idle(lock)


def test_who_holds_is_found_without_touching_what_others_make() -> None:
    """A tuple that is being made breaks when another thread refers to it, as to a part of a list of all objects."""
    lock = RwLock(None)
    done = False

    def make() -> None:
        while not done:
            assert len(tuple(time.sleep(0) or i for i in range(200))) == 200

    with short_slices(), lock.read():
        maker = in_thread(make)
        try:
            for _ in range(50):
                assert len(lock._holder_list()) == 1
        finally:
            done = True
        maker.join()


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
SCRIPTS["beside a subinterpreter"] = f"""
import sys
import aiolots
if sys.version_info >= (3, 13):
    import _interpreters as interpreters
    other, run = interpreters.create("legacy"), interpreters.exec
elif sys.version_info >= (3, 12):
    import _xxsubinterpreters as interpreters
    other, run = interpreters.create(isolated=False), interpreters.run_string
else:
    import _xxsubinterpreters as interpreters
    other, run = interpreters.create(), interpreters.run_string
held = aiolots.RwLock().write().acquire()
inside = "import aiolots; lock = aiolots.RwLock(); lock.read().acquire().release(); lock.write().acquire().release()"
refused = run(other, f"import sys; sys.path[:0] = {{sys.path!r}}; {{inside}}")
if refused:  # cffi, with the GIL off
    assert "does not support loading in subinterpreters" in refused.msg and not sys._is_gil_enabled()
interpreters.destroy(other)
try:  # what it says was looked up at import: here, not in the one that is gone
    held._lock.write(timeout=0).acquire()
except aiolots.LockTimeout:
    pass
held.release()
{FRESH}"""


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_what_was_looked_up_at_the_first_import_is_looked_up_again(script: str) -> None:
    run(script)


# --- the end of the interpreter ---------------------------------------------------------------------------------------

AT_EXIT = """
import atexit

@atexit.register
def last():  # registered first
    print(aiolots.lowlevel.waiters() or "fine")

import asyncio, sys
import uvloop
import aiolots
from aiolots import lowlevel

lock = aiolots.RwLock()
held = lock.write().acquire()
loop = {"asyncio": asyncio, "uvloop": uvloop}[sys.argv[1]].new_event_loop()

async def enter():
    async with lock.write():
        pass

async def main():
    global tasks
    tasks = [asyncio.ensure_future(enter()) for _ in range(3)]
    while len(lowlevel.waiters(lock)) < 3:
        await asyncio.sleep(0)

loop.run_until_complete(main())
if sys.argv[2] == "woken":
    held.release()
"""


@pytest.mark.parametrize("how", ["queued", "woken"])
@pytest.mark.parametrize("kind", LOOP_KINDS)
def test_the_core_has_forgotten_the_waiters_of_a_loop_at_exit(kind: str, how: str) -> None:
    """Their memory is freed without them being run, and the core's keeper is still there."""
    run(AT_EXIT, kind, how)
