"""What a review of the native front found, continued: ends that no code of ours sees. A thread that the interpreter ends where it
asks for the GIL, and threads that are not there in a forked child."""

from __future__ import annotations

import os

import pytest

from aiolots import _front
from tests.test_regressions_races import FREE_THREADED, run

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
    """They look whether somebody joins them, queued; the first look comes after 50 ms. An op on a stack that is gone was woken."""
    run(DAEMONS)


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
@pytest.mark.skipif(not FREE_THREADED or not hasattr(os, "fork"), reason="the tables have a mutex of their own with the GIL off only")
def test_forks_while_threads_fight_for_the_tables() -> None:
    """A thread that was stopped for the fork had just been given them. Who forks waited for it, and it for who forks."""
    run(FORKS)
