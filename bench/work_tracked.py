"""What tracking costs: the same lock, uncontended, with aiolots.tracking on and off."""

from __future__ import annotations

from collections.abc import Iterator

from aiolots import Mutex, RwLock, tracking
from bench.rounds import Context, Pair, Run
from bench.statements import in_task, thread_work

WORK = "uncontended, tracked"


def tracked(run: Run) -> Run:
    """The same with tracking on."""

    def with_tracking(n: int) -> float:
        tracking.enable()
        try:
            return run(n)
        finally:
            tracking.disable()

    return with_tracking


def on_and_off(context: Context) -> Iterator[Pair]:
    """In a thread, in a task, and one lock within another."""
    mutex, rw, inner = Mutex(), RwLock(), Mutex()
    for statement in ("with mutex: pass", "with mutex.lock(): pass", "with rw.read(): pass", "with rw.write(): pass"):
        work = thread_work(statement, mutex=mutex, rw=rw)
        yield Pair(f"{WORK}, thread", statement, "not tracked", statement, tracked(work), work, "tracked")
    statement = "with rw.read(), inner: pass"
    work = thread_work(statement, rw=rw, inner=inner)
    yield Pair(f"{WORK}, thread", statement, "not tracked", statement, tracked(work), work, "tracked")
    modes = ("async with mutex: pass", "async with rw.read(): pass", "async with rw.write(): pass", "with mutex: pass")
    for statement in modes:
        run = in_task(context, statement, mutex=mutex, rw=rw)
        yield Pair(f"{WORK}, task", statement, "not tracked", statement, tracked(run), run, "tracked")
