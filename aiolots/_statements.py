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
"""

from __future__ import annotations

import contextlib
import dis
import sys
import weakref
from collections.abc import Iterable, Iterator
from types import CodeType, FrameType, MemberDescriptorType, ModuleType
from typing import Any, NamedTuple

from aiolots import _owners
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
            if head.target or (head.base and (not head.method or (head.drops and head.method in _REQUESTS))):
                withs[target] = head
    asks = not _ASKS.isdisjoint(code.co_names) and bool(code.co_flags & _OPTIMIZED)
    return _Code(code, handlers, withs, asks, not withs and not asks)


def _head(listed: list[dis.Instruction], begin: int, at: int) -> _With:
    after = next((i for i, instruction in enumerate(listed) if instruction.offset >= begin), 0)
    if after < 2 or listed[after - 1].opname != "BEFORE_WITH":
        return _With(at, "", (), "", "", drops=False)
    store = listed[after]
    target = _first(store.argval) if store.opname.startswith("STORE_FAST") else ""
    step, method = after - 2, ""
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
    return _With(at, base, tuple(attributes[::-1]), method, target, drops=store.opname == "POP_TOP")


def _first(value: Any) -> str:
    return str(value if type(value) is str else value[0])  # of an instruction for two variables: both


def _last(value: Any) -> str:
    return str(value if type(value) is str else value[-1])


def _open(code: _Code, at: int) -> Iterator[_With]:
    """Yield the statements whose blocks an instruction is in, as _owners._exits does."""
    seen: set[int] = set()
    while True:
        target = next((target for begin, end, target in reversed(code.handlers) if begin <= at < end), None)
        if target is None or target in seen:
            return
        seen.add(target)
        if target in code.withs:
            yield code.withs[target]
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
    """The guards of a lock that are in sight, and how many references each has that are accounted for."""

    def __init__(self, lock: Any) -> None:
        self._lock = lock
        self.found: dict[int, list[Any]] = {}  # [guard, how many statements will release it]

    def see(self, thing: Any, statements: int) -> None:
        if thing._lock is self._lock and thing._holds():
            self.found.setdefault(id(thing), [thing, 0])[1] += statements


def holdings(lock: Any, frames: Iterable[FrameType]) -> list[Holding]:
    """Return what the calls of a thread, innermost first, hold of a lock so that only they can end it.

    The caller sees to it that the calls stand still: they are its own, or of a thread that sleeps.
    """
    every = list(frames)
    guards, found = _Guards(lock), list[Holding]()
    for frame in every:
        code = _code(frame.f_code)
        if code.says_nothing:
            continue
        opened = list(_open(code, frame.f_lasti)) if code.withs else []
        if not opened and not code.asks:
            continue
        thing, variables = _NOTHING, frame.f_locals
        for statement in opened:
            thing = variables.get(statement.target) if statement.target else _look_up(frame, variables, statement)
            if statement.method and not statement.target:
                if thing is lock:
                    found.append(Holding(_REQUESTS[statement.method], place((frame.f_code, statement.at))))
            elif type(thing) in _GUARD_TYPES:
                guards.see(thing, 1)
            elif thing is lock and not _LOCKS.isdisjoint(type(lock).__mro__):
                found.append(Holding(MUTEX, place((frame.f_code, statement.at))))
        if code.asks:
            for thing in variables.values():
                if type(thing) in _GUARD_TYPES:
                    guards.see(thing, 0)
        del thing, variables  # references to guards, which are counted below
    for entry in guards.found.values():
        if _is_theirs(entry, every):
            found.append(Holding(_MODES.get(type(entry[0]).__name__, MUTEX), place(entry[0]._site)))
    return found


def _is_theirs(entry: list[Any], frames: list[FrameType]) -> bool:
    """Whether nothing refers to a guard but local variables of these calls, and the `with` statements that will release it."""
    known = entry[1]
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
