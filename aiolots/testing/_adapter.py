"""What a lock offers, and how it is used: all that the scenarios know of it."""

from __future__ import annotations

import enum
from typing import Any, ClassVar, Literal

Mode = Literal["read", "write"]


class Offer(enum.Flag):
    """What a lock offers, as its documentation says. A scenario that needs more is n/a for it."""

    NOTHING = 0
    THREAD = enum.auto()  # threads wait for it
    TASK = enum.auto()  # tasks wait for it
    SHARED = enum.auto()  # read and write; without it every acquire is exclusive
    THREAD_TIMEOUT = enum.auto()  # acquire in time or not at all, in a thread
    TASK_TIMEOUT = enum.auto()  # the same in a task, by its own means and not by cancellation
    TRY = enum.auto()  # acquire now or never, in a thread: a timeout of 0
    LOOPS = enum.auto()  # tasks of several event loops, each in its thread, share one lock
    MIXED = enum.auto()  # threads and tasks share one lock
    HANDOVER = enum.auto()  # whoever has what acquire gave may release, in whichever task or thread
    DROPPED = enum.auto()  # what acquire gave lets the lock go when it is dropped
    TURNS = enum.auto()  # readers and writers take turns: none of them is documented to be preferred for as long as it comes
    FORK = enum.auto()  # after fork() the child can go on with what its only thread holds

    def __str__(self) -> str:
        return ", ".join((offer.name or "").lower().replace("_", " ") for offer in Offer if offer and offer in self)


class Adapter:
    """Tells the scenarios how to use a lock. Subclass it; override what the lock offers, in its documentation's words.

    Each acquire is asked for by a thread or task of its own, and released there, unless the lock offers HANDOVER.
    """

    name: ClassVar[str] = ""  # as the scoreboard names the lock: "package.Class"
    package: ClassVar[str] = ""  # what must be installed; imported in `make`, not before
    offers: ClassVar[Offer] = Offer.NOTHING

    def make(self) -> Any:
        """Return a new lock. Called in a thread without a running event loop."""
        raise NotImplementedError

    def acquire(self, lock: Any, mode: Mode, timeout: float | None) -> Any:
        """Acquire in a thread, within `timeout` seconds (None: however long it takes).

        Return something for `release`, or None if it was too late.
        """
        raise NotImplementedError

    def release(self, lock: Any, mode: Mode, held: Any) -> None:
        """Release in a thread; `held` is what `acquire` gave."""
        raise NotImplementedError

    async def acquire_task(self, lock: Any, mode: Mode, timeout: float | None) -> Any:
        """Acquire in a task, within `timeout` seconds; None if it was too late."""
        raise NotImplementedError

    async def release_task(self, lock: Any, mode: Mode, held: Any) -> None:
        """Release in a task."""
        raise NotImplementedError
