"""The front in Python over cffi: locks' words and requests. `aiolots._native` will be the same surface as C types.

A request asks for a lock; acquired, it is the guard. Its state lives in its lots_op in the core, and changes there by one
atomic step, so of two threads that release it exactly one succeeds.
"""

from __future__ import annotations

import functools
import sys
import time
from abc import ABCMeta
from collections.abc import Generator
from types import CodeType, TracebackType
from typing import Any, Generic, NoReturn, SupportsIndex, TypeVar, cast

from aiolots import _guards, _loops, _pure_tracking, _refusals, _seconds, _wait, _watched
from aiolots._contention import Kept
from aiolots._lib import (
    ADDRESS,
    BY_CANCEL,
    CHANGING,
    FAIR_MUTEX,
    GONE,
    HELD,
    MAIL,
    MISUSE,
    MUTEX,
    NULL,
    OP,
    PENDING,
    READ,
    READ_RECURSIVE,
    READY,
    RELEASED,
    UPGRADABLE,
    WORD,
    WRITE,
    ffi,
    lib,
)
from aiolots._living import note_lock
from aiolots._seconds import left_until
from aiolots._waiters import MODE_NAMES, Holder

T = TypeVar("T")
new_op: Any = functools.partial(ffi.new, OP)
G_co = TypeVar("G_co", covariant=True)  # what a thread gets
A_co = TypeVar("A_co", covariant=True)  # what a task gets

_SECONDS = "seconds"
_MOMENT = "moment"


class PureLock(Generic[T]):
    """A lock word with a name and the value that it protects."""

    __slots__ = ("__weakref__", "_counted", "_holders", "_tracked", "_value", "_word", "address", "name")

    name: str | None
    address: int  # of the lock word, for native code: see aiolots.get_include

    def __init__(self, value: T, *, name: str | None = None) -> None:
        self._word: Any = ffi.new(WORD)
        self._value = value
        self.address = int(ffi.cast(ADDRESS, self._word))
        self._holders: dict[int, Holder] = {}
        self._counted: list[Kept] = []  # the first is what waiting for it has cost, once somebody had to
        self._tracked: _pure_tracking.Tracked | None = None
        self.name = name
        note_lock(self)

    @property
    def _kept(self) -> Kept | None:
        """What waiting for it has cost."""
        counted = self._counted
        return counted[0] if counted else None

    @_kept.setter
    def _kept(self, kept: Kept) -> None:
        """Nothing, if it has one: threads that wait for the first time do this at once, and ops point into it from then on."""
        self._counted.append(kept)

    @property
    def _longest(self) -> tuple[int, CodeType | None, int] | None:
        """The longest wait for it, in nanoseconds, and where."""
        return None if self._kept is None else self._kept.longest

    @_longest.setter
    def _longest(self, longest: tuple[int, CodeType | None, int] | None) -> None:
        if longest is not None and self._kept is not None:
            self._kept.note_longest(*longest)

    @property
    def word(self) -> int:
        """The 64-bit lock word, as it is now; see aiolots.decode. For tests and diagnosis. Never waits."""
        return int(lib.lots_word_load(self._word))

    def _holder_list(self) -> list[Holder]:
        return list(self._holders.values())

    def _known_holders(self) -> list[Holder]:
        """Whatever the word says."""
        return self._holder_list()


class Request(Generic[G_co, A_co], metaclass=ABCMeta):
    """A lock that was asked for, and is not acquired yet. Once it is, it is the guard.

    A thread writes `with request as guard:` or `guard = request.acquire()`, a task `async with request as guard:` or
    `guard = await request`. Only once: RuntimeError after that. Dropped without any of them it warns (RuntimeWarning).
    Its truth: TypeError while pending, True while held, False afterwards.
    """

    __slots__ = ("__weakref__", "_collected", "_limit", "_lock", "_mode", "_op", "_raises", "_site")

    def __init__(self, lock: PureLock[Any], mode: int, limit: tuple[str, float] | None, *, raises: bool) -> None:
        frame = sys._getframe(1)
        frame = frame.f_back or frame  # called by no Python code: a thread's first function, atexit
        self._site: tuple[CodeType, int] = (frame.f_code, frame.f_lasti)
        self._lock = lock
        self._limit = limit
        self._raises = raises
        self._mode = mode
        self._collected = False
        op = new_op()
        lib.lots_op_init(op, lock._word, mode, NULL, 0, 0)
        self._op: Any = op

    # --- the thread's colour ---

    def acquire(self) -> G_co:
        """Acquire from a thread; blocks until the lock is held, or its timeout ran out (if it has one).

        Returns the guard; None if a `try_*_for` or `_until` timed out. Raises LockTimeout if a `timeout=` did, DeadlockError
        if the wait could never end, RuntimeError if the request was used before. A signal handler that raises (Ctrl-C)
        interrupts the wait: nothing is held then, nobody is queued.
        """
        op, ours = self._op, True
        try:
            answer = lib.lots_op_try(op)
            if answer == MISUSE:
                ours = False  # what it holds, if anything, is the rightful acquirer's
                _refusals.used_before(self._lock)
            if answer != READY:
                began = time.monotonic()
                if not _wait.block(self._lock, op, self._mode, self._seconds()):
                    return self._timed_out(time.monotonic() - began)  # type: ignore[no-any-return]
            self._is_held(as_task=False)
            if _watched.suspends:
                _watched.taken_by_thread(self)
        except BaseException:
            if ours:
                self._give_up()
            raise
        return self  # type: ignore[return-value]

    __enter__ = acquire

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._give_up()  # nothing, if it was released inside, or had timed out

    # --- the task's colour ---

    def __await__(self) -> Generator[Any, None, A_co]:
        """Acquire from a task: suspends it until the lock is held, or its timeout ran out. Uncontended, it does not suspend.

        The same as acquire() otherwise. Cancellation leaves no trace: the lock is not held, and the place in the queue is
        lost. RuntimeError if it has to wait and no event loop runs.
        """
        op, ours = self._op, True
        try:
            answer = lib.lots_op_try(op)
            if answer == MISUSE:
                ours = False
                _refusals.used_before(self._lock)
            if answer != READY:
                began = time.monotonic()
                if not (yield from _wait.suspend(self._lock, op, self._seconds())):
                    return self._timed_out(time.monotonic() - began)  # type: ignore[no-any-return]
            elif _loops.in_trio():
                yield from _loops.checkpoint()
            self._is_held(as_task=True)
        except BaseException:
            if ours:
                self._give_up()
            raise
        return self  # type: ignore[return-value]

    async def __aenter__(self) -> A_co:
        return await self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.__exit__(kind, error, tb)

    # --- what both share ---

    def _is_held(self, *, as_task: bool) -> None:
        self._lock._holders[id(self)] = Holder(self._mode, lib.lots_thread_token(), is_task=as_task, site=self._site)
        if _pure_tracking.on:
            waits = self._raises if self._limit is None else _seconds.is_for_ever(self._limit[1])  # a try never does
            _pure_tracking.held(self._lock, id(self), waits)

    def _now(self) -> Any:
        """Acquire now or never; the thread's colour. The guard, or None."""
        op = self._op
        try:
            if lib.lots_op_try(op) == READY:
                self._is_held(as_task=False)
                return self
            lib.lots_op_cancel(op, BY_CANCEL, NULL)
        except BaseException:  # out of a signal handler
            self._give_up()
            raise
        return None

    def _give_up(self) -> None:
        """Release if it is held; withdraw if it is not. Of two that do so, one does nothing."""
        self._holds_no_more()
        if _wait.release(self._op, self._lock._word, fair=False, of=self._lock):
            self._lock._holders.pop(id(self), None)  # as in _release
        else:
            lib.lots_op_cancel(self._op, BY_CANCEL, NULL)

    def _holds_no_more(self) -> None:
        holder = self._lock._holders.pop(id(self), None)
        if type(holder) is _pure_tracking.NotedHolder:
            holder.note.ends(self._lock)

    def _seconds(self) -> float | None:
        if self._limit is None:
            return None
        kind, number = self._limit
        return number if kind == _SECONDS else left_until(number)

    def _timed_out(self, waited: float) -> Any:
        if self._raises:
            _refusals.timed_out(self._lock, self._mode, waited)
        return None

    def _release(self, *, fair: bool) -> None:
        # First: by the time the word is open, nobody may think that it is held here still.
        self._holds_no_more()
        if not _wait.release(self._op, self._lock._word, fair=fair, of=self._lock):
            _refusals.not_held(self._lock, lib.lots_op_state(self._op) == RELEASED)
        self._lock._holders.pop(id(self), None)  # what a downgrade in another thread put back: see _becomes

    # --- changes of the mode (_changing.py, _condvar.py) ---

    @property
    def _of_task(self) -> bool:
        """Whether a task took it, so that what waits is to be awaited."""
        holder = self._lock._holders.get(id(self))
        return holder is not None and holder.is_task

    def _downgrade(self, mode: int) -> None:
        """Hold less, by one step of the core."""
        answer, port = MISUSE, None
        try:
            port, mailbox = _wait.own_mailbox(self._lock._word)
            answer = lib.lots_op_downgrade(self._op, mode, mailbox)
        finally:
            if port is not None:
                port.drain()
            if self._holds():
                self._becomes(lib.lots_op_mode(self._op))
        if answer & ~MAIL != READY:
            _refusals.not_held(self._lock, lib.lots_op_state(self._op) == RELEASED)

    def _begin_change(self) -> int:
        """From held to changing: who did this may release the word, and take it again. Returns the mode; NotHeld."""
        answers: list[int] = []
        try:
            answers.extend(map(lib.lots_op_change, (self._op,)))  # the call and its note are one step
            if answers[0] != READY:
                _refusals.not_held(self._lock, lib.lots_op_state(self._op) == RELEASED)
            mode = int(lib.lots_op_mode(self._op))
        except BaseException:  # out of a signal handler: who asked does not know that it was begun
            if answers and answers[0] == READY:
                lib.lots_op_changed(self._op, lib.lots_op_mode(self._op))
            raise
        return mode

    def _end_change(self, mode: int) -> None:
        """From changing to held, in a mode; -1: it holds nothing any more. Nothing if it is not changing."""
        if lib.lots_op_state(self._op) != CHANGING:
            return
        if mode < 0:
            self._lock._holders.pop(id(self), None)
            lib.lots_op_lost(self._op)
        else:
            self._becomes(mode)
            _pure_tracking.is_back(self._lock, id(self))
            lib.lots_op_changed(self._op, mode)
            if self._collected:  # while it was changing, and __del__ is not called again
                self.__del__()

    def _away(self) -> None:
        """It is changing, and its word is released next: until _end_change its owner holds nothing by it."""
        _pure_tracking.away(self._lock, id(self))

    def _upgraded(self) -> None:
        """It would have waited for ever for the readers to leave."""
        if _pure_tracking.on:
            _pure_tracking.upgraded(self._lock, id(self))

    def _becomes(self, mode: int) -> None:
        self._mode = mode
        cast("Any", self).__class__ = _KINDS[mode]
        holder = self._lock._holders.get(id(self))
        if holder is not None:
            if type(holder) is _pure_tracking.NotedHolder:
                _pure_tracking.changes(self._lock, holder, mode)
            self._lock._holders[id(self)] = holder.in_mode(mode)
            # Another thread may release it meanwhile: whoever comes later, that one or this, takes the entry away.
            if lib.lots_op_state(self._op) == RELEASED:
                self._lock._holders.pop(id(self), None)

    def _holds(self) -> bool:
        return bool(lib.lots_op_state(self._op) == HELD)

    def _require_held(self) -> None:
        if lib.lots_op_state(self._op) != HELD:
            _refusals.value_of_released(self._lock)

    def __bool__(self) -> bool:
        state = lib.lots_op_state(self._op)
        if state == HELD:
            return True
        if state in (RELEASED, GONE, CHANGING):
            return False
        return _refusals.pending_truth()

    def __repr__(self) -> str:
        state = lib.lots_op_state(self._op)
        words = {PENDING: "pending", HELD: "held", RELEASED: "released", GONE: "not acquired", CHANGING: "changing"}
        mode = MODE_NAMES[self._mode]
        what = "guard" if state in (HELD, CHANGING) else "request"
        return f"<aiolots {mode} {what} {words.get(state, 'waiting')} of {self._lock!r}>"

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(f"{self!r} cannot be copied or pickled: there is one of it")

    def __del__(self) -> None:
        try:
            op = self._op
            state = lib.lots_op_state(op)
        except AttributeError:  # __init__ did not get so far, or the interpreter is going down
            return
        if state in (RELEASED, GONE):
            return
        if state not in (PENDING, HELD):
            self._collected = True
            _wait.abandon(op, self._lock._word)
            return
        if state == HELD:
            self._holds_no_more()
            _wait.release(op, self._lock._word, fair=False)
        else:  # whoever keeps it alive now, by way of the warning, has a dead one
            lib.lots_op_cancel(op, BY_CANCEL, NULL)
        _refusals.dropped(self._lock, self._mode, state == HELD, self._site, self)


class ReadRequest(Request[Any, Any], _guards.Bumped[Any]):
    """The one class of every read request and guard."""

    __slots__ = ()


class WriteRequest(Request[Any, Any], _guards.Writer[Any], _guards.Bumped[Any]):
    """The one class of every write request and guard."""

    __slots__ = ()


class UpgradableRequest(Request[Any, Any], _guards.Upgradable[Any], _guards.Bumped[Any]):
    """The one class of every upgradable request and guard."""

    __slots__ = ()


class MutexRequest(Request[Any, Any], _guards.Exclusive[Any], _guards.Bumped[Any]):
    """The one class of every mutex request and guard."""

    __slots__ = ()


_KINDS: dict[int, type[Request[Any, Any]]] = {
    READ: ReadRequest,
    READ_RECURSIVE: ReadRequest,
    WRITE: WriteRequest,
    UPGRADABLE: UpgradableRequest,
    MUTEX: MutexRequest,
    FAIR_MUTEX: MutexRequest,
}
for _kind, _documented_kinds in (
    (ReadRequest, (_guards.ReadGuard, _guards.AsyncReadGuard)),
    (WriteRequest, (_guards.WriteGuard, _guards.AsyncWriteGuard)),
    (UpgradableRequest, (_guards.UpgradableGuard, _guards.AsyncUpgradableGuard)),
    (MutexRequest, (_guards.MutexGuard, _guards.AsyncMutexGuard)),
):
    for _documented_kind in _documented_kinds:  # one class for both colours: their waiting methods differ in type
        _documented_kind.register(_kind)
