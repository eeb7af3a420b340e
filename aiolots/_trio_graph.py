"""trio's tasks for the wait graph, asked as asyncio's are: see _asyncio_graph.py, whose functions these stand beside.

    lock          by the port's waiters, as everywhere: not here
    nursery       a task at the end of its nursery waits for the children: stuck only if all of them are, for any other one
                  could fail, and cancel them
    to_thread     a task waits for the thread that does what it asked for

A cancel scope with a deadline, anywhere around what a task awaits, is a limit. So is one that was cancelled: what is in it is
being ended.

A run is found by the thread that is in trio.run(), a guest run once a task of it waited for a lock.
"""

from __future__ import annotations

import math
import os
import sys
import weakref
from collections.abc import Iterator
from types import FrameType
from typing import Any, NoReturn

import trio

from aiolots import _asyncio_graph

Task = trio.lowlevel.Task

_HOME = os.path.dirname(trio.__file__) + os.sep  # compared with names of files as code objects have them
_RUN: Any = getattr(trio.run, "__wrapped__", trio.run).__code__  # the function of the thread that runs it


def _code_of(name: str) -> Any:
    return getattr(getattr(trio.to_thread, name, None), "__code__", None)


_TO_THREAD: Any = _code_of("run_sync")


def _runners() -> dict[int, tuple[Any, int | None]]:
    """Return the runs, by id: each with the ident of its thread, where that is known."""
    found: dict[int, tuple[Any, int | None]] = {}
    for ident, frame in sys._current_frames().items():
        step: FrameType | None = frame
        while step is not None:
            if step.f_code is _RUN and (runner := step.f_locals.get("runner")) is not None:
                found[id(runner)] = runner, ident
            step = step.f_back
    for root in _asyncio_graph._copy(_roots):
        found.setdefault(id(root._runner), (root._runner, None))
    return found


_roots: weakref.WeakSet[Task] = weakref.WeakSet()


def note_run() -> None:
    """A task of the run on this thread is about to wait for a lock."""
    root = trio.lowlevel.current_root_task()
    if root is not None:
        _roots.add(root)


def is_task(thing: Any) -> bool:
    """Return whether it is a task of trio."""
    return isinstance(thing, Task)


def is_loop(thing: Any) -> bool:
    """Return whether it is what loop_of() gives."""
    return type(thing).__module__.startswith("trio.")


def every_task() -> list[Task]:
    """Return the tasks of every run that have not ended."""
    return [task for runner, _ in _runners().values() for task in _asyncio_graph._copy(runner.tasks)]


def loop_of(task: Task) -> Any:
    """Return the run's token, which its port knows it by; a run that has none: its runner."""
    return _name_of_run(task._runner)


def _name_of_run(runner: Any) -> Any:
    return runner if runner.trio_token is None else runner.trio_token


def thread_of(loop: Any, _frames: dict[int, set[int]]) -> int | None:
    """Return the ident of the thread that runs it."""
    return next((ident for runner, ident in _runners().values() if _name_of_run(runner) is loop), None)


def name_of(task: Task) -> str:
    """Return the task's name."""
    return task.name


def name_of_loop(task: Task) -> str:
    """Return how a report calls its run."""
    main = getattr(task._runner, "main_task", None)
    return "a run of trio" if main is None else f"trio's run of {main.name!r}"


def frames(task: Task) -> Iterator[FrameType]:
    """Yield the frames of the chain, innermost first, without trio's own."""
    return (frame for frame in _asyncio_graph.frames_from(task.coro) if not frame.f_code.co_filename.startswith(_HOME))


def in_hand(task: Task) -> Iterator[tuple[Any, str]]:
    """Yield what the chain refers to: (object, ""), and (object, name of the bound method) of what it will call."""
    return _asyncio_graph.in_hand_of(task.coro)


def awaited(task: Task) -> tuple[Any, list[Any]] | None:
    """Return the nursery that a task is at the end of and its children, or what it gets from a thread."""
    for nursery in reversed(_asyncio_graph._copy(task.child_nurseries)):
        if getattr(nursery, "_parent_waiting_in_aexit", False):
            # Who called nursery.start() for a child of this one will put another task in.
            return nursery, [] if getattr(nursery, "_pending_starts", 1) else sorted(nursery.child_tasks, key=id)
    steps = _asyncio_graph.chain_from(task.coro)
    for step in reversed(steps):
        if getattr(step, "cr_code", None) is _TO_THREAD and _TO_THREAD is not None:
            register = None if step.cr_frame is None else step.cr_frame.f_locals.get("task_register")
            return None if register is None else (register, [register])
    return None


def threads_future(frame: FrameType) -> tuple[str, Any] | None:
    """Return ("makes", what its task awaits) of the frame of a thread that does something for a task."""
    code = frame.f_code
    if code.co_name == "worker_fn" and code.co_filename.startswith(_HOME):
        return "makes", frame.f_locals.get("task_register")
    return None


def gives_to(_task: Task) -> list[Any]:
    """No future of a thread is known to get the outcome of a task of trio."""
    return []


def may_be_ended(task: Task) -> bool:
    """Whether a scope around what a task awaits has a deadline, or was cancelled."""
    status = getattr(task, "_cancel_status", None)
    return status is None or status.effective_deadline() != math.inf


def end_wait_soon(task: Task, error: BaseException) -> None:
    """Have the error raised where the task waits, on the run's own thread: as trio does it with KeyboardInterrupt.

    From any thread, and from signal handlers. Nothing, if it does not wait then, or cannot be made to end that.
    """

    def raise_it() -> NoReturn:
        __tracebackhide__ = True
        raise error

    def deliver() -> None:
        if getattr(task, "_abort_func", None) is not None:
            task._attempt_abort(raise_it)

    task._runner.entry_queue.run_sync_soon(deliver)


def main_task_that_waits_here() -> Task | None:
    """Return the main task of the run on this thread, if no task of it runs just now: what is raised then would break trio."""
    if not trio.lowlevel.in_trio_run() or trio.lowlevel.in_trio_task():
        return None
    root = trio.lowlevel.current_root_task()
    return None if root is None else root._runner.main_task


IS_COMPLETE = True
