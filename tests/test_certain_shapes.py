"""R30, R29: a lock that is taken again in a `with` of its own, wherever it is kept: DeadlockError at once, in every shape.

What is legal, and looks like these: test_legal_holds.py.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiolots import DeadlockError, FairMutex, Mutex, lowlevel
from aiolots._front import NATIVE
from aiolots.compat import threading as compat
from tests.worlds import assert_idle, in_thread, wait_until, wait_until_parked

HERE = Path(__file__).name
GIL = getattr(sys, "_is_gil_enabled", lambda: True)()
with_gil = pytest.mark.skipif(not GIL, reason="with the GIL off what other calls do is not looked at")

with_exits = pytest.mark.skipif(not (NATIVE and GIL), reason="what a statement has in hand: of the C types, with the GIL")

MUTEX: Any = None  # the global of a test
KINDS: list[Callable[[], Any]] = [Mutex, FairMutex, compat.Lock]


class Striped:
    """Locks where they are kept: in a slot, a dictionary, a class, an object of an object, a list, a dictionary of them."""

    __slots__ = ("__dict__", "slot")
    of_class: Any = None

    def __init__(self, lock: Any) -> None:
        self.mutex = self.slot = lock
        self.locks = Kept(lock)
        self.condition: Any = None
        self.by_name = {"it": lock, 7: None}
        self.in_order = [None, lock]

    def for_key(self, _: object, *, really: bool = True) -> Any:
        return self.mutex if really else None

    @property
    def made(self) -> Any:
        return self.mutex

    def helper(self) -> Any:
        with self.mutex:
            pass


class Kept:
    def __init__(self, lock: Any) -> None:
        self.mutex = lock


def local(lock: Any) -> None:
    with lock:  # HOLDS
        Striped(lock).helper()


def attribute(lock: Any) -> None:
    self = Striped(lock)
    with self.mutex:  # HOLDS
        self.helper()


def attribute_and_acquire(lock: Any) -> None:
    self = Striped(lock)
    with self.mutex:  # HOLDS
        with lock:
            pass


def slot(lock: Any) -> None:
    self = Striped(lock)
    with self.slot:  # HOLDS
        self.helper()


def of_an_attribute(lock: Any) -> None:
    self = Striped(lock)
    with self.locks.mutex as given:  # HOLDS
        assert given
        self.helper()


def of_a_class(lock: Any) -> None:
    Striped.of_class = lock
    try:
        with Striped.of_class:  # HOLDS
            Striped(lock).helper()
    finally:
        Striped.of_class = None


def of_its_class(lock: Any) -> None:
    self = Striped(lock)
    Striped.of_class = lock
    try:
        with self.of_class:  # HOLDS
            self.helper()
    finally:
        Striped.of_class = None


def a_global(lock: Any) -> None:
    global MUTEX  # noqa: PLW0603
    MUTEX = lock
    try:
        with MUTEX:  # HOLDS
            Striped(lock).helper()
    finally:
        MUTEX = None


def in_a_closure(lock: Any) -> None:
    def inner() -> None:
        with lock:  # HOLDS
            Striped(lock).helper()

    inner()


def a_wrapper(lock: Any) -> None:
    def synchronized(function: Callable[[Striped], None]) -> Callable[[Striped], None]:
        @functools.wraps(function)
        def wrapper(self: Striped) -> None:
            with self.mutex:  # HOLDS
                function(self)

        return wrapper

    synchronized(lambda self: self.helper())(Striped(lock))


def recursion(lock: Any) -> None:
    self = Striped(lock)

    def descend(depth: int) -> None:
        if depth == 3:
            with self.mutex:  # HOLDS
                descend(depth + 1)
        elif depth == 6:
            self.helper()
        else:
            descend(depth + 1)

    descend(0)


def the_very_statement(lock: Any) -> None:
    self = Striped(lock)

    def descend(depth: int) -> None:
        with self.mutex:  # HOLDS
            descend(depth + 1)

    descend(0)


def one_of_two(lock: Any) -> None:
    self, other = Striped(lock), Mutex()
    with other, self.mutex, Mutex():  # HOLDS
        self.helper()


def within_handlers(lock: Any) -> None:
    self = Striped(lock)
    with self.mutex:  # HOLDS
        try:
            raise ValueError
        except ValueError:
            self.helper()


def an_item(lock: Any) -> None:
    self, name = Striped(lock), "it"
    with self.by_name[name]:  # HOLDS
        self.helper()


def an_item_of_a_list(lock: Any) -> None:
    self = Striped(lock)
    with self.in_order[1]:  # HOLDS
        self.helper()


def once_more_after_its_end(lock: Any) -> None:
    self = Striped(lock)
    for _ in range(3):
        with self.mutex:
            pass
    with self.mutex:  # HOLDS
        self.helper()


def a_lambda(lock: Any) -> None:
    self = Striped(lock)
    with self.mutex:  # HOLDS
        sorted([1, 2], key=lambda _: self.helper() or 0)


def a_coroutine_that_runs(lock: Any) -> None:
    self = Striped(lock)

    async def handler() -> None:
        with self.mutex:  # HOLDS
            self.helper()

    handler().send(None)


def a_generator_that_runs(lock: Any) -> None:
    self = Striped(lock)

    def items() -> Any:
        with self.mutex:  # HOLDS
            self.helper()
            yield

    next(items())


def a_call(lock: Any) -> None:
    self = Striped(lock)
    with self.for_key("it", really=True):  # HOLDS
        self.helper()


def a_property(lock: Any) -> None:
    self = Striped(lock)
    with self.made:  # HOLDS
        self.helper()


def the_name_leads_elsewhere(lock: Any) -> None:
    self = Striped(lock)
    with self.mutex:  # HOLDS
        self.mutex = None
        with lock:
            pass


SHAPES: list[Callable[[Any], None]] = [
    local,
    attribute,
    attribute_and_acquire,
    slot,
    of_an_attribute,
    of_a_class,
    of_its_class,
    a_global,
    in_a_closure,
    a_wrapper,
    recursion,
    the_very_statement,
    one_of_two,
    within_handlers,
    an_item,
    an_item_of_a_list,
    once_more_after_its_end,
    a_lambda,
]
WITH_EXITS: list[Callable[[Any], None]] = [
    a_coroutine_that_runs,
    a_generator_that_runs,
    a_call,
    a_property,
    the_name_leads_elsewhere,
]


def holds_at(shape: Callable[..., Any], file: str = __file__) -> int:
    begin = shape.__code__.co_firstlineno
    source = Path(file).read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(source[begin - 1 :], begin) if line.endswith("# HOLDS"))


def assert_refused(shape: Callable[[Any], None], lock: Any) -> None:
    with pytest.raises(DeadlockError, match=rf"taken at \S*{HERE}:{holds_at(shape)} in") as caught:
        in_thread(shape, lock).join()
    assert lowlevel.waiters(lock) == []
    del caught
    assert_idle(lock)


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_r30_a_mutex_that_its_thread_holds(shape: Callable[[Any], None], make: Callable[[], Any]) -> None:
    assert_refused(shape, make())


def a_condition(lock: Any) -> None:
    self = Striped(lock)
    self.condition = compat.Condition(lock)
    with self.condition:  # HOLDS
        self.helper()


def a_condition_twice(lock: Any) -> None:
    self = Striped(lock)
    self.condition = compat.Condition(lock)
    with self.condition:  # HOLDS
        with self.condition:
            pass


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("shape", [a_condition, a_condition_twice])
def test_r30_a_condition_of_threading(shape: Callable[[Any], None], make: Callable[[], Any]) -> None:
    assert_refused(shape, make())


@with_exits
@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("shape", WITH_EXITS)
def test_r30_a_mutex_that_takes_a_look_around(shape: Callable[[Any], None], make: Callable[[], Any]) -> None:
    assert_refused(shape, make())


def test_r30_while_others_wait_for_it() -> None:
    lock = Mutex()
    self = Striped(lock)
    go = threading.Event()

    def nest() -> None:
        with self.mutex:
            go.wait()
            self.helper()

    nests = in_thread(nest)
    wait_until(lock.locked)
    others = [in_thread(self.helper) for _ in range(3)]
    wait_until_parked(lock, 3)
    go.set()
    with pytest.raises(DeadlockError):
        nests.join()
    for other in others:
        other.join()
    assert_idle(lock)
