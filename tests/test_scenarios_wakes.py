"""R23 to R26, R28: wakes that cross threads and loops, fairness, and shares that are really shared."""

from __future__ import annotations

import asyncio
import ctypes
import functools
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aiolots import Mutex, RwLock, _waiters, lowlevel
from aiolots._lib import MUTEX, NULL, ffi, lib
from tests import tasks
from tests.test_scenarios_loops import PROMPTLY, each_loop, no_revocation, policy, take, take_in_task
from tests.worlds import (
    LOOP_KINDS,
    LoopThread,
    assert_idle,
    in_thread,
    on_each_loop,
    on_every_loop,
    outcome_of,
    parked,
    until,
    until_parked,
    wait_until,
    wait_until_parked,
)

__all__ = ["no_revocation"]  # a fixture

WAKES = int(os.environ.get("AIOLOTS_R23_WAKES", "2000"))  # of each thread; R23 asks for 100000
BOUND = 3.0  # seconds for one wake, as R23 has it


@pytest.fixture
def long_slices() -> Iterator[None]:
    """Let a thread keep the GIL through a release and the acquire after it."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1.0)
    yield
    sys.setswitchinterval(before)


# --- R23: many wakes to an idle loop ----------------------------------------------------------------------------------


@pytest.mark.timeout(120 if WAKES <= 2000 else 1200)
@each_loop
def test_r23_wakes_to_an_idle_loop(kind: str, no_revocation: None) -> None:
    """Four threads hand a mutex each to a task of one loop that has nothing else to do, and take it back."""
    balls = [Mutex() for _ in range(4)]
    ended: set[Mutex[None]] = set()

    async def catch(ball: Mutex[None]) -> None:
        while ball not in ended:
            (await ball.lock()).release_fair()

    def throw(ball: Mutex[None]) -> float:
        longest = 0.0
        guard = ball.lock().acquire()
        for _ in range(WAKES):
            wait_until_parked(ball, 1)
            began = time.monotonic()
            guard.release_fair()
            back = ball.try_lock_for(BOUND).acquire()
            assert back is not None, f"a wake got lost, or took longer than {BOUND} s: {lowlevel.waiters(ball)}"
            guard = back
            longest = max(longest, time.monotonic() - began)
        ended.add(ball)
        guard.release()
        return longest

    with LoopThread(kind) as loop:
        before = lowlevel.revocations()
        throwers = [in_thread(throw, ball) for ball in balls]
        catchers = [loop.submit(catch(ball)) for ball in balls]
        for thrower in throwers:
            assert thrower.join(WAKES * BOUND) < BOUND  # each step has a bound of its own
        for catcher in catchers:
            outcome_of(catcher)
        assert lowlevel.revocations() == before
    assert_idle(*balls)


# --- R24: a release where no loop is ----------------------------------------------------------------------------------

NATIVE = """
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

typedef int (*release_function)(void *word, uint32_t mode, int fair, void *own);
static release_function function;
static void *the_word;
static uint32_t the_mode;
static int answer;

static void *run(void *unused) { answer = function(the_word, the_mode, 0, NULL); return unused; }

/* Release in a plain thread, and wait for it; the caller may have the GIL all the while. */
int release_natively(uintptr_t address, uintptr_t word, uint32_t mode)
{
    pthread_t thread;
    function = (release_function)address;
    the_word = (void *)word;
    the_mode = mode;
    if (pthread_create(&thread, NULL, run, NULL))
        return -1;
    pthread_join(thread, NULL);
    return answer;
}
"""


def compiled(source: str, folder: Path) -> ctypes.PyDLL:
    """Compile C, and load it; its functions keep the GIL."""
    compiler = os.environ.get("CC") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    (folder / "native.c").write_text(source)
    out, csrc = folder / "native.so", Path(__file__).resolve().parent.parent / "csrc"
    command = [compiler, "-shared", "-fPIC", "-pthread", f"-I{csrc}", "-o", str(out), str(folder / "native.c")]
    subprocess.run(command, check=True)
    return ctypes.PyDLL(str(out))


@pytest.fixture(scope="module")
def release_natively(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], int]:
    """Return a function that releases the mutex at an address from a thread that Python does not know of."""
    function = compiled(NATIVE, tmp_path_factory.mktemp("native")).release_natively
    function.argtypes = [ctypes.c_size_t, ctypes.c_size_t, ctypes.c_uint32]
    release = int(ffi.cast("uintptr_t", ffi.addressof(lib, "lots_release")))
    return lambda word: int(function(release, word, MUTEX))


def address_of_the_only_contended_word() -> int:
    infos = ffi.new("lots_waiter_info[]", 8)
    words = {int(infos[i].word) for i in range(lib.lots_for_each(ffi.NULL, infos, 8))}
    assert len(words) == 1
    return words.pop()


@pytest.mark.parametrize("waiter", ["thread", *LOOP_KINDS])
def test_r24_release_from_a_native_thread(
    waiter: str, release_natively: Callable[[int], int], no_revocation: None
) -> None:
    """Nobody has the GIL while it is released: the thread that has it waits, in C, for the release to have ended."""
    mutex = Mutex()
    mutex.acquire()
    with LoopThread("asyncio" if waiter == "thread" else waiter) as loop:
        waiting = in_thread(take, mutex.lock) if waiter == "thread" else loop.submit(take_in_task(mutex.lock))
        wait_until_parked(mutex, 1)
        assert release_natively(address_of_the_only_contended_word()) == 0
        wait_until(waiting.done, seconds=PROMPTLY)
        with pytest.raises(RuntimeError, match="nobody holds"):
            mutex.release()
    assert_idle(mutex)


@each_loop
def test_r24_release_from_a_thread_without_a_loop(kind: str, no_revocation: None) -> None:
    """A guard that a task took is released in a thread; the next task is on another loop."""
    lock = RwLock()

    async def grab() -> Any:
        return await lock.write()

    with LoopThread(kind) as one, LoopThread(kind) as two:
        guard = one.run(grab())
        waiting = two.submit(take_in_task(lock.write))
        wait_until_parked(lock, 1)
        in_thread(guard.release).join()
        outcome_of(waiting, PROMPTLY)
    assert_idle(lock)


# --- R25: a spinner and a one-shot acquirer ---------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["read", "write"])
@pytest.mark.parametrize("waiter", ["thread", *LOOP_KINDS])
def test_r25_spinner_does_not_starve(waiter: str, mode: str, no_revocation: None, long_slices: None) -> None:
    """A thread releases and takes the lock again before any other can run: the wait is bounded by the fairness timer.

    It spins only when the waiter sleeps again: without the timer a task never gets in, however long that goes on.
    """
    lock = RwLock()
    guard: Any = lock.write().acquire()
    with LoopThread("asyncio" if waiter == "thread" else waiter) as loop:
        request = getattr(lock, mode)
        waiting: Any = in_thread(take, request) if waiter == "thread" else loop.submit(take_in_task(request))
        wait_until_parked(lock, 1)
        rounds, end = 0, time.monotonic() + PROMPTLY
        while guard is not None:
            assert time.monotonic() < end, f"starved through {rounds} rounds"
            rounds += 1
            guard.release()
            guard = lock.try_write()
            if guard is not None:
                wait_until(lambda: waiting.done() or parked(lock) == 1)
                if waiting.done():
                    guard.release()
                    break
        wait_until(waiting.done, seconds=PROMPTLY)
    assert_idle(lock)


@pytest.mark.parametrize("waiter", ["thread", *LOOP_KINDS])
def test_r25_spinning_thread(waiter: str) -> None:
    """The plain form: a thread spins as fast as it can; twenty one-shot acquirers get in one after the other."""
    mutex = Mutex()
    stop = threading.Event()

    def spin() -> None:
        while not stop.is_set():
            with mutex:
                pass

    with LoopThread("asyncio" if waiter == "thread" else waiter) as loop:
        spinner = in_thread(spin)
        try:
            for _ in range(20):
                if waiter == "thread":
                    in_thread(take, mutex.lock).join(BOUND)
                else:
                    loop.run(take_in_task(mutex.lock), BOUND)
        finally:
            stop.set()
        spinner.join()
    assert_idle(mutex)


# --- R26: from one loop to another ------------------------------------------------------------------------------------


@pytest.mark.parametrize("holder", LOOP_KINDS)
@pytest.mark.parametrize("waiter", LOOP_KINDS)
@pytest.mark.parametrize("debug", [False, True], ids=["", "debug"])
def test_r26_wake_from_another_loop(holder: str, waiter: str, debug: bool, no_revocation: None) -> None:
    """Loop 1 takes it uncontended, loop 2 waits and has no timer: it sleeps until it is rung."""
    lock = RwLock()

    async def grab() -> Any:
        return await lock.write()

    async def woken_at() -> float:
        async with lock.write():
            return time.monotonic()

    with LoopThread(holder) as one, LoopThread(waiter) as two:
        for loop in (one, two):
            loop.call(functools.partial(loop.loop.set_debug, debug))
        for _ in range(20):
            guard = one.run(grab())
            waiting = two.submit(woken_at())
            wait_until_parked(lock, 1)
            released = one.call(lambda guard=guard: (time.monotonic(), guard.release())[0])
            assert outcome_of(waiting, PROMPTLY) - released < PROMPTLY
    assert_idle(lock)


# --- R28: shared is shared --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("world", ["thread", *LOOP_KINDS, "mixed"])
@pytest.mark.parametrize("fair", [False, True], ids=["release", "release_fair"])
def test_r28_all_readers_meet(world: str, fair: bool, no_revocation: None) -> None:
    """A writer is in, five readers wait; it leaves: all five meet while they hold."""
    lock = RwLock()

    def meet(inside: list[int]) -> None:
        with lock.read():
            inside.append(1)
            wait_until(lambda: len(inside) == 5)

    async def meet_in_task(inside: list[int]) -> None:
        async with lock.read():
            inside.append(1)
            await until(lambda: len(inside) == 5)

    with LoopThread(world if world in LOOP_KINDS else "uvloop") as loop:
        for _ in range(100 if world in LOOP_KINDS else 30):
            guard = lock.write().acquire()
            inside: list[int] = []
            waiting: list[Any] = []
            for i in range(5):
                if world == "thread" or (world == "mixed" and i % 2):
                    waiting.append(in_thread(meet, inside))
                else:
                    waiting.append(loop.submit(meet_in_task(inside)))
            wait_until_parked(lock, 5)
            if fair:
                guard.release_fair()
            else:
                guard.release()
            for one in waiting:
                wait_until(one.done)
                one.join() if hasattr(one, "join") else one.result()
    assert_idle(lock)


def test_r28_more_threads_than_one_batch() -> None:
    """A release wakes 32 threads in one hold of the bucket lock; eighty readers are all let in."""
    lock = RwLock()
    inside: list[int] = []

    def meet() -> None:
        with lock.read():
            inside.append(1)
            wait_until(lambda: len(inside) == 80)

    guard = lock.write().acquire()
    threads = [in_thread(meet) for _ in range(80)]
    wait_until_parked(lock, 80)
    guard.release()
    for thread in threads:
        thread.join()
    assert_idle(lock)


# --- mailboxes --------------------------------------------------------------------------------------------------------


@each_loop
def test_mail_of_an_acquire_that_is_over(kind: str, no_revocation: None) -> None:
    """A task was woken, recalled and nudged, and has acquired, all before its second mail was taken out.

    Its memory is used again; what came behind it in the mailbox must arrive all the same. (Found by the stress.)
    """
    lock, other, third = RwLock(name="lock"), RwLock(name="other"), RwLock(name="third")
    guard, hold = lock.write().acquire(), other.write().acquire()
    blocker = third.write().acquire()

    async def first() -> None:
        await take_in_task(lock.write)
        await take_in_task(third.write)  # its op comes to lie where the first one was

    def callback() -> None:
        guard.release()  # wakes the first task, inline: its step is scheduled
        assert third.try_write_for(0.001).acquire() is None  # recalls its wake; afterwards nudges it: new mail
        in_thread(hold.release).join()  # the second task's mail, behind that
        assert [waiter.woken for waiter in lowlevel.waiters(other)] == [True]

    with LoopThread(kind) as loop, policy("allow"):
        one = loop.submit(first())
        wait_until_parked(lock, 1)
        two = loop.submit(take_in_task(other.write))
        wait_until_parked(other, 1)
        loop.call(callback)
        outcome_of(two, PROMPTLY)
        blocker.release()
        outcome_of(one)
    assert_idle(lock, other, third)


@on_each_loop
async def test_a_crowd_is_listed() -> None:
    """lowlevel.waiters, on which every test here stands, tells the truth about many, whatever is allocated meanwhile."""
    lock = RwLock()
    guard = await lock.write()
    readers = [asyncio.ensure_future(take_in_task(lock.read)) for _ in range(300)]
    await until_parked(lock, 300)
    for _ in range(20):
        assert [waiter.owner for waiter in lowlevel.waiters(lock)] == [id(task) for task in readers]
        assert {waiter.mode for waiter in lowlevel.waiters(lock)} == {"read"}
    infos = _waiters._infos(NULL)
    for _ in range(10):
        ffi.new("lots_waiter_info[]", 600)  # zeroes, where what the core has filled lay, if that was freed
    assert sorted(info.owner for info in infos) == sorted(id(task) for task in readers)
    guard.release()
    await asyncio.gather(*readers)
    assert_idle(lock)


@on_every_loop
async def test_one_ring_for_a_crowd() -> None:
    """More woken tasks than the adapter takes from the mailbox at a time: all arrive."""
    lock = RwLock()
    guard = await lock.write()
    readers = [tasks.start(take_in_task(lock.read)) for _ in range(1000)]
    await until_parked(lock, 1000)
    await tasks.in_a_thread(guard.release)
    await tasks.all_of(*readers)
    guard = await lock.write()
    readers = [tasks.start(take_in_task(lock.read)) for _ in range(1000)]
    await until_parked(lock, 1000)
    guard.release()
    await tasks.all_of(*readers)
    assert_idle(lock)
