"""Threads and tasks want one lock; threads read and write."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Any

from aiolots import Mutex, RwLock
from bench.rounds import Context, Pair, Run
from bench.statements import beside_busy_thread, in_threads, task_work, thread_work

COUNTER, PING, MIXES = "2 threads + 2 tasks, one counter", "thread/task ping-pong", "readers:writers"
Release = Callable[[], object]


def counting(context: Context, lock: Any) -> Run:
    """Two threads and two tasks count to n each."""
    box = [0]
    works = [thread_work("with lock: box[0] += 1", lock=lock, box=box) for _ in range(2)]
    tasks = [task_work("async with lock: box[0] += 1", lock=lock, box=box) for _ in range(2)]
    run = in_threads(works, tasks, context)

    def checked(n: int) -> float:
        box[0] = 0
        took = run(n)
        if box[0] != 4 * n:
            raise AssertionError(f"{lock!r} let {4 * n - box[0]} of {4 * n} increments get lost")
        return took

    return checked


def counter(context: Context) -> Iterator[Pair]:
    """The lock both worlds share; and with a busy thread beside."""
    if aiologic := context.peers.get("aiologic"):
        ours, theirs = counting(context, Mutex()), counting(context, aiologic.Lock())
        text = "[async] with lock: n += 1"
        yield Pair(COUNTER, text, "aiologic.Lock", text, ours, theirs, "counter", (4, 4), patience=4)
        busy = f"{COUNTER}, beside a busy thread"
        yield Pair(busy, text, "aiologic.Lock", text, beside_busy_thread(ours), beside_busy_thread(theirs), None, (4, 4), 8)


def threads(context: Context) -> Iterator[Pair]:
    """Two threads on one counter; and with a busy thread beside."""

    def pair_of_threads(statement: str, **names: Any) -> Run:
        return in_threads([thread_work(statement, **names, box=[0]) for _ in range(2)])

    text = "with lock: box[0] += 1"
    ours, theirs = pair_of_threads(text, lock=Mutex()), pair_of_threads(text, lock=threading.Lock())
    group = "2 threads, one counter"
    yield Pair(group, text, "threading.Lock", text, ours, theirs, None, (2, 2), 2)
    if aiologic := context.peers.get("aiologic"):
        other = pair_of_threads(text, lock=aiologic.Lock())
        yield Pair(group, text, "aiologic.Lock", text, ours, other, None, (2, 2), 2)
    if cereggii := context.peers.get("cereggii"):
        atomic = "number.increment_and_get()"
        other = pair_of_threads(atomic, number=cereggii.AtomicInt64(0))
        yield Pair(group, text, "cereggii.AtomicInt64", atomic, ours, other, None, (2, 2), 2)
    busy = beside_busy_thread
    yield Pair(f"{group}, beside a busy thread", text, "threading.Lock", text, busy(ours), busy(theirs), None, (2, 2), 8)


# --- ping-pong ----------------------------------------------------------------------------------------------------


class Bat:
    """One side's turn, as a lock: whoever's turn it is acquires it, the other side releases it. Ours: the guard goes across."""

    def __init__(self) -> None:
        self.mutex = Mutex()
        self.wait()

    def wait(self) -> None:  # noqa: D102
        self.guard: Any = self.mutex.lock().acquire()

    async def wait_async(self) -> None:  # noqa: D102
        self.guard = await self.mutex.lock()

    def give(self) -> None:  # noqa: D102
        self.guard.release()


class ExecutorBat:
    """The same with a threading.Lock: a task takes it in a thread of an executor."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self.lock, self.pool = threading.Lock(), pool
        self.wait, self.give = self.lock.acquire, self.lock.release
        self.wait()

    def wait_async(self) -> Awaitable[bool]:  # noqa: D102
        return asyncio.get_running_loop().run_in_executor(self.pool, self.lock.acquire)


class AiologicBat:
    """The same with aiologic, whose Lock knows its owner, but whose BinarySemaphore anybody may release."""

    def __init__(self, aiologic: Any) -> None:
        self.lock = aiologic.BinarySemaphore()
        self.wait, self.wait_async, self.give = self.lock.green_acquire, self.lock.async_acquire, self.lock.release
        self.wait()


def playing(context: Context, new: Callable[[], Any]) -> Run:
    """A thread and a task take turns, n times each: every step waits for a wake from the other world."""

    def run(n: int) -> float:
        threads_turn, tasks_turn = new(), new()

        def thread() -> None:
            wait, give = threads_turn.wait, tasks_turn.give
            for _ in range(n):
                wait()
                give()

        async def task() -> float:
            wait, give = tasks_turn.wait_async, threads_turn.give
            start = perf_counter()
            give()
            for _ in range(n - 1):
                await wait()
                give()
            await wait()
            return perf_counter() - start

        other = threading.Thread(target=thread)
        other.start()
        took = context.loop.run(task())
        other.join()
        tasks_turn.give()
        threads_turn.give()
        return took

    return run


def ping_pong(context: Context) -> Iterator[Pair]:
    """Back and forth between a thread and a task."""
    text = "wait for the other, wake the other"
    with ThreadPoolExecutor(1) as pool:
        ours, executor = playing(context, Bat), playing(context, lambda: ExecutorBat(pool))
        yield Pair(PING, text, "threading.Lock in an executor", text, ours, executor, "ping-executor", patience=2)
        if aiologic := context.peers.get("aiologic"):
            theirs = playing(context, lambda: AiologicBat(aiologic))
            yield Pair(PING, text, "aiologic.BinarySemaphore", text, ours, theirs, "ping-aiologic", patience=2)


# --- readers and writers ------------------------------------------------------------------------------------------


def mix(read: str, write: str, names: Callable[[], dict[str, Any]], shape: tuple[int, int, int]) -> Run:
    """So many reads, so many writes, again and again, in so many threads."""
    reads, writes, threads = shape
    block = "\n".join([read] * reads + [write] * writes)
    return in_threads([thread_work(block, **names()) for _ in range(threads)])


def mixes(context: Context) -> Iterator[Pair]:
    """Threads that mostly read, or read and write."""
    for count in context.sizes(2, 4, 8):
        for reads, writes in ((1, 0), (19, 1), (1, 1)):
            share = f"{100 * reads // (reads + writes)}:{100 * writes // (reads + writes)}"
            group, size = f"{MIXES} {share}, {count} threads", (reads + writes) * count
            shape = (reads, writes, count)
            ours = mix("with rw.read(): pass", "with rw.write(): pass", {"rw": RwLock()}.copy, shape)
            lock = mix("with lock: pass", "with lock: pass", {"lock": threading.Lock()}.copy, shape)
            text = "rw.read() / rw.write()"
            yield Pair(group, text, "threading.Lock", "with lock: pass", ours, lock, None, (size, size), 2)
            for name, reading, writing in context.peers.thread_rwlocks():
                other = mix(reading.statement, writing.statement, reading.names_for_a_thread, shape)
                yield Pair(group, text, name, "read / write", ours, other, None, (size, size), 2)
