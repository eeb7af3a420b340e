"""Progress: live on a terminal, a line a second elsewhere, nothing at all for --json. All of it goes to stderr."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiolots.demo.updater import WriteTimeout

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

PRINTED_TIMEOUTS = 20


@dataclass(frozen=True, slots=True)
class Moment:
    """How the run stands. Times in seconds; rate and percentiles are those since the moment before."""

    elapsed: float
    of: float
    requests: int
    rate: float
    p50: float
    p99: float
    wrong: int
    changes: int
    timeouts: int
    longest_wait: float
    readers: int
    most_readers: int
    lock: str


class Display:
    """Shows nothing. `show` and `headline` belong to one thread, `note_timeout` may come from any."""

    interval = 1.0

    def headline(self, text: str) -> None:
        """Say something once, at the start."""

    def show(self, moment: Moment) -> None:
        """Show how the run stands."""

    def note_timeout(self, timeout: WriteTimeout) -> None:
        """Report a write timeout when it happens."""


class PlainDisplay(Display):
    """One line at a time, for logs and pipes."""

    def __init__(self) -> None:
        self._printed = 0

    def headline(self, text: str) -> None:
        """Print the text."""
        self._print(text)

    def show(self, moment: Moment) -> None:
        """Print one line."""
        self._print(
            f"{moment.elapsed:5.1f} s  {moment.requests} requests, {moment.rate:.0f}/s, "
            f"p50 {moment.p50 * 1000:.1f} ms, p99 {moment.p99 * 1000:.1f} ms, {moment.wrong} wrong; "
            f"{moment.changes} changes, {moment.timeouts} write timeouts; "
            f"{moment.readers} readers in, {moment.most_readers} at most"
        )

    def note_timeout(self, timeout: WriteTimeout) -> None:
        """Print the first few timeouts."""
        # They may come by the hundred. The summary has their number, and --json the last thousand of them.
        self._printed += 1
        if self._printed <= PRINTED_TIMEOUTS:
            self._print(f"write timeout: {timeout}")
        elif self._printed == PRINTED_TIMEOUTS + 1:
            self._print("more write timeouts are counted, but no longer printed")

    def _print(self, text: str) -> None:
        # One write, so that lines of several threads do not mix.
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


class LiveDisplay(Display):
    """A table that stays in place, by rich."""

    interval = 0.25

    def __init__(self, live: Live) -> None:
        self._live = live
        self._timeouts: deque[str] = deque(maxlen=5)

    def headline(self, text: str) -> None:
        """Print the text above the table."""
        self._live.console.print(text, highlight=False, markup=False)

    def show(self, moment: Moment) -> None:
        """Draw the table anew."""
        self._live.update(self._table(moment), refresh=True)

    def note_timeout(self, timeout: WriteTimeout) -> None:
        """Remember the timeout for the next drawing."""
        self._timeouts.append(str(timeout))

    def _table(self, moment: Moment) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        rows = [
            ("requests", f"{moment.requests:,}   {moment.rate:,.0f}/s"),
            ("latency", f"p50 {moment.p50 * 1000:.1f} ms   p99 {moment.p99 * 1000:.1f} ms"),
            ("wrong", f"{moment.wrong}"),
            ("changes", f"{moment.changes:,} applied"),
            ("writers", f"{moment.timeouts} timeouts   longest wait {moment.longest_wait * 1000:.1f} ms"),
            ("readers", f"{moment.readers} in   {moment.most_readers} at most"),
            ("lock", moment.lock),
        ]
        for name, text in rows:
            alarming = name == "wrong" and moment.wrong > 0
            table.add_row(Text(name, style="dim"), Text(text, style="bold red" if alarming else ""))
        bar = Table.grid(padding=(0, 2))
        done = min(moment.elapsed, moment.of)
        bar.add_row(ProgressBar(total=moment.of, completed=done, width=60), f"{done:.1f} of {moment.of:g} s")
        lines = [Text(line, style="yellow", overflow="ellipsis", no_wrap=True) for line in list(self._timeouts)]
        return Group(bar, table, *lines)


@contextmanager
def display_for(*, json: bool) -> Generator[Display]:
    """Yield the display that suits: silent for --json, live if stderr is a terminal and rich is there, else plain."""
    if json:
        yield Display()
        return
    if sys.stderr.isatty():
        try:
            from rich.console import Console
            from rich.live import Live
        except ModuleNotFoundError:
            pass
        else:
            with Live(console=Console(stderr=True), auto_refresh=False, transient=True) as live:
                yield LiveDisplay(live)
            return
    yield PlainDisplay()
