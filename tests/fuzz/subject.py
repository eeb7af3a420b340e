"""What is put on the stage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from aiolots import Mutex, RwLock, lowlevel
from tests.fuzz import model
from tests.modes import DropIn


class Kind(NamedTuple):
    """One kind of lock: how it is made, and the modes it is taken in."""

    make: Callable[..., Any]
    modes: tuple[str, ...]


class Subject(NamedTuple):
    """The locks under test, and who waits for one of them."""

    kinds: tuple[Kind, ...]
    waiters: Callable[[Any], list[Any]]


RWLOCK = Kind(RwLock, (model.READ, model.READ_RECURSIVE, model.WRITE))
MUTEX = Kind(Mutex, (model.LOCK, model.DROP_IN))
AIOLOTS = Subject((RWLOCK, MUTEX), lowlevel.waiters)


def request_of(lock: Any, mode: str) -> Any:
    """Ask without a timeout."""
    return DropIn(lock) if mode == model.DROP_IN else getattr(lock, mode)()


def timed_request_of(lock: Any, mode: str, form: str, seconds: float) -> Any:
    """Ask with a timeout, in one of two forms: "timeout" raises, "for" gives None."""
    return getattr(lock, mode)(timeout=seconds) if form == "timeout" else getattr(lock, f"try_{mode}_for")(seconds)
