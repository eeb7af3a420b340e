"""The last steps that a lock went through where somebody had to wait for it: how its word came to be what it is.

The core notes them (csrc/trail.c), in a ring that each lock has from then on that somebody waits for it. Names are looked up
when somebody asks. No lock is taken, nothing is waited for.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiolots import _asyncio_graph, _loops, _refusals, _threads
from aiolots._lib import STEPS, TRAIL_ROOM, UPGRADE, WRITE, ffi, lib
from aiolots._waiters import MODE_NAMES
from aiolots._word import DecodedWord, decode

if TYPE_CHECKING:
    from aiolots._front import LockBase

_FEW = 8  # of them in a text
NONE_NOTED = "nobody had to wait for it in this process, so no steps are noted"

# By the core's number: what it is called, and what it says of who did it.
_QUEUED, _DRAINS, _ENTERED, _ACQUIRED = (
    lib.LOTS_STEP_QUEUED,
    lib.LOTS_STEP_DRAINS,
    lib.LOTS_STEP_ENTERED,
    lib.LOTS_STEP_ACQUIRED,
)
_STEPS: dict[int, tuple[str, str]] = {
    _QUEUED: ("queued", "is queued"),
    _DRAINS: ("drains", "is queued until the readers have left"),
    _ENTERED: ("entered", "owns WRITER, and readers are in still"),
    _ACQUIRED: ("acquired", "has it"),
    lib.LOTS_STEP_TIMED_OUT: ("timed out", "timed out"),
    lib.LOTS_STEP_CANCELLED: ("cancelled", "was cancelled"),
    lib.LOTS_STEP_ASIDE: ("stepped aside", "stepped aside for its signal handlers"),
    lib.LOTS_STEP_REVOKED: ("revoked", "lost its turn: its loop cannot run"),
    lib.LOTS_STEP_LOOKED: ("looked", "left the queue, to look again"),
    lib.LOTS_STEP_RELEASED: ("released", "released it"),
    lib.LOTS_STEP_HANDED_OVER: ("handed over", "handed it over"),
    lib.LOTS_STEP_DOWNGRADED: ("downgraded", "downgraded it"),
    lib.LOTS_STEP_LEFT: ("left", "left, the last reader before the writer"),
    lib.LOTS_STEP_WOKEN: ("woke", "woke who may be in too"),
}


@dataclass(frozen=True)
class Transition:
    """A step of a lock's slow path; `str()` says it in a line. Steps of who did not have to wait, and woke nobody, leave none.

    Attributes:
        number: of such steps of that lock, from 1 on; a number may be left out.
        seconds: how long ago it was when it was asked for, to some milliseconds.
        what: "queued", "drains" (queued until the readers have left), "entered" (a writer keeps others out, and readers are
            in), "acquired", "timed out", "cancelled", "stepped aside" (signal handlers run), "revoked" (a task whose event loop
            cannot run), "looked" (a task that was woken for that), or, of a release by who did not wait: "released" (to whoever
            comes), "handed over", "downgraded", "left" (the last reader before a writer), "woke" (others who may be in too).
        who: the thread, by its name where that is known, or the task, or "a task of <its loop>".
        mode: what it waits for: "read", "write", "lock"...; None of who did not wait.
        whom: the first of those that were woken by it, and its mode; None: nobody.
        more: how many more were woken.
        before: the lock word that the step saw, decoded.
        after: the word that it left.
    """

    number: int
    seconds: float
    what: str
    who: str
    mode: str | None
    whom: str | None
    more: int
    before: DecodedWord
    after: DecodedWord

    def __str__(self) -> str:
        mode = "" if self.mode is None else f" ({self.mode})"
        says = next(text for name, text in _STEPS.values() if name == self.what)
        handed = "now" if self.what == "handed over" else "woke"
        whom = "" if self.whom is None else f", {handed} {self.whom}{f' and {self.more} more' if self.more else ''}"
        comma = "," if self.who.endswith("ended") else ""
        return f"{self.seconds:.3f} s ago {self.who}{comma} {says}{mode}{whom}: {_words(self.before, self.after)}"


def _words(before: DecodedWord, after: DecodedWord) -> str:
    if before == after:
        return f"{before.word:#x} ({before}) as it was"
    return f"{before.word:#x} ({before}) -> {after.word:#x} ({'impossible' if after.problems else after})"


def transitions_of(lock: LockBase[Any]) -> tuple[Transition, ...]:
    """Return the last steps of a lock, in their order, 16 at most; nothing if nobody ever had to wait for it. Never waits.

    One that is written just then is left out.
    """
    kept = lock._kept
    if kept is None or kept.trail is None:
        return ()
    out = ffi.new(STEPS, TRAIL_ROOM)
    count = int(lib.lots_trail_read(kept.trail, out))
    names, now = _Names(), time.monotonic()
    return tuple(_transition(out[i], names, now) for i in range(count))


def lines(transitions: Sequence[Transition], word: int, most: int = _FEW) -> list[str]:
    """Return the last few of them as text, for a lock that has that word now."""
    if not transitions:
        return [NONE_NOTED]
    shown = transitions[-most:]
    earlier = shown[0].number - 1
    found = [f"its last steps where somebody had to wait{f', after {earlier} earlier ones' if earlier else ''}:"]
    found += [f"    {transition}" for transition in shown]
    if shown[-1].after.word != word and decode(word).problems:
        found.append(f"    none of these made it {word:#x}: who did not have to wait did, or a stray write")
    return found


def _transition(step: Any, names: _Names, now: float) -> Transition:
    what, by_waiter = int(step.what), step.what < lib.LOTS_STEP_RELEASED
    before, after = decode(int(step.before)), decode(int(step.after))
    if what == _ENTERED and not (step.mode in (WRITE, UPGRADE) and after.readers):
        what = _ACQUIRED
    return Transition(
        number=int(step.number),
        seconds=max(0.0, now - step.when / 1e9),
        what=_STEPS[what][0],
        who=names.waiter(step.who, step.who_loop) if by_waiter else names.thread(int(step.who)),
        mode=MODE_NAMES[step.mode] if by_waiter else None,
        whom=f"{names.waiter(step.whom, step.whom_loop)} ({MODE_NAMES[step.whom_mode]})" if step.count else None,
        more=max(0, step.count - 1),
        before=before,
        after=after,
    )


class _Names:
    """Who is who, at one moment."""

    def __init__(self) -> None:
        self._living = _threads.living()
        self._active = _threads.active()
        self._loops = _loops.names()

    def waiter(self, cookie: int, loop: int) -> str:
        """Return who waits, or waited, as that cookie."""
        if not loop:
            return self.thread(int(cookie) >> 1)
        name = _asyncio_graph.name_of_who_waits(cookie) if loop in self._loops else None
        return f"{'a task' if name is None else f'task {name!r}'} of {self._loops.get(loop, 'a loop that has ended')}"

    def thread(self, token: int) -> str:
        """Return which thread has, or had, that number."""
        ident = self._living.idents.get(token)
        thread = None if ident is None else self._active.get(ident)
        if thread is not None:
            return f"thread {thread.name!r}"
        name = _threads.name_of_ended(token)
        if ident or not token or not self._living.complete:
            return "a thread that is not known" if name is None else f"thread {name!r}"
        return "a thread that has ended" if name is None else f"thread {name!r}, which has ended"


_refusals.use_transitions(transitions_of, lines)
