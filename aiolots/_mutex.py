"""The mutexes."""

from __future__ import annotations

from typing import Any, Generic, TypeVar, cast, overload

from aiolots import _track
from aiolots._copying import Copyable
from aiolots._front import FairMutexFront, MutexFront
from aiolots._guards import MutexGuard
from aiolots._statistics import LockStatistics, describe, statistics_of
from aiolots._taking import Takeable

T = TypeVar("T")


class _Looks(Copyable):
    """What a mutex tells of itself."""

    __slots__ = ()

    def is_locked(self: Any) -> bool:
        """The same as locked()."""
        return bool(self.locked())

    def statistics(self: Any) -> LockStatistics:
        """Return whether it is held and how many wait, as a frozen dataclass. Never waits."""
        return statistics_of(self)

    def _try_look(self: Any) -> MutexGuard[Any] | None:
        guard: MutexGuard[Any] | None = self.try_lock()
        return guard

    def _try_alone(self: Any) -> Any:
        return self.try_lock()

    def __repr__(self: Any) -> str:
        return describe(self)


class Mutex(_Looks, Takeable[T], MutexFront[T], Generic[T]):
    """A mutex around a value, for threads and event loops at once: all of its state is one 64-bit word.

    `with mutex.lock() as guard:` gives the protected value; `with mutex:`, acquire() and release() have the signatures of
    threading.Lock, and `async with mutex:` that of asyncio.Lock, on the same lock. Not re-entrant. Made without a running
    loop, it may be a module's global.

    Args:
        value: what it protects; `guard.value` gives it to whoever holds the lock. None if the mutex protects something else.
        name: appears in messages and repr.
        track: note who holds it; see aiolots.tracking.
        lock_class: what it is in the lock order, together with others of the same class. TypeError if it is no string.
    """

    __slots__ = ()

    @overload
    def __init__(
        self: Mutex[None], value: None = None, *, name: str | None = None, track: bool = False, lock_class: str | None = None
    ) -> None: ...
    @overload
    def __init__(self, value: T, *, name: str | None = None, track: bool = False, lock_class: str | None = None) -> None: ...
    def __init__(
        self, value: Any = None, *, name: str | None = None, track: bool = False, lock_class: str | None = None
    ) -> None:
        super().__init__(cast("T", value), name=name)
        if track or lock_class is not None:
            _track.configure(self, track, lock_class)


class FairMutex(_Looks, Takeable[T], FairMutexFront[T], Generic[T]):
    """A Mutex that is strictly first come, first served: each release hands it to whoever has waited longest.

    Nobody who comes by takes it before those who wait, which costs throughput: each handover waits for the next holder to
    wake up. A task whose event loop cannot run is passed over meanwhile, and keeps its place. Else as Mutex.
    """

    __slots__ = ()

    @overload
    def __init__(
        self: FairMutex[None],
        value: None = None,
        *,
        name: str | None = None,
        track: bool = False,
        lock_class: str | None = None,
    ) -> None: ...
    @overload
    def __init__(self, value: T, *, name: str | None = None, track: bool = False, lock_class: str | None = None) -> None: ...
    def __init__(
        self, value: Any = None, *, name: str | None = None, track: bool = False, lock_class: str | None = None
    ) -> None:
        super().__init__(cast("T", value), name=name)
        if track or lock_class is not None:
            _track.configure(self, track, lock_class)
