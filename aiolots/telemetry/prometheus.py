"""Metrics for Prometheus, by prometheus_client (`pip install aiolots[prometheus]`).

    from aiolots.telemetry.prometheus import LockCollector
    from prometheus_client import REGISTRY

    REGISTRY.register(LockCollector())

docs/telemetry.md has the table of metrics.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from aiolots import _events, _totals
from aiolots._contention import Counts
from aiolots._statistics import BOUNDS

_LABELS = ("lock", "mode", "waiter")
_COUNTERS = {
    "contentions": "Acquires that had to wait, however that ended.",
    "timeouts": "Waits that ended because their time was up.",
    "cancellations": "Waits that a cancellation ended, or a signal handler that raised.",
    "handoffs": "Contended acquisitions that were given the lock by its holder.",
    "revocations": "Wakes that were taken away from tasks whose event loop came too late, or could not run.",
}


class LockCollector(Collector):
    """Collects what waiting for locks has cost, at every scrape: for a registry's register(). It has no state; one is enough.

    It takes no lock and never waits; what it asks for is counted anyway. Locks that nobody ever waited for are not among it.
    """

    def describe(self) -> Iterable[Metric]:
        """Return the metrics without any numbers."""
        return [*self._families().values(), *_gauges(), _dropped()]

    def collect(self) -> Iterator[Metric]:
        """Return the metrics as they are now."""
        families, gauges, dropped = self._families(), _gauges(), _dropped()
        waits = HistogramMetricFamily(
            "aiolots_lock_wait_seconds", "How long contended acquisitions waited.", labels=_LABELS, unit="seconds"
        )
        for series, counts in sorted(_totals.totals().items()):
            waits.add_metric(series, _cumulative(counts), sum_value=counts.waited_ns / 1e9)
            for name in _COUNTERS:
                families[name].add_metric(series, getattr(counts, name))
        for series, now in sorted(_totals.pending().items()):
            for gauge, value in zip(gauges, now, strict=True):
                gauge.add_metric(series, value)
        dropped.add_metric((), int(_events.dropped))
        yield waits
        yield from families.values()
        yield from gauges
        yield dropped

    def _families(self) -> dict[str, CounterMetricFamily]:
        return {name: CounterMetricFamily(f"aiolots_lock_{name}", text, labels=_LABELS) for name, text in _COUNTERS.items()}


def _gauges() -> tuple[GaugeMetricFamily, GaugeMetricFamily]:
    return (
        GaugeMetricFamily("aiolots_lock_waiters", "Threads and tasks that wait now.", labels=_LABELS),
        GaugeMetricFamily(
            "aiolots_lock_oldest_wait_seconds", "For how long whoever waits now has waited, the longest.", labels=_LABELS
        ),
    )


def _dropped() -> CounterMetricFamily:
    return CounterMetricFamily("aiolots_telemetry_dropped_events", "Events that nobody has heard of: too many came at once.")


def _cumulative(counts: Counts) -> list[tuple[str, float]]:
    """Return the histogram as Prometheus has it, with every second bound: four times the one before."""
    buckets: list[tuple[str, float]] = []
    so_far = 0
    for index, count in enumerate(counts.buckets):
        so_far += count
        if index < len(BOUNDS) and index % 2 == 0:
            buckets.append((repr(BOUNDS[index]), so_far))
    return [*buckets, ("+Inf", so_far)]


__all__ = ["LockCollector"]
