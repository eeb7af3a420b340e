"""What aiolots raises and warns with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiolots._track import HolderInfo
    from aiolots._transitions import Transition


@dataclass(frozen=True)
class QueuedInfo:
    """Somebody who waited for the lock too.

    Attributes:
        kind: "thread" or "task".
        name: of the thread or the task; None if it is not known.
        mode: what it waits for: "read", "write", "lock"...
    """

    kind: str
    name: str | None
    mode: str

    def __str__(self) -> str:
        return f"{'a ' if self.name is None else ''}{self.kind}{'' if self.name is None else f' {self.name!r}'} ({self.mode})"


class LockTimeout(TimeoutError):
    """A raising timed acquire (`timeout=`) ran out of time. Nothing is held, nobody is queued. `str()` is a report.

    Attributes:
        lock_name: the lock's name, or None.
        mode: what was asked for: "read", "read_recursive", "write" or "lock".
        waited: how long it waited, in seconds.
        word: the lock word as it was when the wait ended.
        decoded: what that word says: "write-locked parked".
        holders: who held it then, as aiolots.tracking.HolderInfo, up to 8; only those that were tracked.
        more_holders: how many more were tracked.
        queued: who else waited, first come first, up to 16: kind, name and mode.
        more_queued: how many more waited.
    """

    def __init__(
        self,
        message: str = "",
        *,
        lock_name: str | None = None,
        mode: str = "",
        waited: float = 0.0,
        word: int = 0,
        decoded: str = "",
        holders: tuple[HolderInfo, ...] = (),
        more_holders: int = 0,
        queued: tuple[QueuedInfo, ...] = (),
        more_queued: int = 0,
    ) -> None:
        super().__init__(message)  # the rest has defaults, and travels in __dict__, so that it can be pickled
        self.lock_name = lock_name
        self.mode = mode
        self.waited = waited
        self.word = word
        self.decoded = decoded
        self.holders = holders
        self.more_holders = more_holders
        self.queued = queued
        self.more_queued = more_queued


class DeadlockError(RuntimeError):
    """This acquire could never end. It was refused, or its wait was ended: nothing is held, nobody is queued.

    See docs/semantics.md for what is certain to be for ever; all else is for aiolots.deadlock.
    """


class NotHeld(RuntimeError):
    """A guard that holds nothing, or a mutex that is free, was to be released, or changed. To be caught as RuntimeError."""


class LockCorruption(RuntimeError):
    """A lock word has a value that no sequence of operations leads to: whoever waited for it could wait for ever.

    Raised by an acquire that would have to wait, also with a timeout, and by a release that the word does not bear. The word is
    left as it is, nobody is queued, nothing was acquired; the guard that was to be released holds nothing any more.

    Attributes:
        lock_name: the lock's name, or None.
        word: the lock word.
        transitions: the last steps that the lock went through where somebody had to wait for it, in their order; `str()` shows
            the last few.
    """

    def __init__(
        self, message: str = "", *, lock_name: str | None = None, word: int = 0, transitions: tuple[Transition, ...] = ()
    ) -> None:
        super().__init__(message)
        self.lock_name = lock_name
        self.word = word
        self.transitions = transitions


class SuspendedGuardWarning(RuntimeWarning):
    """A task was suspended while it held a guard that it had taken with the thread's form: see set_suspend_policy."""


class LoopBlockedWarning(RuntimeWarning):
    """A sync acquire parks a thread whose event loop is running: all tasks of that loop stand still meanwhile."""
