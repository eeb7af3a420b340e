"""Who holds what, for the front in Python: what csrc/python/tracking.c is for the other one, with the same functions.

A lock of this front knows its holders; tracked, a holder has a Note besides. Who has released is not told: a note of an owner
is believed as long as the lock has it among its holders.
"""

from __future__ import annotations

import _thread
import itertools
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from aiolots import _lock_order, _loops, _owner, _pure_usage
from aiolots._contention import label_of
from aiolots._lib import FAIR_MUTEX, MUTEX, READ, READ_RECURSIVE, UPGRADABLE, UPGRADE, WRITE, lib
from aiolots._waiters import Holder

_T = TypeVar("_T")

HOMES = (__file__.removesuffix("_pure_tracking.py") + "_", __file__.removesuffix("_pure_tracking.py") + "compat")
_MOST_HELD = 64
_MOST_NEWS = 100_000

on = False  # anything is tracked: all that an acquire looks at
_everywhere = False
_ids = itertools.count(1)
_news: deque[tuple[Any, ...]] = deque()
_asked = False
_classes: dict[str, Node] = {}
_held: weakref.WeakKeyDictionary[Any, list[Note]] = weakref.WeakKeyDictionary()  # by the task, or what stands for the thread
_every_note: weakref.WeakSet[Note] = weakref.WeakSet()

_every_node: weakref.WeakSet[Node] = weakref.WeakSet()

_HOLD = {
    READ: _lock_order.SHARED,
    READ_RECURSIVE: _lock_order.SHARED,
    UPGRADABLE: _lock_order.UPGRADABLE,
    WRITE: _lock_order.ALONE,
    UPGRADE: _lock_order.ALONE,
    MUTEX: _lock_order.ALONE,
    FAIR_MUTEX: _lock_order.ALONE,
}
_WANT = {
    READ: _lock_order.READ,
    READ_RECURSIVE: _lock_order.RECURSIVE,
    UPGRADABLE: _lock_order.WANTS_UPGRADABLE,
    WRITE: _lock_order.WANTS_ALONE,
    UPGRADE: _lock_order.WANTS_ALONE,
    MUTEX: _lock_order.WANTS_ALONE,
    FAIR_MUTEX: _lock_order.WANTS_ALONE,
}


class Node:
    """What the order is about: a lock, or a class of locks; and after which others it was taken."""

    __slots__ = ("__weakref__", "exported", "is_class", "kind", "known", "name", "number", "written")

    def __init__(self, kind: str, name: Any, *, is_class: bool) -> None:
        self.number = next(_ids)
        self.kind, self.name, self.is_class = kind, name, is_class
        self.known: weakref.WeakKeyDictionary[Node, set[tuple[int, int, bool]]] = weakref.WeakKeyDictionary()
        self.written = self.exported = False
        _every_node.add(self)

    def end(self, site: Any) -> tuple[Any, ...]:
        """As an end of an order."""
        return (self.number, self.is_class, self.kind, self.name, site)

    def __del__(self, tell: Callable[[tuple[Any, ...]], None] = _news.append) -> None:  # the module may be gone before
        if getattr(self, "exported", False):  # a signal handler may have raised while it was made
            tell(("dead", self.number))


class Tracked:
    """A lock's node, whether it is tracked by itself, and what is counted of it."""

    __slots__ = ("node", "uses", "wanted")

    def __init__(self, node: Node, label: str, *, wanted: bool) -> None:
        self.node, self.wanted = node, wanted
        self.uses = _pure_usage.Uses(label)


class Note:
    """One hold: by whom, since when, where."""

    __slots__ = (
        "__weakref__",
        "as_task",
        "away",
        "counted_as",
        "ident",
        "is_task",
        "key",
        "lock",
        "of_parent",
        "since",
        "site",
        "timed",
        "who",
    )

    def __init__(self, lock: Any, key: int, task: Any, site: Any) -> None:
        self.lock, self.key, self.site = weakref.ref(lock), key, site
        self.ident = threading.get_ident()
        self.is_task = task is not None
        active = cast("dict[int, threading.Thread]", threading._active)  # type: ignore[attr-defined]
        who: Any = active.get(self.ident) if task is None else task
        try:
            self.who: Any = None if who is None else weakref.ref(who)
        except TypeError:
            self.who = None
        self.since = time.monotonic_ns()
        self.away = self.of_parent = self.as_task = False
        self.counted_as = self.timed = 0

    def begins(self, lock: Any, mode: int, is_task: bool) -> None:
        """A hold begins; or goes on in another mode."""
        self.counted_as, self.as_task = mode, is_task
        self.timed = _tracked(lock).uses.begins(mode, is_task)

    def ends(self, lock: Any) -> None:
        """It has ended; before anybody else has the lock."""
        timed, self.timed = self.timed, 0
        if timed:
            _tracked(lock).uses.ends(self.counted_as, self.as_task, timed)

    def holds(self) -> NotedHolder | None:
        """As what its lock knows it, if it does."""
        lock = self.lock()
        holder = None if lock is None else lock._holders.get(self.key)
        return holder if type(holder) is NotedHolder and holder.note is self else None


@dataclass(frozen=True)
class NotedHolder(Holder):
    """A holder with its note."""

    note: Note

    def in_mode(self, mode: int) -> NotedHolder:
        """The same, after a change of the mode."""
        return NotedHolder(mode, self.thread, self.is_task, self.note, site=self.site)


def _tracked(lock: Any) -> Tracked:
    if lock._tracked is None:
        lock._tracked = Tracked(Node(type(lock).__name__, lock.name, is_class=False), label_of(lock), wanted=False)
    return lock._tracked  # type: ignore[no-any-return]


def place_now() -> tuple[Any, int]:
    """Where the user's code is: the innermost frame that is not ours."""
    frame: Any = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(HOMES):
        frame = frame.f_back
    return frame.f_code, frame.f_lasti


def held(lock: Any, key: int, waits: bool) -> None:
    """Somebody has it: note who. `lock._holders[key]` is there; `waits`: it would have waited for ever."""
    if not (_everywhere or (lock._tracked is not None and lock._tracked.wanted)):
        return
    holder = lock._holders.get(key)
    if holder is None:
        return
    task = _loops.current_task()
    _tracked(lock)
    note = Note(lock, key, task, place_now())
    lock._holders[key] = NotedHolder(holder.mode, holder.thread, holder.is_task, note, site=holder.site)
    _every_note.add(note)
    note.begins(lock, holder.mode, holder.is_task)
    try:
        others = _held.setdefault(_owner.this_thread() if task is None else task, [])
    except TypeError:  # a task of a loop that makes its own kind
        return
    if others:
        others[:] = [other for other in others if other.holds() is not None or other.away]
    if waits:
        _look(lock, note, holder.mode, others)
    others.append(note)


def _look(lock: Any, note: Note, mode: int, others: list[Note], but: Note | None = None) -> None:
    to = _tracked(lock).node
    if mode in (WRITE, UPGRADE) and not to.written:
        to.written = True
        if to.exported:
            _tell(("written", to.number))
    for other in others[-_MOST_HELD:]:
        holder, around = other.holds(), other.lock()
        if holder is None or around is None or other is but:
            continue
        kind, held_node = (_HOLD[holder.mode], _WANT[mode], around is lock), _tracked(around).node
        known = to.known.setdefault(held_node, set())
        if kind in known or len(_news) > _MOST_NEWS:
            continue
        known.add(kind)
        held_node.exported = to.exported = True
        ends = (held_node.end(other.site), to.end(note.site), (held_node.written, to.written))
        who = None if note.who is None else note.who()  # itself, so that it has a name still when it is worked on
        _tell(("order", *kind, *ends, who, note.is_task, note.ident))


def _tell(what: tuple[Any, ...]) -> None:
    global _asked  # noqa: PLW0603
    _news.append(what)
    if not _asked:
        _asked = True
        try:
            _thread.start_new_thread(_lock_order.work, ())
        except RuntimeError:  # no thread is to be had, or the end is near
            _asked = False


def away(lock: Any, key: int) -> None:
    """Its guard lets go of the lock for a while."""
    holder = lock._holders.get(key)
    if type(holder) is NotedHolder:
        holder.note.away = True
        holder.note.ends(lock)


def is_back(lock: Any, key: int) -> None:
    """Its guard has the lock again."""
    holder = lock._holders.get(key)
    if type(holder) is NotedHolder and holder.note.away:
        note = holder.note
        note.away, note.since = False, time.monotonic_ns()
        note.begins(lock, holder.mode, holder.is_task)
        if not on:
            return
        task = _loops.current_task()
        _look(lock, note, holder.mode, _held.get(_owner.this_thread() if task is None else task, []), note)


def changes(lock: Any, holder: NotedHolder, mode: int) -> None:
    """Its guard has another mode now, or the same."""
    if mode != holder.mode and not holder.note.away:
        holder.note.ends(lock)
        holder.note.begins(lock, UPGRADE if holder.mode == UPGRADABLE and mode == WRITE else mode, holder.is_task)


def over(lock: Any, key: int) -> None:
    """Nobody holds the lock by that any more: it is released next."""
    holder = lock._holders.pop(key, None)
    if type(holder) is NotedHolder:
        holder.note.ends(lock)


def upgraded(lock: Any, key: int) -> None:
    """It waited for ever for the readers to leave, and may have held other locks meanwhile."""
    holder = lock._holders.get(key)
    if type(holder) is NotedHolder:
        task = _loops.current_task()
        here = Note(lock, key, task, place_now())
        _look(lock, here, UPGRADE, _held.get(_owner.this_thread() if task is None else task, []), holder.note)


# --- the functions that both fronts have ----------------------------------------------------------------------------------


def _alive(things: weakref.WeakSet[_T]) -> list[_T]:
    """Return what is in there. Iterated, it would break when another thread adds to it; a copy is one step."""
    references = cast("Any", things).data.copy()
    return [thing for reference in references if (thing := reference()) is not None]


def track_records(lock: Any, most: int) -> tuple[list[tuple[Any, ...]], int]:
    """Return each hold of a lock, or (None) of all; at most so many. And how many there are."""
    if lock is None:
        notes = _alive(_every_note)
    else:
        notes = [holder.note for holder in list(lock._holders.values())[::-1] if type(holder) is NotedHolder]
    held_now = [(note, note.lock(), note.holds()) for note in notes]
    found = [(note, _tracked(lock).node, holder) for note, lock, holder in held_now if lock is not None and holder is not None]
    return [
        (
            node.number,
            node.kind,
            node.name,
            holder.mode,
            note.who,
            note.is_task,
            holder.thread,
            note.ident,
            note.since,
            note.site,
            note.of_parent,
        )
        for note, node, holder in found[:most]
    ], len(found)


track_usage, track_sample = _pure_usage.track_usage, _pure_usage.track_sample
_tracked_locks: weakref.WeakSet[Any] = weakref.WeakSet()


def _settle() -> None:
    global on  # noqa: PLW0603
    on = _everywhere or len(_tracked_locks) > 0


def track_configure(lock: Any, name: Any, tracked: bool, lock_class: str | None) -> None:
    """Once, when the lock is made."""
    if lock_class is None:
        node = Node(type(lock).__name__, name, is_class=False)
    elif type(lock_class) is not str:
        raise TypeError(f"a lock_class is a string, not {lock_class!r}")
    else:
        node = _classes.setdefault(lock_class, Node("class", lock_class, is_class=True))
    lock._tracked = Tracked(node, label_of(lock), wanted=tracked)
    if tracked:
        _tracked_locks.add(lock)
        _settle()


def track_options(lock: Any) -> tuple[bool, str | None]:
    """Return whether it is tracked by itself, and its class."""
    tracked = lock._tracked
    return (False, None) if tracked is None else (tracked.wanted, tracked.node.name if tracked.node.is_class else None)


def track_switch(wanted: bool) -> None:
    """Track every lock of the process, or only those that want it."""
    global _everywhere  # noqa: PLW0603
    _everywhere = bool(wanted)
    _settle()


def track_is_on() -> bool:
    """Whether every lock is tracked."""
    return _everywhere


def track_acquired(lock: Any, name: Any, mode: int, as_task: bool, waits: bool) -> None:
    """For locks that are not of this front's own making: they keep no holders otherwise."""
    if on:
        lock._holders[0] = Holder(mode, int(lib.lots_thread_token()), is_task=as_task)
        held(lock, 0, waits)


def track_released(lock: Any) -> None:
    """The same."""
    over(lock, 0)


def track_pending() -> list[tuple[Any, ...]]:
    """Take what is new in the lock order."""
    news: list[tuple[Any, ...]] = []
    while _news:
        try:
            news.append(_news.popleft())
        except IndexError:  # another one took it
            break
    return news


def track_rest(anyway: bool) -> bool:
    """The thread that was started goes. False: there is something to do."""
    global _asked  # noqa: PLW0603
    _asked = False  # first: what comes now starts another
    if anyway or not _news:
        return True
    _asked = True
    return False


def track_reset() -> None:
    """Forget the lock order."""
    for node in _alive(_every_node):
        node.known.clear()
        node.written = node.exported = False
    _news.clear()


def track_count() -> tuple[int, int, int]:
    """Return how many there are: (locks that are tracked by themselves, owners, records)."""
    return len(_tracked_locks), len(_held), sum(note.holds() is not None for note in _alive(_every_note))


def track_forked() -> None:
    """In a forked child: what others held stays held, by somebody who is not here."""
    here = int(lib.lots_thread_token())
    for note in _alive(_every_note):
        holder = note.holds()
        if holder is not None and holder.thread != here:
            note.of_parent = True
        note.timed = 0
    _pure_usage.forked()
    track_rest(True)
