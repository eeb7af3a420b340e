"""Below the locks: the parking lot itself, who waits in it, and the settings of its wakes.

A primitive of your own is a word of state (whatever changes in one step: a deque, a dict, a Mutex held for a moment) and
these verbs. To wait: `park(key, validate=...)`, where validate looks at the state. To let somebody in: change the state
first, then unpark. See examples/semaphore.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from aiolots import _loops, _seconds
from aiolots._lib import COUNT, FLAG, NULL, ffi, lib
from aiolots._parking import EVERYBODY, ParkResult, Reason, Wait, notify, waiting
from aiolots._waiters import Waiter, waiters

__all__ = [
    "ParkResult",
    "Parked",
    "UnparkResult",
    "Waiter",
    "park",
    "requeue",
    "revocations",
    "set_revoke_after",
    "unpark_all",
    "unpark_filter",
    "unpark_one",
    "waiters",
]


@dataclass(frozen=True, slots=True)
class UnparkResult:
    """What an unpark did; true if it unparked anybody.

    Attributes:
        count: how many were unparked.
        have_more: others were still queued at the key, a moment later.
        requeued: how many were moved to the other key.
    """

    count: int
    have_more: bool
    requeued: int = 0

    def __bool__(self) -> bool:
        return self.count > 0


class Parked(Wait[ParkResult]):
    """A request to park. `.acquire()` in a thread, `await` in a task; each gives a ParkResult."""

    __slots__ = ("_last_thing", "_validate")

    def __init__(
        self,
        key: object,
        validate: Callable[[], bool] | None,
        before_sleep: Callable[[], object] | None,
        seconds: float | None,
    ) -> None:
        super().__init__(key, seconds)
        self._validate = validate
        self._last_thing = before_sleep

    def _look(self) -> bool:
        return self._validate is not None and not self._validate()

    def _before_sleep(self) -> None:
        if self._last_thing is not None:
            self._last_thing()

    def _outcome(self, reason: Reason, token: int) -> ParkResult:
        return ParkResult(reason == "unparked", token, reason)


def park(
    key: object,
    *,
    validate: Callable[[], bool] | None = None,
    before_sleep: Callable[[], object] | None = None,
    timeout: float | None = None,
) -> Parked:
    """Request to wait at a key until an unpark: `.acquire()` blocks a thread, `await` suspends a task; a ParkResult.

    The key is any object, by identity; it is kept alive while somebody waits at it. Who waits at one key is unparked first
    come first, threads and tasks alike, but for tasks whose event loop cannot run: they are passed over. An unpark that a
    task does not take up in time, because its loop is stopped, closed or busy, goes to the next at the key, if there is one.

    `validate()` is called once the waiter is in the queue, before it sleeps: if it returns False the waiter leaves at once,
    "invalid", unless it was unparked by then. Other parking lots call it before queueing, under the bucket's lock. Python
    code must not run there; and queueing first is as good: whoever changes the state and then unparks either finds the
    waiter in the queue, or has made the change before validate looks. A task whose loop was passed over, or lost its unpark,
    validates again when it runs. `before_sleep()` is called once after that, as the place to release a lock. An exception
    out of either leaves the queue and goes on.

    A timeout in seconds makes it "timed_out"; with 0 it only validates, without queueing. Cancellation and Ctrl-C leave no
    trace: an unpark that came first is passed on to the next at the key. ValueError for a negative timeout. As any request:
    RuntimeError when used twice, RuntimeWarning when dropped unused. On the thread of a running event loop acquire() does
    what set_loop_block_policy says.
    """
    return Parked(key, validate, before_sleep, None if timeout is None else _seconds.checked(timeout))


def unpark_one(key: object, token: int = 0, callback: Callable[[UnparkResult], object] | None = None) -> UnparkResult:
    """Unpark who waits longest at a key, if anybody waits; it gets the token, an int of 64 bits without a sign.

    The callback, if there is one, is called with the result once the wake is on its way (under no lock: see park). Passes
    over tasks whose loop cannot run. Never waits.
    """
    result = UnparkResult(notify(id(key), 1, token=token), _have_more(key))
    if callback is not None:
        callback(result)
    return result


def unpark_all(key: object, token: int = 0) -> UnparkResult:
    """Unpark all who wait at a key when it is called; each gets the token. Those who come later wait. Never waits itself.

    Tasks whose loop cannot run are passed over; they validate again when it runs.
    """
    return UnparkResult(notify(id(key), EVERYBODY, token=token), _have_more(key))


def unpark_filter(key: object, filter: Callable[[Waiter], bool], token: int = 0) -> UnparkResult:  # noqa: A002
    """Unpark those who wait at a key and for whom filter(waiter) is true; each gets the token.

    The filter is asked about each who is queued when this is called, first come first, under no lock: one that leaves
    meanwhile is not unparked and not counted. Never waits.
    """
    count = 0
    for waiter in waiters(key=key):
        if waiter.expects and not waiter.woken and filter(waiter):
            count += notify(id(key), 1, ticket=waiter.ticket, token=token)
    return UnparkResult(count, _have_more(key))


def requeue(from_key: object, to_key: object, *, wake: int = 1, move: int | None = None, token: int = 0) -> UnparkResult:
    """Unpark up to `wake` of those who wait at a key, and move up to `move` (None: all) of the others to another key.

    In one step: nobody joins or leaves either queue in between. Who is moved sleeps on, behind those at the other key, until
    it is unparked there; its validate() is not asked. The token is for those unparked. Waiters of a condvar are left alone.
    ValueError if a number is negative. Never waits.
    """
    if wake < 0 or (move is not None and move < 0):
        raise ValueError("one can unpark, or move, no less than 0 waiters")
    port = _loops.own_port()
    moved = ffi.new(COUNT)
    try:
        count = lib.lots_requeue(
            id(from_key),
            id(to_key),
            min(wake, EVERYBODY),
            EVERYBODY if move is None else min(move, EVERYBODY),
            token,
            NULL if port is None else port.mailbox,
            ffi.new(FLAG),
            moved,
        )
    finally:
        if port is not None:
            port.drain()
        if moved[0]:
            _follow(to_key)
    return UnparkResult(int(count), _have_more(from_key), int(moved[0]))


def _follow(to_key: object) -> None:
    """Let those who were moved keep their new key alive. Wherever they came from: another thread may move them on meanwhile,
    and come here first."""
    for wait in list(waiting.values()):
        if wait._address != id(to_key) and lib.lots_op_key(wait._op) == id(to_key):
            wait._address = id(to_key)
            wait._key = to_key


def _have_more(key: object) -> bool:
    return bool(lib.lots_expected(id(key)))


def set_revoke_after(seconds: float) -> float:
    """Set how long a woken task may take to run before its wake goes to the next waiter (0.1 s by default).

    A loop that is stopped, closed, or busy for longer than this in one callback loses its turn, not its place. Returns the
    setting before, in seconds. For the whole process. ValueError unless positive and finite; never waits.
    """
    value = _seconds.checked(seconds)
    if value == 0 or value > 1e6:
        raise ValueError(f"the time to take up a wake is positive and finite, not {seconds!r}")
    return float(lib.lots_revoke_after(max(1, int(value * 1e9)))) / 1e9


def revocations() -> int:
    """Return how many wakes were revoked since the process began. Never waits."""
    return int(lib.lots_revocations())
