"""What a run amounts to: numbers, and whatever was wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from aiolots.demo.updater import WriteTimeout


@dataclass(frozen=True, slots=True)
class Summary:
    """The outcome of a run. Times in seconds. `problems` is empty if and only if all went well."""

    seconds: float
    event_loop: str
    clients: int
    hosts: int
    proxies: int
    updaters: int
    requests: int
    requests_per_second: float
    p50: float
    p99: float
    longest_request: float
    hang_ups: int
    wrong_responses: int
    changes_logged: int
    changes_applied: int
    write_timeouts: int
    longest_writer_wait: float
    most_readers: int
    longest_reader_wait: float
    revoked_wakes: int
    lock_word: int
    lock: str
    problems: list[str]
    timeouts: list[WriteTimeout]

    @property
    def ok(self) -> bool:
        """Whether nothing was wrong."""
        return not self.problems

    def as_json(self) -> dict[str, Any]:
        """Return all of it as plain values, ready for json.dumps."""
        return {"ok": self.ok, **asdict(self)}

    def as_text(self) -> str:
        """Return all of it for people."""
        ms = 1000.0
        head = (
            f"catalog proxy: {self.seconds:.1f} s on {self.event_loop}, {self.clients} clients, {self.hosts:,} hosts, "
            f"{self.proxies} proxy loops, {self.updaters} updater threads"
        )
        rows = [
            ("requests", f"{self.requests:,}   {self.requests_per_second:,.0f}/s   {self.hang_ups} hang-ups"),
            (
                "latency",
                f"p50 {self.p50 * ms:.1f} ms   p99 {self.p99 * ms:.1f} ms   longest {self.longest_request * ms:.1f} ms",
            ),
            ("wrong responses", f"{self.wrong_responses}"),
            ("changes", f"{self.changes_applied:,} applied of {self.changes_logged:,} logged"),
            (
                "writers",
                f"{self.write_timeouts} write timeouts   longest writer wait {self.longest_writer_wait * ms:.1f} ms",
            ),
            (
                "readers",
                f"{self.most_readers} at once at most   longest reader wait {self.longest_reader_wait * ms:.1f} ms",
            ),
            ("revoked wakes", f"{self.revoked_wakes}   (a loop that was too busy to take one up lost its turn)"),
            ("lock word", f"{self.lock_word:#x}   {self.lock}"),
        ]
        lines = [head, *(f"  {name:<16} {text}" for name, text in rows)]
        lines += [f"  WRONG            {problem}" for problem in self.problems] or ["  all is well"]
        return "\n".join(lines)


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which `share` of the sorted values lie; 0.0 if there are none."""
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
