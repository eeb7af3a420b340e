"""The slow path of an acquire, in both colours: a thread polls and sleeps, a task polls and awaits.

Both end in the same three ways: acquired, timed out, or left by an exception (Ctrl-C, cancellation, a closed generator).
The last goes through `abandon`, and that through the core's one cancel: nothing stays queued, nothing stays locked.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, NamedTuple

from aiolots import _blocking, _loops, _refusals, _threads, _watched
from aiolots._events import ACQUIRED, CANCELLED, TIMED_OUT, users_place, wait_is_over
from aiolots._lib import (
    BY_CANCEL,
    BY_TIMEOUT,
    CLOSED,
    HELD,
    INTERRUPTED,
    MAIL,
    MISUSE,
    NEVER,
    NULL,
    OP,
    PARKED,
    READY,
    RELEASED,
    ffi,
    lib,
)
from aiolots._seconds import deadline_ns, is_for_ever
from aiolots._waiters import note_contention

if TYPE_CHECKING:
    from aiolots._front import LockBase

new_op: Any = functools.partial(ffi.new, OP)


def own_mailbox(word: Any) -> tuple[_loops.Port | None, Any]:
    """Return the port and mailbox of the loop on this thread, if a release of this word could wake anybody.

    Nobody queued now means no task of this loop is queued, and none can be before the release: this is its thread.
    """
    port = _loops.own_port() if lib.lots_word_load(word) & 3 else None
    return port, NULL if port is None else port.mailbox


def release(op: Any, word: Any, *, fair: bool, of: LockBase[Any] | None = None) -> bool:
    """Release a held op. False if it was not held; LockCorruption, if the word of the lock `of` is why. Never waits."""
    port, mailbox = None, NULL
    answer = MISUSE
    try:
        port, mailbox = own_mailbox(word)
        answer = lib.lots_op_release(op, fair, mailbox)
    except BaseException:  # out of a signal handler, before the call or just after it: of two releases one does nothing
        lib.lots_op_release(op, fair, NULL)
        raise
    finally:
        if port is not None:
            port.drain()
    if answer == MISUSE and of is not None and lib.lots_word_is_impossible(word) and lib.lots_op_state(op) == RELEASED:
        _refusals.corrupt(of)
    return bool(answer != MISUSE)


def release_word(word: Any, mode: int, *, fair: bool = False, answers: list[int] | None = None) -> bool:
    """Release what was acquired without a guard. False if the word says that nobody holds it. Never waits.

    A list gets the core's answer in the step in which the release is made: so whoever is interrupted by a signal handler
    knows whether it was.
    """
    port, mailbox = own_mailbox(word)
    noted: list[int] = [] if answers is None else answers
    try:
        noted.extend(map(lib.lots_release, (word,), (mode,), (fair,), (mailbox,)))
    finally:
        if port is not None:
            port.drain()
    return noted[0] != MISUSE


def abandon(op: Any, word: Any) -> None:
    """End an acquire that an exception left: out of the queue; a lock that it had got by then is released. Never waits."""
    port, mailbox = own_mailbox(word)
    try:
        if lib.lots_op_cancel(op, BY_CANCEL, mailbox) == MISUSE and lib.lots_op_state(op) == HELD:
            lib.lots_op_release(op, False, mailbox)
    finally:
        if port is not None:
            port.drain()


def counted(lock: LockBase[Any], op: Any, mode: int, *, is_task: bool) -> None:
    """It is about to wait: note the lock, and count the wait."""
    note_contention(lock)
    if not is_task:
        _threads.remember_this_thread()
    kept = lock._kept
    if kept is not None:
        lib.lots_op_counts(op, kept.record(mode, is_task))


def block(lock: LockBase[Any], op: Any, mode: int, seconds: float | None) -> bool:
    """Acquire from a thread, sleeping up to `seconds` (None: for ever). False: it timed out.

    The op is past lots_op_try. Interrupted by signals whose handlers raise; DeadlockError if it could never end.
    """
    word = lock._word
    told = False
    try:
        if lib.lots_word_is_impossible(word):
            _refusals.corrupt(lock)
        if seconds == 0:
            lib.lots_op_cancel(op, BY_CANCEL, NULL)
            return False
        timed = not is_for_ever(seconds)
        lib.lots_op_waits_as(op, NULL, lib.lots_thread_token() << 1 | timed, threading.get_ident())
        counted(lock, op, mode, is_task=False)
        if not timed and _watched.flags & _watched.DEADLOCKS and _watched.may_hold(lock):
            _watched.refuse(lock, mode)
        loop = _loops.running()
        if loop is None:
            acquired = _sleep(op, deadline_ns(seconds))
        else:
            with _blocking.running_loop(lock, mode, loop, timed=timed):
                acquired = _sleep(op, deadline_ns(seconds), has_tasks=True)
        told = True
        wait_is_over(lock, op, mode, False, ACQUIRED if acquired else TIMED_OUT)
        return acquired
    except BaseException:
        try:
            abandon(op, word)
        except BaseException:  # out of a signal handler: what stays queued would be memory that is freed
            abandon(op, word)
            raise
        if not told:
            wait_is_over(lock, op, mode, False, CANCELLED)
        raise


def _sleep(op: Any, deadline: int, *, has_tasks: bool = False) -> bool:
    if deadline == NEVER and not _watched.has_gil():
        return _sleep_and_tell(op, deadline, has_tasks)
    answer = INTERRUPTED
    while answer == INTERRUPTED:  # signal handlers run between two rounds, and may raise
        answer = lib.lots_op_nogil_wait(op, deadline)
    return bool(answer == READY)


def _sleep_and_tell(op: Any, deadline: int, has_tasks: bool) -> bool:
    """Do the same where nobody may look at what this thread does: once it has waited for a moment, it tells."""
    try:
        answer = lib.lots_op_telling_wait(op, id(_watched.standing), id(_watched.workers), has_tasks)
        if answer == INTERRUPTED and has_tasks:
            _watched.stand()
        while answer == INTERRUPTED:
            answer = lib.lots_op_nogil_wait(op, deadline)
        return bool(answer == READY)
    finally:
        ident = threading.get_ident()
        for told in (_watched.standing, _watched.standing_loops):
            if ident in told:  # a look takes no lock, as the other does
                told.pop(ident, None)


class Verbs(NamedTuple):
    """What is done with an op that waits. Another's may do more in the same step: no signal handler comes in between then."""

    poll: Callable[[Any], int]
    time_is_up: Callable[[Any, Any], int]
    abandon: Callable[[Any, Any], None]


def _time_is_up(op: Any, mailbox: Any) -> int:
    return int(lib.lots_op_cancel(op, BY_TIMEOUT, mailbox))


_PLAIN = Verbs(lib.lots_op_poll, _time_is_up, abandon)


def suspend(lock: LockBase[Any], op: Any, seconds: float | None, verbs: Verbs = _PLAIN) -> Generator[Any, None, bool]:
    """Acquire from a task, suspended up to `seconds` (None: for ever). False: it timed out.

    The op is past lots_op_try, or was not asked for. Cancellation, and any exception thrown in, leaves the queue and goes on
    unchanged.
    """
    word = lock._word
    port: _loops.Port | None = None
    cookie = mode = 0
    told = False
    site = users_place()  # now: an exception that is thrown in does not come by way of all frames
    try:
        loop = _loops.needs_a_loop()
        if lib.lots_word_is_impossible(word):
            _refusals.corrupt(lock)
        if seconds == 0:
            lib.lots_op_cancel(op, BY_CANCEL, NULL)
            yield from _loops.checkpoint()
            return False
        port = _loops.port(loop)
        cookie = _loops.new_cookie() << 1 | (not is_for_ever(seconds))
        lib.lots_op_waits_as(op, port.mailbox, cookie, port.task_id())
        mode = int(lib.lots_op_mode(op))
        counted(lock, op, mode, is_task=True)
        if not cookie & 1 and _watched.flags & _watched.DEADLOCKS and not port.looks:
            _watched.look_soon(port)
        moment = _loops.moment_after(seconds)
        leave = functools.partial(verbs.abandon, op, word)
        slept = False
        while True:
            future = port.expect(cookie)
            answer = verbs.poll(op)
            if answer == READY:
                if not slept:
                    yield from port.checkpoint()
                told = True
                wait_is_over(lock, op, mode, True, ACQUIRED, site)
                return True
            if answer == CLOSED:
                _refusals.loop_closed()
            if answer != PARKED:
                _refusals.used_before(lock)
            slept = True
            if not (yield from port.wait(future, _loops.seconds_until(moment), leave)):
                answer = verbs.time_is_up(op, port.mailbox)
                if answer & MAIL:
                    port.drain()
                acquired = bool(answer & ~MAIL == READY)
                told = True
                wait_is_over(lock, op, mode, True, ACQUIRED if acquired else TIMED_OUT, site)
                return acquired
    except BaseException:
        try:
            verbs.abandon(op, word)
        except BaseException:  # as in block()
            verbs.abandon(op, word)
            raise
        if not told:
            wait_is_over(lock, op, mode, True, CANCELLED, site)
        raise
    finally:
        if port is not None:
            port.forget(cookie)


def acquire(lock: LockBase[Any], mode: int, seconds: float | None) -> Generator[Any, None, bool]:
    """Acquire from a task, all of it; suspended up to `seconds` (None: for ever). False: it timed out.

    What the native front awaits where a task cannot wait for asyncio's futures. The word alone holds the lock then.
    """
    word = lock._word
    op = new_op()
    lib.lots_op_init(op, word, mode, NULL, 0, 0)
    try:
        if lib.lots_op_try(op) != READY:
            return (yield from suspend(lock, op, seconds))
        yield from _loops.checkpoint()
    except BaseException:
        abandon(op, word)
        raise
    return True


class Suspended:
    """suspend() as something to await, for a coroutine; without a timeout."""

    __slots__ = ("_lock", "_op")

    def __init__(self, lock: LockBase[Any], op: Any) -> None:
        self._lock = lock
        self._op = op

    def __await__(self) -> Generator[Any, None, bool]:
        return suspend(self._lock, self._op, None)


class Steps:
    """Steps that yield what a task awaits, as something to await."""

    __slots__ = ("_steps",)

    def __init__(self, steps: Generator[Any, None, Any]) -> None:
        self._steps = steps

    def __await__(self) -> Generator[Any, None, Any]:
        return self._steps
