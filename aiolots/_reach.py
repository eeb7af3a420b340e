"""Who could still release a guard: which running function, or suspended task, refers to it.

From the variables of the functions that run, and from what suspended coroutines hold, a few steps through objects and
containers are followed. What is found nowhere there is kept by something global alone: a container of a module, an attribute
of a class. Of a `with` statement the interpreter shows nothing while its thread runs, so a thread that is inside of one may
have any guard in hand.
"""

from __future__ import annotations

import gc
import inspect
import itertools
import os
import types
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any

from aiolots import _owners
from aiolots import _task_graph as tasks_of
from aiolots._holds import Node

_STEPS = 4
_MOST_OBJECTS = 20_000
_LOOPS = f"{os.sep}asyncio{os.sep}"
# What leads to everything, or to nothing. By its type: what an object says of its class, its own code may say.
_NOT_ENTERED = (type, types.ModuleType, types.CodeType, types.FrameType, str, bytes, int, float, bool, type(None))


def who_reaches(wanted: set[int], threads: _owners.Threads, tasks: Iterable[Any]) -> dict[int, Node]:
    """Return which thread or task refers to each object, given by its id(), of those that anybody does."""
    found: dict[int, Node] = {}
    for task in tasks:
        _follow([thing for thing, _ in tasks_of.in_hand(task)], ("task", id(task)), wanted, found)
    for ident in threads.frames:
        for frame in threads.calls(ident):
            _follow(list(_variables(frame)), ("thread", ident), wanted, found)
    return found


def has_an_open_with(ident: int, threads: _owners.Threads, *, in_a_task: bool) -> bool:
    """Whether a thread is inside of a `with` statement of the user's; of a loop's thread: in the task that it runs now."""
    frames = threads.calls(ident)
    if in_a_task:
        frames = itertools.takewhile(lambda frame: _LOOPS not in frame.f_code.co_filename, frames)
    return bool(_owners.open_withs(frames))


def _variables(frame: FrameType) -> Iterator[Any]:
    """Yield what a running function's variables refer to; of a module's code nothing.

    Before Python 3.13 the interpreter keeps the copy that it makes for us as long as the function runs, and with it what it
    refers to: guards are taken out of it again, for they are released when nobody refers to them. Not where a debugger is,
    which writes that copy back.
    """
    if not frame.f_code.co_flags & inspect.CO_OPTIMIZED or frame.f_trace is not None or not _owners.is_users(frame.f_code):
        return
    local = frame.f_locals
    for name, value in list(local.items()):
        yield value
        if type(local) is dict and any("release" in vars(kind) for kind in type(value).__mro__):
            local.pop(name, None)


def _follow(things: list[Any], who: Node, wanted: set[int], found: dict[int, Node]) -> None:
    seen: set[int] = set()
    for _ in range(_STEPS):
        inner: list[Any] = []
        for thing in things:
            if id(thing) in seen or issubclass(type(thing), _NOT_ENTERED):
                continue
            seen.add(id(thing))
            if id(thing) in wanted:
                found.setdefault(id(thing), who)
            elif type(thing) is types.FunctionType:  # what it closes over, not its module
                inner += thing.__closure__ or ()
            else:
                inner += gc.get_referents(thing)
            if len(seen) > _MOST_OBJECTS:
                return
        things = inner
