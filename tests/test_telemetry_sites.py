"""Waits by place: opt-in, few of them, and no number of theirs ever goes down."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aiolots import FairMutex, Mutex, RwLock, _events, _sites
from aiolots._sites import Shown
from aiolots._totals import Series
from tests.holding import numbers, pause
from tests.test_contract_events import nobody_listens
from tests.test_scenarios_fork import in_child
from tests.tracking_world import line_with
from tests.waiting import in_thread, until_parked, wait_until, wait_until_parked

__all__ = ["nobody_listens"]  # a fixture

OTHERS = "(others)"


@pytest.fixture(autouse=True)
def a_new_table() -> Iterator[None]:
    """Places of other tests are not among those that are shown."""
    _sites._rows.clear()
    yield
    gc.collect()  # whoever is gone wants it no more
    assert not _sites._wanted


def name() -> str:
    return f"waited for at places {next(numbers)}"


def one(lock: Any) -> None:
    with lock:  # one
        pass


def two(lock: Any) -> None:
    with lock:  # two
        pass


def three(lock: Any) -> None:
    with lock:  # three
        pass


ONE, TWO, THREE = (line_with(place, f"# {place.__name__}") for place in (one, two, three))


def wait_at(lock: Any, *places: Callable[[Any], None], seconds: float = 0.0) -> None:
    """Have threads wait for a lock at these places, so long at least."""
    guard = lock.lock().acquire()
    threads = [in_thread(place, lock) for place in places]
    wait_until_parked(lock, len(places))
    pause(seconds)
    guard.release()
    for thread in threads:
        thread.join()


def counts(shown: Shown, label: str) -> dict[str, int]:
    """Return the contentions of a lock by place, of all modes and colours."""
    found: Counter[str] = Counter()
    for (series, site), counted in shown.collect().items():
        if series.lock == label:
            found[site] += counted.contentions
    return dict(found)


# --- which are shown ----------------------------------------------------------------------------------------------------


def test_each_wait_is_counted_at_its_place() -> None:
    lock = Mutex(name=name())
    assert lock.name is not None
    wait_at(lock, one)  # before: not counted
    shown = Shown(20)
    wait_at(lock, one, two, one)
    with lock:
        assert lock.try_lock_for(0.001).acquire() is None
        place = line_with(test_each_wait_is_counted_at_its_place, "acquire() is None")
    found = {site: counted for (_, site), counted in shown.collect().items()}
    assert {site: (c.acquired, c.timeouts, c.cancellations) for site, c in found.items()} == {
        ONE: (2, 0, 0),
        TWO: (1, 0, 0),
        place: (0, 1, 0),
    }
    (waits,) = lock.statistics().waits
    assert sum(found[site].acquired for site in found) == waits.contended - 1
    assert [sum(c.buckets) for c in found.values()] == [c.acquired for c in found.values()]
    total = sum(c.waited_ns for c in found.values()) / 1e9
    assert total <= waits.total_wait
    shown.end()
    wait_at(lock, one)
    assert counts(shown, lock.name) == {ONE: 2, TWO: 1, place: 1}


@pytest.mark.parametrize("make", [Mutex, FairMutex])
def test_tasks_and_cancellations(make: Callable[..., Any]) -> None:
    lock = make(name=name())
    shown = Shown(5)

    async def waits() -> None:
        async with lock:  # waits
            pass

    async def main() -> None:
        async with lock.lock():
            tasks = [asyncio.ensure_future(waits()) for _ in range(3)]
            await until_parked(lock, 3)
            tasks[1].cancel()
            await asyncio.gather(tasks[1], return_exceptions=True)
        await asyncio.gather(tasks[0], tasks[2])

    asyncio.run(main())
    ((series, site), counted), *rest = shown.collect().items()
    assert not rest
    assert series == Series(lock.name, "lock", "task")
    assert site == line_with(waits, "# waits")
    assert (counted.acquired, counted.cancellations) == (2, 1)


def test_the_first_places_are_those_where_most_is_waited() -> None:
    lock = Mutex(name=name())
    assert lock.name is not None
    shown = Shown(2)
    wait_at(lock, one, seconds=0.02)
    wait_at(lock, two)
    wait_at(lock, three, three, seconds=0.03)
    assert counts(shown, lock.name) == {THREE: 2, ONE: 1, OTHERS: 1}
    wait_at(lock, two, seconds=0.2)  # there is no place left
    assert counts(shown, lock.name) == {THREE: 2, ONE: 1, OTHERS: 2}


def test_a_place_that_is_shown_later_begins_there() -> None:
    """What was told of it among the others stays theirs."""
    lock = Mutex(name=name())
    assert lock.name is not None
    shown = Shown(2)
    wait_at(lock, one, seconds=0.05)
    waits = 0
    while counts(shown, lock.name) == {ONE: waits + 1}:
        wait_at(lock, one)  # so many that one wait at another place is not a hundredth
        waits += 1
        if waits == 150:
            break
    assert counts(shown, lock.name) == {ONE: 151}
    wait_at(lock, two)
    assert counts(shown, lock.name) == {ONE: 151, OTHERS: 1}
    wait_at(lock, two, seconds=0.1)
    assert counts(shown, lock.name) == {ONE: 151, TWO: 1, OTHERS: 1}
    wait_at(lock, two, two)
    assert counts(shown, lock.name) == {ONE: 151, TWO: 3, OTHERS: 1}
    another = Shown(2)  # which has told nothing
    assert counts(another, lock.name) == {ONE: 151, TWO: 4}


def test_no_number_goes_down_and_none_is_lost() -> None:
    label = name()
    locks = [Mutex(name=label), Mutex(name=label)]
    ended = threading.Event()
    shown = Shown(2)

    def works(place: Callable[[Any], None], lock: Any) -> None:
        while not ended.is_set():
            place(lock)

    def holds(lock: Any) -> None:
        while not ended.is_set():
            with lock:
                time.sleep(0)

    before: dict[tuple[Series, str], Any] = {}

    def looks() -> None:
        now = shown.collect()
        for key, old in before.items():
            new = now[key]
            assert all(getattr(new, what) >= getattr(old, what) for what in ("acquired", "waited_ns", "timeouts")), key
            assert all(a >= b for a, b in zip(new.buckets, old.buckets, strict=True)), key
        before.update(now)

    places = (one, two, three)
    workers = [in_thread(works, place, lock) for place in places for lock in locks] + [in_thread(holds, lock) for lock in locks]
    try:
        for _ in range(100):
            looks()
            pause(0.002)
    finally:
        ended.set()
        for worker in workers:
            worker.join()
    looks()
    mine = {key: counted for key, counted in before.items() if key[0].lock == label}
    assert len({site for _, site in mine} - {OTHERS}) <= 2
    assert sum(counted.contentions for counted in mine.values()) == sum(lock.statistics().contended for lock in locks)


def test_two_that_collect_at_once_choose_once(monkeypatch: pytest.MonkeyPatch) -> None:
    lock = Mutex(name=name())
    assert lock.name is not None
    shown = Shown(2)
    wait_at(lock, one)
    inside: list[dict[str, int]] = []
    choose = shown._choose

    def chooses(now: Any) -> None:
        if not inside:
            inside.append(counts(shown, lock.name or ""))  # another thread, or a signal handler
        choose(now)

    monkeypatch.setattr(shown, "_choose", chooses)
    assert counts(shown, lock.name) == {ONE: 1}
    assert inside == [{}]
    wait_at(lock, one)
    inside.clear()
    assert counts(shown, lock.name) == {ONE: 2}
    assert inside == [{ONE: 1}]


# --- bounds -------------------------------------------------------------------------------------------------------------


def test_the_table_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sites, "_MOST_ROWS", 2)
    shown = Shown(20)
    names = [name() for _ in range(5)]
    locks = [Mutex(name=each) for each in names]
    for lock in locks[:3]:
        wait_at(lock, one)
        wait_at(lock, two)
    assert len(_sites._rows) == 4
    wait_at(locks[3], three)
    wait_at(locks[4], three)
    assert len(_sites._rows) == 5
    found = {(series.lock, site): counted.contentions for (series, site), counted in shown.collect().items()}
    assert found == {
        (names[0], ONE): 1,
        (names[0], TWO): 1,
        (names[1], OTHERS): 2,
        (names[2], OTHERS): 2,
        (OTHERS, OTHERS): 2,
    }


def test_who_wants_none_pays_nothing() -> None:
    assert _events.wanted == 0
    shown, another = Shown(1), Shown(1)
    assert _events.wanted == _events.ALL
    shown.end()
    shown.end()
    assert _events.wanted == _events.ALL
    del another
    gc.collect()
    assert _events.wanted == 0
    for wrong in (0, -1):
        with pytest.raises(ValueError, match="sites="):
            Shown(wrong)


def test_a_forked_child_begins_at_nothing() -> None:
    lock = Mutex(name=name())
    assert lock.name is not None
    shown = Shown(2)
    wait_at(lock, one, two)
    assert counts(shown, lock.name) == {ONE: 1, TWO: 1}

    def child() -> None:
        assert shown.collect() == {}
        wait_at(lock, two)
        assert counts(shown, lock.name or "") == {TWO: 1}

    in_child(child)
    assert counts(shown, lock.name) == {ONE: 1, TWO: 1}


# --- exported -----------------------------------------------------------------------------------------------------------


def test_prometheus_has_a_label_for_it() -> None:
    prometheus_client = pytest.importorskip("prometheus_client")
    from aiolots.telemetry.prometheus import LockCollector

    with pytest.raises(ValueError, match="sites="):
        LockCollector(sites=-1)
    registry = prometheus_client.CollectorRegistry()
    registry.register(LockCollector(sites=1))
    lock = Mutex(name=name())
    wait_at(lock, one, one, seconds=0.01)
    wait_at(lock, two)
    with lock:
        assert lock.try_lock_for(0.001).acquire() is None
    plain = {"lock": lock.name, "mode": "lock", "waiter": "thread"}
    for site, contentions, waits in ((ONE, 2, 2), (OTHERS, 2, 1)):
        labels = {**plain, "site": site}
        assert registry.get_sample_value("aiolots_lock_contentions_total", labels) == contentions
        assert registry.get_sample_value("aiolots_lock_wait_seconds_count", labels) == waits
        assert registry.get_sample_value("aiolots_lock_wait_seconds_bucket", {**labels, "le": "+Inf"}) == waits
    assert registry.get_sample_value("aiolots_lock_wait_seconds_sum", {**plain, "site": ONE}) >= 0.02
    assert registry.get_sample_value("aiolots_lock_contentions_total", plain) is None
    assert registry.get_sample_value("aiolots_lock_timeouts_total", plain) == 1  # which has no places


def test_opentelemetry_has_an_attribute_for_it() -> None:
    pytest.importorskip("opentelemetry.sdk.metrics")
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    from aiolots.telemetry.opentelemetry import instrument

    reader = InMemoryMetricReader()
    uninstrument = instrument(MeterProvider([reader]), sites=1, hold_times=False)
    lock = RwLock(name=name())

    def found(metric: str) -> dict[str, Any]:
        return {
            point.attributes["site"]: point
            for each in reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
            if each.name == f"aiolots.lock.{metric}"
            for point in each.data.data_points
            if point.attributes["lock"] == lock.name
        }

    def told() -> int:
        return sum(point.count for point in found("wait_time").values())

    def writes() -> None:
        with lock.write():  # writes
            pass

    def reads() -> None:
        with lock.read():
            pass

    place = line_with(writes, "# writes")

    def wait_for(*workers: Callable[[], None]) -> None:
        with lock.read() if workers == (writes,) else lock.write():
            threads = [in_thread(worker) for worker in workers]
            wait_until_parked(lock, len(workers))
            pause(0.005)
        for thread in threads:
            thread.join()

    wait_for(writes)
    assert {site: point.value for site, point in found("contentions").items()} == {place: 1}
    wait_until(told)
    first = {site: point.count for site, point in found("wait_time").items()}  # told before it was shown, or after
    assert sum(first.values()) == 1
    wait_for(writes)
    wait_until(lambda: told() == 2)
    wait_for(reads)
    assert {site: point.value for site, point in found("contentions").items()} == {place: 2, OTHERS: 1}
    wait_until(lambda: told() == 3)
    times = found("wait_time")
    assert {site: times[site].count - first.get(site, 0) for site in times} == {place: 1, OTHERS: 1}
    uninstrument()
    assert _events.wanted == 0
