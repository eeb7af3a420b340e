"""trio: how a task of it sleeps and is woken. See Library in _loops.py. Imported when trio is there, never before.

A task sleeps in wait_task_rescheduled. It is woken by the mailbox's delivery, on the run's own thread: a system task of the
run waits for the mailbox to become readable, and a release on that thread delivers at once. A cancellation that finds it
asleep withdraws it there and then; one that comes after the wake leaves it the lock, and is raised at its next checkpoint.
"""

from __future__ import annotations

import contextlib
import contextvars
import math
import threading
import weakref
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import trio
from trio.lowlevel import Abort, enable_ki_protection
from trio.lowlevel import TrioToken as Token  # what a loop is, here

from aiolots import _bell, _trio_graph  # with which the wait graph looks at tasks of trio from now on

if TYPE_CHECKING:
    from aiolots._loops import Port


def _run_context() -> Any:
    # Not public, so it may go away: then we ask trio each time.
    found = getattr(getattr(getattr(trio, "_core", None), "_run", None), "GLOBAL_RUN_CONTEXT", None)
    return found if isinstance(found, threading.local) else NotImplemented


RUN_CONTEXT: Any = _run_context()

_mark: contextvars.ContextVar[object] = contextvars.ContextVar("aiolots_mark")


def protect(*functions: Callable[..., Any]) -> None:
    """Let KeyboardInterrupt wait until they are through, and come at the next checkpoint."""
    for function in functions:
        enable_ki_protection(function)


# --- which run --------------------------------------------------------------------------------------------------------


def runs_here(loop: Any) -> bool:
    """Whether this is trio's, on a thread where asyncio's `loop` runs too, if any does."""
    if loop is None:
        return trio.lowlevel.in_trio_run()
    # Both: trio is asyncio's guest, or one was started inside a task of the other. The inner one is it, in whose context
    # we are.
    if not trio.lowlevel.in_trio_task():
        return False
    mine = object()
    reset = _mark.set(mine)
    try:
        return trio.lowlevel.current_task().context.get(_mark) is mine
    finally:
        _mark.reset(reset)


def token() -> Token:
    """Return what stands for the run on this thread."""
    return trio.lowlevel.current_trio_token()


# --- the bell ---------------------------------------------------------------------------------------------------------

_unwatched: weakref.WeakSet[Port] = weakref.WeakSet()  # their run is ending: it has no system tasks any more


class _Run(trio.abc.Instrument):
    """What the run keeps of us: it is how it keeps the port, and how we learn of its end."""

    def __init__(self, port: Port) -> None:
        self._port = port

    def after_run(self) -> None:
        """Whoever waits still, in a run that broke down, waits for nothing."""
        self._port.close()


def watch(run: Token, port: Port) -> None:
    """Have the mailbox watched by a task of the run."""
    _trio_graph.note_run()
    trio.lowlevel.add_instrument(_Run(port))
    try:
        trio.lowlevel.spawn_system_task(_answer, port, name="aiolots bell")
    except RuntimeError:  # what is left of the run finalizes its generators
        _watch_from_a_thread(run, port)


async def _answer(port: Port) -> None:
    try:
        while True:
            await trio.lowlevel.wait_readable(port.descriptor)
            port.drain(rung=True)
    finally:
        # The main task is done. But other system tasks, and the finalizers of generators, may take locks still.
        _unwatched.add(port)
        if port.waiting:
            _watch_on(token(), port)


def _watch_on(run: Token, port: Port) -> None:
    if port in _unwatched:
        _unwatched.discard(port)
        _watch_from_a_thread(run, port)


def is_running(_run: Token) -> bool:
    """Whether some thread runs it now: there is a token from the run's begin on."""
    return True


def call_from_a_thread(run: Token, function: Callable[[], None]) -> None:
    """Call it on the run's thread, soon; RuntimeError if it has ended. From any thread, never waits."""
    run.run_sync_soon(function)


def _watch_from_a_thread(run: Token, port: Port) -> None:
    found = weakref.ref(port)

    def has_ended(_run: Token) -> bool:
        ours = found()
        return ours is None or ours.closed

    _bell.watch_from_a_thread(run, port, has_ended, Token.run_sync_soon)


# --- the sleep of a task ------------------------------------------------------------------------------------------------


class _Sleep:
    """What a task waits for, as far as a mailbox needs it to be a future."""

    __slots__ = ("_asleep", "_in_time", "_task")

    def __init__(self) -> None:
        self._task = trio.lowlevel.current_task()
        self._asleep = False
        self._in_time: bool | None = None

    def done(self) -> bool:
        """Whether the wake has come."""
        return self._in_time is not None

    # KeyboardInterrupt in the middle of it would be a wake that is lost.
    @enable_ki_protection
    def set_result(self, in_time: bool) -> None:
        """Wake the task, if it did not leave before."""
        if self._in_time is None:
            self._in_time = in_time
            self._wake()

    @enable_ki_protection
    def _wake(self) -> None:
        if not self._asleep:  # it has not gone to sleep yet, and will not now; or it left
            return
        if trio.lowlevel.in_trio_task() and trio.lowlevel.current_task() is self._task:
            # Out of a finalizer, in the moment in which the task goes to sleep: trio does not know yet that it does.
            token().run_sync_soon(self._wake)
            return
        self._asleep = False
        trio.lowlevel.reschedule(self._task)

    async def sleep(self, leave: Callable[[], None]) -> bool:
        """Sleep until the wake. One checkpoint, and one schedule point, however early that came."""

        def abort(_raise_cancel: object) -> Abort:
            self._asleep = False
            leave()
            return Abort.SUCCEEDED

        if self._in_time is None:
            self._asleep = True
            try:
                await trio.lowlevel.wait_task_rescheduled(abort)
            finally:
                self._asleep = False
        else:
            await trio.lowlevel.checkpoint()
        return self._in_time is not False


def new_future(run: Token, port: Port) -> _Sleep:
    """Return what the running task can sleep on."""
    if _unwatched:
        _watch_on(run, port)
    return _Sleep()


def wait(sleep: _Sleep, seconds: float | None, leave: Callable[[], None], shielded: bool) -> Generator[Any, None, bool]:
    """Suspend the task, in a cancel scope if it has a deadline or a shield."""
    if seconds is None and not shielded:
        return sleep.sleep(leave).__await__()
    return _sleep_in_scope(sleep, math.inf if seconds is None else trio.current_time() + seconds, leave, shielded).__await__()


async def _sleep_in_scope(sleep: _Sleep, deadline: float, leave: Callable[[], None], shielded: bool) -> bool:
    def leave_if_cancelled() -> None:
        # What runs out of time may have got the lock just now, and is to keep it then: the task looks itself.
        if trio.current_time() < deadline:
            leave()

    with trio.CancelScope(deadline=deadline, shield=shielded):
        return await sleep.sleep(leave_if_cancelled)
    return False


def call_later(_token: Any, _seconds: float, _function: Callable[[], None]) -> bool:
    """Tasks of trio are not looked at: what may end their waits is not known."""
    return False


def call_soon(run: Token, function: Callable[[], None]) -> None:
    """Call it on the run's own thread."""
    with contextlib.suppress(trio.RunFinishedError):
        run.run_sync_soon(function)


def current_task() -> trio.lowlevel.Task | None:
    """Return the running task; None outside of any."""
    return trio.lowlevel.current_task() if trio.lowlevel.in_trio_task() else None


def task_id() -> int:
    """Return a number that names the running task while it lives; 0 outside of any."""
    return id(trio.lowlevel.current_task()) if trio.lowlevel.in_trio_task() else 0


def checkpoint() -> Generator[Any, None, None]:
    """A schedule point, then a cancel point: so a scope whose time is up just now is cancelled here."""
    return trio.lowlevel.checkpoint().__await__()  # noqa: ASYNC105
