"""Guards of a part: the lock stays held, and only a part of its value is shown.

What is mapped is found when the guard is mapped, as in parking_lot: by calling a function, or as a place, the attribute or
item of the object that is the value then.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, NoReturn, Self, SupportsIndex, TypeVar

from aiolots import _guards

if TYPE_CHECKING:
    from aiolots._guards import Guard

U = TypeVar("U")
V = TypeVar("V")


class MappedGuard(Generic[U]):
    """A held guard that shows a part of the value. It is the same guard underneath: released by either, both are released.

    Dropped with its guard while that is held, the lock is released, with the guard's ResourceWarning.
    """

    __slots__ = ("__weakref__", "_guard", "_show")

    def __init__(self, guard: Guard[Any], show: Callable[[], U]) -> None:
        self._guard = guard
        self._show = show

    @property
    def value(self) -> U:
        """The part. RuntimeError if the guard is not held."""
        self._guard._require_held()
        return self._show()

    def map(self, function: Callable[[U], V]) -> MappedGuard[V]:
        """Show a part of this part: what function(value), called now, returns. See Guard.map."""
        return by_function(self._guard, function, self.value)

    def map_attribute(self, name: str) -> MappedPlace[Any]:
        """Show an attribute of this part. See Guard.map_attribute."""
        return MappedPlace(self._guard, self.value, "attribute", name)

    def map_item(self, key: Any) -> MappedPlace[Any]:
        """Show an item of this part. See Guard.map_item."""
        return MappedPlace(self._guard, self.value, "item", key)

    def release(self) -> None:
        """Release the lock, as the guard's release() does. Never waits. RuntimeError if it is not held."""
        self._guard.release()

    def release_fair(self) -> None:
        """Release the lock, as the guard's release_fair() does. Never waits. RuntimeError if it is not held."""
        self._guard.release_fair()

    def is_held(self) -> bool:
        """Return whether the lock is held by this guard now. Never waits."""
        return self._guard.is_held()

    def __enter__(self) -> Self:
        self._guard._require_held()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._guard.__exit__(kind, error, tb)  # type: ignore[attr-defined]  # nothing, if it was released inside

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.__exit__(kind, error, tb)

    def __bool__(self) -> bool:
        return self.is_held()

    def __repr__(self) -> str:
        return f"<aiolots mapped {'guard' if self.is_held() else 'guard, released,'} of {self._guard._lock!r}>"

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(f"{self!r} cannot be copied or pickled: there is one of it")


class MappedPlace(MappedGuard[U]):
    """A held guard that shows an attribute or an item: assignable, if the guard is one for its holder alone."""

    __slots__ = ("_place",)

    def __init__(self, guard: Guard[Any], target: Any, kind: str, name: Any) -> None:
        super().__init__(guard, lambda: getattr(target, name) if kind == "attribute" else target[name])
        self._place = (target, kind, name)

    @property
    def value(self) -> U:
        """What is at that place now. RuntimeError if the guard is not held.

        Assignable through a guard that keeps all others out; AttributeError through a reader's.
        """
        self._guard._require_held()
        return self._show()

    @value.setter
    def value(self, value: U) -> None:
        self._guard._require_held()
        target, kind, name = self._place
        alone = isinstance(self._guard, _guards.Exclusive)
        if not alone:
            raise AttributeError(f"{self!r}, of a reader, cannot be assigned to: others may read it now")
        if kind == "attribute":
            setattr(target, name, value)
        else:
            target[name] = value


def by_function(guard: Guard[Any], function: Callable[[Any], V], value: Any) -> MappedGuard[V]:
    """Call the function, with the lock held."""
    part = function(value)
    return MappedGuard(guard, lambda: part)


def mapped(guard: Guard[Any], function: Callable[[Any], V]) -> MappedGuard[V]:
    """What Guard.map does, for both fronts."""
    return by_function(guard, function, guard.value)


def mapped_attribute(guard: Guard[Any], name: str) -> MappedPlace[Any]:
    """What Guard.map_attribute does, for both fronts."""
    return MappedPlace(guard, guard.value, "attribute", name)


def mapped_item(guard: Guard[Any], key: Any) -> MappedPlace[Any]:
    """What Guard.map_item does, for both fronts."""
    return MappedPlace(guard, guard.value, "item", key)
