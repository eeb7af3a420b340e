"""Where locks were waited for: a table of places, for exporters that were asked for them; none until then.

Whoever has waited adds its wait up in a record of the lock's label, the mode, the colour and the place: on the slow path, with
the same step as telemetry's events. The table has an end: beyond a thousand rows what is new is in the row of "(others)". No
lock is taken.

An exporter shows few of them (Shown). A place that it shows has what was not told of it before, so that no sum goes down:
neither the place's nor that of "(others)", from which nothing is taken away.
"""

from __future__ import annotations

import functools
import os
from collections import defaultdict
from types import CodeType
from typing import Any

from aiolots import _events
from aiolots._contention import NOTHING, OTHERS, Counts, read
from aiolots._lib import CONTENTION, WAIT_BUCKETS, ffi, lib
from aiolots._refusals import place
from aiolots._totals import Series, series_of

_MOST_ROWS = 1000
_WORTH_IT = 0.01  # of all that was waited, or of all waits: a place that is shown has to have so much
_SHORTEST = 10  # as in csrc/contention.c

_Row = tuple[str, int, bool, int, int]  # label, mode, by a task, id of the code, instruction
_Table = dict[Series, Counts]

_rows: dict[_Row, tuple[CodeType | None, Any]] = {}  # the code is kept, so that its id is not another's
_wanted: list[object] = []  # one of each who wants it
_generation: list[int] = [0]  # of processes


def _count(lock: Any, mode: int, is_task: bool, outcome: int, ns: int, code: CodeType | None, at: int) -> None:
    label = lock._kept.label
    row = (label, mode, is_task, id(code), at)
    found = _rows.get(row)
    if found is None:
        if len(_rows) >= _MOST_ROWS:
            code, row = None, (label, mode, is_task, 0, 0)
            if len(_rows) >= 2 * _MOST_ROWS and row not in _rows:
                row = (OTHERS, mode, is_task, 0, 0)
        found = _rows.setdefault(row, (code, ffi.new(CONTENTION)))
    one = ffi.new(CONTENTION)
    if outcome == _events.ACQUIRED:
        one.acquired, one.waited_ns = 1, ns
        one.buckets[min(max(0, ns.bit_length() - _SHORTEST), WAIT_BUCKETS - 1)] = 1
    elif outcome == _events.TIMED_OUT:
        one.timeouts = 1
    else:
        one.cancellations = 1
    lib.lots_contention_add(found[1], one)


@functools.lru_cache(2 * _MOST_ROWS)
def _place(_id: int, code: CodeType | None, at: int) -> str:
    return OTHERS if code is None else place((code, at))


def _added(one: Counts, other: Counts, sign: int = 1) -> Counts:
    return NOTHING._replace(
        acquired=one.acquired + sign * other.acquired,
        waited_ns=one.waited_ns + sign * other.waited_ns,
        buckets=tuple(a + sign * b for a, b in zip(one.buckets, other.buckets, strict=True)),
        timeouts=one.timeouts + sign * other.timeouts,
        cancellations=one.cancellations + sign * other.cancellations,
    )


def _by_place() -> dict[str, _Table]:
    found: defaultdict[str, _Table] = defaultdict(dict)
    for (label, mode, is_task, _, at), (code, record) in list(_rows.items()):
        table, series = found[_place(id(code), code, at)], series_of(label, mode, is_task)
        table[series] = _added(table.get(series, NOTHING), read(record))  # two instructions of one line, or of two copies
    return found


class Shown:
    """What one exporter shows: at most so many places, each for good once it was worth it, and "(others)"."""

    def __init__(self, most: int) -> None:
        """Have waits counted by place from now on."""
        if most < 1:
            raise ValueError(f"sites={most!r}: how many places are shown, 1 at least")
        self._most = most
        self._begin()
        self._wants = [object()]
        _wanted.append(self._wants[0])
        _events.use_sites(_count)

    def _begin(self) -> None:
        self._generation = _generation[0]
        self._places: dict[str, _Table] = {}  # with what was told of each among the others
        self._seen: dict[str, _Table] = {}  # the last time
        self._found: dict[tuple[Series, str], Counts] = {}  # what was told then
        self._turn: list[object] = [None]

    def end(self) -> None:
        """Want it no more. Again: nothing."""
        while self._wants:
            _wanted.remove(self._wants.pop())
        if not _wanted:
            _events.use_sites(None)

    def __del__(self) -> None:
        if hasattr(self, "_wants"):
            self.end()

    def name_of(self, where: str) -> str:
        """Return the place, if it is shown, or what it is among."""
        return where if where in self._places else OTHERS

    def collect(self) -> dict[tuple[Series, str], Counts]:
        """Return what was counted, by series and place; if another thread is just at it, what was returned the last time."""
        if self._generation != _generation[0]:
            self._begin()
        try:
            turn = self._turn.pop()
        except IndexError:
            return self._found
        try:
            now = _by_place()
            self._choose(now)
            self._seen, self._found = now, self._sums(now)
            return self._found
        finally:
            self._turn.append(turn)

    def _sums(self, now: dict[str, _Table]) -> dict[tuple[Series, str], Counts]:
        found: dict[tuple[Series, str], Counts] = {}
        for where, table in now.items():
            before = self._places.get(where)
            for series, counts in table.items():
                others = counts if before is None else before.get(series, NOTHING)
                if before is not None:
                    found[series, where] = _added(counts, others, -1)
                if before is None or others is not NOTHING:
                    found[series, OTHERS] = _added(found.get((series, OTHERS), NOTHING), others)
        return found

    def _choose(self, now: dict[str, _Table]) -> None:
        waited = {where: sum(counts.waited_ns for counts in table.values()) for where, table in now.items()}
        waits = {where: sum(counts.contentions for counts in table.values()) for where, table in now.items()}
        least, fewest = _WORTH_IT * sum(waited.values()), _WORTH_IT * sum(waits.values())
        for where in sorted(now, key=lambda where: (-waited[where], -waits[where], where)):
            if len(self._places) >= self._most:
                break
            if where != OTHERS and where not in self._places and (waited[where] >= least or waits[where] >= fewest):
                self._places[where] = self._seen.get(where, {})


def _begin_again() -> None:
    """In a forked child: those waits were its parent's."""
    _generation[0] += 1
    _rows.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_again)
