"""Copies of locks: a new, unlocked lock of the same name, with a copy of the value."""

from __future__ import annotations

import copy
from typing import Any, Protocol, Self, TypeVar

L = TypeVar("L", bound="Copied")


class Copied(Protocol):
    """What a lock offers to be copied."""

    name: str | None

    def __init__(self, value: Any, *, name: str | None = None) -> None: ...
    def _try_look(self) -> Any: ...


def _look(lock: Copied, taker: Any) -> Any:
    guard = lock._try_look()
    if guard is None:
        raise TypeError(f"{lock!r} is locked: its value cannot be copied now")
    try:
        return taker(guard.value)
    finally:
        guard.release()


def _rebuild(kind: Any, value: Any, name: str | None) -> Any:
    return kind(value, name=name)


class Copyable:
    """copy, deepcopy and pickle. Each takes the value under a share of the lock, without waiting; TypeError if it cannot."""

    __slots__ = ()

    def __copy__(self) -> Self:
        return type(self)(_look(self, copy.copy), name=self.name)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return type(self)(_look(self, lambda value: copy.deepcopy(value, memo)), name=self.name)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        # A copy, for pickle writes the value only after the share was given back.
        return _rebuild, (type(self), _look(self, copy.deepcopy), self.name)
