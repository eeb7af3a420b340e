"""The end of each wait for a lock, told to whoever has subscribed to it.

Whoever waited must not wait for those who listen, nor run what they are given: the end of a wait is a row in a bounded queue,
and one daemon thread takes the rows from there and calls the callbacks. It looks every twentieth of a second, so nobody who
puts something there has to wake it; what does not fit any more is counted and dropped. While nobody has subscribed there is
no thread, and nothing is recorded.

Putting a row there takes no lock and may happen anywhere: in a finalizer, in a signal handler, between two bytecodes of itself.
What waits in the delivering thread, within a callback, is not told: it would never end.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any, Literal

from aiolots._contention import Tally
from aiolots._lib import lib
from aiolots._refusals import place
from aiolots._waiters import MODE_NAMES, Waiter, _Info, first_infos, waiter_of
from aiolots._word import DecodedWord, decode

ACQUIRED, TIMED_OUT, CANCELLED = 1, 2, 4
ALL = ACQUIRED | TIMED_OUT | CANCELLED
Outcome = Literal["acquired", "timed_out", "cancelled"]
_OUTCOMES: dict[int, Outcome] = {ACQUIRED: "acquired", TIMED_OUT: "timed_out", CANCELLED: "cancelled"}

_MOST = 10_000  # rows in the queue
_EVERY = 0.05  # seconds between two looks
_QUEUED = 8  # of those who are queued at that moment, how many an event names

_log = logging.getLogger("aiolots")


@dataclass(frozen=True)
class LockEvent:
    """The end of one wait for a lock.

    Attributes:
        lock: which lock: `<aiolots.RwLock 'catalog'>`.
        lock_name: its name, or None.
        label: what metrics call it: its name, or its class; as it was at its first wait.
        word: its word, decoded, as it was at the end of the wait.
        mode: what was asked for: "read", "read_recursive", "write", "lock", "upgradable_read" or "upgrade".
        waiter: who waited: "thread" or "task".
        outcome: "acquired", "timed_out" or "cancelled" (a task's cancellation; a thread's signal handler that raised).
        waited: for how long, in seconds.
        place: where: `file.py:12 in function`.
        queued: the first ones of those who were in the lock's queues then, 8 at most.
        holders: of a wait that timed out, who held the lock then and what they did, if it is tracked (aiolots.tracking).
        time: when: time.time(), in seconds.
    """

    lock: str
    lock_name: str | None
    label: str
    word: DecodedWord
    mode: str
    waiter: Literal["thread", "task"]
    outcome: Outcome
    waited: float
    place: str
    queued: tuple[Waiter, ...] = ()
    holders: tuple[str, ...] = ()
    time: float = 0.0

    def __str__(self) -> str:
        queued = f", {len(self.queued)} queued" if self.queued else ""
        held = f", held by {', '.join(self.holders)}" if self.holders else ""
        return (
            f"{self.lock}: {self.mode} by a {self.waiter} {self.outcome.replace('_', ' ')} after {self.waited:.3g} s, "
            f"at {self.place}; word {self.word.word:#x}: {self.word}{held}{queued}"
        )


Callback = Callable[[LockEvent], object]


class _Subscription:
    """Who wants to hear of which outcomes."""

    __slots__ = ("callback", "failed", "outcomes")

    def __init__(self, callback: Callback, outcomes: int) -> None:
        self.callback = callback
        self.outcomes = outcomes
        self.failed = False  # it has been logged


_rows: deque[tuple[Any, ...]] = deque()  # no maxlen, which would drop the oldest and not count it
_subscriptions: list[_Subscription] = []
_deliverers: dict[str, threading.Thread] = {}  # "now": who delivers; whoever puts itself there first, does
_delivering: set[int] = set()  # idents of threads
dropped, failures, delivered = Tally(), Tally(), Tally()
wanted = 0  # the outcomes that anybody wants to hear of


def _switch_nothing(outcomes: int) -> None:
    """The front in Python looks at `wanted`."""


_switch: Callable[[int], object] = _switch_nothing


def use_switch(switch: Callable[[int], object]) -> None:
    """Let the native front know, too, of which outcomes to tell."""
    global _switch  # noqa: PLW0603
    _switch = switch
    switch(wanted)


def _outcomes() -> int:
    outcomes = 0
    for subscription in _subscriptions.copy():
        outcomes |= subscription.outcomes
    return outcomes


def _look_at_subscriptions() -> None:
    global wanted  # noqa: PLW0603
    while True:  # another may subscribe meanwhile: whoever comes last leaves it right
        outcomes = _outcomes() if _count_site is None else ALL
        if outcomes == wanted:
            return
        wanted = outcomes
        _switch(outcomes)


_count_site: Callable[..., None] | None = None


def use_sites(count: Callable[..., None] | None) -> None:
    """Have it count each wait that ends, as wait_ended is told of it, by who waited; None: no more."""
    global _count_site  # noqa: PLW0603
    _count_site = count
    _look_at_subscriptions()


def subscribe(callback: Callback, outcomes: int) -> Callable[[], None]:
    """Have the ends of waits told, by a thread of ours, from now on; returns what ends that."""
    if not callable(callback):
        raise TypeError(f"a callback is to be called, {callback!r} cannot be")
    return _add(_Subscription(callback, outcomes))


def each_second(function: Callable[[], object]) -> Callable[[], None]:
    """Have it called about once a second by the thread that tells of waits; returns what ends that."""
    return _add(_Subscription(lambda _: function(), 0))


def _add(subscription: _Subscription) -> Callable[[], None]:
    _subscriptions.append(subscription)
    _look_at_subscriptions()
    _see_that_it_is_delivered()

    def unsubscribe() -> None:
        """Hear no more of it. Again: nothing."""
        if subscription in _subscriptions:
            with contextlib.suppress(ValueError):  # by another thread, just now
                _subscriptions.remove(subscription)
            _look_at_subscriptions()

    return unsubscribe


# --- whoever has waited ---------------------------------------------------------------------------------------------


def wait_ended(lock: Any, mode: int, is_task: bool, outcome: int, ns: int, code: CodeType | None, at: int) -> None:
    """Put a row into the queue, and count its place. Only if somebody wants to hear of that outcome."""
    if (count := _count_site) is not None:
        count(lock, mode, is_task, outcome, ns, code, at)
        if not _outcomes() & outcome:
            return
    if threading.get_ident() in _delivering:
        return
    if len(_rows) >= _MOST:  # of those who come here at the same time, each may add one more
        dropped.add()
        return
    queued = first_infos(lock, _QUEUED)
    site = None if code is None else (code, at)
    label = lock._kept.label
    held = holders_of(lock) if outcome == TIMED_OUT else ()
    kind = type(lock).__name__
    _rows.append((kind, lock.name, label, lock.word, mode, is_task, outcome, ns, site, queued, held, time.time()))


def _nobody_noted(_lock: Any) -> tuple[str, ...]:
    return ()


holders_of: Callable[[Any], tuple[str, ...]] = _nobody_noted  # of tracking, which is further up


def use_holders(function: Callable[[Any], tuple[str, ...]]) -> None:
    """Have it say who holds a lock."""
    global holders_of  # noqa: PLW0603
    holders_of = function


_OURS = ("aiolots._", "aiolots.compat.")


def users_place() -> tuple[CodeType, int]:
    """Return where the user's own code is that runs us."""
    frame: FrameType = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(_OURS):
        frame = frame.f_back
    return frame.f_code, frame.f_lasti


def wait_is_over(lock: Any, op: Any, mode: int, is_task: bool, outcome: int, site: tuple[CodeType, int] | None = None) -> None:
    """Tell of a wait in Python, if anybody is to know: where the lock was waited for longest, and who has subscribed."""
    ns = int(lib.lots_op_waited(op))
    if not ns:
        return
    longest = lock._longest
    if longest is not None and ns <= longest[0] and not wanted & outcome:
        return
    code, at = users_place() if site is None else site
    lock._longest = (ns, code, at)
    if wanted & outcome:
        wait_ended(lock, mode, is_task, outcome, ns, code, at)


# --- whoever delivers -----------------------------------------------------------------------------------------------


def _see_that_it_is_delivered() -> None:
    thread = threading.Thread(target=_deliver, name="aiolots-telemetry", daemon=True)
    there = _deliverers.setdefault("now", thread)
    if there is not thread and not there.is_alive():  # it died; or it is about to start, and ends when it sees this one
        _leave(there)
        there = _deliverers.setdefault("now", thread)
    if there is thread:
        try:
            thread.start()
        except BaseException:
            _leave(thread)
            raise


def _leave(thread: threading.Thread) -> None:
    """Let another deliver. Whoever is put out by mistake, at the same time, comes back: see _deliver."""
    if _deliverers.get("now") is thread:
        _deliverers.pop("now", None)


def _deliver() -> None:
    me = threading.current_thread()
    ident = threading.get_ident()
    try:
        _delivering.add(ident)
        seconds = time.monotonic()
        while _deliverers.setdefault("now", me) is me:
            _tell_all()
            if time.monotonic() - seconds >= 1:
                seconds = time.monotonic()
                for subscription in _subscriptions.copy():
                    if not subscription.outcomes:
                        _call(subscription, None)
            if not _subscriptions:
                _deliverers.pop("now", None)
                if not _subscriptions:  # else somebody came just now: back, if there is no other thread for it by then
                    break
            else:
                time.sleep(_EVERY)
    finally:
        _delivering.discard(ident)
        if _deliverers.get("now") is me:  # what ended it was raised from outside (PyThreadState_SetAsyncExc)
            _leave(me)
            if _subscriptions:
                _see_that_it_is_delivered()


def _tell_all() -> None:
    """Tell what is queued. Never raises: whatever users' names, callbacks and handlers do, the next event is told."""
    while _rows:
        try:
            row = _rows.popleft()
        except IndexError:  # another thread delivers, for a moment
            return
        try:
            event = _event(*row)
        except BaseException:  # noqa: BLE001  # of the repr of a lock's name
            dropped.add()
        else:
            _tell(event)


def _tell(event: LockEvent) -> None:
    outcome = next(number for number, name in _OUTCOMES.items() if name == event.outcome)
    for subscription in _subscriptions.copy():
        if subscription.outcomes & outcome and _call(subscription, event):
            delivered.add()


def _call(subscription: _Subscription, event: Any) -> bool:
    """Whether it returned."""
    try:
        subscription.callback(event)
    except BaseException:  # noqa: BLE001  # SystemExit too: it would end the thread for all others
        failures.add()
        if not subscription.failed:
            subscription.failed = True
            with contextlib.suppress(BaseException):  # of a filter or a handler
                _log.exception("aiolots.telemetry: %r failed; its next failures are counted only", subscription.callback)
        return False
    return True


@functools.lru_cache(256)
def _place(site: tuple[CodeType, int] | None) -> str:
    return place(site)


def _event(
    kind: str,
    name: str | None,
    label: str,
    word: int,
    mode: int,
    is_task: bool,
    outcome: int,
    ns: int,
    site: tuple[CodeType, int] | None,
    queued: Callable[[], list[_Info]],
    held: tuple[str, ...],
    moment: float,
) -> LockEvent:
    return LockEvent(
        lock=f"<aiolots.{kind}{'' if name is None else f' {name!r}'}>",
        lock_name=name,
        label=label,
        word=decode(word),
        mode=MODE_NAMES[mode],
        waiter="task" if is_task else "thread",
        outcome=_OUTCOMES[outcome],
        waited=ns / 1e9,
        place=_place(site),
        queued=tuple(waiter_of(info) for info in queued()),
        holders=held,
        time=moment,
    )


def _begin_again() -> None:
    """In a forked child: what was queued is the parent's to tell, and so is the thread. The subscriptions hold."""
    _rows.clear()
    _deliverers.clear()
    _delivering.clear()
    if _subscriptions:
        _see_that_it_is_delivered()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_again)
