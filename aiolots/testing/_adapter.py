"""What a lock offers, and how it is used: all that the scenarios know of it."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Literal

Mode = Literal["read", "write", "upgradable"]

# lock: one at a time, or many readers; all else is more than that, and has words of its own in Adapter.
Kind = Literal["lock", "upgradable", "reentrant", "condition", "semaphore", "event", "barrier", "once"]


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
    DOWNGRADE = enum.auto()  # a writer can become a reader, with no writer in between
    OWNER = enum.auto()  # it is known who holds it; of a semaphore it is not, for anybody may release
    CLEAR = enum.auto()  # an event can be taken back
    SHIELD = enum.auto()  # a wait takes the lock again even if asyncio's own cancel() comes while it does
    JOINS = enum.auto()  # a thread is refused what somebody holds who joins it
    AWAITS = enum.auto()  # a task is refused what somebody holds who awaits it

    def __str__(self) -> str:
        return ", ".join((offer.name or "").lower().replace("_", " ") for offer in Offer if offer and offer in self)


class Adapter:
    """Tells the scenarios how to use a lock. Subclass it; override what the lock offers, in its documentation's words.

    Each acquire is asked for by a thread or task of its own, and released there, unless the lock offers HANDOVER. What ends
    in `_task` is called in a task, all else in a thread.
    """

    name: ClassVar[str] = ""  # as the scoreboard names the lock: "package.Class"
    package: ClassVar[str] = ""  # what must be installed; imported in `make`, not before
    offers: ClassVar[Offer] = Offer.NOTHING
    kinds: ClassVar[tuple[Kind, ...]] = ("lock",)  # whose scenarios are played; the first is where the scoreboard has it

    def make(self) -> Any:
        """Return a new lock, or what else it is. Called in a thread without a running event loop."""
        raise NotImplementedError

    # --- all but event, barrier and once: the lock itself, that of the condition, or the semaphore's only permit ---

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

    def dump(self, lock: Any) -> object:
        """Return what the lock tells of itself and of who waits, as for a log; called in threads, tasks and signal handlers."""
        return repr(lock)

    # --- upgradable: `acquire` knows the mode "upgradable" ---

    def upgrade(self, lock: Any, held: Any, timeout: float | None) -> Any:
        """From upgradable to write, for `release`; None if it was too late: upgradable still."""
        raise NotImplementedError

    def downgrade(self, lock: Any, held: Any) -> Any:
        """From write to read, for `release`. Needs DOWNGRADE, and nothing else of this kind."""
        raise NotImplementedError

    async def upgrade_task(self, lock: Any, held: Any, timeout: float | None) -> Any:
        """As upgrade()."""
        raise NotImplementedError

    async def downgrade_task(self, lock: Any, held: Any) -> Any:
        """As downgrade()."""
        return self.downgrade(lock, held)

    # --- condition and event (of which nothing is held) ---

    def wait(self, lock: Any, held: Any, timeout: float | None) -> bool:
        """Wait for a notification, or for the event; whether it came in time."""
        raise NotImplementedError

    async def wait_task(self, lock: Any, held: Any, timeout: float | None) -> bool:
        """As wait()."""
        raise NotImplementedError

    # --- condition ---

    def notify(self, lock: Any, held: Any, everybody: bool) -> None:
        """Notify one who waits, or all. The lock is held."""
        raise NotImplementedError

    async def notify_task(self, lock: Any, held: Any, everybody: bool) -> None:
        """As notify()."""
        self.notify(lock, held, everybody)

    # --- event ---

    def set(self, event: Any) -> None:
        """Put the flag up."""
        raise NotImplementedError

    def clear(self, event: Any) -> None:
        """Take it down."""
        raise NotImplementedError

    async def set_task(self, event: Any) -> None:
        """As set()."""
        self.set(event)

    # --- semaphore ---

    def make_many(self, permits: int) -> Any:
        """Return a new semaphore with more than one permit."""
        raise NotImplementedError

    # --- barrier ---

    def make_for(self, parties: int) -> Any:
        """Return a new barrier for so many."""
        raise NotImplementedError

    def arrive(self, barrier: Any, timeout: float | None) -> int:
        """Wait for the others; a place among them, from 0. Raise if the barrier is broken or the time is up."""
        raise NotImplementedError

    async def arrive_task(self, barrier: Any, timeout: float | None) -> int:
        """As arrive()."""
        raise NotImplementedError

    # --- once ---

    def once(self, cell: Any, f: Callable[[], object]) -> object:
        """Return the value, made by f if there is none."""
        raise NotImplementedError

    async def once_task(self, cell: Any, f: Callable[[], Awaitable[object]]) -> object:
        """The same for an `async def`."""
        raise NotImplementedError
