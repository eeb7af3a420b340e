"""The state of a lock at one moment, as a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiolots._waiters import waiters
from aiolots._word import PARKED, decode

if TYPE_CHECKING:
    from aiolots._front import LockBase


@dataclass(frozen=True)
class LockStatistics:
    """A lock at one moment.

    Attributes:
        locked: somebody holds it, in any mode.
        readers: how many readers hold it.
        write_locked: a writer (or the mutex's owner) holds it.
        threads_waiting: threads in its queues.
        tasks_waiting: tasks in its queues, of all event loops, with those that were woken and have not run yet.
    """

    locked: bool
    readers: int
    write_locked: bool
    threads_waiting: int
    tasks_waiting: int


def statistics_of(lock: LockBase[Any]) -> LockStatistics:
    """Look at word and queues. They are read one after the other, so under load they may tell of different moments."""
    word = decode(lock.word)
    waiting = waiters(lock)
    tasks = sum(w.is_task for w in waiting)
    return LockStatistics(
        locked=word.write_locked or word.readers > 0,
        readers=word.readers,
        write_locked=word.write_locked,
        threads_waiting=len(waiting) - tasks,
        tasks_waiting=tasks,
    )


def describe(lock: LockBase[Any]) -> str:
    """The repr of a lock: its word, decoded."""
    name = "" if lock.name is None else f" {lock.name!r}"
    word = decode(lock.word & ~PARKED)  # the queue says it better
    waiting = sum(not w.woken for w in waiters(lock))
    return f"<aiolots.{type(lock).__name__}{name} {word}{f' waiters={waiting}' if waiting else ''}>"
