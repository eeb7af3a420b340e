"""What is looked at beyond locking, and who looks: set from above, asked for on the slow paths of both fronts.

The flags are csrc/python/watch.h's. What looks stands above the locks (it follows guards, tasks and frames), so it puts itself
in here when it is imported; until then nothing is looked at.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aiolots import _troubles
from aiolots._errors import DeadlockError
from aiolots._lib import lib
from aiolots._word import ONE_READER

if TYPE_CHECKING:
    from aiolots._front import LockBase
    from aiolots._loops import Port

DEADLOCKS, SUSPENDS = 1, 2
join_code = threading.Thread.join.__code__

flags = 0
suspends = False  # one of the flags, by itself: the front in Python asks at every acquire
_use: list[Callable[[int], Any]] = []  # the native front's setter


def watch(flag: int, *, on: bool) -> bool:
    """Switch one flag; return what it was."""
    global flags, suspends  # noqa: PLW0603
    before = bool(flags & flag)
    flags = flags | flag if on else flags & ~flag
    suspends = bool(flags & SUSPENDS)
    for use in _use:
        use(flags)
    return before


def tell(use: Callable[[int], Any]) -> None:
    """Have a front told of the flags."""
    _use.append(use)
    use(flags)


# --- who looks ----------------------------------------------------------------------------------------------------------

_refuse: Callable[[LockBase[Any], int], None] | None = None
_refuse_joined: Callable[[LockBase[Any], int], None] | None = None
_look_soon: Callable[[Port], None] | None = None
_taken_by_thread: Callable[[Any], None] | None = None


def looks_at_threads(function: Callable[[LockBase[Any], int], None]) -> None:
    """Have it raise DeadlockError for a thread that is about to wait without a limit."""
    global _refuse  # noqa: PLW0603
    _refuse = function


def looks_at_joined(function: Callable[[LockBase[Any], int], None]) -> None:
    """Have it raise DeadlockError for a thread that waits without a limit while another one joins it."""
    global _refuse_joined  # noqa: PLW0603
    _refuse_joined = function


def looks_at_tasks(function: Callable[[Port], None]) -> None:
    """Have it look, soon, at the tasks of a loop that wait."""
    global _look_soon  # noqa: PLW0603
    _look_soon = function


def looks_at_guards(function: Callable[[Any], None]) -> None:
    """Have it told of a guard, or a mutex, that was just taken with the thread's colour."""
    global _taken_by_thread  # noqa: PLW0603
    _taken_by_thread = function


# --- without a GIL: what a thread that waits tells of itself, by its ident. Both fronts take it out when the wait is over.

standing: dict[int, tuple[list[Any], list[Any]]] = {}  # its calls, and variables of workers: csrc/python/telling.h
standing_loops: dict[int, tuple[Any, ...]] = {}  # the event loops that it keeps from running
telling: dict[int, bool] = {}  # who is about to say so, and is in no queue meanwhile
workers: list[Any] = []  # by turns, the code of a function that does something for others, and names of its variables
_stand: Callable[[], tuple[Any, ...]] | None = None


def has_gil() -> bool:
    """Whether no other thread moves while this one looks."""
    return bool(getattr(sys, "_is_gil_enabled", lambda: True)())


def tells_of_loops(function: Callable[[], tuple[Any, ...]]) -> None:
    """Have a thread of an event loop that waits for a lock without a limit, and has for a moment, say what its tasks do."""
    global _stand  # noqa: PLW0603
    _stand = function


def stand() -> None:
    """The loop on this thread cannot run: it waits for a lock, has stepped aside in its queue, and will wait on."""
    ident = threading.get_ident()
    telling[ident] = True
    try:
        if _stand is not None and not has_gil():
            standing_loops[ident] = _stand()
    except Exception:
        logging.getLogger("aiolots").exception("aiolots.deadlock: this thread could not say what its tasks do; it waits on")
    finally:
        telling.pop(ident, None)


def may_hold(lock: LockBase[Any]) -> bool:
    """Whether this thread may hold it, for all that is known cheaply."""
    if lock.word >= ONE_READER:
        return True
    here = lib.lots_thread_token()
    return any(holder.thread == here for holder in lock._holder_list())


def refuse(lock: LockBase[Any], mode: int) -> None:
    """Raise DeadlockError if this thread could wait for ever. Before it is queued."""
    _ask(_refuse, lock, mode)


def refuse_joined(lock: LockBase[Any], mode: int) -> None:
    """Raise DeadlockError if the thread that joins this one keeps it out for ever. While it is in no queue."""
    _ask(_refuse_joined, lock, mode)


def _ask(look: Callable[[LockBase[Any], int], None] | None, lock: LockBase[Any], mode: int) -> None:
    """A look that fails must not make an acquire fail: then it waits, as if nobody had looked."""
    try:
        if look is not None:
            look(lock, mode)
    except DeadlockError:
        _troubles.refused(lock)
        raise
    except Exception:
        logging.getLogger("aiolots").exception("aiolots.deadlock: this look at a thread that is to wait failed; it waits")


def look_soon(port: Port) -> None:
    """A task of this loop is about to wait without a limit."""
    if _look_soon is not None:
        _look_soon(port)


def taken_by_thread(held: Any) -> None:
    """A request, or a mutex without one, was acquired with the thread's colour. A look that fails leaves it held."""
    try:
        if _taken_by_thread is not None:
            _taken_by_thread(held)
    except Exception:
        logging.getLogger("aiolots").exception("aiolots: this look at a guard that was taken failed; it is held")
