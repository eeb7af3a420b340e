"""All that a process's console says, as plain text to be pasted into an issue."""

from __future__ import annotations

import time
from collections.abc import Iterator

from aiolots._console_layout import Answer, branches

_FEW = 4  # steps of a lock whose word is possible


def dumped(answer: Answer) -> str:
    """Return the whole answer to "dump" as text."""
    return "".join(f"{line}\n" for line in _lines(answer))


def _lines(answer: Answer) -> Iterator[str]:
    process = answer["process"]
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(process["time"]))
    yield f"process {process['pid']}: {process['command']}"
    yield f"aiolots {process['aiolots']} ({process['front']}), Python {process['python']}, {when}"
    yield from _section("what is wrong", _causes(answer))
    yield from _section("who waits for whom", _tree(answer))
    yield from _section("locks that anybody had to wait for", _locks(answer))
    yield from _section("deadlocks", (line for text in answer["deadlocks"] for line in text.splitlines()))
    yield from _section("audit: words, queues and guards that contradict each other", (f["text"] for f in answer["findings"]))
    yield from _section("event loops", _loops(answer))
    yield from _section("threads", _threads(answer))


def report(late: list[str], timeout: float, answer: Answer) -> str:
    """Return what a watchdog says: what was late, why, and what the threads are doing."""
    lines = [f"aiolots watchdog: not within {timeout:g} s: {what}" for what in late]
    lines += _causes(answer)
    lines += _section("locks", _locks(answer))
    lines += _section("deadlocks", (line for text in answer["deadlocks"] for line in text.splitlines()))
    lines += _section("event loops", _loops(answer))
    lines += _section("threads", _threads(answer))
    return "".join(f"{line}\n" for line in lines)


def _section(title: str, lines: Iterator[str]) -> Iterator[str]:
    yield ""
    yield f"== {title}"
    empty = True
    for line in lines:
        empty = False
        yield line
    if empty:
        yield "none"


def _causes(answer: Answer) -> Iterator[str]:
    for cause in answer["causes"]:
        yield f"{cause['kind']}: {cause['text']}"
        yield from (f"    at {place}" for place in cause["places"])


def _locks(answer: Answer) -> Iterator[str]:
    for lock in answer["locks"]:
        yield f"{lock['lock']} word {lock['word']}: {lock['state']}"
        if lock["past"]:
            longest = f"{lock['longest_wait']:.3g} s at {lock['longest_wait_at'] or 'a place that is not known'}"
            yield f"    {lock['past']} had to wait, {lock['timeouts']} timed out; the longest wait {longest}"
        for holder in lock["holders"]:
            asked = "" if holder["asked_for_at"] is None else f", asked for at {holder['asked_for_at']}"
            now = "" if holder["now_at"] is None else f", now at {holder['now_at']}"
            yield f"    held ({holder['mode']}) by {holder['holder']}{asked}{now}"
            yield from (f"        inside the `with` at {place}" for place in holder.get("inside", ()))
            yield from (f"        {place}" for place in holder.get("stack", ()))
        if lock["holders_left_out"]:
            yield f"    and {lock['holders_left_out']} more hold it"
        for waiter in lock["waiters"]:
            limit = ", with a limit" if waiter["timed"] else ""
            at = "" if waiter["at"] is None else f", at {waiter['at']}"
            since = f"since {waiter['seconds']:.1f} s{limit}"
            yield f"    {waiter['waiter']} waits ({waiter['mode']}) {since}, {waiter['state']}{at}"
            yield from (f"        {place}" for place in waiter.get("stack", ()))
        if steps := lock.get("transitions", []):
            yield "    its last steps where somebody had to wait:"
            yield from (f"        {step['text']}" for step in (steps if lock["problems"] else steps[-_FEW:]))
        if lock["waiting"] > len(lock["waiters"]):
            yield f"    and {lock['waiting'] - len(lock['waiters'])} more wait"
    if answer["locks_left_out"]:
        yield f"and {answer['locks_left_out']} more locks, which are not contended now"


def _tree(answer: Answer) -> Iterator[str]:
    for root in answer["tree"]:
        yield root["owner"]
        for line in branches(root, "", 1000):
            yield "".join(span.text for span in line)


def _loops(answer: Answer) -> Iterator[str]:
    for loop in answer["loops"]:
        on = "" if loop["thread"] is None else f" on {loop['thread']}"
        stuck = f", not at its callbacks for {loop['stuck']:.1f} s" if loop["stuck"] else ""
        at = "" if loop["now_at"] is None else f", at {loop['now_at']}"
        yield f"{loop['loop']}{on}{stuck}{at}"


def _threads(answer: Answer) -> Iterator[str]:
    for thread in answer["threads"]:
        yield thread["thread"]
        yield from (f"    {place}" for place in thread["stack"])
