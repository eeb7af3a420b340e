"""R29, R30, R31: what is held by a guard that only a `with` has, by a task, or by who joins; as test_certain_shapes.py."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiolots import DeadlockError, FairMutex, Mutex, RwLock
from aiolots._front import NATIVE
from aiolots.compat import threading as compat
from tests.test_certain_shapes import KINDS, Striped, holds_at, with_exits, with_gil
from tests.worlds import LoopThread, assert_idle, in_thread

HERE = Path(__file__).name
with_guards = pytest.mark.skipif(not NATIVE, reason="the front in Python does not find its guards")


def item_read_write(self: Striped, key: str) -> None:
    with self.by_name[key].read():  # HOLDS
        self.mutex.write().acquire()


def local_item_read_write(self: Striped, key: str) -> None:
    locks = self.by_name
    with locks[key].read():  # HOLDS
        self.mutex.write().acquire()


def list_read_upgradable(self: Striped, _: str) -> None:
    with self.in_order[-1].upgradable_read():  # HOLDS
        self.mutex.upgradable_read().acquire()


def attribute_write(self: Striped, _: str) -> None:
    with self.mutex.write():  # HOLDS
        with self.mutex.write():
            pass


def call_write(self: Striped, key: str) -> None:
    with self.for_key(key).write():  # HOLDS
        self.mutex.read().acquire()


def write_with_a_limit(self: Striped, key: str) -> None:
    with self.by_name[key].write(timeout=60):  # HOLDS
        self.mutex.read().acquire()


def write_in_a_loop(self: Striped, key: str) -> None:
    for number in range(3):
        with self.for_key(key).write():  # HOLDS
            if number == 2:
                self.mutex.write().acquire()


def write_recursively(self: Striped, key: str) -> None:
    with self.for_key(key).write():  # HOLDS
        write_recursively(self, key)


def write_in_a_coroutine(self: Striped, key: str) -> None:
    async def handler() -> None:
        with self.for_key(key).write():  # HOLDS
            self.mutex.read().acquire()

    handler().send(None)


@pytest.mark.parametrize(
    "shape",
    [
        item_read_write,
        local_item_read_write,
        list_read_upgradable,
        attribute_write,
        *(
            pytest.param(shape, marks=with_guards)
            for shape in (call_write, write_with_a_limit, write_in_a_loop, write_recursively)
        ),
        pytest.param(write_in_a_coroutine, marks=with_exits),
    ],
)
def test_r29_a_guard_that_only_the_head_asked_for(shape: Callable[[Striped, str], None]) -> None:
    lock = RwLock()
    with pytest.raises(DeadlockError, match=rf"taken at \S*{HERE}:{holds_at(shape, __file__)} in"):
        in_thread(shape, Striped(lock), "it").join()
    assert_idle(lock)


def mutex_guard_of_a_call(self: Striped, key: str) -> None:
    with self.for_key(key).lock():
        self.helper()


def mutex_guard_of_an_item(self: Striped, key: str) -> None:
    with self.by_name[key].lock():
        self.helper()


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("shape", [pytest.param(mutex_guard_of_a_call, marks=with_guards), mutex_guard_of_an_item])
def test_r30_a_mutexs_guard(shape: Callable[[Striped, str], None], make: Callable[[], Any]) -> None:
    lock = make()
    with pytest.raises(DeadlockError):
        in_thread(shape, Striped(lock), "it").join()
    assert_idle(lock)


# --- tasks --------------------------------------------------------------------------------------------------------------


class Service:
    """A lock of tasks that is an attribute, and nested by calls."""

    def __init__(self, lock: Any) -> None:
        self.lock = lock

    async def mutex_twice(self) -> None:
        async with self.lock:
            await self.mutex_again()

    async def mutex_again(self) -> None:
        async with self.lock:
            pass

    async def write_twice(self) -> None:
        async with self.lock.write():
            await self.write_again()

    async def write_again(self) -> None:
        async with self.lock.write():
            pass

    async def sync_twice(self) -> None:
        with self.lock:
            self.sync_again()

    def sync_again(self) -> None:
        with self.lock:
            pass


@with_gil
@pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
@pytest.mark.parametrize(
    ("make", "use"),
    [
        (Mutex, Service.mutex_twice),
        (FairMutex, Service.mutex_twice),
        (compat.Lock, Service.mutex_twice),
        (RwLock, Service.write_twice),
        pytest.param(Mutex, Service.sync_twice, marks=with_exits),
        pytest.param(FairMutex, Service.sync_twice, marks=with_exits),
    ],
)
def test_r30_a_task(make: Callable[[], Any], use: Callable[[Service], Any], kind: str) -> None:
    lock = make()
    with LoopThread(kind) as loop:
        with pytest.raises(DeadlockError):
            loop.run(use(Service(lock)))
        loop.run(asyncio.sleep(0))
    assert_idle(lock)


@with_exits
def test_r31_a_thread_that_is_joined_wants_what_the_joiner_entered() -> None:
    lock = Mutex()
    self, errors = Striped(lock), list[str]()

    def child() -> None:
        try:
            self.helper()
        except DeadlockError as error:
            errors.append(str(error))

    def parent() -> None:
        with self.mutex:
            thread = threading.Thread(target=child, daemon=True)
            thread.start()
            thread.join()

    in_thread(parent).join()
    assert re.search("which joins thread", errors[0])
    assert_idle(lock)
