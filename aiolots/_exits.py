"""The `__exit__` that each `with` statement keeps until it ends: bound to the lock, or to the guard, that it will release.

A statement in a function that is suspended shows it, for the generator refers to it; so does whoever else keeps one. Of a
statement that is being executed mostly nothing is seen but that the `__exit__` is there, and that nothing refers to it. A
statement that is just being entered has one too, and an `__enter__` besides.

Each look walks through all objects, some milliseconds: it is for when an error is about to be raised. What gc.freeze() has put
away is not seen. Nothing is known without a GIL, by which other threads stand still, and with the front in Python, for want of
a list of all objects (csrc/python/readers.c says what is wrong with that).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from types import AsyncGeneratorType, CodeType, CoroutineType, FrameType, GeneratorType
from typing import Any

from aiolots._front import NATIVE

_HAS_GIL = bool(getattr(sys, "_is_gil_enabled", lambda: True)())
_GENERATORS: tuple[tuple[type[Any], str], ...] = (
    (GeneratorType, "gi_frame"),
    (CoroutineType, "cr_frame"),
    (AsyncGeneratorType, "ag_frame"),
)


def executed(thing: Any, frames: list[FrameType]) -> int:
    """Return how many statements that are being executed will release it; -1: not known, or others may too.

    Of generators and coroutines: by their frames, which are those of the calls that are looked at.
    """
    if not (NATIVE and _HAS_GIL):
        return -1
    from aiolots import _native  # there may be none

    found = _native.exits(thing)
    if found is None:
        return -1
    count, generators = found
    return max(count, 0) if all(_runs(generator, frames) for generator in generators) else -1


def _runs(generator: Any, frames: list[FrameType]) -> bool:
    """Whether we are in its frame: it shows what it has on its stack while it calls a function."""
    return any(type(generator) is kind and getattr(generator, name) in frames for kind, name in _GENERATORS)


def runs_elsewhere(code: CodeType, frames: Iterable[FrameType]) -> bool:
    """Whether another call of a function is running than those in these frames; True if that is not known."""
    known = list(frames)
    return not _HAS_GIL or any(frame.f_code is code and frame not in known for frame in _every_frame())


def _every_frame() -> Iterator[FrameType]:
    for innermost in sys._current_frames().values():
        frame: FrameType | None = innermost
        while frame is not None:
            yield frame
            frame = frame.f_back
