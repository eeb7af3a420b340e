"""The exporters, with the libraries themselves: holds and acquisitions of tracked locks, and troubles."""

from __future__ import annotations

import gc
import math
import random
from collections.abc import Iterator
from typing import Any

import pytest

from aiolots import DeadlockError, Mutex, RwLock, _holding, telemetry, tracking
from aiolots._replay import Replay, values_of
from aiolots._totals import Series
from tests.holding import every_hold, numbers, pause
from tests.test_contract_events import nobody_listens
from tests.test_telemetry_exporters import points, samples
from tests.tracking_world import tracked
from tests.waiting import wait_until

__all__ = ["every_hold", "nobody_listens", "tracked"]  # fixtures


@pytest.fixture
def held(tracked: None) -> Iterator[RwLock[None]]:
    """A lock that was read twice, written three times, for two milliseconds the last time, and is held to be read now."""
    lock = RwLock(name=f"held and exported {next(numbers)}")
    for request in (lock.read, lock.read, lock.write, lock.write):
        with request():
            pass
    with lock.write():
        pause(0.002)
    with lock.read():
        yield lock


# --- Prometheus -----------------------------------------------------------------------------------------------------


def registry_of(collector: Any) -> Any:
    registry = pytest.importorskip("prometheus_client").CollectorRegistry()
    registry.register(collector)
    return registry


def test_prometheus_is_given_what_was_counted(held: RwLock[None]) -> None:
    prometheus_client = pytest.importorskip("prometheus_client")
    from aiolots.telemetry.prometheus import LockCollector

    assert held.name is not None
    text = prometheus_client.generate_latest(registry_of(LockCollector())).decode()
    found = samples(text, held.name)
    counted = {(hold.mode, hold.waiter): hold for hold in held.statistics().holds}
    assert {key: (hold.acquisitions, hold.timed) for key, hold in counted.items()} == {
        ("read", "thread"): (3, 2),
        ("write", "thread"): (3, 3),
    }
    assert set(found) == set(counted)
    for key, said in found.items():
        hold = counted[key]
        assert {metric: value for metric, labels, value in said if not labels} == {
            "aiolots_lock_hold_seconds_count": hold.timed,
            "aiolots_lock_hold_seconds_sum": pytest.approx(hold.total_hold),
            "aiolots_lock_acquisitions_total": hold.acquisitions,
        }
        buckets = {float(labels["le"]): value for metric, labels, value in said if labels}
        assert set(buckets) == {*telemetry.BOUNDS[::2], math.inf}
        for bound, value in buckets.items():
            ends = (*telemetry.BOUNDS, math.inf)
            assert value == sum(n for n, end in zip(hold.histogram, ends, strict=True) if end <= bound)
        assert buckets[telemetry.BOUNDS[10]] == 2  # 1.05 ms: all but the one of 2 ms
    assert "# TYPE aiolots_lock_hold_seconds histogram" in text
    assert "# TYPE aiolots_lock_acquisitions_total counter" in text


def test_prometheus_counters_do_not_go_down_when_locks_are_gone(tracked: None) -> None:
    pytest.importorskip("prometheus_client")
    from aiolots.telemetry.prometheus import LockCollector

    registry = registry_of(LockCollector())
    name = f"short lived and held {next(numbers)}"
    labels = {"lock": name, "mode": "lock", "waiter": "thread"}
    for count in range(1, 4):
        with Mutex(name=name):
            assert registry.get_sample_value("aiolots_lock_acquisitions_total", labels) == count
            assert registry.get_sample_value("aiolots_lock_hold_seconds_count", labels) == count - 1
        gc.collect()
        assert registry.get_sample_value("aiolots_lock_acquisitions_total", labels) == count
        assert registry.get_sample_value("aiolots_lock_hold_seconds_count", labels) == count


def refuse(name: str) -> None:
    mutex = Mutex(name=name)
    with mutex.lock(), pytest.raises(DeadlockError):
        mutex.acquire()


def abandon(name: str) -> None:
    with pytest.warns(ResourceWarning):
        Mutex(name=name).lock().acquire()


def test_prometheus_is_given_troubles() -> None:
    prometheus_client = pytest.importorskip("prometheus_client")
    from aiolots.telemetry.prometheus import LockCollector

    registry = registry_of(LockCollector())
    name = f"trouble for prometheus {next(numbers)}"
    assert registry.get_sample_value("aiolots_lock_deadlocks_total", {"lock": name}) is None
    refuse(name)
    refuse(name)
    abandon(name)
    values = [
        registry.get_sample_value(f"aiolots_lock_{what}_total", {"lock": name})
        for what in ("deadlocks", "corruptions", "abandoned")
    ]
    assert values == [2, 0, 1]
    text = prometheus_client.generate_latest(registry).decode()
    assert "# TYPE aiolots_lock_deadlocks_total counter" in text


# --- OpenTelemetry --------------------------------------------------------------------------------------------------


def instrumented(**options: Any) -> tuple[Any, Any]:
    pytest.importorskip("opentelemetry.sdk.metrics")
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    from aiolots.telemetry.opentelemetry import instrument

    reader = InMemoryMetricReader()
    return reader, instrument(MeterProvider([reader]), **options)


def test_opentelemetry_is_given_what_was_counted(held: RwLock[None]) -> None:
    assert held.name is not None
    reader, uninstrument = instrumented(wait_times=False, hold_times=False)
    found = points(reader, held.name)
    assert {metric: {key: point.value for key, point in of_keys.items()} for metric, of_keys in found.items()} == {
        "aiolots.lock.acquisitions": {("read", "thread"): 3, ("write", "thread"): 3}
    }
    uninstrument()
    assert points(reader, held.name) == {}


def test_opentelemetry_is_given_how_long_they_were_held(held: RwLock[None]) -> None:
    assert held.name is not None
    before = {(hold.mode, hold.waiter): hold for hold in held.statistics().holds}
    reader, uninstrument = instrumented(wait_times=False)  # what was held until now is not told
    for seconds in (0, 0.001, 0.002):
        with held.read():
            pause(seconds)
    name = held.name
    wait_until(lambda: "aiolots.lock.hold_time" in points(reader, name))
    found = points(reader, name)["aiolots.lock.hold_time"]
    assert set(found) == {("read", "thread")}
    point, (hold,) = found["read", "thread"], [hold for hold in held.statistics().holds if hold.mode == "read"]
    assert point.count == 3 == hold.timed - before["read", "thread"].timed
    assert point.sum == pytest.approx(hold.total_hold - before["read", "thread"].total_hold, rel=1e-5)
    assert point.explicit_bounds == telemetry.BOUNDS[::2]
    new = [a - b for a, b in zip(hold.histogram, before["read", "thread"].histogram, strict=True)]
    pairs = [new[0], *(sum(new[i : i + 2]) for i in range(1, len(new), 2))]  # every second bound
    assert list(point.bucket_counts) == pairs
    uninstrument()


def test_opentelemetry_is_given_troubles() -> None:
    name = f"trouble for opentelemetry {next(numbers)}"
    refuse(name)
    abandon(name)
    abandon(name)
    reader, uninstrument = instrumented(wait_times=False, hold_times=False)
    data = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
    found = {
        metric.name: [point.value for point in metric.data.data_points if dict(point.attributes) == {"lock": name}]
        for metric in data
    }
    assert [found[f"aiolots.lock.{what}"] for what in ("deadlocks", "corruptions", "abandoned")] == [[1], [0], [2]]
    assert [metric.unit for metric in data if metric.name == "aiolots.lock.deadlocks"] == ["{deadlock}"]
    uninstrument()


# --- one value at a time ----------------------------------------------------------------------------------------------


def bucket_of(ns: float) -> int:
    return next((i for i, bound in enumerate(telemetry.BOUNDS) if ns < bound * 1e9), len(telemetry.BOUNDS))


def test_values_have_the_buckets_and_the_sum_that_were_counted() -> None:
    dice = random.Random(5)
    for _ in range(500):
        most = dice.choice([1e4, 1e6, 1e9, 1e11, 1e12])
        holds = [int(dice.uniform(0, most) ** dice.uniform(0.3, 1)) + 1 for _ in range(dice.randrange(1, 30))]
        buckets = [0] * (len(telemetry.BOUNDS) + 1)
        for ns in holds:
            buckets[bucket_of(ns)] += 1
        values = list(values_of(buckets, sum(holds)))
        assert sum(count for _, count in values) == len(holds)
        again = [0] * len(buckets)
        for ns, count in values:
            again[bucket_of(ns)] += count
        assert again == buckets
        if not buckets[-1]:
            assert sum(ns * count for ns, count in values) == pytest.approx(sum(holds), rel=1e-5)


def test_values_at_the_edges_of_their_buckets() -> None:
    for ns in (1, 1023, 1024, 2047, 2048, 1 << 20, (1 << 36) - 1, 1 << 36, 1 << 40):
        buckets = [0] * (len(telemetry.BOUNDS) + 1)
        buckets[bucket_of(ns)] = 3
        ((value, count),) = values_of(buckets, 3 * ns)
        assert count == 3
        assert bucket_of(value) == bucket_of(ns)
        assert bucket_of(value * (1 - 1e-9)) == bucket_of(ns)  # nor is it the upper end of the one before
        assert value == pytest.approx(ns, rel=1e-4, abs=0.01)


def test_what_is_told_adds_up_to_what_was_counted(tracked: None) -> None:
    name = f"told again {next(numbers)}"
    told: list[tuple[float, str]] = []
    replay = Replay(lambda seconds, labels: told.append((seconds, labels["lock"])))
    mutex = Mutex(name=name)
    for round_ in range(5):
        for _ in range(10 * round_):
            with mutex:
                pass
        replay.tell()
        replay.tell()
    mine = [seconds for seconds, label in told if label == name]
    uses = _holding.totals()[Series(name, "lock", "thread")]
    assert len(mine) == uses.timed == 100
    assert sum(mine) == pytest.approx(uses.held_ns / 1e9, rel=1e-5)


def test_labels_that_are_put_together_are_not_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[float, str]] = []
    one, other = Series("one", "lock", "thread"), Series("(others)", "lock", "thread")
    uses = _holding.NOTHING._replace(acquisitions=4, held_ns=4 * 3000, buckets=(0, 0, 4, *(0,) * 25))
    now: dict[Series, _holding.Uses] = {}
    monkeypatch.setattr(_holding, "totals", lambda: dict(now))
    replay = Replay(lambda seconds, labels: told.append((seconds, labels["lock"])))
    now[one] = uses
    replay.tell()
    assert told == [(3000 / 1e9, "one")] * 4
    del now[one]
    now[other] = uses
    replay.tell()
    assert len(told) == 4
    now[other] = uses._replace(held_ns=5 * 3000, buckets=(0, 0, 5, *(0,) * 25))
    replay.tell()
    assert told[4:] == [(pytest.approx(3000 / 1e9), "(others)")]


def test_tracking_off_there_is_nothing() -> None:
    pytest.importorskip("prometheus_client")
    from aiolots.telemetry.prometheus import LockCollector

    name = f"not tracked {next(numbers)}"
    assert not tracking.is_enabled()
    with Mutex(name=name):
        pass
    registry = registry_of(LockCollector())
    labels = {"lock": name, "mode": "lock", "waiter": "thread"}
    assert registry.get_sample_value("aiolots_lock_acquisitions_total", labels) is None
