"""How a word came to lie: findings and LockCorruption name the last steps of a lock, in their order, and who made them."""

from __future__ import annotations

import contextlib
import gc
import itertools
import pickle
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aiolots import FairMutex, LockCorruption, Mutex, RwLock, Transition, audit
from aiolots._lib import WORD, ffi
from aiolots._transitions import NONE_NOTED, transitions_of
from aiolots._word import ONE_READER, PARKED, WRITER, WRITER_PARKED, decode
from tests.test_scenarios_fork import in_child
from tests.worlds import EVERY_KIND, LoopThread, assert_idle, in_thread, new_loop, wait_until, wait_until_parked

INCIDENT = (0xFFFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFE)  # of 2025-05-28
DRAINING = WRITER | ONE_READER


@contextlib.contextmanager
def overwritten(lock: Any, word: int) -> Iterator[None]:
    """A stray write to the word, mended afterwards."""
    there, before = ffi.cast(WORD, lock.address), lock.word
    there.bits = word
    try:
        yield
    finally:
        there.bits = before


def named(name: str, function: Callable[[], Any]) -> Any:
    """Run it in a thread of that name."""

    def run() -> Any:
        threading.current_thread().name = name
        return function()

    return in_thread(run)


def told(transitions: tuple[Transition, ...]) -> list[tuple[str, int, int]]:
    return [(step.what, step.before.word, step.after.word) for step in transitions]


# A writer comes beside one reader, waits for it to leave, and gives up.
TIMED_OUT = [
    ("entered", ONE_READER, DRAINING),
    ("drains", DRAINING, DRAINING | WRITER_PARKED),
    ("timed out", DRAINING | WRITER_PARKED, ONE_READER),
]


def shown(lock: Any, word: int) -> tuple[Transition, ...]:
    """What all who tell of a corrupt word show: the same steps."""
    with overwritten(lock, word):
        [finding] = audit(lock)
        with pytest.raises(LockCorruption) as caught:
            lock.write().acquire()
    error = caught.value
    assert (finding.kind, finding.word.word, error.word) == ("impossible word", word, word)
    assert told(finding.transitions) == told(error.transitions)
    for text in (str(finding), str(error)):
        lines = [line.partition(" s ago ")[2] for line in text.splitlines() if " s ago " in line]
        assert lines == [str(step).partition(" s ago ")[2] for step in finding.transitions[-8:]]
        assert f"none of these made it {word:#x}: " in text
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.transitions, str(copy)) == (error.transitions, str(error))
    return finding.transitions


@pytest.mark.parametrize("word", INCIDENT)
def test_the_writer_that_timed_out_is_named(word: int) -> None:
    """A thread, which has ended when somebody asks."""
    lock = RwLock(name="catalog")
    with lock.read():
        named("updater", lambda: lock.try_write_for(0.05).acquire()).join()
        wait_until(lambda: "has ended" in transitions_of(lock)[0].who)
        steps = shown(lock, word)
    assert told(steps) == TIMED_OUT
    assert [(step.number, step.mode, step.whom) for step in steps] == [(i, "write", None) for i in (1, 2, 3)]
    assert {step.who for step in steps} == {"thread 'updater', which has ended"}
    assert steps[0].seconds >= steps[1].seconds > steps[2].seconds >= 0
    assert str(steps[2]).endswith(
        "s ago thread 'updater', which has ended, timed out (write): 0x1a (readers=1 writer-waiting) -> 0x10 (readers=1)"
    )
    assert_idle(lock)


@pytest.mark.parametrize("word", INCIDENT)
@pytest.mark.parametrize("kind", EVERY_KIND)
def test_the_task_that_timed_out_is_of_its_loop(kind: str, word: int) -> None:
    lock = RwLock(name="catalog")
    with new_loop(kind) as loop:

        async def gives_up() -> None:
            assert await lock.try_write_for(0.05) is None

        with lock.read():
            loop.run(gives_up())
            steps = shown(lock, word)
        assert told(steps) == TIMED_OUT
        [who] = {step.who for step in steps}
        assert who.startswith("a task of a run of trio" if kind == "trio" else "a task of <")
    assert_idle(lock)


def test_a_task_that_waits_still_is_named_and_a_loop_that_has_ended_is_not() -> None:
    lock = RwLock()

    async def waits() -> None:
        async with lock.read():
            pass

    def on_a_loop() -> None:
        with LoopThread("asyncio") as loop:
            with lock.write():
                loop.call(lambda: loop.loop.create_task(waits(), name="reload"))
                wait_until_parked(lock, 1)
                [step] = transitions_of(lock)
                assert (step.what, step.who, step.mode) == ("queued", f"task 'reload' of {loop.loop!r}", "read")
            wait_until(lambda: transitions_of(lock)[0].who == f"a task of {loop.loop!r}")
            wait_until(lambda: not lock.is_locked())

    on_a_loop()
    wait_until(lambda: gc.collect() >= 0 and transitions_of(lock)[0].who == "a task of a loop that has ended")


def test_a_lock_that_nobody_had_to_wait_for_says_so() -> None:
    lock = RwLock()
    with lock.read():
        assert lock.try_write() is None
    with overwritten(lock, INCIDENT[0]):
        [finding] = audit(lock)
        with pytest.raises(LockCorruption, match=NONE_NOTED):
            lock.read().acquire()
    assert finding.transitions == ()
    assert str(finding).endswith(f"\n    {NONE_NOTED}")


def test_every_finding_has_them() -> None:
    lock = Mutex()
    with lock:
        in_thread(lambda: lock.try_lock_for(0.01).acquire()).join()
    with overwritten(lock, WRITER):
        [finding] = audit(lock)
    assert finding.kind == "held by nobody"
    assert [step.what for step in finding.transitions] == ["queued", "timed out"]
    assert "none of these" not in str(finding)  # who did not have to wait may well have come since


@pytest.mark.parametrize("fair", [False, True])
def test_a_release_says_to_whom(fair: bool) -> None:
    lock: Any = FairMutex() if fair else Mutex()
    threading.current_thread().name, before = "first", threading.current_thread().name
    try:
        guard = lock.lock().acquire()
        waiting = named("second", lock.lock().acquire)
        wait_until_parked(lock, 1)
        guard.release_fair()
        waiting.join().release()
        wait_until(lambda: "has ended" in transitions_of(lock)[0].who)
        queued, handed, acquired = transitions_of(lock)
    finally:
        threading.current_thread().name = before
    assert told((queued, handed, acquired)) == [
        ("queued", WRITER, WRITER | PARKED),
        ("handed over", WRITER | PARKED, WRITER),
        ("acquired", WRITER, WRITER),
    ]
    assert (handed.mode, handed.whom, handed.more) == (None, "thread 'second', which has ended (lock)", 0)
    assert "handed it over, now thread 'second', which has ended (lock): 0x9 (write-locked parked) -> 0x8" in str(handed)
    assert str(acquired).endswith("has it (lock): 0x8 (write-locked) as it was")
    assert_idle(lock)


def test_those_who_are_woken_at_once_are_counted() -> None:
    lock = RwLock()
    guard = lock.write().acquire()
    readers = [in_thread(lambda: lock.read().acquire()) for _ in range(3)]
    wait_until_parked(lock, 3)
    guard.release_fair()
    for reader in readers:
        reader.join().release()
    [handed] = [step for step in transitions_of(lock) if step.what == "handed over"]
    assert (handed.after.readers, handed.more) == (3, 2)
    assert " and 2 more" in str(handed)
    assert_idle(lock)


def test_an_upgrade_that_waits() -> None:
    lock = RwLock()
    reader, guard = lock.read().acquire(), lock.upgradable_read().acquire()
    upgrading = in_thread(guard.upgrade)
    wait_until_parked(lock, 1)
    reader.release()
    upgrading.join()
    guard.release()
    assert [(step.what, step.mode) for step in transitions_of(lock)] == [
        ("entered", "upgrade"),
        ("drains", "upgrade"),
        ("left", None),
        ("handed over", None),
        ("acquired", "upgrade"),
    ]
    assert_idle(lock)


def test_the_last_sixteen_are_kept_and_half_of_them_shown() -> None:
    lock = Mutex()
    with lock:
        for _ in range(20):
            assert lock.try_lock_for(0.0001).acquire() is None
    steps = transitions_of(lock)
    assert [step.number for step in steps] == list(range(25, 41))
    assert [step.what for step in steps] == ["queued", "timed out"] * 8
    with overwritten(lock, WRITER):
        [finding] = audit(lock)
    lines = str(finding).splitlines()
    assert lines[1] == "    its last steps where somebody had to wait, after 32 earlier ones:"
    assert len(lines) == 10


def test_who_gives_up_on_a_corrupt_word_does_not_push_out_what_led_there() -> None:
    lock = Mutex()
    with lock:
        waiting = [in_thread(lambda: lock.try_lock_for(0.2).acquire()) for _ in range(10)]
        wait_until_parked(lock, 10)
        before = told(transitions_of(lock))
        with overwritten(lock, INCIDENT[0]):
            for one in waiting:
                one.join()
            assert told(transitions_of(lock)) == before
        ffi.cast(WORD, lock.address).bits = WRITER  # PARKED was theirs
    assert_idle(lock)


# What each step does to the word, whoever else is there: (before, after) must be so.
FLAGS = WRITER | WRITER_PARKED | PARKED
HOLDS: dict[str, Callable[[int, int], bool]] = {
    "queued": lambda before, after: after == before | PARKED,
    "drains": lambda before, after: after == before | WRITER_PARKED and before & WRITER != 0 and before >= ONE_READER,
    "entered": lambda before, after: after == before | WRITER and not before & WRITER and after >= ONE_READER,
    "acquired": lambda before, after: after in (before, before | WRITER, before + ONE_READER) and after > 1,
    "timed out": lambda before, after: after in (before, before & ~PARKED) or (before & WRITER > 0 == after & WRITER_PARKED),
    "released": lambda before, after: before & WRITER != 0 and not after & WRITER,
    "handed over": lambda before, after: after & ~FLAGS != before & ~FLAGS or before & WRITER != 0,
    "left": lambda before, after: after == before - ONE_READER and after & (WRITER | WRITER_PARKED) == WRITER | WRITER_PARKED,
    "woke": lambda before, after: after in (before, before & ~PARKED),
}


def test_nothing_torn_is_believed() -> None:
    """Many wait, time out and are woken, while somebody reads: each step agrees with itself, and with the one before."""
    lock = RwLock()
    over = threading.Event()
    names = {f"thread {name!r}" for name in ("w1", "w2", "r1", "r2")}

    def uses(ask: Callable[[float], Any]) -> None:
        while not over.is_set():
            guard = ask(0.0002).acquire()
            if guard is not None:
                guard.release()

    users = [named(name, lambda name=name: uses(lock.try_write_for if name[0] == "w" else lock.try_read_for)) for name in
             ("w1", "w2", "r1", "r2")]  # fmt: skip
    looks = 0
    try:
        while looks < 300 or transitions_of(lock)[-1].number < 300:
            steps = transitions_of(lock)
            looks += bool(steps)
            assert all(earlier.number < later.number for earlier, later in itertools.pairwise(steps))
            assert len(steps) <= 16
            for step in steps:
                assert HOLDS[step.what](step.before.word, step.after.word), str(step)
                assert step.who in names
                assert step.mode in ((None,) if step.what in ("released", "handed over", "left", "woke") else ("read", "write"))
                assert not step.before.problems + step.after.problems
    finally:
        over.set()
    for user in users:
        user.join()
    assert_idle(lock)


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_a_forked_child_begins_with_none() -> None:
    lock = Mutex(name="it")
    with lock:
        assert lock.try_lock_for(0.001).acquire() is None
    assert len(transitions_of(lock)) == 2

    def child() -> None:
        assert transitions_of(lock) == ()
        with overwritten(lock, INCIDENT[0]):
            [finding] = audit(lock)
        assert str(finding).endswith(NONE_NOTED)
        with lock:
            assert lock.try_lock_for(0.001).acquire() is None
        assert [(step.number, step.what) for step in transitions_of(lock)] == [(1, "queued"), (2, "timed out")]
        assert lock.statistics().timeouts == 1

    in_child(child)
    assert len(transitions_of(lock)) == 2


def test_the_words_of_a_step_are_decoded() -> None:
    lock = Mutex()
    with lock:
        assert lock.try_lock_for(0.001).acquire() is None
    queued, timed_out = transitions_of(lock)
    assert (queued.before, queued.after) == (decode(WRITER), decode(WRITER | PARKED))
    assert (timed_out.before, timed_out.after) == (decode(WRITER | PARKED), decode(WRITER))
