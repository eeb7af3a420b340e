"""Metrics for Prometheus, by prometheus_client (`pip install aiolots[prometheus]`).

    from aiolots.telemetry.prometheus import LockCollector
    from prometheus_client import REGISTRY

    REGISTRY.register(LockCollector())

docs/telemetry.md has the table of metrics.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from aiolots import _events, _holding, _totals, _troubles
from aiolots._sites import Shown
from aiolots._statistics import BOUNDS

_LABELS = ("lock", "mode", "waiter")
_CONTENTIONS = "Acquires that had to wait, however that ended."
_COUNTERS = {
    "timeouts": "Waits that ended because their time was up.",
    "cancellations": "Waits that a cancellation ended, or a signal handler that raised.",
    "handoffs": "Contended acquisitions that were given the lock by its holder.",
    "revocations": "Wakes that were taken away from tasks whose event loop came too late, or could not run.",
}
_TROUBLES = {
    "deadlocks": "Deadlocks that were found with the lock in them, and waits for it that were refused with DeadlockError.",
    "corruptions": "Impossible words of the lock.",
    "abandoned": "Guards that were dropped while they held the lock, and holders that have ended.",
}


class LockCollector(Collector):
    """Collects what locks have cost, at every scrape: for a registry's register().

    It takes no lock and never waits. What waiting costs is counted anyway; how long locks are held, and how often they are
    acquired, of those that are tracked (aiolots.tracking). Locks that nobody ever waited for, and that are not tracked, are not
    among it.
    """

    def __init__(self, *, sites: int = 0) -> None:
        """Show contentions and wait times by place, too: `sites` places at most, the rest as "(others)".

        They are counted by place from now on, and shown with a label `site` from now on; that costs who waits some 2
        microseconds more. With 0, as at first, there is no such label. ValueError for less.
        """
        self._shown = None if sites == 0 else Shown(sites)

    def describe(self) -> Iterable[Metric]:
        """Return the metrics without any numbers."""
        return [
            *self._waits(),
            *_counters(_COUNTERS).values(),
            *_gauges(),
            *_holds(),
            *_counters(_TROUBLES).values(),
            _dropped(),
        ]

    def collect(self) -> Iterator[Metric]:
        """Return the metrics as they are now."""
        waits, contentions = self._waits()
        counters, gauges, dropped = _counters(_COUNTERS), _gauges(), _dropped()
        totals = sorted(_totals.totals().items())
        by_place = None if self._shown is None else sorted(self._shown.collect().items())
        for labels, counts in (
            totals if by_place is None else [((*series, site), counts) for (series, site), counts in by_place]
        ):
            waits.add_metric(labels, _cumulative(counts.buckets), sum_value=counts.waited_ns / 1e9)
            contentions.add_metric(labels, counts.contentions)
        for series, counts in totals:
            for name, counter in counters.items():
                counter.add_metric(series, getattr(counts, name))
        for series, now in sorted(_totals.pending().items()):
            for gauge, value in zip(gauges, now, strict=True):
                gauge.add_metric(series, value)
        dropped.add_metric((), int(_events.dropped))
        yield waits
        yield contentions
        yield from counters.values()
        yield from gauges
        yield from _collect_holds()
        yield from _collect_troubles()
        yield dropped

    def _waits(self) -> tuple[HistogramMetricFamily, CounterMetricFamily]:
        labels = _LABELS if self._shown is None else (*_LABELS, "site")
        text = "How long contended acquisitions waited."
        return (
            HistogramMetricFamily("aiolots_lock_wait_seconds", text, labels=labels, unit="seconds"),
            CounterMetricFamily("aiolots_lock_contentions", _CONTENTIONS, labels=labels),
        )


def _counters(texts: dict[str, str]) -> dict[str, CounterMetricFamily]:
    labels = _LABELS[:1] if texts is _TROUBLES else _LABELS
    return {name: CounterMetricFamily(f"aiolots_lock_{name}", text, labels=labels) for name, text in texts.items()}


def _gauges() -> tuple[GaugeMetricFamily, GaugeMetricFamily]:
    return (
        GaugeMetricFamily("aiolots_lock_waiters", "Threads and tasks that wait now.", labels=_LABELS),
        GaugeMetricFamily(
            "aiolots_lock_oldest_wait_seconds", "For how long whoever waits now has waited, the longest.", labels=_LABELS
        ),
    )


def _holds() -> tuple[HistogramMetricFamily, CounterMetricFamily]:
    text = "How long tracked locks were held: a sample."
    return (
        HistogramMetricFamily("aiolots_lock_hold_seconds", text, labels=_LABELS, unit="seconds"),
        CounterMetricFamily("aiolots_lock_acquisitions", "Acquisitions of tracked locks.", labels=_LABELS),
    )


def _collect_holds() -> Iterable[Metric]:
    holds, acquisitions = _holds()
    for series, uses in sorted(_holding.totals().items()):
        holds.add_metric(series, _cumulative(uses.buckets), sum_value=uses.held_ns / 1e9)
        acquisitions.add_metric(series, uses.acquisitions)
    return holds, acquisitions


def _collect_troubles() -> Iterable[Metric]:
    counters = _counters(_TROUBLES)
    for label, found in sorted(_troubles.counts().items()):
        for name, counter in counters.items():
            counter.add_metric((label,), getattr(found, name))
    return counters.values()


def _dropped() -> CounterMetricFamily:
    return CounterMetricFamily("aiolots_telemetry_dropped_events", "Events that nobody has heard of: too many came at once.")


def _cumulative(counts: Sequence[int]) -> list[tuple[str, float]]:
    """Return the histogram as Prometheus has it, with every second bound: four times the one before."""
    buckets: list[tuple[str, float]] = []
    so_far = 0
    for index, count in enumerate(counts):
        so_far += count
        if index < len(BOUNDS) and index % 2 == 0:
            buckets.append((repr(BOUNDS[index]), so_far))
    return [*buckets, ("+Inf", so_far)]


__all__ = ["LockCollector"]
