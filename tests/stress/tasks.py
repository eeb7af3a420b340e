"""What tasks do in a round, on two loops that live as long as the round."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from aiolots import Mutex
from tests.stress.ghost import Crew, Ghost, Worker
from tests.stress.threads import LONGEST, SHORTEST, Lock

Step: TypeAlias = Callable[[Worker], Awaitable[None]]
NewLoop: TypeAlias = Callable[[], asyncio.AbstractEventLoop]


async def read(worker: Worker, lock: Lock) -> None:
    worker.begins("read")
    async with lock.read() as guard:
        worker.entered()
        ghost = guard.value
        seen = ghost.read_in(worker.name)
        try:
            async with lock.read_recursive():
                await asyncio.sleep(0)
        finally:
            ghost.read_out(worker.name, seen)
    worker.done()


async def write(worker: Worker, lock: Lock) -> None:
    worker.begins("write")
    async with lock.write() as guard:
        worker.entered()
        ghost = guard.value
        seen = ghost.write_in(worker.name)
        try:
            await asyncio.sleep(0)
        finally:
            ghost.write_out(worker.name, seen)
            worker.wrote(ghost)
    worker.done()


async def write_for(worker: Worker, lock: Lock, seconds: float) -> None:
    worker.begins(f"try_write_for {seconds * 1e6:.0f} us")
    async with lock.try_write_for(seconds) as guard:
        if guard is None:
            worker.timeouts += 1
        else:
            worker.entered()
            ghost = guard.value
            seen = ghost.write_in(worker.name)
            try:
                await asyncio.sleep(0)
            finally:
                ghost.write_out(worker.name, seen)
                worker.wrote(ghost)
    worker.done()


async def lock_mutex(worker: Worker, mutex: Mutex[Ghost]) -> None:
    worker.begins("lock")
    async with mutex.lock() as guard:
        worker.entered()
        ghost = guard.value
        seen = ghost.write_in(worker.name)
        try:
            await asyncio.sleep(0)
        finally:
            ghost.write_out(worker.name, seen)
            worker.wrote(ghost)
    worker.done()


async def blocks_its_loop(worker: Worker, lock: Lock, seconds: float) -> None:
    """Take the thread's form on the loop's own thread: every other task of the loop stands still meanwhile."""
    worker.begins("sync try_write_for on the loop's thread")
    with lock.try_write_for(seconds) as guard:
        if guard is None:
            worker.timeouts += 1
        else:
            worker.entered()
            guard.value.write_out(worker.name, guard.value.write_in(worker.name))
            worker.wrote(guard.value)
    worker.done()
    await asyncio.sleep(seconds)


async def hogs_its_loop(worker: Worker, seconds: float) -> None:
    """Keep the loop busy in one callback for longer than a wake may stay untaken: it is revoked."""
    worker.begins("hogs the loop")
    time.sleep(seconds)  # noqa: ASYNC251 time itself is tested
    worker.done()
    await asyncio.sleep(10 * seconds)


async def cancelled(worker: Worker, step: Step, ticks: int) -> None:
    """Do a step in a task that is cancelled after some turns of the loop, wherever it is by then."""
    inner = Worker(worker.name, writes=worker.writes)
    task = asyncio.ensure_future(step(inner))
    worker.begins(f"is to be cancelled after {ticks} ticks")
    for _ in range(ticks):
        await asyncio.sleep(0)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        worker.cancellations += 1
    worker.timeouts += inner.timeouts
    worker.done()


def steps_on_one_loop(lock: Lock, mutex: Mutex[Ghost], seed: int) -> dict[str, Step]:
    """Name what the tasks of one loop do."""
    choices = random.Random(seed)

    def seconds() -> float:
        return choices.uniform(SHORTEST, LONGEST)

    any_of: list[Step] = [
        lambda worker: read(worker, lock),
        lambda worker: write(worker, lock),
        lambda worker: write_for(worker, lock, seconds()),
        lambda worker: lock_mutex(worker, mutex),
    ]
    return {
        "reader": any_of[0],
        "reader 2": any_of[0],
        "writer": any_of[1],
        "timed writer": any_of[2],
        "mutex": any_of[3],
        "blocker": lambda worker: blocks_its_loop(worker, lock, seconds()),
        "hog": lambda worker: hogs_its_loop(worker, choices.uniform(0.5e-3, 4e-3)),
        **{f"cancelled {i}": lambda worker: cancelled(worker, choices.choice(any_of), choices.randrange(6)) for i in range(4)},
    }


def start_loop(crew: Crew, name: str, new_loop: NewLoop, steps: dict[str, Step]) -> threading.Thread:
    """Start a thread with an event loop whose tasks take the steps until the crew stops."""
    workers = [(crew.worker(f"{name} {what}"), step) for what, step in steps.items()]

    async def again_and_again(worker: Worker, step: Step) -> None:
        try:
            while not crew.stop.is_set():
                await step(worker)
                await asyncio.sleep(0)
        except BaseException as error:  # noqa: BLE001 it is reported
            crew.failed(worker, error)
        finally:
            worker.at = "ended"

    async def all_of_them() -> None:
        await asyncio.gather(*(again_and_again(worker, step) for worker, step in workers))

    def run() -> None:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(all_of_them())

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread
