"""What threads have told of themselves and of their tasks, for the wait graph where there is no GIL.

There nobody may look into a task, a coroutine or a call of another thread: it could run meanwhile. So who can be asked says it
of itself (_telling.py), as plain data; and the functions here are asked for it as those of _asyncio_graph.py are for tasks.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any, cast


class Call:
    """What is known of a frame: as much of one as places and stacks are made of."""

    __slots__ = ("f_code", "f_lasti")

    def __init__(self, code: CodeType, lasti: int) -> None:
        self.f_code = code
        self.f_lasti = lasti

    @property
    def f_lineno(self) -> int:
        """The line that was executed. Looked up when somebody wants to know."""
        lines = (line for begin, end, line in self.f_code.co_lines() if begin <= self.f_lasti < end and line is not None)
        return next(lines, self.f_code.co_firstlineno)


def calls_of(frames: Iterable[FrameType]) -> tuple[FrameType, ...]:
    """Return what is to be told of frames that stand still: no frame, for that would keep what its variables refer to."""
    return tuple(cast("FrameType", Call(frame.f_code, frame.f_lasti)) for frame in frames)


def calls_from(told: list[Any]) -> tuple[FrameType, ...]:
    """Return the same of code and instruction by turns, as csrc/python/telling.h has them."""
    return tuple(cast("FrameType", Call(code, at)) for code, at in zip(told[::2], told[1::2], strict=True))


@dataclass(frozen=True, eq=False, slots=True)
class Hand:
    """A guard that tasks of one loop have in hand. The guard itself is not kept alive."""

    identity: int
    guard: weakref.ref[Any]
    lock: Any
    alone: bool  # nothing else refers to it, but these tasks

    def holds(self) -> bool:
        """Whether it holds its lock now."""
        guard = self.guard()
        return guard is not None and bool(guard._holds())


@dataclass(frozen=True, eq=False, slots=True)
class Told:
    """A task, as its loop's thread saw it while it was suspended."""

    task: Any  # kept, so that its number is not used again; nothing else is asked of it
    name: str
    loop: Any
    loop_name: str
    calls: tuple[FrameType, ...]
    hands: tuple[Hand, ...]
    exits: tuple[tuple[int, int], ...]  # addresses of mutexes without a guard whose `with` it is in; how often
    awaited: tuple[Any, list[Any]] | None
    gives_to: list[Any]
    may_be_ended: bool


@dataclass(frozen=True, eq=False, slots=True)
class ToldLoop:
    """The tasks of a loop, by their numbers, as its thread saw them at one moment."""

    loop: Any
    ident: int
    token: int  # of that thread, in the core
    tasks: dict[int, Told]


# --- what is asked of a task --------------------------------------------------------------------------------------------


def loop_of(task: Told) -> Any:
    """Return the task's loop."""
    return task.loop


def name_of(task: Told) -> str:
    """Return the task's name."""
    return task.name


def name_of_loop(task: Told) -> str:
    """Return how a report calls what runs the task."""
    return task.loop_name


def frames(task: Told) -> Iterator[FrameType]:
    """Yield what is known of the frames of its chain of coroutines, innermost first."""
    return iter(task.calls)


def awaited(task: Told) -> tuple[Any, list[Any]] | None:
    """Return what it is suspended on, as _task_graph.awaited does."""
    return task.awaited


def gives_to(task: Told) -> list[Any]:
    """Return the threads' futures that get its outcome."""
    return task.gives_to


def may_be_ended(task: Told) -> bool:
    """Return whether something around what it awaits ends that by a time."""
    return task.may_be_ended
