"""Deadlocks, corrupt words and holds that were left behind: counted where each is found, by the label of its lock.

    deadlock     a confirmed cycle, once, whoever finds it (the watcher, check(), the console, the pytest plugin), for each
                 label of the locks that are waited for in it; or a DeadlockError at once, for the lock that was asked for
    corruption   a lock and its impossible word, once, by LockCorruption or an audit
    abandoned    a guard that was collected while it held; a holder that has ended, once for each such hold

It may be counted anywhere: in finalizers, in signal handlers, in threads that make others wait. So no lock is taken; the
numbers are the core's counters; what must not be counted twice is noted in a dictionary by one step, the oldest of which
are forgotten; and labels without end share one.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Hashable, Iterable
from typing import Any, NamedTuple

from aiolots._contention import OTHERS, Tally, label_of
from aiolots._word import decode

NO_LOCK = "(no lock)"  # of a cycle of joins and awaits alone
_MOST_LABELS = 1000
_MOST_SEEN = 1000  # deadlocks last, as a rule, and so do corrupt words: there are never many


class Troubles(NamedTuple):
    """What was found with the locks of one label."""

    deadlocks: int
    corruptions: int
    abandoned: int


_tallies: dict[str, tuple[Tally, Tally, Tally]] = {}
_seen: dict[Hashable, Any] = {}


def counts() -> dict[str, Troubles]:
    """Return what was found since the process began, or was forked."""
    return {label: Troubles(*map(int, tallies)) for label, tallies in list(_tallies.items())}


def _of(label: str) -> tuple[Tally, Tally, Tally]:
    found = _tallies.get(label)
    if found is None:
        if len(_tallies) >= _MOST_LABELS:
            label = OTHERS
        found = _tallies.setdefault(label, (Tally(), Tally(), Tally()))
    return found


def _label(lock: Any) -> str:
    """As its waits are called, if anybody has waited for it; else as they would be."""
    if lock is None:
        return NO_LOCK
    kept = getattr(lock, "_kept", None)
    if kept is not None:
        return str(kept.label)
    return label_of(lock) if hasattr(lock, "name") else type(lock).__name__


def _is_new(key: Hashable, of: Any = None) -> bool:
    """Whether that was not seen before; with `of`: of that very object, for numbers and addresses are used again."""
    mine = [None if of is None else weakref.ref(of)]  # a list of its own: of two at a time one is told that it is new
    known = _seen.setdefault(key, mine)
    if known is not mine and of is not None and known[0]() is not of:
        _seen.pop(key, None)
        known = _seen.setdefault(key, mine)
    if known is not mine:
        return False
    if len(_seen) > _MOST_SEEN:
        for old in list(_seen)[: _MOST_SEEN // 2]:  # copied in one step
            _seen.pop(old, None)
    return True


def refused(lock: Any) -> None:
    """Somebody who asked for it gets a DeadlockError."""
    _of(_label(lock))[0].add()


def deadlock(cycle: Iterable[Any]) -> None:
    """A cycle of the wait graph was confirmed: its steps (_wait_graph.Step)."""
    waits = [step.need.wait for step in cycle]
    if _is_new(("deadlock", frozenset(wait.identity for wait in waits))):
        labels = {_label(wait.lock) for wait in waits if wait.lock is not None}
        for label in labels or {NO_LOCK}:
            _of(label)[0].add()


def corruption(lock: Any, word: int) -> None:
    """A lock has a word that nothing leads to. Nothing, if the word is a possible one."""
    if decode(word).problems and _is_new(("word", lock.address, word), lock):
        _of(_label(lock))[1].add()


def dropped(lock: Any) -> None:
    """A guard was collected while it held: the lock is released, with a ResourceWarning."""
    _of(_label(lock))[2].add()


def dead_owner(lock: Any, hold: Hashable) -> None:
    """Somebody waits for a lock whose holder has ended. `hold`: what tells that hold from others of the lock."""
    if _is_new(("dead", lock.address, hold), lock):
        _of(_label(lock))[2].add()


def _begin_again() -> None:
    """In a forked child: that was found by its parent."""
    _tallies.clear()
    _seen.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_again)
