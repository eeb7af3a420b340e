"""Which threads are alive, by the numbers that the core knows them by; and how those were called that have ended.

The core's table (csrc/threads.c) is exact: a number is a thread's for good, and leaves the table with it. So a holder whose
number is not there has ended, if the table is complete; it is not while more threads are alive than it has room for.
"""

from __future__ import annotations

import threading
from typing import NamedTuple, cast

from aiolots._lib import COOKIES, FLAG, ffi, lib

_ROOM = 1024  # the core's table has no more
_MOST_NAMES = 1000


class Living(NamedTuple):
    """The threads that have a number and are alive: their idents, by number. Not complete: there may be more."""

    idents: dict[int, int]
    complete: bool


def living() -> Living:
    """Return who is alive now. Takes no lock, never waits."""
    tokens, idents, complete = ffi.new(COOKIES, _ROOM), ffi.new(COOKIES, _ROOM), ffi.new(FLAG)
    count = min(int(lib.lots_threads(tokens, idents, _ROOM, complete)), _ROOM)
    return Living({int(tokens[i]): int(idents[i]) for i in range(count)}, bool(complete[0]))


def has_ended(token: int) -> bool:
    """Whether the thread of that number has ended, for certain. Asked after the number was read: nobody is alive too late."""
    now = living()
    return bool(token) and now.complete and token not in now.idents


def active() -> dict[int, threading.Thread]:
    """Return the threads that threading knows, by ident.

    Not threading.enumerate(), which takes a lock that the thread may hold that a signal handler interrupted.
    """
    return dict(cast("dict[int, threading.Thread]", threading._active))  # type: ignore[attr-defined]


_names: dict[int, str] = {}


def remember_names() -> None:
    """Note how the threads are called that are alive: once one has ended, nobody else can say. Those of old are forgotten."""
    known, now = active(), living()
    for token, ident in now.idents.items():
        thread = known.get(ident)
        if thread is not None:
            _names[token] = thread.name
    for token in [token for token in list(_names) if token not in now.idents][: max(0, len(_names) - _MOST_NAMES)]:
        _names.pop(token, None)


def remember_this_thread() -> None:
    """Note how the thread is called that is about to wait for a lock for the first time. Never waits."""
    token = int(lib.lots_thread_token())
    if token not in _names:
        thread = cast("dict[int, threading.Thread]", threading._active).get(threading.get_ident())  # type: ignore[attr-defined]
        if thread is not None:
            _names[token] = thread.name
        if len(_names) > 2 * _MOST_NAMES:
            remember_names()


def name_of_ended(token: int) -> str | None:
    """Return how a thread was called that has ended, if anybody noted it."""
    return _names.get(token)
