"""The pytest plugin: locks that are left held, loops that are blocked, and that legal tests pass. Each run is a process."""

from __future__ import annotations

import re
import textwrap

import pytest

from tests.plugin_runs import line_of, run

pytest_plugins = ["pytester"]

HELD = """
import aiolots, pytest, threading

catalog = aiolots.RwLock({}, name="catalog")
routes = aiolots.Mutex(name="routes")
again = aiolots.ReentrantMutex(name="again")
kept = []

def test_write():
    kept.append(catalog.write().acquire())  # WRITE

def test_is_not_told_of_it_again():
    pass

def test_released():
    kept.pop().release()

def test_share_beside_a_share():
    with catalog.read():
        kept.append(catalog.upgradable_read().acquire())  # UPGRADABLE

def test_bare():
    kept.pop().release()
    routes.acquire()

def test_released_bare():
    routes.release()

def test_in_a_thread():
    thread = threading.Thread(target=lambda: kept.append(routes.lock().acquire()), name="helper")  # THREAD
    thread.start()
    thread.join()

def test_reentrant():
    kept.pop().release()
    again.acquire()

def test_new_lock():
    again.release()
    kept.append(aiolots.FairMutex(name="fresh"))
    kept.append(kept[0].try_lock())  # FRESH
"""


def test_locks_left_held_are_named(pytester: pytest.Pytester) -> None:
    out = run(pytester, HELD, passed=9, errors=6)
    for test, lock, mark in (
        ("test_write", "<aiolots.RwLock 'catalog' write-locked> (write)", "WRITE"),
        ("test_share_beside_a_share", "<aiolots.RwLock 'catalog' readers=1 upgradable> (upgradable_read)", "UPGRADABLE"),
        ("test_in_a_thread", "<aiolots.Mutex 'routes' write-locked> (lock)", "THREAD"),
        ("test_new_lock", "<aiolots.FairMutex 'fresh' write-locked> (lock)", "FRESH"),
    ):
        asked = rf"asked for at \S*test_it.py:{line_of(HELD, mark)} in "
        assert re.search(rf"aiolots: a lock is left held: {re.escape(lock)}, {asked}", out), (test, out)
    assert "<aiolots.Mutex 'routes' write-locked> (lock), taken without a guard, by thread 'MainThread'" in out
    assert "<aiolots.ReentrantMutex 'again' locked depth=1> (lock), taken without a guard, by" in out
    assert "ERROR at teardown of test_is_not_told_of_it_again" not in out


NOT_LEFT = """
import aiolots, asyncio, pytest, threading

lock = aiolots.RwLock(name="lock")
other = aiolots.Mutex(name="other")
worker_lock = aiolots.Mutex(name="worker")

@pytest.fixture
def holding():
    with lock.write():
        yield

@pytest.fixture(scope="module")
def session_holding():
    with other:
        yield

@pytest.fixture(scope="module")
def worker():
    told, done, ended = threading.Event(), threading.Event(), threading.Event()
    def work():
        told.wait()
        with worker_lock:
            done.set()
            ended.wait()
    thread = threading.Thread(target=work)
    thread.start()
    yield told, done
    ended.set()
    thread.join()

def test_fixture_that_holds(holding):
    assert lock.is_locked_exclusive()

def test_fixture_of_the_module_that_holds(session_holding):
    assert other.locked()

def test_that_goes_on(session_holding):
    assert other.locked()

def test_threads_of_a_fixture_may_hold(worker):
    pass

def test_threads_of_a_fixture_may_hold_now(worker):
    told, done = worker
    told.set()
    done.wait()
    assert worker_lock.locked()

def test_soon_released():
    guard = lock.read().acquire()
    threading.Timer(0.05, guard.release).start()

@pytest.mark.aiolots(held="off")
def test_marked():
    globals()["left"] = lock.read().acquire()

def test_end():
    left.release()

def test_tasks():
    async def main():
        async with lock.read():
            await asyncio.gather(*(user() for _ in range(10)))
    async def user():
        async with lock.read():
            await asyncio.sleep(0)
    asyncio.run(main())
"""


def test_what_is_not_left_held(pytester: pytest.Pytester) -> None:
    run(pytester, NOT_LEFT, passed=9)


BLOCKS = """
import aiolots, asyncio, threading, warnings, pytest

lock = aiolots.RwLock(name="lock")

def blocks():
    async def main():
        done = threading.Event()
        def hold():
            with lock.write():  # HOLDS
                done.wait()
        thread = threading.Thread(target=hold, name="holder")
        thread.start()
        while not lock.is_locked():
            await asyncio.sleep(0)
        threading.Timer(0.1, done.set).start()
        with lock.read():  # BLOCKS
            pass
        thread.join()
    asyncio.run(main())

def test_blocks():
    blocks()

def test_blocks_in_another_thread():
    thread = threading.Thread(target=blocks)
    thread.start()
    thread.join()

def test_knows():
    with pytest.warns(aiolots.LoopBlockedWarning):
        blocks()

@pytest.mark.filterwarnings("ignore::aiolots.LoopBlockedWarning")
def test_ignores():
    blocks()

@pytest.mark.aiolots(loop_block="off")
def test_off():
    blocks()

@pytest.mark.aiolots(loop_block="warn")
def test_warns():
    blocks()
"""


def test_a_blocked_loop_fails_the_test(pytester: pytest.Pytester) -> None:
    out = run(pytester, BLOCKS, passed=4, failed=2)
    path = pytester.path / "test_it.py"
    assert out.count("aiolots: an event loop was blocked: <aiolots.RwLock 'lock' write-locked> is taken with the thread's") >= 2
    assert f"taken at {path}:{line_of(BLOCKS, 'BLOCKS')}" in out
    assert re.search(rf"held: .*\(write\), asked for at {path}:{line_of(BLOCKS, 'HOLDS')} in blocks.*by thread 'holder'", out)


def test_order(pytester: pytest.Pytester) -> None:
    source = """
    import aiolots, pytest
    A = aiolots.Mutex(name="A")
    B = aiolots.RwLock(name="B")

    def test_one_way():
        with A:
            with B.write():  # FIRST
                pass

    def test_same_way():
        with A, B.read():
            pass

    def test_other_way():
        with B.write():
            with A:  # SECOND
                pass

    @pytest.mark.aiolots(order="off")
    def test_off():
        with B.read(), A:
            pass
    """
    run(pytester, source, passed=4)
    out = run(pytester, source, "--aiolots-order", passed=3, failed=1)
    (report,) = re.findall(r"_ test_other_way _.*?(?=\n=)", out, re.DOTALL)
    assert "aiolots: " in report
    for name in ("'A'", "'B'"):
        assert name in report
    for mark in ("FIRST", "SECOND"):
        assert f"{pytester.path / 'test_it.py'}:{line_of(textwrap.dedent(source), mark)} in" in report, report
