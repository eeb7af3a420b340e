"""What ends while others go on: loops that are closed, stopped or dropped over the heads of their tasks."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import time
from collections.abc import Callable

from aiolots import Mutex
from tests.stress import tasks
from tests.stress.ghost import Ghost, Worker
from tests.stress.tasks import NewLoop
from tests.stress.threads import LONGEST, Lock

STOPPED = 0.02  # seconds that a loop stands still, at most
CLOSED, GOES_ON, DROPPED = "is closed", "is stopped for a while", "is dropped"


def mortal_loops(lock: Lock, mutex: Mutex[Ghost], new_loop: NewLoop, seed: int, *, drop: bool) -> Callable[[Worker], None]:
    """Make a thread's step: a loop is made, its tasks begin to wait or hold, and then it is stopped or closed, or dropped."""
    choices = random.Random(seed)

    def step(worker: Worker) -> None:
        fate = choices.choice([CLOSED, GOES_ON, *[DROPPED] * drop])
        worker.begins(f"a loop that {fate} with its tasks unfinished")
        loop = new_loop()
        loop.set_exception_handler(lambda *_: None)
        inners = [Worker(f"{worker.name} {i}", writes=worker.writes) for i in range(4)]
        coroutines = [
            tasks.read(inners[0], lock),
            tasks.write(inners[1], lock),
            tasks.write_for(inners[2], lock, LONGEST),
            tasks.lock_mutex(inners[3], mutex),
        ]
        choices.shuffle(coroutines)
        begun = [loop.create_task(coroutine) for coroutine in coroutines]
        for _ in range(choices.randrange(1, 8)):
            loop.run_until_complete(asyncio.sleep(0))
        if fate == GOES_ON:
            time.sleep(choices.uniform(0, STOPPED))
            loop.run_until_complete(asyncio.gather(*begun))
            loop.close()
        elif fate == DROPPED and isinstance(loop, asyncio.BaseEventLoop):  # uvloop's loops stay, if they are not closed
            for task in begun:
                task._log_destroy_pending = False  # type: ignore[attr-defined]
            del loop, task
            begun.clear()
            coroutines.clear()
            gc.collect()
        else:
            loop.close()
            for task, coroutine in zip(begun, coroutines, strict=True):
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                # What was held is given back by the frame's own `finally`, as if the task were collected here.
                with contextlib.suppress(RuntimeError):
                    coroutine.close()
        worker.timeouts += sum(inner.timeouts for inner in inners)
        worker.loop_deaths += 1
        worker.done()

    return step
