"""The contract of locks as objects: copies, pickles, weak references, repr, statistics."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from aiolots import LockStatistics, Mutex, RwLock, lowlevel
from tests import modes
from tests.modes import Mode, name_of
from tests.worlds import World, assert_idle, wait_until_parked


def _pickled(protocol: int) -> Callable[[Any], Any]:
    def pickled(lock: Any) -> Any:
        return pickle.loads(pickle.dumps(lock, protocol))

    return pickled


COPIERS: dict[str, Callable[[Any], Any]] = {"copy": copy.copy, "deepcopy": copy.deepcopy}
COPIERS |= {f"pickle-{protocol}": _pickled(protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)}

each_copier = pytest.mark.parametrize("copier", COPIERS.values(), ids=COPIERS)
each_kind = pytest.mark.parametrize("kind", [RwLock, Mutex])
each_guarded = pytest.mark.parametrize("mode", modes.GUARDED, ids=name_of)


def value_of(lock: Any) -> Any:
    """Look at the value of a free lock."""
    guard: Any = lock.try_read() if isinstance(lock, RwLock) else lock.try_lock()
    value = guard.value
    guard.release()
    return value


@each_kind
@each_copier
def test_a_copy_is_a_new_lock_of_the_same_name(kind: Any, copier: Callable[[Any], Any]) -> None:
    lock = kind({"a": [1]}, name="catalog")
    twin = copier(lock)
    assert type(twin) is kind
    assert twin is not lock
    assert twin.name == "catalog"
    assert value_of(twin) == {"a": [1]}
    assert value_of(twin) is not value_of(lock)
    guard = modes.DropIn(twin).acquire() if kind is Mutex else twin.write().acquire()
    assert lock.word == 0, "they are two locks"
    guard.release()
    assert_idle(lock, twin)


@each_kind
def test_copy_is_shallow_and_deepcopy_is_not(kind: Any) -> None:
    lock = kind({"a": [1]})
    assert value_of(copy.copy(lock))["a"] is value_of(lock)["a"]
    assert value_of(copy.deepcopy(lock))["a"] is not value_of(lock)["a"]


@each_copier
def test_a_read_locked_lock_is_copied_unlocked(copier: Callable[[Any], Any]) -> None:
    lock = RwLock([1], name="catalog")
    with lock.read(), lock.read():
        twin = copier(lock)
        assert lock.reader_count() == 2
        assert twin.word == 0
    assert value_of(twin) == [1]
    assert_idle(lock, twin)


@each_copier
@pytest.mark.parametrize("mode", [modes.WRITE, modes.LOCK], ids=name_of)
def test_an_exclusively_locked_lock_is_not_copied(mode: Mode, copier: Callable[[Any], Any]) -> None:
    lock = mode.make([1], name="catalog")
    with mode.request(lock):
        word = lock.word
        with pytest.raises(TypeError, match="'catalog'"):
            copier(lock)
        assert lock.word == word
    assert_idle(lock)


class Unwilling:
    """A value that cannot be copied."""

    def __deepcopy__(self, memo: Any) -> Any:
        raise ZeroDivisionError

    __copy__ = property(lambda self: self.__deepcopy__)

    def __reduce__(self) -> Any:
        raise ZeroDivisionError


@each_kind
@each_copier
def test_a_value_that_does_not_copy_leaves_the_lock_free(kind: Any, copier: Callable[[Any], Any]) -> None:
    lock = kind(Unwilling())
    with pytest.raises((ZeroDivisionError, TypeError)):
        copier(lock)
    assert_idle(lock)


@each_kind
def test_deepcopy_keeps_what_is_shared(kind: Any) -> None:
    lock = kind([1])
    both = copy.deepcopy([lock, lock])
    assert both[0] is both[1]
    value = [lock]
    around = kind(value)
    value.append(around)
    assert value_of(copy.deepcopy(kind([1], name="x"))) == [1]


@each_kind
def test_locks_are_weakly_referenceable_and_hashable(kind: Any) -> None:
    lock = kind(None)
    noticed: list[Any] = []
    reference = weakref.ref(lock, noticed.append)
    assert weakref.WeakKeyDictionary({lock: 1})[lock] == 1
    assert reference() is lock
    del lock
    gc.collect()
    assert reference() is None
    assert noticed == [reference]


@each_guarded
def test_a_guard_keeps_its_lock_alive(mode: Mode) -> None:
    lock = mode.make("value")
    reference = weakref.ref(lock)
    guard = mode.request(lock).acquire()
    del lock
    gc.collect()
    assert guard.value == "value"
    guard.release()
    del guard
    gc.collect()
    assert reference() is None


def test_a_lock_that_was_waited_for_is_collected_too() -> None:
    lock = RwLock(None)
    with World("mixed") as world:
        guard = lock.write().acquire()
        waiting = [world.attempt(lock.read) for _ in range(2)]
        wait_until_parked(lock, 2)
        guard.release()
        for attempt in waiting:
            attempt.release()
    reference = weakref.ref(lock)
    del lock, guard, waiting, attempt, world
    gc.collect()
    assert reference() is None


# --- repr and numbers ---------------------------------------------------------------------------------------------------


@each_kind
def test_repr_of_a_free_lock(kind: Any) -> None:
    assert repr(kind(None)) == f"<aiolots.{kind.__name__} unlocked>"
    assert repr(kind(None, name="catalog")) == f"<aiolots.{kind.__name__} 'catalog' unlocked>"


@pytest.mark.parametrize("mode", [modes.WRITE, modes.LOCK], ids=name_of)
def test_repr_of_an_exclusively_locked_lock(mode: Mode) -> None:
    lock = mode.make(None, name="catalog")
    with mode.request(lock):
        assert repr(lock) == f"<aiolots.{type(lock).__name__} 'catalog' write-locked>"


def test_repr_and_statistics_of_a_busy_lock() -> None:
    lock = RwLock(None, name="catalog")
    with World("mixed") as world:
        readers = [lock.read().acquire() for _ in range(3)]
        assert repr(lock) == "<aiolots.RwLock 'catalog' readers=3>"
        assert lock.statistics() == LockStatistics(
            locked=True, readers=3, write_locked=False, threads_waiting=0, tasks_waiting=0
        )
        writer = world.attempt(lock.write)  # a thread
        wait_until_parked(lock, 1)
        assert repr(lock) == "<aiolots.RwLock 'catalog' readers=3 writer-waiting waiters=1>"
        late = []
        for count in range(2, 6):  # task, thread, task, thread
            late.append(world.attempt(lock.read))
            wait_until_parked(lock, count)
        assert repr(lock).replace(" parked", "") == "<aiolots.RwLock 'catalog' readers=3 writer-waiting waiters=5>"
        assert lock.statistics() == LockStatistics(
            locked=True, readers=3, write_locked=False, threads_waiting=3, tasks_waiting=2
        )
        assert lock.is_locked()
        assert not lock.is_locked_exclusive()
        assert lock.reader_count() == 3
        told = [(w.mode, w.is_task, w.draining, w.lock_name) for w in lowlevel.waiters(lock)]
        assert told == [("write", False, True, "catalog"), *(("read", task, False, "catalog") for task in (1, 0, 1, 0))]
        for reader in readers:
            reader.release()
        assert writer.guard()
        assert lock.is_locked_exclusive()
        assert lock.reader_count() == 0
        assert lock.statistics() == LockStatistics(
            locked=True, readers=0, write_locked=True, threads_waiting=2, tasks_waiting=2
        )
        writer.release()
        for attempt in late:
            attempt.guard()
        assert lock.reader_count() == 4
        for attempt in late:
            attempt.release()
    assert_idle(lock)
    free = LockStatistics(locked=False, readers=0, write_locked=False, threads_waiting=0, tasks_waiting=0)
    assert lock.statistics() == free == Mutex(None).statistics()


def test_statistics_do_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        RwLock(None).statistics().readers = 1  # type: ignore[misc]


def test_the_word_is_read_only() -> None:
    for lock in (RwLock(None), Mutex(None)):
        with pytest.raises(AttributeError):
            lock.word = 1  # type: ignore[misc]
