"""aiolots.audit: it names what lies, of words that were corrupted on purpose; and says nothing of legal use."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aiolots import Condvar, FairMutex, Mutex, ReentrantMutex, RwLock, _audit, audit
from aiolots._lib import WORD, ffi
from aiolots._word import ONE_READER, PARKED, UPGRADABLE, WRITER, WRITER_PARKED
from tests.waits import wait_until_waiting
from tests.worlds import assert_idle, in_thread, wait_until_parked


@contextlib.contextmanager
def overwritten(lock: Any, word: int) -> Iterator[None]:
    """A stray write to the word, mended afterwards."""
    there, before = ffi.cast(WORD, lock.address), lock.word
    there.bits = word
    try:
        yield
    finally:
        there.bits = before


def kinds(*locks: Any) -> list[str]:
    return [finding.kind for finding in audit(*locks)]


def test_a_lock_that_is_well() -> None:
    lock = RwLock()
    assert audit(lock) == []
    with lock.read(), lock.read(), lock.upgradable_read():
        assert audit(lock) == []
    with lock.write():
        waiting = in_thread(lock.read().acquire)
        wait_until_parked(lock, 1)
        assert audit(lock) == []
        assert audit() == []
    waiting.join().release()
    assert_idle(lock)


# The two words of 2025-05-28: WRITER | WRITER_PARKED subtracted from a word that had neither, or only one of them.
@pytest.mark.parametrize("word", [0xFFFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFE, UPGRADABLE, WRITER | UPGRADABLE | ONE_READER, 0x13])
def test_impossible_words(word: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = RwLock(name="catalog")
    monkeypatch.setattr(_audit, "_PAUSE", None)  # certain at once: who would pause before a second look fails
    with overwritten(lock, word):
        [finding] = audit(lock)
        assert (finding.kind, finding.lock_name, finding.word.word) == ("impossible word", "catalog", word)
        assert "catalog" in str(finding)
        assert f"{word:#x}" in str(finding)
        assert finding.explanation
    assert audit(lock) == []


def holding(lock: Any, how: str) -> Any:
    return getattr(lock, how)().acquire() if how else None


@pytest.mark.parametrize(
    ("how", "word", "kind", "says"),
    [
        ("", PARKED, "parked without a queue", "nobody is"),
        ("", WRITER | WRITER_PARKED, "parked without a queue", "none does"),
        ("", WRITER, "held by nobody", "no guard that is alive"),
        ("", ONE_READER, "more readers than guards", "1 readers, says the word, but 0 guards"),
        ("read", 3 * ONE_READER, "more readers than guards", "3 readers, says the word, but 1 guards"),
        ("read", 0, "more guards than readers", "given back twice"),
        ("upgradable_read", 0, "more guards than readers", "given back twice"),
        ("write", 0, "a guard of a free lock", "others can get in beside it"),
    ],
)
def test_a_word_that_lies(how: str, word: int, kind: str, says: str) -> None:
    lock = RwLock()
    guard = holding(lock, how)
    with overwritten(lock, word):
        found = {finding.kind: finding for finding in audit(lock)}
        assert says in found[kind].explanation
        assert found[kind].holders == ((how,) if how else ())
    if guard:
        guard.release()
    assert_idle(lock)


@pytest.mark.parametrize("make", [Mutex, FairMutex])
def test_a_mutex_that_lies(make: Callable[[], Any]) -> None:
    mutex = make()
    with overwritten(mutex, WRITER):
        assert kinds(mutex) == ["held by nobody"]
    with mutex, overwritten(mutex, 0):
        assert kinds(mutex) == ["a guard of a free lock"]
    assert_idle(mutex)


@pytest.mark.parametrize("mode", ["read", "write"])
def test_who_waits_and_will_not_be_woken(mode: str) -> None:
    lock = RwLock(name="lost")
    guard = lock.write().acquire()
    waiting = in_thread(getattr(lock, mode)().acquire)
    wait_until_parked(lock, 1)
    with overwritten(lock, WRITER):
        [finding] = audit(lock)
        assert (finding.kind, finding.waiting, finding.holders) == ("a queue without parked", 1, ("write",))
    with overwritten(lock, PARKED):  # free, but nobody was woken
        assert "nobody will wake them" in kinds(lock)
        assert "nobody will wake them" in kinds()  # of all that anybody waits for
    guard.release()
    waiting.join().release()
    assert_idle(lock)


def test_what_several_hold_is_not_doubted() -> None:
    lock, mutex, condvar = RwLock(), ReentrantMutex(), Condvar()
    with mutex.lock(), mutex:
        assert audit(mutex) == []
    guards = [lock.read().acquire() for _ in range(20)]
    upgradable = lock.upgradable_read().acquire()
    waiting = in_thread(upgradable.upgrade)
    wait_until_parked(lock, 1)
    assert audit(lock) == []
    for guard in guards:
        guard.release()
    waiting.join()
    assert audit(lock) == []
    upgradable.release()

    def wait_for_it() -> None:
        with lock.write() as guard:
            condvar.wait(guard)

    waiter = in_thread(wait_for_it)
    wait_until_waiting(condvar, 1)
    assert audit(lock) == []
    condvar.notify_one()
    waiter.join()
    assert_idle(lock, mutex)


def test_legal_use_gives_no_finding() -> None:
    """Threads and tasks that use a lock in every way while it is audited all the time."""
    lock: RwLock[int] = RwLock(0)
    over = threading.Event()

    def in_threads(seed: int) -> None:
        chance = random.Random(seed)
        while not over.is_set():
            how = chance.choice(["read", "write", "upgradable_read", "try_write_for", "try_read"])
            if how == "try_write_for":
                if (whole := lock.try_write_for(0.0005).acquire()) is not None:
                    whole.release()
            elif how == "try_read":
                if (share := lock.try_read()) is not None:
                    share.release()
            else:
                with getattr(lock, how)() as guard:
                    if how == "upgradable_read" and chance.random() < 0.3:
                        guard.upgrade()
                    time.sleep(chance.choice([0, 0, 0.0002]))

    async def in_tasks(seed: int) -> None:
        chance = random.Random(seed)
        while not over.is_set():
            async with getattr(lock, chance.choice(["read", "write"]))():
                await asyncio.sleep(chance.choice([0, 0.0002]))

    async def all_tasks() -> None:
        await asyncio.gather(*(in_tasks(seed) for seed in range(3)))

    users = [in_thread(in_threads, seed) for seed in range(2)] + [in_thread(lambda: asyncio.run(all_tasks()))]
    try:
        end = time.monotonic() + 3
        found = []
        while time.monotonic() < end:
            found += audit(lock)
    finally:
        over.set()
    for user in users:
        user.join()
    assert found == []
    assert_idle(lock)
