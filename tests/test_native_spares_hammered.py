"""Objects that are used again (csrc/python/spare.c), continued.

The ends of awaits; under tracing; in threads; counted; and who holds a share.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aiolots import Mutex, RwLock, _front
from tests import modes
from tests.test_native_spares import MORE, native, use, use_spares
from tests.test_regressions_races import run, short_slices
from tests.worlds import LOOPS, assert_idle, in_thread

ROUNDS = 100_000 if _front.NATIVE else 2_000

# --- the ends of awaits -----------------------------------------------------------------------------------------------


def end_of(request: Any) -> StopIteration:
    """Await a request by hand."""
    try:
        next(request.__await__())
    except StopIteration as stop:
        return stop
    raise AssertionError


def test_an_end_that_is_kept_is_kept_whole() -> None:
    use_spares()
    mutexes = [Mutex(i) for i in range(MORE)]
    ends = []
    for i, mutex in enumerate(mutexes):
        ends.append(end_of(mutex.lock()))
        ends[-1].add_note(f"note {i}")
        ends[-1].__context__ = KeyError(i)
        ends[-1].__cause__ = ValueError(i)
        use_spares()
    for i, (mutex, end) in enumerate(zip(mutexes, ends, strict=True)):
        assert (end.value._lock, end.value.value, end.__notes__) == (mutex, i, [f"note {i}"])
        assert (repr(end.__context__), repr(end.__cause__)) == (f"KeyError({i})", f"ValueError({i})")
        assert end.__traceback__ is not None
        assert end.__traceback__.tb_frame.f_code is end_of.__code__
        end.value.release()
    assert_idle(*mutexes)


MARKS: dict[str, Callable[[Any], object]] = {
    "nothing": id,
    "note": lambda end: end.add_note("seen"),
    "attribute": lambda end: setattr(end, "seen", True),
    "context": lambda end: setattr(end, "__context__", KeyError()),
    "cause": lambda end: setattr(end, "__cause__", KeyError()),
    "suppressed": lambda end: setattr(end, "__suppress_context__", True),
    "arguments": lambda end: setattr(end, "args", ("seen",)),
    "value": lambda end: setattr(end, "value", "seen"),
    "again": lambda end: end.__init__("seen"),
}


@pytest.mark.parametrize("mark", MARKS.values(), ids=MARKS)
@pytest.mark.parametrize("traceback", [False, True], ids=["bare", "with its traceback"])
def test_what_was_done_to_an_end_is_not_seen_on_the_next(mark: Callable[[Any], object], traceback: bool) -> None:
    lock = RwLock()
    use_spares()
    for _ in range(3):
        end = end_of(lock.write())
        end.value.release()
        mark(end)
        if not traceback:
            end.__traceback__ = None
        del end
        end = end_of(lock.read())
        assert vars(end) == {}
        assert (end.__context__, end.__cause__, end.__suppress_context__) == (None, None, False)
        assert not hasattr(end, "__notes__")
        assert "seen" not in end.args
        assert end.__traceback__ is not None
        assert end.__traceback__.tb_next is None
        end.value.release()
    assert_idle(lock)


# --- tracing ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def traced(seen: list[Any]) -> Iterator[None]:
    def trace(_frame: object, event: str, argument: Any) -> Any:
        if event == "exception":
            seen.append(argument[1])
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


@contextlib.contextmanager
def profiled(seen: list[Any]) -> Iterator[None]:
    sys.setprofile(lambda _frame, _event, argument: seen.append(argument))
    try:
        yield
    finally:
        sys.setprofile(None)


@contextlib.contextmanager
def monitored(seen: list[Any]) -> Iterator[None]:
    monitoring: Any = sys.monitoring  # type: ignore[attr-defined, unused-ignore]
    events = monitoring.events
    watched = [events.CALL, events.RAISE, events.STOP_ITERATION, events.PY_RETURN]
    monitoring.use_tool_id(4, "aiolots tests")
    for event in watched:
        monitoring.register_callback(4, event, lambda *arguments: seen.extend(arguments[2:]))
    monitoring.set_events(4, sum(watched))
    try:
        yield
    finally:
        monitoring.set_events(4, 0)
        for event in watched:
            monitoring.register_callback(4, event, None)
        monitoring.free_tool_id(4)


@pytest.mark.parametrize(
    "watch", [traced, profiled, *([monitored] if hasattr(sys, "monitoring") else [])], ids=lambda watch: str(watch.__name__)
)
def test_what_a_tracer_keeps_is_kept(watch: Callable[[list[Any]], Any]) -> None:
    """It sees the ends of awaits, methods and guards in passing. Each that it keeps is itself, and used by nobody else."""
    seen: list[Any] = []
    locks = [RwLock(i) for i in range(3)]
    mutex = Mutex(3)
    with watch(seen):
        mutex.__enter__()
        mutex.__exit__(None, None, None)
        asyncio.run(use(*locks, mutex, rounds=3))
    assert_idle(*locks, mutex)
    use_spares()
    assert seen
    ends = {id(each): each for each in seen if isinstance(each, StopIteration)}.values()
    guards = [end.value for end in ends if hasattr(end.value, "_lock")]
    assert len({id(guard) for guard in guards}) == len(guards) or not _front.NATIVE  # which has an end for each function
    assert all(guard._lock in [*locks, mutex] and not guard for guard in guards)
    methods = [each for each in seen if getattr(each, "__self__", None) is mutex]
    for name in [method.__name__ for method in methods]:
        assert name in {"__enter__", "__exit__", "__aenter__", "__aexit__", "lock", "acquire", "release"}
    assert methods or watch is not monitored


# --- many at once -----------------------------------------------------------------------------------------------------


def hammer(seed: int, kind: str, locks: list[RwLock[list[int]]], mutex: Mutex[list[int]]) -> None:
    """Add to what the locks protect, from threads and from tasks of a loop."""
    chance = random.Random(seed)

    def add(value: list[int]) -> None:
        before = value[0]
        value[1] += 1
        value[0] = before + 1

    def some() -> None:
        for _ in range(30):
            first, second = sorted(chance.sample(range(len(locks)), 2))
            with locks[first].write() as outer, locks[second].read() as inner, mutex:
                add(outer.value)
                assert inner.value[0] == inner.value[1]

    async def others() -> None:
        for _ in range(30):
            first, second = sorted(chance.sample(range(len(locks)), 2))
            async with locks[first].read() as outer, locks[second].write() as inner:
                add(inner.value)
                assert outer.value[0] == outer.value[1]
                await asyncio.sleep(0)
            async with mutex.lock() as guard:
                add(guard.value)

    async def body() -> None:
        await asyncio.gather(*(others() for _ in range(4)), *(asyncio.to_thread(some) for _ in range(2)))

    with asyncio.Runner(loop_factory=LOOPS[kind]) as runner:
        runner.run(body())


def test_threads_and_loops_at_once() -> None:
    locks = [RwLock([0, 0]) for _ in range(3)]
    mutex = Mutex([0, 0])
    with short_slices():
        threads = [
            in_thread(lambda seed=seed, kind=kind: hammer(seed, kind, locks, mutex))
            for seed, kind in enumerate([*LOOPS, *LOOPS])
        ]
        for thread in threads:
            thread.join()
    assert_idle(*locks, mutex)
    assert [lock._value[0] == lock._value[1] for lock in locks] == [True] * 3
    assert sum(lock._value[0] for lock in locks) == 4 * (4 + 2) * 30
    assert mutex._value == [4 * 4 * 30] * 2


HAMMER = """
import gc, warnings
from tests import test_native_spares as one, test_native_spares_hammered as other
from tests.modes import GUARDED
gc.set_threshold(50, 5, 5)
for mode in GUARDED:
    one.test_a_weak_reference_dies_with_its_request(mode)
    one.test_one_that_was_brought_back_to_life_stays_what_it_is(mode)
one.test_many_at_once_keep_apart()
for make in one.CYCLES.values():
    one.test_a_guard_in_a_cycle_is_let_go_of(make)
for mark in other.MARKS.values():
    other.test_what_was_done_to_an_end_is_not_seen_on_the_next(mark, False)
other.test_threads_and_loops_at_once()
gc.collect()
print("fine")
"""


@native
@pytest.mark.parametrize("options", [{"PYTHONMALLOC": "debug"}, {"PYTHONTRACEMALLOC": "1"}], ids=str)
def test_under_a_watchful_allocator(options: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that is freed is filled with rubbish, and what is written around it is noticed."""
    for name, value in options.items():
        monkeypatch.setenv(name, value)
    run(HAMMER)


# --- counts -----------------------------------------------------------------------------------------------------------


def counts(*objects: Any) -> list[int]:
    gc.collect()
    return [sys.getrefcount(each) for each in objects]


@pytest.mark.parametrize("kind", LOOPS)
def test_nothing_adds_up(kind: str) -> None:
    """After many cycles the counts of all that they touched are what they were, and so is the number of allocations."""
    rwlock = RwLock(object())
    mutex = Mutex(object())
    nothing: tuple[()] = ()

    def sync() -> None:
        for _ in range(ROUNDS):
            with rwlock.read() as guard, mutex:
                guard.value  # noqa: B018
            with mutex.lock():
                pass

    async def tasks() -> None:
        for _ in range(ROUNDS):
            async with rwlock.write() as guard, mutex:
                guard.value  # noqa: B018
            (await rwlock.read()).release()

    def once() -> None:
        sync()
        with asyncio.Runner(loop_factory=LOOPS[kind]) as runner:
            runner.run(tasks())

    touched = (rwlock, mutex, rwlock._value, mutex._value, sync.__code__, tasks.__code__, nothing, StopIteration)
    once()
    before, blocks = counts(*touched), sys.getallocatedblocks()
    once()
    assert counts(*touched) == before
    assert abs(sys.getallocatedblocks() - blocks) < 500
    assert_idle(rwlock, mutex)


def test_the_collector_is_not_called_more_often() -> None:
    """It counts what is made and not freed: nothing is, here."""
    rwlock: RwLock[None] = RwLock()
    collections = 0

    def note(phase: str, _details: dict[str, int]) -> None:
        nonlocal collections
        collections += phase == "start"

    gc.collect()
    gc.callbacks.append(note)
    try:
        for _ in range(ROUNDS):
            with rwlock.read(), rwlock.read():
                pass
    finally:
        gc.callbacks.remove(note)
    assert collections <= 1
    assert_idle(rwlock)


# --- who holds a share ------------------------------------------------------------------------------------------------


class Shares:
    """Shares of one lock, and what is known about them."""

    def __init__(self) -> None:
        self.lock: RwLock[None] = RwLock()
        self.held: list[tuple[Any, tuple[int, bool]]] = []

    def check(self) -> None:
        noted = [(holder.mode, holder.is_task) for holder in self.lock._holder_list()]
        assert Counter(noted) == Counter(known for _, known in self.held)
        assert self.lock.word == len(self.held) * modes.READER


def test_who_reads_is_who_holds_a_share() -> None:
    """Not who did, nor who will, nor who reads something else."""
    chance = random.Random(2)
    all_shares = [Shares(), Shares()]

    async def body() -> None:
        for _ in range(60):  # each looks through all objects, twice
            shares = chance.choice(all_shares)
            mode = chance.choice([modes.READ, modes.READ_RECURSIVE])
            number = lowlevel_number(mode)
            match chance.randrange(6):
                case 0:
                    shares.held.append((mode.request(shares.lock).acquire(), (number, False)))
                case 1:
                    shares.held.append((await mode.request(shares.lock), (number, True)))
                case 2:
                    shares.held.append((in_thread(mode.request(shares.lock).acquire).join(), (number, False)))
                case 3:
                    with mode.request(shares.lock):
                        pass
                case _ if shares.held:
                    guard, _ = shares.held.pop(chance.randrange(len(shares.held)))
                    guard.release()
            pending = [shares.lock.try_read_for(1) for shares in all_shares]
            for each in all_shares:
                each.check()
            for request in pending:
                with request:
                    pass

    asyncio.run(body())
    for shares in all_shares:
        while shares.held:
            shares.held.pop()[0].release()
            shares.check()
        assert_idle(shares.lock)


def lowlevel_number(mode: modes.Mode) -> int:
    """Return what the core calls the mode."""
    return (modes.READ, modes.READ_RECURSIVE).index(mode)


def test_who_reads_is_found_wherever_the_collector_has_put_it() -> None:
    """Into whichever generation; and while it collects, asked by a finalizer."""
    lock: RwLock[None] = RwLock()
    seen: list[int] = []

    class Asking:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            seen.append(len(lock._holder_list()))

    guards = []
    for generation in (2, 1, 0, None):
        guards.append(lock.read().acquire())
        if generation is not None:
            gc.collect(generation)
        assert len(lock._holder_list()) == len(guards)
        Asking()
        gc.collect()
        assert seen == [*range(1, len(guards)), len(guards)]
    for guard in guards:
        guard.release()
    assert_idle(lock)


@native
def test_only_of_an_rwlock() -> None:
    from aiolots import _native

    for wrong in (Mutex(), None, RwLock):
        with pytest.raises(TypeError):
            _native.readers(wrong)  # type: ignore[arg-type]
    lock: Any = RwLock()
    guards = [lock.read().acquire() for _ in range(3 * MORE)]
    before = sys.getrefcount(lock), [sys.getrefcount(guard) for guard in guards]
    for _ in range(10):
        assert len(_native.readers(lock)) == len(guards)
    assert (sys.getrefcount(lock), [sys.getrefcount(guard) for guard in guards]) == before
    for guard in guards:
        guard.release()
    assert _native.readers(lock) == []
