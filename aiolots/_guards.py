"""The guards: what holding a lock looks like. At run time a guard is its own request, once that was acquired."""

from __future__ import annotations

from abc import ABCMeta
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from aiolots import _changing, _mapping
from aiolots._lib import READ, UPGRADABLE

if TYPE_CHECKING:
    from aiolots._front import LockBase
    from aiolots._mapping import MappedGuard, MappedPlace

T = TypeVar("T")
U = TypeVar("U")


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
        def _downgrade(self, mode: int) -> None: ...

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

    def map(self, function: Callable[[T], U]) -> MappedGuard[U]:
        """Show a part of the value: what function(value), called now, returns. Gives a MappedGuard over this guard.

        That is `mapped.value` as long as the guard is held, and is the same object even if the value is rebound; what is
        rebound inside of it is seen by map_attribute and map_item. The lock is released by either guard. RuntimeError if it
        is not held; what the function raises goes out, and the guard is held still. Never waits.
        """
        return _mapping.mapped(self, function)

    def map_attribute(self, name: str) -> MappedGuard[Any]:
        """Show an attribute of the object that is the value now: read, and through an exclusive guard assigned, as it is.

        Gives a MappedGuard over this guard. Through a reader's an assignment raises AttributeError. RuntimeError if the
        guard is not held. Never waits.
        """
        return _mapping.mapped_attribute(self, name)

    def map_item(self, key: Any) -> MappedGuard[Any]:
        """Show an item of the object that is the value now, which need not be there before it is read. As map_attribute."""
        return _mapping.mapped_item(self, key)


class Bumped(Guard[T]):
    __slots__ = ()

    def bump(self) -> Any:
        """Let those in who wait for the lock, then take it again, behind them; nothing if nobody waits.

        Blocks a thread, or is awaited and suspends a task, until it is held again: the value may have changed. Cancelled, or
        interrupted by a signal handler that raises (Ctrl-C), it holds nothing any more. RuntimeError if the guard is not
        held; DeadlockError as in acquire().
        """
        return _changing.bump(cast("Any", self))


class _Bump(Bumped[T]):
    __slots__ = ()

    if TYPE_CHECKING:

        def bump(self) -> None: ...


class _AsyncBump(Bumped[T]):
    __slots__ = ()

    if TYPE_CHECKING:

        def bump(self) -> Awaitable[None]: ...


class ReadGuard(_Bump[T]):
    """A share of an RwLock, taken by a thread: others may read too, nobody writes. Its value cannot be rebound."""

    __slots__ = ()


class AsyncReadGuard(_AsyncBump[T]):
    """A share of an RwLock, taken by a task. See ReadGuard."""

    __slots__ = ()


class Upgradable(Guard[T]):
    __slots__ = ()

    def downgrade(self) -> Any:
        """Go on as a plain reader: writers, and the next upgradable reader, may now wait for this one like for any other.

        Never waits. Returns the same guard, which is a ReadGuard now. RuntimeError if it is not held.
        """
        self._downgrade(READ)
        return self

    def try_upgrade(self) -> Any:
        """Become the writer if no other reader is in now. Never waits.

        Returns the same guard, which is a WriteGuard then; None if there are readers: it stays upgradable. RuntimeError if
        it is not held.
        """
        return _changing.try_upgrade(cast("Any", self))

    def upgrade(self, timeout: float | None = None) -> Any:
        """Become the writer, with no writer in between: what was read still holds.

        Blocks a thread, or is awaited and suspends a task, until the other readers have left; new ones queue behind it
        meanwhile. Gives the same guard, which is a WriteGuard now. With a timeout in seconds it raises LockTimeout when that
        runs out; then, and when it is cancelled or a signal handler raises (Ctrl-C), it is upgradable again and the readers
        that queued are let in. RuntimeError if it is not held, ValueError for a negative timeout.
        """
        return _changing.upgrade(cast("Any", self), timeout)

    def try_upgrade_for(self, seconds: float) -> Any:
        """upgrade() for at most `seconds` (0: try once; inf: for ever); None when the time ran out: upgradable still."""
        return _changing.try_upgrade_for(cast("Any", self), seconds)


class UpgradableGuard(Upgradable[T], _Bump[T]):
    """The one share of an RwLock, beside plain readers, that may become the writer; taken by a thread."""

    __slots__ = ()

    if TYPE_CHECKING:

        def downgrade(self) -> ReadGuard[T]: ...
        def try_upgrade(self) -> WriteGuard[T] | None: ...
        def upgrade(self, timeout: float | None = None) -> WriteGuard[T]: ...
        def try_upgrade_for(self, seconds: float) -> WriteGuard[T] | None: ...


class AsyncUpgradableGuard(Upgradable[T], _AsyncBump[T]):
    """The one share of an RwLock, beside plain readers, that may become the writer; taken by a task."""

    __slots__ = ()

    if TYPE_CHECKING:

        def downgrade(self) -> AsyncReadGuard[T]: ...
        def try_upgrade(self) -> AsyncWriteGuard[T] | None: ...
        def upgrade(self, timeout: float | None = None) -> Awaitable[AsyncWriteGuard[T]]: ...
        def try_upgrade_for(self, seconds: float) -> Awaitable[AsyncWriteGuard[T] | None]: ...


class Exclusive(Guard[T]):
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

    if TYPE_CHECKING:

        def map_attribute(self, name: str) -> MappedPlace[Any]: ...
        def map_item(self, key: Any) -> MappedPlace[Any]: ...


class Writer(Exclusive[T]):
    __slots__ = ()

    def downgrade(self) -> Any:
        """Go on as a reader, with no writer in between: readers that queue are let in beside it. Never waits.

        Returns the same guard, which is a ReadGuard now: its value cannot be rebound any more. RuntimeError if it is not held.
        """
        self._downgrade(READ)
        return self

    def downgrade_to_upgradable(self) -> Any:
        """Go on as the upgradable reader, with no writer in between: readers that queue are let in beside it. Never waits.

        Returns the same guard, which is an UpgradableGuard now. RuntimeError if it is not held.
        """
        self._downgrade(UPGRADABLE)
        return self


class WriteGuard(Writer[T], _Bump[T]):
    """An RwLock for oneself alone, taken by a thread."""

    __slots__ = ()

    if TYPE_CHECKING:

        def downgrade(self) -> ReadGuard[T]: ...
        def downgrade_to_upgradable(self) -> UpgradableGuard[T]: ...


class AsyncWriteGuard(Writer[T], _AsyncBump[T]):
    """An RwLock for oneself alone, taken by a task."""

    __slots__ = ()

    if TYPE_CHECKING:

        def downgrade(self) -> AsyncReadGuard[T]: ...
        def downgrade_to_upgradable(self) -> AsyncUpgradableGuard[T]: ...


class MutexGuard(Exclusive[T], _Bump[T]):
    """A held Mutex, taken by a thread."""

    __slots__ = ()


class AsyncMutexGuard(Exclusive[T], _AsyncBump[T]):
    """A held Mutex, taken by a task."""

    __slots__ = ()


class ReentrantGuard(Exclusive[T]):
    """One level of a held ReentrantMutex, taken by a thread or a task. Any thread or task may release it, in any order."""

    __slots__ = ()

    if TYPE_CHECKING:

        def _depth(self) -> int: ...

    @property
    def depth(self) -> int:
        """How many levels its owner holds now, with this one. RuntimeError if the guard is not held. Never waits."""
        self._require_held()
        return self._depth()
