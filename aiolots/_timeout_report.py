"""What a LockTimeout says: who holds the lock, since when and where, what they do now, and who else waits.

It is made where time has run out, perhaps of thousands at once: so it looks at a few of those who are queued, never at all
tasks or all objects, and takes no lock. Whatever cannot be found out is left out; nothing is raised but the LockTimeout.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, NoReturn, cast

from aiolots import _asyncio_graph, _events, _owners, _refusals, _track
from aiolots._errors import LockTimeout, QueuedInfo
from aiolots._front import NATIVE
from aiolots._lib import INFOS, QUEUED, ffi, lib
from aiolots._waiters import MODE_NAMES, Holder, _info, _word_of
from aiolots._word import PARKED, decode

if TYPE_CHECKING:
    from aiolots._front import LockBase
    from aiolots._track import HolderInfo

_MOST_HOLDERS = 8
_MOST_QUEUED = 16
_MOST_CALLS = 12  # of a holder's stack, in the message
_READERS_EVERY = 1.0  # seconds: who holds a share untracked is looked for among all objects
_HINT = "AIOLOTS_TRACK=1, aiolots.tracking.enable(), or track=True for this lock, says where it was taken, and what they do now"

_readers_looked_for = float("-inf")


def timed_out(lock: LockBase[Any], mode: int, waited: float) -> NoReturn:
    """The raising form ran out of time."""
    word = lock.word
    lines: list[str] = []
    holders: tuple[HolderInfo, ...] = ()
    queued: tuple[QueuedInfo, ...] = ()
    count = more_holders = 0
    cause: Exception | None = None
    state = str(decode(word & ~PARKED))
    try:
        found, all_holders = _track.infos(lock, _MOST_HOLDERS)
        holders, more_holders = tuple(found), all_holders - len(found)
        queued, count = _queued(lock)
        lines = _lines(lock, word, state, holders, more_holders, queued, count)
    except Exception as error:  # noqa: BLE001  # it may be a signal handler's, so it is not lost
        cause = error
        lines = [f"    what more there is to say cannot be found out: {error!r}"]
    timeout = LockTimeout(
        "\n".join([f"{_name(lock, state, count)}: no {MODE_NAMES[mode]} within {waited:.3g} s (word {word:#x})", *lines]),
        lock_name=lock.name,
        mode=MODE_NAMES[mode],
        waited=waited,
        word=word,
        decoded=str(decode(word)),
        holders=holders,
        more_holders=more_holders,
        queued=queued,
        more_queued=max(0, count - len(queued)),
    )
    if cause is not None:
        raise timeout from cause
    raise timeout


def _name(lock: LockBase[Any], state: str, waiting: int) -> str:
    if waiting <= _MOST_QUEUED:
        return repr(lock)
    name = "" if lock.name is None else f" {lock.name!r}"  # its repr looks at all who wait
    return f"<aiolots.{type(lock).__name__}{name} {state} waiters={waiting}>"


def _lines(
    lock: LockBase[Any],
    word: int,
    state: str,
    holders: tuple[HolderInfo, ...],
    more_holders: int,
    queued: tuple[QueuedInfo, ...],
    count: int,
) -> list[str]:
    lines: list[str] = []
    for holder in holders:
        lines.append(f"    {holder}")
        lines += [f"        {'now at' if i == 0 else '  from'} {call}" for i, call in enumerate(holder.stack[:_MOST_CALLS])]
        if len(holder.stack) > _MOST_CALLS:
            lines.append(f"        and {len(holder.stack) - _MOST_CALLS} calls more")
    if more_holders > 0:
        lines.append(f"    and {more_holders} more hold it")
    known = len(holders) + more_holders
    held = 1 if decode(word).write_locked else decode(word).readers
    if known < held:
        lines += _untracked(lock, held - known, bool(known))
    if queued:
        more = f" and {count - len(queued)} more" if count > len(queued) else ""
        lines.append(f"    waiting, who came first at the beginning: {', '.join(str(one) for one in queued)}{more}")
    elif not held:
        lines.append(f"    nobody holds it now ({state}): it was released just when the time ran out")
    return lines


def _untracked(lock: LockBase[Any], count: int, some_are_known: bool) -> list[str]:
    """What is known of holds that nobody tracked."""
    lines: list[str] = []
    known = [] if some_are_known else _noted_holders(lock)
    threads = _owners.Threads() if known else None
    for holder in known[:_MOST_HOLDERS]:
        ident = None if threads is None else threads.ident_of(holder.thread)
        who = "a thread whose name is not known" if threads is None or ident is None else f"thread {threads.name(ident)!r}"
        a_task = f"a task of the loop on {who}" if holder.is_task else who
        lines.append(f"    {a_task} holds it ({MODE_NAMES[holder.mode]}), acquired where nobody noted it")
    if not known:
        lines.append(f"    {count}{' more' if some_are_known else ''} hold{'s' if count == 1 else ''} it whom nobody noted")
    elif len(known) > _MOST_HOLDERS:
        lines.append(f"    and {len(known) - _MOST_HOLDERS} more hold it")
    return [*lines, f"    ({_HINT})"]


def _noted_holders(lock: LockBase[Any]) -> list[Holder]:
    global _readers_looked_for  # noqa: PLW0603
    if NATIVE and not decode(lock.word).write_locked:
        now = time.monotonic()
        if now - _readers_looked_for < _READERS_EVERY:
            return []
        _readers_looked_for = now
    return lock._holder_list()


# --- who waits ------------------------------------------------------------------------------------------------------------


def _queued(lock: LockBase[Any]) -> tuple[tuple[QueuedInfo, ...], int]:
    out = ffi.new(INFOS, _MOST_QUEUED)
    count = int(lib.lots_for_each(_word_of(lock), out, _MOST_QUEUED))
    infos = [_info(out[i]) for i in range(min(count, _MOST_QUEUED))]
    infos = sorted((info for info in infos if info.state == QUEUED), key=lambda info: info.ticket)
    active = cast("dict[int, threading.Thread]", threading._active)  # type: ignore[attr-defined]
    found: list[QueuedInfo] = []
    for info in infos:
        if info.is_task:
            name = _asyncio_graph.name_of_who_waits(info.cookie)
        else:
            thread = active.get(info.owner)
            name = f"ident {info.owner}" if thread is None else thread.name
        found.append(QueuedInfo("task" if info.is_task else "thread", name, MODE_NAMES[info.mode]))
    return tuple(found), max(count, len(found))


def _holders(lock: LockBase[Any]) -> tuple[str, ...]:
    """What an event says of them."""
    try:
        found, count = _track.infos(lock, _MOST_HOLDERS)
        more = [f"{count - len(found)} more"] if count > len(found) else []
        return (*(f"{one}{f', now at {one.stack[0]}' if one.stack else ''}" for one in found), *more)
    except Exception as error:  # noqa: BLE001  # the wait has ended, and is told of whatever else there is to say
        return (f"who holds it cannot be found out: {error!r}",)


_refusals.use_report(timed_out)
_events.use_holders(_holders)
