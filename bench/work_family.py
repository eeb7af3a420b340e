"""The rest of the family: condition variables, semaphores, events, the fair and the reentrant mutex, upgrades. No bars."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from time import perf_counter, thread_time
from typing import Any

from aiolots import Condvar, Event, FairMutex, Mutex, ReentrantMutex, RwLock, Semaphore
from bench.rounds import Context, Pair, Run
from bench.statements import in_task, in_tasks, in_threads, thread_work

HANDOFF, CROWD = "condition, to and fro", "condition, notify_all"
SEMAPHORE, EVENT, FAIR, REENTRANT, UPGRADES = "semaphore", "event, set", "fair mutex", "reentrant mutex", "upgrades"


# --- conditions: one interface for all ------------------------------------------------------------------------------------


class OurCondition:
    """A Mutex and a Condvar; what is held is a guard."""

    def __init__(self) -> None:
        self.mutex, self.condvar = Mutex(), Condvar()
        self.notify, self.notify_all = self.condvar.notify_one, self.condvar.notify_all

    def __enter__(self) -> Any:
        return self.mutex.lock().acquire()

    async def __aenter__(self) -> Any:
        return await self.mutex.lock()

    def leave(self, guard: Any) -> None:  # noqa: D102
        guard.release()

    def wait(self, guard: Any) -> Any:  # noqa: D102
        return self.condvar.wait(guard)

    wait_async = wait


class TheirCondition:
    """One of threading, asyncio or aiologic."""

    def __init__(self, condition: Any, lock: Any = None) -> None:
        self.condition, self.lock = condition, lock
        self.notify, self.notify_all = condition.notify, condition.notify_all
        self.enter: Callable[[], Any] = condition.acquire if lock is None else lock.green_acquire
        self.enter_async: Callable[[], Awaitable[Any]] = condition.acquire if lock is None else lock.async_acquire
        self._leave: Callable[[], Any] = condition.release if lock is None else lock.release


class Turns:
    """Two take turns, n times each: each waits until the other has changed `turn`, and notified."""


def conditions(peers: Any, stdlib: Any) -> list[tuple[str, Callable[[], Any]]]:
    found: list[tuple[str, Callable[[], Any]]] = [(f"{stdlib.__name__}.Condition", lambda: stdlib.Condition(stdlib.Lock()))]
    if aiologic := peers.get("aiologic"):
        found.append(("aiologic.Condition", lambda: aiologic.Condition(aiologic.Lock())))
    return found
