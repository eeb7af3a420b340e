"""A guard of the thread's colour that a task still holds when it is suspended: the way in which event loops freeze.

`with lock:` in a task is fine as long as the task does not await inside of it. If it does, every other task of that loop that
asks with the thread's form stops the whole loop, for a holder that cannot run then. So where somebody wants to know, each
acquire with the thread's form on the thread of a running loop leaves a note for the loop's next turn: that comes when the task
is suspended or has ended, and if it holds the same guard still, it is told.

What has to be known is known only by asking at every such acquire, so the policy is "allow" unless set: then nothing is asked.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
import warnings
import weakref
from types import CodeType
from typing import Any, Literal

from aiolots import _asyncio_graph as tasks_of
from aiolots import _loops, _owners, _watched
from aiolots._errors import SuspendedGuardWarning
from aiolots._lib import lib
from aiolots._refusals import place

SuspendPolicy = Literal["allow", "warn"]

_POLICIES: dict[str, SuspendPolicy] = {"allow": "allow", "warn": "warn"}
_OWNED, _PERMITS = "_owner_note", "_grants"  # what re-entrant mutexes have, and semaphores: both are above this module
_log = logging.getLogger("aiolots")

# How often each mutex was taken without a guard, for its holds have no object of their own; of a re-entrant one, which hold was
# noted last.
_times: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
_said: dict[str | tuple[Any, ...], int] = {}  # of warnings: what it has said, and where


def suspend_policy() -> SuspendPolicy:
    """Return what happens when a task is suspended while it holds a guard of the thread's colour. Never waits."""
    return "warn" if _watched.flags & _watched.SUSPENDS else "allow"


def set_suspend_policy(policy: SuspendPolicy) -> SuspendPolicy:
    """Choose what happens when a task is suspended while it holds a guard of the thread's colour; return the policy before.

    "allow" (the default; AIOLOTS_SUSPEND_GUARD sets another) does not look. "warn" gives a SuspendedGuardWarning with the place
    where the guard was taken and the task's stack, and costs every acquire of the thread's form a call. It is for RwLock,
    Mutex, FairMutex and ReentrantMutex, for `with` and `.acquire()`, and for `with` of a Semaphore (whose bare permits are
    anybody's), on asyncio, uvloop and trio. ValueError for anything else. For the whole process, from the next acquire on;
    never waits.
    """
    if policy not in _POLICIES:
        raise ValueError(f"a suspend policy is one of {', '.join(_POLICIES)}, not {policy!r}")
    return "warn" if _watched.watch(_watched.SUSPENDS, on=policy == "warn") else "allow"


def set_as_environment_says() -> None:
    """AIOLOTS_SUSPEND_GUARD=warn or allow; anything else warns."""
    value = os.environ.get("AIOLOTS_SUSPEND_GUARD", "allow")
    if value not in _POLICIES:
        warnings.warn(f"AIOLOTS_SUSPEND_GUARD={value!r} is none of {', '.join(_POLICIES)}: taken as allow", stacklevel=2)
    set_suspend_policy(_POLICIES.get(value, "allow"))


def taken(held: Any) -> None:
    """A request, or a mutex without one, or a permit, was acquired with the thread's colour, by who calls."""
    loop = _loops.running()
    task = None if loop is None else _loops.current_task()
    if task is None:  # no loop runs here; or it calls a function, which cannot be suspended
        return
    number, lock = 0, getattr(held, "_lock", held)
    if _has(lock, _OWNED):
        note = lock._owner_note
        if note is None or note[2] or (lock is held and _times.get(held) == note[4]):
            return  # that hold is of the task's form; or a level was noted before, and it is one and the same hold
        if lock is held:
            number = _times[held] = note[4]
    elif not hasattr(held, "_site") and not _has(held, _PERMITS):
        number = _times[held] = _times.get(held, 0) + 1
    _loops.call_soon(loop, functools.partial(_look_safely, weakref.ref(held), number, weakref.ref(task), _here()))


def _has(held: Any, name: str) -> bool:
    return any(name in vars(kind) for kind in type(held).__mro__)


def _here() -> tuple[CodeType, int]:
    frame = sys._getframe(1)
    while frame.f_back is not None and not _owners.is_users(frame.f_code):
        frame = frame.f_back
    return (frame.f_code, frame.f_lasti)


def _look_safely(held_ref: weakref.ref[Any], number: int, task_ref: weakref.ref[Any], site: tuple[CodeType, int]) -> None:
    """What a loop is called with must not raise: trio ends the whole run by it."""
    try:
        _look(held_ref, number, task_ref, site)
    except Exception:  # noqa: BLE001
        _log.exception("aiolots: this look at a guard over a suspension failed")


def _look(held_ref: weakref.ref[Any], number: int, task_ref: weakref.ref[Any], site: tuple[CodeType, int]) -> None:
    held, task = held_ref(), task_ref()
    if held is None or task is None:
        return
    coroutine = tasks_of.coroutine_of(task)
    if coroutine is None or getattr(coroutine, "cr_frame", coroutine) is None:
        return  # it has ended: whoever has the guard now is to say
    if not _is_held(held, number, task, coroutine):
        return
    stack = _owners.stack(tasks_of.frames_from(coroutine))
    text = (
        f"{getattr(held, '_lock', held)!r} was taken with the thread's form at {place(site)}, and is held while its task is "
        "suspended: another task that asks for it so stops the whole event loop, and this one with it. In a task write "
        f"`async with` or `await`. The task's stack, innermost first: {'; '.join(stack)}"
    )
    code, instruction = site
    line = next((line for begin, end, line in code.co_lines() if begin <= instruction < end), None)
    try:
        warnings.warn_explicit(text, SuspendedGuardWarning, code.co_filename, line or code.co_firstlineno, registry=_said)
    except SuspendedGuardWarning:  # made an error by a filter: there is nobody to raise it in
        _log.error("%s", text)


def _is_held(held: Any, number: int, task: Any, coroutine: Any) -> bool:
    if _has(held, _OWNED):
        note = held._owner_note
        return note is not None and note[0] is task and note[3] > 0 and note[4] == number
    if _has(held, _PERMITS):  # what the task will give back: any other permit somebody else may
        return any(thing is held and method == "__exit__" for thing, method in tasks_of.in_hand_of(coroutine))
    if not number:
        return bool(held._holds())
    here = lib.lots_thread_token()
    same = _times.get(held) == number
    return same and any(holder.thread == here and not holder.is_task for holder in held._holder_list())


_watched.looks_at_guards(taken)
