"""The same three questions each time, from a thread that has nothing to do with the locks. Their answers tell the cause."""

from __future__ import annotations

from typing import Any

import aiolots
from aiolots import deadlock, lowlevel


def diagnose(*locks: Any) -> str:
    """Print what the tools say, and return the cause: "contention", "deadlock", "corruption", or none of them."""
    print("\n-- who holds, who waits: lock.statistics(), lowlevel.waiters(lock)")
    for lock in locks:
        print(f"{lock!r}\n    {lock.statistics()}")
        for waiter in lowlevel.waiters(lock):
            who, what = "task" if waiter.is_task else "thread", ", for readers to leave" if waiter.draining else ""
            print(f"    {who} waits to {waiter.mode}{what}")
    print("\n-- does each wait for the other? aiolots.deadlock.check()")
    cycles = deadlock.check()
    print("\n".join(map(str, cycles)) or "no: nobody is in a cycle")
    print("\n-- does a word lie? aiolots.audit()")
    findings = aiolots.audit(*locks)
    print("\n".join(map(str, findings)) or "no: words, queues and guards agree")
    for lock in locks:
        if decoded := aiolots.decode(lock.word).problems:
            print(f"aiolots.decode({lock.word:#x}): {'; '.join(decoded)}")
    if findings:
        return "corruption"
    if cycles:
        return "deadlock"
    return "contention" if any(map(lowlevel.waiters, locks)) else "nothing to do with these locks"
