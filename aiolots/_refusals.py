"""What a lock says when it refuses: one wording for both fronts."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from aiolots import _troubles
from aiolots._errors import LockCorruption, LockTimeout, NotHeld
from aiolots._waiters import MODE_NAMES
from aiolots._word import decode

if TYPE_CHECKING:
    from aiolots._front import LockBase
    from aiolots._transitions import Transition


def timed_out(lock: LockBase[Any], mode: int, waited: float) -> NoReturn:
    """The raising form ran out of time: raise LockTimeout, with a report."""
    _report[0](lock, mode, waited)
    raise AssertionError("the report raises")


def use_report(report: Callable[[Any, int, float], NoReturn]) -> None:
    """Let _timeout_report.py, which knows more than this, say what is to be said."""
    _report[0] = report


def _bare_timeout(lock: LockBase[Any], mode: int, waited: float) -> NoReturn:
    raise LockTimeout(f"{lock!r}: no {MODE_NAMES[mode]} within {waited:.3g} s", lock_name=lock.name)


_report: list[Callable[[Any, int, float], NoReturn]] = [_bare_timeout]


def used_before(lock: LockBase[Any]) -> NoReturn:
    """A request is for one acquire."""
    raise RuntimeError(f"this request of {lock!r} was entered, awaited or acquired before: ask the lock for a new one")


def not_held(lock: LockBase[Any], was_released: bool) -> NoReturn:
    """A guard that holds nothing was to be released."""
    raise NotHeld(f"this guard of {lock!r} {'was released before' if was_released else 'is not held'}")


def nobody_holds(lock: LockBase[Any]) -> NoReturn:
    """A mutex that is free was to be released; or one whose word says nothing of the kind."""
    if decode(lock.word).problems:
        corrupt(lock)
    raise NotHeld(f"release of {lock!r}, which nobody holds")


def not_owned(lock: LockBase[Any]) -> NoReturn:
    """A re-entrant mutex was to be released by another than its owner."""
    raise RuntimeError(f"release of {lock!r} by who does not own it")


def only_guards(lock: LockBase[Any]) -> NoReturn:
    """A re-entrant mutex was to be released, and its levels are others' to release."""
    raise RuntimeError(f"release of {lock!r}, of which only guards are left: release those")


def not_as_a_whole(lock: LockBase[Any]) -> NoReturn:
    """A condition of the standard library waits with a re-entrant mutex."""
    raise RuntimeError(f"{lock!r} is not to be released as a whole: guards hold it, or another owner")


def corrupt(lock: LockBase[Any]) -> NoReturn:
    """The word has a value that no sequence of operations leads to."""
    word = lock.word
    _troubles.corruption(lock, word)
    transitions: tuple[Transition, ...] = ()
    last: list[str] = []
    try:
        for of, lines in _transitions:
            transitions = of(lock)
            last = lines(transitions, word)
    except Exception as error:  # noqa: BLE001  # a loop's repr may raise: the corruption is told in any case
        last = [f"its last steps cannot be found out: {error!r}"]
    message = (
        f"lock {lock.name!r} at {lock.address:#x}: {decode(word)}. It was overwritten, or released by who did not hold it; "
        "who waits for it could wait for ever. Nothing was changed; aiolots.audit() compares it with its queues and guards."
    )
    message = "\n    ".join([message, *last])
    raise LockCorruption(message, lock_name=lock.name, word=word, transitions=transitions)


_Lines = Callable[["Sequence[Transition]", int], list[str]]
_transitions: list[tuple[Callable[[Any], tuple[Transition, ...]], _Lines]] = []


def use_transitions(of: Callable[[Any], tuple[Transition, ...]], lines: _Lines) -> None:
    """Let _transitions.py, which knows more than this, say how a word came to be what it is."""
    _transitions.append((of, lines))


def value_of_released(lock: LockBase[Any]) -> NoReturn:
    """The value is the lock's, and the lock is not held."""
    raise RuntimeError(f"this guard of {lock!r} is not held: its value is not to be touched now")


def pending_truth() -> NoReturn:
    """A pending request is neither true nor false."""
    raise TypeError(
        "this request was not acquired yet, so it is neither true nor false: "
        "write `with request as guard:`, request.acquire(), or `await request`"
    )


def loop_closed() -> NoReturn:
    """The loop was closed under a task that waits."""
    raise RuntimeError("the event loop was closed while this task waited for a lock")


def dropped(lock: LockBase[Any], mode: int, held: bool, site: Any, source: object) -> None:
    """A request was collected, pending or held. Its lock is released by now."""
    if held:
        _troubles.dropped(lock)
    what = "was dropped while it held the lock, which is released now" if held else "was never entered, awaited or acquired"
    warnings.warn(
        f"a {MODE_NAMES[mode]} request of {lock!r}, made at {place(site)}, {what}",
        ResourceWarning if held else RuntimeWarning,
        stacklevel=2,
        source=source,
    )


def place(site: Any) -> str:
    """Turn (code, instruction) into file, line and function."""
    if site is None:
        return "a place that is not known"
    code, instruction = site
    line = next((at for begin, end, at in code.co_lines() if begin <= instruction < end), None)
    return f"{code.co_filename}:{code.co_firstlineno if line is None else line} in {code.co_qualname}"
