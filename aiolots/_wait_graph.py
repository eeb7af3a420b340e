"""The wait graph: threads and tasks of every loop, asyncio's and trio's, and what each of them waits for.

    thread, task   waits for a lock                the holds that keep it out; a reader: the writer that waits for readers
    task           awaits a task, gather, group    that task; all children that have not ended (also of trio's nursery)
    task           awaits a future                 what it is chained to: the thread that runs it, the future of a shield
    task           its loop's thread sleeps        that thread
    thread         Thread.join                     that thread
    thread         Future.result                   the task, or thread of a pool, that makes it

A wait has *needs*: each must be met for it to end, and any one of a need's nodes could meet it. Who waits with a limit is
not waiting, as far as this graph goes; nor is who waits for what nobody is known to owe (a notification, a plain future). So
a node is *stuck* if one of its needs is owed by stuck nodes alone: what is left after all others were taken away. In what is
left every node leads to a cycle.

A look is not one moment. It reads the waits first and the holds then: where the next look finds the same waits (each has a
ticket, a future, a frame of its own), nobody of the cycle has run in between, so the holds that were read in between were
true at the same time as all of the waits.

Without a GIL nobody looks at tasks, but at what their loops' threads tell of them (_telling.py). Joins, and
waits for a future's result, are seen while all threads are stopped for a moment (_top_calls.py).
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

from aiolots import _owners, _telling, _top_calls, _watched
from aiolots import _task_graph as tasks_of
from aiolots._holds import ALONE, Hold, InHand, Node, holds_of
from aiolots._lib import NULL, QUEUED, READ, READ_RECURSIVE, UPGRADABLE, UPGRADE
from aiolots._told_hands import ToldHands
from aiolots._waiters import MODE_NAMES, _Info, _infos, contended
from aiolots._word import DecodedWord, decode


@dataclass(frozen=True)
class Wait:
    """What somebody waits for. `lock` and `mode` if it is one; `text` if it is not."""

    kind: str  # "lock", "await", "join", "future", "loop"
    text: str
    identity: tuple[Any, ...]
    lock: Any = None
    mode: int = 0
    word: DecodedWord | None = None


class Need(NamedTuple):
    """One thing that must come for a wait to end: any of `nodes` could bring it."""

    wait: Wait
    nodes: tuple[Node, ...]
    hold: Hold | None

    @property
    def identity(self) -> tuple[Any, ...]:
        """What tells the same need, at a second look."""
        return (self.wait.identity, self.nodes, None if self.hold is None else self.hold.identity)


class Step(NamedTuple):
    """An edge of a cycle: who waits, what for, and the next one in it."""

    node: Node
    need: Need
    next: Node


@dataclass(eq=False)
class Look:
    """The wait graph as it was seen. It keeps what it saw alive, so that numbers are not used again until the next look.

    A context manager: at its end it lets go of the calls, among them those that made it, and so of itself. Else guards that it
    saw are referred to until the collector comes by, and what nobody else may have in hand is not certain any more.
    """

    threads: _owners.Threads = field(default_factory=_owners.Threads)
    tasks: dict[int, Any] = field(default_factory=dict[int, Any])
    needs: dict[Node, list[Need]] = field(default_factory=dict[Node, list[Need]])
    holds: list[Hold] = field(default_factory=list[Hold])  # of all locks that are waited for
    in_hand: InHand | None = None
    stuck: set[Node] = field(default_factory=set[Node])
    loop_threads: dict[int, int | None] = field(default_factory=dict[int, int | None])  # of a loop's id
    kept: list[Any] = field(default_factory=list[Any])

    def __post_init__(self) -> None:
        global _last  # noqa: PLW0603
        _looks.add(self)
        _last = object()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.threads.frames.clear()


_looks: weakref.WeakSet[Look] = weakref.WeakSet()
_last: object = None


def last_look() -> object:
    """Return the last look, as something that is another one if there was one more; None while any refers to what it saw."""
    return None if len(_looks) else _last or _looks


def _nothing_moves_while_we_look() -> bool:
    """Whether there is a GIL. Without it the tasks and the calls of threads that run are not to be looked into: asyncio's
    futures and the interpreter's frames are not made for that. Threads that wait for locks stand still."""
    return _watched.has_gil()


def tickets() -> set[tuple[Any, ...]]:
    """Return what identifies the waits for locks that have no limit: the cheapest look, to see if anybody waits for long."""
    return {ticket_of(info) for info in _infos_without_limit()}


def ticket_of(info: _Info) -> tuple[Any, ...]:
    """Return what identifies a wait for a lock."""
    return ("lock", info.word, info.key, info.ticket)


def _infos_without_limit() -> list[_Info]:
    return [info for info in infos_of_locks() if not info.is_timed]


def infos_of_locks() -> list[_Info]:
    """Return who waits for a lock, with a limit or without."""
    return [i for i in _infos(NULL) if i.word and not i.expects and i.state == QUEUED]


def look(*, everybody: bool = False, ask: float = 0) -> Look:
    """Look at everything once. `everybody`: who waits with a limit too, for a picture of it all; nobody is found stuck then.

    `ask`: where there is no GIL and anybody waits, loops are asked for their tasks, which takes a moment, and at most so many
    seconds. Else no tasks are seen there.
    """
    asks = ask > 0 and not _nothing_moves_while_we_look()
    if asks:
        _telling.settle()
    infos = [(info, contended.get(info.word)) for info in (infos_of_locks() if everybody else _infos_without_limit())]
    seen = Look()
    active = seen.threads.active
    for info, _ in infos:
        if info.thread:
            _owners.note(info.thread, info.owner, active)
    _owners.note_this_thread()
    results: list[tuple[str, int, Any, Any]] = []
    told: _telling.Telling | None = None
    if _nothing_moves_while_we_look():
        seen.tasks = {id(task): task for task in tasks_of.every_task()}
        results += _thread_waits(seen)
    elif asks and (infos or everybody):
        told = _telling.ask(max((info.since for info, _ in infos if info.thread), default=0), ask)
        results += _what_was_told(seen, told)
    waits = [(node_of(info), info, lock) for info, lock in infos if lock is not None and _is_known(info, seen)]
    _task_waits(seen, results)
    awaited_locks = {node: info.word for node, info, _ in waits}
    if told is None:
        looked_at = seen.tasks.values() if waits or everybody else ()
        in_hand = InHand(looked_at, lambda task: awaited_locks.get(("task", id(task)), 0))
    else:
        in_hand = ToldHands(told.loops, lambda key: awaited_locks.get(("task", key), 0), complete=told.complete)
    seen.in_hand = in_hand
    seen.kept += [waits]
    holds: dict[int, list[Hold]] = {}
    draining = {info.word: node for node, info, _ in waits if info.draining}
    for node, info, lock in waits:
        if info.word not in holds:
            holds[info.word] = [hold for hold in holds_of(lock, in_hand, seen.threads.ident_of) if in_hand.believes(hold)]
            seen.holds += holds[info.word]
        seen.needs.setdefault(node, []).extend(_needs_of(info, lock, holds[info.word], draining.get(info.word)))
    _loops_that_stand_still(seen)
    if not everybody:
        _find_stuck(seen)
    return seen


def _what_was_told(seen: Look, told: _telling.Telling) -> Iterator[tuple[str, int, Any, Any]]:
    """Note the tasks of the loops that have told. Yield which thread makes which future, of those that wait for a lock."""
    for loop in told.loops:
        seen.kept.append(loop)
        seen.tasks |= loop.tasks
        seen.loop_threads[id(loop.loop)] = loop.ident
    given = [future for task in seen.tasks.values() for future in tasks_of.gives_to(task)]
    seen.threads.told |= told.calls
    for ident, future in told.makes:
        given.append(future)
        yield ("makes", ident, future, None)
    futures = {id(condition): future for future in given if (condition := getattr(future, "_condition", None)) is not None}
    ours = {ident: frame for ident, frame in seen.threads.frames.items() if ident in seen.threads.active}
    for ident, frame, thing in _top_calls.waits(ours):
        if isinstance(thing, threading.Thread):
            _note_join(seen, ident, thing, (id(frame), 0))
        elif id(thing) in futures:
            yield ("waits", ident, futures[id(thing)], frame)


def node_of(info: _Info) -> Node:
    """Return who waits."""
    return ("task" if info.is_task else "thread", info.owner)


def _is_known(info: _Info, seen: Look) -> bool:
    """A task that is not, has ended, or is of a run of trio that was not found."""
    return info.owner in (seen.tasks if info.is_task else seen.threads.frames)


# --- what each of them needs --------------------------------------------------------------------------------------------


def _needs_of(info: _Info, lock: Any, holds: list[Hold], draining: Node | None) -> Iterator[Need]:
    word = decode(lock.word)
    wait = Wait("lock", MODE_NAMES[info.mode], ticket_of(info), lock, info.mode, word)
    alone = [hold for hold in holds if hold.mode in ALONE]
    reads = info.mode in (READ, READ_RECURSIVE)
    for hold in alone if word.write_locked else ():
        yield Need(wait, hold.owners, hold)
    if word.write_locked:
        return
    if draining is not None and not info.draining:
        yield Need(wait, (draining,), None)
    for hold in () if reads else holds:
        if hold.mode in ALONE or (info.mode == UPGRADABLE and hold.mode != UPGRADABLE):
            continue
        if info.mode == UPGRADE and hold.mode == UPGRADABLE:  # its own
            continue
        yield Need(wait, hold.owners, hold)


def _thread_waits(seen: Look) -> Iterator[tuple[str, int, Any, Any]]:
    """Note joins. Yield who waits for, and who makes, which future of concurrent.futures."""
    for ident in seen.threads.frames:
        for frame in seen.threads.calls(ident):
            if frame.f_code is _JOIN_CODE:
                target = frame.f_locals.get("self")
                if frame.f_locals.get("timeout", 0) is None and target is not None:
                    _note_join(seen, ident, target, _owners.same_calls(frame))
                break
            future = tasks_of.threads_future(frame)
            if future is not None:
                yield (future[0], ident, future[1], frame)


def _note_join(seen: Look, ident: int, target: Any, call: tuple[int, int]) -> None:
    if target.ident and target.is_alive():
        wait = Wait("join", f"the end of thread {target.name!r}", ("join", *call))
        seen.needs.setdefault(("thread", ident), []).append(Need(wait, (("thread", target.ident),), None))


_JOIN_CODE = threading.Thread.join.__code__


def _task_waits(seen: Look, futures: list[tuple[str, int, Any, Any]]) -> None:
    """Note what tasks await, and what threads wait for that tasks or other threads make."""
    makers: dict[int, Node] = {id(future): ("thread", ident) for what, ident, future, _ in futures if what == "makes"}
    waited_for = {id(future) for what, _, future, _ in futures if what == "waits"}
    for key, task in seen.tasks.items():
        if waited_for:
            makers |= {id(future): ("task", key) for future in tasks_of.gives_to(task) if id(future) in waited_for}
    for key, task in seen.tasks.items():
        found = tasks_of.awaited(task)
        if found is None:
            continue
        future, children = found
        seen.kept.append(found)
        nodes = [("task", id(child)) if id(child) in seen.tasks else makers.get(id(child)) for child in children]
        known = tuple(node for node in nodes if node is not None)
        if known and len(known) == len(nodes):
            of_what = "result" if known[0][0] == "thread" else "end"
            text = f"the {of_what} of {' and '.join(name_of(node, seen) for node in known)}"
            wait = Wait("await", text, ("await", key, id(future)))
            seen.needs.setdefault(("task", key), []).append(Need(wait, known, None))
    for what, ident, future, frame in futures:
        maker = makers.get(id(future)) if what == "waits" else None
        if maker is not None and not future.done():
            wait = Wait("future", f"the result of {name_of(maker, seen)}", ("future", id(future), *_same_call(frame)))
            seen.needs.setdefault(("thread", ident), []).append(Need(wait, (maker,), None))
    seen.kept.append(futures)


def _same_call(frame: Any) -> tuple[int, int]:
    """Return what tells that a call has not ended."""
    return _owners.same_calls(frame) if _nothing_moves_while_we_look() else (id(frame), 0)


def name_of(node: Node, seen: Look) -> str:
    """Return how a report calls a node."""
    kind, number = node
    if kind == "thread":
        return f"thread {seen.threads.name(number)!r}"
    task = seen.tasks.get(number)
    return f"task {tasks_of.name_of(task)!r}" if task is not None else f"task {number:#x}"


def _loops_that_stand_still(seen: Look) -> None:
    """The tasks of a loop whose thread sleeps wait for that thread. One of them may be what sleeps there."""
    asleep = {number for kind, number in seen.needs if kind == "thread"}
    if not asleep:
        return
    frames: dict[int, set[int]] = {}
    if _nothing_moves_while_we_look():
        frames = {ident: {id(frame) for frame in seen.threads.calls(ident)} for ident in asleep}
    for key, task in seen.tasks.items():
        loop = tasks_of.loop_of(task)
        if id(loop) not in seen.loop_threads:
            seen.kept.append(loop)
            seen.loop_threads[id(loop)] = tasks_of.thread_of(loop, frames)
        ident = seen.loop_threads[id(loop)]
        if ident in asleep:
            text = f"its event loop's thread {seen.threads.name(ident)!r}, which sleeps"
            wait = Wait("loop", text, ("loop", id(loop), ident))
            seen.needs.setdefault(("task", key), []).append(Need(wait, (("thread", ident),), None))


# --- who is stuck -------------------------------------------------------------------------------------------------------


def _find_stuck(seen: Look) -> None:
    seen.stuck = set(seen.needs)
    _reduce(seen)
    if not seen.stuck:
        return
    # What has a limit, or is ended when what awaits it is, goes on one day.
    awaiting = _awaiting(seen)
    ended: dict[Node, bool] = {}
    for node in [node for node in seen.stuck if node[0] == "task"]:
        if _may_be_ended(node, awaiting, seen, ended):
            seen.needs[node] = [need for need in seen.needs[node] if need.wait.kind == "loop"]
    _reduce(seen)


def _awaiting(seen: Look) -> dict[Node, list[Node]]:
    awaiting: dict[Node, list[Node]] = {}
    for node, needs in seen.needs.items():
        for need in needs:
            if need.wait.kind == "await":
                for other in need.nodes:
                    awaiting.setdefault(other, []).append(node)
    return awaiting


def _may_be_ended(start: Node, awaiting: dict[Node, list[Node]], seen: Look, ended: dict[Node, bool]) -> bool:
    """Whether a task, or one that awaits it, is inside of something that ends it by a time."""
    above, todo = {start}, [start]
    while todo:
        above.update(new := [other for other in awaiting.get(todo.pop(), ()) if other not in above])
        todo += new
    for other in above:
        if other not in ended:
            ended[other] = other[0] == "task" and tasks_of.may_be_ended(seen.tasks[other[1]])
    return any(ended[other] for other in above)


def waits_for_ever(task: int) -> bool:
    """Whether what a task (its id) waits for has no limit around it. False where tasks cannot be looked at."""
    with look() as seen:
        return task in seen.tasks and not _may_be_ended(("task", task), _awaiting(seen), seen, {})


def _reduce(seen: Look) -> None:
    while gone := {node for node in seen.stuck if not any(True for _ in _owed_by_stuck(node, seen))}:
        seen.stuck -= gone


def _owed_by_stuck(node: Node, seen: Look) -> Iterator[Need]:
    return (need for need in seen.needs[node] if need.nodes and all(other in seen.stuck for other in need.nodes))


# --- cycles -------------------------------------------------------------------------------------------------------------


def cycles(seen: Look) -> list[list[Step]]:
    """Return a shortest cycle through each stuck node that is in one; no two that share a node.

    Who waits for itself is in a cycle of one only if it is in no other: of two readers that want to write, each waits for
    its own share too, but both are to be named.
    """
    steps = {
        node: [Step(node, need, other) for need in _owed_by_stuck(node, seen) for other in need.nodes] for node in seen.stuck
    }
    others = {node: [step for step in steps[node] if step.next != node] for node in steps}
    found: list[list[Step]] = []
    used: set[Node] = set()
    # The shortest first: of the tasks of a loop that stands still hardly one belongs to the cycle.
    every = [cycle for node in sorted(steps) if (cycle := _shortest(node, others) or _shortest(node, steps))]
    for cycle in sorted(every, key=len):
        nodes = {step.node for step in cycle}
        if not nodes & used:
            used |= nodes
            found.append(cycle)
    return found


def for_itself(node: Node, seen: Look) -> list[Step]:
    """Return the cycle of one of a stuck node that waits for what it holds, whatever others it is in; empty if it does not."""
    needs = _owed_by_stuck(node, seen) if node in seen.stuck else ()
    return [Step(node, need, node) for need in needs if node in need.nodes][:1]


def _shortest(start: Node, steps: dict[Node, list[Step]]) -> list[Step]:
    came_by: dict[Node, Step] = {}
    queue = deque([start])
    while queue:
        node = queue.popleft()
        for step in steps[node]:
            if step.next == start:
                path = [step]
                while path[-1].node != start:
                    path.append(came_by[path[-1].node])
                return path[::-1]
            if step.next not in came_by:
                came_by[step.next] = step
                queue.append(step.next)
    return []


def is_confirmed(cycle: Iterable[Step], later: Look) -> bool:
    """Whether a later look, made while the earlier one is kept, finds the same waits and holds."""
    return all(
        step.node in later.stuck and any(need.identity == step.need.identity for need in _owed_by_stuck(step.node, later))
        for step in cycle
    )
