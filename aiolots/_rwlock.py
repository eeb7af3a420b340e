"""The read-write lock."""

from __future__ import annotations

from typing import Any, Generic, TypeVar, cast, overload

from aiolots import _track
from aiolots._copying import Copyable
from aiolots._front import RwLockFront
from aiolots._guards import ReadGuard, WriteGuard
from aiolots._statistics import LockStatistics, describe, statistics_of
from aiolots._taking import Takeable
from aiolots._word import decode

T = TypeVar("T")


class RwLock(Copyable, Takeable[T], RwLockFront[T], Generic[T]):
    """A read-write lock around a value, for threads and event loops at once: all of its state is one 64-bit word.

    Any number of readers, or one writer. Writers are preferred: while one waits, new readers queue behind it. A writer that
    leaves lets in the readers at the head of the queue, up to the next writer there, so a looping writer does not starve
    them. A task and a thread take the same lock; any number of loops may. Made without a running loop, it may be a module's
    global.

    Args:
        value: what it protects; `guard.value` gives it to whoever holds the lock. None if the lock protects something else.
        name: appears in messages and repr.
        track: note who holds it; see aiolots.tracking.
        lock_class: what it is in the lock order, together with others of the same class. TypeError if it is no string.
    """

    __slots__ = ()

    @overload
    def __init__(
        self: RwLock[None], value: None = None, *, name: str | None = None, track: bool = False, lock_class: str | None = None
    ) -> None: ...
    @overload
    def __init__(self, value: T, *, name: str | None = None, track: bool = False, lock_class: str | None = None) -> None: ...
    def __init__(
        self, value: Any = None, *, name: str | None = None, track: bool = False, lock_class: str | None = None
    ) -> None:
        super().__init__(cast("T", value), name=name)
        if track or lock_class is not None:
            _track.configure(self, track, lock_class)

    def is_locked(self) -> bool:
        """Return whether anybody holds the lock, in any mode. Never waits."""
        word = decode(self.word)
        return word.write_locked or word.readers > 0

    def is_locked_exclusive(self) -> bool:
        """Return whether a writer holds the lock. Never waits."""
        return decode(self.word).write_locked

    def reader_count(self) -> int:
        """Return how many readers hold the lock. Never waits."""
        return decode(self.word).readers

    def statistics(self) -> LockStatistics:
        """Return who holds and how many wait, as a frozen dataclass. Never waits."""
        return statistics_of(self)

    def _try_look(self) -> ReadGuard[T] | None:
        return self.try_read()

    def _try_alone(self) -> WriteGuard[T] | None:
        return self.try_write()

    def __repr__(self) -> str:
        return describe(self)
