"""What fuzzing and the soak have found, as tests that need no luck."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from aiolots import RwLock, _loops, lowlevel
from tests.worlds import assert_idle


class Spy:
    """The core as _loops uses it; notes how many wait when a mailbox is freed, and frees it at the end."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self.waiting: list[int] = []
        self.to_free: list[Callable[[], None]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def lots_mailbox_free(self, mailbox: Any) -> None:
        self.waiting.append(len(lowlevel.waiters()))
        self.to_free.append(lambda: self._real.lots_mailbox_free(mailbox))


def test_a_mailbox_outlives_who_waits_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop is dropped with its tasks, unclosed: one garbage, whose finalizers run in any order the collector likes. The
    mailbox was freed while tasks were queued that have it for theirs; their own finalizers then took its lock, in memory
    that was free, or somebody else's by then. The soak hung there, for ever, with the GIL."""
    gc.collect()  # other tests' loops
    spy = Spy(_loops.lib)  # type: ignore[attr-defined]
    monkeypatch.setattr(_loops, "lib", spy)
    lock = RwLock()
    guard = lock.write().acquire()

    async def take() -> None:
        async with lock.write():
            pass

    def begin_and_drop() -> None:
        loop = asyncio.new_event_loop()
        for _ in range(5):  # the first that waits makes the mailbox; the others are younger
            task = loop.create_task(take())
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            loop.run_until_complete(asyncio.sleep(0))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # unclosed, on purpose
        begin_and_drop()
        assert len(lowlevel.waiters(lock)) == 5
        gc.collect()
    guard.release()
    assert_idle(lock)
    for free in spy.to_free:
        free()
    assert spy.waiting == [0], "a mailbox was freed while so many waited in it"
