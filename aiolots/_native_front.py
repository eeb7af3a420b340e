"""The front as C types, with what only Python can add. Its counterpart in Python is _pure.py and _pure_locks.py."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from aiolots import _events, _guards, _loops, _native, _watched
from aiolots._lib import WORD, ffi
from aiolots._pure import Request  # the documented type of requests; the C types are registered with it
from aiolots._waiters import Holder
from aiolots._word import ONE_READER

T = TypeVar("T")

_KINDS = {
    _native.ReadRequest: (_guards.ReadGuard, _guards.AsyncReadGuard),
    _native.UpgradableRequest: (_guards.UpgradableGuard, _guards.AsyncUpgradableGuard),
    _native.WriteRequest: (_guards.WriteGuard, _guards.AsyncWriteGuard),
    _native.MutexRequest: (_guards.MutexGuard, _guards.AsyncMutexGuard),
    _native.ReentrantRequest: (_guards.ReentrantGuard,),
}
for _native_kind, _documented_kinds in _KINDS.items():
    for _documented_kind in _documented_kinds:
        _documented_kind.register(_native_kind)
    Request.register(_native_kind)
_loops.use_drain(_native.drain)
_watched.tell(_native.watch)
_events.use_switch(_native.want_events)


class _Holders:
    """Who holds: the lock itself knows an exclusive holder; readers are looked for among the living guards."""

    __slots__ = ()

    @property
    def _word(self: Any) -> Any:
        """The lock word, for the verbs of the core. Valid while the lock lives."""
        return ffi.cast(WORD, self.address)

    def _holder_list(self: Any) -> list[Holder]:
        holder = self._exclusive_holder  # read once: it may be gone the next time
        noted = [] if holder is None else [holder]
        if not noted and self.word >= ONE_READER:
            noted = _native.readers(self)
        return [Holder(mode, thread, is_task) for mode, thread, is_task in noted]

    def _known_holders(self: Any) -> list[Holder]:
        """Whatever the word says."""
        holder = self._exclusive_holder
        noted = [] if holder is None else [holder]
        if isinstance(self, _native.RwLockBase):
            noted += _native.readers(self)
        return [Holder(mode, thread, is_task) for mode, thread, is_task in noted]


class RwLockFront(_Holders, _native.RwLockBase, Generic[T]):
    """The hot half of RwLock."""

    __slots__ = ()


class MutexFront(_Holders, _native.MutexBase, Generic[T]):
    """The hot half of Mutex."""

    __slots__ = ()


class FairMutexFront(_Holders, _native.FairMutexBase, Generic[T]):
    """The hot half of FairMutex."""

    __slots__ = ()


class ReentrantFront(_Holders, _native.ReentrantBase, Generic[T]):
    """The hot half of ReentrantMutex."""

    __slots__ = ()


LockBase = RwLockFront[Any] | MutexFront[Any] | FairMutexFront[Any] | ReentrantFront[Any]

__all__ = ["FairMutexFront", "LockBase", "MutexFront", "ReentrantFront", "Request", "RwLockFront"]
