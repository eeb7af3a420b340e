"""Nobody else wants the lock: what taking and leaving it costs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from time import perf_counter

from aiolots import Mutex, RwLock
from bench.rounds import Context, Pair
from bench.statements import beside_busy_thread, in_task, thread_work

THREAD, TASK, BUSY = "uncontended, thread", "uncontended, task", "uncontended, beside a busy thread"
FRAME = "uncontended, in a function of its own"


# A request remembers where it was made. In a loop that is the same frame each time; a call makes a new one.
def read_in_a_frame(rw: RwLock[None]) -> None:
    with rw.read():
        pass


def lock_in_a_frame(lock: threading.Lock) -> None:
    with lock:
        pass


async def read_in_a_task_frame(rw: RwLock[None]) -> None:
    async with rw.read():
        pass


async def lock_in_a_task_frame(lock: asyncio.Lock) -> None:
    async with lock:
        pass


def thread(context: Context) -> Iterator[Pair]:
    """In a thread."""
    mutex, rw, lock = Mutex(), RwLock(), threading.Lock()
    take = thread_work("with mutex: pass", mutex=mutex)
    modes = [(statement, thread_work(statement, rw=rw)) for statement in ("with rw.read(): pass", "with rw.write(): pass")]
    for name, statement, names, _ in context.peers.thread_mutexes():
        theirs, stdlib = thread_work(statement, **names), name == "threading.Lock"
        yield Pair(THREAD, "with mutex: pass", name, statement, take, theirs, "mutex" if stdlib else "others")
        for ours, work in modes:
            yield Pair(THREAD, ours, name, statement, work, theirs, "rw" if stdlib else "others")
    for name, *reading_writing in context.peers.thread_rwlocks():
        bar = None if name.startswith(("ft_utils", "cereggii")) else "others"
        for (ours, work), peer in zip(modes, reading_writing, strict=True):
            yield Pair(THREAD, ours, name, peer.statement, work, thread_work(peer.statement, **peer.names), bar)
    for ours, theirs_too in (
        ("with mutex.lock(): pass", "with lock: pass"),
        ("mutex.acquire(); mutex.release()", "lock.acquire(); lock.release()"),
        ("mutex.acquire(False); mutex.release()", "lock.acquire(False); lock.release()"),
        ("mutex.try_lock().release()", "lock.acquire(False); lock.release()"),
        ("rw.try_read().release()", "lock.acquire(False); lock.release()"),
        ("rw.try_write().release()", "lock.acquire(False); lock.release()"),
        ("rw.read().acquire().release()", "lock.acquire(); lock.release()"),
    ):
        work = thread_work(ours, mutex=mutex, rw=rw)
        yield Pair(THREAD, ours, "threading.Lock", theirs_too, work, thread_work(theirs_too, lock=lock))
    reads, locks = thread_work("f(rw)", f=read_in_a_frame, rw=rw), thread_work("f(lock)", f=lock_in_a_frame, lock=lock)
    ours, theirs_too = "def f(rw): with rw.read(): pass", "def f(lock): with lock: pass"
    yield Pair(f"{FRAME}, thread", ours, "threading.Lock", theirs_too, reads, locks)


def task(context: Context) -> Iterator[Pair]:
    """In a task."""
    mutex, rw, lock = Mutex(), RwLock(), asyncio.Lock()
    take = in_task(context, "async with mutex: pass", mutex=mutex)
    statements = ("async with rw.read(): pass", "async with rw.write(): pass")
    modes = [(statement, in_task(context, statement, rw=rw)) for statement in statements]
    for name, statement, names, _ in context.peers.task_mutexes():
        theirs, stdlib = in_task(context, statement, **names), name == "asyncio.Lock"
        yield Pair(TASK, "async with mutex: pass", name, statement, take, theirs, "async-mutex" if stdlib else "others")
        for ours, work in modes:
            yield Pair(TASK, ours, name, statement, work, theirs, "async-rw" if stdlib else "others")
    for name, *reading_writing in context.peers.task_rwlocks():
        for (ours, work), peer in zip(modes, reading_writing, strict=True):
            yield Pair(TASK, ours, name, peer.statement, work, in_task(context, peer.statement, **peer.names), "others")
    explicit = "await lock.acquire(); lock.release()"
    for ours in ("(await rw.read()).release()", "(await rw.write()).release()", "(await mutex.lock()).release()"):
        work = in_task(context, ours, mutex=mutex, rw=rw)
        yield Pair(TASK, ours, "asyncio.Lock", explicit, work, in_task(context, explicit, lock=lock))
    ours, theirs_too = "async def f(rw): async with rw.read(): pass", "async def f(lock): async with lock: pass"
    reads = in_task(context, "await f(rw)", f=read_in_a_task_frame, rw=rw)
    locks = in_task(context, "await f(lock)", f=lock_in_a_task_frame, lock=lock)
    yield Pair(f"{FRAME}, task", ours, "asyncio.Lock", theirs_too, reads, locks)


def busy(context: Context) -> Iterator[Pair]:
    """While another thread runs Python: a lock that let go of the GIL would wait for it here."""
    for ours, theirs in (("with mutex: pass", "with lock: pass"), ("with rw.read(): pass", "with lock: pass")):
        run = beside_busy_thread(thread_work(ours, mutex=Mutex(), rw=RwLock(), clock=perf_counter))
        other = beside_busy_thread(thread_work(theirs, lock=threading.Lock(), clock=perf_counter))
        yield Pair(BUSY, ours, "threading.Lock", theirs, run, other, patience=5)
    ours, theirs = "async with mutex: pass", "async with lock: pass"
    run = beside_busy_thread(in_task(context, ours, mutex=Mutex(), clock=perf_counter))
    other = beside_busy_thread(in_task(context, theirs, lock=asyncio.Lock(), clock=perf_counter))
    yield Pair(BUSY, ours, "asyncio.Lock", theirs, run, other, patience=5)
