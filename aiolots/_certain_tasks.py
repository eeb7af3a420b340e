"""The same for tasks: a task that waits for what itself, or a task that awaits it, will not release gets DeadlockError.

A task that runs shows nobody what it holds; one that is suspended does. So its wait is looked at once, from its own event
loop, when it is a hundredth of a second old. A shorter one costs nothing but a flag, and all waits of a loop share one timer.
What is suspended is known exactly: no names are looked up as for a thread. The verdict is the wait graph's, with all that is no
deadlock for it (a timeout around the wait, an await that may end otherwise, a writer with a limit), and one more is asked: that
nobody but these tasks refers to the guards. Then the future that the task waits for gets the error, and the wait ends as
by any exception that is thrown in: withdrawn from the queue by the one cancel.
"""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

from aiolots import _asyncio_graph as tasks_of
from aiolots import _certain, _loops, _owners, _statements, _telling, _troubles, _wait_graph
from aiolots._certain import text
from aiolots._errors import DeadlockError
from aiolots._holds import Hold, InHand
from aiolots._lib import NULL, QUEUED, lib
from aiolots._waiters import _Info, _infos, contended

if TYPE_CHECKING:
    from aiolots._front import LockBase
    from aiolots._loops import Port

_AGE = 0.005  # seconds; a wait is between one and two of them old when it is looked at
_MOST_AT_ONCE = 200  # of a loop's waits
_MOST = 2000  # waiters in the process: beyond that a look takes too long

_log = logging.getLogger("aiolots")


def refuse(lock: LockBase[Any], mode: int) -> None:
    """Raise DeadlockError if this thread is about to wait without a limit for what only it can release, or a task of the loop
    that runs on it: none of them can run while it sleeps."""
    _certain.refuse(lock, mode)
    here = lib.lots_thread_token()
    for task in tasks_of.tasks_here():
        for hold in InHand([task], lambda _: 0).of(lock):
            if hold.identity[0] == "guard" and not _is_theirs(hold.identity[1], [task]):
                continue
            holding = _statements.Holding(hold.mode, hold.place or _open_withs(task))
            if _certain.is_certain(holding, lock, mode, lambda token: token == here):
                who = f"task {tasks_of.name_of(task)!r}, of the event loop that this thread would block,"
                asked_at = _owners.waits_at(_certain.calls())
                raise DeadlockError(text(lock, mode, who, hold.mode, holding.place, asked_at, _certain.ADVICE_LOOP))


def _open_withs(task: Any) -> str:
    """What took a mutex without a guard is not known, but for the `with` statements that a task is in."""
    return " or ".join(_owners.open_withs(tasks_of.frames(task))) or "a place that is not known"


def look_soon(port: Port) -> None:
    """A task of this loop is about to wait, and no look is to come: have one."""
    port.looks = True  # of trio's for good: there is none
    port.call_later(_AGE, functools.partial(_look, port, frozenset()))


def _look(port: Port, young: Iterable[int]) -> None:
    waiting = port.waiting
    old = sorted(cookie for cookie in young if cookie in waiting)[:_MOST_AT_ONCE]
    port.looked.intersection_update(waiting)
    port.looked.update(old)
    if old and lib.lots_for_each(NULL, NULL, 0) <= _MOST:
        try:
            _look_at(port, set(old))
        except Exception:  # noqa: BLE001
            _log.exception("aiolots.deadlock: this look at tasks that wait failed; they wait on")
    # A copy: what finalizers of waits take away meanwhile must not end this look, after which none would come.
    left = frozenset(cookie for cookie in list(waiting) if not cookie & 1 and cookie not in port.looked)
    if left and not port.closed:
        port.call_later(_AGE, functools.partial(_look, port, left))
    else:
        port.looks = False


def _look_at(port: Port, cookies: set[int]) -> None:
    for info in _infos(NULL):
        if not info.is_task or info.cookie not in cookies or info.expects:
            continue
        if info.state != QUEUED:  # woken, and may queue again: then it is to be looked at
            port.looked.discard(info.cookie)
        else:
            future, lock = port.waiting.get(info.cookie), contended.get(info.word)
            if lock is None or future is None or future.done():
                continue
            task = tasks_of.waiter_of(future)
            if task is None or id(task) != info.owner:
                continue
            verdict = _judge(info, lock, task)
            if verdict == "again":
                port.looked.discard(info.cookie)
            elif verdict is not None and not future.done():
                _throw(future, verdict)


def _throw(future: Any, error: DeadlockError) -> None:
    future.set_exception(error)
    future.exception()  # seen: a task that is cancelled just now does not take it


def _judge(info: _Info, lock: Any, task: Any) -> DeadlockError | Literal["again"] | None:
    """Return what to end a wait with, or None; "again" if it is to be looked at once more, for something was moving."""
    tasks = [task, *tasks_of.awaiting(task)]
    last = _wait_graph.last_look()
    holds = InHand(tasks, lambda other: info.word if other is task else 0).of(lock)
    certain = {hold.identity for hold in holds if hold.identity[0] != "guard" or _is_theirs(hold.identity[1], tasks)}
    if not certain:
        # What somebody else looks at just now, another loop or a watcher, he has in hand for that moment.
        return "again" if holds and (last is None or last is not _wait_graph.last_look()) else None
    node = ("task", id(task))
    with _wait_graph.look() as first:
        moves = node not in first.needs  # it was woken just now
        alone = _wait_graph.for_itself(node, first)  # two readers that ask to write are in a cycle of two besides
        for cycle in (*([alone] if alone else ()), *_wait_graph.cycles(first)):
            if not any(step.node == node for step in cycle):
                continue
            if not all(step.need.wait.kind in ("lock", "await") for step in cycle):
                continue
            held = [step.need.hold for step in cycle if step.need.hold is not None]
            if held and all(hold.identity in certain for hold in held):
                if _is_still_there(cycle):
                    _troubles.deadlock(cycle)
                    return DeadlockError(_words(info, lock, task, held[0], {id(other): other for other in tasks}))
                moves = True
    return "again" if moves else None


def _is_still_there(cycle: list[_wait_graph.Step]) -> bool:
    with _wait_graph.look() as later:
        return _wait_graph.is_confirmed(cycle, later)


def _words(info: _Info, lock: Any, task: Any, hold: Hold, tasks: dict[int, Any]) -> str:
    owner = hold.owners[0][1]
    who = f"task {tasks_of.name_of(tasks[owner])!r}"
    if owner != id(task):
        who += f", which awaits task {tasks_of.name_of(task)!r},"
    asked_at, to_do = _owners.waits_at(tasks_of.frames(task)), "" if owner == id(task) else _certain.ADVICE_END
    held_at = hold.place or _open_withs(tasks[owner])
    return text(lock, info.mode, who, hold.mode, held_at, asked_at, to_do)


def _is_theirs(guard: int, tasks: list[Any]) -> bool:
    """Whether nothing refers to a guard (its id) but what these tasks have in hand."""
    kept: list[Any] = []
    seen = 0
    for task in tasks:
        for thing, _ in tasks_of.in_hand(task):
            if id(thing) == guard:
                seen += 1
                kept = kept or [thing]
    thing = None
    return bool(kept) and sys.getrefcount(kept[0]) == seen + 2  # the list's own, and the argument's


# --- what a watcher found -----------------------------------------------------------------------------------------------


def end_one(tickets: frozenset[object], report: str) -> bool:
    """End one wait of a deadlock, that of a task of it, by DeadlockError; `tickets` identify its waits. From any thread.

    False: no task of an asyncio loop is among them. Looked at once more on the task's own thread: if the deadlock has gone
    meanwhile, nothing happens.
    """
    for info in _infos(NULL):
        if info.is_task and _wait_graph.ticket_of(info) in tickets:
            for port in _loops.every_port():
                if info.cookie in port.waiting and port.call_from_any_thread(functools.partial(_end, port, info, report)):
                    return True
    return False


def _end(port: Port, info: _Info, report: str) -> None:
    ticket = _wait_graph.ticket_of(info)
    future = port.waiting.get(info.cookie)
    if future is not None and not future.done():
        with _wait_graph.look(ask=_telling.PATIENCE) as seen:
            there = any(step.need.wait.identity == ticket for cycle in _wait_graph.cycles(seen) for step in cycle)
        if there:
            _throw(future, DeadlockError(report))
