"""The contract of mapped guards, and of a lock's value for who is alone: into_inner() and get_mut()."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from aiolots import FairMutex, MappedGuard, MappedPlace, Mutex, ReentrantMutex, RwLock, _mapping
from tests import modes
from tests.modes import Mode
from tests.worlds import World, assert_idle, in_thread, on_every_loop, wait_until_parked

REENTRANT = Mode("reentrant", ReentrantMutex, ReentrantMutex.lock, ReentrantMutex.try_lock, modes.WRITER)
GUARDED = (*modes.GUARDED, REENTRANT)
EXCLUSIVE = tuple(mode for mode in GUARDED if mode.adds == modes.WRITER)
SHARED = tuple(mode for mode in GUARDED if mode.adds != modes.WRITER)

each_mode = pytest.mark.parametrize("mode", GUARDED, ids=lambda mode: f"{mode.make.__name__}-{mode.name}")
each_exclusive = pytest.mark.parametrize("mode", EXCLUSIVE, ids=lambda mode: f"{mode.make.__name__}-{mode.name}")
each_shared = pytest.mark.parametrize("mode", SHARED, ids=lambda mode: f"{mode.make.__name__}-{mode.name}")


def mapped(guard: Any, function: Callable[[Any], Any]) -> Any:
    """guard.map(function); on a front whose guards have no such method yet, what it calls."""
    return guard.map(function) if hasattr(guard, "map") else _mapping.mapped(guard, function)


def attribute(guard: Any, name: str) -> Any:
    return guard.map_attribute(name) if hasattr(guard, "map") else _mapping.mapped_attribute(guard, name)


def item(guard: Any, key: Any) -> Any:
    return guard.map_item(key) if hasattr(guard, "map") else _mapping.mapped_item(guard, key)


@each_mode
def test_a_mapped_guard_shows_a_part_and_keeps_the_lock(mode: Mode) -> None:
    lock = mode.make({"a": [1, 2]}, name="m")
    guard = mode.request(lock).acquire()
    calls: list[Any] = []
    part = mapped(guard, lambda value: calls.append(value) or value["a"])
    assert isinstance(part, MappedGuard)
    assert part.value is guard.value["a"]
    assert part.value == [1, 2]
    assert len(calls) == 1, "it is called once"
    assert part
    assert part.is_held()
    assert lock.is_locked()
    assert repr(part) == f"<aiolots mapped guard of {lock!r}>"
    part.release()
    assert not guard.is_held()
    assert not part
    assert_idle(lock)


@each_mode
def test_a_released_part_is_not_shown(mode: Mode) -> None:
    lock = mode.make(SimpleNamespace(a=[1]))
    for release in ("release", "release_fair"):
        for of_part in (True, False):
            guard = mode.request(lock).acquire()
            parts = [mapped(guard, lambda value: value.a), attribute(guard, "a")]
            parts.append(parts[1].map_item(0))
            getattr(parts[0] if of_part else guard, release)()
            for part in parts:
                with pytest.raises(RuntimeError, match="not held"):
                    part.value  # noqa: B018
                with pytest.raises(RuntimeError):
                    getattr(part, release)()
                with pytest.raises(RuntimeError):
                    part.map(len)
                with pytest.raises(RuntimeError):
                    part.__enter__()
                assert not part.is_held()
                assert "released" in repr(part)
            with pytest.raises(RuntimeError, match="not held"):
                parts[1].value = 1
            assert_idle(lock)
    assert lock.get_mut().a == [1]


@each_exclusive
def test_places_are_assignable(mode: Mode) -> None:
    lock = mode.make(SimpleNamespace(number=1, table={"x": {"y": 2}}))
    with mode.request(lock) as guard:
        number = attribute(guard, "number")
        assert isinstance(number, MappedPlace)
        number.value += 1
        guard.value.number += 1
        assert number.value == 3, "it is looked at each time"
        y = attribute(guard, "table").map_item("x").map_item("y")
        y.value *= 2
        assert guard.value.table == {"x": {"y": 4}}
        new = item(attribute(guard, "table"), "new")
        with pytest.raises(KeyError):
            new.value  # noqa: B018
        new.value = 5
        assert new.value == 5
        assert attribute(guard, "table").map(len).value == 2
        with pytest.raises(AttributeError):
            mapped(guard, lambda value: value.number).value = 1
        missing = attribute(guard, "missing")
        with pytest.raises(AttributeError):
            missing.value  # noqa: B018
    assert lock.get_mut() == SimpleNamespace(number=3, table={"x": {"y": 4}, "new": 5})
    assert_idle(lock)


@each_shared
def test_places_of_a_reader_are_not_assignable(mode: Mode) -> None:
    lock = mode.make(SimpleNamespace(number=1, table={"x": 2}))
    with mode.request(lock) as guard:
        for place in (attribute(guard, "number"), attribute(guard, "table").map_item("x")):
            with pytest.raises(AttributeError, match="of a reader"):
                place.value = 7
    assert lock.get_mut() == SimpleNamespace(number=1, table={"x": 2})
    assert_idle(lock)


def test_places_of_a_writer_that_became_a_reader() -> None:
    lock = RwLock(SimpleNamespace(number=1))
    guard = lock.write().acquire()
    number = attribute(guard, "number")
    number.value = 2
    guard.downgrade()
    with pytest.raises(AttributeError):
        number.value = 3
    assert number.value == 2
    number.release()
    assert_idle(lock)


@each_mode
def test_with_a_mapped_guard(mode: Mode) -> None:
    lock = mode.make([[1]])
    with item(mode.request(lock).acquire(), 0) as part:
        assert part.value == [1]
        assert lock.is_locked()
    assert not part.is_held()
    with mapped(mode.request(lock).acquire(), len) as part:
        part.release()
    with pytest.raises(ZeroDivisionError), mapped(mode.request(lock).acquire(), len):
        raise ZeroDivisionError
    assert_idle(lock)


@on_every_loop
async def test_async_with_a_mapped_guard() -> None:
    for mode in GUARDED:
        lock = mode.make([[1]])
        async with item(await mode.request(lock), 0) as part:
            assert part.value == [1]
            assert lock.is_locked()
        with pytest.raises(ZeroDivisionError):
            async with item(await mode.request(lock), 0):
                raise ZeroDivisionError
        assert_idle(lock)


@each_mode
def test_what_the_function_raises_leaves_the_guard_held(mode: Mode) -> None:
    lock = mode.make({})
    with mode.request(lock) as guard:
        with pytest.raises(KeyError):
            mapped(guard, lambda value: value["missing"])
        assert guard.is_held()
    assert_idle(lock)


@each_mode
def test_a_mapped_guard_keeps_its_guard_and_is_dropped_with_it(mode: Mode) -> None:
    lock = mode.make([1], name="m")
    parts = [mapped(mode.request(lock).acquire(), len)]
    gc.collect()
    assert lock.is_locked()
    assert parts[0].value == 1
    assert weakref.ref(parts[0])() is parts[0]
    with pytest.warns(ResourceWarning, match="'m'"):
        parts.clear()
    assert_idle(lock)


def test_a_mapped_guard_is_not_copied() -> None:
    with Mutex([1]).lock() as guard:
        for copier in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError, match="cannot be copied"):
                copier(mapped(guard, len))


# --- for one alone ------------------------------------------------------------------------------------------------------

each_kind = pytest.mark.parametrize("kind", [RwLock, Mutex, FairMutex, ReentrantMutex])
VERBS = ("into_inner", "get_mut")


@each_kind
def test_the_value_is_taken_out(kind: Any) -> None:
    value = [1]
    lock = kind(value)
    assert lock.get_mut() is value
    assert lock.into_inner() is value
    assert lock.get_mut() is None
    assert lock.into_inner() is None
    assert_idle(lock)


@each_mode
@pytest.mark.parametrize("verb", VERBS)
def test_the_value_of_a_held_lock_is_not(mode: Mode, verb: str) -> None:
    lock = mode.make([1], name="m")
    with mode.request(lock) as guard:
        word = lock.word
        for call in (getattr(lock, verb), lambda: in_thread(getattr(lock, verb)).join()):
            with pytest.raises(RuntimeError, match="'m'"):
                call()
        assert lock.word == word
        assert guard.value == [1]
    assert_idle(lock)


@each_kind
def test_the_value_of_a_lock_that_is_waited_for_is_not_taken_out(kind: Any) -> None:
    """Somebody waits, and is passed over because its loop does not run: the lock is free, but not unused."""
    lock = kind([1], name="m")
    request = lock.write if kind is RwLock else lock.lock
    with World("asyncio") as world:
        first = request().acquire()
        waiting = world.attempt(request)
        wait_until_parked(lock, 1)
        loop = next(iter(world._loops.values()))
        loop.stop()
        first.release()
        if not lock.is_locked():
            with pytest.raises(RuntimeError, match="waited for"):
                lock.into_inner()
            assert lock.get_mut() == [1]
        loop.start()
        waiting.guard()
        waiting.release()
    assert_idle(lock)
    assert lock.into_inner() == [1]
