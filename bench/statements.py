"""A statement becomes a timed loop, as timeit does it: the names it uses are locals, the loop is a bare iterator.

What is timed includes the loop itself, some nanoseconds, on both sides alike: ratios come out nearer to 1 than they are.

Work that one thread does alone is timed by the processor time of that thread: what other programs take of the machine
meanwhile is not in it. Where threads wait for each other, or for the GIL, the clock on the wall counts; whoever makes such
a run of a statement passes `clock=perf_counter`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from itertools import repeat
from time import perf_counter, thread_time
from typing import Any

from bench.rounds import Context, Run

Work = Callable[[int], float]
AsyncWork = Callable[[int], Coroutine[Any, Any, float]]


def compiled(statement: str, kind: str, names: dict[str, Any]) -> Callable[[int], Any]:
    """Compile `statement`, in a loop of n times, to a function of n that returns the seconds it took."""
    body = "\n        ".join(statement.splitlines())
    namespace: dict[str, Any] = {"repeat": repeat, "clock": thread_time, **names}
    source = (
        f"{kind} work(n, {', '.join(f'{name}={name}' for name in namespace)}):\n"
        f"    start = clock()\n    for _ in repeat(None, n):\n        {body}\n    return clock() - start\n"
    )
    exec(compile(source, f"<{statement}>", "exec"), namespace)
    work: Callable[[int], Any] = namespace["work"]
    return work


def thread_work(statement: str, **names: Any) -> Work:
    """The statement in a loop, for a thread."""
    return compiled(statement, "def", names)


def task_work(statement: str, **names: Any) -> AsyncWork:
    """The statement in a loop, for a task."""
    return compiled(statement, "async def", names)


def in_task(context: Context, statement: str, **names: Any) -> Run:
    """The statement in a loop, in one task."""
    work = task_work(statement, **names)
    return lambda n: context.loop.run(work(n))


def in_tasks(context: Context, tasks: int, statement: str, **names: Any) -> Run:
    """The statement in a loop, in so many tasks of one loop at a time, each of them n times."""
    work = task_work(statement, **names)
    clock: Callable[[], float] = names.get("clock", thread_time)

    async def crowd(n: int) -> float:
        start = clock()
        await asyncio.gather(*[work(n) for _ in range(tasks)])
        return clock() - start

    return lambda n: context.loop.run(crowd(n))


def in_threads(works: list[Work], tasks: list[AsyncWork] | None = None, context: Context | None = None) -> Run:
    """Each of the works in a thread of its own, n times; beside them, on this thread's loop, the tasks."""

    async def crowd(n: int) -> float:
        return max(await asyncio.gather(*[task(n) for task in tasks or []]))

    def run(n: int) -> float:
        gate = threading.Barrier(len(works) + 1)
        failed: list[BaseException] = []

        def body(work: Work) -> None:
            try:
                gate.wait()
                work(n)
            except BaseException as error:  # noqa: BLE001  raised again below, on the thread that measures
                failed.append(error)

        threads = [threading.Thread(target=body, args=(work,)) for work in works]
        for thread in threads:
            thread.start()
        gate.wait()
        start = perf_counter()
        if context is not None and tasks:
            context.loop.run(crowd(n))
        for thread in threads:
            thread.join()
        took = perf_counter() - start
        if failed:
            raise failed[0]
        return took

    return run


def beside_busy_thread(run: Run) -> Run:
    """The same, while another thread of Python does nothing but run."""

    def beside(n: int) -> float:
        stop: list[bool] = []

        def spin() -> None:
            while not stop:
                pass

        thread = threading.Thread(target=spin)
        thread.start()
        try:
            return run(n)
        finally:
            stop.append(True)
            thread.join()

    return beside
