"""Semaphores, on the parking lot.

A permit is in exactly one of three places: free, in a grant, or with who acquired it.

The free ones are the readers of a lock word of its own. The core counts those atomically and refuses to go below zero, which
is all that is wanted of a counter that threads, finalizers and signal handlers may change at any moment.

A grant is a permit on its way to a waiter: its number is the token of an unpark, and who takes the number out of the table of
grants has the permit. So nobody barges in between a release and its waiter, and the permit cannot get lost with the waiter
either: it takes up the grant, or (cancelled, interrupted, its loop closed) gives the permit back; if its loop is stopped or
busy the core lets the next in line have the unpark, number and all. An unpark with the token 0 brings no permit, it says that
one is free.

No free permit lies beside a waiter that sleeps: who waits queues first and then looks at the free ones, who frees one adds it
first and then unparks.
"""

from __future__ import annotations

import functools
import itertools
import operator
import sys
from collections.abc import Callable, Generator
from types import TracebackType
from typing import Any

from aiolots import _loops, _seconds, _wait, _watched
from aiolots._lib import BY_TIMEOUT, HELD, MISUSE, NULL, READ, READY, WORD, ffi, lib
from aiolots._parking import EVERYBODY, Reason, Wait, notify
from aiolots._word import ONE_READER

_MOST = 2**32  # permits; more would look like a corrupt word
_NOBODY = (NULL,)
_ONE = (READ,)
# Without the GIL a look at the set of waiters could be older than the permit that was freed before it.
_SEES_ALL = bool(getattr(sys, "_is_gil_enabled", lambda: True)())


class _Counter:
    """A number that is changed in one step, and never below zero."""

    __slots__ = ("_word", "add", "take")

    def __init__(self, number: int) -> None:
        self._word: Any = ffi.new(WORD)
        self._word.bits = number * ONE_READER  # nobody else knows it yet
        # Called with _NOBODY, whom it could wake: READY, and one less; or MISUSE, and it was zero.
        self.take = functools.partial(lib.lots_release, self._word, READ, False)
        self.add = functools.partial(lib.lots_try, self._word)  # called with _ONE

    def __int__(self) -> int:
        return int(lib.lots_word_load(self._word) // ONE_READER)


_nothing = ().__len__  # in C, as a default: see Semaphore._give


def _has_permit(answers: list[int]) -> bool:
    """Whether a permit was got; asked when an exception came at no matter what point."""
    return bool(answers) and answers[0] != MISUSE


class _Acquire(Wait[bool]):
    """A request for one permit: `.acquire()` in a thread, `await` in a task. Each gives whether there was one in time."""

    __slots__ = ("_mine", "_semaphore")

    _hears_of_loops_end = True

    def __init__(self, semaphore: Semaphore, seconds: float | None) -> None:
        super().__init__(semaphore, seconds)
        self._semaphore = semaphore
        self._mine: list[int] = []  # the permit

    def _at_once(self) -> bool:
        return self._semaphore._take(self._mine)

    _look = _at_once

    def _woken(self, token: int) -> bool:
        grants = self._semaphore._grants
        if self._mine:  # it had found one in passing: the other one goes on
            self._pass_on(token)
        elif token in grants:
            try:
                self._mine.extend(map(grants.pop, (token,)))
            except KeyError:  # taken from it just now
                return self._look()
            self._semaphore._took(self._mine)
        else:
            return self._look()
        return True

    def _outcome(self, reason: Reason, token: int) -> bool:
        return bool(self._mine)

    def _pass_on(self, token: int) -> None:
        semaphore = self._semaphore
        if token == 0:
            notify(self._address)
            return
        popped: list[bool] = []
        try:
            popped.extend(map(semaphore._grants.pop, (token,), (False,)))
            if popped[0]:
                semaphore._give(popped.clear)
        except BaseException:  # out of a signal handler
            if popped and popped[0]:
                semaphore._give()
            raise

    def _abandon(self) -> None:
        op = self._op
        # BY_TIMEOUT keeps an unpark that came first: it is looked into here, where a permit that nobody waits for is freed.
        answer = lib.lots_op_cancel(op, BY_TIMEOUT, NULL)
        if answer == READY or (answer == MISUSE and lib.lots_op_state(op) == HELD):
            self._pass_on(lib.lots_op_token(op))
        if _has_permit(self._mine):
            self._semaphore._give_back(self._mine)

    def _loop_ended(self) -> None:
        self._left()
        token = self._token()
        if token:  # whoever was unparked instead, with this very number, looks among the free ones, and queues again
            self._pass_on(token)

    def _entered(self) -> None:
        super()._entered()
        self._semaphore._waits.add(id(self))

    def _left(self) -> None:
        super()._left()
        self._semaphore._waits.discard(id(self))


class Semaphore:
    """A counting semaphore for threads and event loops at once: up to `value` may be in.

    `with semaphore:` and acquire() have the signatures of threading.Semaphore; in a task, `async with semaphore:`, or `await
    semaphore` and release(). First come, first served among all who wait, but for tasks whose event loop cannot run; who
    comes by while a permit is free takes it. Made without a running loop, it may be a module's global. Copied or pickled it
    gives a new one, with its first value and its name.

    Args:
        value: how many permits there are at first, 0 or more.
        name: appears in messages and repr.
    """

    __slots__ = ("__weakref__", "_first", "_free", "_grants", "_numbers", "_waits", "name")

    def __init__(self, value: int = 1, *, name: str | None = None) -> None:
        value = operator.index(value)
        if not 0 <= value <= _MOST:
            raise ValueError(f"a semaphore begins with 0 to {_MOST} permits, not {value}")
        self.name = name
        self._first = value
        self._free = _Counter(value)
        self._grants: dict[int, bool] = {}
        self._numbers = itertools.count(1)
        self._waits: set[int] = set()  # who waits, or is about to queue

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Take a permit in a thread; blocks until there is one, up to `timeout` seconds, or not at all with blocking=False.

        Returns whether it has one now. ValueError for a negative timeout, or one with blocking=False. A signal handler that
        raises (Ctrl-C) interrupts it: it has no permit then, and none is lost.
        """
        if not blocking and timeout is not None:
            raise ValueError("a timeout for who does not want to wait")
        seconds = None if timeout is None else _seconds.checked(timeout)
        mine: list[int] = []
        try:
            if self._take(mine):
                if _watched.suspends:
                    _watched.taken_by_thread(self)
                return True
        except BaseException:
            if _has_permit(mine):
                self._give_back(mine)
            raise
        if not blocking:
            return False
        request = _Acquire(self, seconds)
        try:
            acquired = request.acquire()
            if acquired and _watched.suspends:
                _watched.taken_by_thread(self)
            return acquired
        except BaseException:
            request._abandon()  # again, if a signal handler raised just after it
            raise

    __enter__ = acquire

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.release()

    def __await__(self) -> Generator[Any, None, bool]:
        """Take a permit in a task, to be given back by release(); suspends the task until there is one. Gives True.

        Cancellation leaves no trace: it has no permit, and none is lost. RuntimeError if it has to wait and no loop runs.
        """
        return self._enter().__await__()

    async def __aenter__(self) -> None:
        await self._enter()

    async def _enter(self) -> bool:
        mine: list[int] = []
        try:
            if self._take(mine):
                if _loops.in_trio():
                    await _wait.Steps(_loops.checkpoint())
                return True
        except BaseException:
            if _has_permit(mine):
                self._give_back(mine)
            raise
        request = _Acquire(self, None)
        try:
            return await request
        except BaseException:
            request._abandon()  # as in acquire
            raise

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.release()

    def try_acquire(self) -> bool:
        """Take a permit now; False if that would mean to wait. Never waits."""
        return self.acquire(False)

    def try_acquire_for(self, seconds: float) -> _Acquire:
        """Request a permit, waiting up to `seconds` (0: try once; inf: for ever): `.acquire()` in a thread, `await` in a task.

        Either gives whether there was one in time. Cancellation and Ctrl-C leave no trace. ValueError if negative or NaN,
        TypeError if no number; RuntimeError when the request is used twice.
        """
        return _Acquire(self, _seconds.checked(seconds))

    def release(self, n: int = 1) -> None:
        """Give back a permit, or n of them, to those who wait longest. Any thread or task may. Never waits.

        ValueError unless n is 1 or more.
        """
        if n < 1:
            raise ValueError(f"one can release no less than 1 permit, not {n}")
        for _ in range(n):
            self._give()

    @property
    def value(self) -> int:
        """How many permits are free now. Never waits."""
        return int(self._free)

    @property
    def waiting(self) -> int:
        """How many wait for a permit now. Never waits."""
        return len(self._waits)

    def locked(self) -> bool:
        """Return whether who acquires now has to wait. Never waits."""
        return self.value == 0

    # --- for the requests ---

    def _take(self, mine: list[int]) -> bool:
        """Put a free permit into the list, if there is one."""
        # In one step, as far as signal handlers can see: they run between two of Python's own, not inside of one.
        mine.extend(map(self._free.take, _NOBODY))
        if mine[0] != READY:
            mine.clear()
            return False
        self._took(mine)
        return True

    def _took(self, mine: list[int]) -> None:
        """A permit was acquired."""

    def _give(self, begin: Callable[[], object] = _nothing) -> None:
        """A permit goes to who waits longest, or is free. So it does if it raises, once `begin` was called: by a C function,
        for what calls Python may be interrupted before that has begun."""
        number = 0
        back: list[bool] = []  # a grant that nobody took
        freed: list[int] = []
        try:
            begin()
            if self._waits:
                number = next(self._numbers)
                self._grants[number] = True
                if notify(id(self), token=number):
                    return
                back.extend(map(self._grants.pop, (number,), (False,)))
                if not back[0]:
                    return
            freed.extend(map(self._free.add, _ONE))
            if self._waits or not _SEES_ALL:
                notify(id(self))  # somebody may have queued since
        except BaseException:  # out of a signal handler: whoever waits looks for itself
            if not freed and (back[0] if back else not number or self._grants.pop(number, False)):
                self._free.add(*_ONE)
            notify(id(self), EVERYBODY)
            raise

    def _give_back(self, mine: list[int]) -> None:
        """What was acquired is not wanted, because of an exception."""
        self._give(mine.clear)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self._first, self.name)

    def __repr__(self) -> str:
        name = "" if self.name is None else f" {self.name!r}"
        waiting = f" waiters={self.waiting}" if self._waits else ""
        return f"<aiolots.{type(self).__name__}{name} value={self.value}{waiting}>"


class BoundedSemaphore(Semaphore):
    """A Semaphore that notices when more is released than was acquired: release() raises ValueError, and changes nothing."""

    __slots__ = ("_taken",)

    def __init__(self, value: int = 1, *, name: str | None = None) -> None:
        super().__init__(value, name=name)
        self._taken = _Counter(0)

    def release(self, n: int = 1) -> None:
        """Give back a permit, or n of them, to those who wait longest. Any thread or task may. Never waits.

        ValueError unless n is 1 or more, or if more would be free than there were at first.
        """
        if n < 1:
            raise ValueError(f"one can release no less than 1 permit, not {n}")
        taken: list[int] = []
        given: list[int] = []
        give = functools.partial(given.append, 1)
        try:
            for _ in range(n):
                taken.extend(map(self._taken.take, _NOBODY))
                if taken[-1] != READY:
                    raise ValueError(f"{self!r} is released more often than acquired")
            for _ in range(n):
                self._give(give)
        except BaseException:
            for _ in range(taken.count(READY) - len(given)):
                self._taken.add(*_ONE)
            raise

    def _took(self, mine: list[int]) -> None:
        mine.extend(map(self._taken.add, _ONE))

    def _give_back(self, mine: list[int]) -> None:
        if len(mine) == 2:  # else it was interrupted before it was counted, or is not any more
            mine.extend(map(self._taken.take, _NOBODY))
        super()._give_back(mine)


def _rebuild(kind: type[Semaphore], value: int, name: str | None) -> Semaphore:
    return kind(value, name=name)
