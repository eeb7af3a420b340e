"""The rest of the family: what each costs alone, and what it costs two who wait for each other. No bars, for information."""

from __future__ import annotations

import asyncio
import functools
import importlib
import threading
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any

from aiolots import Barrier, Condvar, Event, FairMutex, LazyLock, Mutex, Once, OnceCell, ReentrantMutex, RwLock, Semaphore
from bench.rounds import Context, Pair, Run
from bench.statements import in_task, in_threads, task_work, thread_work

THREAD, TASK = "family, uncontended, thread", "family, uncontended, task"
PAIR_OF_THREADS, PAIR_OF_TASKS = "family, two threads", "family, two tasks of one loop"
TWICE = "with lock:\n    with lock: pass"
Names = dict[str, Any]


def made() -> object:
    """What is made once."""
    return 1


# --- alone ------------------------------------------------------------------------------------------------------------


def alone(context: Context, stdlib: Any) -> Iterator[tuple[str, Names, str, str, Names]]:
    """Ours, and what the standard library and aiologic have for it: statement and names of each. In a task: with `async`."""
    lock, rlock = stdlib.Lock(), getattr(stdlib, "RLock", None)
    aiologic, name = context.peers.get("aiologic"), stdlib.__name__
    reentrant, fair = {"lock": ReentrantMutex()}, {"lock": FairMutex()}
    for text in ("with lock: pass", TWICE):
        if rlock:
            yield text, reentrant, f"{name}.RLock", text, {"lock": rlock()}
        elif text is not TWICE:
            yield text, reentrant, f"{name}.Lock", text, {"lock": lock}
        if aiologic:
            yield text, reentrant, "aiologic.RLock", text, {"lock": aiologic.RLock()}
    once = "with lock: pass"
    yield "with fair: pass", {"fair": fair["lock"]}, f"{name}.Lock", once, {"lock": lock}
    yield "with semaphore: pass", {"semaphore": Semaphore(2)}, f"{name}.Semaphore", once, {"lock": stdlib.Semaphore(2)}
    if aiologic:
        ours = {"semaphore": Semaphore(2)}
        yield "with semaphore: pass", ours, "aiologic.Semaphore", once, {"lock": aiologic.Semaphore(2)}
    upgradable = {"rw": RwLock()}
    yield "with rw.upgradable_read(): pass", upgradable, f"{name}.Lock", once, {"lock": lock}


def line(statement: str) -> str:
    """Return a statement as the table has it: in one line."""
    return statement.replace("\n   ", "")


def set_event(event: Any) -> Any:
    """Return an event that is set."""
    event.set()
    return event


def thread(context: Context) -> Iterator[Pair]:
    """In threads: alone, and two who wait for each other."""
    for ours, names, peer, theirs, their_names in alone(context, threading):
        yield Pair(THREAD, line(ours), peer, line(theirs), thread_work(ours, **names), thread_work(theirs, **their_names))
    aiologic, rw = context.peers.get("aiologic"), RwLock()
    wait = thread_work("event.wait()", event=set_event(Event()))
    events = [("threading.Event", threading.Event())] + ([("aiologic.Event", aiologic.Event())] if aiologic else [])
    for peer, event in events:
        yield Pair(THREAD, "event.wait()", peer, "event.wait()", wait, thread_work("event.wait()", event=set_event(event)))
    once, cell, lazy = Once(), OnceCell[object](), LazyLock(made)
    cached = thread_work("cached()", cached=functools.cache(made))  # which does not promise to call it once
    for ours, names in (
        ("once.call_once(f)", {"once": once, "f": made}),
        ("cell.get_or_init(f)", {"cell": cell, "f": made}),
        ("cell.get()", {"cell": cell}),
        ("lazy.get()", {"lazy": lazy}),
    ):
        yield Pair(THREAD, ours, "functools.cache", "cached()", thread_work(ours, **names), cached)
    apart = thread_work("with rw.read(): pass\nwith rw.write(): pass", rw=rw)
    ours = "rw.upgradable_read().acquire().upgrade().release()"
    yield Pair(THREAD, ours, "aiolots.RwLock", "rw.read(), then rw.write()", thread_work(ours, rw=rw), apart)
    ours = "rw.write().acquire().downgrade().release()"
    yield Pair(THREAD, ours, "aiolots.RwLock", "rw.read(), then rw.write()", thread_work(ours, rw=rw), apart)
    if context.peers.get("readerwriterlock"):
        lock: Any = importlib.import_module("readerwriterlock.rwlock").RWLockFairD()
        theirs = "w.acquire(); w.downgrade().release()"
        downgrades = thread_work(theirs, w=lock.gen_wlock())
        yield Pair(THREAD, ours, "readerwriterlock.RWLockFairD", theirs, thread_work(ours, rw=rw), downgrades)

    def run_of(statement: str, names: Callable[[], tuple[Names, Names]]) -> Run:
        first, second = names()
        return in_threads([thread_work(statement, **first), thread_work(statement, **second)])

    yield from meetings(PAIR_OF_THREADS, "thread", run_of, threading, aiologic, patience=2)


def task(context: Context) -> Iterator[Pair]:
    """In tasks of one loop: alone, and two who wait for each other."""
    for ours, names, peer, theirs, their_names in alone(context, asyncio):
        text, other = ours.replace("with", "async with"), theirs.replace("with", "async with")
        work, others = in_task(context, text, **names), in_task(context, other, **their_names)
        yield Pair(TASK, line(text), peer, line(other), work, others)
    aiologic, rw = context.peers.get("aiologic"), RwLock()
    wait = in_task(context, "await event", event=set_event(Event()))
    waits = in_task(context, "await event.wait()", event=set_event(asyncio.Event()))
    yield Pair(TASK, "await event", "asyncio.Event", "await event.wait()", wait, waits)
    if aiologic:
        theirs_too = in_task(context, "await event", event=set_event(aiologic.Event()))
        yield Pair(TASK, "await event", "aiologic.Event", "await event", wait, theirs_too)
    apart = in_task(context, "async with rw.read(): pass\nasync with rw.write(): pass", rw=rw)
    ours = "(await (await rw.upgradable_read()).upgrade()).release()"
    yield Pair(TASK, ours, "aiolots.RwLock", "rw.read(), then rw.write()", in_task(context, ours, rw=rw), apart)

    def run_of(statement: str, names: Callable[[], tuple[Names, Names]]) -> Run:
        first, second = names()
        works = task_work(statement, **first), task_work(statement, **second)

        async def both(n: int) -> float:
            start = perf_counter()
            await asyncio.gather(*[work(n) for work in works])
            return perf_counter() - start

        return lambda n: context.loop.run(both(n))

    yield from meetings(PAIR_OF_TASKS, "task", run_of, asyncio, aiologic)


# --- two who wait for each other: each statement is one turn of each ---------------------------------------------------

OUR_TURN = (
    "with mutex.lock() as guard:\n    while turn[0] != me: condvar.wait(guard)\n    turn[0] = not me\n    condvar.notify_one()"
)
THEIR_TURN = "with condition:\n    while turn[0] != me: condition.wait()\n    turn[0] = not me\n    condition.notify()"

# What to write in a task, where it is not what is written in a thread.
AWAITED = {
    "ours": {"with mutex": "async with mutex", "condvar.wait": "await condvar.wait", "mine.acquire()": "await mine"}
    | {"mine.wait()": "await mine", "barrier.wait()": "await barrier"},
    "asyncio": {"with c": "async with c", "condition.wait": "await condition.wait", "mine.acquire": "await mine.acquire"}
    | {"mine.wait": "await mine.wait", "barrier.wait": "await barrier.wait"},
    "aiologic": {"with c": "async with c", "condition.wait()": "await condition", "mine.acquire": "await mine.async_acquire"}
    | {"mine.wait()": "await mine", "barrier.wait()": "await barrier"},
}


def as_task(statement: str, whose: str) -> str:
    """Return what is to be written in a task."""
    for before, after in AWAITED[whose].items():
        statement = statement.replace(before, after)
    return statement


def by_turns(**names: Any) -> tuple[Names, Names]:
    """The names of the two, which differ in whose turn it is."""
    turn = {"turn": [False], **names}
    return {"me": False, **turn}, {"me": True, **turn}


def crosswise(first: Any, second: Any) -> tuple[Names, Names]:
    """The names of the two: what one waits for the other lets go."""
    return {"mine": first, "other": second}, {"mine": second, "other": first}


def meetings(
    group: str,
    color: str,
    run_of: Callable[[str, Callable[[], tuple[Names, Names]]], Run],
    stdlib: Any,
    aiologic: Any,
    patience: int = 1,
) -> Iterator[Pair]:
    """There and back: a condition, a semaphore, an event; and a barrier for two."""
    sems, events = "mine.acquire(); other.release()", "mine.wait(); mine.clear(); other.set()"

    def conditions(module: Any) -> Callable[[], tuple[Names, Names]]:
        return lambda: by_turns(condition=module.Condition(module.Lock()))

    def semaphores(kind: Any) -> Callable[[], tuple[Names, Names]]:
        return lambda: crosswise(kind(1), kind(0))

    def flags(kind: Any) -> Callable[[], tuple[Names, Names]]:
        return lambda: crosswise(set_event(kind()), kind())

    def barriers(kind: Any) -> Callable[[], tuple[Names, Names]]:
        return lambda: ({"barrier": (both := kind(2))}, {"barrier": both})

    def run(statement: str, whose: str, names: Callable[[], tuple[Names, Names]]) -> tuple[str, Run]:
        if whose == "aiologic" and color == "thread":
            statement = statement.replace("acquire", "green_acquire")
        text = as_task(statement, whose) if color == "task" else statement
        return text, run_of(text, names)

    ours = {
        "Condition": run(OUR_TURN, "ours", lambda: by_turns(mutex=Mutex(), condvar=Condvar())),
        "Semaphore": run(sems, "ours", semaphores(Semaphore)),
        "Event": run(events, "ours", flags(Event)),
        "Barrier": run("barrier.wait()", "ours", barriers(Barrier)),
    }
    for name, module in ((stdlib.__name__, stdlib), ("aiologic", aiologic)):
        if module is None:
            continue
        event = module.REvent if name == "aiologic" else module.Event  # aiologic's Event cannot be cleared
        whose = "aiologic" if name == "aiologic" else "asyncio"
        theirs = {
            "Condition": run(THEIR_TURN, whose, conditions(module)),
            "Semaphore": run(sems, whose, semaphores(module.Semaphore)),
            "Event": run(events, whose, flags(event)),
            "Barrier": run("barrier.wait()", whose, barriers(module.Barrier)),
        }
        for kind, (text, work) in ours.items():
            their_text, other = theirs[kind]
            peer = f"{name}.{event.__name__ if kind == 'Event' else kind}"
            yield Pair(group, shown(kind, text), peer, shown(kind, their_text), work, other, patience=patience)


def shown(kind: str, text: str) -> str:
    """Return a statement as the table has it: in one line."""
    return "wait for my turn, notify the other" if kind == "Condition" else text
