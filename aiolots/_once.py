"""What is done, or made, once: by whoever comes first, a thread or a task, while the others wait for it.

The value is in a list, `_box`, which is put in place in one step when it is there: who finds it full looks at nothing else.

Who initialises holds a mutex word, and gives it back however that ends: returned, raised, cancelled, collected, or with its
loop closed. The word is never waited for: who comes meanwhile queues at the object itself, and then looks whether the word
is free. So a value wakes all of them, and a failure one, which is the next to try.
"""

from __future__ import annotations

import inspect
import os
import threading
import weakref
from collections.abc import Callable, Coroutine, Generator
from types import FunctionType
from typing import Any, Generic, TypeVar, cast, overload

from aiolots import _changing, _loops, _owner, _parking, _refusals, _troubles, _wait
from aiolots._errors import DeadlockError
from aiolots._lib import BY_CANCEL, HELD, MISUSE, MUTEX, NULL, READY, WORD, ffi, lib
from aiolots._parking import EVERYBODY, Reason, Wait, notify
from aiolots._waiters import waiters

T = TypeVar("T")
R = TypeVar("R")
Steps = Generator[Any, None, Any]

# The thread that each fork left in this process, as an ident: a child has one thread.
_survivors: list[int] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _survivors.append(threading.get_ident()))


def _is_async(f: Callable[[], Any]) -> bool:
    """Whether f is an `async def`, or made of one."""
    if type(f) is FunctionType and not f.__dict__:  # as nearly always: inspect takes ten times as long
        return bool(f.__code__.co_flags & inspect.CO_COROUTINE)
    return inspect.iscoroutinefunction(f) or inspect.iscoroutinefunction(getattr(f, "__call__", None))  # noqa: B004


class _Nothing:
    def __repr__(self) -> str:
        return "<no value>"


_NOTHING: Any = _Nothing()


class _Try:
    """One caller that wants to initialise; while its op is held, the one that does."""

    __slots__ = ("__weakref__", "_forks", "_thread", "loop", "op", "owner")

    def __init__(self, word: Any, *, as_task: bool) -> None:
        self.op: Any = _parking.new_op(word, MUTEX)
        self.loop: Callable[[], Any] | None = None  # its loop, as long as that is there
        if as_task:
            self.loop = cast("Callable[[], Any]", weakref.ref(_loops.needs_a_loop()))  # who keeps it, keeps its tasks
        self.owner = _owner.Owner(_owner.current())
        self._thread = threading.get_ident()
        self._forks = len(_survivors)

    @property
    def in_progress(self) -> bool:
        """Whether it initialises now."""
        return bool(lib.lots_op_state(self.op) == HELD)

    @property
    def is_lost(self) -> bool:
        """Whether a fork left it behind, in the parent: its thread, or its loop, which no child goes on with."""
        since = _survivors[self._forks :]
        return bool(since) if self.loop is not None else any(survivor != self._thread for survivor in since)

    def why_endless(self, *, as_task: bool) -> str:
        """Say why it could never end if this thread, or task, waited for it. Empty if it may."""
        if self.owner.is_(_owner.current()) or (self.loop is None and self._thread == threading.get_ident()):
            return "its initialiser asks for itself"
        here = None if as_task else _loops.running()
        if here is not None and self.loop is not None and self.loop() is here:
            return "a task of the event loop that would be blocked is its initialiser: in a task give an `async def`, and await"
        return ""


class _Ends(Wait[None]):
    """A wait until nobody initialises."""

    __slots__ = ("_cell",)

    def __init__(self, cell: _Cell[Any]) -> None:
        super().__init__(cell, None)
        self._cell = cell

    def _look(self) -> bool:
        return bool(self._cell._box or not lib.lots_word_load(self._cell._word))

    _at_once = _look

    def _woken(self, token: int) -> bool:
        return self._look()

    def _outcome(self, reason: Reason, token: int) -> None:
        pass

    def __del__(self) -> None:
        """Nobody has forgotten to wait: a signal handler raised just then."""


class _Cell(Generic[T]):
    """A value that is made once."""

    __slots__ = ("__weakref__", "_box", "_tries", "_word", "name")

    _KEEPS = True  # what the initialiser gives
    _WORDS = ("initialized", "initializing", "uninitialized")
    name: str | None

    def __init__(self, box: list[Any], name: str | None) -> None:
        self.name = name
        self._box: list[Any] = box
        self._word: Any = ffi.new(WORD)
        self._tries: dict[int, _Try] = {}  # in the table before they take the word: so whoever has it is found there

    def _initialised(self, f: Callable[[], Any], *, as_task: bool) -> Any:
        """Return the value, made by f if there is none; for an `async def` an awaitable of it."""
        if as_task:
            return self._awaited(f)
        try:
            return self._box[0]
        except IndexError:
            pass
        return _changing._run(self._steps(f, as_task=False))

    async def _awaited(self, f: Callable[[], Any]) -> Any:
        try:
            return self._box[0]
        except IndexError:
            return await _wait.Steps(self._steps(f, as_task=True))

    def _steps(self, f: Callable[[], Any], *, as_task: bool) -> Steps:
        waited = False
        try:
            while True:
                found = yield from self._try(f, as_task=as_task)
                if found is not _NOTHING:
                    return found
                waited = True
                if as_task:
                    yield from _Ends(self).__await__()
                else:
                    _Ends(self).acquire()
        except BaseException:
            if waited:  # it may have been woken as the next to try
                notify(id(self))
            raise

    def _try(self, f: Callable[[], Any], *, as_task: bool) -> Steps:
        """Initialise, if nobody else does: the value, else _NOTHING."""
        mine = _Try(self._word, as_task=as_task)
        ending: list[Any] = []
        try:
            if not self._claim(mine, as_task=as_task):
                return _NOTHING
            for value in self._box:  # by somebody who was quicker
                return value
            if as_task:
                self._end_with_the_loop(mine, ending)
            made: Any = f()
            if as_task:
                steps: Steps = made.__await__()
                made = yield from steps
                if not mine.in_progress:
                    _refusals.loop_closed()
            elif inspect.iscoroutine(made):
                made.close()
                raise TypeError(f"{f!r} gave a coroutine, which nobody would await: give an `async def`, and await the call")
            if not self._KEEPS:
                made = None
            self._box = [made]
            return made
        finally:
            try:
                self._over(mine, ending)
            except BaseException:  # out of a signal handler
                self._over(mine, ending)
                raise

    def _claim(self, mine: _Try, *, as_task: bool) -> bool:
        """Take the word if it is free. DeadlockError if it is not, and never would be."""
        self._tries[id(mine)] = mine
        if lib.lots_op_try(mine.op) == READY:
            return True
        for other in list(self._tries.values()):
            if not other.in_progress:
                continue
            if other.is_lost:
                self._tries.pop(id(other), None)
                self._end(other)
            elif why := other.why_endless(as_task=as_task):
                _troubles.refused(self)
                raise DeadlockError(f"{self!r}: this wait could never end, for {why}")
        return False

    def _end_with_the_loop(self, mine: _Try, ending: list[Any]) -> None:
        port, cookie = _loops.port(_loops.needs_a_loop()), _loops.new_cookie() << 1
        ending.extend((port, cookie))
        _parking.when_loop_ends(port, cookie, lambda: self._end(mine))

    def _over(self, mine: _Try, ending: list[Any]) -> None:
        self._end(mine)
        self._tries.pop(id(mine), None)
        if ending:
            _parking.forget(*ending)

    def _end(self, ended: _Try) -> None:
        """Give the word back, if it is held still, and wake whom that concerns. Once."""
        op = ended.op
        try:
            if lib.lots_op_release(op, False, NULL) == MISUSE:
                lib.lots_op_cancel(op, BY_CANCEL, NULL)
                return
            notify(id(self), EVERYBODY if self._box else 1)
        except BaseException:  # out of a signal handler
            lib.lots_op_release(op, False, NULL)
            notify(id(self), EVERYBODY)
            raise

    def _put(self, value: T) -> bool:
        """Be the initialiser that has the value already; False if there is one, or another initialises. Never waits."""
        mine = _Try(self._word, as_task=False)
        try:
            self._tries[id(mine)] = mine
            if self._box or lib.lots_op_try(mine.op) != READY or self._box:
                return False
            self._box = [value]
            return True
        finally:
            try:
                self._over(mine, [])
            except BaseException:
                self._over(mine, [])
                raise

    def is_initialized(self) -> bool:
        """Return whether the value is there. Never waits."""
        return bool(self._box)

    @property
    def waiting(self) -> int:
        """How many wait for another's initialiser now. Never waits."""
        return sum(not waiter.woken for waiter in waiters(key=self))

    def __repr__(self) -> str:
        name = "" if self.name is None else f" {self.name!r}"
        done, begun, undone = self._WORDS
        if self._box:
            return f"<aiolots.{type(self).__name__}{name} {done}>"
        words = f"{begun} waiters={self.waiting}" if lib.lots_word_load(self._word) else undone
        return f"<aiolots.{type(self).__name__}{name} {words.removesuffix(' waiters=0')}>"


class Once(_Cell[None]):
    """Something that is done once, by whichever thread or task comes first; the others wait until it is done.

    If it fails, the next caller does it. Made without a running loop, it may be a module's global. Copied or pickled it
    gives a new one with the same name, completed if this one is.

    Args:
        name: appears in messages and repr.
    """

    __slots__ = ()

    _KEEPS = False
    _WORDS = ("completed", "running", "new")

    def __init__(self, *, name: str | None = None) -> None:
        super().__init__([], name)

    @overload
    def call_once(self, f: Callable[[], Coroutine[Any, Any, object]]) -> Coroutine[Any, Any, None]: ...  # type: ignore[overload-overlap]
    @overload
    def call_once(self, f: Callable[[], object]) -> None: ...
    def call_once(self, f: Callable[[], Any]) -> Any:
        """Call f, unless that was done; wait while somebody else is at it. Of many callers, exactly one succeeds in it.

        A plain function is called at once, and this blocks the thread; for an `async def` this gives an awaitable, which
        suspends the task. Either may wait for the other, on any loop. Returns None. What f raises goes out, and the next
        caller is the one that calls its own f: also if f was cancelled or interrupted (Ctrl-C), or if its event loop was
        closed, or its task collected. A loop that was stopped may go on: it is waited for. In the child of a fork, what
        another thread of the parent had begun is begun again. No timeout; asyncio.timeout() ends the wait of a task.

        Raises DeadlockError (a RuntimeError) if it could never end: f asks for its own result, or a plain f would block the
        event loop whose task is the initialiser. On the thread of a running event loop the plain form otherwise does what
        set_loop_block_policy says. TypeError if a plain f gives a coroutine.
        """
        return self._initialised(f, as_task=_is_async(f))

    def is_completed(self) -> bool:
        """Return whether it was done. Never waits."""
        return bool(self._box)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (type(self), list(self._box), self.name)


class OnceCell(_Cell[T]):
    """A place for a value that is put there once, or made there once, for threads and event loops at once.

    Made without a running loop, it may be a module's global. Copied or pickled it gives a new one, with the value if there
    is one.

    Args:
        value: what is in it from the beginning.
        name: appears in messages and repr.
    """

    __slots__ = ()

    def __init__(self, value: T = _NOTHING, *, name: str | None = None) -> None:
        super().__init__([] if value is _NOTHING else [value], name)

    def get(self) -> T | None:
        """Return the value; None if there is none yet (see is_initialized). Never waits."""
        try:
            value: T = self._box[0]
        except IndexError:
            return None
        return value

    def set(self, value: T) -> bool:
        """Put a value in; False if there is one, or somebody initialises just now: then it is not put in. Never waits."""
        return self._put(value)

    @overload
    def get_or_init(self, f: Callable[[], Coroutine[Any, Any, T]]) -> Coroutine[Any, Any, T]: ...
    @overload
    def get_or_init(self, f: Callable[[], T]) -> T: ...
    def get_or_init(self, f: Callable[[], Any]) -> Any:
        """Return the value; if there is none, make it by f. Of many callers, exactly one makes it, and all get that one.

        A plain function is called at once, and this blocks the thread; for an `async def` this gives an awaitable of the
        value, which suspends the task. What f raises goes out, and the next caller is the one that calls its own f. All
        else as Once.call_once().
        """
        return self._initialised(f, as_task=_is_async(f))

    def take(self) -> T | None:
        """Take the value out, and return it; the cell is as new then. None if there is none. Of several, one gets it.

        Never waits; somebody who initialises just now goes on.
        """
        try:
            return cast("T", self._box.pop())
        except IndexError:
            return None

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (type(self), list(self._box), self.name)


def _rebuilt(kind: type[_Cell[Any]], box: list[Any], name: str | None) -> _Cell[Any]:
    made = cast("Any", kind)(name=name)
    made._box = list(box)
    return cast("_Cell[Any]", made)


class LazyLock(_Cell[Any], Generic[R]):
    """A value that is made when it is first asked for, by f, once; for threads and event loops at once.

        config = LazyLock(read_config)        # a plain function: config.get() blocks a thread
        session = LazyLock(connect)           # an `async def`: await session.get()

    Made without a running loop, it may be a module's global. Copied or pickled it gives a new one with the same f, and with
    the value if there is one.

    Args:
        f: makes the value, without arguments. If it fails, the next get() calls it again.
        name: appears in messages and repr.
    """

    __slots__ = ("_f", "_is_async")

    def __init__(self, f: Callable[[], R], *, name: str | None = None) -> None:
        super().__init__([], name)
        self._f = f
        self._is_async = _is_async(f)

    def get(self) -> R:
        """Return the value, made by f if there is none: with a plain f blocking the thread until there is one; an awaitable
        of it, which suspends the task, if f is an `async def`.

        What f raises goes out. All else as Once.call_once().
        """
        return cast("R", self._initialised(self._f, as_task=self._is_async))

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt_lazy, (type(self), self._f, list(self._box), self.name)


def _rebuilt_lazy(kind: type[LazyLock[Any]], f: Callable[[], Any], box: list[Any], name: str | None) -> LazyLock[Any]:
    made = kind(f, name=name)
    made._box = list(box)
    return made
