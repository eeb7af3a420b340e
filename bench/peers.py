"""The other libraries: which are here, in which version, and how each is used when it matters how fast.

Each is used the way its documentation gives as the fast one: anyio's Lock with fast_acquire, aiorwlock's RWLock with fast
(neither then yields to the loop on an uncontended acquire), readerwriterlock's and fasteners' plain locks; readerwriterlock's
marker objects are made once for each thread, outside of the loop.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

# What is imported of each: all that is used, so that it is known at the start what is here. uvloop is a loop, no lock.
MODULES = {
    "aiologic": ("aiologic",),
    "aiorwlock": ("aiorwlock",),
    "anyio": ("anyio",),
    "fasteners": ("fasteners",),
    "readerwriterlock": ("readerwriterlock.rwlock",),
    "uvloop": ("uvloop",),
    "ft_utils": ("ft_utils.synchronization",),
    "cereggii": ("cereggii", "cereggii.locks"),
}


def gil_is_on() -> bool:
    """Whether one thread at a time runs Python."""
    return bool(sys._is_gil_enabled()) if hasattr(sys, "_is_gil_enabled") else True


class Peer(NamedTuple):
    """A lock of another library: what to write to take it, and the names that the statement uses."""

    name: str
    statement: str
    names: dict[str, Any]
    fresh: Callable[[], dict[str, Any]] | None = None  # the names for one more thread, where they cannot be shared

    def names_for_a_thread(self) -> dict[str, Any]:
        """Return the names, for one thread of several."""
        return self.fresh() if self.fresh else self.names


@dataclass(slots=True)
class Peers:
    """The libraries that are here."""

    versions: dict[str, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)  # why the others are not here

    @classmethod
    def found(cls) -> Peers:
        """Import what there is, and say what there is not, or what an import has done to all the others."""
        peers = cls()
        for name, modules in MODULES.items():
            before = gil_is_on()
            try:
                for module in modules:
                    importlib.import_module(module)
            except ModuleNotFoundError as error:
                why = "is not installed" if error.name == name else f"is not whole: no {error.name}"
                peers.skipped.append(f"{name} {why}")
                continue
            except Exception as error:  # noqa: BLE001  whatever an extension for another Python raises
                peers.skipped.append(f"{name} does not import here: {type(error).__name__}: {error}")
                continue
            if gil_is_on() and not before:
                peers.skipped.append(f"the GIL off: importing {name} has turned it on (PYTHON_GIL=0 keeps it off)")
            try:
                peers.versions[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                peers.versions[name] = "?"
        return peers

    def get(self, name: str) -> Any:
        """Return the module, or None."""
        return importlib.import_module(name) if name in self.versions else None

    def thread_mutexes(self) -> list[Peer]:
        """Mutexes for threads, the stdlib's first."""
        found = [Peer("threading.Lock", "with lock: pass", {"lock": threading.Lock()})]
        if aiologic := self.get("aiologic"):
            found.append(Peer("aiologic.Lock", "with lock: pass", {"lock": aiologic.Lock()}))
        return found

    def thread_rwlocks(self) -> list[tuple[str, Peer, Peer]]:
        """Read-write locks for threads: name, reading, writing."""
        found = []
        if self.get("readerwriterlock"):
            rwlock: Any = importlib.import_module("readerwriterlock.rwlock")
            name, lock = "readerwriterlock.RWLockWrite", rwlock.RWLockWrite()

            def markers(lock: Any = lock) -> dict[str, Any]:
                return {"reading": lock.gen_rlock(), "writing": lock.gen_wlock()}

            found.append(pair_of(name, markers(), "with reading: pass", "with writing: pass", markers))
        if fasteners := self.get("fasteners"):
            name, names = "fasteners.ReaderWriterLock", {"lock": fasteners.ReaderWriterLock()}
            found.append(pair_of(name, names, "with lock.read_lock(): pass", "with lock.write_lock(): pass"))
        if self.get("ft_utils"):
            synchronization: Any = importlib.import_module("ft_utils.synchronization")
            name, lock = "ft_utils.RWLock", synchronization.RWLock()
            names = {"lock": lock, "Reading": synchronization.RWReadContext, "Writing": synchronization.RWWriteContext}
            found.append(pair_of(name, names, "with Reading(lock): pass", "with Writing(lock): pass"))
        if self.get("cereggii"):
            locks: Any = importlib.import_module("cereggii.locks")
            name, names = "cereggii.ReadersWriterLock", {"lock": locks.ReadersWriterLock()}
            found.append(pair_of(name, names, "with lock.reader(): pass", "with lock.writer(): pass"))
        return found

    def task_mutexes(self) -> list[Peer]:
        """Mutexes for tasks, the stdlib's first."""
        found = [Peer("asyncio.Lock", "async with lock: pass", {"lock": asyncio.Lock()})]
        if anyio := self.get("anyio"):
            found.append(Peer("anyio.Lock", "async with lock: pass", {"lock": anyio.Lock(fast_acquire=True)}))
        if aiologic := self.get("aiologic"):
            found.append(Peer("aiologic.Lock", "async with lock: pass", {"lock": aiologic.Lock()}))
        return found

    def task_rwlocks(self) -> list[tuple[str, Peer, Peer]]:
        """Read-write locks for tasks: name, reading, writing."""
        if aiorwlock := self.get("aiorwlock"):
            names = {"lock": aiorwlock.RWLock(fast=True)}
            return [pair_of("aiorwlock.RWLock", names, "async with lock.reader: pass", "async with lock.writer: pass")]
        return []


def pair_of(
    name: str, names: dict[str, Any], read: str, write: str, fresh: Callable[[], dict[str, Any]] | None = None
) -> tuple[str, Peer, Peer]:
    """A read-write lock as two peers."""
    return name, Peer(name, read, names, fresh), Peer(name, write, names, fresh)
