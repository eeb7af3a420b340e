"""The value of a lock, for who is the only one to have it: taken out, or looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from aiolots._lib import QUEUE_FLAGS

T = TypeVar("T")


class Takeable(Generic[T]):
    """into_inner() and get_mut(), as parking_lot has them, where the compiler proves what is looked at here."""

    __slots__ = ()

    if TYPE_CHECKING:

        @property
        def word(self) -> int: ...
        def _try_alone(self) -> Any: ...

    def into_inner(self) -> T:
        """Take the value out of a lock that is not used any more, and return it; the lock keeps None.

        RuntimeError if anybody holds the lock, or waits for it. Never waits.
        """
        guard = self._alone()
        try:
            if self.word & QUEUE_FLAGS:
                raise RuntimeError(f"{self!r} is waited for: its value is not to be taken out")
            value: T = guard.value
            guard.value = None
            return value
        finally:
            guard.release()

    def get_mut(self) -> T:
        """Return the value without keeping the lock: for who is sure to be the only one that knows of it.

        RuntimeError if anybody holds the lock. Never waits.
        """
        guard = self._alone()
        try:
            value: T = guard.value
            return value
        finally:
            guard.release()

    def _alone(self) -> Any:
        guard = self._try_alone()
        if guard is None:
            raise RuntimeError(f"{self!r} is held: its value is not for one alone now")
        return guard
