"""`python -m aiolots.testing.scoreboard`: which lock passes which scenario, as a table.

Exit status: 0, or 1 when a lock of aiolots fails or hangs, or 2 when the command line is wrong.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.metadata
import json
import os
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from aiolots.testing.adapters import SHIPPED
from aiolots.testing.conformance import LEFT_OUT, TITLES, Adapter, Outcome, Result, installed, load, play


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line (default: the process's own) and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m aiolots.testing.scoreboard",
        description="Play the races that broke lock libraries against locks, and print which passes, hangs in or fails which.",
    )
    parser.add_argument("--only", action="append", metavar="LOCK", help="a lock: its name or a part of it, or module:Class")
    parser.add_argument("--scenario", action="append", metavar="R03", choices=TITLES, help="a scenario")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many are played at a time")
    parser.add_argument("--json", action="store_true", help="print one JSON object, with every variant")
    parsed = parser.parse_args(arguments)
    try:
        adapters = dict(wanted(parsed.only))
    except (ImportError, AttributeError, ValueError) as error:
        parser.error(str(error))
    for spec in [spec for spec, adapter in adapters.items() if not installed(adapter)]:
        missing = adapters.pop(spec)
        print(f"{missing.name}: skipped, {missing.package} is not installed", file=sys.stderr)
    plays = [(spec, scenario) for scenario in parsed.scenario or TITLES for spec in adapters]
    with ThreadPoolExecutor(parsed.jobs) as pool:
        results = list(pool.map(play, *zip(*plays, strict=True))) if plays else []
    if parsed.json:
        versions = {adapter.name: version_of(adapter) for adapter in adapters.values()}
        print(json.dumps({"versions": versions, "results": [dataclasses.asdict(result) for result in results]}, indent=1))
    else:
        print("\n".join(table(list(adapters.values()), results)))
    bad = [result for result in results if result.outcome in (Outcome.FAIL, Outcome.HANG)]
    return 1 if any(result.lock.startswith("aiolots.") for result in bad) else 0


def wanted(only: Sequence[str] | None) -> Iterator[tuple[str, Adapter]]:
    """Yield the locks that were asked for, by the names of their adapters. ValueError for a name that fits none."""
    for part in only or [""]:
        found = [part] if ":" in part else [spec for name, spec in SHIPPED.items() if part.lower() in name.lower()]
        if not found:
            raise ValueError(f"no lock {part!r}: there are {', '.join(SHIPPED)}")
        for spec in found:
            yield spec, load(spec)


def version_of(adapter: Adapter) -> str:
    """Return the version of the package that the adapter is for."""
    package = adapter.package or adapter.name.partition(".")[0]
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return sys.version.partition(" ")[0] if package in sys.stdlib_module_names else "?"


def table(adapters: Sequence[Adapter], results: Sequence[Result]) -> Iterator[str]:
    """Yield the lines: a table for each kind, rows are scenarios, columns locks; then why, for what was not passed."""
    found = {(result.scenario, result.lock): result.outcome for result in results}
    scenarios = list(dict.fromkeys(result.scenario for result in results))
    for kind in dict.fromkeys(adapter.kinds[0] for adapter in adapters):
        columns = [adapter for adapter in adapters if adapter.kinds[0] == kind]
        rows = {scenario: [found[scenario, adapter.name] for adapter in columns] for scenario in scenarios}
        heads = [(*adapter.name.partition(".")[::2], version_of(adapter)) for adapter in columns]
        widths = [max(4, *map(len, head)) for head in heads]
        title = max(map(len, TITLES.values())) + 5

        def line(first: str, cells: Iterable[str], title: int = title, widths: Sequence[int] = widths) -> str:
            return f"{first:{title}}" + " ".join(f"{cell:{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()

        for number, row in enumerate(zip(*heads, strict=True)):
            yield line(kind if number == 0 else "", row)
        for scenario, cells in rows.items():
            if any(cell is not Outcome.NOT_APPLICABLE for cell in cells) or len(scenarios) == 1:
                yield line(f"{scenario} {TITLES[scenario]}", cells)
        yield ""
    for adapter in adapters:
        mine = [result for result in results if result.lock == adapter.name]
        counts = [f"{sum(one.outcome is outcome for one in mine)} {outcome}" for outcome in reversed(Outcome)]
        yield f"{adapter.name}: {', '.join(counts)}"
        for result in mine:
            if result.outcome in (Outcome.FAIL, Outcome.HANG):
                yield from textwrap.wrap(
                    f"{result.scenario} {result.outcome}: {result.reason}", 116, initial_indent="  ", subsequent_indent="      "
                )
    yield ""
    for numbers, why in LEFT_OUT.items():
        yield f"Left out: {numbers}, which {why}."


if __name__ == "__main__":
    sys.exit(main())
