"""aiolots.compat.asyncio is `asyncio`: the same checks on both modules; then what only aiolots' locks do, on several loops."""

from __future__ import annotations

import asyncio
import gc
import inspect
import re
import runpy
import weakref
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from aiolots import lowlevel
from aiolots._errors import NotHeld
from aiolots.compat import asyncio as compat
from tests.worlds import LOOP_KINDS, WATCHDOG, LoopThread, in_thread, run_on, wait_until

OURS = ("Lock", "Event", "Condition", "Semaphore", "BoundedSemaphore")
each_module = pytest.mark.parametrize("module", [asyncio, compat], ids=["stdlib", "aiolots"])


def on_both(test: Callable[[Any], Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Make an `async def test(module)` a test that runs with either module, on each kind of loop."""

    def run(module: Any, loop_kind: str) -> None:
        run_on(loop_kind, test(module))

    run.__doc__ = test.__doc__
    return each_module(pytest.mark.parametrize("loop_kind", LOOP_KINDS)(run))  # type: ignore[no-any-return]


async def turns(count: int = 1) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


# --- every call, with its result or its error ---------------------------------------------------------------------------


async def _with(thing: Any) -> Any:
    async with thing as value:
        return value, thing.locked()


async def _held(thing: Any, call: Callable[[], Any]) -> Any:
    async with thing:
        return call()


async def _twice(thing: Any) -> None:
    async with thing:
        thing.release()


def _called(call: Callable[[Any], Any]) -> Callable[[Any], Coroutine[Any, Any, Any]]:
    async def calls(thing: Any) -> Any:
        return call(thing)

    return calls


LOCKS: dict[str, Callable[[Any], Coroutine[Any, Any, Any]]] = {
    "acquire": lambda lock: lock.acquire(),
    "release": _called(lambda lock: lock.release()),
    "locked": _called(lambda lock: lock.locked()),
    "with": _with,
    "acquire(1)": _called(lambda lock: lock.acquire(1)),
    "sync with": _called(lambda lock: lock.__enter__()),
    "await": _called(lambda lock: type(lock).__await__),
}
CALLS: dict[str, dict[str, Callable[[Any], Coroutine[Any, Any, Any]]]] = {
    "Lock": LOCKS | {"with, released inside": _twice},
    "Condition": LOCKS
    | {
        "wait, not held": lambda cond: cond.wait(),
        "wait_for, not held": lambda cond: cond.wait_for(bool),
        "wait_for, not held, true": lambda cond: cond.wait_for(lambda: "at once"),
        "notify, not held": _called(lambda cond: cond.notify()),
        "notify_all, not held": _called(lambda cond: cond.notify_all()),
        "notify nobody": lambda cond: _held(cond, lambda: (cond.notify(), cond.notify(0), cond.notify(9), cond.notify_all())),
    },
    "Event": {
        "unset": _called(lambda event: event.is_set()),
        "set": _called(lambda event: (event.set(), event.set(), event.is_set(), event.clear(), event.is_set())),
    },
    "Semaphore": LOCKS | {"value": _called(lambda sem: (sem.release(), sem._value, sem.locked()))},
    "BoundedSemaphore": LOCKS,
}
SAME_WORDS = (RuntimeError, ValueError)


async def outcome(call: Callable[[Any], Coroutine[Any, Any, Any]], thing: Any, name: str) -> Any:
    try:
        return await call(thing)
    except Exception as error:  # noqa: BLE001
        kind_of = RuntimeError if isinstance(error, NotHeld) else type(error)
        return kind_of, str(error) if isinstance(error, SAME_WORDS) and name != "with, released inside" else ""


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, calls in CALLS.items() for name in calls], ids=lambda value: value
)
def test_every_call_is_answered_alike(kind: str, name: str) -> None:
    async def check() -> None:
        theirs, ours = getattr(asyncio, kind)(), getattr(compat, kind)()
        expected = await outcome(CALLS[kind][name], theirs, name)
        assert await outcome(CALLS[kind][name], ours, name) == expected
        if kind != "Event":
            assert ours.locked() == theirs.locked()
        assert re.sub(r"0x\w+|aiolots.compat.asyncio.|asyncio.locks.", "", repr(ours)) == re.sub(
            r"0x\w+|asyncio.locks.", "", repr(theirs)
        )

    run_on("asyncio", check())


@pytest.mark.parametrize("kind", OURS)
def test_signatures(kind: str) -> None:
    def parameters(function: Any) -> list[tuple[str, Any]]:
        return [(p.name, p.default) for p in inspect.signature(function).parameters.values()]

    theirs, ours = getattr(asyncio, kind), getattr(compat, kind)
    assert parameters(ours) == [*parameters(theirs), ("name", None)]
    for name, method in inspect.getmembers(theirs, inspect.isfunction):
        if not name.startswith("_"):
            found = getattr(ours(), name)
            assert parameters(found) == parameters(method)[1:], name
            assert inspect.iscoroutinefunction(found) == inspect.iscoroutinefunction(method), name
    assert not hasattr(ours, "__enter__")


@each_module
@pytest.mark.parametrize("kind", ["Semaphore", "BoundedSemaphore"])
def test_a_semaphore_is_not_less_than_nothing(module: Any, kind: str) -> None:
    with pytest.raises(ValueError, match="Semaphore initial value must be >= 0"):
        getattr(module, kind)(-1)


def test_repr_of_who_is_waited_for() -> None:
    async def check() -> None:
        for module in (asyncio, compat):
            lock, event, sem, cond = module.Lock(), module.Event(), module.Semaphore(0), module.Condition()
            await lock.acquire()
            tasks = [asyncio.ensure_future(wait) for wait in (lock.acquire(), event.wait(), sem.acquire(), _wait(cond))]
            await turns(2)
            for thing, words in (
                (lock, "Lock object at # [locked, waiters:1]>"),
                (event, "Event object at # [unset, waiters:1]>"),
                (sem, "Semaphore object at # [locked, waiters:1]>"),
                (cond, "Condition object at # [unlocked, waiters:1]>"),
            ):
                assert re.sub(r"0x\w+", "#", repr(thing)).endswith(words)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        assert "'mine'" in repr(compat.Event(name="mine"))

    run_on("asyncio", check())


# --- tasks of one loop, counted in turns of the loop ----------------------------------------------------------------------


async def _wait(cond: Any, log: list[Any] | None = None, number: int = 0) -> None:
    async with cond:
        assert await cond.wait() is True
        if log is not None:
            log.append(number)


@on_both
async def test_a_lock_goes_from_task_to_task_in_turn(module: Any) -> None:
    lock, log = module.Lock(), []
    await lock.acquire()

    async def take(number: int) -> None:
        async with lock:
            log.append(number)
            await turns()

    tasks = [asyncio.ensure_future(take(number)) for number in range(3)]
    await turns()
    lock.release()
    late = asyncio.ensure_future(take(3))
    await turns()
    assert log == [0]
    await asyncio.gather(*tasks, late)
    assert log == [0, 1, 2, 3]
    assert not lock.locked()


@on_both
async def test_who_is_cancelled_while_the_lock_is_released_takes_nothing(module: Any) -> None:
    lock, log = module.Lock(), []
    await lock.acquire()

    async def take(number: int) -> None:
        async with lock:
            log.append(number)

    first, second = asyncio.ensure_future(take(0)), asyncio.ensure_future(take(1))
    await turns()
    lock.release()
    first.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    assert log == [1]
    await lock.acquire()
    first, second = asyncio.ensure_future(take(2)), asyncio.ensure_future(take(3))
    await turns()
    first.cancel()
    lock.release()
    await asyncio.gather(first, second, return_exceptions=True)
    assert log == [1, 3]
    assert not lock.locked()


@on_both
async def test_a_notified_waiter_that_is_cancelled_passes_it_on(module: Any) -> None:
    for at_the_lock in (False, True):
        cond, log = module.Condition(), []
        first, second = [asyncio.ensure_future(_wait(cond, log, number)) for number in range(2)]
        await turns()
        async with cond:
            cond.notify()
            if at_the_lock:
                await turns()
            first.cancel("enough")
            await turns()
        with pytest.raises(asyncio.CancelledError) as cancelled:
            await first
        assert module is asyncio or cancelled.value.args == ("enough",)  # before 3.13 asyncio raised another one
        if module is asyncio and not log:  # before 3.13 it was lost
            second.cancel()
            await asyncio.gather(second, return_exceptions=True)
            continue
        await second
        assert log == [1]
        assert not cond.locked()


@on_both
async def test_a_wait_that_runs_out_of_time_has_the_lock_again(module: Any) -> None:
    cond = module.Condition()
    async with cond:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(cond.wait(), 0.001)
        assert cond.locked()
    assert not cond.locked()


@on_both
async def test_notify_wakes_no_more_than_it_is_asked_to(module: Any) -> None:
    cond, log = module.Condition(module.Lock()), []
    tasks = [asyncio.ensure_future(_wait(cond, log, number)) for number in range(5)]
    await turns()
    async with cond:
        cond.notify(2)
    await turns(3)
    assert log == [0, 1]
    async with cond:
        cond.notify_all()
    await asyncio.gather(*tasks)
    assert log == [0, 1, 2, 3, 4]


@on_both
async def test_a_condition_over_the_others_lock(module: Any) -> None:
    lock = (compat if module is asyncio else asyncio).Lock()
    cond, log = module.Condition(lock), []
    task = asyncio.ensure_future(_wait(cond, log, 1))
    await turns()
    async with lock:
        cond.notify()
    await task
    assert log == [1]
    assert not lock.locked()


@on_both
async def test_who_was_given_a_permit_goes_before_who_comes_by(module: Any) -> None:
    sem, log = module.Semaphore(0), []

    async def first() -> None:
        await sem.acquire()
        log.append(1)

    async def second() -> None:
        for _ in range(3):
            sem.release()
        assert sem.locked()
        await sem.acquire()
        log.append(2)

    async def third() -> None:
        await sem.acquire()
        log.append(3)

    await asyncio.gather(first(), second(), third())
    assert log == [1, 2, 3]
    assert sem.locked()


@on_both
async def test_set_wakes_all_even_if_clear_follows(module: Any) -> None:
    event = module.Event()
    tasks = [asyncio.ensure_future(event.wait()) for _ in range(3)]
    await turns()
    event.set()
    event.clear()
    await turns()
    assert [task.result() for task in tasks] == [True] * 3
    assert not event.is_set()


@on_both
async def test_a_subclass_that_acquires_in_its_own_way_is_asked(module: Any) -> None:
    log: list[str] = []

    class Counted(module.Lock):  # type: ignore[misc]
        async def acquire(self) -> bool:
            log.append("acquire")
            return bool(await super().acquire())

    async with Counted() as value:
        assert value is None
    assert log == ["acquire"]


# --- what the standard library's cannot do --------------------------------------------------------------------------------


@pytest.mark.parametrize("kinds", [("asyncio", "asyncio"), ("asyncio", "uvloop")])
def test_one_lock_for_two_loops(kinds: tuple[str, str]) -> None:
    lock, inside, most = compat.Lock(), 0, 0

    async def work() -> None:
        nonlocal inside, most
        for _ in range(50):
            async with lock:
                inside += 1
                most = max(most, inside)
                await turns()
                inside -= 1

    with LoopThread(kinds[0]) as one, LoopThread(kinds[1]) as other:
        futures = [loop.submit(work()) for loop in (one, other) for _ in range(3)]
        for future in futures:
            future.result(WATCHDOG)
    assert most == 1
    assert not lock.locked()


@pytest.mark.parametrize("kinds", [("asyncio", "asyncio"), ("uvloop", "asyncio")])
def test_notifications_permits_and_flags_cross_loops(kinds: tuple[str, str]) -> None:
    cond, sem, event, log = compat.Condition(), compat.BoundedSemaphore(1), compat.Event(), []

    async def notify() -> None:
        async with cond:
            cond.notify_all()

    async def wait_for_all() -> bool:
        await _wait(cond, log)
        await sem.acquire()
        return await event.wait()

    with LoopThread(kinds[0]) as one, LoopThread(kinds[1]) as other:
        one.run(sem.acquire())
        future = one.submit(wait_for_all())
        wait_until(lambda: lowlevel.waiters(key=cond))
        other.run(notify())
        wait_until(lambda: sem._semaphore.waiting)
        other.call(sem.release)
        wait_until(lambda: event._event.waiting)
        in_thread(event.set).join()  # no loop runs there at all
        assert future.result(WATCHDOG) is True
    assert log == [0]
    assert sem.locked()


def test_a_modules_global_outlives_its_loops() -> None:
    """The one-line cure of "bound to a different event loop"."""
    lock, sem = compat.Lock(), compat.Semaphore(1)

    async def contend() -> None:
        async def one() -> None:
            async with lock, sem:
                await turns()

        await asyncio.gather(one(), one(), one())

    for kind in (*LOOP_KINDS, *LOOP_KINDS):
        run_on(kind, contend())
    assert not lock.locked()


@pytest.mark.parametrize("kind", OURS)
def test_they_go_without_a_word_while_they_are_held(kind: str) -> None:
    thing = getattr(compat, kind)()
    if kind != "Event":
        run_on("asyncio", thing.acquire())
    gone = weakref.ref(thing)
    del thing
    gc.collect()
    assert gone() is None


def test_every_other_name_is_the_standard_librarys() -> None:
    names: dict[str, Any] = {}
    exec("from aiolots.compat.asyncio import *", names)
    for name in {*asyncio.__all__, "locks", "_get_running_loop"} - set(OURS):
        assert getattr(compat, name) is getattr(asyncio, name), name
    assert all(names[name] is getattr(compat, name) for name in compat.__all__)
    assert set(compat.__all__) <= {*dir(asyncio)}
    with pytest.raises(AttributeError):
        compat.no_such_name  # noqa: B018
    assert compat.run(_with(compat.Lock())) == (None, True)


def test_the_example_runs() -> None:
    example = Path(__file__).resolve().parent.parent / "examples" / "migrate.py"
    before, after = [runpy.run_path(str(example))["program"](module) for module in (asyncio, compat)]
    assert "bound to a different event loop" in before
    assert after == "counted to 60"
