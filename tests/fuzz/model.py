"""The oracle: a lock as who is in, who waits in which order, and every state that a step may end in.

It is written from DESIGN.md, not from the core. Where DESIGN leaves freedom (a wake may hand the lock over or let the woken
race for it; threads may barge in) the model follows every way, so `outcomes` gives a set, and the lock must end in one of
them. Where it promises (a fair release hands over; a release on a loop's own thread hands over to a task of that loop;
readers that queued behind a departing writer enter at once; tasks of one loop run in the order of their wakes) it does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

PARKED, WRITER_PARKED, WRITER, ONE_READER = 1, 2, 8, 16
READ, READ_RECURSIVE, WRITE, LOCK, DROP_IN = "read", "read_recursive", "write", "lock", "drop_in"
EXCLUSIVE = (WRITE, LOCK, DROP_IN)


class Op(NamedTuple):
    """One acquisition: what never changes about it. `loop` is None for a thread."""

    mode: str
    loop: int | None

    @property
    def exclusive(self) -> bool:
        return self.mode in EXCLUSIVE


Ops = dict[int, Op]


class Action(NamedTuple):
    """One thing that somebody does to the lock. A release is `fair` or not."""

    what: str  # "request", "release"; "cancel" a task, "withdraw" a wait at once, "expire": let its time be up
    op: int
    fair: bool = False


class Program(NamedTuple):
    """What one thread does without a pause; on a loop's thread nothing else of that loop runs meanwhile."""

    loop: int | None
    actions: tuple[Action, ...]
    begun: bool = False


class State(NamedTuple):
    """A lock. Who is `fresh` has asked and not looked at it yet; so has who is `woken`, by the order of their wakes; who is
    `granted` besides owns it already. Who is `doomed` is a task that was cancelled, and leaves when it runs."""

    readers: frozenset[int] = frozenset()
    writer: int | None = None  # owns WRITER
    drains: bool = False  # and sleeps until the readers are gone
    order: tuple[int, ...] = ()  # all that queued and are not in yet, by their first arrival
    queued: frozenset[int] = frozenset()
    fresh: frozenset[int] = frozenset()
    woken: tuple[int, ...] = ()
    granted: frozenset[int] = frozenset()
    doomed: frozenset[int] = frozenset()

    @property
    def word(self) -> int:
        """The lock word, exactly."""
        flags = bool(self.queued) * PARKED | self.drains * WRITER_PARKED | (self.writer is not None) * WRITER
        return len(self.readers) * ONE_READER | flags

    @property
    def queue(self) -> list[int]:
        """Who waits to get in, first come first."""
        return [op for op in self.order if op in self.queued]

    @property
    def holders(self) -> frozenset[int]:
        """Who is in, when all is calm."""
        return self.readers if self.writer is None or self.drains else self.readers | {self.writer}

    @property
    def calm(self) -> bool:
        """Whether nobody is on the way."""
        return not self.fresh and not self.woken and not self.doomed

    @property
    def waiting(self) -> frozenset[int]:
        """Who has asked and is not in, as far as they know."""
        drainer = {self.writer} if self.drains and self.writer is not None else set[int]()
        return self.queued | self.fresh | set(self.woken) | drainer

    def can_enter(self, mode: str) -> bool:
        """Whether one who asks now would own the lock, or a writer its first half."""
        return self.writer is None or (mode == READ_RECURSIVE and bool(self.readers))

    def can_have(self, mode: str) -> bool:
        """Whether a try succeeds."""
        return self.can_enter(mode) and not (mode in EXCLUSIVE and self.readers)


def outcomes(start: State, programs: list[Program], ops: Ops) -> set[State]:
    """Return every state in which all is calm again, after the programs, side by side, whoever runs when."""
    first = (start, tuple(programs))
    seen, todo, found = {first}, [first], set[State]()
    while todo:
        state, left = todo.pop()
        if state.calm and not left:
            found.add(state)
        for after in _next(state, left, ops):
            if after not in seen:
                seen.add(after)
                todo.append(after)
    return found


def _next(state: State, left: tuple[Program, ...], ops: Ops) -> Iterator[tuple[State, tuple[Program, ...]]]:
    busy = {program.loop for program in left if program.begun} - {None}
    for i, program in enumerate(left):
        if program.begun or program.loop not in busy:
            now, later = program.actions[0], program.actions[1:]
            rest = (*left[:i], *([program._replace(actions=later, begun=True)] if later else []), *left[i + 1 :])
            for after in _act(state, now, program.loop, ops):
                yield after, rest
    turns = set(busy)  # tasks of one loop take up their wakes in turn
    for op in state.woken:
        loop = ops[op].loop
        if op not in state.doomed and (loop is None or loop not in turns):
            yield _poll(state, op, ops), left
            turns.add(loop)
    for op in state.fresh - state.doomed:
        if ops[op].loop is None or ops[op].loop not in busy:
            yield _poll(state, op, ops), left
    for op in state.doomed:
        if ops[op].loop not in busy:
            for after in _cancel(state._replace(doomed=state.doomed - {op}), op, ops, keeps=False):
                yield after, left


def _poll(state: State, op: int, ops: Ops) -> State:
    """Let one that was woken, or has come, look at the lock: in, or parked to drain, or queued."""
    granted = op in state.granted
    state = state._replace(
        fresh=state.fresh - {op}, woken=tuple(woken for woken in state.woken if woken != op), granted=state.granted - {op}
    )
    if not granted and not state.can_enter(ops[op].mode):
        order = state.order if op in state.order else (*state.order, op)
        return state._replace(queued=state.queued | {op}, order=order)
    if not granted:
        state = _own(state, op, ops)
    if ops[op].exclusive and state.readers:
        return state._replace(drains=True)
    return _leave_order(state, op)


def _own(state: State, op: int, ops: Ops) -> State:
    return state._replace(writer=op) if ops[op].exclusive else state._replace(readers=state.readers | {op})


def _leave_order(state: State, op: int) -> State:
    return state._replace(order=tuple(other for other in state.order if other != op))


def _act(state: State, action: Action, loop: int | None, ops: Ops) -> Iterator[State]:
    op = action.op
    if action.what == "request":
        yield state._replace(fresh=state.fresh | {op})
    elif action.what == "release":
        yield from _give_back(state, op, ops, loop=loop, fair=action.fair)
    elif action.what == "cancel":  # too late for who is in
        yield state._replace(doomed=state.doomed | ({op} & state.waiting))
    elif action.what == "withdraw":
        yield from _cancel(state, op, ops, keeps=False)
    elif op in state.waiting - state.fresh:  # "expire": not before it waits
        yield from _cancel(state, op, ops, keeps=True)
    elif op == state.writer or op in state.readers:
        yield state


def _cancel(state: State, op: int, ops: Ops, *, keeps: bool) -> Iterator[State]:
    """End a wait early. A timeout `keeps` the whole lock if that has come by then."""
    drains = state.drains and state.writer == op
    out = _leave_order(state, op)._replace(
        queued=state.queued - {op},
        fresh=state.fresh - {op},
        woken=tuple(woken for woken in state.woken if woken != op),
        granted=state.granted - {op},
    )
    if drains:
        yield from _admit(out._replace(writer=None, drains=False), ops, gives=True)
    elif op in state.granted and keeps and not (ops[op].exclusive and state.readers):
        yield out
    elif op in state.granted:
        yield from _give_back(out, op, ops)
    elif op in state.woken:
        yield from _admit(out, ops, gives=False)  # the wake was for somebody
    else:
        yield out


def _give_back(state: State, op: int, ops: Ops, *, loop: int | None = None, fair: bool | None = None) -> Iterator[State]:
    """Release; with `fair` None it is somebody who leaves without having been in."""
    if ops[op].exclusive:
        yield from _admit(state._replace(writer=None), ops, gives=True, loop=loop, fair=bool(fair))
        return
    state = state._replace(readers=state.readers - {op})
    if state.drains and not state.readers and state.writer is not None:
        yield state._replace(drains=False, woken=(*state.woken, state.writer), granted=state.granted | {state.writer})
    else:
        yield state


def _admit(state: State, ops: Ops, *, gives: bool, loop: int | None = None, fair: bool = False) -> Iterator[State]:
    """Wake all readers up to and including the first writer. Only who `gives` the lock up can hand it over."""
    taken: list[int] = []
    if state.writer is None:
        for op in state.queue:
            taken.append(op)
            if ops[op].exclusive:
                break
    woken = state._replace(queued=state.queued - set(taken), woken=(*state.woken, *taken))
    must_hand_over = bool(taken) and gives and (fair or (loop is not None and ops[taken[0]].loop == loop))
    if not must_hand_over:
        yield woken
    if taken and gives:
        for op in taken:
            woken = _own(woken, op, ops)
        yield woken._replace(granted=woken.granted | set(taken))
