"""A lock whose word is impossible raises LockCorruption where it would wait, in every colour and form, and changes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aiolots import FairMutex, LockCorruption, Mutex, RwLock, lowlevel
from aiolots._lib import WORD, ffi
from aiolots._word import ONE_READER, UPGRADABLE, WRITER, WRITER_PARKED, decode
from tests import tasks
from tests.worlds import EVERY_KIND, assert_idle, in_thread, run_on, wait_until_parked

INCIDENT = (0xFFFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFE)  # of 2025-05-28


@contextlib.contextmanager
def overwritten(lock: Any, word: int) -> Iterator[None]:
    """A stray write to the word, mended afterwards; the lock has not changed it, and nobody is queued."""
    there, before = ffi.cast(WORD, lock.address), lock.word
    there.bits = word
    try:
        yield
        assert lock.word == word
        assert lowlevel.waiters(lock) == []
    finally:
        there.bits = before


REQUESTS: dict[str, Callable[[Any], Any]] = {
    "for ever": lambda ask: ask("")(),
    "timeout=": lambda ask: ask("")(timeout=5),
    "timeout=0": lambda ask: ask("")(timeout=0),
    "try_for": lambda ask: ask("try_{}_for")(5),
    "try_for 0": lambda ask: ask("try_{}_for")(0),
    "try_until": lambda ask: ask("try_{}_until")(0),
}
IMPOSSIBLE: list[tuple[Any, str, int]] = [
    *((RwLock, mode, word) for word in INCIDENT for mode in ("read", "write", "upgradable_read")),
    *((kind, "lock", word) for word in INCIDENT for kind in (Mutex, FairMutex)),
    (RwLock, "write", UPGRADABLE),
    (RwLock, "read", UPGRADABLE | WRITER),
    (RwLock, "upgradable_read", UPGRADABLE | WRITER | ONE_READER),
    (RwLock, "write", WRITER_PARKED | ONE_READER),
    (RwLock, "write", ((1 << 32) + 1) * ONE_READER),
]


def refused(error: LockCorruption, word: int) -> None:
    """It says which lock, the word, and what is impossible about it; and it travels."""
    assert "'it'" in str(error)
    assert f"impossible word {word:#018x}" in str(error)
    assert all(problem in str(error) for problem in decode(word).problems)
    assert (error.lock_name, error.word) == ("it", word)
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.lock_name, copy.word) == (str(error), "it", word)


def asking(lock: Any, mode: str) -> Callable[[str], Any]:
    return lambda how: getattr(lock, how.format(mode) if how else mode)


@pytest.mark.parametrize("form", REQUESTS)
@pytest.mark.parametrize(("kind", "mode", "word"), IMPOSSIBLE)
def test_a_thread(kind: Any, mode: str, word: int, form: str) -> None:
    lock = kind(name="it")
    with overwritten(lock, word):
        with pytest.raises(LockCorruption) as caught:
            REQUESTS[form](asking(lock, mode)).acquire()
        refused(caught.value, word)
    with REQUESTS["for ever"](asking(lock, mode)):
        pass
    assert_idle(lock)


@pytest.mark.parametrize("loop_kind", EVERY_KIND)
@pytest.mark.parametrize("form", REQUESTS)
@pytest.mark.parametrize(("kind", "mode", "word"), IMPOSSIBLE)
def test_a_task(kind: Any, mode: str, word: int, form: str, loop_kind: str) -> None:
    async def body() -> None:
        lock = kind(name="it")
        with overwritten(lock, word):
            with pytest.raises(LockCorruption) as caught:
                await REQUESTS[form](asking(lock, mode))
            refused(caught.value, word)
            await tasks.pause()
        async with REQUESTS["for ever"](asking(lock, mode)):
            pass
        assert_idle(lock)

    run_on(loop_kind, body())


@pytest.mark.parametrize("word", INCIDENT)
@pytest.mark.parametrize("kind", [Mutex, FairMutex])
def test_a_mutex_as_the_standard_librarys(kind: Any, word: int) -> None:
    lock = kind(name="it")

    async def enter() -> None:
        async with lock:
            pass

    with overwritten(lock, word):
        for acquire in (lock.acquire, lambda: lock.acquire(timeout=5), lambda: lock.acquire(blocking=False), lock.__enter__):
            with pytest.raises(LockCorruption) as caught:
                acquire()
            refused(caught.value, word)
        with pytest.raises(LockCorruption):
            asyncio.run(enter())
        assert lock.try_lock() is None  # it does not wait, and says what it sees
    assert_idle(lock)


@pytest.mark.parametrize("word", INCIDENT)
@pytest.mark.parametrize(
    "release",
    [lambda guard: guard.release(), lambda guard: guard.release_fair(), lambda guard: guard.__exit__(None, None, None)],
    ids=["release", "release_fair", "exit"],
)
@pytest.mark.parametrize(("kind", "mode"), [(RwLock, "write"), (Mutex, "lock")])
def test_a_release_that_the_word_does_not_bear(kind: Any, mode: str, release: Callable[[Any], None], word: int) -> None:
    """The word is left as it is; the guard holds nothing any more, for it cannot be released better later."""
    lock = kind(name="it")
    guard = getattr(lock, mode)().acquire()
    with overwritten(lock, word):
        with pytest.raises(LockCorruption, match=f"{word:#018x}"):
            release(guard)
        assert not guard.is_held()
    assert lock.word == WRITER
    ffi.cast(WORD, lock.address).bits = 0


@pytest.mark.parametrize("word", INCIDENT)
def test_the_release_of_a_mutex_without_a_guard(word: int) -> None:
    lock = Mutex(name="it")
    lock.acquire()
    with overwritten(lock, word), pytest.raises(LockCorruption, match=f"{word:#018x}"):
        lock.release()
    lock.release()
    assert_idle(lock)


def test_who_waits_already_waits_on_and_who_comes_is_refused() -> None:
    lock = RwLock(name="it")
    with lock.write():
        waits = in_thread(lambda: lock.read().acquire().release())
        wait_until_parked(lock, 1)
        there, before = ffi.cast(WORD, lock.address), lock.word
        there.bits = INCIDENT[0]
        try:
            with pytest.raises(LockCorruption):
                lock.read().acquire()
            assert len(lowlevel.waiters(lock)) == 1
        finally:
            there.bits = before
    waits.join()
    assert_idle(lock)


def test_legal_words_are_no_corruption() -> None:
    """Refused by time, in every state that one can be refused in."""
    lock = RwLock()
    with lock.write():
        assert lock.try_read_for(0).acquire() is None
    with lock.upgradable_read(), lock.read():
        writer = in_thread(lambda: lock.try_write_for(0.2).acquire())
        wait_until_parked(lock, 1)
        assert lock.try_upgradable_read_for(0).acquire() is None
        assert writer.join() is None
    with lock.read():
        writer = in_thread(lambda: lock.try_write_for(0.2).acquire())
        wait_until_parked(lock, 1)
        assert lock.try_read_for(0).acquire() is None
        assert writer.join() is None
    assert_idle(lock)


@pytest.mark.parametrize(("word", "status"), [(str(INCIDENT[0]), 1), (hex(INCIDENT[1]), 1), ("0x4", 1), ("0x1b", 0), ("0", 0)])
def test_decode_says_what_is_impossible(word: str, status: int) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "aiolots", "decode", word], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == status
    for problem in decode(int(word, 0)).problems:
        assert problem in ended.stdout
    assert ended.stdout.startswith("impossible word") == bool(status)
