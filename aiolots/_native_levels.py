"""How a task takes a ReentrantMutex of the native front where it cannot wait for asyncio's futures: under trio."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from aiolots import _loops
from aiolots._lib import OP, ffi
from aiolots._wait import Verbs, suspend

if TYPE_CHECKING:
    from aiolots._front import LockBase
    from aiolots._native import Entry


def enter_elsewhere(lock: LockBase[Any], entry: Entry, seconds: float | None) -> Generator[Any, None, bool]:
    """Go deeper, or acquire the mutex; suspended up to `seconds` (None: for ever). False: it timed out.

    What the core says that the op has got, `entry` makes a level in the same step.
    """
    op = ffi.cast(OP, entry.address)
    try:
        if not entry.enter():
            return (yield from suspend(lock, op, seconds, Verbs(entry.poll, entry.time_is_up, entry.abandon)))
        yield from _loops.checkpoint()
    except BaseException:
        entry.abandon(op, None)
        raise
    return True
