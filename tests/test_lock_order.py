"""The lock order: an inversion that has not deadlocked is reported once, with both places; legal use never is."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Callable
from typing import Any

import pytest

from aiolots import Condvar, FairMutex, Mutex, ReentrantMutex, RwLock, _front, _lock_order, _track, tracking
from tests import tasks
from tests.tracking_world import line, tracked
from tests.waiting import WATCHDOG, in_thread, wait_until, wait_until_parked
from tests.worlds import on_each_loop, on_every_loop

__all__ = ["tracked"]  # a fixture
pytestmark = pytest.mark.usefixtures("tracked")

Take = Callable[[Any], Any]


def take(*requests: Any) -> None:
    """Acquire one within another, and release them again. What is a function is called when it is its turn."""
    guards = []
    for request in requests:
        guard = request() if callable(request) else request
        if hasattr(guard, "_holds") and not guard._holds():
            guard = guard.acquire()
        assert guard is not None
        guards.append(guard)
    for guard in guards[::-1]:
        guard.release()


def ways() -> list[list[str]]:
    """Return the names of the locks of each inversion that was found."""
    return [[order.held.split("'")[1] for order in inversion.orders] for inversion in tracking.inversions()]


# --- what is one --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [Mutex, FairMutex, ReentrantMutex])
def test_two_mutexes(make: Callable[..., Mutex[None]], caplog: pytest.LogCaptureFixture) -> None:
    a, b = make(name="A"), make(name="B")
    places = []
    with a:
        places.append(line(-1))
        with b:
            places.append(line(-1))
    assert tracking.inversions() == ()
    with b:
        places.append(line(-1))
        with a:
            places.append(line(-1))
    (inversion,) = tracking.inversions()
    second, first = inversion.orders
    assert [first.held_at, first.taken_at, second.held_at, second.taken_at] == places
    assert [first.held, first.taken] == [f"<aiolots.{make.__name__} 'A'>", second.held]
    assert [first.hold, first.want] == ["alone", "alone"]
    text = str(inversion)
    assert "2 orders that can deadlock" in text
    assert "take them in one order everywhere" in text
    assert all(place in text for place in places)
    assert "thread 'MainThread' held" in text
    for _ in range(10):
        take(a.lock(), b.lock())
        take(b.lock(), a.lock())
    assert len(tracking.inversions()) == 1
    wait_until(lambda: text in caplog.messages)  # from a thread of its own
    take(Mutex(name="C").lock(), a.lock())
    c = Mutex(name="C")
    take(b.lock(), c.lock())
    take(c.lock(), b.lock())
    wait_until(lambda: any("'C'" in message for message in caplog.messages))  # another one, without anybody asking
    assert len(tracking.inversions()) == 2
    record, _ = [record for record in caplog.records if record.name == "aiolots"]
    assert (record.levelname, record.getMessage()) == ("WARNING", text)


def test_in_the_end_everything_is_forgotten() -> None:
    a, b = Mutex(name="A"), Mutex(name="B")
    take(a.lock(), b.lock())
    tracking.reset()
    take(b.lock(), a.lock())
    assert tracking.inversions() == ()
    take(a.lock(), b.lock())
    assert ways() == [["A", "B"]]


def test_three_locks_two_at_a_time() -> None:
    a, b, c = (Mutex(name=name) for name in "ABC")
    take(a.lock(), b.lock())
    take(b.lock(), c.lock())
    assert tracking.inversions() == ()
    in_thread(take, c.lock(), a.lock()).join()
    assert ways() == [["C", "A", "B"]]
    assert "3 orders that can deadlock" in str(tracking.inversions()[0])


def test_who_has_ended_has_a_name_still() -> None:
    a, b = Mutex(name="A"), Mutex(name="B")

    async def main() -> None:
        async with a, b:
            pass

    async def start() -> None:
        await asyncio.create_task(main(), name="the task")

    asyncio.run(start())
    thread = in_thread(take, b.lock(), a.lock())
    name = thread.thread.name
    thread.join()
    del thread
    gc.collect()
    (inversion,) = tracking.inversions()
    assert {order.owner for order in inversion.orders} == {"task 'the task'", f"thread {name!r}"}


def test_threads_and_tasks_of_two_loops() -> None:
    a, b = RwLock(name="A"), Mutex(name="B")

    async def one() -> None:
        async with a.write(), b:
            pass

    async def other() -> None:
        async with b.lock(), a.write():
            pass

    async def start(function: Callable[[], Any], name: str) -> None:
        await asyncio.create_task(function(), name=name)

    asyncio.run(start(one, "one"))
    in_thread(asyncio.run, start(other, "other")).join()
    (inversion,) = tracking.inversions()
    assert {order.owner.split()[0] for order in inversion.orders} == {"task"}


@on_every_loop
async def test_each_task_is_an_owner_of_its_own() -> None:
    """Between two steps of one task others take locks, on the same thread: that is no order."""
    a, b = Mutex(name="A"), Mutex(name="B")
    async def one(first: Mutex[None], inside: list[int]) -> None:
        async with first.lock():
            inside.append(1)
            while len(inside) < 2:
                await tasks.pause()

    inside: list[int] = []
    for first, second in ((a, b), (b, a)):
        await tasks.all_of(tasks.start(one(first, inside)), tasks.start(one(second, inside)))
        inside.clear()
    assert tracking.inversions() == ()
    assert _lock_order.graph.edges == {}


def test_who_waits_for_a_condition_takes_the_mutex_again() -> None:
    a, b, changed = Mutex(name="A"), Mutex(name="B"), Condvar()
    with a.lock() as guard, b:
        assert tracking.inversions() == ()
        assert not changed.wait(guard, timeout=0.001)  # with B in hand
    assert ways() == [["B", "A"]]


# --- how it is held, and how it is wanted --------------------------------------------------------------------------------

READ, RECURSIVE, UPGRADABLE, WRITE = RwLock.read, RwLock.read_recursive, RwLock.upgradable_read, RwLock.write


@pytest.mark.parametrize(
    ("held", "wanted", "alone", "with_a_writer"),
    [
        (READ, READ, False, True),
        (READ, RECURSIVE, False, False),
        (RECURSIVE, READ, False, True),
        (RECURSIVE, RECURSIVE, False, False),
        (READ, UPGRADABLE, False, True),
        (UPGRADABLE, READ, False, True),
        (UPGRADABLE, RECURSIVE, False, False),
        (UPGRADABLE, UPGRADABLE, True, True),
        (READ, WRITE, True, True),
        (UPGRADABLE, WRITE, True, True),
        (WRITE, READ, True, True),
        (WRITE, RECURSIVE, True, True),
        (WRITE, WRITE, True, True),
    ],
)
def test_modes(held: Take, wanted: Take, alone: bool, with_a_writer: bool) -> None:
    """The mutex B is taken within A in one mode, and around A in another: does that keep out?"""
    a, b = RwLock(name="A"), Mutex(name="B")
    take(held(a), b.lock())
    take(b.lock(), wanted(a))
    assert bool(tracking.inversions()) == alone
    with a.try_write_for(10), a.try_write_for(0) as second:  # neither waits for ever, so no reader is ever stuck behind it
        assert second is None
    assert bool(tracking.inversions()) == alone
    take(WRITE(a))
    assert bool(tracking.inversions()) == with_a_writer


def test_an_upgrade_waits_for_the_readers_to_leave() -> None:
    a, b = RwLock(name="A"), Mutex(name="B")
    take(a.read(), b.lock())
    for limit in (5.0, None):
        with a.upgradable_read() as guard, b:
            assert tracking.inversions() == ()
            assert guard.try_upgrade() is not None
            guard.downgrade_to_upgradable()  # type: ignore[attr-defined]
            guard.upgrade(timeout=limit)
            place = line(-1)
    (inversion,) = tracking.inversions()
    assert [order.held.split("'")[1] for order in inversion.orders] == ["B", "A"]
    assert inversion.orders[0].taken_at == place


def test_a_reader_within_itself() -> None:
    lock = RwLock(name="A")
    with lock.read(), lock.read_recursive():
        pass
    with lock.read(), lock.read():
        pass
    assert tracking.inversions() == ()  # nobody writes
    take(WRITE(lock))
    (inversion,) = tracking.inversions()
    assert "read within a read" in str(inversion)
    assert "read_recursive()" in str(inversion)


@pytest.mark.parametrize(
    "ask",
    [
        Mutex.try_lock,
        lambda lock: lock.try_lock_for(5),
        lambda lock: lock.try_lock_until(time.monotonic() + 5),
        lambda lock: lock.lock(timeout=5),
        lambda lock: lock if lock.acquire(blocking=False) else None,
        lambda lock: lock if lock.acquire(timeout=5) else None,
    ],
)
def test_who_does_not_wait_for_ever_adds_no_order(ask: Take) -> None:
    a, b, c = (Mutex(name=name) for name in "ABC")
    take(a.lock(), b.lock())
    for _ in range(2):
        take(b.lock(), lambda: ask(a))
    assert tracking.inversions() == ()
    take(lambda: ask(b), c.lock())  # but what it got is held
    take(c.lock(), b.lock())
    assert ways() == [["C", "B"]]


def test_for_ever_is_for_ever() -> None:
    a, b = Mutex(name="A"), Mutex(name="B")
    take(a.lock(), b.try_lock_for(float("inf")))
    take(b.lock(), a.lock())
    assert ways() == [["B", "A"]]


# --- classes ------------------------------------------------------------------------------------------------------------


def test_a_class_is_one() -> None:
    rows = [Mutex(name="row", lock_class="row") for _ in range(1000)]  # one name: telemetry keeps 1,000 for ever
    table = RwLock(name="table", lock_class="table")
    for row in rows[:500]:
        take(table.read(), row.lock())
    assert tracking.inversions() == ()
    take(rows[-1].lock(), table.write())
    (inversion,) = tracking.inversions()
    assert "locks of class 'row' -> locks of class 'table'" in str(inversion)
    for row in rows:
        take(row.lock(), table.write())
    assert len(tracking.inversions()) == 1
    assert len(_lock_order.graph.edges) == 2


def test_what_a_class_did_counts_after_its_locks_are_gone() -> None:
    table = Mutex(name="table")
    take(table.lock(), Mutex(lock_class="row").lock())
    gc.collect()
    take(Mutex(lock_class="row").lock(), table.lock())
    assert len(tracking.inversions()) == 1


def test_one_within_another_of_its_class() -> None:
    rows = [Mutex(lock_class="nested rows") for _ in range(3)]
    for _ in range(3):
        take(rows[0].lock(), rows[1].lock(), rows[2].lock())
    (inversion,) = tracking.inversions()
    assert "one within another" in str(inversion)
    assert "allow_nesting" in str(inversion)


def test_who_says_that_they_have_an_order_of_their_own() -> None:
    tracking.allow_nesting("ordered rows")
    rows = [Mutex(lock_class="ordered rows") for _ in range(3)]
    take(*(row.lock() for row in rows))
    take(*(row.lock() for row in rows[::-1]))
    assert tracking.inversions() == ()


# --- it never harms -----------------------------------------------------------------------------------------------------


def test_a_handler_of_the_log_may_want_the_lock_itself() -> None:
    a, b = Mutex(name="A"), Mutex(name="B")
    handled: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            with a, b:
                handled.append(record.getMessage())

    handler, log = Handler(), logging.getLogger("aiolots")
    log.addHandler(handler)
    try:
        take(a.lock(), b.lock())
        with b, a:
            assert len(tracking.inversions()) == 1
            assert handled == []
        wait_until(lambda: handled)
    finally:
        log.removeHandler(handler)


def test_what_is_known_is_not_told_again() -> None:
    a, b = Mutex(name="A"), RwLock(name="B")
    take(a.lock(), b.read())
    assert tracking.inversions() == ()
    for _ in range(100):
        take(a.lock(), b.read())
    assert _track.functions.track_pending() == []


def test_nodes_of_dead_locks_are_dropped() -> None:
    table = Mutex(name="table")
    for _ in range(3):
        for _ in range(1000):
            row: Mutex[None] = Mutex()
            take(table.lock(), row.lock())
            take(row.lock(), Mutex().lock())
        del row
        gc.collect()
        assert tracking.inversions() == ()
        assert len(_lock_order.graph.labels) <= 1
        assert sum(map(len, _lock_order.graph.edges.values())) == 0


def test_what_was_reported_of_dead_locks_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "aiolots")
    table = Mutex(name="table")
    for _ in range(10):
        row: Mutex[None] = Mutex()
        take(table.lock(), row.lock())
        take(row.lock(), table.lock())
    assert len(tracking.inversions()) == 10
    del row
    gc.collect()
    tracking.inversions()
    assert len(_lock_order.graph.reported) == sum(map(len, _lock_order.graph._reported_of.values())) == 0


def test_a_long_chain_that_dies_at_once() -> None:
    chain: list[Mutex[None]] = [Mutex() for _ in range(20_000)]
    for i in range(len(chain) - 1):
        take(chain[i].lock(), chain[i + 1].lock())
    assert tracking.inversions() == ()
    while chain:
        chain.pop(0 if len(chain) % 2 else -1)
    gc.collect()
    assert tracking.inversions() == ()
    assert len(_lock_order.graph.labels) == 0


def test_a_real_deadlock_is_another_matter() -> None:
    """An order that waits is told once it is through: what hangs is the deadlock detector's."""
    a, b = Mutex(name="A"), Mutex(name="B")
    take(a.lock(), b.lock())
    a.acquire()
    waits = in_thread(take, b.lock(), a.lock())
    wait_until_parked(a, 1)
    assert tracking.inversions() == ()
    a.release()
    waits.join()
    assert ways() == [["B", "A"]]


# --- legal use ----------------------------------------------------------------------------------------------------------

OPERATIONS = 1_000_000 if _front.NATIVE else 30_000


def test_legal_use_gives_no_report() -> None:
    """Hierarchies of locks in one order, tries in any, readers within readers, and classes, by several threads."""
    threads = 4
    end = time.monotonic() + 4 * WATCHDOG
    table, log, config = RwLock(name="table"), Mutex(name="log"), RwLock(name="config")
    rows: list[Mutex[None]] = [Mutex(lock_class="legal rows") for _ in range(16)]
    cells: list[RwLock[None]] = [RwLock(lock_class="cells") for _ in range(16)]

    def work(seed: int) -> int:
        done = 0
        while done < OPERATIONS // threads:
            assert time.monotonic() < end
            for i in range(16):
                with table.read(), rows[i], cells[seed + i & 15].write():
                    with config.read(), log:
                        pass
                    if (other := rows[i - 1].try_lock()) is not None:
                        other.release()
                    if (whole := table.try_read_recursive()) is not None:
                        whole.release()
                with log:
                    if (guard := cells[i].try_write()) is not None:
                        guard.release()
                    with rows[i].try_lock_for(0) as row:
                        assert row is None or row
                with config.read(), config.read_recursive():
                    pass
                done += 11
        return done

    workers = [in_thread(work, seed) for seed in range(threads)]
    with table.write(), log:  # somebody writes
        pass
    assert sum(worker.join(5 * WATCHDOG) for worker in workers) >= OPERATIONS
    assert tracking.inversions() == ()


@on_each_loop
async def test_legal_use_by_tasks() -> None:
    table, log = RwLock(name="table"), Mutex(name="log")

    async def work() -> None:
        for i in range(OPERATIONS // 1000):
            async with table.read() if i % 8 else table.write(), log:
                await asyncio.sleep(0)
            async with log.lock():
                if (guard := table.try_read()) is not None:
                    guard.release()

    await asyncio.gather(*(work() for _ in range(10)))
    assert tracking.inversions() == ()
