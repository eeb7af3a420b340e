"""The mutex."""

from __future__ import annotations

from typing import Any, Generic, TypeVar, cast, overload

from aiolots._copying import Copyable
from aiolots._front import MutexFront
from aiolots._guards import MutexGuard
from aiolots._statistics import LockStatistics, describe, statistics_of

T = TypeVar("T")


class Mutex(Copyable, MutexFront[T], Generic[T]):
    """A mutex around a value, for threads and event loops at once: all of its state is one 64-bit word.

    `with mutex.lock() as guard:` gives the protected value; `with mutex:`, acquire() and release() have the signatures of
    threading.Lock, and `async with mutex:` that of asyncio.Lock, on the same lock. Not re-entrant. Made without a running
    loop, it may be a module's global.

    Args:
        value: what it protects; `guard.value` gives it to whoever holds the lock. None if the mutex protects something else.
        name: appears in messages and repr.
    """

    __slots__ = ()

    @overload
    def __init__(self: Mutex[None], value: None = None, *, name: str | None = None) -> None: ...
    @overload
    def __init__(self, value: T, *, name: str | None = None) -> None: ...
    def __init__(self, value: Any = None, *, name: str | None = None) -> None:
        super().__init__(cast("T", value), name=name)

    def is_locked(self) -> bool:
        """The same as locked()."""
        return self.locked()

    def statistics(self) -> LockStatistics:
        """Return whether it is held and how many wait, as a frozen dataclass. Never waits."""
        return statistics_of(self)

    def _try_look(self) -> MutexGuard[T] | None:
        return self.try_lock()

    def __repr__(self) -> str:
        return describe(self)
