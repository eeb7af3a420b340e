"""A wait that could never end, refused before it begins: DeadlockError for a thread, from the holds that are certain.

Certain is a hold that nobody but the waiting calls themselves can end (_statements.py). A bare `mutex.acquire()` is no such
hold: another thread may release it, as threading.Lock is used to signal. Nor is a guard that anybody else refers to.

    the thread holds      asks for                 certain
    all of it             anything                 yes
    a share               write, upgrade           yes
    the upgradable share  upgradable_read          yes
    a share               read, upgradable_read    if a writer keeps readers out that waits for the readers without a limit

Called on the slow path, before anything is queued, and only if the thread may be meant: a share is held by somebody, or all of
it by this thread. Nothing is changed, so nothing is to be undone.
"""

from __future__ import annotations

import functools
import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any

from aiolots import _owners, _statements, _wait_graph, _watched
from aiolots._errors import DeadlockError
from aiolots._holds import ALONE, _share
from aiolots._lib import MUTEX, READ, UPGRADABLE, UPGRADE, WRITE, lib
from aiolots._reentrant import ReentrantMutex
from aiolots._statements import Holding
from aiolots._waiters import MODE_NAMES, _infos, _word_of
from aiolots._word import ONE_READER, decode

if TYPE_CHECKING:
    from aiolots._front import LockBase

_LOOKS, _PAUSE = 20, 0.0005  # for a writer that owns WRITER and is on its way to sleep

ADVICE_ALONE = "Pass the guard on, or use ReentrantMutex; to try, use a timeout."
ADVICE_END = "Who waits for the end of another must not hold what that one needs: release it before."
ADVICE_LOOP = "In a task write `async with` or `await`."
ADVICE_READ = "Take the second share with read_recursive()."
ADVICE_WRITE = "Use upgradable_read(), then upgrade()."


def refuse(lock: LockBase[Any], mode: int) -> None:
    """Raise DeadlockError if this thread is about to wait without a limit for what only it can release."""
    here = lib.lots_thread_token()
    for hold in _certain_holds(lock, mode, list(calls()), lambda thread: thread == here):
        if not (hold.mode == MUTEX and _is_a_signal(lock)):
            who = f"thread {threading.current_thread().name!r}"
            raise DeadlockError(text(lock, mode, who, hold.mode, hold.place, _owners.waits_at(calls())))


def refuse_joined(lock: LockBase[Any], mode: int) -> None:
    """Raise DeadlockError if a thread that joins this one without a limit, or one that joins that, holds what this one wants.

    Their calls stand still. Which of them has taken it, who never waited for a lock has not told: then only its calls do.
    """
    threads = _owners.Threads()
    joined, todo = {threading.get_ident()}, [threading.get_ident()]
    while todo:
        child = todo.pop()
        for parent in [ident for ident in threads.frames if ident not in joined and _joins(threads, ident) == child]:
            joined.add(parent)
            todo.append(parent)
            theirs = list(threads.calls(parent))
            tokens = functools.partial(_may_be, threads, parent)
            for hold in _certain_holds(lock, mode, theirs, tokens):
                who = f"thread {threads.name(parent)!r}, which joins thread {threads.name(child)!r},"
                raise DeadlockError(text(lock, mode, who, hold.mode, hold.place, _owners.waits_at(calls()), ADVICE_END))


def _may_be(threads: _owners.Threads, ident: int, token: int) -> bool:
    return threads.ident_of(token) in (None, ident)


def _joins(threads: _owners.Threads, ident: int) -> int | None:
    """Return the ident of the thread that a thread joins without a limit."""
    for frame in itertools.islice(threads.calls(ident), 3):
        if frame.f_code is _watched.join_code and frame.f_locals.get("timeout", 0) is None:
            found: int | None = frame.f_locals["self"].ident
            return found
    return None


def _certain_holds(lock: Any, mode: int, frames: list[FrameType], may_be: Callable[[int], bool]) -> Iterator[Holding]:
    """Yield what the calls of a thread hold for certain, and keeps out who asks."""
    if ReentrantMutex in type(lock).__mro__:
        return
    yield from _statements.holdings(lock, frames, lambda held: is_certain(Holding(held, ""), lock, mode, may_be), may_be)


def text(lock: Any, mode: int, who: str, held: int, held_at: str, asked_at: str, to_do: str = "") -> str:
    """Say what could never end, where it was asked for, who holds what where, and what to do: by default, against recursion."""
    word = decode(lock.word)
    if held in ALONE:
        why, advice = "", ADVICE_ALONE
    elif mode in (WRITE, UPGRADE):
        why, advice = ", and a writer waits for every share", ADVICE_WRITE
    elif word.upgradable and mode == UPGRADABLE:
        why, advice = ", and there is one upgradable reader at a time", "Pass the guard on; to try, use a timeout."
    else:
        why, advice = ", and a writer that waits for that share keeps new readers out", ADVICE_READ
    return (
        f"{lock!r}, word {word.word:#x} ({word}): this {MODE_NAMES[mode]}, asked for at {asked_at}, could never end: {who} "
        f"holds it ({MODE_NAMES[held]}), taken at {held_at}{why}. {to_do or advice}"
    )


def calls() -> Iterator[FrameType]:
    """Yield the frames of this thread's calls, innermost first."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back


def is_certain(hold: Holding, lock: Any, mode: int, may_be: Callable[[int], bool]) -> bool:
    """Whether a hold of a thread, which is noted for a token that may be that thread's, keeps out for ever who asks."""
    shared = lock.word >= ONE_READER
    return (hold.mode not in ALONE) == shared and _keeps_out(hold, lock, mode) and _is_noted(lock, hold.mode, may_be)


def _keeps_out(hold: Holding, lock: Any, mode: int) -> bool:
    if hold.mode in ALONE:
        return True
    if mode in (WRITE, UPGRADE):
        return not (mode == UPGRADE and hold.mode == UPGRADABLE)
    if mode == UPGRADABLE and hold.mode == UPGRADABLE:
        return True
    return mode in (READ, UPGRADABLE) and _a_writer_waits_for_ever(lock)


def _is_noted(lock: Any, mode: int, may_be: Callable[[int], bool]) -> bool:
    """Whether that thread (its token), with the thread's colour, is among those who hold it so, says who acquired it."""
    return any(
        may_be(holder.thread)
        and not holder.is_task
        and (holder.mode in ALONE) == (mode in ALONE)
        and (mode in ALONE or (_share(holder.mode) == UPGRADABLE) == (mode == UPGRADABLE))
        for holder in lock._holder_list()
    )


def _is_a_signal(lock: Any) -> bool:
    """Whether it is a threading.Lock's acquire() outside of a `with` statement, in its own: the other half of a signal."""
    return bool(getattr(lock, "_may_signal", False)) and not _statements.enters(next(_owners.users(calls())))


def _a_writer_waits_for_ever(lock: Any) -> bool:
    """Whether somebody owns WRITER, waits for the readers to leave, and will not give up."""
    for _ in range(_LOOKS):
        word = decode(lock.word)
        if not word.writer_waiting:
            return False
        waits = [info for info in _infos(_word_of(lock)) if info.draining and not info.expects]
        if waits:
            return all(not info.is_timed and (info.thread or _wait_graph.waits_for_ever(info.owner)) for info in waits)
        time.sleep(_PAUSE)  # it has the bit, and is not asleep yet
    return False
