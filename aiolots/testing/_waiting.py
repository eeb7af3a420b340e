"""How a scenario waits for what happens in a lock that it cannot look into.

Two questions. "Has it happened?" is asked until it has, and `Hang` says that it has not: after PATIENCE seconds and LOOKS
looks, so that a machine which lets this process look only now and then is given more time. "Is everybody queued by now?"
cannot be asked of a black box. A waiter signals just before its acquire; from then on its thread is looked at until the
kernel says that it has been asleep for a while without a break (or, where there is no /proc, for SETTLE seconds). That can
be wrong: a lock may nap before it queues. No verdict rests on it: a waiter that is not queued yet makes an interleaving
be missed, never a sound lock fail.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

PATIENCE = 3.0  # seconds: what takes longer hangs
LOOKS = 200
SETTLE = 0.2  # seconds
STILL = 5  # looks at a thread that sleeps, 2 ms apart: longer than CPython's wait for the GIL lasts at a time


class Hang(Exception):
    """Something that should happen did not, for as long as we had patience."""


class Broken(Exception):
    """The lock did what no lock may do."""


class NotApplicable(Exception):
    """The scenario cannot be played here."""


def wait_until(condition: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
    """Return as soon as `condition()` is true; Hang, with `what`, if it never is."""
    end, looks = time.monotonic() + seconds, 0
    while not condition():
        looks += 1
        if looks > LOOKS and time.monotonic() > end:
            raise Hang(what)
        time.sleep(0.0005)


async def until(condition: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
    """Do the same in a task."""
    end, looks = time.monotonic() + seconds, 0
    while not condition():
        looks += 1
        if looks > LOOKS and time.monotonic() > end:
            raise Hang(what)
        await asyncio.sleep(0 if looks < LOOKS else 0.001)


async def turns(count: int = 20) -> None:
    """Let the other tasks of this loop run until each waits for something outside of it."""
    for _ in range(count):
        await asyncio.sleep(0)


def _asleep(thread: int) -> str | None:
    """Return what changes whenever a thread runs, if it sleeps now; None if it runs, or nobody knows."""
    try:
        text = Path(f"/proc/self/task/{thread}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    return text[text.find("voluntary_ctxt") :] if "State:\tS" in text else None


def settle(thread: int) -> None:
    """Return when a thread, by its native id, sleeps and goes on sleeping, or after SETTLE seconds."""
    end, looks, still, before = time.monotonic() + SETTLE, 0, 0, None
    while still < STILL:
        now = _asleep(thread)
        still = still + 1 if now is not None and now == before else 0
        before = now
        looks += 1
        if looks > 20 and time.monotonic() > end:
            return
        time.sleep(0.002)
