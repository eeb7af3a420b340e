"""What waiting has cost, lock by lock: the records that the core counts in (csrc/contention.c), and who keeps them.

A lock has none until somebody has to wait for it; then one for each mode and colour of those who do. They live as long as the
lock. What a lock has counted is not lost with it: it is added to what others of the same label had counted, so that counters
which are exported never go down. No lock is taken here: this runs on slow paths, in finalizers and in signal handlers.
"""

from __future__ import annotations

import functools
from types import CodeType
from typing import Any, NamedTuple

from aiolots._lib import ADDRESS, CONTENTION, FAIR_MUTEX, MUTEX, TRAIL, WAIT_BUCKETS, ffi, lib

Kind = tuple[int, bool]  # a mode, and whether tasks ask for it
Gone = dict[str, dict[Kind, Any]]  # what was counted by locks that are gone, by label
Site = tuple[CodeType | None, int]

_MOST_LABELS = 1000  # of locks that are gone: who names each lock anew would fill the memory
OTHERS = "(others)"


class Counts(NamedTuple):
    """A record, as it was at one moment."""

    acquired: int
    waited_ns: int
    buckets: tuple[int, ...]
    handoffs: int
    timeouts: int
    cancellations: int
    revocations: int
    longest_ns: int

    @property
    def contentions(self) -> int:
        """Every wait that has ended."""
        return self.acquired + self.timeouts + self.cancellations


NOTHING = Counts(0, 0, (0,) * WAIT_BUCKETS, 0, 0, 0, 0, 0)


def read(*records: Any) -> Counts:
    """Return the sum of some records."""
    copy = ffi.new(CONTENTION)
    for record in records:
        lib.lots_contention_add(copy, record)
    return Counts(
        acquired=int(copy.acquired),
        waited_ns=int(copy.waited_ns),
        buckets=tuple(copy.buckets),
        handoffs=int(copy.handoffs),
        timeouts=int(copy.timeouts),
        cancellations=int(copy.cancellations),
        revocations=int(copy.revocations),
        longest_ns=int(copy.longest_ns),
    )


class Kept:
    """The records of one lock, and its last steps, which they share. The lock refers to it, not the other way round."""

    __slots__ = ("_heirs", "_places", "label", "records", "trail")

    def __init__(self, label: str, heirs: Gone | None = None) -> None:
        self.label = label
        self._heirs = gone if heirs is None else heirs
        self.records: dict[Kind, Any] = {}
        self.trail: Any = ffi.new(TRAIL)
        self._places: dict[int, Site] = {}  # by how long the wait was: for locks in Python

    def record(self, mode: int, is_task: bool) -> Any:
        """Return what waits of that mode and colour are counted in. The same one each time."""
        kind = (MUTEX if mode == FAIR_MUTEX else mode, is_task)
        found = self.records.get(kind)
        if found is None:
            # Whoever frees it adds it up, wherever that is: no bytecode runs there, which a signal handler could interrupt.
            heir = functools.partial(lib.lots_contention_add, _of_the_gone(self._heirs, self.label, kind))
            made = ffi.gc(ffi.new(CONTENTION), heir)
            made.trail = self.trail
            found = self.records.setdefault(kind, made)
        return found

    def address_of(self, mode: int, is_task: bool) -> int:
        """Return where that is, for the native front."""
        return int(ffi.cast(ADDRESS, self.record(mode, is_task)))

    @property
    def longest(self) -> tuple[int, CodeType | None, int] | None:
        """The longest wait: nanoseconds, code and instruction."""
        places = self._places
        for ns in sorted(places, reverse=True):  # copied in one step; what it names may be gone after that
            if (place := places.get(ns)) is not None:
                return (ns, *place)
        return None

    def note_longest(self, ns: int, code: CodeType | None, at: int) -> None:
        """Keep a place, if no longer wait is known. Of several at a time the longest stays: only shorter ones are dropped."""
        places = self._places
        places[ns] = (code, at)
        longest = max(list(places))
        for other in list(places):
            if other < longest:
                places.pop(other, None)

    def forget(self) -> None:
        """Begin at nothing again: in a forked child, whose waits were not its own."""
        for record in list(self.records.values()):
            _clear(record)
        ffi.memmove(self.trail, ffi.new(TRAIL), ffi.sizeof(TRAIL.item))
        self._places.clear()


gone: Gone = {}


def forget_the_gone(heirs: Gone) -> None:
    """In a forked child."""
    for records in list(heirs.values()):
        for record in list(records.values()):
            _clear(record)


def _clear(record: Any) -> None:
    ffi.memmove(record, ffi.new(CONTENTION), ffi.offsetof(CONTENTION.item, "trail"))  # the last field, which stays


def _of_the_gone(heirs: Gone, label: str, kind: Kind) -> Any:
    if label not in heirs and len(heirs) >= _MOST_LABELS:
        label = OTHERS
    records = heirs.setdefault(label, {})
    found = records.get(kind)
    return records.setdefault(kind, ffi.new(CONTENTION)) if found is None else found


class Tally:
    """A number that any thread may raise: one of the core's counters, for there is no lock here."""

    __slots__ = ("_record",)

    def __init__(self) -> None:
        self._record = ffi.new(CONTENTION)

    def add(self) -> None:
        """One more. Also in a finalizer, or in a signal handler."""
        lib.lots_contention_add(self._record, ONE)

    def __int__(self) -> int:
        return int(self._record.acquired)


ONE: Any = ffi.new(CONTENTION)
ONE.acquired = 1


def label_of(lock: Any) -> str:
    """Return what a lock is called where many are told apart: its name, or its class. Never its address."""
    name = lock.name
    return name if isinstance(name, str) else type(lock).__name__
