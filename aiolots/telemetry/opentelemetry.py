"""Metrics for OpenTelemetry, by opentelemetry-api (`pip install aiolots[opentelemetry]`).

    from aiolots.telemetry.opentelemetry import instrument

    instrument()            # with the meter provider that was set for the process, or with the one that is given

docs/telemetry.md has the table of metrics.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider, Observation, get_meter

from aiolots import __version__, _events, _holding, _totals, _troubles
from aiolots._replay import Replay
from aiolots._sites import Shown
from aiolots._statistics import BOUNDS

_CONTENTIONS = ("{contention}", "Acquires that had to wait, however that ended.")
_COUNTERS = {
    "timeouts": ("{timeout}", "Waits that ended because their time was up."),
    "cancellations": ("{cancellation}", "Waits that a cancellation ended, or a signal handler that raised."),
    "handoffs": ("{handoff}", "Contended acquisitions that were given the lock by its holder."),
    "revocations": ("{revocation}", "Wakes that were taken away from tasks whose event loop came too late, or could not run."),
}
_TROUBLES = {
    "deadlocks": (
        "{deadlock}",
        "Deadlocks that were found with the lock in them, and waits for it that were refused with DeadlockError.",
    ),
    "corruptions": ("{corruption}", "Impossible words of the lock."),
    "abandoned": ("{hold}", "Guards that were dropped while they held the lock, and holders that have ended."),
}

Callback = Callable[[CallbackOptions], Iterator[Observation]]
Numbers = Callable[[], Iterator[tuple[float, dict[str, str]]]]


def instrument(
    meter_provider: MeterProvider | None = None, *, wait_times: bool = True, hold_times: bool = True, sites: int = 0
) -> Callable[[], None]:
    """Have what locks cost collected, by the instruments of a meter named "aiolots". Returns what ends that.

    The counters are counted anyway, and looked at when the provider's readers collect; acquisitions of locks that are tracked
    (aiolots.tracking). OpenTelemetry takes histograms one value at a time only, so they are recorded by a thread of aiolots'
    own, from now on: the wait times from an event for each wait (as telemetry.on_contention; those that were dropped are
    counted), which `wait_times=False` leaves out; the hold times of tracked locks once a second, with as many values in each
    bucket as were counted, and their sum, which `hold_times=False` leaves out.

    With `sites`, contentions and wait times have an attribute `site`: of so many places at most, the rest as "(others)". They
    are counted by place from now on; that costs who waits some 2 microseconds more. ValueError for less than 0.

    Call it once for a provider. Takes no lock of yours and never waits for one.
    """
    meter = get_meter("aiolots", __version__, meter_provider=meter_provider)
    shown = None if sites == 0 else Shown(sites)
    ended: list[bool] = []

    def contentions() -> Iterator[tuple[int, dict[str, str]]]:
        if shown is None:
            for series, counts in sorted(_totals.totals().items()):
                yield counts.contentions, series._asdict()
        else:
            for (series, site), counts in sorted(shown.collect().items()):
                yield counts.contentions, {**series._asdict(), "site": site}

    def told(numbers: Numbers) -> list[Callback]:
        def observe(_options: CallbackOptions) -> Iterator[Observation]:
            for number, attributes in () if ended else numbers():
                yield Observation(number, attributes)

        return [observe]

    meter.create_observable_counter("aiolots.lock.contentions", told(contentions), *_CONTENTIONS)
    for name, (unit, text) in _COUNTERS.items():
        meter.create_observable_counter(f"aiolots.lock.{name}", told(_each(_totals.totals, name)), unit, text)
    meter.create_observable_up_down_counter(
        "aiolots.lock.pending_requests",
        told(_each(_totals.pending, "waiters")),
        "{request}",
        "Threads and tasks that wait now.",
    )
    meter.create_observable_gauge(
        "aiolots.lock.oldest_wait",
        told(_each(_totals.pending, "oldest")),
        "s",
        "For how long whoever waits now has waited, the longest.",
    )
    meter.create_observable_counter(
        "aiolots.lock.acquisitions",
        told(_each(_holding.totals, "acquisitions")),
        "{acquisition}",
        "Acquisitions of tracked locks.",
    )
    for name, (unit, text) in _TROUBLES.items():
        meter.create_observable_counter(f"aiolots.lock.{name}", told(_trouble(name)), unit, text)
    meter.create_observable_counter(
        "aiolots.telemetry.dropped_events",
        told(_dropped),
        "{event}",
        "Events that nobody has heard of: too many came at once.",
    )
    ends = ([_wait_times(meter, shown)] if wait_times else []) + ([_hold_times(meter)] if hold_times else [])

    def uninstrument() -> None:
        """Collect no more: the instruments stay, and give nothing."""
        if not ended:
            ended.append(True)
            for end in ends if shown is None else [*ends, shown.end]:
                end()

    return uninstrument


def _each(totals: Callable[[], dict[_totals.Series, Any]], name: str) -> Numbers:
    def numbers() -> Iterator[tuple[float, dict[str, str]]]:
        for series, counts in sorted(totals().items()):
            yield getattr(counts, name), series._asdict()

    return numbers


def _dropped() -> Iterator[tuple[int, dict[str, str]]]:
    yield int(_events.dropped), {}


def _trouble(name: str) -> Numbers:
    def numbers() -> Iterator[tuple[float, dict[str, str]]]:
        for label, found in sorted(_troubles.counts().items()):
            yield getattr(found, name), {"lock": label}

    return numbers


def _wait_times(meter: Meter, shown: Shown | None) -> Callable[[], None]:
    times = meter.create_histogram(
        "aiolots.lock.wait_time",
        "s",
        "How long contended acquisitions waited.",
        explicit_bucket_boundaries_advisory=BOUNDS[::2],
    )

    def record(event: _events.LockEvent) -> None:
        attributes = {"lock": event.label, "mode": event.mode, "waiter": event.waiter}
        if shown is not None:
            attributes["site"] = shown.name_of(event.place)
        times.record(event.waited, attributes)

    return _events.subscribe(record, _events.ACQUIRED)


def _hold_times(meter: Meter) -> Callable[[], None]:
    times = meter.create_histogram(
        "aiolots.lock.hold_time",
        "s",
        "How long tracked locks were held: a sample.",
        explicit_bucket_boundaries_advisory=BOUNDS[::2],
    )
    return _events.each_second(Replay(times.record).tell_at_times)


__all__ = ["instrument"]
