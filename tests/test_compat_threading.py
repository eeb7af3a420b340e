"""aiolots.compat.threading is `threading`: every call on both modules, with its result or its error. Waits: the next file."""

from __future__ import annotations

import concurrent.futures
import copy
import gc
import inspect
import math
import pickle
import queue
import re
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest

import aiolots
from aiolots._errors import NotHeld
from aiolots.compat import threading as compat
from tests.worlds import WATCHDOG, in_thread

each_module = pytest.mark.parametrize("module", [threading, compat], ids=["stdlib", "aiolots"])
OURS = ("Lock", "RLock", "Condition", "Event", "Semaphore", "BoundedSemaphore", "Barrier")


# --- every call, with its result or its error ---------------------------------------------------------------------------


def _with(thing: Any) -> Any:
    with thing as value:
        return value


def _twice(thing: Any) -> Any:
    with thing:
        thing.release()


def _wait(cond: Any, *args: Any, **kwargs: Any) -> Any:
    with cond:
        return cond.wait(*args, **kwargs)


def _wait_for(cond: Any, *args: Any) -> Any:
    with cond:
        return cond.wait_for(*args)


TIMED: dict[str, Callable[[Any], Any]] = {
    "0": lambda lock: lock.acquire(timeout=0),
    "0.001": lambda lock: lock.acquire(True, 0.001),
    "not blocking": lambda lock: lock.acquire(blocking=False),
    "not blocking, -1": lambda lock: lock.acquire(False, -1),
    "not blocking, timed": lambda lock: lock.acquire(False, 1),
    "negative": lambda lock: lock.acquire(timeout=-2),
    "too large": lambda lock: lock.acquire(timeout=1e10),
    "inf": lambda lock: lock.acquire(timeout=math.inf),
    "str": lambda lock: lock.acquire(timeout="1"),
    "None": lambda lock: lock.acquire(timeout=None),
    "unknown": lambda lock: lock.acquire(wait=True),
    "release": lambda lock: lock.release(),
    "with": _with,
    "with, released inside": _twice,
}
CALLS: dict[str, dict[str, Callable[[Any], Any]]] = {
    "Lock": TIMED
    | {
        "locked": lambda lock: lock.locked(),
        "acquired, released twice": lambda lock: (lock.acquire(), lock.release(), lock.release()),
        "old names": lambda lock: (lock.acquire_lock(), lock.locked_lock(), lock.release_lock()),
    },
    "RLock": TIMED
    | {
        "again": lambda lock: (lock.acquire(), lock.acquire(False), lock.acquire(timeout=0.001), lock.release()),
        "owned": lambda lock: (lock._is_owned(), lock.acquire(), lock._is_owned()),
        "count": lambda lock: (lock.acquire(), lock.acquire(), lock._recursion_count()),
        "saved": lambda lock: (lock.acquire(), lock._acquire_restore(lock._release_save()), lock._recursion_count()),
        "save": lambda lock: lock._release_save(),
        "owned, not blocking, timed": lambda lock: (lock.acquire(), lock.acquire(False, 1)),
        "owned, too large": lambda lock: (lock.acquire(), lock.acquire(timeout=1e10)),
    },
    "Condition": {
        "wait, not held": lambda cond: cond.wait(),
        "wait_for, not held": lambda cond: cond.wait_for(bool),
        "wait_for, not held, true": lambda cond: cond.wait_for(lambda: "at once"),
        "notify, not held": lambda cond: cond.notify(),
        "notify_all, not held": lambda cond: cond.notify_all(),
        "release, not held": lambda cond: cond.release(),
        "with": _with,
        "wait 0": lambda cond: _wait(cond, 0),
        "wait negative": lambda cond: _wait(cond, -1),
        "wait 0.001": lambda cond: _wait(cond, timeout=0.001),
        "wait nan": lambda cond: _wait(cond, math.nan),
        "wait too long": lambda cond: _wait(cond, 1e10),
        "wait str": lambda cond: _wait(cond, "1"),
        "wait_for false": lambda cond: _wait_for(cond, list, 0.001),
        "wait_for false, 0": lambda cond: _wait_for(cond, list, 0),
        "wait_for false, negative": lambda cond: _wait_for(cond, list, -1),
        "wait_for true": lambda cond: _wait_for(cond, lambda: "yes", 0),
        "notify nobody": lambda cond: (cond.acquire(), cond.notify(), cond.notify(3), cond.notify(0), cond.notify_all()),
        "arguments": lambda cond: (cond.acquire(True, 1), cond.acquire(False)),
    },
    "Event": {
        "unset": lambda event: event.is_set(),
        "set": lambda event: (event.set(), event.is_set(), event.wait(), event.wait(-1), event.wait("never looked at")),
        "cleared": lambda event: (event.set(), event.clear(), event.is_set()),
        "wait 0": lambda event: event.wait(0),
        "wait negative": lambda event: event.wait(-1),
        "wait 0.001": lambda event: event.wait(timeout=0.001),
        "wait too long": lambda event: event.wait(1e10),
        "wait str": lambda event: event.wait("1"),
    },
    "Semaphore": {
        "acquire": lambda sem: (sem.acquire(), sem.acquire(False), sem._value),
        "timed": lambda sem: (sem.acquire(timeout=0), sem.acquire(timeout=0.001), sem.acquire(True, -1)),
        "not blocking, timed": lambda sem: sem.acquire(False, 1),
        "release": lambda sem: (sem.release(), sem.acquire(False), sem.acquire(False), sem.acquire(False)),
        "release 3": lambda sem: (sem.release(3), sem._value),
        "release 0": lambda sem: sem.release(0),
        "release negative": lambda sem: sem.release(n=-1),
        "with": _with,
    },
    "Barrier": {
        "attributes": lambda barrier: (barrier.parties, barrier.n_waiting, barrier.broken),
        "wait 0": lambda barrier: barrier.wait(0),
        "wait negative": lambda barrier: barrier.wait(timeout=-1),
        "aborted": lambda barrier: (barrier.abort(), barrier.broken, barrier.n_waiting),
        "wait, aborted": lambda barrier: (barrier.abort(), barrier.wait()),
        "reset": lambda barrier: (barrier.abort(), barrier.reset(), barrier.broken),
    },
}
CALLS["BoundedSemaphore"] = CALLS["Semaphore"] | {
    "acquired, released": lambda sem: (sem.acquire(), sem.release(), sem.acquire(False), sem._initial_value),
    "released too often": lambda sem: (sem.acquire(), sem.release(), sem.release()),
}
# Whose words are the standard library's; of the others, TypeErrors of Python itself and such, the type is compared.
SAME_WORDS = (RuntimeError, ValueError)
# Errors where the standard library has other words, or has different ones in different versions.
OTHER_WORDS = {"negative", "with, released inside", "wait 0", "wait negative", "wait, aborted", "inf"}


def outcome(call: Callable[[Any], Any], thing: Any, name: str) -> Any:
    try:
        return call(thing)
    except Exception as error:  # noqa: BLE001
        kind_of = RuntimeError if isinstance(error, NotHeld) else type(error)
        return kind_of, str(error) if isinstance(error, SAME_WORDS) and name not in OTHER_WORDS else ""


def make(module: Any, kind: str) -> Any:
    return module.Barrier(2) if kind == "Barrier" else getattr(module, kind)()


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, calls in CALLS.items() for name in calls], ids=lambda value: value
)
def test_every_call_is_answered_alike(kind: str, name: str) -> None:
    theirs, ours = make(threading, kind), make(compat, kind)
    expected = outcome(CALLS[kind][name], theirs, name)
    assert outcome(CALLS[kind][name], ours, name) == expected
    if kind == "Lock":
        assert ours.locked() == theirs.locked()


@pytest.mark.parametrize("kind", OURS)
def test_signatures(kind: str) -> None:
    """The standard library's, and a name."""
    ours = getattr(compat, kind)
    for method in (
        "acquire",
        "release",
        "wait",
        "wait_for",
        "notify",
        "notify_all",
        "set",
        "clear",
        "is_set",
        "abort",
        "reset",
    ):
        theirs_too = getattr(getattr(threading, kind), method, None)
        if not inspect.isfunction(theirs_too):  # there is none, or it is in C and tells nothing
            continue
        expected = [(p.name, p.default) for p in inspect.signature(theirs_too).parameters.values()]
        found = [(p.name, p.default) for p in inspect.signature(getattr(ours, method)).parameters.values()]
        assert found == expected
    if kind not in ("Lock", "RLock"):
        expected = [(p.name, p.default) for p in inspect.signature(getattr(threading, kind)).parameters.values()]
        found = [(p.name, p.default) for p in inspect.signature(ours).parameters.values()]
        assert found == [*expected, ("name", None)]


@each_module
@pytest.mark.parametrize(
    ("kind", "args"), [("Semaphore", (-1,)), ("BoundedSemaphore", (-1,)), ("Lock", (1,)), ("Event", (1,)), ("Barrier", ())]
)
def test_what_cannot_be_made(module: Any, kind: str, args: tuple[Any, ...]) -> None:
    with pytest.raises((ValueError, TypeError)):
        getattr(module, kind)(*args)


# --- in the place of the standard library's -----------------------------------------------------------------------------


@pytest.fixture
def patched(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in OURS:
        monkeypatch.setattr(threading, kind, getattr(compat, kind))


@pytest.mark.usefixtures("patched")
@pytest.mark.parametrize("kind", [queue.Queue, queue.LifoQueue, queue.PriorityQueue])
def test_a_queue_is_made_of_them(kind: type[queue.Queue[int]]) -> None:
    jobs = kind(2)
    assert isinstance(jobs.mutex, compat.Lock)
    got: list[int] = []

    def work() -> None:
        while (job := jobs.get(timeout=WATCHDOG)) < 100:
            got.append(job)
            jobs.task_done()

    workers = [in_thread(work) for _ in range(3)]
    for job in range(50):
        jobs.put(job, timeout=WATCHDOG)
    jobs.join()
    with pytest.raises(queue.Empty):
        jobs.get(timeout=0.001)
    for _ in workers:
        jobs.put(100)
    for worker in workers:
        worker.join()
    assert sorted(got) == list(range(50))


@pytest.mark.usefixtures("patched")
def test_threads_timers_and_pools_are_made_of_them() -> None:
    assert isinstance(concurrent.futures.Future()._condition, compat.Condition)  # type: ignore[attr-defined]
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        assert list(pool.map(abs, range(-20, 0), timeout=WATCHDOG)) == list(range(20, 0, -1))
    fired = compat.Event()
    timer = threading.Timer(0.001, fired.set)
    assert isinstance(timer.finished, compat.Event)
    timer.start()
    assert fired.wait(WATCHDOG)
    timer.join(WATCHDOG)
    assert not timer.is_alive()


def test_every_other_name_is_the_standard_librarys(monkeypatch: pytest.MonkeyPatch) -> None:
    names: dict[str, Any] = {}
    exec("from aiolots.compat.threading import *", names)
    for name in {*threading.__all__, "_shutdown", "_MainThread"} - set(OURS):
        assert getattr(compat, name) is getattr(threading, name), name
    assert all(names[name] is getattr(compat, name) for name in OURS)
    assert compat.Lock is not threading.Lock
    hooks: list[Any] = []
    monkeypatch.setattr(compat, "excepthook", hooks.append)
    assert threading.excepthook == hooks.append
    with pytest.raises(AttributeError):
        compat.no_such_name  # noqa: B018
    assert set(threading.__all__) - set(compat.__all__) <= {"excepthook", "setprofile_all_threads", "settrace_all_threads"}


def test_isinstance_holds_among_them() -> None:
    assert issubclass(compat.BoundedSemaphore, compat.Semaphore)
    assert isinstance(compat.Lock(), aiolots.Mutex)
    assert issubclass(compat.Event, aiolots.Event)
    assert issubclass(compat.Barrier, aiolots.Barrier)


@pytest.mark.parametrize("kind", ["Lock", "RLock", "Condition", "Semaphore", "BoundedSemaphore"])
def test_they_go_without_a_word_while_they_are_held(kind: str) -> None:
    thing = getattr(compat, kind)()
    thing.acquire()
    gone = weakref.ref(thing)
    del thing
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("kind", ["Lock", "Event", "Semaphore", "BoundedSemaphore", "Barrier"])
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))])
def test_copies_are_new_ones(kind: str, copied: Callable[[Any], Any]) -> None:
    ours = compat.Barrier(3, name="mine") if kind == "Barrier" else getattr(compat, kind)(name="mine")
    if hasattr(ours, "acquire"):
        ours.acquire()
    another = copied(ours)
    assert type(another) is type(ours)
    assert another.name == "mine"
    assert "'mine'" in repr(another)
    assert not hasattr(another, "acquire") or another.acquire(False)


@pytest.mark.parametrize(
    ("kind", "free", "held"),
    [
        ("Lock", r"<unlocked aiolots\.Lock object at 0x\w+>", r"<locked aiolots\.Lock object at 0x\w+>"),
        ("RLock", r"<unlocked .*RLock object.* count=0 at 0x\w+>", r"<locked .*RLock object.* count=1 at 0x\w+>"),
        ("Condition", r"<Condition\(<unlocked .*>, 0\)>", r"<Condition\(<locked .*>, 0\)>"),
        ("Semaphore", r"<aiolots\.Semaphore at 0x\w+: value=1>", r"<aiolots\.Semaphore at 0x\w+: value=0>"),
        ("BoundedSemaphore", r"<.*BoundedSemaphore at 0x\w+: value=1/1>", r"<.*BoundedSemaphore at 0x\w+: value=0/1>"),
    ],
)
def test_repr(kind: str, free: str, held: str) -> None:
    thing = getattr(compat, kind)()
    assert re.fullmatch(free, repr(thing))
    with thing:
        assert re.fullmatch(held, repr(thing))


@pytest.mark.parametrize("kind", ["Lock", "RLock", "Condition", "Event"])
def test_what_threading_calls_after_a_fork(kind: str) -> None:
    thing = getattr(compat, kind)()
    if kind != "Event":
        thing.acquire()
        in_thread(thing._at_fork_reinit).join()
        assert in_thread(thing.acquire, False).join()
    else:
        thing._at_fork_reinit()


def test_deprecated_names_say_so() -> None:
    with pytest.warns(DeprecationWarning, match="isSet"):
        assert compat.Event().isSet() is False
    cond = compat.Condition()
    with cond, pytest.warns(DeprecationWarning, match="notifyAll"):
        cond.notifyAll()
