"""The contract of Once, OnceCell and LazyLock."""

from __future__ import annotations

import asyncio
import copy
import functools
import gc
import pickle
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from aiolots import DeadlockError, LazyLock, LoopBlockedWarning, Once, OnceCell, lowlevel
from tests import tasks
from tests.onces import WORLDS, Initialiser, asks, assert_at_rest, first_of, wait_until_waiting
from tests.worlds import World, in_thread, on_each_loop, on_every_loop, wait_until

each_world = pytest.mark.parametrize("kind", WORLDS)
each_cell = pytest.mark.parametrize("make", [Once, OnceCell])


@each_world
@each_cell
def test_one_of_many_initialises_and_all_get_what_it_made(kind: str, make: Any) -> None:
    cell, go = make(name="c"), threading.Event()
    initialiser = Initialiser(go=go)
    with World(kind) as world:
        attempts = [first_of(world.attempt(asks(cell, initialiser)), initialiser)]
        attempts += [world.attempt(asks(cell, initialiser)) for _ in range(6)]
        wait_until_waiting(cell, 6)
        assert not cell.is_initialized()
        go.set()
        value = None if make is Once else 1
        assert [attempt.guard() for attempt in attempts] == [value] * 7
        late = [world.attempt(asks(cell, initialiser)) for _ in range(3)]
        assert [attempt.guard() for attempt in late] == [value] * 3
    assert initialiser.begun == initialiser.made == [1]
    assert cell.is_initialized()
    assert_at_rest(cell)


def test_once_in_a_thread() -> None:
    once, calls = Once(), []
    assert not once.is_completed()
    assert once.call_once(lambda: calls.append(1)) is None  # type: ignore[func-returns-value]
    assert once.is_completed()
    once.call_once(lambda: calls.append(2))
    assert calls == [1]


@on_every_loop
async def test_once_in_a_task() -> None:
    once, calls = Once(), []

    async def f() -> str:
        await tasks.pause()
        calls.append(1)
        return "not kept"

    for _ in range(2):
        assert await once.call_once(f) is None  # type: ignore[func-returns-value]
    assert calls == [1]
    assert once.is_completed()
    assert_at_rest(once)


def test_what_once_calls_is_not_kept() -> None:
    class Big:
        pass

    once = Once()
    made: list[weakref.ref[Big]] = []

    def f() -> Big:
        big = Big()
        made.append(weakref.ref(big))
        return big

    once.call_once(f)
    gc.collect()
    assert made[0]() is None


@on_every_loop
async def test_an_awaitable_begins_when_it_is_awaited() -> None:
    cell, initialiser = OnceCell[int](), Initialiser()
    first, second = cell.get_or_init(initialiser.coloured), cell.get_or_init(initialiser.coloured)
    await tasks.pause()
    assert initialiser.begun == []
    assert await second == 1
    assert await first == 1
    assert cell.get() == 1


@on_every_loop
async def test_whatever_is_an_async_function_makes_the_call_awaitable() -> None:
    class Callee:
        async def __call__(self) -> int:
            return 3

        async def method(self) -> int:
            return 3

    async def function(number: int = 3) -> int:
        return number

    functions: list[Callable[[], Any]] = [Callee(), Callee().method, function, functools.partial(function, 3)]
    for f in functions:
        assert await OnceCell[int]().get_or_init(f) == 3
        assert await LazyLock(f).get() == 3


def test_a_plain_function_that_gives_a_coroutine_is_refused() -> None:
    async def f() -> int:
        return 3

    cell = OnceCell[Any]()
    with pytest.raises(TypeError, match="async def"):
        cell.get_or_init(lambda: f())  # noqa: PLW0108  # that is the mistake
    assert cell.get_or_init(lambda: 1) == 1
    assert_at_rest(cell)


# --- OnceCell ---------------------------------------------------------------------------------------------------------


def test_cell_get_set_take() -> None:
    cell = OnceCell[str | None]()
    assert cell.get() is None
    assert not cell.is_initialized()
    assert cell.take() is None
    assert cell.set("a")
    assert not cell.set("b")
    assert cell.get() == "a"
    assert cell.get_or_init(lambda: "c") == "a"
    assert cell.take() == "a"
    assert not cell.is_initialized()
    assert cell.set(None), "None is a value"
    assert cell.is_initialized()
    assert cell.get_or_init(lambda: "c") is None
    assert cell.take() is None
    assert cell.get_or_init(lambda: "c") == "c"
    assert_at_rest(cell)


def test_cell_with_a_value() -> None:
    assert OnceCell(3).get() == 3
    assert OnceCell(None).is_initialized()
    assert not OnceCell(3).set(4)


def test_nothing_is_put_in_while_somebody_initialises() -> None:
    go = threading.Event()
    cell, initialiser = OnceCell[int](), Initialiser(go=go)
    thread = in_thread(cell.get_or_init, initialiser.plain)
    wait_until(lambda: initialiser.begun)
    assert not cell.set(7)
    assert cell.get() is None
    assert cell.take() is None
    go.set()
    assert thread.join() == 1
    assert cell.take() == 1
    assert_at_rest(cell)


def test_one_value_is_set_and_one_is_taken_of_many() -> None:
    for _ in range(50):
        cell = OnceCell[int]()
        barrier = threading.Barrier(8)

        def both(number: int, cell: OnceCell[int] = cell, barrier: threading.Barrier = barrier) -> tuple[bool, int | None]:
            barrier.wait()
            done = cell.set(number)
            barrier.wait()
            return done, cell.take()

        results = [thread.join() for thread in [in_thread(both, number) for number in range(8)]]
        [winner] = [number for number, (done, _) in enumerate(results) if done]
        assert [taken for _, taken in results if taken is not None] == [winner]
        assert_at_rest(cell)


# --- LazyLock ---------------------------------------------------------------------------------------------------------


def test_lazy_in_threads() -> None:
    go = threading.Event()
    initialiser = Initialiser(go=go)
    lazy = LazyLock(initialiser.plain)
    threads = [in_thread(lazy.get) for _ in range(5)]
    wait_until_waiting(lazy, 4)
    go.set()
    assert {thread.join() for thread in threads} == {1}
    assert lazy.get() == 1
    assert lazy.is_initialized()
    assert_at_rest(lazy)


@on_every_loop
async def test_lazy_in_tasks() -> None:
    initialiser = Initialiser()
    lazy = LazyLock(initialiser.coloured)
    started = [tasks.start(lazy.get()) for _ in range(5)]
    assert [await task for task in started] == [1] * 5
    assert await lazy.get() == 1
    assert_at_rest(lazy)


# --- who waits for whom -------------------------------------------------------------------------------------------------


@each_cell
def test_reentry_is_refused_and_harms_nothing(make: Any) -> None:
    cell = make(name="again")
    call = cell.call_once if make is Once else cell.get_or_init
    seen: list[BaseException] = []

    def f() -> int:
        with pytest.raises(DeadlockError, match="'again'") as caught:
            call(f)
        seen.append(caught.value)
        return 1

    call(f)
    assert isinstance(seen[0], RuntimeError)
    assert cell.is_initialized()
    assert_at_rest(cell)


@on_every_loop
async def test_reentry_of_a_task_is_refused_in_both_colours() -> None:
    cell = OnceCell[int](name="again")

    async def f() -> int:
        with pytest.raises(DeadlockError, match="asks for itself"):
            await cell.get_or_init(f)
        with pytest.raises(DeadlockError, match="asks for itself"):
            cell.get_or_init(lambda: 2)
        await tasks.pause()
        return 1

    assert await cell.get_or_init(f) == 1
    assert_at_rest(cell)


def test_reentry_that_is_not_caught_fails_the_initialiser_alone() -> None:
    cell = OnceCell[int]()
    with pytest.raises(DeadlockError):
        cell.get_or_init(lambda: cell.get_or_init(lambda: 1))
    assert cell.get_or_init(lambda: 2) == 2
    assert_at_rest(cell)


@on_every_loop
async def test_a_plain_call_that_would_block_its_own_initialiser_is_refused() -> None:
    go = threading.Event()
    cell, initialiser = OnceCell[int](), Initialiser(go=go)
    task = tasks.start(cell.get_or_init(initialiser.coloured))
    while not initialiser.begun:
        await tasks.pause()
    with pytest.raises(DeadlockError, match="event loop"):
        cell.get_or_init(lambda: 2)
    go.set()
    assert await task == 1
    assert cell.get_or_init(lambda: 2) == 1
    assert_at_rest(cell)


@on_each_loop
async def test_a_plain_call_that_blocks_a_loop_does_what_the_policy_says() -> None:
    go = threading.Event()
    cell, initialiser = OnceCell[int](), Initialiser(go=go)
    thread = in_thread(cell.get_or_init, initialiser.plain)
    await asyncio.to_thread(wait_until, lambda: initialiser.begun)
    opens = in_thread(lambda: (wait_until_waiting(cell, 1), go.set()))
    with pytest.warns(LoopBlockedWarning):
        assert cell.get_or_init(lambda: 2) == 1
    opens.join()
    assert thread.join() == 1
    assert_at_rest(cell)


def test_waiting_needs_a_loop_in_the_awaited_form() -> None:
    with pytest.raises(RuntimeError, match="event loop"):
        OnceCell[int]().get_or_init(Initialiser().coloured).send(None)


# --- objects ------------------------------------------------------------------------------------------------------------


def test_repr() -> None:
    assert repr(Once()) == "<aiolots.Once new>"
    once = Once(name="setup")
    once.call_once(lambda: None)
    assert repr(once) == "<aiolots.Once 'setup' completed>"
    cell = OnceCell[int](name="c")
    assert repr(cell) == "<aiolots.OnceCell 'c' uninitialized>"
    go = threading.Event()
    initialiser = Initialiser(go=go)
    threads = [in_thread(cell.get_or_init, initialiser.plain)]
    wait_until(lambda: initialiser.begun)
    assert repr(cell) == "<aiolots.OnceCell 'c' initializing>"
    threads.append(in_thread(cell.get_or_init, initialiser.plain))
    wait_until_waiting(cell, 1)
    assert repr(cell) == "<aiolots.OnceCell 'c' initializing waiters=1>"
    assert [waiter.mode for waiter in lowlevel.waiters(key=cell)] == ["park"]
    go.set()
    for thread in threads:
        thread.join()
    assert repr(cell) == "<aiolots.OnceCell 'c' initialized>"
    assert repr(LazyLock(int)) == "<aiolots.LazyLock uninitialized>"


COPIERS: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda cell: pickle.loads(pickle.dumps(cell)),
}
each_copier = pytest.mark.parametrize("copier", COPIERS.values(), ids=COPIERS)


@each_copier
def test_copies(copier: Callable[[Any], Any]) -> None:
    once, cell, lazy = Once(name="o"), OnceCell[list[int]](name="c"), LazyLock(list, name="l")
    for made in (once, cell, lazy):
        twin = copier(made)
        assert (type(twin), twin.name, twin.is_initialized()) == (type(made), made.name, False)
    once.call_once(lambda: None)
    cell.set([1])
    lazy.get()
    for made in (once, cell, lazy):
        twin = copier(made)
        assert (type(twin), twin.name, twin.is_initialized()) == (type(made), made.name, True)
    twin = copier(cell)
    assert twin.take() == [1]
    assert cell.get() == [1]


def test_they_are_weakly_referenceable_and_go_at_once() -> None:
    for made in (Once(), OnceCell(1), LazyLock(list)):
        assert weakref.ref(made)() is made
    lazy = LazyLock(list)
    lazy.get()
    reference = weakref.ref(lazy)
    del lazy
    gc.collect()
    assert reference() is None
