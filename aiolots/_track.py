"""Tracking, of whichever front is in use: what its records say, in words."""

from __future__ import annotations

import itertools
import os
import time
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any

from aiolots import _asyncio_graph, _lock_order, _owners, _pure_tracking
from aiolots._front import NATIVE
from aiolots._lock_order import name_of
from aiolots._refusals import place
from aiolots._waiters import MODE_NAMES

if TYPE_CHECKING or not NATIVE:
    functions: Any = _pure_tracking
else:
    from aiolots import _native as functions

    functions.track_homes(*_pure_tracking.HOMES)
_lock_order.pending = functions.track_pending
_lock_order.rests = functions.track_rest


_AT_FIRST = 64  # records: more, if there are more
_LOOKED_AT = 100_000  # to find those that have held it longest


@dataclass(frozen=True)
class HolderInfo:
    """One hold of a tracked lock.

    Attributes:
        mode: "read", "read_recursive", "upgradable_read", "write" or "lock".
        kind: "thread" or "task": who acquired it. It may have given the guard to somebody else.
        name: of the thread or the task.
        loop: of a task, its event loop, as its repr says it; None for a thread.
        since: the moment of time.monotonic() when it was acquired, to some milliseconds.
        seconds: for how long it had been held when this was made.
        place: "file:line in function" where it was acquired.
        stack: file, line and function of each call that the holder is in now, innermost first; of a task that is suspended:
            of its chain of coroutines. Empty if there is none to be seen.
        remark: "" for one that lives; "has ended"; "of the parent process, before the fork".
    """

    mode: str
    kind: str
    name: str
    loop: str | None
    since: float
    seconds: float
    place: str
    stack: tuple[str, ...] = ()
    remark: str = ""

    @property
    def who(self) -> str:
        """Thread or task, and its name."""
        return f"{self.kind} {self.name!r}{f' ({self.remark})' if self.remark else ''}"

    def __str__(self) -> str:
        where = "" if self.loop is None else f" of {self.loop}"
        return f"{self.who}{where} holds it ({self.mode}), since {self.seconds:.3g} s, acquired at {self.place}"


@dataclass(frozen=True)
class Record:
    """A record as the front has it."""

    node: int
    lock_kind: str
    lock_name: Any
    mode: int
    who: Any  # a weak reference to the Thread or task, or None
    is_task: bool
    token: int
    ident: int
    since: int  # ns
    site: Any
    of_parent: bool

    @property
    def owner(self) -> Any:
        """The thread or task; None if it is gone, or not known."""
        return None if self.who is None else self.who()


def records(lock: Any, most: int) -> tuple[list[Record], int]:
    """Return the records of a lock, at most so many, and how many there are. Never waits."""
    found, count = functions.track_records(lock, min(most, _AT_FIRST))
    if len(found) < min(count, most):
        found, count = functions.track_records(lock, min(most, count + _AT_FIRST))
    return [Record(*one) for one in found], count


def infos(lock: Any, most: int = _LOOKED_AT) -> tuple[list[HolderInfo], int]:
    """Return the holders of a lock as far as they are tracked, who came first at the beginning; and how many there are."""
    found, count = records(lock, _LOOKED_AT)
    if not found:
        return [], count
    threads = _owners.Threads()
    now = time.monotonic_ns()
    found.reverse()  # who came last is the first
    found.sort(key=lambda record: record.since)
    found = found[:most]
    return [_info(record, threads, now) for record in found], count


def _info(record: Record, threads: _owners.Threads, now: int) -> HolderInfo:
    owner = record.owner
    name, remark, loop = name_of(record.who, record.is_task, record.ident), "", None
    frames: Iterator[FrameType] = iter(())
    if record.of_parent:
        remark = "of the parent process, before the fork"
    elif record.is_task:
        if owner is None or _is_done(owner):
            remark = "has ended"
        else:
            frames = _asyncio_graph.frames_now(owner, threads.calls(record.ident))
        loop = _asyncio_graph.name_of_loop(owner)
    elif owner is not None and threads.active.get(record.ident) is owner:
        frames = threads.calls(record.ident)
    elif owner is not None or record.who is not None:
        remark = "has ended"
    return HolderInfo(
        mode=MODE_NAMES[record.mode],
        kind="task" if record.is_task else "thread",
        name=name,
        loop=loop,
        since=record.since / 1e9,
        seconds=max(0, now - record.since) / 1e9,
        place=place(record.site),
        stack=_owners.stack(itertools.dropwhile(_is_question, frames)),
        remark=remark,
    )


_QUESTIONS = (_pure_tracking.HOMES[0], __file__.replace("_track.py", "tracking.py"))


def _is_question(frame: FrameType) -> bool:
    """Whether it is the very call that asks."""
    return frame.f_code.co_filename.startswith(_QUESTIONS)


def _is_done(task: Any) -> bool:
    done = getattr(task, "done", None)
    return bool(done()) if done is not None else getattr(task, "coro", None) is None


# --- locks that are made in Python on either front -------------------------------------------------------------------------


class _Watched(weakref.ref[Any]):
    """Tells the native front that a lock was freed."""

    __slots__ = ("address",)

    address: int


_watched: dict[int, _Watched] = {}


def _freed(reference: Any) -> None:
    _watched.pop(reference.address, None)
    functions.track_freed(reference.address)


def _watch(lock: Any) -> None:
    if NATIVE and id(lock) not in _watched and hasattr(lock, "_holders"):
        reference = _Watched(lock, _freed)
        reference.address = id(lock)
        _watched[id(lock)] = reference


def configure(lock: Any, track: bool, lock_class: str | None) -> None:
    """What the constructors do with their arguments; called only if any was given."""
    functions.track_configure(lock, lock.name, bool(track), lock_class)
    _watch(lock)


def options(lock: Any) -> dict[str, Any]:
    """Return the arguments that make another lock like this one."""
    tracked, lock_class = functions.track_options(lock)
    given: dict[str, Any] = {}
    if tracked:
        given["track"] = True
    if lock_class is not None:
        given["lock_class"] = lock_class
    return given


def acquired(lock: Any, mode: int, *, as_task: bool, waits: bool) -> None:
    """A lock that keeps no guards of the front's was acquired; `waits`: by who would have waited for ever."""
    if functions.track_is_on():
        _watch(lock)
    functions.track_acquired(lock, lock.name, mode, as_task, waits)


def released(lock: Any) -> None:
    """It is about to be released."""
    functions.track_released(lock)


def _forked() -> None:
    functions.track_forked()
    _lock_order.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)

__all__ = ["HolderInfo", "Record", "acquired", "configure", "infos", "options", "records", "released"]
