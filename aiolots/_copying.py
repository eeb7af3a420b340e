"""Copies of locks: a new, unlocked lock of the same name, with a copy of the value."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aiolots import _track

if TYPE_CHECKING:
    from typing import Self


class Copyable:
    """copy, deepcopy and pickle. Each takes the value under a share of the lock, without waiting; TypeError if it cannot."""

    __slots__ = ()

    if TYPE_CHECKING:
        name: str | None

        def __init__(
            self, value: Any, *, name: str | None = None, track: bool = False, lock_class: str | None = None
        ) -> None: ...
        def _try_look(self) -> Any: ...

    def _copied(self, taker: Callable[[Any], Any]) -> Any:
        guard = self._try_look()
        if guard is None:
            raise TypeError(f"{self!r} is locked: its value cannot be copied now")
        try:
            return taker(guard.value)
        finally:
            guard.release()

    def __copy__(self) -> Self:
        return type(self)(self._copied(copy.copy), name=self.name, **_track.options(self))

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return type(self)(self._copied(lambda value: copy.deepcopy(value, memo)), name=self.name, **_track.options(self))

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        # A copy, for pickle writes the value only after the share was given back.
        return _rebuild, (type(self), self._copied(copy.deepcopy), self.name, _track.options(self))


def _rebuild(kind: type[Copyable], value: Any, name: str | None, options: dict[str, Any] = {}) -> Copyable:  # noqa: B006
    return kind(value, name=name, **options)
