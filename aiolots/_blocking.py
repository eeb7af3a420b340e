"""A sync acquire that would park the thread of a running event loop.

While the thread sleeps, no task of that loop can run. So the loop's tasks are passed over by every wake (the core's
mailbox is marked blocked), the user is told (policy), and an acquire that could never end is refused: one that waits for a
lock that a task of this very loop holds, or for a thread that waits for such a lock, and so on.
"""

from __future__ import annotations

import contextlib
import os
import threading
import warnings
import weakref
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Literal

from aiolots import _loops
from aiolots._errors import DeadlockError, LoopBlockedWarning
from aiolots._lib import MUTEX, WRITE, lib
from aiolots._waiters import waiters_of_thread

if TYPE_CHECKING:
    from aiolots._pure import LockBase

LoopBlockPolicy = Literal["allow", "warn", "raise"]

_POLICIES: dict[str, LoopBlockPolicy] = {"allow": "allow", "warn": "warn", "raise": "raise"}


def _policy_from_environment() -> LoopBlockPolicy:
    value = os.environ.get("AIOLOTS_LOOP_BLOCK", "warn")
    if value not in _POLICIES:
        warnings.warn(f"AIOLOTS_LOOP_BLOCK={value!r} is none of {', '.join(_POLICIES)}: taken as warn", stacklevel=2)
    return _POLICIES.get(value, "warn")


_policy: LoopBlockPolicy = _policy_from_environment()


def loop_block_policy() -> LoopBlockPolicy:
    """Return what happens when a sync acquire would park a running loop's thread. Never waits."""
    return _policy


def set_loop_block_policy(policy: LoopBlockPolicy) -> LoopBlockPolicy:
    """Choose what happens when a sync acquire would park a running loop's thread; return the policy before.

    "allow" parks silently, "warn" (the default; AIOLOTS_LOOP_BLOCK sets another) parks with a LoopBlockedWarning, "raise"
    raises RuntimeError instead of parking. Uncontended acquires never park and are free under every policy. ValueError for
    anything else. For the whole process; never waits.
    """
    global _policy
    if policy not in _POLICIES:
        raise ValueError(f"a loop block policy is one of {', '.join(_POLICIES)}, not {policy!r}")
    before, _policy = _policy, policy
    return before


@contextlib.contextmanager
def running_loop(lock: LockBase[Any], mode: int, loop: Any, *, timed: bool) -> Generator[None]:
    """Around the sleep of a sync acquire on the thread of a running loop."""
    if not timed and (why := _never_ends(lock, mode, loop)):
        raise DeadlockError(
            f"{lock!r}: this acquire blocks the event loop, and {why}. It could never end. "
            "In a task write `async with` or `await`, or take the lock with a timeout."
        )
    if _policy != "allow":
        message = (
            f"{lock!r} is taken with the thread's form on the thread of a running event loop, and is not free: all tasks of "
            "that loop stand still until it is. In a task write `async with` or `await`."
        )
        if _policy == "raise":
            raise RuntimeError(message)
        warnings.warn(message, LoopBlockedWarning, stacklevel=6)
    port = _loops.own_port()
    if port is None:  # no task of it has ever waited, and none can begin to now
        yield
        return
    mailbox = port.mailbox
    try:
        lib.lots_mailbox_block(mailbox)
        yield
    finally:
        lib.lots_mailbox_unblock(mailbox)


def _never_ends(lock: LockBase[Any], mode: int, loop: Any) -> str:
    """Say why the wait for `lock` cannot end while this loop stands still; empty if it may."""
    return _holder_cannot_let_go(lock, mode, weakref.ref(loop), {id(lock)})


def _holder_cannot_let_go(lock: LockBase[Any], mode: int, loop: Any, seen: set[int]) -> str:
    # A reader that waits, waits for the writer; one that holds a share beside it is not in its way.
    exclusive = mode in (WRITE, MUTEX)
    for holder_mode, holder in list(lock._holders.values()):
        if not exclusive and holder_mode not in (WRITE, MUTEX):
            continue
        if holder == loop:
            return f"a task of this loop holds {lock!r}"
        if holder == threading.get_ident():
            return f"this thread itself holds {lock!r}"
        if not isinstance(holder, int):
            continue  # a task of another loop: it can go on
        for waited_for, waits_in_mode in waiters_of_thread(holder):
            if id(waited_for) in seen:
                continue
            why = _holder_cannot_let_go(waited_for, waits_in_mode, loop, seen | {id(waited_for)})
            if why:
                return f"the thread that holds {lock!r} waits for {waited_for!r}; {why}"
    return ""
