"""What tracked locks have counted, as long as they live and longer: labels, copies, forks, many threads and tasks."""

from __future__ import annotations

import asyncio
import copy
import gc
import threading

from aiolots import Mutex, RwLock, _holding
from aiolots._totals import Series
from tests.holding import SHORT, every_hold, kinds, numbers, only, pause
from tests.test_scenarios_fork import in_child
from tests.tracking_world import tracked
from tests.waiting import in_thread

__all__ = ["every_hold", "tracked"]  # fixtures


def test_what_is_told_of_a_label_never_goes_down(tracked: None) -> None:
    name = f"label of holds {next(numbers)}"
    series = Series(name, "read", "thread")
    locks = [RwLock(name=name) for _ in range(3)]
    for lock in locks:
        with lock.read():
            pause(SHORT)
    before = _holding.totals()[series]
    assert (before.acquisitions, before.timed, sum(before.buckets)) == (3, 3, 3)
    assert before.held_ns == sum(round(only(lock).total_hold * 1e9) for lock in locks)
    assert before.longest_ns == max(round(only(lock).longest_hold * 1e9) for lock in locks)
    del lock, locks
    gc.collect()
    assert _holding.totals()[series] == before
    another = RwLock(name=name)
    with another.read():
        pass
    another.name = "by another name"
    with another.read():
        pass
    after = _holding.totals()[series]
    assert (after.acquisitions, after.timed) == (5, 5)
    assert Series("by another name", "read", "thread") not in _holding.totals()


def test_a_lock_without_a_name_is_called_by_its_class(tracked: None) -> None:
    class OwnKind(RwLock[None]):
        pass

    lock = OwnKind(None)
    with lock.write():
        pass
    assert _holding.totals()[Series("OwnKind", "write", "thread")].acquisitions == 1
    before = _holding.totals().get(Series("RwLock", "write", "thread"), _holding.NOTHING).acquisitions
    nameless = RwLock(name=["no text"])  # type: ignore[arg-type]
    with nameless.write():
        pass
    assert _holding.totals()[Series("RwLock", "write", "thread")].acquisitions == before + 1


def test_names_that_never_come_again_share_one_label(tracked: None) -> None:
    others = Series("(others)", "lock", "thread")

    def child() -> None:  # what is left of them is left for good
        for _ in range(1500):
            with Mutex(name="again"):
                pass
        gc.collect()
        assert {series.lock: uses.acquisitions for series, uses in _holding.totals().items()} == {"again": 1500}
        for i in range(1500):
            with Mutex(name=f"once {i}"):
                pass
        gc.collect()
        found = _holding.totals()
        assert sum(uses.acquisitions for uses in found.values()) == 3000
        assert found[others].acquisitions >= 499
        assert len(found) <= 1001
        named_so = Mutex(name="(others)")
        with named_so:
            pass
        assert _holding.totals()[others].acquisitions == found[others].acquisitions + 1
        del named_so
        gc.collect()
        assert _holding.totals()[others].acquisitions == found[others].acquisitions + 1

    in_child(child)


def test_a_copy_begins_at_nothing(tracked: None) -> None:
    lock = RwLock(name="copied")
    with lock.read():
        pass
    assert kinds(copy.copy(lock)) == {}


def test_a_forked_child_begins_at_nothing(tracked: None) -> None:
    name = f"forked holds {next(numbers)}"
    lock, mutex = RwLock(name=name), Mutex(name=name)
    with lock.read():
        pass
    held = threading.Event()
    may_end = threading.Event()

    def holds() -> None:
        with lock.read():
            held.set()
            may_end.wait()

    thread = in_thread(holds)
    held.wait()
    mine = lock.read().acquire()
    before = kinds(lock)
    assert before == {("read", "thread"): (3, 1)}

    def child() -> None:
        assert kinds(lock) == {}
        assert _holding.totals() == {}
        mine.release()  # it began in the parent
        assert kinds(lock) == {}
        with lock.read(), mutex:
            pass
        assert kinds(lock) == {("read", "thread"): (1, 1)}
        assert {series: uses.acquisitions for series, uses in _holding.totals().items()} == {
            Series(name, "read", "thread"): 1,
            Series(name, "lock", "thread"): 1,
        }

    in_child(child)
    assert kinds(lock) == before
    may_end.set()
    thread.join()
    mine.release()
    assert kinds(lock) == {("read", "thread"): (3, 3)}


# --- many -------------------------------------------------------------------------------------------------------------------


def test_none_is_lost_and_none_counted_twice(tracked: None) -> None:
    """Threads and tasks, one lock that lives and locks that come and go, of one name."""
    name = f"hammered {next(numbers)}"
    shared = RwLock(name=name)
    rounds, done = 300, threading.Event()
    looks: list[int] = []

    def watches() -> None:
        while not done.is_set():
            looks.append(sum(uses.acquisitions for series, uses in _holding.totals().items() if series.lock == name))

    def threads() -> None:
        for _ in range(rounds):
            with shared.read(), RwLock(name=name).write():
                pass

    async def tasks() -> None:
        async def one() -> None:
            for _ in range(rounds // 10):
                async with shared.write():
                    await asyncio.sleep(0)

        await asyncio.gather(*(one() for _ in range(10)))

    watcher = in_thread(watches)
    for worker in [in_thread(threads) for _ in range(3)] + [in_thread(asyncio.run, tasks())]:
        worker.join()
    done.set()
    watcher.join()
    assert looks == sorted(looks)
    gc.collect()
    assert kinds(shared) == {("read", "thread"): (3 * rounds, 3 * rounds), ("write", "task"): (rounds, rounds)}
    found = {series[1:]: (uses.acquisitions, uses.timed) for series, uses in _holding.totals().items() if series.lock == name}
    assert found == {
        ("read", "thread"): (3 * rounds, 3 * rounds),
        ("write", "thread"): (3 * rounds, 3 * rounds),
        ("write", "task"): (rounds, rounds),
    }
