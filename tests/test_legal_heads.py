"""Heads of `with` statements that look like a lock's own, and are not. Who asks for what they hold waits for others."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aiolots import Mutex, RwLock
from tests.test_legal_holds import End, Owner, assert_waits
from tests.worlds import assert_idle, in_thread, wait_until, wait_until_parked


@pytest.mark.parametrize("by_name", [False, True])
@pytest.mark.parametrize("others", [0, 2])
def test_a_class_that_borrows_its_enter(by_name: bool, others: int) -> None:
    """The interpreter calls it at the head of the statement, as it would of the lock itself."""
    lock = Mutex()
    ends: list[End] = []
    go = threading.Event()

    class Session:
        __enter__ = lock.__enter__

        def __exit__(self, *_: object) -> None:
            pass

    def program() -> None:
        ends.append(lock.release)
        session = Session()
        if by_name:
            with session:
                go.wait()
                lock.acquire()
        else:
            with Session():
                go.wait()
                lock.acquire()
        lock.release()

    def other() -> None:
        with lock:
            pass

    asks = in_thread(program)
    wait_until(lock.locked)
    waiting = [in_thread(other) for _ in range(others)]
    wait_until_parked(lock, others)
    go.set()
    wait_until_parked(lock, others + 1)
    ends.pop()()
    for thread in (asks, *waiting):
        thread.join()
    assert_idle(lock)


class HandsOver(Mutex[None]):
    """Its `with` does not release it."""

    def __exit__(self, *_: object) -> None:
        pass


class ReleasesLater(Mutex[None]):
    """Others have released it by the time its statement ends."""

    def __exit__(self, *_: object) -> None:
        if self.locked():
            self.release()


@pytest.mark.parametrize("make", [HandsOver, ReleasesLater])
def test_a_subclass_with_an_exit_of_its_own(make: Callable[[], Any]) -> None:
    def program(lock: Any, ends: list[End]) -> None:
        self = Owner(lock)
        ends.append(functools.partial(Mutex.release, lock))
        with self.mutex:
            with lock:
                pass
        if lock.locked():
            lock.release()

    assert_waits(make(), program)


class Shares(RwLock[None]):
    """Keeps the guards that it gives."""

    def __init__(self) -> None:
        super().__init__(None)
        self.kept: list[Any] = []

    def read(self, timeout: float | None = None) -> Any:
        self.kept.append(super().read(timeout))
        return self.kept[-1]


def test_a_subclass_that_keeps_its_guards() -> None:
    def program(lock: Any, ends: list[End]) -> None:
        ends.append(lambda: lock.kept.pop().release())
        with lock.read():
            lock.write().acquire().release()

    assert_waits(Shares(), program)


def test_a_guard_that_a_call_in_the_head_keeps() -> None:
    """It was asked for in the head, or as good as that; but not for the head alone."""

    def in_a_dictionary(lock: Any, ends: list[End]) -> None:
        kept: dict[str, Any] = {}
        ends.append(lambda: kept.pop("it").release())
        with kept.setdefault("it", lock.write()):
            lock.read().acquire().release()

    def in_a_cache(lock: Any, ends: list[End]) -> None:
        cached = functools.cache(lock.write)
        ends.append(lambda: cached().release())
        with cached():
            lock.read().acquire().release()

    def in_a_list(lock: Any, ends: list[End]) -> None:
        ends.append(lambda: kept.pop().release())
        kept = [lock.write()]
        with kept[0]:
            lock.read().acquire().release()

    for program in (in_a_dictionary, in_a_cache, in_a_list):
        assert_waits(RwLock(), program)


def test_a_guard_of_a_generator() -> None:
    def suspended(lock: Any) -> Iterator[None]:
        with {"it": lock}["it"].write():
            yield

    def program(lock: Any, ends: list[End]) -> None:
        generator = suspended(lock)
        next(generator)
        ends.append(generator.close)  # type: ignore[attr-defined]
        with {"it": Mutex()}["it"].lock():
            lock.read().acquire().release()

    assert_waits(RwLock(), program)
