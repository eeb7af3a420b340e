"""What a deadlock looks like to who has to mend it: a cycle of owners, with places, stacks and advice."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from aiolots import _owners
from aiolots import _task_graph as tasks_of
from aiolots._holds import ALONE, Hold
from aiolots._lib import READ, READ_RECURSIVE, UPGRADE, WRITE
from aiolots._wait_graph import Look, Need, Step, Wait, name_of
from aiolots._waiters import MODE_NAMES
from aiolots._word import DecodedWord


@dataclass(frozen=True)
class Held:
    """What an owner holds, and somebody waits for.

    Attributes:
        lock: the lock, as its repr says it.
        lock_name: its name, or None.
        mode: "read", "write", "lock", "upgradable_read".
        taken_at: file, line and function where the guard was asked for; None if that is not known.
        by_some_task: it was taken by a task of the event loop that this thread runs; by which one is not known.
    """

    lock: str
    lock_name: str | None
    mode: str
    taken_at: str | None
    by_some_task: bool


@dataclass(frozen=True)
class Owner:
    """One of a cycle: a thread or a task that holds what another one needs, and waits itself.

    Attributes:
        kind: "thread" or "task".
        name: of the thread or the task.
        loop: the task's event loop, as its repr says it; None for a thread.
        holds: the locks that it holds and somebody waits for.
        waits_for: in words.
        lock_name: name of the lock that it waits for; None for other things and for a lock without a name.
        mode: how it wants that lock: "read", "write", "lock"...; "" for other things.
        word: the word of that lock, decoded; None for other things.
        waits_at: file, line and function: the innermost that is neither aiolots' nor the standard library's.
        seconds: for how long it was seen to wait for that lock, at least; None if nobody looked before.
        inside: places of the `with` statements it is in, innermost first.
        stack: file, line and function of each call, innermost first; of a task: of its chain of coroutines.
    """

    kind: str
    name: str
    loop: str | None
    holds: tuple[Held, ...]
    waits_for: str
    lock_name: str | None
    mode: str
    word: DecodedWord | None
    waits_at: str
    seconds: float | None
    inside: tuple[str, ...]
    stack: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r}"


@dataclass(frozen=True)
class Cycle:
    """Owners of which each waits for the next one, and the last one for the first. `str()` is the report."""

    owners: tuple[Owner, ...]
    advice: tuple[str, ...]

    def __str__(self) -> str:
        count = len(self.owners)
        head = "one owner waits for itself" if count == 1 else f"{count} owners wait for each other"
        lines = [f"deadlock: {head}, {' -> '.join(str(owner) for owner in (*self.owners, self.owners[0]))}"]
        for owner in self.owners:
            where = "" if owner.loop is None else f" of {owner.loop}"
            lines.append(f"{owner}{where}")
            for held in owner.holds:
                who = "a task of its loop holds" if held.by_some_task else "holds"
                taken = "" if held.taken_at is None else f", asked for at {held.taken_at}"
                lines.append(f"    {who} {held.lock} ({held.mode}){taken}")
            since = "" if owner.seconds is None else f", since {owner.seconds:.3g} s at least"
            word = "" if owner.word is None else f", word {owner.word.word:#x}: {owner.word}"
            lines.append(f"    waits for {owner.waits_for}{since}{word}")
            lines.append(f"    waits at {owner.waits_at}")
            lines += [f"    inside the `with` at {place}" for place in owner.inside]
            lines.append("    stack, innermost first:")
            lines += [f"        {place}" for place in owner.stack]
        lines += [f"advice: {advice}" for advice in self.advice]
        return "\n".join(lines)


def report(cycle: list[Step], seen: Look, seconds_of: Callable[[Wait], float | None]) -> Cycle:
    """Describe a cycle as it is now."""
    owners = tuple(_owner(step, [hold for hold in seen.holds if step.node in hold.owners], seen, seconds_of) for step in cycle)
    return Cycle(owners, tuple(dict.fromkeys(_advice(cycle, seen))))


def _owner(step: Step, holds: Iterable[Hold], seen: Look, seconds_of: Callable[[Wait], float | None]) -> Owner:
    kind, number = step.node
    if kind == "thread":
        frames, name, loop = list(seen.threads.calls(number)), seen.threads.name(number), None
    else:
        task = seen.tasks[number]
        frames, name, loop = list(tasks_of.frames(task)), tasks_of.name_of(task), tasks_of.name_of_loop(task)
    wait = step.need.wait
    return Owner(
        kind=kind,
        name=name,
        loop=loop,
        holds=tuple(
            Held(repr(hold.lock), hold.lock.name, MODE_NAMES[hold.mode], hold.place, hold.by_some_task) for hold in holds
        ),
        waits_for=_in_words(step, seen),
        lock_name=None if wait.lock is None else wait.lock.name,
        mode="" if wait.lock is None else MODE_NAMES[wait.mode],
        word=wait.word,
        waits_at=_owners.waits_at(iter(frames)),
        seconds=seconds_of(wait),
        inside=_owners.open_withs(iter(frames)),
        stack=_owners.stack(iter(frames)),
    )


def _in_words(step: Step, seen: Look) -> str:
    need = step.need
    if need.wait.lock is None:
        return need.wait.text
    if need.hold is None:
        return f"{need.wait.text} of {need.wait.lock!r}, behind {name_of(step.next, seen)}, a writer that waits for the readers"
    return f"{need.wait.text} of {need.wait.lock!r}, which {_holders(need, seen)} ({MODE_NAMES[need.hold.mode]})"


def _holders(need: Need, seen: Look) -> str:
    if need.hold is not None and need.hold.by_some_task:
        return f"a task of the loop on {name_of(need.nodes[0], seen)} holds"
    return " or ".join(name_of(node, seen) for node in need.nodes) + (" holds" if len(need.nodes) == 1 else " hold")


# --- advice for the kinds that are known --------------------------------------------------------------------------------


def _advice(cycle: list[Step], seen: Look) -> Iterable[str]:
    locks = [step for step in cycle if step.need.wait.lock is not None]
    for step in locks:
        wait, hold = step.need.wait, step.need.hold
        if hold is None:
            if wait.mode in (READ, READ_RECURSIVE) and any(other.need.hold and other.next == step.node for other in locks):
                yield "a read after a read, with a writer waiting in between: take the second one with read_recursive()"
        elif step.node == step.next:
            if hold.mode in ALONE:
                yield "it holds this lock already: pass the guard on, or use ReentrantMutex"
            else:
                yield "it holds a share of what it wants to write: use upgradable_read(), then upgrade()"
    wants = [step for step in locks if step.need.wait.mode in (WRITE, UPGRADE)]
    if len({id(step.need.wait.lock) for step in wants}) < len(wants):
        yield "readers of one lock want to write, and wait for each other to leave: use upgradable_read(), then upgrade()"
    if any(step.need.wait.kind == "loop" or (step.need.hold and step.need.hold.by_some_task) for step in cycle):
        yield "the thread of a running event loop sleeps in a sync wait: write `async with` or `await` in tasks"
    if any(step.need.wait.kind in ("join", "await", "future") for step in cycle):
        yield "who waits for the end of another must not hold what that one needs: release it before the join or await"
    names = {id(step.need.wait.lock): step for step in locks if step.need.hold}
    if len(names) > 1 and len(locks) == len(cycle):
        yield "locks are taken in different orders: take them in one order everywhere"
