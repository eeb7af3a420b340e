"""What reviews of the re-entrant mutex found: who comes in the middle of an acquire or a release."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from aiolots import ReentrantMutex, _front, _wait
from aiolots._levels import Level
from aiolots._lib import NULL, lib
from tests.waiting import WATCHDOG, assert_idle, in_thread, wait_until, wait_until_parked

pure = pytest.mark.skipif(_front.NATIVE, reason="between two steps that are one in the C type")


@pure
def test_a_fair_release_stays_one_when_another_thread_comes_in_between() -> None:
    """The last level is left, the mutex not yet released: who asks just then ends that, and lets in who waits."""
    for _ in range(20):
        mutex = ReentrantMutex()
        guard: Any = in_thread(mutex.lock().acquire).join()
        waiting = in_thread(mutex.lock().acquire)
        wait_until_parked(mutex, 1)
        lib.lots_op_release(guard._level, False, NULL)
        assert mutex.try_lock() is None
        guard._hold.end_if_left(mutex, fair=True)
        waiting.join().release()
        assert_idle(mutex)


@pure
def test_a_second_wait_has_what_the_first_left_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler entered right after the acquire, and left: so it released the mutex, and another thread took it."""
    mutex, waits, release = ReentrantMutex(), list[float](), threading.Event()
    block, deepen = _wait.block, Level._deepen
    first: Any = in_thread(mutex.lock().acquire).join()
    others = []

    def noted(lock: Any, op: Any, mode: int, seconds: Any) -> bool:
        waits.append(seconds)
        others.append(in_thread(let_go))
        return block(lock, op, mode, seconds)

    def let_go() -> None:
        wait_until_parked(mutex, 1)
        first.release() if first.is_held() else release.set()

    def hold_on() -> None:
        with mutex:
            release.wait(WATCHDOG)

    def interrupted(level: Level, hold: Any) -> bool:
        monkeypatch.setattr(Level, "_deepen", deepen)
        with mutex:  # the handler
            pass
        others.append(in_thread(hold_on))
        wait_until(mutex.locked)
        return deepen(level, hold)

    monkeypatch.setattr(_wait, "block", noted)
    monkeypatch.setattr(Level, "_deepen", interrupted)
    with mutex.try_lock_for(WATCHDOG) as guard:
        assert guard is not None
    for other in others:
        other.join()
    assert len(waits) == 2
    assert waits[1] < waits[0]
    assert_idle(mutex)
