"""The RLock of aiolots.compat.threading: a Mutex, and the thread that holds it."""

from __future__ import annotations

from threading import TIMEOUT_MAX, get_ident
from types import TracebackType

from aiolots import Mutex
from aiolots._lib import lib

_AT_ONCE = (False,)


class RLock:
    """A `threading.RLock`: the thread that holds it may take it again, and releases it as often as it took it.

    It is the thread's, in tasks too, whichever task of its loop it was; for a lock that is a task's see ReentrantMutex.
    """

    __slots__ = ("__weakref__", "_count", "_in_between", "_mutex", "_owner", "name")

    def __init__(self, *, name: str | None = None) -> None:
        self.name = name
        self._mutex = Mutex(None, name=name)
        self._owner: int | None = None
        self._count = 0
        # A signal handler or finalizer comes between two steps of acquire() or release(), where this thread holds the mutex
        # and the owner is not noted. It may enter: it has left again before the next step.
        self._in_between = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take it, once more if this thread holds it. Arguments, blocking and result as of a Lock."""
        if timeout != -1 or not blocking:
            _check(blocking, timeout)
        me = get_ident()
        if self._owner == me:
            self._count += 1
            return True
        taken: list[bool] = []  # told in the step in which it is taken: a signal handler may raise right after that
        try:
            taken.extend(map(self._mutex.acquire, _AT_ONCE))
            if not taken[0]:
                if self._is_between():
                    self._in_between += 1
                    return True
                taken.extend(map(self._mutex.acquire, (blocking,), (timeout,)))
                if not taken[1]:
                    return False
            self._count = 1  # first: with an owner it counts
            self._owner = me
        except BaseException:
            if taken and taken[-1]:
                self._mutex.release()
            raise
        return True

    __enter__ = acquire

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.release()

    def release(self) -> None:
        """Release it once. Never waits. RuntimeError if this thread does not hold it."""
        if self._owner == get_ident():
            if self._count > 1:
                self._count -= 1
            else:
                self._let_go()
        elif self._in_between > 0 and self._is_between():
            self._in_between -= 1
        else:
            raise RuntimeError("cannot release un-acquired lock")

    def _let_go(self) -> None:
        try:
            self._owner = None
            self._mutex.release()
        except BaseException:  # out of a signal handler, perhaps before that was begun
            if self._is_between():
                self._mutex.release()
            raise

    def _is_between(self) -> bool:
        here = lib.lots_thread_token()
        return any(holder.thread == here for holder in self._mutex._holder_list())

    def _is_owned(self) -> bool:
        return self._owner == get_ident() or (self._in_between > 0 and self._is_between())

    def _recursion_count(self) -> int:
        return self._count if self._owner == get_ident() else 0

    def _release_save(self) -> int:
        if self._owner != get_ident():
            raise RuntimeError("cannot release un-acquired lock")
        count = self._count
        try:
            self._let_go()
        except BaseException:  # out of a signal handler: who asked does not know that it was let go, or how often it was held
            if self._owner != get_ident():
                self._acquire_restore(count)
            raise
        return count

    def _acquire_restore(self, count: int) -> None:
        me, taken = get_ident(), list[bool]()
        try:
            taken.extend(map(self._mutex.acquire, (True,)))
        finally:
            if taken:
                self._count = count
                self._owner = me

    def _at_fork_reinit(self) -> None:
        self._owner = None
        self._in_between = 0
        if self._mutex.locked():
            self._mutex.release()

    def __repr__(self) -> str:
        locked, owner, count = self._mutex.locked(), self._owner or 0, self._count if self._owner else 0
        state = "locked" if locked else "unlocked"
        name = "" if self.name is None else f" {self.name!r}"
        return f"<{state} aiolots.{type(self).__qualname__} object{name} owner={owner} count={count} at {id(self):#x}>"


def _check(blocking: bool, timeout: float) -> None:
    """Refuse what threading.RLock refuses even of its owner."""
    if not blocking and timeout != -1:
        raise ValueError("can't specify a timeout for a non-blocking call")
    if timeout != -1 and not timeout >= 0:
        raise ValueError("timeout value must be a non-negative number")
    if timeout > TIMEOUT_MAX:
        raise OverflowError("timeout value is too large")
