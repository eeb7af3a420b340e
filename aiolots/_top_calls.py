"""Without a GIL: which threads are in a join, or wait for the result of a future, as their innermost call.

    Thread.join        the thread that is joined
    Condition.wait     the condition: of a concurrent.futures.Future, its own

A frame must not be looked into while its thread runs: so that is done while all threads are stopped (csrc/python/top_calls.h).
Which frames are the innermost is asked before and after. Who is in the same one then was in it when it was looked at; and who
is found in the same one by the next look has not left it in between, for this look keeps it.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

from aiolots._lib import lib

_JOIN = threading.Thread.join.__code__
_WAIT = threading.Condition.wait.__code__
_CODES = (_JOIN, _WAIT)
_NAMES = ("self", "timeout")


def waits(frames: dict[int, FrameType]) -> Iterator[tuple[int, FrameType, Any]]:
    """Yield ident, frame, and thread or condition, of each thread that waits so without a limit; `frames`: the innermost.

    Never waits, but stops all threads for a moment. From any thread.
    """
    idents, innermost = list(frames), list(frames.values())
    found: list[Any] = [None] * (len(_NAMES) * len(innermost))
    lib.lots_top_calls(id(innermost), id(_CODES), id(_NAMES), id(found))
    if any(thing is not None for thing in found):
        now = sys._current_frames()
        for i, (ident, frame) in enumerate(zip(idents, innermost, strict=True)):
            thing, timeout = found[2 * i : 2 * i + 2]
            if thing is not None and timeout is None and now.get(ident) is frame:
                yield ident, frame, thing
