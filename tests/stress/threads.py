"""What threads do in a round."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Any, TypeAlias

from aiolots import Mutex, RwLock, decode
from tests.stress.ghost import Crew, Ghost, Worker

Lock: TypeAlias = RwLock[Ghost]
Step: TypeAlias = Callable[[Worker], None]

SHORTEST, LONGEST = 10e-6, 1e-3  # seconds, of timed writes


def read(worker: Worker, lock: Lock) -> None:
    worker.begins("read")
    with lock.read() as guard:
        worker.entered()
        ghost = guard.value
        seen = ghost.read_in(worker.name)
        time.sleep(0)  # others may take the GIL
        ghost.read_out(worker.name, seen)
    worker.done()


def read_twice(worker: Worker, lock: Lock) -> None:
    worker.begins("read, then read_recursive")
    with lock.read() as guard:
        worker.entered()
        ghost = guard.value
        seen = ghost.read_in(worker.name)
        with lock.read_recursive():  # a writer may wait by now
            time.sleep(0)
        ghost.read_out(worker.name, seen)
    worker.done()


def write(worker: Worker, lock: Lock) -> None:
    worker.begins("write")
    with lock.write() as guard:
        worker.entered()
        ghost = guard.value
        seen = ghost.write_in(worker.name)
        time.sleep(0)
        ghost.write_out(worker.name, seen)
        worker.wrote(ghost)
    worker.done()


def write_for(worker: Worker, lock: Lock, seconds: float) -> None:
    worker.begins(f"try_write_for {seconds * 1e6:.0f} us")
    with lock.try_write_for(seconds) as guard:
        if guard is None:
            worker.timeouts += 1
        else:
            worker.entered()
            ghost = guard.value
            seen = ghost.write_in(worker.name)
            time.sleep(0)
            ghost.write_out(worker.name, seen)
            worker.wrote(ghost)
    worker.done()


def write_fair(worker: Worker, lock: Lock) -> None:
    worker.begins("write, release_fair")
    guard = lock.write().acquire()
    worker.entered()
    ghost = guard.value
    ghost.write_out(worker.name, ghost.write_in(worker.name))
    worker.wrote(ghost)
    guard.release_fair()
    worker.done()


def lock_mutex(worker: Worker, mutex: Mutex[Ghost]) -> None:
    worker.begins("lock")
    with mutex.lock() as guard:
        worker.entered()
        ghost = guard.value
        seen = ghost.write_in(worker.name)
        time.sleep(0)
        ghost.write_out(worker.name, seen)
        worker.wrote(ghost)
    worker.done()


def lock_for(worker: Worker, mutex: Mutex[Ghost], seconds: float) -> None:
    worker.begins(f"try_lock_for {seconds * 1e6:.0f} us")
    with mutex.try_lock_for(seconds) as guard:
        if guard is None:
            worker.timeouts += 1
        else:
            worker.entered()
            ghost = guard.value
            ghost.write_out(worker.name, ghost.write_in(worker.name))
            worker.wrote(ghost)
    worker.done()


def mixed(lock: Lock, mutex: Mutex[Ghost], seed: int) -> Step:
    """Make a step that does any of the above, by the seed."""
    choices = random.Random(seed)
    steps: list[Step] = [
        lambda worker: read(worker, lock),
        lambda worker: read_twice(worker, lock),
        lambda worker: write(worker, lock),
        lambda worker: write_fair(worker, lock),
        lambda worker: write_for(worker, lock, choices.uniform(SHORTEST, LONGEST)),
        lambda worker: lock_mutex(worker, mutex),
        lambda worker: lock_for(worker, mutex, choices.uniform(SHORTEST, LONGEST)),
    ]

    def step(worker: Worker) -> None:
        choices.choice(steps)(worker)

    return step


def start(crew: Crew, name: str, step: Step) -> threading.Thread:
    """Start a thread that takes the step until the crew stops."""
    worker = crew.worker(name)

    def run() -> None:
        try:
            while not crew.stop.is_set():
                step(worker)
        except BaseException as error:  # noqa: BLE001 it is reported
            crew.failed(worker, error)
        finally:
            worker.at = "ended"

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread


def sample_words(locks: list[Lock], mutexes: list[Mutex[Ghost]], wrong: list[str]) -> Step:
    """Make a step that looks at each word: it must be a possible one at any time."""

    def step(worker: Worker) -> None:
        worker.begins("samples the words")
        looked_at: list[Any] = [*locks, *mutexes]
        for lock in looked_at:
            for _ in range(10):
                word = decode(lock.word)
                if word.problems:
                    wrong.append(f"{lock.name}: {word}")
                    raise RuntimeError(f"{lock.name}: corrupt")
        worker.done()
        time.sleep(0)

    return step
