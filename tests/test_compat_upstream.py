"""CPython's own tests of its locks, run on those of aiolots.compat; where this Python comes with its tests."""

from __future__ import annotations

import importlib.util
import sys
import types
import unittest
from collections.abc import Callable
from typing import Any

import pytest

from aiolots import lowlevel
from aiolots.compat import asyncio as compat_asyncio
from aiolots.compat import threading as compat_threading

lock_tests = pytest.importorskip("test.lock_tests", reason="this Python comes without its tests")
pytest.importorskip("test.test_asyncio.test_locks", reason="this Python comes without its tests")

pytestmark = pytest.mark.slow

# The standard library's insides are looked at, or there is no such thing; each with what takes its place.
CANNOT_APPLY = {
    "ConditionAsRLock.test_recursion_count": "a Condition has no _recursion_count, the standard library skips this too",
    "Event.test_at_fork_reinit": "looks at _cond; an Event here has no lock in it",
    "AsyncLock.test_cancel_race": "looks at the future of a waiter; see test_compat_asyncio.py for the same race",
    "AsyncEvent.test_repr": "puts a mock into _waiters; see test_repr in test_compat_asyncio.py",
    "AsyncCondition.test_repr": "puts a mock into _waiters; see test_repr in test_compat_asyncio.py",
    "AsyncSemaphore.test_repr": "puts a mock into _waiters; see test_repr in test_compat_asyncio.py",
    "AsyncCondition.test_ambiguous_loops": "expects what is bound to a loop, and nothing here is",
    "AsyncSemaphore.test_acquire_fifo_order_4": "looks at _value and _waiters; for the order see test_compat_asyncio.py",
}


def with_waiters(kind: type[Any], waiters: Callable[[Any], Any]) -> type[Any]:
    """The same class, with the list that asyncio's tests look at to see how many wait."""
    return type(kind.__name__, (kind,), {"_waiters": property(waiters)})


class AsAsyncio:
    """The module that asyncio's tests know as `asyncio`."""

    Lock = with_waiters(compat_asyncio.Lock, lambda lock: lowlevel.waiters(lock._mutex))
    Event = with_waiters(compat_asyncio.Event, lambda event: lowlevel.waiters(key=event._event))
    Condition = with_waiters(compat_asyncio.Condition, lambda cond: lowlevel.waiters(key=cond))
    Semaphore = with_waiters(compat_asyncio.Semaphore, lambda sem: lowlevel.waiters(key=sem._semaphore))
    BoundedSemaphore = with_waiters(compat_asyncio.BoundedSemaphore, lambda sem: lowlevel.waiters(key=sem._semaphore))

    def __getattr__(self, name: str) -> Any:
        return getattr(compat_asyncio, name)


def fresh_copy(name: str) -> types.ModuleType:
    """Import a module once more, for itself, to put other names into it."""
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


locks_of_asyncio: Any = fresh_copy("test.test_asyncio.test_locks")
locks_of_asyncio.asyncio = AsAsyncio()


def of(name: str, base: type[unittest.TestCase], **attributes: Any) -> type[unittest.TestCase]:
    """Return a class of tests under another name, without those that cannot apply."""
    for test in dir(base):
        if (reason := CANNOT_APPLY.get(f"{name}.{test}")) is not None:
            attributes[test] = unittest.skip(reason)(getattr(base, test))
    return type(f"Test{name}", (base,), {"__module__": __name__, **attributes})


TestLock = of("Lock", lock_tests.LockTests, locktype=staticmethod(compat_threading.Lock))
TestRLock = of("RLock", lock_tests.RLockTests, locktype=staticmethod(compat_threading.RLock))
TestCondition = of("Condition", lock_tests.ConditionTests, condtype=staticmethod(compat_threading.Condition))
TestConditionAsRLock = of("ConditionAsRLock", lock_tests.RLockTests, locktype=staticmethod(compat_threading.Condition))
TestEvent = of("Event", lock_tests.EventTests, eventtype=staticmethod(compat_threading.Event))
TestSemaphore = of("Semaphore", lock_tests.SemaphoreTests, semtype=staticmethod(compat_threading.Semaphore))
TestBoundedSemaphore = of(
    "BoundedSemaphore", lock_tests.BoundedSemaphoreTests, semtype=staticmethod(compat_threading.BoundedSemaphore)
)
TestBarrier = of("Barrier", lock_tests.BarrierTests, barriertype=staticmethod(compat_threading.Barrier))
TestAsyncLock = of("AsyncLock", locks_of_asyncio.LockTests)
TestAsyncEvent = of("AsyncEvent", locks_of_asyncio.EventTests)
TestAsyncCondition = of("AsyncCondition", locks_of_asyncio.ConditionTests)
TestAsyncSemaphore = of("AsyncSemaphore", locks_of_asyncio.SemaphoreTests)


def test_what_cannot_apply_is_still_there() -> None:
    only_newer = {"AsyncSemaphore.test_acquire_fifo_order_4"} if sys.version_info < (3, 13) else set()
    for name in CANNOT_APPLY.keys() - only_newer:
        kind, _, test = name.partition(".")
        assert hasattr(globals()[f"Test{kind}"], test), name
