"""The guards: what holding a lock looks like. At run time a guard is its own request, once that was acquired."""

from __future__ import annotations

from abc import ABCMeta
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from aiolots._front import LockBase

T = TypeVar("T")


class Guard(Generic[T], metaclass=ABCMeta):
    """Proof that a lock is held, and the capability to release it: any thread or task that has it may do so.

    A guard that is collected while it is held releases its lock and warns (ResourceWarning, with the lock's name and the
    place where the lock was asked for).
    """

    __slots__ = ()

    if TYPE_CHECKING:
        _lock: LockBase[Any]

        def _release(self, *, fair: bool) -> None: ...
        def _require_held(self) -> None: ...
        def _holds(self) -> bool: ...

    def release(self) -> None:
        """Release the lock. Never waits, and is no checkpoint.

        Of several callers, from any threads, exactly one succeeds. Raises RuntimeError if the guard is not held.
        """
        self._release(fair=False)

    def release_fair(self) -> None:
        """Release the lock and hand it to the waiter that came first, if there is one, instead of letting others barge in.

        Never waits. Raises RuntimeError if the guard is not held.
        """
        self._release(fair=True)

    def is_held(self) -> bool:
        """Return whether this guard holds its lock now. Never waits."""
        return bool(self._holds())

    @property
    def value(self) -> T:
        """The value that the lock protects. RuntimeError if the guard is not held."""
        self._require_held()
        value: T = self._lock._value
        return value


class ReadGuard(Guard[T]):
    """A share of an RwLock, taken by a thread: others may read too, nobody writes. Its value cannot be rebound."""

    __slots__ = ()


class AsyncReadGuard(Guard[T]):
    """A share of an RwLock, taken by a task. See ReadGuard."""

    __slots__ = ()


class _Exclusive(Guard[T]):
    __slots__ = ()

    @property
    def value(self) -> T:
        """The value that the lock protects; assignable. RuntimeError if the guard is not held."""
        self._require_held()
        value: T = self._lock._value
        return value

    @value.setter
    def value(self, value: T) -> None:
        self._require_held()
        self._lock._value = value


class WriteGuard(_Exclusive[T]):
    """An RwLock for oneself alone, taken by a thread."""

    __slots__ = ()


class AsyncWriteGuard(_Exclusive[T]):
    """An RwLock for oneself alone, taken by a task."""

    __slots__ = ()


class MutexGuard(_Exclusive[T]):
    """A held Mutex, taken by a thread."""

    __slots__ = ()


class AsyncMutexGuard(_Exclusive[T]):
    """A held Mutex, taken by a task."""

    __slots__ = ()
