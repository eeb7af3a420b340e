"""What the head of a `with` statement says: which names, attributes and items lead to its object, and what it calls on it.

The object of a `with` statement is not to be seen in a frame that runs. It is found again by what stands in the head, looked up
as it is now, by no code but ours: what is a property or a call is not known. Which `with` blocks a frame is in, its table of
exceptions says (_owners.py).
"""

from __future__ import annotations

import collections
import contextlib
import dis
from collections.abc import Iterator
from types import CodeType, FrameType, MemberDescriptorType, ModuleType
from typing import Any, NamedTuple, cast

from aiolots import _owners
from aiolots._lib import MUTEX, READ, READ_RECURSIVE, UPGRADABLE, WRITE

REQUESTS = {"read": READ, "read_recursive": READ_RECURSIVE, "upgradable_read": UPGRADABLE, "write": WRITE, "lock": MUTEX}
NOTHING: Any = object()
OPTIMIZED = 1  # inspect.CO_OPTIMIZED: a function's, whose variables are not a dictionary
_SUSPENDS = 0x20 | 0x80 | 0x200  # inspect.CO_GENERATOR, CO_COROUTINE, CO_ASYNC_GENERATOR
_ASKS = frozenset({"acquire", *REQUESTS, *(f"try_{name}{how}" for name in REQUESTS for how in ("", "_for", "_until"))})
_MOST_CODES = 4000
_BEFORE_WITH = dis.opmap.get("BEFORE_WITH", -1)  # -1: this interpreter has another way, which is not understood
_LOADS = ("FAST", "GLOBAL", "NAME", "DEREF", "CLASSDEREF", "FROM_DICT_OR_")
_VARIABLES = ("STORE_FAST_LOAD_FAST", *(f"LOAD_{kind}" for kind in _LOADS))
_DICTS = (dict, collections.defaultdict, collections.OrderedDict)
_PLAIN_KEYS = (str, int, bytes)
_get = cast("Any", dict).get

ATTRIBUTE, CONSTANT, VARIABLE = range(3)


class With(NamedTuple):
    """A `with` statement: what leads to the object in its head, the method that is called on that, and its `as`."""

    at: int  # where its exit is, for place()
    head: int = -1  # where it enters
    base: str = ""  # "": not understood
    path: tuple[tuple[int, Any], ...] = ()  # attributes, and items by a constant or a variable
    method: str = ""  # "": none is called
    target: str = ""  # the local variable of `as`; "": it has none
    drops: bool = False  # it has no `as`
    called: bool = True  # its object comes out of a call
    asks: tuple[int, int] = (-1, -1)  # that call is between these instructions
    stays: bool = False  # the base is a local variable that the block does not store to, and there is no path

    @property
    def makes_a_guard(self) -> bool:
        """Whether it holds by a guard that nobody else gets to see."""
        return self.drops and self.method in REQUESTS

    def asked_for(self, site: tuple[CodeType, int] | None, code: CodeType) -> bool:
        """Whether its head is where a guard was asked for."""
        return site is not None and site[0] is code and self.called and self.asks[0] < site[1] < self.asks[1]


class Code(NamedTuple):
    """What is read out of a function, once."""

    code: CodeType  # kept, so that its id stays its own
    handlers: tuple[tuple[int, int, int], ...]
    withs: dict[int, With]  # by their handlers
    asks: bool  # for locks, by the names in it; a function
    says_nothing: bool

    def opened(self, at: int) -> list[With]:
        """Return the statements whose blocks an instruction is in, innermost first."""
        return [self.withs[target] for target in _around(self.handlers, at) if target in self.withs]


_codes: dict[int, Code] = {}


def code_of(code: CodeType) -> Code:
    """Return what its statements say."""
    found = _codes.get(id(code))
    if found is None or found.code is not code:
        if len(_codes) > _MOST_CODES:
            _codes.clear()
        found = _codes[id(code)] = _read(code)
    return found


def may_be_suspended(code: CodeType) -> bool:
    """Whether it is a generator's or a coroutine's: there may be calls of it that nobody runs now."""
    return bool(code.co_flags & _SUSPENDS)


def enters(frame: FrameType) -> bool:
    """Whether a frame is just entering a `with` statement."""
    return frame.f_code.co_code[frame.f_lasti] == _BEFORE_WITH


# --- the code -----------------------------------------------------------------------------------------------------------


def _read(code: CodeType) -> Code:
    if not _owners.is_users(code):
        return Code(code, (), {}, False, True)
    handlers = tuple(_owners._handlers(code.co_exceptiontable))
    withs: dict[int, With] = {}
    instructions = code.co_code if handlers else b""
    listed: list[dis.Instruction] = []
    for _, _, target in handlers:
        if _owners._is_exit(instructions, target) and target not in withs:
            listed = listed or [i for i in dis.get_instructions(code) if i.opname not in ("EXTENDED_ARG", "CACHE", "PRECALL")]
            head = _head(listed, min(begin for begin, _, other in handlers if other == target), target + 2)
            stays = head.base in code.co_varnames and head.base not in code.co_cellvars and not head.path
            head = head._replace(stays=stays and head.base not in _stored(listed, handlers, target))
            if head.head >= 0:
                withs[target] = head
    asks = not _ASKS.isdisjoint(code.co_names) and bool(code.co_flags & OPTIMIZED)
    return Code(code, handlers, withs, asks, not withs and not asks)


def _stored(listed: list[dis.Instruction], handlers: tuple[tuple[int, int, int], ...], target: int) -> set[str]:
    """Return the local variables that a block, by its handler, stores to or deletes; perhaps more."""
    found: set[str] = set()
    for instruction in listed:
        changes = instruction.opname.startswith(("STORE_FAST", "DELETE_FAST")) or instruction.opname == "LOAD_FAST_AND_CLEAR"
        if changes and target in _around(handlers, instruction.offset):
            found.update([instruction.argval] if type(instruction.argval) is str else instruction.argval)
    return found


def _head(listed: list[dis.Instruction], begin: int, at: int) -> With:
    after = next((i for i, instruction in enumerate(listed) if instruction.offset >= begin), 0)
    if after < 2 or listed[after - 1].opname != "BEFORE_WITH":
        return With(at)
    store, head, step = listed[after], listed[after - 1], after - 2
    asks = (listed[step - 1].offset if step else -1, head.offset)
    target = _first(store.argval) if store.opname.startswith("STORE_FAST") else ""
    called, method = listed[step].opname.startswith("CALL"), ""
    if listed[step].opname == "CALL" and listed[step].arg == 0 and listed[step - 1].opname in ("LOAD_METHOD", "LOAD_ATTR"):
        method, step = listed[step - 1].argval, step - 2
    base, path, begin = ("", (), after) if called and not method else _path(listed, step)
    if any(instruction.is_jump_target for instruction in listed[begin + 1 : after]):  # `with a if b else c:`
        base, path, method = "", (), ""
    return With(at, head.offset, base, path, method, target, store.opname == "POP_TOP", called, asks)


def _path(listed: list[dis.Instruction], step: int) -> tuple[str, tuple[tuple[int, Any], ...], int]:
    """Return what leads to the object that an instruction leaves: a variable, the steps from there, and where that begins.

    Not known: ("", (), the instruction).
    """
    path: list[tuple[int, Any]] = []
    while step >= 0:
        instruction = listed[step]
        if instruction.opname == "LOAD_ATTR":
            path.append((ATTRIBUTE, instruction.argval))
            step -= 1
        elif instruction.opname == "BINARY_SUBSCR" and step:
            key = listed[step - 1]
            if key.opname == "LOAD_CONST":
                path.append((CONSTANT, key.argval))
            elif key.opname.startswith(_VARIABLES):
                path.append((VARIABLE, _last(key.argval)))
                if key.opname == "LOAD_FAST_LOAD_FAST":
                    return _first(key.argval), tuple(path[::-1]), step - 1
            else:
                break
            step -= 2
        elif instruction.opname.startswith(_VARIABLES):
            return _last(instruction.argval), tuple(path[::-1]), step
        else:
            break
    return "", (), step


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


# --- what a name leads to -----------------------------------------------------------------------------------------------


def look_up(frame: FrameType, variables: Any, statement: With) -> Any:
    """Return what the head leads to now, before its method is called; NOTHING if that is not known."""
    thing = _variable(frame, variables, statement.base) if statement.base else NOTHING
    for kind, key in statement.path:
        if thing is NOTHING:
            break
        if kind == ATTRIBUTE:
            thing = _attribute(thing, key)
        else:
            thing = _item(thing, key if kind == CONSTANT else _variable(frame, variables, key))
    return thing


def _variable(frame: FrameType, variables: Any, name: str) -> Any:
    thing = variables.get(name, NOTHING)
    return frame.f_globals.get(name, NOTHING) if thing is NOTHING else thing


def _item(thing: Any, key: Any) -> Any:
    if type(thing) in _DICTS and type(key) in _PLAIN_KEYS:
        return _get(thing, key, NOTHING)
    if type(thing) in (list, tuple) and type(key) is int and -len(thing) <= key < len(thing):
        return thing[key]
    return NOTHING


def _attribute(thing: Any, name: str) -> Any:
    if type(thing) is ModuleType:
        return vars(thing).get(name, NOTHING)
    if type(thing) is type:  # a class: what is its own, and no descriptor
        return _plain(_of_classes(thing.__mro__, name))
    found = _of_classes(type(thing).__mro__, name)
    if type(found) is MemberDescriptorType:
        try:
            return found.__get__(thing)
        except AttributeError:
            return NOTHING
    if found is not NOTHING and _is_descriptor(found, "__set__"):
        return NOTHING
    own: dict[str, Any] = {}
    with contextlib.suppress(AttributeError):
        own = object.__getattribute__(thing, "__dict__")
    return own[name] if name in own else _plain(found)


def _of_classes(kinds: tuple[type, ...], name: str) -> Any:
    return next((vars(kind)[name] for kind in kinds if name in vars(kind)), NOTHING)


def _plain(thing: Any) -> Any:
    return NOTHING if _is_descriptor(thing, "__get__") else thing


def _is_descriptor(thing: Any, method: str) -> bool:
    return any(method in vars(base) for base in type(thing).__mro__)


def is_ours(thing: Any, *methods: str) -> bool:
    """Whether these methods of an object are as we wrote them."""
    for method in methods:
        owner = next((base for base in type(thing).__mro__ if method in vars(base)), None)
        if owner is None or owner.__module__.partition(".")[0] != "aiolots":
            return False
    return True
