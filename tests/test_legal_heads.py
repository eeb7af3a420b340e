"""Heads of `with` statements that look like a lock's own, and are not. Who asks for what they hold waits for others."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aiolots import FairMutex, Mutex, RwLock, _statements
from aiolots.compat import threading as compat
from tests.test_legal_holds import End, Owner, assert_waits
from tests.worlds import InThread, assert_idle, in_thread, wait_until, wait_until_parked


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
        ends.append(functools.partial(release_last, lock.kept))
        with lock.read():
            lock.write().acquire().release()

    assert_waits(Shares(), program)


def release_last(kept: list[Any]) -> None:
    kept.pop().release()


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


def guards(locks: list[Any], asks: Any) -> Iterator[None]:
    with locks[0].write():
        if asks is not None:
            locks[0] = asks
            asks.read().acquire().release()
        yield


def test_another_call_of_a_generator_has_the_guard() -> None:
    """It was asked for in the same head, and nothing but a statement refers to it."""

    def program(lock: Any, ends: list[End]) -> None:
        holder = guards([lock], None)
        next(holder)
        ends.append(holder.close)  # type: ignore[attr-defined]
        asker = guards([RwLock()], lock)
        next(asker)
        asker.close()  # type: ignore[attr-defined]

    assert_waits(RwLock(), program)


def gated(owner: Owner, gate: Any, asks: Any) -> Iterator[None]:
    with owner.mutex:
        yield
        if asks is None:
            gate.acquire()
        else:
            owner.mutex = asks
            owner.ask()


def test_another_thread_runs_the_generator_that_has_it() -> None:
    """This thread has entered it, by the same instruction; that one will leave it, and is in a call now that shows nothing."""
    gate = threading.Lock()
    gate.acquire()
    others: list[InThread[Any]] = []

    def program(lock: Any, ends: list[End]) -> None:
        holder = gated(Owner(lock), gate, None)
        next(holder)
        others.append(in_thread(lambda: next(holder, None)))
        wait_until(lambda: holder.gi_running)  # type: ignore[attr-defined]
        ends.append(gate.release)
        asker = gated(Owner(), gate, lock)
        next(asker)
        next(asker, None)

    assert_waits(Mutex(), program)
    others[0].join()


@pytest.mark.parametrize("make", [Mutex, FairMutex, compat.Lock])
def test_a_condition_that_has_waited(make: Callable[[], Any]) -> None:
    """Its lock was acquired again by then, as by acquire()."""

    def program(lock: Any, ends: list[End]) -> None:
        self = Owner(lock)
        self.condition = compat.Condition(lock)
        with self.condition:
            self.condition.wait(0.001)
            ends.append(lock.release)
            self.ask()
            lock.acquire()

    assert_waits(make(), program)


@pytest.mark.parametrize("make", [Mutex, FairMutex, compat.Lock])
def test_another_condition_by_now(make: Callable[[], Any]) -> None:
    def program(lock: Any, ends: list[End]) -> None:
        self = Owner(lock)
        self.condition = compat.Condition(Mutex())
        lock.acquire()
        ends.append(lock.release)
        with self.condition:
            self.condition = compat.Condition(lock)
            with self.condition:
                pass

    assert_waits(make(), program)


def test_a_guard_that_is_released_while_it_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """By another thread, which then has it no more: the references that are left are all this thread's."""
    lock, kept = RwLock(), list[Any]()
    looks = _statements._is_theirs

    def look(*given: Any) -> bool:
        while kept:
            kept.pop().release()
        return looks(*given)

    def program() -> None:
        with lock.write() as guard:
            kept.append(guard)
            with lock.read() as again:
                assert again

    monkeypatch.setattr(_statements, "_is_theirs", look)
    in_thread(program).join()
    assert_idle(lock)
    assert not kept
