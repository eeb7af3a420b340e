"""Who holds a lock and who waits, as a person knows them: threads by name, where they are now, and in which `with` blocks.

Nothing here costs an acquire anything: what was not noted is looked up when somebody asks. What cannot be known is not
guessed. No lock is taken, of ours or of anybody's: this is for watchers and signal handlers too.
"""

from __future__ import annotations

import dis
import sys
import threading
import weakref
from collections.abc import Iterator
from types import CodeType, FrameType
from typing import Any

from aiolots import _threads
from aiolots._lib import lib
from aiolots._refusals import place

_MOST_FRAMES = 30
_PUSH_EXC_INFO, _WITH_EXCEPT_START = (dis.opmap.get(name, -1) for name in ("PUSH_EXC_INFO", "WITH_EXCEPT_START"))

# Which thread has which token of the core, as far as it was seen: a token is a thread's for good. The ident is believed only
# while it is the same Thread's.
_seen: dict[int, tuple[int, weakref.ref[threading.Thread]]] = {}


_active = _threads.active


def note_this_thread() -> None:
    """Remember which token is that of the thread that calls."""
    note(int(lib.lots_thread_token()), threading.get_ident(), _active())


def note(token: int, ident: int, active: dict[int, threading.Thread]) -> None:
    """Remember whose token that is."""
    thread = active.get(ident)
    if thread is not None:
        _seen[token] = (ident, weakref.ref(thread))


note_this_thread()  # who imports this is often the main thread


class Threads:
    """The threads of one moment, and what they are doing."""

    def __init__(self) -> None:
        self.active = _active()
        self.frames: dict[int, FrameType] = sys._current_frames()
        self._living = _threads.living()
        for token, (ident, thread) in list(_seen.items()):
            if self.active.get(ident) is not thread():
                _seen.pop(token, None)

    def ident_of(self, token: int) -> int | None:
        """Return the ident of the thread with that token; None if it has ended, or nobody knows it."""
        found = self._living.idents.get(token)
        if found:
            return found
        ident, thread = _seen.get(token, (0, None))
        return ident if thread is not None and self.active.get(ident) is thread() else None

    def name(self, ident: int) -> str:
        """Return the thread's name; its ident, if threading does not know it."""
        thread = self.active.get(ident)
        return f"ident {ident}" if thread is None else thread.name

    def calls(self, ident: int) -> Iterator[FrameType]:
        """Yield the frames of a thread, innermost first."""
        frame = self.frames.get(ident)
        while frame is not None:
            yield frame
            frame = frame.f_back


_HOME = tuple(__file__.removesuffix("_owners.py") + ours for ours in ("_", "compat"))
_STANDARD = threading.__file__.removesuffix("threading.py")


def is_users(code: CodeType) -> bool:
    """Whether it is neither code of this package nor of the standard library."""
    name = code.co_filename
    return not name.startswith((*_HOME, "<frozen")) and not (name.startswith(_STANDARD) and "site-packages" not in name)


def users(frames: Iterator[FrameType]) -> Iterator[FrameType]:
    """Yield the frames that are the user's own."""
    return (frame for frame in frames if is_users(frame.f_code))


def stack(frames: Iterator[FrameType]) -> tuple[str, ...]:
    """Return file, line and function of each frame, as they come, without our own at the beginning."""
    found: list[str] = []
    for frame in frames:
        if found or not frame.f_code.co_filename.startswith(_HOME):
            found.append(_where(frame))
        if len(found) == _MOST_FRAMES:
            break
    return tuple(found)


def waits_at(frames: Iterator[FrameType]) -> str:
    """Return the innermost place that is the user's own."""
    return next((_where(frame) for frame in frames if is_users(frame.f_code)), "a place that is not known")


def _where(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_qualname}"


def open_withs(frames: Iterator[FrameType]) -> tuple[str, ...]:
    """Return the places of the `with` and `async with` statements whose blocks are being executed, innermost first.

    Read from the code alone: the handler that leaves the block is in its table of exceptions. An acquire that waits has not
    got so far, so its own statement is not among them.
    """
    found: list[str] = []
    for frame in frames:
        if is_users(frame.f_code):
            found.extend(place((frame.f_code, at)) for at in _exits(frame.f_code, frame.f_lasti))
    return tuple(found)


def _exits(code: CodeType, at: int) -> Iterator[int]:
    """Yield where the exits of the `with` blocks around an instruction are, innermost first."""
    table, instructions = list(_handlers(code.co_exceptiontable)), code.co_code
    seen: set[int] = set()
    while True:
        # Of two that cover it the later one is the inner one; there is only one in what compilers write now.
        target = next((target for begin, end, target in reversed(table) if begin <= at < end), None)
        if target is None or target in seen:
            return
        seen.add(target)
        if _is_exit(instructions, target):
            yield target + 2
        at = target


def _is_exit(instructions: bytes, target: int) -> bool:
    """Whether a handler is that of a `with` statement."""
    return instructions[target] == _PUSH_EXC_INFO and instructions[target + 2] == _WITH_EXCEPT_START


def _handlers(table: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield begin, end and handler of each entry of a code's table of exceptions (Objects/exception_handling_notes.txt)."""
    numbers = _numbers(table)
    for begin in numbers:
        length, target, _depth = next(numbers), next(numbers), next(numbers)
        yield 2 * begin, 2 * (begin + length), 2 * target


def _numbers(table: bytes) -> Iterator[int]:
    value = 0
    for byte in table:
        value = value << 6 | byte & 63
        if not byte & 64:
            yield value
            value = 0


def same_calls(frame: Any) -> tuple[int, int]:
    """Return what tells that a frame has not moved: to be compared while both looks keep it."""
    return id(frame), frame.f_lasti
