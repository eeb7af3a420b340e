"""What was measured, as Markdown, as JSON and as a plot."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench import handoff
from bench.bars import BARS, kept, verdicts
from bench.rounds import Row
from bench.weigh import Weight


@dataclass(slots=True)
class Report:
    """All that a run has found out."""

    machine: str
    rounds: int
    rows: list[Row] = field(default_factory=list)
    weights: list[Weight] = field(default_factory=list)
    handoff: list[handoff.Outcome] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def as_json(self) -> str:
        """The whole of it, for programs."""
        bars = {key: bar._asdict() for key, bar in BARS.items()}
        rows = [{**asdict(row), "kept": kept(row)} for row in self.rows]
        weights = [weight._asdict() for weight in self.weights]
        whole = {"machine": self.machine, "rounds": self.rounds, "bars": bars, "rows": rows, "weights": weights}
        policies = [outcome._asdict() for outcome in self.handoff]
        return json.dumps({**whole, "handoff": policies, "skipped": self.skipped}, indent=1)

    def as_markdown(self) -> str:
        """The whole of it, for people."""
        return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        yield f"{self.machine}\n"
        yield f"Ratio ours/theirs, below 1 is faster: the median of {self.rounds} paired rounds; in brackets the quartiles."
        found = verdicts(self.rows)
        if found:
            yield "\n### Bars\n"
            yield from table("work|bar|worst|quartiles||where", "---|--:|--:|--:|---|---")
            for bar, worst in found:
                verdict = "pass" if worst.ratio <= bar.limit else "**miss**"
                loop = f", {worst.loop}" if worst.loop else ""
                where = f"`{worst.ours}` vs {worst.peer}{loop}"
                yield f"| {bar.work} | {bar.limit:g} | {worst.ratio:.2f} | {span(worst)} | {verdict} | {where} |"
        groups: dict[tuple[str, str], list[Row]] = {}
        for row in self.rows:
            groups.setdefault((row.group, row.loop), []).append(row)
        for (group, loop), rows in groups.items():
            yield f"\n### {group}{f' ({loop})' if loop else ''}\n"
            yield from table("ours|theirs|ratio|quartiles|ours ns|theirs ns|bar|", "---|---|--:|--:|--:|--:|--:|---")
            for row in rows:
                limit = "" if row.bar is None else f"{BARS[row.bar].limit:g}"
                verdict = {None: "", True: "pass", False: "**miss**"}[kept(row)]
                times = f"{row.ours_ns:,.0f} | {row.theirs_ns:,.0f}"
                theirs = f"{row.peer}: `{row.theirs}`"
                yield f"| `{row.ours}` | {theirs} | {row.ratio:.3f} | {span(row)} | {times} | {limit} | {verdict} |"
        if self.weights:
            yield "\n### Memory, bytes\n"
            yield from table("lock|basic size|with GC header|traced|resident|per parked task", "---|--:|--:|--:|--:|--:")
            for weight in self.weights:
                parked = "" if weight.parked is None else f"{weight.parked:,.0f}"
                sizes = f"{weight.basic} | {weight.size} | {weight.traced:.0f} | {weight.resident:.0f}"
                yield f"| {weight.kind} | {sizes} | {parked} |"
        if self.handoff:
            yield from handoff.lines(self.handoff)
        if self.skipped:
            yield "\nSkipped: " + "; ".join(self.skipped) + "."


def span(row: Row) -> str:
    """The middle half of the ratios."""
    return f"[{row.low:.2f}, {row.high:.2f}]"


def table(head: str, rule: str) -> Iterable[str]:
    """The first two lines of a table."""
    return (f"| {' | '.join(head.split('|'))} |", f"|{rule}|")


def plot(rows: list[Row], machine: str, target: Path) -> bool:
    """Draw a bar for each row that is part of a promise. False: no matplotlib here, or nothing to draw."""
    try:
        import matplotlib as mpl  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        return False
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    shown = [row for row in rows if row.bar is not None]
    if not shown:
        return False
    shown.reverse()
    figure, axes = plt.subplots(figsize=(11, 1.5 + 0.24 * len(shown)))
    places = range(len(shown))
    errors = [[max(0.0, r.ratio - r.low) for r in shown], [max(0.0, r.high - r.ratio) for r in shown]]
    colours = ["#3a7d44" if kept(row) else "#c0392b" for row in shown]
    axes.barh(places, [row.ratio for row in shown], xerr=errors, color=colours, height=0.7, ecolor="#555555")
    limits = [BARS[row.bar].limit for row in shown if row.bar is not None]
    axes.plot(limits, places, linestyle="none", marker="|", markersize=11, color="black", label="bar")
    axes.axvline(1, color="#999999", linewidth=0.8, linestyle="--")
    axes.set_xscale("log")
    labels = [f"{row.ours}  vs  {row.peer}{f' ({row.loop})' if row.loop else ''}" for row in shown]
    axes.set_yticks(list(places), labels, fontsize=7)
    axes.set_ylim(-0.7, len(shown) - 0.3)
    axes.set_xlabel("time, ours / theirs (log scale; left of 1 is faster)")
    axes.set_title(machine.partition("; aiolots")[0], fontsize=8)
    axes.legend(loc="lower right", fontsize=7)
    figure.tight_layout()
    figure.savefig(target, dpi=130)
    plt.close(figure)
    return True
