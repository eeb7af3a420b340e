"""The tasks of every library that runs here, as the wait graph asks for them: asyncio's (uvloop's too), and trio's.

Trio's are looked at once a task of it has taken a lock: nothing here imports anything, for it may be called amid an import.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

from aiolots import _asyncio_graph, _told


def _trio() -> Any:
    graph = sys.modules.get("aiolots._trio_graph")
    return graph if hasattr(graph, "IS_COMPLETE") else None


def _of(task: Any) -> Any:
    if type(task) is _told.Told:
        return _told
    trio = _trio()
    return trio if trio is not None and trio.is_task(task) else _asyncio_graph


def is_task(thing: Any) -> bool:
    """Return whether it is a task, and no thread."""
    return hasattr(thing, "get_coro") or _of(thing) is not _asyncio_graph


def every_task() -> list[Any]:
    """Return the tasks of every loop and run that have not ended."""
    trio = _trio()
    return _asyncio_graph.every_task() + (trio.every_task() if trio is not None else [])


def loops_here() -> list[tuple[Any, list[Any]]]:
    """Return the loops and runs of this thread that can be known here, each with its tasks: they are suspended, but for the
    one that calls."""
    trio = _trio()
    return _asyncio_graph.loops_here() + (trio.loops_here() if trio is not None else [])


def every_loop() -> list[Any]:
    """Return the loops and runs that are known to have tasks, without a look at any of these. Trio's: those of which a task
    had to wait once."""
    trio = _trio()
    return _asyncio_graph.every_loop() + (trio.every_loop() if trio is not None else [])


def loop_of(task: Any) -> Any:
    """Return what runs the task: an event loop; of trio what stands for the run."""
    return _of(task).loop_of(task)


def thread_of(loop: Any, frames: dict[int, set[int]]) -> int | None:
    """Return the ident of the thread that runs the loop, if that can be known; `frames` are the ids of each thread's."""
    trio = _trio()
    of = trio if trio is not None and trio.is_loop(loop) else _asyncio_graph
    ident: int | None = of.thread_of(loop, frames)
    return ident


def name_of(task: Any) -> str:
    """Return the task's name."""
    return str(_of(task).name_of(task))


def name_of_loop(task: Any) -> str:
    """Return how a report calls what runs the task."""
    return str(_of(task).name_of_loop(task))


def frames(task: Any) -> Iterator[FrameType]:
    """Yield the frames of its chain of coroutines, innermost first."""
    found: Iterator[FrameType] = _of(task).frames(task)
    return found


def in_hand(task: Any) -> Iterator[tuple[Any, str]]:
    """Yield what the chain refers to: (object, ""), and (object, name of the bound method) of what it will call."""
    found: Iterator[tuple[Any, str]] = _of(task).in_hand(task)
    return found


def awaited(task: Any) -> tuple[Any, list[Any]] | None:
    """Return what a task is suspended on, and the tasks and futures that could resolve it if nobody else does.

    None: it is not suspended on anything of the kind. An empty list: nobody knows.
    """
    found: tuple[Any, list[Any]] | None = _of(task).awaited(task)
    return found


def gives_to(task: Any) -> list[Any]:
    """Return the threads' futures that get the outcome of a task."""
    found: list[Any] = _of(task).gives_to(task)
    return found


def may_be_ended(task: Any) -> bool:
    """Return whether something around what a task awaits ends that by a time."""
    return bool(_of(task).may_be_ended(task))


def end_wait_soon(task: Any, error: BaseException) -> None:
    """Have a task's wait ended on its loop's thread: asyncio's is cancelled, of trio the error is raised in it."""
    _of(task).end_wait_soon(task, error)


def main_task_that_waits_here() -> Any:
    """Return the main task of trio's run on this thread, if there is one and no task of it runs now; else None."""
    trio = _trio()
    return None if trio is None else trio.main_task_that_waits_here()


def told_by_worker(variable: Any) -> tuple[str, Any] | None:
    """Return ("makes", future) or ("run", loop) of a variable of a function of _watched.workers; None: it says nothing."""
    trio = _trio()
    return _asyncio_graph.told_by_worker(variable) or (trio.told_by_worker(variable) if trio is not None else None)


def threads_future(frame: FrameType) -> tuple[str, Any] | None:
    """Return ("waits", future) of a frame in which a thread waits for a future without a timeout, ("makes", future) of one
    in which a thread of a pool does what the future stands for."""
    trio = _trio()
    return _asyncio_graph.threads_future(frame) or (trio.threads_future(frame) if trio is not None else None)
