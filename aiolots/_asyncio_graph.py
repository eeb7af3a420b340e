"""asyncio's tasks (uvloop's too) for the wait graph: who they are, what they await, and which guards they have in hand.

A task is asked nothing and told nothing: its chain of coroutines is followed from outside, and what a suspended one refers
to (its variables, and the exits of the `with` blocks it is in) is what gc.get_referents shows of that very object; the heap
is not walked. A coroutine that is running shows nothing of the kind: what it holds is known as its thread's only.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import gc
import sys
import types
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any

from aiolots import _asyncio_port, _loops

Task = asyncio.Task[Any]

_LONGEST_CHAIN = 200
_BOUND = ("BoundMethod", "builtin_function_or_method", "method")  # the first is the native front's
_WRAPPERS = ("coroutine_wrapper", "async_generator_asend", "async_generator_athrow", "anext_awaitable")
# Their context managers end what is inside of them by a time, or may: asyncio's is looked at more closely.
_CANCEL_SCOPES = ("anyio", "async_timeout", "aiohttp", "trio")


def every_task() -> list[Task]:
    """Return the tasks of every loop that have not ended."""
    found: dict[int, Task] = {}
    for kept in ("_all_tasks", "_scheduled_tasks", "_eager_tasks"):  # of all loops; the first is Python 3.11's
        for task in _copy(getattr(asyncio.tasks, kept, ())):
            found[id(task)] = task
    for port in _copy(_loops._every_port):
        loop = port._loop()
        if isinstance(loop, asyncio.AbstractEventLoop):
            for task in asyncio.all_tasks(loop):
                found[id(task)] = task
    return [task for task in found.values() if not task.done()]


def _copy(kept: Iterable[Any]) -> list[Any]:
    """Copy what other threads change meanwhile, as asyncio.all_tasks does."""
    for _ in range(1000):
        try:
            return list(kept)
        except RuntimeError:
            continue
    return []


def tasks_here() -> list[Task]:
    """Return the tasks of the event loop that runs on this thread; they are suspended, but for the one that calls."""
    loop = asyncio._get_running_loop()
    return [] if loop is None else list(asyncio.all_tasks(loop))


def loop_of(task: Task) -> asyncio.AbstractEventLoop:
    """Return the task's loop."""
    return task.get_loop()


def thread_of(loop: asyncio.AbstractEventLoop, frames: dict[int, set[int]]) -> int | None:
    """Return the ident of the thread that runs the loop, if that can be known; `frames` are the ids of each thread's."""
    ident: int | None = getattr(loop, "_thread_id", None)
    if ident is None:  # uvloop keeps it to itself
        task = asyncio.current_task(loop) if loop.is_running() else None
        frame = None if task is None else getattr(task.get_coro(), "cr_frame", None)
        ident = next((ident for ident, ids in frames.items() if id(frame) in ids), None) if frame is not None else None
    return ident


def is_loop(thing: object) -> bool:
    """Whether it is an event loop of asyncio, or one like it."""
    return isinstance(thing, asyncio.AbstractEventLoop)


def thread_of_any(loop: Any, frames: dict[int, set[int]]) -> int | None:
    """Do the same for a loop of any library: None, if it is not asyncio's."""
    return thread_of(loop, frames) if isinstance(loop, asyncio.AbstractEventLoop) else None


def loops_of(tasks: Iterable[Task]) -> list[tuple[Any, _loops.Library]]:
    """Return the loops of these tasks, each with its library; of asyncio's alone."""
    loops = [task.get_loop() for task in tasks if asyncio.Task in type(task).__mro__]
    return [(loop, _asyncio_port) for loop in {id(loop): loop for loop in loops}.values()]


def name_of(task: Task) -> str:
    """Return the task's name."""
    return task.get_name()


def name_of_who_waits(cookie: int) -> str | None:
    """Return the name of the task that waits in the core as that cookie: by the future that it awaits, which knows whom to
    wake. None if that is not known. All tasks are not looked at: there may be many, and as many that ask."""
    for port in _copy(_loops._every_port):
        for callback in _callbacks(port.waiting.get(cookie)):
            task: Any = getattr(callback, "__self__", None)
            if asyncio.Task in type(task).__mro__:
                return str(task.get_name())
    return None


# --- the chain of coroutines --------------------------------------------------------------------------------------------


def chain(task: Task) -> list[Any]:
    """Return the coroutines, generators and awaitables that a task is in, outermost first."""
    return chain_from(task.get_coro())


def chain_from(step: Any) -> list[Any]:
    found: list[Any] = []
    while step is not None and len(found) < _LONGEST_CHAIN:
        found.append(step)
        step = _awaited_by(step)
    return found


def _awaited_by(step: Any) -> Any:
    for kind, attribute in _AWAITS:
        if type(step) is kind:
            return getattr(step, attribute)
    if type(step).__name__ in _WRAPPERS:
        inner = (*_WRAPPERS, "coroutine", "generator", "async_generator")
        return next((thing for thing in gc.get_referents(step) if type(thing).__name__ in inner), None)
    return None


_AWAITS: tuple[tuple[type[Any], str], ...] = (
    (types.CoroutineType, "cr_await"),
    (types.GeneratorType, "gi_yieldfrom"),
    (types.AsyncGeneratorType, "ag_await"),
)
_FRAMES: tuple[tuple[type[Any], str], ...] = (
    (types.CoroutineType, "cr_frame"),
    (types.GeneratorType, "gi_frame"),
    (types.AsyncGeneratorType, "ag_frame"),
)


def coroutine_of(task: Any) -> Any:
    """Return the coroutine of a task of any library; None if it has none."""
    return task.get_coro() if hasattr(task, "get_coro") else getattr(task, "coro", None)


def frames(task: Task) -> Iterator[FrameType]:
    """Yield the frames of the chain, innermost first."""
    return frames_from(task.get_coro())


def frames_from(coroutine: Any) -> Iterator[FrameType]:
    """Yield the frames of a chain that begins with a coroutine, innermost first."""
    for step in reversed(chain_from(coroutine)):
        for kind, attribute in _FRAMES:
            frame: FrameType | None = getattr(step, attribute) if type(step) is kind else None
            if frame is not None:
                yield frame


def frames_now(task: Any, on_its_thread: Iterator[FrameType]) -> Iterator[FrameType]:
    """The same of any library's task; of one that runs: those of its thread."""
    coroutine = task.get_coro() if hasattr(task, "get_coro") else getattr(task, "coro", None)
    if getattr(coroutine, "cr_running", False):
        return on_its_thread
    return frames_from(coroutine)


def name_of_loop(task: Any) -> str:
    """Return the event loop of any library's task, as its repr says it."""
    loop = getattr(task, "get_loop", None)
    return "a loop that is not known" if task is None else "trio" if loop is None else repr(loop())


def in_hand(task: Task) -> Iterator[tuple[Any, str]]:
    """Yield what the chain refers to: (object, ""), and (object, name of the bound method) of what it will call."""
    return in_hand_of(task.get_coro())


def in_hand_of(coroutine: Any) -> Iterator[tuple[Any, str]]:
    """Yield the same of a chain that begins with a coroutine."""
    for step in chain_from(coroutine):
        for thing in gc.get_referents(step) if any(type(step) is kind for kind, _ in _FRAMES) else ():
            if type(thing).__name__ in _BOUND:
                yield getattr(thing, "__self__", None), getattr(thing, "__name__", "")
            else:
                yield thing, ""


# --- what a task awaits -------------------------------------------------------------------------------------------------


def awaited(task: Task) -> tuple[Any, list[Any]] | None:
    """Return the future that a task is suspended on, and the tasks and futures that could resolve it if nobody else does.

    None: it is not suspended on a future that is pending. An empty list: nobody knows.
    """
    future: Any = getattr(task, "_fut_waiter", None)
    if future is None or future.done():
        return None
    if asyncio.Task in type(future).__mro__:
        return future, [future]
    children = getattr(future, "_children", None)  # of a gather
    if children is not None:
        return future, [child for child in _copy(children) if not child.done()]
    for step in chain(task) if hasattr(future, "_callbacks") else ():
        code = getattr(step, "cr_code", None)
        if code is _WAIT_CODE:
            fs = next((thing for thing in gc.get_referents(step) if type(thing) in (set, frozenset)), ())
            return future, [child for child in _copy(fs) if not child.done()]
        if getattr(step, "__qualname__", "").startswith("TaskGroup._"):
            group = next((thing for thing in gc.get_referents(step) if asyncio.TaskGroup in type(thing).__mro__), None)
            if getattr(group, "_on_completed_fut", None) is future:
                return future, [child for child in _copy(group._tasks) if not child.done()]  # type: ignore[union-attr]
    return future, _chained_to(future)


_WAIT_CODE = getattr(getattr(asyncio.tasks, "_wait", None), "__code__", None)


def _chained_to(future: Any) -> list[Any]:
    """Return what a future gets its outcome from: the inner one of a shield, a thread pool's of run_in_executor."""
    for names in ("shield.<locals>._outer_done_callback", "_chain_future.<locals>._call_check_cancel"):
        for callback in _callbacks(future):
            if getattr(callback, "__qualname__", "") == names:
                return [found for found in _in_closure(callback) if found is not future]
    return []


def _callbacks(future: Any) -> list[Any]:
    return [entry[0] for entry in getattr(future, "_callbacks", None) or () if isinstance(entry, tuple)]


def _in_closure(function: Any) -> Iterator[Any]:
    for cell in getattr(function, "__closure__", None) or ():
        try:
            thing = cell.cell_contents
        except ValueError:
            continue
        if isinstance(thing, (asyncio.Future, concurrent.futures.Future)):
            yield thing


def gives_to(task: Task) -> list[Any]:
    """Return the threads' futures that get the outcome of a task: of asyncio.run_coroutine_threadsafe."""
    return [
        found
        for callback in _callbacks(task)
        if getattr(callback, "__qualname__", "") == "_chain_future.<locals>._call_set_state"
        for found in _in_closure(callback)
        if isinstance(found, concurrent.futures.Future)
    ]


def waiter_of(future: Any) -> Task | None:
    """Return the task that awaits a future, if one does."""
    owners = [_bound_to(callback) for callback in _callbacks(future)]
    return next((owner for owner in owners if asyncio.Task in type(owner).__mro__), None)


def awaiting(task: Task) -> list[Task]:
    """Return the tasks that await a task, and that await those, as far as callbacks tell: perhaps more than really do."""
    found: list[Task] = []
    todo: list[Any] = [task]
    seen = {id(task)}
    while todo and len(found) < _LONGEST_CHAIN:
        for callback in _callbacks(todo.pop()):
            owner = _bound_to(callback)
            for other in (owner, getattr(owner, "_parent_task", None), *_in_closure(callback)):
                kinds = type(other).__mro__
                if other is not None and asyncio.Future in kinds and id(other) not in seen:
                    seen.add(id(other))
                    todo.append(other)
                    if asyncio.Task in kinds:
                        found.append(other)
    return found


def _bound_to(callback: Any) -> Any:
    return getattr(callback, "__self__", None)


def may_be_ended(task: Task) -> bool:
    """Whether something around what a task awaits ends that by a time: asyncio.timeout, wait_for, a scope of anyio..."""
    for owner, method in in_hand(task):
        if method in ("__exit__", "__aexit__"):
            if type(owner) is asyncio.Timeout:
                if owner.when() is not None:
                    return True
            elif type(owner).__module__.partition(".")[0] in _CANCEL_SCOPES and not _is_stream(owner):
                return True
        elif type(owner).__name__ == "TimerHandle" and not owner.cancelled():  # of asyncio.wait, or as good as one
            return True
    return any(  # wait_for of Python 3.11: its own task, and a timer
        isinstance(callback, functools.partial) and getattr(callback.func, "__name__", "") == "_release_waiter"
        for callback in _callbacks(task)
    )


def end_wait_soon(task: Task, _error: BaseException) -> None:
    """Have a task cancelled, on its loop's thread."""
    task.get_loop().call_soon_threadsafe(task.cancel)


def _is_stream(thing: Any) -> bool:
    return type(thing).__module__.startswith("anyio.streams.")  # whose `with` ends nothing but the stream


def threads_future(frame: FrameType) -> tuple[str, Any] | None:
    """Return ("waits", future) of a frame in which a thread waits for a future without a timeout, ("makes", future) of one
    in which a thread of a pool does what the future stands for."""
    if frame.f_code is _RESULT_CODE or frame.f_code is _EXCEPTION_CODE:
        return ("waits", frame.f_locals["self"]) if frame.f_locals.get("timeout", 0) is None else None
    pool = sys.modules.get("concurrent.futures.thread") if frame.f_code.co_name == "run" else None
    if pool is not None and frame.f_code is pool._WorkItem.run.__code__:
        return "makes", getattr(frame.f_locals.get("self"), "future", None)
    return None


_FUTURE: Any = concurrent.futures.Future
_RESULT_CODE = _FUTURE.result.__code__
_EXCEPTION_CODE = _FUTURE.exception.__code__
