"""From one mode to another while a lock is held: upgrades, and stepping aside for others.

Each is written once, as steps that wait by `yield from`: a task awaits them; a thread runs them through, for its waits sleep
and never yield.

A guard that changes is CHANGING: it is neither held nor released, so nobody else releases it meanwhile, and nobody sees its
value. What an upgrade has got, and does not get to keep, is taken back: then the guard is upgradable again.
"""

from __future__ import annotations

import operator
import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from aiolots import _loops, _refusals, _seconds, _wait
from aiolots._errors import NotHeld
from aiolots._lib import BY_CANCEL, HELD, NULL, OP, QUEUE_FLAGS, READY, UPGRADABLE, UPGRADE, WRITE, ffi, lib

if TYPE_CHECKING:
    from aiolots._pure import Request

    Changing = Request[Any, Any]

Steps = Generator[Any, None, Any]
Wait = Callable[[Any, Any, int, float | None], Generator[Any, None, bool]]


def upgrade(guard: Changing, timeout: float | None = None) -> Any:
    """Become the writer, or raise LockTimeout. In the thread's colour now; in the task's, an awaitable."""
    seconds = None if timeout is None else _seconds.checked(timeout)
    return _in_colour(guard, lambda wait: _upgrade(guard, seconds, wait, raises=True))


def try_upgrade_for(guard: Changing, seconds: float) -> Any:
    """Become the writer, or give None. In the thread's colour now; in the task's, an awaitable."""
    checked = _seconds.checked(seconds)
    return _in_colour(guard, lambda wait: _upgrade(guard, checked, wait, raises=False))


def try_upgrade(guard: Changing) -> Any:
    """Become the writer if no other reader is in, else None. Never waits."""
    return _run(_upgrade(guard, 0, _sleep, raises=False))


def bump(guard: Changing) -> Any:
    """Let those in who wait, and queue again behind them. In the thread's colour now; in the task's, an awaitable."""
    return _in_colour(guard, lambda wait: _bump(guard, wait))


def _in_colour(guard: Changing, steps: Callable[[Wait], Steps]) -> Any:
    return _awaited(steps(_suspend)) if guard._of_task else _run(steps(_sleep))


async def _awaited(steps: Steps) -> Any:
    return await _wait.Steps(steps)


def _run(steps: Steps) -> Any:
    try:
        steps.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("a thread's steps do not yield")


def _suspend(lock: Any, op: Any, _mode: int, seconds: float | None) -> Generator[Any, None, bool]:
    return (yield from _wait.suspend(lock, op, seconds))


def _sleep(lock: Any, op: Any, mode: int, seconds: float | None) -> Generator[Any, None, bool]:
    return _wait.block(lock, op, mode, seconds)
    yield  # never: this makes it a generator


def _new_op(guard: Changing, mode: int) -> Any:
    op = ffi.new(OP)
    lib.lots_op_init(op, guard._lock._word, mode, NULL, 0, 0)
    return op


def _begin(guard: Changing, noted: list[int]) -> None:
    """Begin the change and note the mode, in one step: no signal handler comes in between."""
    noted.extend(map(operator.methodcaller("_begin_change"), (guard,)))


def _upgrade(guard: Changing, seconds: float | None, wait: Wait, *, raises: bool) -> Steps:
    began, op = time.monotonic(), _new_op(guard, UPGRADE)
    begun: list[int] = []
    try:
        _begin(guard, begun)
        if begun[0] != UPGRADABLE:
            guard._end_change(begun[0])
            raise NotHeld(f"{guard!r} is not upgradable")
        upgraded = lib.lots_op_try(op) == READY
        if not upgraded:
            upgraded = yield from wait(guard._lock, op, UPGRADE, seconds)
        elif wait is _suspend:
            yield from _loops.checkpoint()
        guard._end_change(WRITE if upgraded else UPGRADABLE)
        if upgraded and _seconds.is_for_ever(seconds):
            guard._upgraded()
    except NotHeld:  # before anything was changed
        raise
    except BaseException:
        if begun and not guard._holds():  # else it came before the change, or just after its end
            if lib.lots_op_state(op) == HELD:
                _wait.release(op, guard._lock._word, fair=False)  # of an upgrade: it is taken back
            else:
                lib.lots_op_cancel(op, BY_CANCEL, NULL)
            guard._end_change(begun[0])
        raise
    if upgraded:
        return guard
    if raises:
        _refusals.timed_out(guard._lock, UPGRADE, time.monotonic() - began)
    return None


def _bump(guard: Changing, wait: Wait) -> Steps:
    guard._require_held()
    if not guard._lock.word & QUEUE_FLAGS:
        if wait is _suspend:
            yield from _loops.checkpoint()
        return
    op: Any = None
    begun: list[int] = []
    answers: list[int] = []  # of the release, once it was made
    holders, noted = getattr(guard._lock, "_holders", None), None  # the C types note it in _begin_change
    try:
        _begin(guard, begun)
        mode = begun[0]
        op = _new_op(guard, mode)
        guard._away()
        if holders is not None:
            noted = holders.get(id(guard))
            holders.pop(id(guard), None)
        _wait.release_word(guard._lock._word, mode, fair=True, answers=answers)
        if lib.lots_op_try(op) != READY:
            yield from wait(guard._lock, op, mode, None)
        elif wait is _suspend:
            yield from _loops.checkpoint()
        if holders is not None and noted is not None:
            holders[id(guard)] = noted
        guard._end_change(mode)
    except NotHeld:
        raise
    except BaseException:
        if begun and not guard._holds():
            if op is not None and lib.lots_op_state(op) == HELD:
                _wait.release(op, guard._lock._word, fair=False)
            elif op is not None:
                lib.lots_op_cancel(op, BY_CANCEL, NULL)
            if holders is not None and noted is not None and not answers:
                holders[id(guard)] = noted
            guard._end_change(-1 if answers else begun[0])
        raise
