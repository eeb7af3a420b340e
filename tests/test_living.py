"""Every lock that is alive is found, whenever it was made; and the guards that hold one."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from aiolots import FairMutex, Mutex, ReentrantMutex, RwLock, _living
from aiolots._front import NATIVE
from aiolots.compat import threading as compat
from tests.waiting import in_thread

KINDS: list[Callable[[], Any]] = [RwLock, Mutex, FairMutex, ReentrantMutex, compat.Lock]


def is_found(lock: Any) -> bool:
    return sum(found is lock for found in _living.locks()) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_found_once_and_forgotten_with_it(kind: Callable[[], Any]) -> None:
    before = len(_living.locks())
    lock = kind()
    assert is_found(lock)
    del lock
    gc.collect()
    assert len(_living.locks()) <= before


def test_made_before_anybody_asked() -> None:
    """In a process of its own: this one has asked."""
    program = """
import gc
from aiolots import FairMutex, Mutex, ReentrantMutex, RwLock, _living
class Special(Mutex[int]): pass
kept = [RwLock(), Mutex(), FairMutex(), ReentrantMutex(), Special(1)]
early = [[Mutex()] for _ in range(1000)]
gc.collect()
assert not _living._known or type(kept[3]) in map(type, _living._known.values())
guard = kept[0].read().acquire()
first = _living.locks()
kept.append(RwLock())
found = _living.locks()
assert {id(lock) for lock in kept} <= {id(lock) for lock in found}, found
assert len(found) == len(first) + 1 == 1006, (len(first), len(found))
guard.release()
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.mark.skipif(not NATIVE, reason="the front in Python has them noted at their locks")
def test_guards_that_hold() -> None:
    lock, mutex = RwLock(name="lock"), Mutex(name="mutex")
    guards = [lock.read().acquire(), lock.upgradable_read().acquire(), mutex.lock().acquire()]
    pending = lock.write()
    gone = lock.read().acquire()
    gone.release()
    try:
        found = [entry for entry in _living.held_guards() if entry[0]._lock in (lock, mutex)]
        assert {id(guard) for guard, _, _ in found} == {id(guard) for guard in guards}
        assert {is_task for _, _, is_task in found} == {False}
        (token,) = {token for _, token, _ in found}
        other = in_thread(lambda: (guard := lock.read().acquire(), _living.held_guards(), guard.release())).join()
        (theirs,) = [entry for entry in other[1] if entry[0] is other[0]]
        assert theirs[1] != token
    finally:
        for guard in guards:
            guard.release()
        pending.acquire().release()
    assert not [entry for entry in _living.held_guards() if entry[0]._lock in (lock, mutex)]


def test_locks_are_made_and_dropped_while_others_look() -> None:
    ended = threading.Event()

    def make() -> None:
        while not ended.is_set():
            for _ in range(100):
                RwLock().read().acquire().release()

    makers = [in_thread(make) for _ in range(3)]
    try:
        kept = [Mutex() for _ in range(50)]
        for _ in range(200):
            found = {id(lock) for lock in _living.locks()}
            assert {id(lock) for lock in kept} <= found
        for _ in range(5):
            _living.held_guards()
    finally:
        ended.set()
        for maker in makers:
            maker.join()
