"""The locks that are alive, for diagnosis that has to look at all of them.

A lock of the front in Python is noted when it is made. One of the native front only from the first call of `locks()` on,
which finds those that were there before by a walk through what the collector knows: so making locks costs nothing until
somebody asks. What gc.freeze() has put away before that is not found.
"""

from __future__ import annotations

import sys
import weakref
from typing import Any

# By the address of the word. Finalizers may make locks, and threads do, while this is looked at: see locks().
_known: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
_noted_from_now_on = False


def note_lock(lock: Any) -> None:
    """A lock was made. Called by the fronts."""
    _known[lock.address] = lock


def _native() -> Any:
    """Return aiolots._native, if it is the front in use: it imports this module, not the other way round."""
    return sys.modules.get("aiolots._native")


def locks() -> list[Any]:
    """Return every lock that is alive, of whatever kind. Never waits, and takes no lock.

    The first time it walks through all objects; then it costs some hundred nanoseconds for each lock.
    """
    global _noted_from_now_on  # noqa: PLW0603
    native = _native()
    if native is not None and not _noted_from_now_on:
        native.note_locks()
        for found, _, _ in native.living():
            if not hasattr(found, "_site"):
                note_lock(found)
        _noted_from_now_on = True
    # valuerefs copies them in one step: no lock that is made or dies meanwhile changes what is iterated over.
    return [lock for ref in _known.valuerefs() if (lock := ref()) is not None]


def held_guards() -> list[tuple[Any, int, bool]]:
    """Return (guard, token of the thread that acquired it, by a task) of each guard of the native front that holds a lock.

    A walk through all objects: some milliseconds.
    """
    native = _native()
    return [] if native is None else [found for found in native.living() if hasattr(found[0], "_site")]
