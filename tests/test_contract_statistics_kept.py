"""The contract of statistics(), as long as locks live and longer: names, copies, what is exported, forks."""

from __future__ import annotations

import asyncio
import copy
import gc
import pickle
import sys
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from aiolots import FairMutex, Mutex, RwLock, _waiters, telemetry
from aiolots._front import NATIVE
from aiolots._totals import Series, pending, totals
from tests.test_scenarios_fork import in_child
from tests.worlds import World, in_thread, until_parked, wait_until_parked


def contend(lock: Any, request: Callable[[], Any] | None = None) -> None:
    """Have a thread wait for a lock that is free."""
    request = request or (lock.write if isinstance(lock, RwLock) else lock.lock)
    guard = request().acquire()
    with World("thread") as here:
        attempt = here.attempt(request)
        wait_until_parked(lock, 1)
        guard.release()
        attempt.release()


@pytest.mark.parametrize("make", [RwLock, Mutex, FairMutex])
def test_a_name_is_as_it_was_assigned(make: Callable[..., Any]) -> None:
    """Also when the statistics have taken its place in the object."""
    lock = make(name="first")
    size = sys.getsizeof(lock)
    contend(lock)
    assert lock.name == "first"
    assert "'first'" in repr(lock)
    lock.name = "second"
    assert lock.name == "second"
    if NATIVE:  # in Python that is another lock
        lock.__init__(5, name="third")
        assert lock.name == "third"
    lock.name = None
    assert lock.name is None
    assert repr(lock) == f"<aiolots.{type(lock).__name__} unlocked>"
    assert lock.statistics().contended == 1
    assert sys.getsizeof(lock) == size
    for another in (copy.copy(lock), copy.deepcopy(lock), pickle.loads(pickle.dumps(lock))):
        assert another.statistics().waits == ()
    if not NATIVE:
        return
    with pytest.raises(TypeError):
        lock._longest = 3
    for name in ("name", "_kept", "_longest"):
        with pytest.raises((AttributeError, TypeError)):
            delattr(lock, name)


def test_who_waits_first_at_the_same_time_counts_in_one_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """An op keeps a pointer into the record, so what the first has noted must stay, whoever comes in between its steps."""
    lock, seen = Mutex(), list[Any]()

    def in_between(of: Any) -> str:
        if not seen:
            seen.append(None)
            in_thread(lambda: _waiters.note_contention(of)).join()
            seen.append(of._kept)
        return "label"

    monkeypatch.setattr(_waiters, "label_of", in_between)
    _waiters.note_contention(lock)
    assert lock._kept is seen[1]


def test_a_name_that_leads_back_to_its_lock_is_collected() -> None:
    lock = Mutex()
    contend(lock)
    lock.name = [lock]  # type: ignore[assignment]
    reference = weakref.ref(lock)
    del lock
    gc.collect()
    assert reference() is None


def test_who_was_contended_is_in_the_snapshot_while_it_lives() -> None:
    lock = RwLock(name="in the snapshot")
    assert "in the snapshot" not in [found.label for found in telemetry.snapshot()]
    contend(lock)
    (found,) = [found for found in telemetry.snapshot() if found.label == "in the snapshot"]
    assert (found.kind, found.name, found.statistics) == ("RwLock", "in the snapshot", lock.statistics())
    assert found.statistics.contended == 1
    reference = weakref.ref(lock)
    del lock
    gc.collect()
    assert reference() is None
    assert "in the snapshot" not in [found.label for found in telemetry.snapshot()]


def test_what_is_exported_of_a_label_never_goes_down() -> None:
    series = Series("label", "lock", "thread")
    lock, other = Mutex(name="label"), Mutex(name="label")
    contend(lock)
    before = totals()[series]
    assert before.acquired == before.contentions == sum(before.buckets) == 1
    contend(other)
    contend(other)
    assert totals()[series].acquired == 3
    del lock, other
    gc.collect()
    after = totals()[series]
    assert after.acquired == 3
    assert after.longest_ns >= before.longest_ns
    renamed = Mutex(name="label")
    contend(renamed)
    renamed.name = "another label"
    contend(renamed)
    assert totals()[series].acquired == 5  # the label is that of its first wait
    assert Series("another label", "lock", "thread") not in totals()


def test_labels_without_end_share_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiolots._contention._MOST_LABELS", 0)
    locks = [Mutex(name=f"without end {number}") for number in range(3)]
    for lock in locks:
        contend(lock)

    def labels() -> set[str]:
        return {series.lock for found in (totals(), pending()) for series in found if series.lock.startswith("without end")}

    assert labels() == {"without end 0", "without end 1", "without end 2"}
    del lock, locks
    gc.collect()
    assert labels() == set()
    assert totals()[Series("(others)", "lock", "thread")].acquired >= 3


# --- fork -----------------------------------------------------------------------------------------------------------


def test_a_forked_child_begins_at_nothing() -> None:
    lock = Mutex(name="forked")
    contend(lock)
    before = lock.statistics()
    parents = totals()[Series("forked", "lock", "thread")]

    def child() -> None:
        assert lock.statistics().waits == ()
        assert lock.statistics().longest_wait_at is None
        assert totals() == {}
        contend(lock)
        assert lock.statistics().contended == 1
        assert lock.statistics().longest_wait > 0
        assert lock.statistics().longest_wait_at is not None
        assert {series.lock: counts.acquired for series, counts in totals().items()} == {"forked": 1}

    in_child(child)
    assert lock.statistics() == before
    assert lock.statistics().waits == before.waits
    assert totals()[Series("forked", "lock", "thread")] == parents


async def test_statistics_do_not_wait() -> None:
    """From a task, of a lock that this very task holds and others want."""
    lock = RwLock()
    async with lock.write():
        others = [asyncio.ensure_future(request_of(lock)) for _ in range(3)]
        await until_parked(lock, 3)
        assert lock.statistics().tasks_waiting == 3
        assert lock.statistics().contended == 0
    await asyncio.gather(*others)
    assert lock.statistics().contended == 3


async def request_of(lock: Any) -> None:
    async with lock.read():
        pass
