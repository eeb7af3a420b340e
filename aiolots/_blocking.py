"""A sync acquire that would park the thread of a running event loop.

While the thread sleeps, no task of that loop can run. So the loop's tasks are passed over by every wake (the core's
mailbox is marked blocked), the user is told (policy), and an acquire that could never end is refused: one that waits for a
lock that a task of this very loop holds, or for a thread that waits for such a lock, and so on.
"""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Literal

from aiolots import _loops, _troubles
from aiolots._errors import DeadlockError, LoopBlockedWarning
from aiolots._lib import FAIR_MUTEX, MUTEX, UPGRADE, WRITE, lib
from aiolots._waiters import is_behind_an_untimed_thread, waiters_of_thread

if TYPE_CHECKING:
    from aiolots._front import LockBase

LoopBlockPolicy = Literal["allow", "warn", "raise"]

_FOR_ALL = (WRITE, MUTEX, FAIR_MUTEX, UPGRADE)  # modes that wait for everybody, and keep everybody out

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
    port = before_blocking(lock, mode, loop, timed)
    try:
        yield
    finally:
        if port is not None:
            lib.lots_mailbox_unblock(port.mailbox)


def before_blocking(lock: LockBase[Any], mode: int, loop: Any, timed: bool) -> _loops.Port | None:
    """The thread of a running loop is about to sleep: refuse what could never end, tell the user, mark the loop blocked.

    Returns the loop's port, to be unblocked afterwards (the tasks that were passed over are nudged then). Raises
    DeadlockError, or what the policy says.
    """
    if not timed and (why := _never_ends(lock, mode)):
        _troubles.refused(lock)
        raise DeadlockError(
            f"{lock!r}: this acquire would block the event loop, and {why}. It could never end. "
            "In a task write `async with` or `await`, or take the lock with a timeout."
        )
    if _policy != "allow":
        message = (
            f"{lock!r} is taken with the thread's form on the thread of a running event loop, and is not free: all tasks of "
            "that loop stand still until it is. In a task write `async with` or `await`."
        )
        if _policy == "raise":
            raise RuntimeError(message)
        warnings.warn(message, LoopBlockedWarning, stacklevel=_frames_of_ours())
    port = _loops.port_if_any(loop)
    if port is not None:  # else no task of it has ever waited, and none can begin to now
        try:
            lib.lots_mailbox_block(port.mailbox)
        except BaseException:  # a signal handler's, just after the call
            lib.lots_mailbox_unblock(port.mailbox)
            raise
    return port


def interrupted() -> None:
    """A signal came while a thread slept: called by the native front, for entering a function runs what is pending."""


def _frames_of_ours() -> int:
    """How many frames up the user's code is, as warnings.warn counts from our caller."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(
        ("aiolots._", "aiolots.compat.", "contextlib")
    ):
        level, frame = level + 1, frame.f_back
    return level


def _never_ends(lock: LockBase[Any], mode: int) -> str:
    """Say why the wait for `lock` cannot end while this thread's loop stands still; empty if it may."""
    return _holder_cannot_let_go(lock, mode, lib.lots_thread_token(), {id(lock)})


def _holder_cannot_let_go(lock: LockBase[Any], mode: int, here: int, seen: set[int]) -> str:
    """Follow holders to what they wait for, back to this thread. Every link is looked at again before it is believed: a
    holder that has let go meanwhile was never part of a cycle."""
    # A reader that waits, waits for a writer: one that is in, or one that waits itself for the readers to leave.
    for_all = mode in _FOR_ALL or is_behind_an_untimed_thread(lock)
    for holder in lock._holder_list():
        if not for_all and holder.mode not in _FOR_ALL:
            continue
        if holder.thread == here:
            # Taken with the thread's colour, the guard may be in another thread's hands by now.
            if holder.is_task and holder in lock._holder_list():
                return f"a task of this loop holds {lock!r}"
            continue
        # A thread that waits can let go of nothing, and if it is a loop's, none of that loop's tasks can either.
        for waited_for, waits_in_mode in waiters_of_thread(holder.thread):
            if id(waited_for) in seen:
                continue
            why = _holder_cannot_let_go(waited_for, waits_in_mode, here, seen | {id(waited_for)})
            if why and holder in lock._holder_list():
                return f"the thread that holds {lock!r} waits for {waited_for!r}; {why}"
    return ""
