"""The exporters, with the libraries themselves: what Prometheus and OpenTelemetry are given agrees with statistics()."""

from __future__ import annotations

import gc
import itertools
import re
from collections.abc import Iterator
from typing import Any

import pytest

from aiolots import Mutex, RwLock, telemetry
from tests.test_contract_events import nobody_listens
from tests.test_contract_statistics_kept import contend
from tests.worlds import World, wait_until, wait_until_parked

__all__ = ["nobody_listens"]  # a fixture

LABELS = ("lock", "mode", "waiter")
_numbers = itertools.count()


@pytest.fixture
def busy() -> Iterator[tuple[RwLock[None], str]]:
    """A lock that a thread and a task waited for, whose waits timed out and were cancelled; and that a thread waits for now."""
    name = f"exported {next(_numbers)}"  # what is exported of a label goes on from test to test
    lock = RwLock(name=name)
    with World("mixed") as world:
        guard = lock.write().acquire()
        attempts = [world.attempt(lock.read) for _ in range(2)]  # a thread, a task
        wait_until_parked(lock, 2)
        assert world.attempt(lambda: lock.try_write_for(0.002)).guard() is None  # a thread
        cancelled = world.attempt(lock.write)  # a task
        wait_until_parked(lock, 3)
        cancelled.cancel()
        guard.release_fair()
        for attempt in attempts:
            attempt.release()
        guard = lock.write().acquire()
        waits = world.attempt(lock.read)  # a thread
        wait_until_parked(lock, 1)
        yield lock, name
        guard.release()
        waits.release()


# --- Prometheus -----------------------------------------------------------------------------------------------------


def samples(text: str, name: str) -> dict[tuple[str, str], list[tuple[str, dict[str, str], float]]]:
    """Return what is said of a lock: the samples by mode and waiter, each with its name, other labels and value."""
    found: dict[tuple[str, str], list[tuple[str, dict[str, str], float]]] = {}
    for line in text.splitlines():
        match = re.fullmatch(r"(\w+)\{(.*)\} (\S+)", line)
        if match is None:
            continue
        labels = dict(re.findall(r'(\w+)="([^"]*)"', match[2]))
        if labels.pop("lock", "") == name:
            found.setdefault((labels.pop("mode"), labels.pop("waiter")), []).append((match[1], labels, float(match[3])))
    return found


def test_prometheus_is_given_what_was_counted(busy: tuple[RwLock[None], str]) -> None:
    prometheus_client = pytest.importorskip("prometheus_client")
    from aiolots.telemetry.prometheus import LockCollector

    lock, name = busy
    registry = prometheus_client.CollectorRegistry()
    registry.register(LockCollector())
    with pytest.raises(ValueError, match="Duplicated"):
        registry.register(LockCollector())  # it says what it has before anything was counted
    text = prometheus_client.generate_latest(registry).decode()
    found = samples(text, name)
    waits = {(w.mode, w.waiter): w for w in lock.statistics().waits}
    assert set(found) == set(waits) == {(mode, waiter) for mode in ("read", "write") for waiter in ("thread", "task")}
    for key, said in found.items():
        counted = waits[key]
        single = {metric: value for metric, labels, value in said if not labels}
        oldest = single.pop("aiolots_lock_oldest_wait_seconds")
        assert single == {
            "aiolots_lock_wait_seconds_count": counted.contended,
            "aiolots_lock_wait_seconds_sum": pytest.approx(counted.total_wait),
            "aiolots_lock_contentions_total": counted.contended + counted.timeouts + counted.cancellations,
            "aiolots_lock_timeouts_total": counted.timeouts,
            "aiolots_lock_cancellations_total": counted.cancellations,
            "aiolots_lock_handoffs_total": counted.handoffs,
            "aiolots_lock_revocations_total": 0,
            "aiolots_lock_waiters": key == ("read", "thread"),
        }
        assert (oldest > 0) == (key == ("read", "thread"))
        buckets = {float(labels["le"]): value for metric, labels, value in said if labels}
        assert set(buckets) == {*telemetry.BOUNDS[::2], float("inf")}
        for bound, value in buckets.items():
            ends = (*telemetry.BOUNDS, float("inf"))
            assert value == sum(n for n, end in zip(counted.histogram, ends, strict=True) if end <= bound)
    assert [waits[key].timeouts for key in (("write", "thread"), ("read", "task"))] == [1, 0]
    assert [waits[key].cancellations for key in (("write", "task"), ("read", "task"))] == [1, 0]
    assert "# TYPE aiolots_lock_wait_seconds histogram" in text
    assert "# TYPE aiolots_lock_timeouts_total counter" in text
    assert "aiolots_telemetry_dropped_events_total" in text
    assert "0x" not in text  # no lock is told by its address


def test_prometheus_counters_do_not_go_down_when_locks_are_gone() -> None:
    prometheus_client = pytest.importorskip("prometheus_client")
    from aiolots.telemetry.prometheus import LockCollector

    registry = prometheus_client.CollectorRegistry()
    registry.register(LockCollector())
    labels = {"lock": "short lived", "mode": "lock", "waiter": "thread"}
    for count in range(1, 4):
        lock = Mutex(name="short lived")
        contend(lock)
        assert registry.get_sample_value("aiolots_lock_contentions_total", labels) == count
        del lock
        gc.collect()
        assert registry.get_sample_value("aiolots_lock_contentions_total", labels) == count
    assert registry.get_sample_value("aiolots_lock_waiters", labels) == 0


# --- OpenTelemetry --------------------------------------------------------------------------------------------------


def points(reader: Any, name: str) -> dict[str, dict[tuple[str, str], Any]]:
    """Return what is said of a lock: by metric, then by mode and waiter."""
    found: dict[str, dict[tuple[str, str], Any]] = {}
    data = reader.get_metrics_data()
    for metrics in [] if data is None else data.resource_metrics[0].scope_metrics:
        assert metrics.scope.name == "aiolots"
        for metric in metrics.metrics:
            for point in metric.data.data_points:
                if point.attributes.get("lock") == name:
                    assert set(point.attributes) == set(LABELS)
                    found.setdefault(metric.name, {})[point.attributes["mode"], point.attributes["waiter"]] = point
    return found


def test_opentelemetry_is_given_what_was_counted(busy: tuple[RwLock[None], str]) -> None:
    pytest.importorskip("opentelemetry.sdk.metrics")
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    from aiolots.telemetry.opentelemetry import instrument

    lock, name = busy
    reader = InMemoryMetricReader()
    uninstrument = instrument(MeterProvider([reader]), wait_times=False)
    found = points(reader, name)
    waits = {(w.mode, w.waiter): w for w in lock.statistics().waits}
    assert set(found) == {
        f"aiolots.lock.{metric}"
        for metric in (
            "contentions",
            "timeouts",
            "cancellations",
            "handoffs",
            "revocations",
            "pending_requests",
            "oldest_wait",
        )
    }
    for key, counted in waits.items():
        values = {metric.removeprefix("aiolots.lock."): of_keys[key].value for metric, of_keys in found.items()}
        assert (values.pop("oldest_wait") > 0) == (key == ("read", "thread"))
        assert values == {
            "contentions": counted.contended + counted.timeouts + counted.cancellations,
            "timeouts": counted.timeouts,
            "cancellations": counted.cancellations,
            "handoffs": counted.handoffs,
            "revocations": 0,
            "pending_requests": key == ("read", "thread"),
        }
    uninstrument()
    assert points(reader, name) == {}


def test_opentelemetry_is_given_how_long_each_waited() -> None:
    pytest.importorskip("opentelemetry.sdk.metrics")
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    from aiolots.telemetry.opentelemetry import instrument

    name = "how long"
    lock = Mutex(name=name)
    contend(lock)  # before: not recorded
    reader = InMemoryMetricReader()
    uninstrument = instrument(MeterProvider([reader]))
    told = telemetry.counts().delivered
    for _ in range(3):
        contend(lock)
    with lock:
        assert lock.try_lock_for(0.001).acquire() is None  # no acquisition
    wait_until(lambda: telemetry.counts().delivered >= told + 3)
    point = points(reader, name)["aiolots.lock.wait_time"]["lock", "thread"]
    assert point.count == 3 == lock.statistics().contended - 1
    assert 0 < point.sum <= lock.statistics().total_wait
    assert point.explicit_bounds == telemetry.BOUNDS[::2]
    assert sum(point.bucket_counts) == 3
    uninstrument()
    told = telemetry.counts().delivered
    contend(lock)
    assert telemetry.counts().delivered == told
