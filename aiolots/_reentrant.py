"""The re-entrant mutex: what is rare. The rest is in _pure_reentrant.py, and as C types in `aiolots._native`."""

from __future__ import annotations

from typing import Any, Generic, TypeVar, cast, overload

from aiolots import _track
from aiolots._front import ReentrantFront
from aiolots._lib import MUTEX
from aiolots._mutex import _Looks
from aiolots._taking import Takeable
from aiolots._waiters import Holder, waiters

T = TypeVar("T")


class ReentrantMutex(_Looks, Takeable[T], ReentrantFront[T], Generic[T]):
    """A mutex that its owner may take again: the thread, or inside of a task that task, in whatever colour it was taken.

    Each acquire is one level, and it is free when all levels are released. `with mutex.lock() as guard:` gives the protected
    value; `with mutex:`, acquire() and release() have the signatures of threading.RLock, and `async with mutex:` works on the
    same lock. Two tasks of one loop are two owners, and a thread is another one than the tasks of the loop that it runs. Made
    without a running loop, it may be a module's global.

    The value is assignable through every guard: all guards there are belong to one owner. Copied or pickled by its owner, or
    unlocked, it gives a new, unlocked one of the same name.

    Args:
        value: what it protects; `guard.value` gives it to whoever holds the lock. None if the mutex protects something else.
        name: appears in messages and repr.
        track: note who holds it; see aiolots.tracking.
        lock_class: what it is in the lock order, together with others of the same class. TypeError if it is no string.
    """

    __slots__ = ()

    @overload
    def __init__(
        self: ReentrantMutex[None],
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

    def _try_look(self) -> Any:
        return self.try_lock()

    def _try_alone(self) -> Any:
        return None if self.is_owned() else self.try_lock()

    def _holder_list(self) -> list[Holder]:
        note = self._owner_note
        if note is None:
            return []
        _, thread, of_task, bare, _ = note
        # Without a guard nobody else can release it: as good as a task that cannot go on while its loop is blocked.
        return [Holder(MUTEX, thread, is_task=of_task or bare > 0)]

    _known_holders = _holder_list

    def __repr__(self) -> str:
        name = "" if self.name is None else f" {self.name!r}"
        waiting = sum(not waiter.woken for waiter in waiters(cast("Any", self)))
        held = f"locked depth={self._depth}" if self.locked() else "unlocked"
        return f"<aiolots.{type(self).__name__}{name} {held}{f' waiters={waiting}' if waiting else ''}>"
