"""How a re-entrant mutex is held: from the first level to the last, and by whom.

A Hold has a lock word of its own, in which each level is a reader; so levels come and go from any thread, and each is
released by exactly one of those who try. Whoever left the last one tries to become that word's writer. One succeeds, and
only if the owner did not enter once more meanwhile. From then on that Hold can never be entered again, and its mutex is
released: so an owner that goes deeper while another thread releases its last guard either keeps the mutex, or asks anew.

The owner is the running task, or outside of any the thread (_owner.py).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from aiolots import _loops, _owner, _parking, _seconds, _track, _wait
from aiolots._lib import BY_CANCEL, HELD, MISUSE, MUTEX, NULL, READ, READY, WORD, WRITE, ffi, lib
from aiolots._word import ONE_READER, WRITER

if TYPE_CHECKING:
    from aiolots._pure_reentrant import ReentrantFront

Steps = Generator[Any, None, Any]


class Hold:
    """The mutex, from the first level to the last."""

    __slots__ = ("_levels", "bare", "of_task", "op", "owner", "thread")

    def __init__(self, lock: ReentrantFront[Any], who: Any, *, of_task: bool) -> None:
        self.op: Any = _parking.new_op(lock._word, MUTEX)
        self._levels: Any = ffi.new(WORD)
        self.owner: _owner.Owner | None = _owner.Owner(who)
        self.thread = int(lib.lots_thread_token())
        self.of_task = of_task
        self.bare: list[Any] = []  # levels without a guard

    @property
    def depth(self) -> int:
        """How many levels there are now."""
        return int(lib.lots_word_load(self._levels) // ONE_READER)

    def is_owned_by(self, who: Any) -> bool:
        """Whether the mutex is held, and that is its owner."""
        owner = self.owner
        return owner is not None and owner.is_(who)

    def is_left_behind(self) -> bool:
        """Whether its owner was collected, within an `async with` that the collector ends: nobody else ever will."""
        owner = self.owner
        return owner is not None and owner.is_(None)

    def new_level(self) -> Any:
        """Return an op that is to be a level."""
        return _parking.new_op(self._levels, READ)

    def leave(self, lock: ReentrantFront[Any], level: Any, *, fair: bool) -> bool:
        """End a level, and with the last one the hold. False if that level is not held."""
        answer = MISUSE
        try:
            answer = lib.lots_op_release(level, False, NULL)
            if answer != MISUSE:
                self.end_if_left(lock, fair=fair)
        except BaseException:  # out of a signal handler, before or after it
            lib.lots_op_release(level, False, NULL)
            self.end_if_left(lock, fair=fair)
            raise
        return bool(answer != MISUSE)

    def leave_bare(self, lock: ReentrantFront[Any], level: Any) -> None:
        """End a level without a guard; by the owner. Nothing, if that is done."""
        self.leave(lock, level, fair=False)
        with contextlib.suppress(ValueError):  # the hold is over, or it was done before
            self.bare.remove(level)

    def end_if_left(self, lock: ReentrantFront[Any], *, fair: bool) -> None:
        """Release the mutex, if no level is left. Of several that do so at a time, one does it."""
        lib.lots_try(self._levels, WRITE)
        if lib.lots_word_load(self._levels) & WRITER:
            self.owner = None
            self.bare.clear()
            _track.released(lock)
            _wait.release(self.op, lock._word, fair=fair)

    def lose(self) -> None:
        """Its mutex is another's from now on, or free: in a forked child. The levels that are left hold nothing."""
        self.owner = None
        self.bare.clear()
        if lib.lots_op_change(self.op) == READY:
            lib.lots_op_lost(self.op)


class Level:
    """One level of a hold; before that, the wish for one."""

    __slots__ = ("_hold", "_level", "_lock")

    _lock: Any  # the same as a Guard's

    def __init__(self, lock: ReentrantFront[Any]) -> None:
        self._lock = lock
        self._hold: Hold | None = None
        self._level: Any = None

    def _enter(self, seconds: float | None, *, as_task: bool) -> Steps:
        """Go deeper, or acquire the mutex. False: it timed out."""
        lock, who = self._lock, _owner.current()
        moment = None if seconds is None else time.monotonic() + seconds
        while True:
            hold = lock._hold_of(who)
            if hold is not None and self._deepen(hold):
                break
            if (last := lock._hold) is not None and lib.lots_op_state(last.op) == HELD and last.depth == 0:
                # Whose release a signal handler, which we may be, interrupted; or we came in the middle of it. It may have
                # been a fair one: who helps it to its end does not profit from that.
                last.end_if_left(lock, fair=True)
            self._hold = hold = Hold(lock, who, of_task=as_task)
            lock._asking[id(hold)] = hold
            if lib.lots_op_try(hold.op) != READY:
                if as_task:
                    acquired = yield from _wait.suspend(lock, hold.op, seconds)
                else:
                    acquired = _wait.block(lock, hold.op, MUTEX, seconds)
                if not acquired:
                    lock._asking.pop(id(hold), None)
                    return False
                as_task = False  # it has waited
            entered = self._deepen(hold)
            if entered:
                lock._hold = hold
                _track.acquired(lock, MUTEX, as_task=hold.of_task, waits=seconds is None)
            lock._asking.pop(id(hold), None)
            if entered:
                break
            # A signal handler came right after the acquire: it entered this hold, left it, and so released the mutex.
            seconds = None if moment is None else _seconds.left_until(moment)
        if as_task:
            yield from _loops.checkpoint()
        return True

    def _enter_bare(self, seconds: float | None, *, as_task: bool) -> Steps:
        """The same, for a level that nobody but the owner releases."""
        entered = yield from self._enter(seconds, as_task=as_task)
        if entered and self._hold is not None:
            self._hold.bare.append(self._level)
        return entered

    def _deepen(self, hold: Hold) -> bool:
        self._hold, self._level = hold, hold.new_level()
        if lib.lots_op_try(self._level) == READY:
            return True
        lib.lots_op_cancel(self._level, BY_CANCEL, NULL)
        return False

    def _give_up(self) -> None:
        """Hold nothing, after an exception at whatever point."""
        if self._hold is not None:
            self._lock._asking.pop(id(self._hold), None)
            lib.lots_op_cancel(self._hold.op, BY_CANCEL, NULL)  # it is in no queue any more; nothing, if that was seen to
            if self._level is not None:
                self._hold.leave_bare(self._lock, self._level)
            self._hold.end_if_left(self._lock, fair=False)
