"""What a review of the native front found, continued: ends that no code of ours sees.

A thread that the interpreter ends where it asks for the GIL, threads that are not there in a forked child, and locks that only
the collector can free.
"""

from __future__ import annotations

import asyncio
import gc
import os
from contextlib import suppress
from typing import Any

import pytest

from aiolots import FairMutex, Mutex, ReentrantMutex, RwLock, _front
from tests.test_regressions_races import FREE_THREADED, run
from tests.worlds import assert_idle, in_thread

native = pytest.mark.skipif(not _front.NATIVE, reason="about the C types")

DAEMONS = """
import os, threading, time
from aiolots import Mutex, RwLock, _waiters

threading.stack_size(64 << 20)  # too large to be kept for the next thread: it is unmapped
mutex, lock = Mutex(), RwLock()


class Last:
    def __init__(self, *guards):
        self.guards, self.sleep, self.write = guards, time.sleep, os.write

    def __del__(self):  # in a module that is torn down: the threads that ask for the GIL meanwhile are ended
        self.sleep(0.5)
        for guard in self.guards:
            guard.release()
        self.write(1, b"fine\\n")


last = Last(mutex.lock().acquire(), lock.write().acquire())
for _ in range(3):
    threading.Thread(target=mutex.acquire, daemon=True).start()
    threading.Thread(target=lock.read().acquire, daemon=True).start()
while len(_waiters._infos(mutex._word)) + len(_waiters._infos(lock._word)) < 6:
    time.sleep(0.001)
"""


@native
def test_the_interpreter_ends_while_daemon_threads_wait() -> None:
    """They look whether somebody joins them, queued; the first time after 50 ms. Ops on stacks that are gone were woken."""
    run(DAEMONS)


TELLERS = """
import asyncio, atexit, os, threading, time
import aiolots
from aiolots import Mutex, _waiters

aiolots.set_loop_block_policy("allow")
mutex, begin = Mutex(), threading.Event()


async def wait():
    begin.wait()
    mutex.acquire()


class Last:
    def __init__(self, guard):
        self.guard, self.mutex, self.sleep, self.write, self.threads = guard, mutex, time.sleep, os.write, os.listdir

    def __del__(self):
        for _ in range(1000):
            if self.threads("/proc/self/task").__len__() == 1:  # else it came to its sleep before the end came
                self.write(2, b"%x" % self.mutex.word)
                self.write(1, b"" if self.mutex.word & 1 else b"fine")
                return
            self.sleep(0.001)
        self.write(1, b"fine")


def end():
    begin.set()
    while not _waiters._infos(mutex._word):
        pass


last = Last(mutex.lock().acquire())
threading.Thread(target=lambda: asyncio.run(wait()), daemon=True).start()
atexit.register(end)
"""


@native
@pytest.mark.skipif(not FREE_THREADED or not os.path.isdir("/proc/self/task"), reason="with a GIL nobody tells")
def test_the_interpreter_ends_while_a_thread_is_about_to_tell_of_itself() -> None:
    """It asks for its thread state after 5 ms and after 50, queued, and is ended there: its op was left on its stack."""
    run(TELLERS)


FORKS = """
import faulthandler, os, threading
from aiolots import Mutex, tracking

faulthandler.dump_traceback_later(50, exit=True)
tracking.enable()


def use():
    mutex = Mutex()
    while True:
        with mutex:
            pass


for _ in range(6):
    threading.Thread(target=use, daemon=True).start()
for _ in range(150):
    child = os.fork()
    if not child:
        with Mutex():
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
print("fine", flush=True)
os._exit(0)
"""


@native
@pytest.mark.skipif(not FREE_THREADED or not hasattr(os, "fork"), reason="the GIL guards the tables")
def test_forks_while_threads_fight_for_the_tables() -> None:
    """A thread that was stopped for the fork had just been given them. Who forks waited for it, and it for who forks."""
    run(FORKS)


FORKED_IN_A_HANDLER = """
import os, signal, threading
from aiolots import Mutex, RwLock, _waiters

mutex, lock = Mutex(), RwLock()
waits = [(mutex.acquire, mutex, {"timeout": 0.2}), (lock.try_write_for(0.2).acquire, lock, {})]
for waiting, on, how in waits:
    held, end, child = threading.Event(), threading.Event(), []

    def hold():
        with on.lock() if on is mutex else on.write():
            held.set()
            end.wait()

    def fork(*_):
        child.append(os.fork())
        if child[0]:
            assert os.waitpid(child[0], 0)[1] == 0
            end.set()  # that one has got nothing, and here the wait goes on

    def kick():
        while not _waiters._infos(on._word):
            pass
        signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)

    signal.signal(signal.SIGUSR1, fork)
    threads = [threading.Thread(target=f, daemon=True) for f in (hold, kick)]
    threads[0].start()
    held.wait()
    threads[1].start()
    got = None
    try:
        got = waiting(**how)
    except RuntimeError as error:
        if child and not child[0]:
            assert "forked" in str(error), error
    if child and not child[0]:
        os._exit(1 if got else 0)
    for thread in threads:
        thread.join()
    if got is True:
        mutex.release()
    elif got:
        got.release()
print("fine")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_signal_handler_forks_while_its_thread_waits() -> None:
    """The child's thread has not got what another one holds; with the pthread parker its op is gone, and it was told it had."""
    run(FORKED_IN_A_HANDLER)


# --- memory -------------------------------------------------------------------------------------------------------------


@native
@pytest.mark.parametrize("make", [Mutex, ReentrantMutex])
def test_no_memory_at_the_end_of_a_wait(make: Any) -> None:
    """`async with mutex` has got it: what says so, from 3.12 on a StopIteration, must not fail, for nobody would release it."""
    testing = pytest.importorskip("_testcapi", reason="needs allocations that fail")

    async def use(mutex: Any) -> None:
        async with mutex:
            pass

    async def wait(failing: int) -> None:
        mutex = make()
        guard = in_thread(lambda: mutex.lock().acquire()).join()
        steps = use(mutex)
        future = steps.send(None)
        future._asyncio_future_blocking = False  # as a task does
        guard.release()
        await future
        with suppress(MemoryError, StopIteration):
            testing.set_nomemory(failing, failing + 1)
            try:
                steps.send(None)
            finally:
                testing.remove_mem_hooks()
        steps.close()
        assert_idle(mutex)

    for failing in range(12):
        asyncio.run(wait(failing))


# --- the collector ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [Mutex, FairMutex, ReentrantMutex, RwLock])
def test_a_lock_that_protects_its_own_guard_is_collected(make: Any) -> None:
    """Of a weak reference nothing would be heard: the collector clears those of what it cannot free as well."""

    def alive() -> int:
        gc.collect()
        return sum(type(thing) is make for thing in gc.get_objects())

    before = alive()
    lock = make()
    guard = (lock.write() if make is RwLock else lock.lock()).acquire()
    guard.value = guard
    guard.release()
    del lock, guard
    assert alive() == before
