"""Ctrl-C that does not end the sleep: it came just before it, or the kernel gave it to another thread.

The second is the first made certain: Python's C handler has run, and the main thread sleeps on. Pressed once only.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aiolots import Condvar, FairMutex, RwLock, Semaphore, lowlevel
from tests.waiting import WATCHDOG, assert_idle, in_thread, wait_until, wait_until_parked
from tests.worlds import Interrupted, ThreadAttempt


@contextlib.contextmanager
def ctrl_c_elsewhere(handler: Callable[..., Any] = signal.default_int_handler) -> Iterator[list[int]]:
    """Once somebody waits, a signal on a thread that does not. The list tells how often the handler ran."""
    calls: list[int] = []
    queued = len(lowlevel.waiters())

    def called(number: int, frame: Any) -> None:
        calls.append(number)
        handler(number, frame)

    def ring() -> None:
        wait_until(lambda: len(lowlevel.waiters()) > queued)
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        wait_until(lambda: calls, "the wait was not interrupted", WATCHDOG / 2)

    before = signal.signal(signal.SIGINT, called)
    try:
        bell = in_thread(ring)
        yield calls
        bell.join()
    finally:
        signal.signal(signal.SIGINT, before)


def wait_to_write(lock: RwLock[None]) -> object:
    return lock.try_write_for(WATCHDOG).acquire()


def wait_for_a_notification(lock: RwLock[None]) -> object:
    with FairMutex(None).lock() as guard:
        return Condvar().wait(guard, WATCHDOG)


def wait_for_a_permit(lock: RwLock[None]) -> object:
    return Semaphore(0).acquire(timeout=WATCHDOG)


def wait_at_a_key(lock: RwLock[None]) -> object:
    return lowlevel.park(lock, timeout=WATCHDOG).acquire()


@pytest.mark.parametrize("wait", [wait_to_write, wait_for_a_notification, wait_for_a_permit, wait_at_a_key])
def test_a_sleep_that_does_not_see_ctrl_c_ends_all_the_same(wait: Callable[[RwLock[None]], object]) -> None:
    lock = RwLock(None)
    with lock.read():
        with ctrl_c_elsewhere() as calls, pytest.raises(KeyboardInterrupt):
            wait(lock)
        assert calls == [signal.SIGINT]
    assert_idle(lock)
    assert lowlevel.waiters() == []


def test_its_handler_may_take_the_very_lock() -> None:
    """So the writer has left the queue before the handler runs, though it was in it when it looked."""
    lock = RwLock(None)
    holder = in_thread(lock.read().acquire).join()
    seen: list[int] = []

    def handler(*_: object) -> None:
        with lock.try_read_for(WATCHDOG) as guard:
            assert guard is not None
            seen.append(lock.word)
        holder.release()

    with ctrl_c_elsewhere(handler) as calls, lock.try_write_for(WATCHDOG) as guard:
        assert guard is not None
    assert (calls, seen) == ([signal.SIGINT], [0x20])
    assert_idle(lock)


def test_a_test_that_interrupts_a_thread_may_be_followed_by_its_last_signal() -> None:
    """It is sent as long as the thread has not ended its wait; it may come after that, and the default ends the process."""
    lock, before = RwLock(None), signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    try:
        with lock.write():
            attempt = ThreadAttempt(lock.read)
            wait_until_parked(lock, 1)
            attempt.cancel()
        assert isinstance(attempt.error(), Interrupted)
        signal.raise_signal(signal.SIGUSR1)
        attempt.close()
    finally:
        signal.signal(signal.SIGUSR1, before if callable(before) else lambda *_: None)
