"""One wait at a key of the lot, in both colours: what lowlevel.park gives, and what semaphore, event and barrier are made of.

A wait queues at its key and only then looks whether it has to sleep: whoever changes what it waits for, and then unparks,
finds it in the queue, or has made its change before the look. So nothing is missed although no Python runs under the
core's bucket lock, where a callback could call back into the lot, be interrupted by a signal handler, or set off a finalizer.

It looks again when a task is disturbed without being unparked: its loop was passed over by an unpark, or was too late to
take one up, because it was stopped, blocked or busy.
"""

from __future__ import annotations

import sys
import threading
from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Generator
from types import CodeType, FrameType
from typing import Any, Generic, Literal, NamedTuple, NoReturn, SupportsIndex, TypeVar

from aiolots import _blocking, _loops, _refusals
from aiolots._lib import (
    BY_CANCEL,
    BY_TIMEOUT,
    CLOSED,
    FLAG,
    HELD,
    INTERRUPTED,
    MAIL,
    MISUSE,
    MUTEX,
    NULL,
    OP,
    PARK,
    PARKED,
    PENDING,
    READY,
    RELEASED,
    TIMED_OUT,
    WITHDRAWN,
    ffi,
    lib,
)
from aiolots._seconds import deadline_ns, is_for_ever

R = TypeVar("R")
Reason = Literal["unparked", "timed_out", "invalid"]
_REASONS: dict[int, Reason] = {READY: "unparked", TIMED_OUT: "timed_out", WITHDRAWN: "invalid"}

EVERYBODY = 2**64 - 1

# Who waits at a key now, so that requeue can tell them where they went.
waiting: dict[int, Wait[Any]] = {}


class ParkResult(NamedTuple):
    """How a park ended; true if it was unparked.

    Attributes:
        unparked: whether somebody unparked it.
        token: what the unparker sent along, else 0.
        reason: "unparked", "timed_out", or "invalid": validate() said that there is nothing to wait for.
    """

    unparked: bool
    token: int
    reason: Reason

    def __bool__(self) -> bool:
        return self.unparked


def notify(address: int, most: int = 1, *, ticket: int = 0, token: int = 0) -> int:
    """Unpark up to `most` of those who wait at a key now, given by its address. Returns how many it were. Never waits."""
    port = _loops.own_port()
    try:
        return int(lib.lots_notify(address, most, ticket, token, NULL if port is None else port.mailbox, ffi.new(FLAG)))
    finally:
        if port is not None:
            port.drain()


def new_op(word: Any = NULL, mode: int = PARK) -> Any:
    """Return an op that asks for nothing yet."""
    op = ffi.new(OP)
    lib.lots_op_init(op, word, mode, NULL, 0, 0)
    return op


class _LoopEnds:
    """Calls a function when the event loop is closed: its port, which alone holds this, lets go of it then."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[[], None]) -> None:
        self.call: Callable[[], None] | None = call

    def __del__(self) -> None:
        if self.call is not None:
            self.call()


def when_loop_ends(port: _loops.Port, cookie: int, call: Callable[[], None]) -> None:
    """Call a function when the loop is closed, until `forget`."""
    waits: Any = port.waiting
    waits[-cookie] = _LoopEnds(call)  # no wake has such a cookie


def forget(port: _loops.Port, cookie: int) -> None:
    """The wait is over, however it ended."""
    port.forget(cookie)
    ends: Any = port.waiting.pop(-cookie, None)
    if ends is not None:
        ends.call = None


class Wait(Generic[R], metaclass=ABCMeta):
    """One wait at a key, as a request: `.acquire()` blocks a thread, `await` suspends a task. Once.

    Subclasses say when it ends. Whatever they look at was changed, by others, before the unpark.
    """

    __slots__ = ("__weakref__", "_address", "_key", "_op", "_seconds", "_site")

    _hears_of_loops_end = False

    def __init__(self, key: object, seconds: float | None) -> None:
        self._key = key  # alive while somebody waits: its address is the lot's key
        self._address = id(key)
        self._seconds = None if is_for_ever(seconds) else seconds
        self._site = _callers_place()
        op = new_op()
        lib.lots_op_expect(op, self._address)
        self._op: Any = op

    # --- what the subclasses say ---

    def _at_once(self) -> bool:
        """Asked for the first time, and not queued yet: whether there is no need to wait."""
        return False

    def _look(self) -> bool:
        """Queued, and awake: whether there is nothing to wait for any more."""
        return False

    def _before_sleep(self) -> None:
        """Queued, and about to sleep."""

    def _woken(self, token: int) -> bool:
        """Unparked: whether that ends the wait. If not it queues again."""
        return True

    @abstractmethod
    def _outcome(self, reason: Reason, token: int) -> R:
        """What the wait gives."""

    def _entered(self) -> None:
        """The wait begins."""
        waiting[id(self)] = self

    def _left(self) -> None:
        """The wait is over, however it ended."""
        waiting.pop(id(self), None)

    def _abandon(self) -> None:
        """An exception ends the wait: an unpark that came first goes to the next. Again, if another one ends this."""
        port = _loops.own_port()
        op = self._op
        try:
            answer = lib.lots_op_cancel(op, BY_CANCEL, NULL if port is None else port.mailbox)
        finally:
            if port is not None:
                port.drain()
        if answer == MISUSE:
            lib.lots_op_release(op, False, NULL)
        if lib.lots_op_state(op) == RELEASED:
            notify(self._address, token=lib.lots_op_token(op))

    def _loop_ended(self) -> None:
        """The loop of the task that waits was closed: it is in no queue any more, and will hardly ever run again."""

    # --- the thread's colour ---

    def acquire(self) -> R:
        """Wait in a thread: blocks until unparked, or the timeout ran out (if it has one). Returns what came of it.

        A signal handler that raises (Ctrl-C) interrupts it, and leaves no trace: an unpark that came first goes to another.
        RuntimeError if this request was used before, and what the policy says on a running loop's thread.
        """
        self._begin()
        try:
            try:
                return self._in_thread()
            finally:
                self._left()
        except BaseException:
            try:
                self._left()  # again, if a signal handler raised just there
                self._abandon()
            except BaseException:  # out of another one: what stays queued would be memory that is freed
                self._left()
                self._abandon()
                raise
            raise

    def _in_thread(self) -> R:
        self._entered()
        if self._at_once():
            return self._done(self._leave())
        if self._seconds == 0:
            return self._done(self._try_once())
        deadline = deadline_ns(self._seconds)
        while True:
            answer = self._sleep_in_thread(deadline)
            if answer != READY or self._woken(self._token()):
                return self._done(answer)
            self._ask_again()

    def _sleep_in_thread(self, deadline: int) -> int:
        op = self._op
        cookie = lib.lots_thread_token() << 1 | (self._seconds is not None)
        lib.lots_op_waits_as(op, NULL, cookie, threading.get_ident())
        lib.lots_op_poll(op)
        if self._look():
            return self._leave()
        loop = _loops.running()
        if loop is None:
            self._before_sleep()
            return _sleep(op, deadline)
        with _blocking.running_loop(self._key, MUTEX, loop, timed=True):  # type: ignore[arg-type]
            self._before_sleep()
            return _sleep(op, deadline)

    # --- the task's colour ---

    def __await__(self) -> Generator[Any, None, R]:
        """Wait in a task: suspends it until unparked, or the timeout ran out (if it has one). The same as acquire() else.

        Cancellation leaves no trace, and is passed on unchanged. RuntimeError if no event loop runs.
        """
        self._begin()
        try:
            try:
                return (yield from self._in_task())
            finally:
                self._left()
        except BaseException:
            try:  # as in acquire
                self._left()
                self._abandon()
            except BaseException:
                self._left()
                self._abandon()
                raise
            raise

    def _in_task(self) -> Generator[Any, None, R]:
        self._entered()
        if self._at_once():
            answer = self._leave()
            yield from _loops.checkpoint()
            return self._done(answer)
        loop = _loops.needs_a_loop()
        if self._seconds == 0:
            answer = self._try_once()
            yield from _loops.checkpoint()
            return self._done(answer)
        port = _loops.port(loop)
        cookie = _loops.new_cookie() << 1 | (self._seconds is not None)
        try:
            if self._hears_of_loops_end:
                when_loop_ends(port, cookie, self._loop_ended)
            moment, slept = _loops.moment_after(self._seconds), False
            while True:
                answer = yield from self._sleep_in_task(port, cookie, moment, slept)
                if answer != READY or self._woken(self._token()):
                    return self._done(answer)
                self._ask_again()
                slept = True
        finally:
            forget(port, cookie)

    def _sleep_in_task(self, port: _loops.Port, cookie: int, moment: float | None, slept: bool) -> Generator[Any, None, int]:
        op = self._op
        lib.lots_op_waits_as(op, port.mailbox, cookie, _loops.task_id())
        future = port.expect(cookie)  # before the core knows of the waiter, each time: see there
        answer = lib.lots_op_poll(op)
        first = True
        while answer == PARKED:
            if self._look():
                answer = self._leave()
                if not slept:
                    yield from port.checkpoint()
                return answer
            if first:
                first = False
                self._before_sleep()
            slept = True
            if not (yield from port.wait(future, _loops.seconds_until(moment))):
                return TIMED_OUT if self._leave() == WITHDRAWN else READY
            future = port.expect(cookie)
            answer = lib.lots_op_poll(op)
        if answer == CLOSED:
            _refusals.loop_closed()
        return READY

    # --- what both share ---

    def _begin(self) -> None:
        if lib.lots_op_try(self._op) == MISUSE:
            raise RuntimeError(f"this request of {self._key!r} was awaited or acquired before: make a new one")

    def _ask_again(self) -> None:
        op = new_op()
        lib.lots_op_expect(op, self._address)
        self._op = op

    def _leave(self) -> int:
        """Out of the queue: WITHDRAWN, or READY if it was unparked by then. Wakes nobody."""
        return READY if lib.lots_op_cancel(self._op, BY_TIMEOUT, NULL) & ~MAIL == READY else WITHDRAWN

    def _try_once(self) -> int:
        self._leave()
        return WITHDRAWN if self._look() else TIMED_OUT

    def _token(self) -> int:
        return int(lib.lots_op_token(self._op))

    def _done(self, answer: int) -> R:
        return self._outcome(_REASONS[answer], self._token() if answer == READY else 0)

    def __bool__(self) -> bool:
        state = lib.lots_op_state(self._op)
        if state == PENDING:
            _refusals.pending_truth()
        return bool(state == HELD)

    def __repr__(self) -> str:
        state = lib.lots_op_state(self._op)
        words = {PENDING: "pending", HELD: "unparked"}
        return f"<aiolots wait {words.get(state, 'waiting' if id(self) in waiting else 'over')} at {self._key!r}>"

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(f"{self!r} cannot be copied or pickled: there is one of it")

    def __del__(self) -> None:
        try:
            never = lib.lots_op_state(self._op) == PENDING
        except AttributeError:  # __init__ did not get so far, or the interpreter is going down
            return
        if never:
            lib.lots_op_cancel(self._op, BY_CANCEL, NULL)
            _refusals.dropped(self._key, PARK, False, self._site, self)  # type: ignore[arg-type]


def _sleep(op: Any, deadline: int) -> int:
    answer = INTERRUPTED
    while answer == INTERRUPTED:  # signal handlers run between two rounds, and may raise
        answer = lib.lots_op_nogil_wait(op, deadline)
    return int(answer)


def _callers_place() -> tuple[CodeType, int]:
    frame: FrameType = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("aiolots."):
        frame = frame.f_back
    return frame.f_code, frame.f_lasti
