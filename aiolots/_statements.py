"""What the calls of a thread hold by their own `with` statements and variables, so that nobody else can let go of it.

The guard is a capability: whoever has it may release it. So "this thread has acquired it" does not say that this thread
will release it. What does say so is read from the frames of the calls that are running, without running anything:

    with mutex:                     the statement's own exit releases it
    with lock.read():               nobody has the guard but the statement
    with anything() as guard:       a guard in local variables of these calls and nowhere else: its references are counted
    guard = lock.read().acquire()

What leads to the object of a statement, its head says (_heads.py), and that may lead elsewhere by now. So it is believed by
itself of a local variable alone that the block does not store to. Else there is to be evidence of the acquire:

    a guard     says where it was asked for: in this very head; and nothing refers to it but the statement. Guards are looked
                for among all objects, so only if the head leads to the lock, or this thread is known to hold all of it
    a mutex     notes the instruction that entered it: that of this very head. No other instruction is like it, so a direct
                __enter__(), an ExitStack's or a library's is none. The function runs, and its block is open: either this
                call of it has the lock, or another one does, and that one runs too, if what it is in is no generator

A call of a generator or coroutine that has the lock might be suspended, for somebody else to go on with. And where the head
does not lead to the mutex, its object might be another one, that enters the mutex from C. Then there must be an `__exit__` of
the mutex that a statement has in hand which is being executed, and none that anybody else has (_exits.py).
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Any, NamedTuple

from aiolots import _exits, _heads, _living
from aiolots._front import NATIVE
from aiolots._heads import NOTHING, REQUESTS, With
from aiolots._holds import _MODES
from aiolots._lib import MUTEX
from aiolots._refusals import place

enters = _heads.enters


def _front_kinds() -> list[type]:
    if NATIVE:
        from aiolots import _native as front
    else:
        from aiolots import _pure as front  # type: ignore[no-redef]
    return [front.ReadRequest, front.UpgradableRequest, front.WriteRequest, front.MutexRequest]


_GUARD_TYPES = frozenset(_front_kinds())
_METHODS = ("__enter__", "__exit__", "release")
_COPIES = 2 if sys.version_info < (3, 13) else 1  # of each variable, once f_locals was asked for


class Holding(NamedTuple):
    """One hold that only the calls of this thread can end."""

    mode: int
    place: str


class _Guards:
    """The guards of a lock that are in sight, and whether each has a reference that no variable accounts for."""

    def __init__(self, lock: Any) -> None:
        self._lock = lock
        self.found: dict[int, list[Any]] = {}  # [guard, whether a statement will release it]

    def see(self, thing: Any, *, in_statement: bool) -> None:
        if thing._lock is self._lock and thing._holds():
            entry = self.found.setdefault(id(thing), [thing, 0])
            entry[1] |= in_statement  # a guard is in one statement at most


class _Asked(NamedTuple):
    """What is looked for."""

    lock: Any
    is_mutex: bool
    frames: list[FrameType]
    matters: Callable[[int], bool]  # whether a hold in that mode would be an error
    may_be: Callable[[int], bool]  # whether the thread may have that token
    known: list[list[Any]]  # the guards by which the thread holds it, once they were looked for


def holdings(
    lock: Any, frames: Iterable[FrameType], matters: Callable[[int], bool], may_be: Callable[[int], bool]
) -> list[Holding]:
    """Return what the calls of a thread, innermost first, hold of a lock so that only they can end it.

    The caller sees to it that the calls stand still: they are its own, or of a thread that sleeps. matters(mode) is whether
    such a hold would be an error, may_be(token) whether the thread may have that token.
    """
    asked = _Asked(lock, hasattr(lock, "_entered_in"), list(frames), matters, may_be, [])
    guards, found = _Guards(lock), list[Holding]()
    for frame in asked.frames:
        code = _heads.code_of(frame.f_code)
        if code.says_nothing:
            continue
        opened = code.opened(frame.f_lasti) if code.withs else []
        if opened or code.asks:
            found += _look_at(asked, frame, opened, code.asks, guards)
    asked.known.clear()  # references, which are counted
    for entry in guards.found.values():
        mode = _MODES.get(type(entry[0]).__name__, MUTEX)
        # Once more at the end: when nobody else has it, nobody else can release it, but may have done so just before.
        if matters(mode) and _is_theirs(entry, asked.frames) and entry[0]._holds() and matters(mode):
            found.append(Holding(mode, place(entry[0]._site)))
    return found


def _holding(mode: int, frame: FrameType, statement: With) -> Holding:
    return Holding(mode, place((frame.f_code, statement.at)))


def _look_at(asked: _Asked, frame: FrameType, opened: list[With], asks: bool, guards: _Guards) -> Iterator[Holding]:
    """Yield what the statements of a frame hold; see what guards it has in its variables."""
    entered = asked.lock._entered_in(frame.f_code) if asked.is_mutex and opened else -1
    for statement in opened:
        if not (statement.target or statement.stays or statement.makes_a_guard or statement.head == entered):
            # What leads to it is not known, but what is held is.
            if statement.called and statement.drops and asked.matters(MUTEX):
                yield from _by_guard(asked, statement, frame)
            continue
        variables = frame.f_locals
        thing = _heads.look_up(frame, variables, statement)
        if statement.target and type(given := variables.get(statement.target, NOTHING)) in _GUARD_TYPES:
            itself = statement.stays and not statement.method and thing is given
            by_this = not _heads.may_be_suspended(frame.f_code) and statement.asked_for(given._site, frame.f_code)
            guards.see(given, in_statement=itself or by_this)  # else whose exit it is, is not known
        elif type(thing) in _GUARD_TYPES:
            if not statement.method and not statement.target:
                guards.see(thing, in_statement=statement.stays)
        elif thing is asked.lock and statement.stays and not statement.method:
            if _releases_itself(asked) and asked.matters(MUTEX):
                yield _holding(MUTEX, frame, statement)
        elif statement.head == entered:
            leads_there = not statement.called and (thing is asked.lock or _stands_for(thing, asked.lock))
            if (
                asked.matters(MUTEX)
                and _releases_itself(asked)
                and _is_entered_by(asked, statement, frame, leads_there=leads_there)
            ):
                yield _holding(MUTEX, frame, statement)
        elif statement.makes_a_guard and thing is asked.lock:
            mode = REQUESTS[statement.method]
            if statement.stays and _heads.is_ours(thing, statement.method) and asked.matters(mode):
                yield _holding(mode, frame, statement)
            elif not statement.stays and asked.matters(mode):
                yield from _by_guard(asked, statement, frame, leads_there=True)
        elif statement.makes_a_guard and asked.matters(MUTEX):
            yield from _by_guard(asked, statement, frame)
        thing = given = variables = NOTHING  # references to guards, which are counted
    if asks:
        for thing in frame.f_locals.values():
            if type(thing) in _GUARD_TYPES:
                guards.see(thing, in_statement=False)


# --- a mutex that was entered -------------------------------------------------------------------------------------------


def _releases_itself(asked: _Asked) -> bool:
    """Whether a `with` of it is a mutex's, and as we wrote it: its end releases it, and nothing else does."""
    return asked.is_mutex and _heads.is_ours(asked.lock, "_entered_in", *_METHODS)


def _stands_for(thing: Any, lock: Any) -> bool:
    """Whether it is a condition whose `with` is one of the lock."""
    return _heads.is_ours(thing, "_enters_its_lock", "__enter__", "__exit__") and thing._lock is lock


def _is_entered_by(asked: _Asked, statement: With, frame: FrameType, *, leads_there: bool) -> bool:
    """Whether a statement holds a mutex that says that this very head has entered it."""
    code = frame.f_code
    may_be_suspended = _heads.may_be_suspended(code)
    if may_be_suspended and _exits.runs_elsewhere(code, asked.frames):
        return False
    if (may_be_suspended or not leads_there) and _exits.executed(asked.lock, asked.frames) < 1:
        return False
    return bool(asked.lock._entered_in(code) == statement.head and asked.matters(MUTEX))  # still: all that took a while


# --- a guard that nobody gets to see ------------------------------------------------------------------------------------


def _by_guard(asked: _Asked, statement: With, frame: FrameType, *, leads_there: bool = False) -> Iterator[Holding]:
    """Yield what the thread holds by guards that the head of this statement asked for."""
    code, lock = frame.f_code, asked.lock
    if not NATIVE:  # where each was asked for is noted; who else refers to it is not known
        for holder in list(lock._holders.values()) if leads_there and not _heads.may_be_suspended(code) else ():
            theirs = asked.may_be(holder.thread) and not holder.is_task
            if theirs and statement.asked_for(holder.site, code) and asked.matters(holder.mode):
                yield _holding(holder.mode, frame, statement)
        return
    if not asked.known:
        held = _living.held_guards()
        asked.known.append(
            [guard for guard, token, by_task in held if guard._lock is lock and asked.may_be(token) and not by_task]
        )
        del held
    for guard in asked.known[0]:
        if not statement.asked_for(guard._site, code):
            continue
        # The list's, this variable's, the argument's, and that of the statement's exit.
        if sys.getrefcount(guard) != 4 or weakref.getweakrefcount(guard):
            continue
        if _heads.may_be_suspended(code) and (
            _exits.runs_elsewhere(code, asked.frames) or _exits.executed(guard, asked.frames) != 1
        ):
            continue
        mode = _MODES.get(type(guard).__name__, MUTEX)
        if guard._holds() and asked.matters(mode):
            yield _holding(mode, frame, statement)


# --- a guard in a variable ----------------------------------------------------------------------------------------------


def _is_theirs(entry: list[Any], frames: list[FrameType]) -> bool:
    """Whether nothing refers to a guard but local variables of these calls, and the `with` statements that will release it."""
    known = int(entry[1])
    if weakref.getweakrefcount(entry[0]):
        return False
    for frame in frames:
        code, variables = frame.f_code, frame.f_locals
        if not code.co_flags & _heads.OPTIMIZED:
            if any(thing is entry[0] for thing in variables.values()):
                return False  # a global is everybody's
            continue
        for name, thing in list(variables.items()):
            if thing is entry[0]:
                if name in code.co_cellvars or name in code.co_freevars:
                    return False  # other functions may have it
                known += _COPIES
        thing = None
    return bool(sys.getrefcount(entry[0]) == known + 2)  # the entry's own, and the argument's
