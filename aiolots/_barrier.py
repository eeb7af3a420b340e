"""Barriers, on the parking lot.

Each round of a barrier is an object of its own, so there is no draining: the last to arrive puts the next round in its place
before it lets the others go, and who comes back at once is in that one. What a party waits for is that its round is not open
any more.

The state is guarded by a lock that is held for some lines without a wait in them: one for all barriers, so that a forked child,
in which nobody may be there to release it, begins with another one. A signal handler or finalizer on the same thread may take
it again: so in these lines nothing is called between a look and what follows from it. A handler may raise between any two
steps: who ends a round, and is interrupted before it has told the others, tells them then.
"""

from __future__ import annotations

import operator
import os
import threading
from collections.abc import Callable, Generator
from threading import BrokenBarrierError
from types import TracebackType
from typing import Any

from aiolots import _seconds
from aiolots._lib import BY_TIMEOUT, NULL, lib
from aiolots._parking import EVERYBODY, Reason, Wait, notify

OPEN = "open"
FULL = "full"  # all have arrived, and the action runs
RELEASED = "released"
BROKEN = "broken"

_state = threading.RLock()


def _begin_again() -> None:
    """In a forked child: another thread may have held it."""
    global _state  # noqa: PLW0603
    _state = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_again)


class _Round:
    """One time that all parties meet."""

    __slots__ = ("arrived", "state", "taken")

    def __init__(self) -> None:
        self.arrived = 0
        self.state = OPEN
        self.taken = 0  # one bit for each number that a party has: who leaves gives it back


class _Arrival(Wait[int]):
    """A request to arrive: `.acquire()` in a thread, `await` in a task. Each gives the party's index, or BrokenBarrierError."""

    __slots__ = ("_acts", "_barrier", "_bit", "_round")

    _hears_of_loops_end = True

    def __init__(self, barrier: Barrier, seconds: float | None) -> None:
        super().__init__(barrier, seconds)
        self._barrier = barrier
        self._round: _Round | None = None
        self._bit = 0
        self._acts = False  # it is the last one, and to run the action

    def _at_once(self) -> bool:
        barrier, following = self._barrier, _Round()
        with _state:
            ours = barrier._round
            if ours.state == BROKEN:
                raise _broken(barrier)
            bit = ~ours.taken & (ours.taken + 1)  # the lowest one that is free
            self._bit, ours.taken, ours.arrived, self._round = bit, ours.taken | bit, ours.arrived + 1, ours
            if ours.arrived < barrier.parties:
                return False
            barrier._full, barrier._round, ours.state, self._acts = ours, following, FULL, True
        barrier._act(ours)
        return True

    def _look(self) -> bool:
        return self._round is None or self._round.state in (RELEASED, BROKEN)

    def _woken(self, token: int) -> bool:
        return self._look()

    def _outcome(self, reason: Reason, token: int) -> int:
        ours = self._round
        if ours is None or (reason == "timed_out" and self._barrier._break(ours)) or ours.state == BROKEN:
            raise _broken(self._barrier)
        return self._bit.bit_length() - 1

    def _abandon(self) -> None:
        lib.lots_op_cancel(self._op, BY_TIMEOUT, NULL)
        self._depart()
        ours = self._round
        if ours is None:
            return
        if ours.state == FULL and self._acts:  # and will not come to its end
            ours.state = BROKEN
            self._barrier.abort()
        notify(self._address, EVERYBODY)  # we may have ended the round ourselves, and been interrupted before we told

    def _depart(self) -> None:
        with _state:
            ours = self._round
            if ours is not None and ours.state == OPEN:
                ours.taken, ours.arrived, self._round = ours.taken & ~self._bit, ours.arrived - 1, None

    _loop_ended = _depart


def _broken(barrier: Barrier) -> BrokenBarrierError:
    return BrokenBarrierError(f"{barrier!r} is broken, or was while this party waited")


class Barrier:
    """A meeting point for a fixed number of parties, threads and tasks of any event loops alike: all wait until all are there.

    Used as threading.Barrier; a task writes `await barrier`. Made without a running loop, it may be a module's global. A party
    that is cancelled or interrupted while it waits has not arrived: the others wait on. One whose timeout runs out breaks
    the barrier for all, until reset(). Copied or pickled it gives a new one.

    Args:
        parties: how many meet, 1 or more.
        action: called by the last to arrive, before the others go. If it raises, that goes out there, and the barrier is
            broken.
        timeout: of waits that have none of their own, in seconds.
        name: appears in messages and repr.
    """

    __slots__ = ("__weakref__", "_action", "_full", "_round", "_timeout", "name", "parties")

    parties: int

    def __init__(
        self,
        parties: int,
        action: Callable[[], object] | None = None,
        timeout: float | None = None,
        *,
        name: str | None = None,
    ) -> None:
        self.parties = operator.index(parties)
        if self.parties < 1:
            raise ValueError(f"at a barrier 1 party meets or more, not {parties}")
        self.name = name
        self._action = action
        self._timeout = None if timeout is None else _seconds.checked(timeout)
        self._round = _Round()
        self._full: _Round | None = None  # the round whose action runs

    def wait(self, timeout: float | None = None) -> int:
        """Arrive in a thread; blocks until all are there, up to `timeout` seconds. Returns a number of its own below parties.

        BrokenBarrierError if the barrier is broken, or gets broken by a timeout, abort() or reset() meanwhile. ValueError for
        a negative timeout. A signal handler that raises (Ctrl-C) interrupts it: it has not arrived then.
        """
        return self.wait_for(timeout).acquire()

    def wait_for(self, seconds: float | None) -> _Arrival:
        """Request to arrive, and to wait up to `seconds` (None: the barrier's own timeout, if it has one).

        `.acquire()` in a thread, `await` in a task; the same as wait() otherwise. RuntimeError when it is used twice.
        """
        return _Arrival(self, self._timeout if seconds is None else _seconds.checked(seconds))

    def __await__(self) -> Generator[Any, None, int]:
        """Arrive in a task; suspends it until all are there. The same as wait() otherwise; cancelled, it has not arrived."""
        return self.wait_for(None).__await__()

    async def __aenter__(self) -> int:
        return await self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Nothing: they met at the beginning."""

    def abort(self) -> None:
        """Break the barrier: who waits, and who comes, gets BrokenBarrierError, until reset(). Never waits."""
        try:
            with _state:
                self._break_all()
            notify(id(self), EVERYBODY)
        except BaseException:  # out of a signal handler
            notify(id(self), EVERYBODY)
            raise

    def reset(self) -> None:
        """Begin again, not broken. Who waits now gets BrokenBarrierError. Never waits."""
        following = _Round()
        try:
            with _state:
                old, self._round = self._round, following
                old.state = BROKEN
            notify(id(self), EVERYBODY)
        except BaseException:  # out of a signal handler
            notify(id(self), EVERYBODY)
            raise

    @property
    def n_waiting(self) -> int:
        """How many have arrived and wait for the others. Never waits."""
        now = self._round
        return now.arrived if now.state == OPEN else 0

    @property
    def broken(self) -> bool:
        """Whether the barrier is broken. Never waits."""
        return self._round.state == BROKEN

    def _act(self, full: _Round) -> None:
        try:
            if self._action is not None:
                self._action()
        except BaseException:
            full.state = BROKEN
            self.abort()
            raise
        with _state:
            if self._full is full:
                self._full = None
            if full.state == FULL:
                full.state = RELEASED
        notify(id(self), EVERYBODY)

    def _break(self, ours: _Round) -> bool:
        """Break the barrier, by a timeout, unless that round was released. Returns whether it is broken."""
        with _state:
            if ours.state == RELEASED:
                return False
            if ours.state != BROKEN:
                ours.state = BROKEN
                self._break_all()
        notify(id(self), EVERYBODY)
        return True

    def _break_all(self) -> None:
        if self._full is not None:
            self._full.state = BROKEN
        self._round.state = BROKEN

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.parties, self._action, self._timeout, self.name)

    def __repr__(self) -> str:
        name = "" if self.name is None else f" {self.name!r}"
        return f"<aiolots.{type(self).__name__}{name} {'broken' if self.broken else f'{self.n_waiting}/{self.parties}'}>"


def _rebuild(
    kind: type[Barrier], parties: int, action: Callable[[], object] | None, timeout: float | None, name: str | None
) -> Barrier:
    return kind(parties, action, timeout, name=name)
