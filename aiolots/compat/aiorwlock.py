"""`aiorwlock` on the locks of aiolots: RWLock, re-entrant for each task, bound to no event loop.

    from aiolots.compat.aiorwlock import RWLock    # instead of `from aiorwlock import RWLock`

Where it differs from aiorwlock 1.5: tasks of any event loops may share it. Readers that wait behind a writer get in at once
when that is cancelled, and when a writer that reads too ends its writing; a stream of writers does not starve readers.
"""

from __future__ import annotations

import weakref
from types import TracebackType
from typing import Any

from aiolots import ReadGuard, RwLock, WriteGuard
from aiolots.compat.asyncio import Task, current_task, sleep

__all__ = ["RWLock"]


class _Hold:
    """How one task holds the lock: by one guard, however often it has entered."""

    __slots__ = ("guard", "reads", "writes")

    def __init__(self, guard: Any, *, reads: int = 0, writes: int = 0) -> None:
        self.guard: ReadGuard[None] | WriteGuard[None] = guard  # of a task's colour, or a thread's: nobody waits with it
        self.reads = reads
        self.writes = writes


class _Core:
    """The lock, and who is in. A task changes only what is noted of itself."""

    __slots__ = ("fast", "holds", "lock")

    def __init__(self, fast: bool) -> None:
        self.fast = fast
        self.lock = RwLock(None)
        # A task that ends while it is in takes its guard along, which then lets others in, with a ResourceWarning.
        self.holds: weakref.WeakKeyDictionary[Task[Any], _Hold] = weakref.WeakKeyDictionary()

    async def acquire_read(self) -> None:
        me = _this_task()
        hold = self.holds.get(me)
        if hold is not None:
            hold.reads += 1
        else:
            guard = self.lock.try_read()
            if guard is None:
                self.holds[me] = _Hold(await self.lock.read(), reads=1)
                return
            self.holds[me] = _Hold(guard, reads=1)
        if not self.fast:
            try:
                await sleep(0)
            except BaseException:
                self.release_read()
                raise

    async def acquire_write(self) -> None:
        me = _this_task()
        hold = self.holds.get(me)
        if hold is not None:
            if hold.writes == 0:
                raise RuntimeError("Cannot upgrade RWLock from read to write")
            hold.writes += 1
        else:
            guard = self.lock.try_write()
            if guard is None:
                self.holds[me] = _Hold(await self.lock.write(), writes=1)
                return
            self.holds[me] = _Hold(guard, writes=1)
        if not self.fast:
            try:
                await sleep(0)
            except BaseException:
                self.release_write()
                raise

    def release_read(self) -> None:
        me = _this_task()
        hold = self.holds.get(me)
        if hold is None or hold.reads == 0:
            raise RuntimeError("Cannot release an un-acquired lock")
        hold.reads -= 1
        if hold.reads == hold.writes == 0:
            del self.holds[me]
            hold.guard.release()

    def release_write(self) -> None:
        me = _this_task()
        hold = self.holds.get(me)
        if hold is None or hold.writes == 0:
            raise RuntimeError("Cannot release an un-acquired lock")
        hold.writes -= 1
        if hold.writes > 0:
            return
        if hold.reads == 0:
            del self.holds[me]
            hold.guard.release()
        elif isinstance(hold.guard, WriteGuard):
            hold.guard = hold.guard.downgrade()

    def read_locked(self) -> bool:
        # Counted by the lock: also those who have been let in, and did not run yet.
        return self.lock.reader_count() > 0 or any(hold.reads for hold in list(self.holds.values()))

    def write_locked(self) -> bool:
        return any(hold.writes for hold in list(self.holds.values()))

    def __del__(self) -> None:
        for hold in list(getattr(self, "holds", {}).values()):  # as aiorwlock's it may go while it is held, without a word
            if hold.guard.is_held():
                hold.guard.release()


def _this_task() -> Task[Any]:
    task = current_task()
    if task is None:
        raise RuntimeError("an RWLock is for tasks, and none runs here")
    return task


class _Half:
    """What reader and writer share."""

    __slots__ = ("_core",)

    def __init__(self, core: _Core) -> None:
        self._core = core

    async def acquire(self) -> None:
        raise NotImplementedError

    def release(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> None:
        raise RuntimeError('"await" should be used as context manager expression')

    def __exit__(self, *_: object) -> None:
        """Never: __enter__ raises."""

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.release()


class _ReaderLock(_Half):
    """The shared half of an RWLock: `async with lock.reader:`."""

    __slots__ = ()

    @property
    def locked(self) -> bool:
        """Whether anybody reads. Never waits."""
        return self._core.read_locked()

    async def acquire(self) -> None:
        """Enter as a reader; suspends while a writer is in, or waits. A task that is in already, in whatever way, enters."""
        await self._core.acquire_read()

    def release(self) -> None:
        """Leave once. Never waits. RuntimeError unless this task reads."""
        self._core.release_read()

    def __repr__(self) -> str:
        return f"<ReaderLock: [{'locked' if self.locked else 'unlocked'}]>"


class _WriterLock(_Half):
    """The exclusive half of an RWLock: `async with lock.writer:`."""

    __slots__ = ()

    @property
    def locked(self) -> bool:
        """Whether anybody writes. Never waits."""
        return self._core.write_locked()

    async def acquire(self) -> None:
        """Enter alone; suspends until all others have left. A task that writes already enters again.

        RuntimeError if this task reads, and does not write.
        """
        await self._core.acquire_write()

    def release(self) -> None:
        """Leave once; a task that reads too goes on as a reader. Never waits. RuntimeError unless this task writes."""
        self._core.release_write()

    def __repr__(self) -> str:
        return f"<WriterLock: [{'locked' if self.locked else 'unlocked'}]>"


class RWLock:
    """A lock with two halves, `reader` and `writer`, for the tasks of any event loops at once.

    Args:
        fast: False lets the loop turn once after each acquire that did not wait, as aiorwlock does.
    """

    __slots__ = ("__weakref__", "_reader_lock", "_writer_lock")

    def __init__(self, *, fast: bool = False) -> None:
        core = _Core(fast)
        self._reader_lock = _ReaderLock(core)
        self._writer_lock = _WriterLock(core)

    @property
    def reader(self) -> _ReaderLock:
        """The half to share."""
        return self._reader_lock

    reader_lock = reader

    @property
    def writer(self) -> _WriterLock:
        """The half to be alone with."""
        return self._writer_lock

    writer_lock = writer

    def __repr__(self) -> str:
        return f"<RWLock: {self.reader!r} {self.writer!r}>"
