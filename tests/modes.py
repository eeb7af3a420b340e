"""Every way to take a lock, as a row of a table: the contract suite runs over the rows."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, NamedTuple

from aiolots import FairMutex, Mutex, RwLock

READER = 16
WRITER = 8
UPGRADABLE = 4


class DropIn:
    """A Mutex as threading.Lock and asyncio.Lock are used, made to look like a request and its guard."""

    def __init__(self, mutex: Mutex[Any]) -> None:
        self._mutex = mutex

    def acquire(self) -> DropIn:
        assert self._mutex.acquire()
        return self

    def __await__(self) -> Generator[Any, None, DropIn]:
        yield from self._mutex.__aenter__().__await__()
        return self

    def release(self) -> None:
        self._mutex.release()


class Mode(NamedTuple):
    """One way to take a lock."""

    name: str
    make: Callable[..., Any]  # a new lock
    request: Callable[..., Any]  # of that lock
    hinder: Callable[[Any], Any]  # take the lock such that a request has to wait
    adds: int  # what holding it adds to the word

    @property
    def exclusive(self) -> bool:
        """Whether one holder keeps others of this mode out."""
        return self.adds != READER

    def try_(self, lock: Any, suffix: str = "") -> Callable[..., Any]:
        """Return try_<mode><suffix> of the lock."""
        method: Callable[..., Any] = getattr(lock, f"try_{self.name}{suffix}")
        return method


READ = Mode("read", RwLock, RwLock.read, RwLock.try_write, READER)
READ_RECURSIVE = Mode("read_recursive", RwLock, RwLock.read_recursive, RwLock.try_write, READER)
WRITE = Mode("write", RwLock, RwLock.write, RwLock.try_write, WRITER)
WRITE_AFTER_READER = WRITE._replace(hinder=RwLock.try_read)  # it waits in its second phase
UPGRADABLE_READ = Mode("upgradable_read", RwLock, RwLock.upgradable_read, RwLock.try_write, READER | UPGRADABLE)
UPGRADABLE_AFTER_ANOTHER = UPGRADABLE_READ._replace(hinder=RwLock.try_upgradable_read)
LOCK = Mode("lock", Mutex, Mutex.lock, Mutex.try_lock, WRITER)
FAIR_LOCK = Mode("lock", FairMutex, FairMutex.lock, FairMutex.try_lock, WRITER)
DROP_IN = Mode("drop_in", Mutex, DropIn, Mutex.try_lock, WRITER)

GUARDED = (READ, READ_RECURSIVE, UPGRADABLE_READ, WRITE, LOCK, FAIR_LOCK)  # those with a guard
EXCLUSIVE = (WRITE, LOCK, FAIR_LOCK, DROP_IN)
ALL = (*GUARDED, DROP_IN)
WAITS = (
    READ,
    READ_RECURSIVE,
    UPGRADABLE_READ,
    UPGRADABLE_AFTER_ANOTHER,
    WRITE,
    WRITE_AFTER_READER,
    LOCK,
    FAIR_LOCK,
    DROP_IN,
)  # every way to wait


def name_of(mode: Mode) -> str:
    """Name a row, for pytest."""
    special = {
        FAIR_LOCK: "fair_lock",
        WRITE_AFTER_READER: "write_after_reader",
        UPGRADABLE_AFTER_ANOTHER: "upgradable_after_another",
    }
    return special.get(mode, mode.name)
