"""What the console answers, as JSON: one function for each source of it. All of it only looks."""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from typing import Any

from aiolots import _asyncio_graph as tasks_of
from aiolots import _audit, _owners, _threads, _transitions, _wait_graph
from aiolots._causes import Cause, causes, deadlocks
from aiolots._cycles import Cycle
from aiolots._front import NATIVE
from aiolots._holds import Node
from aiolots._lib import QUEUED
from aiolots._moment import LockNow, Moment, Since
from aiolots._pings import Ping, Pings
from aiolots._waiters import MODE_NAMES, _Info

COMMANDS = ("who", "ps", "tree", "dump")
_MEETS_EVERY = 4  # ticks: loops that are new are asked which thread runs them
_PATIENCE = 0.5  # seconds that a loop has to call back
_MOST_LOCKS, _MOST_QUEUED = 500, 200  # shown of each; the rest is counted


class Source:
    """What is kept from one question to the next: since when who waits, and the pings of loops."""

    def __init__(self) -> None:
        self._since = Since()
        self._pings = Pings()
        self._began = time.time()
        self._ticks = 0

    def tick(self) -> None:
        """Note who waits now, and how the threads are called. Twice a second."""
        self._since.look()
        _threads.remember_names()
        self._ticks += 1
        if self._ticks % _MEETS_EVERY == 1 and _wait_graph._nothing_moves_while_we_look():
            self._pings.meet(tasks_of.every_task())

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """Answer a question: {"command": one of COMMANDS}. ValueError for any other."""
        command = question.get("command")
        if command not in COMMANDS:
            raise ValueError(f"the commands are {', '.join(COMMANDS)}")
        if command == "who":
            return {"process": process(self._began)}
        moment = Moment(self._since)
        pings = self._pings.ask(moment.tasks)
        cycles = deadlocks(moment)
        self._pings.wait(_PATIENCE)
        found = causes(moment, cycles, pings)
        answer: dict[str, Any] = {"process": process(self._began), "causes": [cause_as_json(cause) for cause in found]}
        everything = command == "dump"
        if command != "tree":
            answer |= locks(moment, stacks=everything)
            answer["loops"] = loops(pings, moment)
        if command != "ps":
            answer["tree"] = tree(moment, cycles)
        if everything:
            answer["deadlocks"] = [str(cycle) for cycle, _ in cycles]
            answer["threads"] = threads(moment)
            answer["findings"] = findings()
        return answer


def process(began: float) -> dict[str, Any]:
    """Return which process that is."""
    from aiolots import __version__

    return {
        "pid": os.getpid(),
        "command": " ".join(sys.orig_argv)[:200],
        "python": ".".join(map(str, sys.version_info[:3])),
        "aiolots": __version__,
        "front": "native" if NATIVE else "pure",
        "serves_since": began,
        "time": time.time(),
    }


def cause_as_json(cause: Cause) -> dict[str, Any]:
    """Return a cause, with whether it is a trouble."""
    return {**dataclasses.asdict(cause), "trouble": cause.is_trouble}


# --- locks --------------------------------------------------------------------------------------------------------------


def locks(moment: Moment, *, stacks: bool) -> dict[str, Any]:
    """Return the locks that somebody waits for or had to, the most contended first."""
    found = [_lock(now, moment, stacks) for now in moment.locks]
    found.sort(key=lambda lock: (bool(lock["problems"]), lock["waiting"], lock["longest"], lock["past"]), reverse=True)
    return {"locks": found[:_MOST_LOCKS], "locks_left_out": max(0, len(found) - _MOST_LOCKS)}


def _lock(now: LockNow, moment: Moment, stacks: bool) -> dict[str, Any]:
    waiters = [_waiter(info, moment, stacks) for info in now.infos[:_MOST_QUEUED]]
    return {
        "lock": now.label,
        "name": now.lock.name,
        "kind": type(now.lock).__name__,
        "address": f"{now.lock.address:#x}",
        "word": f"{now.word.word:#x}",
        "state": "impossible word" if now.word.problems else str(now.word),
        "problems": list(now.word.problems),
        "holders": [_holder(now, index, moment, stacks) for index in range(min(len(now.holds), _MOST_QUEUED))],
        "holders_left_out": max(0, len(now.holds) - _MOST_QUEUED),
        "waiting": len(now.infos),
        "longest": max((waiter["seconds"] for waiter in waiters), default=0.0),
        "waiters": waiters,
        "transitions": transitions(now.lock) if stacks or now.word.problems else [],
        **statistics(now.lock),
    }


def transitions(lock: Any) -> list[dict[str, Any]]:
    """Return the last steps of a lock, each with its text."""
    found = _transitions.transitions_of(lock)
    words = {"before": "word", "after": "word"}
    return [
        {
            **{name: getattr(step, name) for name in ("number", "what", "who", "mode", "whom", "more")},
            **{name: f"{getattr(getattr(step, name), of):#x}" for name, of in words.items()},
            "seconds": round(step.seconds, 3),
            "text": str(step),
        }
        for step in found
    ]


def statistics(lock: Any) -> dict[str, Any]:
    """Return what is counted of a lock: `past`, how many acquisitions had to wait; and what else is known of its waits."""
    counted = lock.statistics()
    wanted = ("timeouts", "cancellations", "handoffs", "revocations", "total_wait", "longest_wait", "longest_wait_at")
    return {"past": getattr(counted, "contended", 0), **{name: getattr(counted, name, None) for name in wanted}}


def _holder(now: LockNow, index: int, moment: Moment, stacks: bool) -> dict[str, Any]:
    hold = now.holds[index]
    node = hold.owners[0] if hold.owners else None
    return {
        "holder": moment.holder(hold),
        "mode": MODE_NAMES[hold.mode],
        "asked_for_at": hold.place,
        "now_at": None if node is None else moment.at(node),
        **({"inside": _inside(node, moment), "stack": moment.stack(node)} if stacks and node is not None else {}),
    }


def _waiter(info: _Info, moment: Moment, stacks: bool) -> dict[str, Any]:
    node = _wait_graph.node_of(info)
    return {
        "waiter": moment.name(node),
        "mode": MODE_NAMES[info.mode],
        "seconds": round(moment.since.of(info, moment.now), 3),
        "timed": info.is_timed,
        "state": _state(info),
        "at": moment.at(node),
        **({"stack": moment.stack(node)} if stacks else {}),
    }


def _state(info: _Info) -> str:
    if info.draining:
        return "waits for the readers to leave"
    if info.skipped:
        return "passed over: its loop cannot run"
    return "queued" if info.state == QUEUED else "woken"


def _inside(node: Node, moment: Moment) -> list[str]:
    return list(_owners.open_withs(iter(list(moment.frames(node)))))


# --- loops and threads --------------------------------------------------------------------------------------------------


def loops(pings: list[Ping], moment: Moment) -> list[dict[str, Any]]:
    """Return the event loops that run: which thread does, and for how long it has not come to its callbacks."""
    frames = {ident: {id(frame) for frame in moment.look.threads.calls(ident)} for ident in moment.look.threads.frames}
    found: list[dict[str, Any]] = []
    for ping in pings:
        ident = ping.thread(frames)
        node = None if ident is None else ("thread", ident)
        found.append(
            {
                "loop": repr(ping.loop),
                "thread": None if node is None else moment.name(node),
                "stuck": round(ping.seconds(), 3),
                "now_at": None if node is None else moment.at(node),
            }
        )
    return found


def threads(moment: Moment) -> list[dict[str, Any]]:
    """Return all threads with what they are doing; not our own, of console and watchdog."""
    return [
        {"thread": moment.name(("thread", ident)), "stack": moment.stack(("thread", ident))}
        for ident in sorted(moment.look.threads.frames)
        if not moment.look.threads.name(ident).startswith("aiolots-")
    ]


# --- the wait graph -----------------------------------------------------------------------------------------------------


def tree(moment: Moment, cycles: list[tuple[Cycle, frozenset[object]]]) -> list[dict[str, Any]]:
    """Return who waits for whom: at the roots who does not wait, or is part of a deadlock; below each who waits for it."""
    return _Tree(moment, cycles).roots()


_Key = Node | str  # str: a holder that is not known by more than that


class _Tree:
    def __init__(self, moment: Moment, cycles: list[tuple[Cycle, frozenset[object]]]) -> None:
        self._moment = moment
        self._below: dict[_Key, list[tuple[Node, dict[str, Any]]]] = {}
        self._shown: set[_Key] = set()
        for node, needs in moment.look.needs.items():
            for need in needs:
                for other in self._owing(need):
                    below, wait = self._below.setdefault(other, []), self._wait(node, need)
                    # Who waits for one lock may need two things of the same owner: its share, and its turn as a writer.
                    if not any(known == node and same["for"] == wait["for"] for known, same in below):
                        below.append((node, wait))
        in_cycles = {str(owner) for cycle, _ in cycles for owner in cycle.owners}
        waiting = set(moment.look.needs)
        self._circles = [key for key in self._sorted() if self._name(key) in in_cycles]
        self._tops = [key for key in self._sorted() if key not in waiting]

    def _name(self, key: _Key) -> str:
        return key if isinstance(key, str) else self._moment.name(key)

    def _sorted(self) -> list[_Key]:
        return sorted(self._below, key=lambda key: (-len(self._below[key]), self._name(key)))

    def _owing(self, need: _wait_graph.Need) -> list[_Key]:
        if need.hold is not None and (not need.nodes or need.hold.by_some_task):
            return [self._moment.holder(need.hold)]
        return list(need.nodes)

    def _wait(self, node: Node, need: _wait_graph.Need) -> dict[str, Any]:
        wait, hold = need.wait, need.hold
        seconds = 0.0 if wait.lock is None else self._moment.since.seconds(wait.identity, self._moment.now)
        return {
            "for": wait.text if wait.lock is None else f"{MODE_NAMES[wait.mode]} of {wait.lock!r}",
            "held": None if hold is None else MODE_NAMES[hold.mode],
            "asked_for_at": None if hold is None else hold.place,
            "seconds": round(seconds, 3),
            "at": self._moment.at(node),
        }

    def roots(self) -> list[dict[str, Any]]:
        """Return the trees: of circles, of who waits for nobody, and what is left."""
        return [self._node(key, ()) for key in (*self._circles, *self._tops, *self._sorted()) if key not in self._shown]

    def _node(self, key: _Key, above: tuple[_Key, ...]) -> dict[str, Any]:
        at = None if isinstance(key, str) else self._moment.at(key)
        entry: dict[str, Any] = {"owner": self._name(key), "now_at": at, "waiters": []}
        if key in above:
            return entry | {"closes_the_circle": True}
        if key in self._shown:
            return entry | {"shown_above": True}
        self._shown.add(key)
        below = self._below.get(key, [])
        entry["waiters"] = [{**what, "by": self._node(node, (*above, key))} for node, what in below[:_MOST_QUEUED]]
        return entry | {"left_out": max(0, len(below) - _MOST_QUEUED)}


# --- the audit ----------------------------------------------------------------------------------------------------------


def findings() -> list[dict[str, Any]]:
    """Return what aiolots.audit() says of all locks that anybody ever had to wait for. Takes half a second at most."""
    return [{"kind": finding.kind, "lock": finding.lock, "text": str(finding)} for finding in _audit.audit()]
