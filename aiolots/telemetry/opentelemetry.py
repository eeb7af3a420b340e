"""Metrics for OpenTelemetry, by opentelemetry-api (`pip install aiolots[opentelemetry]`).

    from aiolots.telemetry.opentelemetry import instrument

    instrument()            # with the meter provider that was set for the process, or with the one that is given

docs/telemetry.md has the table of metrics.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation, get_meter

from aiolots import __version__, _events, _totals
from aiolots._statistics import BOUNDS

_COUNTERS = {
    "contentions": ("{contention}", "Acquires that had to wait, however that ended."),
    "timeouts": ("{timeout}", "Waits that ended because their time was up."),
    "cancellations": ("{cancellation}", "Waits that a cancellation ended, or a signal handler that raised."),
    "handoffs": ("{handoff}", "Contended acquisitions that were given the lock by its holder."),
    "revocations": ("{revocation}", "Wakes that were taken away from tasks whose event loop came too late, or could not run."),
}


def instrument(meter_provider: MeterProvider | None = None, *, wait_times: bool = True) -> Callable[[], None]:
    """Have what waiting for locks costs collected, by the instruments of a meter named "aiolots". Returns what ends that.

    The counters are counted anyway, and looked at when the provider's readers collect. The histogram of wait times is not, for
    OpenTelemetry only takes such values one by one: it is recorded from now on, by a thread of aiolots' own, from an event for
    each wait (as telemetry.on_contention; those that were dropped are counted). `wait_times=False` leaves it out. Call it once
    for a provider. Takes no lock of yours and never waits for one.
    """
    meter = get_meter("aiolots", __version__, meter_provider=meter_provider)
    ended: list[bool] = []

    def counter(name: str) -> Callable[[CallbackOptions], Iterator[Observation]]:
        def observe(_options: CallbackOptions) -> Iterator[Observation]:
            for series, counts in () if ended else sorted(_totals.totals().items()):
                yield Observation(getattr(counts, name), series._asdict())

        return observe

    def pending(name: str) -> Callable[[CallbackOptions], Iterator[Observation]]:
        def observe(_options: CallbackOptions) -> Iterator[Observation]:
            for series, now in () if ended else sorted(_totals.pending().items()):
                yield Observation(getattr(now, name), series._asdict())

        return observe

    def dropped(_options: CallbackOptions) -> Iterator[Observation]:
        if not ended:
            yield Observation(int(_events.dropped))

    for name, (unit, text) in _COUNTERS.items():
        meter.create_observable_counter(f"aiolots.lock.{name}", [counter(name)], unit, text)
    meter.create_observable_up_down_counter(
        "aiolots.lock.pending_requests", [pending("waiters")], "{request}", "Threads and tasks that wait now."
    )
    meter.create_observable_gauge(
        "aiolots.lock.oldest_wait", [pending("oldest")], "s", "For how long whoever waits now has waited, the longest."
    )
    meter.create_observable_counter(
        "aiolots.telemetry.dropped_events", [dropped], "{event}", "Events that nobody has heard of: too many came at once."
    )
    unsubscribe = _nothing
    if wait_times:
        times = meter.create_histogram(
            "aiolots.lock.wait_time",
            "s",
            "How long contended acquisitions waited.",
            explicit_bucket_boundaries_advisory=BOUNDS[::2],
        )

        def record(event: _events.LockEvent) -> None:
            times.record(event.waited, {"lock": event.label, "mode": event.mode, "waiter": event.waiter})

        unsubscribe = _events.subscribe(record, _events.ACQUIRED)

    def uninstrument() -> None:
        """Collect no more: the instruments stay, and give nothing."""
        ended.append(True)
        unsubscribe()

    return uninstrument


def _nothing() -> None:
    pass


__all__ = ["instrument"]
