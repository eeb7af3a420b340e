"""What everybody was doing when a test hung: cycles, locks with who holds them and who waits, tasks, threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from types import FrameType
from typing import Any

from aiolots import _owners, deadlock
from aiolots import _task_graph as tasks_of
from aiolots._waiters import MODE_NAMES, _Info, _infos, _word_of, contended
from aiolots._word import decode
from pytest_aiolots.held import holds


def hang_report() -> str:
    """Look at everything, from any thread. Takes no lock of anybody's, never waits."""
    tasks = {id(task): task for task in tasks_of.every_task()}
    threads = _owners.Threads()
    cycles = [text_of(cycle) for cycle in deadlock.check()]
    parts = [*cycles] if cycles else ["no deadlock: nobody is in a cycle of waits without a limit"]
    parts.append(_locks(tasks, threads))
    parts += [_task(task) for task in tasks.values()]
    here = threading.get_ident()
    parts += [_thread(ident, threads) for ident in threads.frames if ident != here]
    return "\n".join(parts)


def _locks(tasks: dict[int, Any], threads: _owners.Threads) -> str:
    found = [(lock, waiting) for lock in list(contended.values()) if (waiting := _infos(_word_of(lock)))]
    if not found:
        return "nobody waits for a lock"
    held = holds([lock for lock, _ in found])
    lines: list[str] = []
    for lock, waiting in found:
        word = lock.word
        lines.append(f"{lock!r}, word {word:#x}: {decode(word)}")
        lines += [f"    held: {hold}" for hold in held if hold.lock is lock]
        lines += [f"    waits: {_waiter(info, tasks, threads)}" for info in waiting]
    return "\n".join(lines)


def _waiter(info: _Info, tasks: dict[int, Any], threads: _owners.Threads) -> str:
    if info.is_task:
        task = tasks.get(info.owner)
        who = f"task {info.owner:#x}" if task is None else f"task {tasks_of.name_of(task)!r}"
        where = "" if task is None else f", at {_owners.waits_at(tasks_of.frames(task))}"
    else:
        who = f"thread {threads.name(info.owner)!r}"
        where = f", at {_owners.waits_at(threads.calls(info.owner))}"
    return f"{who} ({MODE_NAMES[info.mode]}{', with a timeout' if info.is_timed else ''}){where}"


def _task(task: Any) -> str:
    lines = [f"task {tasks_of.name_of(task)!r} of {tasks_of.name_of_loop(task)}, innermost call first:"]
    return "\n".join(lines + [f"    {place}" for place in _owners.stack(tasks_of.frames(task))])


def _thread(ident: int, threads: _owners.Threads) -> str:
    lines = [f"thread {threads.name(ident)!r}, innermost call first:"]
    return "\n".join(lines + [f"    {place}" for place in _owners.stack(calls_of_tests(threads.calls(ident)))])


def calls_of_tests(frames: Iterable[FrameType]) -> Iterator[FrameType]:
    """Leave out how pytest got to the test: that is the same each time, and long."""
    return (frame for frame in frames if not _is_runners(frame.f_code.co_filename))


def text_of(cycle: deadlock.Cycle) -> str:
    """Return the report of a deadlock, without those calls."""
    owners = [replace(owner, stack=tuple(place for place in owner.stack if not _is_runners(place))) for owner in cycle.owners]
    return str(replace(cycle, owners=tuple(owners)))


def _is_runners(place: str) -> bool:
    return any(part in place for part in _RUNNERS)


_RUNNERS = ("<frozen runpy>", *(f"{os.sep}{package}{os.sep}" for package in ("_pytest", "pluggy", "pytest", "pytest_aiolots")))
