"""R43 and R36: an initialiser whose process forks, and one that is interrupted between any two steps."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dis
import random
import sys
import threading
from typing import Any

import pytest

from aiolots import DeadlockError, Once, OnceCell
from tests import tasks
from tests.onces import WORLDS, Initialiser, assert_at_rest, wait_until_waiting
from tests.test_scenarios_fork import in_child
from tests.test_scenarios_loops import PROMPTLY, each_loop, no_revocation
from tests.test_scenarios_reentry import Injected, at_check, at_every_check
from tests.worlds import (
    LoopThread,
    in_thread,
    new_loop,
    outcome_of,
    wait_until,
)

__all__ = ["no_revocation"]  # a fixture

each_world = pytest.mark.parametrize("kind", WORLDS)
each_cell = pytest.mark.parametrize("make", [Once, OnceCell])


# --- fork ---------------------------------------------------------------------------------------------------------------


def test_r43_fork_while_another_thread_initialises() -> None:
    """The child has not got that thread: it initialises itself. The parent's goes on."""
    cell, go = OnceCell[int](), threading.Event()
    initialiser = Initialiser(go=go)
    thread = in_thread(cell.get_or_init, initialiser.plain)
    wait_until(lambda: initialiser.begun)

    def child() -> None:
        assert cell.get_or_init(lambda: 7) == 7
        assert cell.waiting == 0

    in_child(child)
    assert cell.get() is None
    go.set()
    assert thread.join() == 1
    assert_at_rest(cell)


@each_loop
def test_r43_fork_while_a_task_initialises(kind: str) -> None:
    """The child has not got that loop, not even if it is the loop's thread that forks."""
    cell, go = OnceCell[int](), threading.Event()
    initialiser = Initialiser(go=go)

    def child() -> None:
        waiting = [in_thread(cell.get_or_init, lambda: 7) for _ in range(3)]
        assert {thread.join() for thread in waiting} == {7}

    with LoopThread(kind) as loop:
        task = loop.submit(cell.get_or_init(initialiser.coloured))
        wait_until(lambda: initialiser.begun)
        in_child(child)
        loop.call(lambda: in_child(child))
        go.set()
        assert outcome_of(task) == 1
    assert_at_rest(cell)


def test_r43_fork_by_the_initialiser() -> None:
    """The child goes on with it, and still refuses re-entry."""
    cell = OnceCell[int]()

    def child() -> None:
        with pytest.raises(DeadlockError):
            cell.get_or_init(lambda: 7)
        waiting = in_thread(cell.get_or_init, lambda: 7)
        wait_until_waiting(cell, 1)
        assert not waiting.done()

    def f() -> int:
        in_child(child)
        return 1

    assert cell.get_or_init(f) == 1
    assert_at_rest(cell)


# --- at every point -----------------------------------------------------------------------------------------------------


def raises() -> None:
    frame = sys._getframe(2)  # of aiolots: after the tracer
    if dis.opname[frame.f_code.co_code[frame.f_lasti]] != "PUSH_EXC_INFO":  # a call that raised looks for no signals
        raise Injected


@pytest.mark.parametrize("fails", [False, True], ids=["succeeds", "fails"])
def test_r43_signal_handler_raises_between_any_two_steps(fails: bool, no_revocation: None) -> None:
    """Of an initialising thread with another one waiting: that one always comes to its value."""

    def run(number: int) -> int:
        cell = OnceCell[int]()
        waiting: list[Any] = []

        def f() -> int:
            waiting.append(in_thread(cell.get_or_init, lambda: 2))
            wait_until_waiting(cell, 1)
            if fails:
                raise ZeroDivisionError
            return 1

        made = None
        with at_check(number, raises) as seen:
            with contextlib.suppress(Injected, ZeroDivisionError):
                made = cell.get_or_init(f)
        if waiting:
            assert waiting[0].join(PROMPTLY) in (1, 2)
        assert cell.get_or_init(lambda: 3) in ((made,) if made else (1, 2, 3))
        assert_at_rest(cell)
        return seen[0]

    assert at_every_check(run) >= 0


def test_r43_signal_handler_raises_between_any_two_steps_of_the_next(no_revocation: None) -> None:
    """Of a waiting thread, which is woken as the next when the initialiser fails: the one behind it comes to its value."""

    def run(number: int) -> int:
        cell, go = OnceCell[int](), threading.Event()
        initialiser, last = Initialiser(ZeroDivisionError(), go=go), Initialiser()
        first = in_thread(cell.get_or_init, initialiser.plain)
        wait_until(lambda: initialiser.begun)
        gone = threading.Event()

        def behind() -> int:
            wait_until(lambda: cell.waiting == 1 or gone.is_set())
            opens = in_thread(lambda: (wait_until(lambda: cell.waiting == 2 or gone.is_set()), go.set()))
            try:
                return cell.get_or_init(last.plain)
            finally:
                opens.join()

        thread = in_thread(behind)
        with at_check(number, raises) as seen, contextlib.suppress(Injected):
            cell.get_or_init(lambda: 3)
        gone.set()
        assert thread.join(PROMPTLY) in (1, 3)
        with pytest.raises(ZeroDivisionError):
            first.join()
        assert_at_rest(cell)
        return seen[0]

    assert at_every_check(run) >= 0


@pytest.mark.parametrize("kind", ["asyncio", "uvloop", "trio"])
def test_r43_many_threads_and_loops_with_failures(kind: str) -> None:
    """Whatever fails and whoever is cancelled: one value, the same for all, and all come to an end."""
    chance = random.Random(43)
    for _ in range(30):
        cell = OnceCell[int]()
        initialiser = Initialiser(*[ZeroDivisionError() if chance.random() < 0.7 else None for _ in range(5)])

        async def ask(cell: Any = cell, initialiser: Any = initialiser) -> Any:
            await tasks.pause()
            return await cell.get_or_init(initialiser.coloured)

        loops = [new_loop(kind), LoopThread("asyncio")]
        try:
            futures: list[concurrent.futures.Future[Any]] = [loop.submit(ask()) for loop in loops for _ in range(6)]
            threads = [in_thread(cell.get_or_init, initialiser.plain) for _ in range(4)]
            results = []
            for get in [lambda f=future: outcome_of(f) for future in futures] + [thread.join for thread in threads]:
                try:
                    results.append(get())
                except ZeroDivisionError:
                    results.append(None)
        finally:
            for loop in loops:
                loop.close()
        assert initialiser.made == [cell.get()]
        assert {result for result in results if result is not None} == {cell.get()}
        assert results.count(None) == len(initialiser.begun) - 1
        assert_at_rest(cell)
