"""What the calls of a thread hold by their own `with` statements and variables, so that nobody else can let go of it.

The guard is a capability: whoever has it may release it. So "this thread has acquired it" does not say that this thread
will release it. What does say so is read from the frames of the calls that are running, without running anything:

    with mutex:                     the statement's own exit releases it
    with lock.read():               nobody has the guard but the statement
    with anything() as guard:       a guard in local variables of these calls and nowhere else: its references are counted
    guard = lock.read().acquire()

The object of a `with` statement is not to be seen in a frame that runs. It is found again by the names and attributes in the
statement's head, looked up as they are now, by no code but ours: what is a property, a call or a subscript is not known. Which
`with` blocks a frame is in, its table of exceptions says (_owners.py).

The names may lead elsewhere by now. So they are believed of a local variable that the block does not store to. Of all others
there has to be a guard of the lock that this thread acquired, and that was asked for in this very head: looked for among all
objects, and only if there is an error to be raised. `with self.mutex:` makes no guard, so it is not understood.
"""

from __future__ import annotations

import contextlib
import dis
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator
from types import CodeType, FrameType, MemberDescriptorType, ModuleType
from typing import Any, NamedTuple

from aiolots import _living, _owners
from aiolots._front import NATIVE
from aiolots._holds import _LOCKS, _MODES
from aiolots._lib import MUTEX, READ, READ_RECURSIVE, UPGRADABLE, WRITE
from aiolots._refusals import place


def _front_kinds() -> list[type]:
    if NATIVE:
        from aiolots import _native as front
    else:
        from aiolots import _pure as front  # type: ignore[no-redef]
    return [front.ReadRequest, front.UpgradableRequest, front.WriteRequest, front.MutexRequest]


_REQUESTS = {"read": READ, "read_recursive": READ_RECURSIVE, "upgradable_read": UPGRADABLE, "write": WRITE, "lock": MUTEX}
_ASKS = frozenset({"acquire", *_REQUESTS, *(f"try_{name}{how}" for name in _REQUESTS for how in ("", "_for", "_until"))})
_GUARD_TYPES = frozenset(_front_kinds())
_MOST_CODES = 4000
_OPTIMIZED = 1  # inspect.CO_OPTIMIZED: a function's, whose variables are not a dictionary
_SUSPENDS = 0x20 | 0x80 | 0x200  # inspect.CO_GENERATOR, CO_COROUTINE, CO_ASYNC_GENERATOR
_COPIES = 2 if sys.version_info < (3, 13) else 1  # of each variable, once f_locals was asked for
_NOTHING: Any = object()


class Holding(NamedTuple):
    """One hold that only the calls of this thread can end."""

    mode: int
    place: str


class _With(NamedTuple):
    """A `with` statement: the names in its head, the method that is called on what they lead to, and its `as`."""

    at: int  # where its exit is, for place()
    base: str  # "": not understood
    attributes: tuple[str, ...]
    method: str  # "": none is called
    target: str  # the local variable of `as`; "": it has none
    drops: bool  # it has no `as`
    called: bool = True  # its object comes out of a call
    asks: tuple[int, int] = (-1, -1)  # that call is between these instructions
    stays: bool = False  # the base is a local variable that the block does not store to

    def asked_for(self, site: tuple[CodeType, int] | None, code: CodeType) -> bool:
        """Whether its head is where a guard was asked for. Of what may be suspended there may be another call that did."""
        if site is None or site[0] is not code or code.co_flags & _SUSPENDS:
            return False
        return self.called and self.asks[0] < site[1] < self.asks[1]


class _Code(NamedTuple):
    code: CodeType  # kept, so that its id stays its own
    handlers: tuple[tuple[int, int, int], ...]
    withs: dict[int, _With]  # by their handlers
    asks: bool  # for locks, by the names in it; a function
    says_nothing: bool


_codes: dict[int, _Code] = {}


def _code(code: CodeType) -> _Code:
    found = _codes.get(id(code))
    if found is None or found.code is not code:
        if len(_codes) > _MOST_CODES:
            _codes.clear()
        found = _codes[id(code)] = _read(code)
    return found


def _read(code: CodeType) -> _Code:
    if not _owners.is_users(code):
        return _Code(code, (), {}, False, True)
    handlers = tuple(_owners._handlers(code.co_exceptiontable))
    withs: dict[int, _With] = {}
    instructions = code.co_code if handlers else b""
    listed: list[dis.Instruction] = []
    for _, _, target in handlers:
        if _owners._is_exit(instructions, target) and target not in withs:
            listed = listed or [i for i in dis.get_instructions(code) if i.opname not in ("EXTENDED_ARG", "CACHE", "PRECALL")]
            head = _head(listed, min(begin for begin, _, other in handlers if other == target), target + 2)
            stays = head.base in code.co_varnames and head.base not in code.co_cellvars and not head.attributes
            head = head._replace(stays=stays and head.base not in _stored(listed, handlers, target))
            makes_a_guard = head.drops and head.method in _REQUESTS
            if head.target or makes_a_guard or (head.stays and not head.method):
                withs[target] = head
    asks = not _ASKS.isdisjoint(code.co_names) and bool(code.co_flags & _OPTIMIZED)
    return _Code(code, handlers, withs, asks, not withs and not asks)


def _stored(listed: list[dis.Instruction], handlers: tuple[tuple[int, int, int], ...], target: int) -> set[str]:
    """Return the local variables that a block, by its handler, stores to or deletes; perhaps more."""
    found: set[str] = set()
    for instruction in listed:
        changes = instruction.opname.startswith(("STORE_FAST", "DELETE_FAST")) or instruction.opname == "LOAD_FAST_AND_CLEAR"
        if changes and target in _around(handlers, instruction.offset):
            found.update([instruction.argval] if type(instruction.argval) is str else instruction.argval)
    return found


def _head(listed: list[dis.Instruction], begin: int, at: int) -> _With:
    after = next((i for i, instruction in enumerate(listed) if instruction.offset >= begin), 0)
    if after < 2 or listed[after - 1].opname != "BEFORE_WITH":
        return _With(at, "", (), "", "", drops=False)
    store, asks = listed[after], (listed[after - 3].offset if after > 2 else -1, listed[after - 1].offset)
    target = _first(store.argval) if store.opname.startswith("STORE_FAST") else ""
    step, method = after - 2, ""
    called = listed[step].opname.startswith("CALL")
    attributes: list[str] = []
    if listed[step].opname == "CALL" and listed[step].arg == 0 and listed[step - 1].opname in ("LOAD_METHOD", "LOAD_ATTR"):
        method, step = listed[step - 1].argval, step - 2
    while listed[step].opname == "LOAD_ATTR":
        attributes.append(listed[step].argval)
        step -= 1
    load = listed[step]
    base = _last(load.argval) if load.opname.startswith("LOAD_") and "CONST" not in load.opname else ""
    if load.opname == "STORE_FAST_LOAD_FAST":
        base = _last(load.argval)
    return _With(at, base, tuple(attributes[::-1]), method, target, store.opname == "POP_TOP", called, asks)


def _first(value: Any) -> str:
    return str(value if type(value) is str else value[0])  # of an instruction for two variables: both


def _last(value: Any) -> str:
    return str(value if type(value) is str else value[-1])


def _around(handlers: tuple[tuple[int, int, int], ...], at: int) -> Iterator[int]:
    """Yield the handlers of the blocks that an instruction is in, innermost first, as _owners._exits does."""
    seen: set[int] = set()
    while True:
        target = next((target for begin, end, target in reversed(handlers) if begin <= at < end), None)
        if target is None or target in seen:
            return
        seen.add(target)
        yield target
        at = target


def enters(frame: FrameType) -> bool:
    """Whether a frame is just entering a `with` statement."""
    return frame.f_code.co_code[frame.f_lasti] == dis.opmap.get("BEFORE_WITH", -1)


# --- what a name leads to -----------------------------------------------------------------------------------------------


def _look_up(frame: FrameType, variables: Any, statement: _With) -> Any:
    thing = variables.get(statement.base, _NOTHING)
    if thing is _NOTHING:
        thing = frame.f_globals.get(statement.base, _NOTHING)
    for name in statement.attributes:
        thing = _attribute(thing, name)
    return thing


def _attribute(thing: Any, name: str) -> Any:
    if thing is _NOTHING:
        return thing
    if type(thing) is ModuleType:
        return vars(thing).get(name, _NOTHING)
    if type(thing) is type:  # a class: what is its own, and no descriptor
        return _plain(_of_classes(thing.__mro__, name))
    found = _of_classes(type(thing).__mro__, name)
    if type(found) is MemberDescriptorType:
        try:
            return found.__get__(thing)
        except AttributeError:
            return _NOTHING
    if found is not _NOTHING and _is_descriptor(found, "__set__"):
        return _NOTHING
    own: dict[str, Any] = {}
    with contextlib.suppress(AttributeError):
        own = object.__getattribute__(thing, "__dict__")
    return own[name] if name in own else _plain(found)


def _of_classes(kinds: tuple[type, ...], name: str) -> Any:
    return next((vars(kind)[name] for kind in kinds if name in vars(kind)), _NOTHING)


def _plain(thing: Any) -> Any:
    return _NOTHING if _is_descriptor(thing, "__get__") else thing


def _is_descriptor(thing: Any, method: str) -> bool:
    return any(method in vars(base) for base in type(thing).__mro__)


# --- what is held -------------------------------------------------------------------------------------------------------


class _Guards:
    """The guards of a lock that are in sight, and whether each has a reference that no variable accounts for."""

    def __init__(self, lock: Any) -> None:
        self._lock = lock
        self.found: dict[int, list[Any]] = {}  # [guard, whether a statement will release it]

    def see(self, thing: Any, *, in_statement: bool) -> None:
        if thing._lock is self._lock and thing._holds():
            entry = self.found.setdefault(id(thing), [thing, 0])
            entry[1] |= in_statement  # a guard is in one statement at most


def holdings(
    lock: Any, frames: Iterable[FrameType], matters: Callable[[int], bool], may_be: Callable[[int], bool]
) -> list[Holding]:
    """Return what the calls of a thread, innermost first, hold of a lock so that only they can end it.

    The caller sees to it that the calls stand still: they are its own, or of a thread that sleeps. matters(mode) is whether
    such a hold would be an error, may_be(token) whether the thread may have that token.
    """
    every = list(frames)
    guards, found = _Guards(lock), list[Holding]()
    for frame in every:
        code = _code(frame.f_code)
        if code.says_nothing:
            continue
        opened = [code.withs[at] for at in _around(code.handlers, frame.f_lasti) if at in code.withs] if code.withs else []
        if not opened and not code.asks:
            continue
        thing, given, variables = _NOTHING, _NOTHING, frame.f_locals
        for statement in opened:
            thing = _look_up(frame, variables, statement) if statement.base else _NOTHING
            if statement.target:
                given = variables.get(statement.target, _NOTHING)
                if type(given) in _GUARD_TYPES:  # else whose exit it is, is not known
                    itself = statement.stays and not statement.method and thing is given
                    guards.see(given, in_statement=itself or statement.asked_for(given._site, frame.f_code))
            elif type(thing) in _GUARD_TYPES:
                if not statement.method:
                    guards.see(thing, in_statement=statement.stays)
            elif thing is lock and (statement.method or not _LOCKS.isdisjoint(type(lock).__mro__)):
                mode = _REQUESTS[statement.method] if statement.method else MUTEX
                if matters(mode) and (statement.stays or _asked(lock, statement, frame.f_code, may_be)):
                    found.append(Holding(mode, place((frame.f_code, statement.at))))
        if code.asks:
            for thing in variables.values():
                if type(thing) in _GUARD_TYPES:
                    guards.see(thing, in_statement=False)
        del thing, given, variables  # references to guards, which are counted below
    for entry in guards.found.values():
        mode = _MODES.get(type(entry[0]).__name__, MUTEX)
        if matters(mode) and _is_theirs(entry, every):
            found.append(Holding(mode, place(entry[0]._site)))
    return found


def _asked(lock: Any, statement: _With, code: CodeType, may_be: Callable[[int], bool]) -> bool:
    """Whether a thread holds a lock by a guard that the head of this statement asked for."""
    for holder in lock._holder_list():  # the front in Python notes where
        if statement.asked_for(getattr(holder, "site", None), code) and may_be(holder.thread) and not holder.is_task:
            return True
    return any(
        guard._lock is lock and statement.asked_for(guard._site, code) and may_be(token) and not by_task
        for guard, token, by_task in _living.held_guards()
    )


def _is_theirs(entry: list[Any], frames: list[FrameType]) -> bool:
    """Whether nothing refers to a guard but local variables of these calls, and the `with` statements that will release it."""
    known = int(entry[1])
    if weakref.getweakrefcount(entry[0]):
        return False
    for frame in frames:
        code, variables = frame.f_code, frame.f_locals
        if not code.co_flags & _OPTIMIZED:
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
