"""Objects that are used again, and nobody can tell: requests, their bound methods, the ends of awaits (csrc/python/spare.c).

The front in Python makes new ones each time. What is true of it is true of both, so most of this runs on both.
"""

from __future__ import annotations

import asyncio
import gc
import random
import warnings
import weakref
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from types import CodeType
from typing import Any, ClassVar

import pytest

from aiolots import LockTimeout, Mutex, RwLock, _front
from tests import modes
from tests.modes import Mode, name_of
from tests.worlds import assert_idle, in_thread

native = pytest.mark.skipif(not _front.NATIVE, reason="about the C types")
each_guarded = pytest.mark.parametrize("mode", modes.GUARDED, ids=name_of)
MORE = 12  # than are kept
SPECIAL = ("__enter__", "__exit__", "__aenter__", "__aexit__")


class Thing:
    """Can be referred to weakly."""

    attribute: Any = None


async def use(*locks: Any, rounds: int = 1) -> None:
    """Ask for each lock in every way, so that all spares were in use, and are there."""
    for lock in locks:
        for _ in range(rounds):
            for mode in modes.GUARDED:
                if type(lock) is mode.make:
                    with mode.request(lock) as guard:
                        assert guard
                    async with mode.request(lock) as guard:
                        assert guard
                    (await mode.request(lock)).release()
            if isinstance(lock, Mutex):
                with lock:
                    pass
                async with lock:
                    pass


def use_spares() -> None:
    asyncio.run(use(RwLock(), Mutex(), rounds=MORE))


@contextmanager
def warned() -> Iterator[list[type[Warning]]]:
    """List the categories of what warns meanwhile; nothing that warns is kept alive."""
    seen: list[type[Warning]] = []
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda _message, category, *_rest: seen.append(category)
        yield seen


# --- requests ---------------------------------------------------------------------------------------------------------


def asked_here(mode: Mode, lock: Any) -> Any:
    return getattr(lock, mode.name)()


def asked_there(mode: Mode, lock: Any) -> Any:
    return mode.try_(lock, "_for")(20.0)


class Known:
    """A request of a lock of its own, and what is known about it."""

    askers: ClassVar[list[Callable[[Mode, Any], Any]]] = [asked_here, asked_there]

    def __init__(self, chance: random.Random) -> None:
        self.mode = chance.choice(modes.GUARDED)
        self.lock = self.mode.make(Thing())
        asker = chance.choice(self.askers)
        self.code: CodeType = asker.__code__
        self.request = asker(self.mode, self.lock)
        self.state: bool | None = None

    def step(self) -> None:
        """Enter it, or leave it."""
        if self.state is None:
            assert self.request.acquire() is self.request
            self.state = True
        elif self.state:
            self.request.__exit__(None, None, None)
            self.state = False

    def check(self) -> None:
        assert self.request._lock is self.lock
        assert self.request._site[0] is self.code
        assert self.request.is_held() is (self.state is True)
        assert self.lock.word == (self.mode.adds if self.state else 0)
        if self.state is None:
            with pytest.raises(TypeError):
                bool(self.request)
        else:
            assert bool(self.request) is self.state
        if self.state:
            assert self.request.value is self.lock._value


def test_many_at_once_keep_apart() -> None:
    """Requests of all kinds are made, used and dropped in any order, and each is what it was asked for as."""
    chance = random.Random(1)
    alive: list[Known] = []
    with warned():
        for _ in range(3000):
            if len(alive) < MORE and chance.random() < 0.5:
                alive.append(Known(chance))
            elif alive:
                known = chance.choice(alive)
                known.step()
                if known.state is False or chance.random() < 0.1:
                    alive.remove(known)
            for known in alive:
                known.check()
        del known
        alive.clear()


@each_guarded
def test_a_limit_is_not_inherited(mode: Mode) -> None:
    """One with a limit that is over, one that says so by a falsy guard, and one without: each after the other."""
    lock = mode.make()
    for _ in range(MORE):
        held = mode.hinder(lock)
        with pytest.raises(LockTimeout):
            getattr(lock, mode.name)(timeout=0).acquire()
        with mode.try_(lock, "_for")(0) as guard:
            assert not guard
        waiting = in_thread(mode.request(lock).acquire)
        assert not waiting.done()
        held.release()
        waiting.join().release()
    assert_idle(lock)


@each_guarded
def test_a_weak_reference_dies_with_its_request(mode: Mode) -> None:
    """What comes to stand at the same address is not what it referred to."""
    lock = mode.make()
    died: list[Any] = []

    def note(reference: Any) -> None:
        died.append(reference)
        with mode.request(mode.make()) as other:  # made while the old one is on its way
            assert weakref.getweakrefcount(other) == 0
            assert reference() is None

    references = []
    for _ in range(MORE):
        with mode.request(lock) as guard:
            assert weakref.getweakrefcount(guard) == 0
            references.append(weakref.ref(guard, note))
            assert references[-1]() is guard
        del guard
        assert [reference() for reference in references] == [None] * len(references)
    later = [mode.request(lock) for _ in range(MORE)]
    assert [reference() for reference in references] == [None] * MORE
    assert died == references
    with warned():
        del later


@each_guarded
@pytest.mark.parametrize("held", [False, True], ids=["pending", "held"])
def test_each_that_is_dropped_says_so(mode: Mode, held: bool) -> None:
    """A finalizer runs once; so what had one is not used again."""
    lock = mode.make()
    for _ in range(MORE):
        with warned() as seen:
            request = mode.request(lock)
            if held:
                request.acquire()
            del request
            gc.collect()
        assert seen == [ResourceWarning if held else RuntimeWarning]
        with mode.request(lock):
            pass
    assert_idle(lock)


@each_guarded
def test_one_that_was_brought_back_to_life_stays_what_it_is(mode: Mode) -> None:
    """By the record of its warning. It is dead, is not used again, and its memory is no one else's meanwhile."""
    lock = mode.make()
    with warnings.catch_warnings(record=True) as records:
        warnings.simplefilter("always")
        for _ in range(MORE):
            mode.request(lock).acquire()
            mode.request(lock)
        gc.collect()
        assert len(records) == 2 * MORE
        sources: list[Any] = [record.source for record in records]
        with mode.request(lock) as guard:
            assert not any(source is guard for source in sources)
            assert len({id(source) for source in sources}) == 2 * MORE
        for source in sources:
            assert (source._lock, bool(source)) == (lock, False)
            with pytest.raises(RuntimeError):
                source.acquire()
    del sources, source, records
    test_each_that_is_dropped_says_so(mode, held=True)


def test_an_await_that_never_began_gives_no_request_back_that_was_finalized() -> None:
    """The collector comes to the request first, then to the await, which would make it pending again; who brings it back
    to life may not acquire it, for it would be dropped in silence.
    """
    kept: list[Any] = []

    class Keeper(Thing):
        def __del__(self) -> None:
            kept.append(self.attribute)

    mutex = Mutex()
    held = mutex.lock().acquire()
    with warned() as seen:
        request = mutex.lock()
        keeper = Keeper()
        keeper.attribute = (request, request.__await__(), keeper)
        del request, keeper
        gc.collect()
        held.release()
        request = kept.pop()[0]
        if _front.NATIVE:
            assert seen == [RuntimeWarning]
            with pytest.raises(RuntimeError):
                request.acquire()
        del request
        gc.collect()
    assert_idle(mutex)


# --- bound methods ----------------------------------------------------------------------------------------------------


def test_bound_methods_that_are_kept_do_what_they_did() -> None:
    locks = [Mutex(i) for i in range(MORE)]
    enters = [lock.__enter__ for lock in locks]
    exits = [lock.__exit__ for lock in locks]
    use_spares()
    assert len({*enters, *exits}) == 2 * MORE
    assert enters == [lock.__enter__ for lock in locks]
    assert [enter.__self__ for enter in enters] == locks  # type: ignore[attr-defined]
    for i, enter in enumerate(enters):
        enter()
        assert [lock.locked() for lock in locks] == [j == i for j in range(MORE)]
        exits[i](None, None, None)
    assert {getattr(lock, name).__name__ for lock in locks for name in SPECIAL} == {*SPECIAL}
    reference = weakref.ref(locks[0])
    del locks, enter, exits
    assert reference() is not None
    del enters
    gc.collect()
    assert reference() is None


@native
@pytest.mark.parametrize("name", SPECIAL)
def test_a_foreign_class_has_no_use_for_them(name: str) -> None:
    """What is in the dict of a class may be put into another: C code would take its instances for locks."""
    from aiolots import _native

    method = vars(_native.MutexBase)[name]
    foreign = type("Foreign", (), {name: method})()
    with pytest.raises(TypeError, match="doesn't apply to"):
        getattr(foreign, name)
    with pytest.raises(TypeError, match="doesn't apply to"):
        method.__get__(method)
    with pytest.raises(TypeError, match="doesn't apply to"):
        method(5)
    mutex = Mutex()
    if "exit" in name:
        mutex.acquire()
    method(mutex)
    assert mutex.locked() is (name == "__enter__")
    assert method.__name__ == method.__get__(mutex).__name__ == name
    with pytest.raises(TypeError):
        getattr(mutex, name)(nonsense=1)


def test_a_subclass_may_add_to_them() -> None:
    class Counted(Mutex[int]):
        entered = 0

        def __enter__(self) -> Any:
            self.entered += 1
            return super().__enter__()

    class Mixed(Thing, Counted):
        pass

    for lock in (Counted(), Mixed()):
        for _ in range(MORE):
            with lock:
                assert lock.locked()
        assert lock.entered == MORE
        assert_idle(lock)


def test_a_long_chain_is_freed() -> None:
    """Lock to bound method or guard to lock: C code that went down it step by step would use up its stack."""
    links: list[Callable[[Any], Any]] = [lambda lock: lock.__exit__, lambda lock: lock.lock().acquire()]
    for link in links:
        last: Any = None
        for _ in range(50_000):
            last = link(Mutex(last))
            if not callable(last):
                last.release()
        del last


# --- cycles -----------------------------------------------------------------------------------------------------------


def suspended(outer: Any, inner: Any) -> Generator[None]:
    with outer, inner.write():
        yield


async def suspended_task(outer: Any, inner: Any) -> None:
    async with outer, inner.write():
        await asyncio.Future()


def in_a_generator(outer: Any, inner: Any) -> Any:
    generator = suspended(outer.write(), inner)
    next(generator)
    return generator


def in_a_coroutine(outer: Any, inner: Any) -> Any:
    coroutine = suspended_task(outer.write(), inner)

    async def start() -> None:
        coroutine.send(None)

    asyncio.run(start())
    return coroutine


def in_the_end_of_an_await(outer: Any, _inner: Any) -> Any:
    try:
        next(outer.write().__await__())
    except StopIteration as stop:
        return stop


def in_a_bound_method(name: str) -> Callable[[Any, Any], Any]:
    return lambda outer, _inner: getattr(outer.write().acquire(), name)


CYCLES: dict[str, Callable[[Any, Any], Any]] = {
    "generator": in_a_generator,
    "coroutine": in_a_coroutine,
    "guard": lambda outer, _inner: outer.write().acquire(),
    "end of an await": in_the_end_of_an_await,
    **{name: in_a_bound_method(name) for name in (*SPECIAL, "release")},
}


@pytest.mark.parametrize("make", CYCLES.values(), ids=CYCLES)
def test_a_guard_in_a_cycle_is_let_go_of(make: Callable[[Any, Any], Any]) -> None:
    """Held in garbage that holds itself by way of a lock's value. It says so, unless the collector comes first to the code
    that is in its `with`: closed, that leaves as always.
    """
    use_spares()
    for _ in range(3):
        with warned() as seen:
            outer: Any = RwLock()
            inner: Any = RwLock([])
            part = make(outer, inner)
            inner._value.extend([inner, part])
            outer_too: Any = RwLock([outer])  # a lock whose value is the lock, and which is its value
            outer_too._value.append(outer_too)
            references = [weakref.ref(inner), weakref.ref(outer_too)]
            del inner, part, outer_too
            assert outer.is_locked()
            gc.collect()
        assert [reference() for reference in references] == [None, None]
        if make in (in_a_generator, in_a_coroutine):
            assert set(seen) <= {ResourceWarning}
        else:
            assert seen == [ResourceWarning]
        assert_idle(outer)
