"""One wait of one guard at one condvar: the protocol, for both colours.

It is an acquisition of the guard's lock that first waits to be notified (csrc/notify.c). It is queued at the condvar before
the lock is released, so a notification by whoever changes the condition under that lock is not missed. Who is notified goes
from the condvar's queue to the lock's without waking up, unless the lock is open: a crowd wakes up one by one.

It is written once, as steps that wait by `yield from`: a task awaits them; a thread runs them through, for its waits sleep
and never yield (as in _changing.py).

An exception, at any point after the lock was released, is put by until the lock is held again; the first one is what goes out
then. A notification that came for it meanwhile is passed on at once. What to do next is always read from the op, never
remembered: a signal handler may raise between any two steps. Two kinds of end cannot wait for the lock: the loop of the task
is closed, or its coroutine is. The guard holds nothing any more then.
"""

from __future__ import annotations

import functools
import operator
import threading
from collections.abc import Callable, Generator
from typing import Any, Protocol

from aiolots import _loops, _parking, _refusals, _seconds
from aiolots._errors import NotHeld
from aiolots._events import ACQUIRED, wait_is_over
from aiolots._lib import (
    BY_CANCEL,
    BY_TIMEOUT,
    CLOSED,
    GONE,
    HELD,
    INTERRUPTED,
    MAIL,
    NULL,
    PARKED,
    PENDING,
    READY,
    TIMED_OUT,
    WORD,
    ffi,
    lib,
)
from aiolots._parking import new_op, notify
from aiolots._wait import counted, own_mailbox

Steps = Generator[Any, None, Any]


class Sleeper(Protocol):
    """How one colour sleeps."""

    is_task: bool

    def limit(self, seconds: float | None) -> Any:
        """Turn seconds from now into what sleep() takes."""

    def queue(self, op: Any) -> int:
        """Tell the op who waits, and poll it for the first time."""
        ...

    def sleep(self, op: Any, limit: Any, shielded: bool) -> Generator[Any, None, int]:
        """Sleep until READY, TIMED_OUT or CLOSED. In time means notified in time: after that it waits for the lock.

        `shielded`: it was cancelled already, and only waits for the lock."""
        ...

    def when_loop_ends(self, call: Callable[[], None]) -> None:
        """Call a function when the loop is closed. Once queued, and until it is over."""

    def over(self) -> None:
        """The wait is over, however it ended."""


class Thread:
    """Sleeps in the core."""

    __slots__ = ()
    is_task = False

    def limit(self, seconds: float | None) -> int:
        """Until then a notification is in time."""
        return _seconds.deadline_ns(seconds)

    def queue(self, op: Any) -> int:
        """Not timed, for those who look for deadlocks: once notified it waits for the lock as long as it takes."""
        lib.lots_op_waits_as(op, NULL, lib.lots_thread_token() << 1, threading.get_ident())
        return int(lib.lots_op_poll(op))

    def sleep(self, op: Any, limit: int, shielded: bool) -> Generator[Any, None, int]:
        """Interrupted by signals, whose handlers may raise."""
        answer = INTERRUPTED
        while answer == INTERRUPTED:
            answer = lib.lots_op_nogil_wait(op, limit)
        return int(answer)
        yield  # never: this makes it a generator

    def when_loop_ends(self, call: Callable[[], None]) -> None:
        """There is none."""

    def over(self) -> None:
        """Nothing is left."""


class Task:
    """Awaits futures of its loop's port."""

    __slots__ = ("_cookie", "_port")
    is_task = True

    def __init__(self) -> None:
        self._port = _loops.port(_loops.needs_a_loop())
        self._cookie = 0

    def limit(self, seconds: float | None) -> float | None:
        """Until then a notification is in time."""
        return None if _seconds.is_for_ever(seconds) else _loops.moment_after(seconds)

    def queue(self, op: Any) -> int:
        """Not timed, as a thread."""
        if not self._cookie:
            self._cookie = _loops.new_cookie() << 1
        lib.lots_op_waits_as(op, self._port.mailbox, self._cookie, _loops.task_id())
        return int(lib.lots_op_poll(op))

    def sleep(self, op: Any, limit: float | None, shielded: bool) -> Generator[Any, None, int]:
        """Interrupted by cancellation."""
        port = self._port
        while True:
            future = port.expect(self._cookie)  # before the poll: see there
            answer = lib.lots_op_poll(op)
            if answer != PARKED:
                return int(answer)
            if (yield from port.wait(future, _loops.seconds_until(limit), shielded=shielded)):
                continue
            if lib.lots_op_notified(op):
                limit = None
            else:
                return READY if lib.lots_op_cancel(op, BY_TIMEOUT, NULL) & ~MAIL == READY else TIMED_OUT

    def when_loop_ends(self, call: Callable[[], None]) -> None:
        """By way of its port."""
        _parking.when_loop_ends(self._port, self._cookie, call)

    def over(self) -> None:
        """No wake is expected any more."""
        _parking.forget(self._port, self._cookie)
        self._cookie = 0


class Wait:
    """One wait of one guard at the key of a condvar."""

    __slots__ = (
        "_guard",
        "_key",
        "_lock",
        "_mode",
        "_noted",
        "_notification",
        "_op",
        "_released",
        "_sleeper",
        "_unused",
        "_word",
    )

    def __init__(self, condvar: object, guard: Any, sleeper: Sleeper) -> None:
        self._key = id(condvar)
        self._guard = guard
        self._lock = guard._lock
        self._word = ffi.cast(WORD, guard._lock.address)
        self._sleeper = sleeper
        self._mode: list[int] = []  # lists, where a call and the note that it was made must be one step
        self._released: list[int] = []
        self._unused = [True]
        self._noted: Any = None
        self._op: Any = None
        self._notification: Any = None  # the op that waits for it

    def steps(self, seconds: float | None) -> Steps:
        """Wait, and come back with the lock. False: it was not notified in time."""
        in_order = False
        try:
            notified: bool = yield from self._rounds(seconds)
            in_order = True
            return notified
        finally:  # no loop in here: of 3.13, what a signal handler raises at the jump of one is in no `try`
            try:
                try:
                    self._end()
                except BaseException:  # out of a signal handler
                    self._end()
                    raise
                if not in_order:
                    self._pass_on()
            finally:
                self._sleeper.over()

    def _rounds(self, seconds: float | None) -> Steps:
        error: BaseException | None = None
        held = closed = False
        try:
            limit = self._sleeper.limit(seconds)
            while not (held or closed):
                try:
                    if not self._released:
                        self._let_go()
                    held = yield from self._come_back(limit, error is not None)
                    closed = not held
                    if held:
                        wait_is_over(self._lock, self._op, self._mode[0], self._sleeper.is_task, ACQUIRED)
                except BaseException as another:
                    if not self._released:
                        raise
                    if isinstance(another, GeneratorExit):
                        error, closed = another, True
                        held = self._leaves_at_once()
                    elif error is None:
                        error = another
            if error is not None:
                raise error
            if closed:
                _refusals.loop_closed()
            return bool(lib.lots_op_notified(self._notification))
        finally:
            error = None  # its traceback leads here

    def _let_go(self) -> None:
        guard, lock = self._guard, self._lock
        try:
            self._mode.extend(map(operator.methodcaller("_begin_change"), (guard,)))
        except NotHeld:
            raise
        except BaseException:  # out of a signal handler, in the middle of the one in Python
            if not self._mode and (held := getattr(guard, "_op", None)) is not None:
                self._mode.append(lib.lots_op_mode(held))
            raise
        op = new_op(self._word, self._mode[0])
        self._notification = self._op = op
        lib.lots_op_expect(op, self._key)
        counted(lock, op, self._mode[0], is_task=self._sleeper.is_task)
        if self._sleeper.queue(op) == CLOSED:
            _refusals.loop_closed()
        self._sleeper.when_loop_ends(self._loop_ended)
        guard._away()
        holders = getattr(lock, "_holders", None)  # the C types note it in _begin_change
        if holders is not None:
            self._noted = holders.pop(id(guard), None)
        port, mailbox = own_mailbox(self._word)
        try:
            self._released.extend(map(functools.partial(lib.lots_release, self._word, self._mode[0], False), (mailbox,)))
        finally:
            if port is not None:
                port.drain()
        if self._released[0] & ~MAIL != READY:
            _refusals.not_held(lock, was_released=True)

    def _come_back(self, limit: Any, in_a_hurry: bool) -> Generator[Any, None, bool]:
        """Wait to be notified, unless there is no time for that any more; then for the lock. False: the loop is closed."""
        op, sleeper = self._op, self._sleeper
        if lib.lots_op_state(op) == HELD:
            return True
        if in_a_hurry and not lib.lots_op_notified(op):
            lib.lots_op_cancel(op, BY_TIMEOUT, NULL)
        if in_a_hurry:
            self._pass_on()
        elif op is self._notification:
            answer = yield from sleeper.sleep(op, limit, False)
            if answer != TIMED_OUT:
                return answer == READY
        if lib.lots_op_state(op) == HELD:
            return True
        if lib.lots_op_state(op) == GONE:
            self._op = op = new_op(self._word, self._mode[0])
            counted(self._lock, op, self._mode[0], is_task=sleeper.is_task)
        if lib.lots_op_state(op) == PENDING:
            answer = sleeper.queue(op)
            if answer != PARKED:
                return answer == READY
        return (yield from sleeper.sleep(op, sleeper.limit(None), in_a_hurry)) == READY

    def _leaves_at_once(self) -> bool:
        """Not queued any more. Whether the lock is held."""
        lib.lots_op_cancel(self._op, BY_TIMEOUT, NULL)
        return bool(lib.lots_op_state(self._op) == HELD)

    def _pass_on(self) -> None:
        if self._notification is not None and lib.lots_op_notified(self._notification) and self._unused:
            try:
                self._unused.clear()
                notify(self._key)
            except BaseException:  # out of a signal handler
                notify(self._key)
                raise

    def _loop_ended(self) -> None:
        """It is in no queue any more, and the task will hardly ever run again."""
        self._guard._end_change(-1)
        self._pass_on()

    def _end(self) -> None:
        """The guard holds what the op does, which is in no queue any more: a handler may have raised while another error was
        being put by."""
        if not self._mode:
            return
        held = True
        if not self._released:
            if self._op is not None:
                lib.lots_op_cancel(self._op, BY_CANCEL, NULL)
        else:
            held = self._leaves_at_once()
        if held and self._noted is not None:
            self._lock._holders[id(self._guard)] = self._noted
        self._guard._end_change(self._mode[0] if held else -1)
