"""The pytest plugin: deadlocks and hangs fail the test that runs, with who, where and what; and the run goes on."""

from __future__ import annotations

import re
import signal
import sys
import time

import pytest

from tests.plugin_runs import line_of, run

pytest_plugins = ["pytester"]
# With the GIL off the calls of threads that run are not looked into: see aiolots/_wait_graph.py.
pytestmark = pytest.mark.skipif(not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="some of these are of calls")

PROMPTLY = 20.0  # seconds; a run of pytest takes one or two
LIMIT = "--aiolots-timeout=60"  # nothing here takes so long, unless a deadlock was not found

DEADLOCKS = """
import aiolots, asyncio, threading, pytest

A = aiolots.RwLock(name="A")
B = aiolots.Mutex(name="B")

def thread(function):
    made = threading.Thread(target=function, name=function.__name__)  # no daemon: it has to end, or pytest does not
    made.start()
    return made

def test_itself():
    with B:  # HOLDS itself
        with B:  # WAITS itself
            pass

def test_two_threads():
    meet = threading.Barrier(2)
    def one():
        with A.write():  # HOLDS one
            meet.wait()
            with B:  # WAITS one
                pass
    def two():
        with B:  # HOLDS two
            meet.wait()
            with A.read():  # WAITS two
                pass
    threads = [thread(one), thread(two)]
    for waited_for in threads:
        waited_for.join()

def test_main_with_a_thread():
    meet = threading.Barrier(2)
    def helper():
        with A.write():  # HOLDS helper
            meet.wait()
            with B:  # WAITS helper
                pass
    with B:  # HOLDS main
        thread(helper)
        meet.wait()
        A.read().acquire()  # WAITS main

def test_tasks():
    async def main():
        meet = asyncio.Event()
        async def first():
            async with A.write():  # HOLDS first
                await meet.wait()
                async with B:  # WAITS first
                    pass
        async def second():
            async with B:  # HOLDS second
                meet.set()
                async with A.read():  # WAITS second
                    pass
        await asyncio.gather(asyncio.create_task(first(), name="first"), asyncio.create_task(second(), name="second"))
    asyncio.run(main())

def test_task_and_pool_thread():
    def work():
        A.write().acquire()  # WAITS work
    async def main():
        asyncio.current_task().set_name("main")
        async with A.read():  # HOLDS pool
            await asyncio.to_thread(work)
    asyncio.run(main())

def test_locks_are_free_afterwards():
    assert A.word == B.word == 0
    assert threading.active_count() <= 2, threading.enumerate()  # this one and the watcher
"""


def test_deadlocks_fail_the_test_that_runs(pytester: pytest.Pytester) -> None:
    """All of them, and they go on: the locks are free and the threads gone, so the process ends."""
    began = time.monotonic()
    ignored = "ignore::pytest.PytestUnhandledThreadExceptionWarning"
    out = run(pytester, DEADLOCKS, LIMIT, "-W", ignored, passed=1, failed=5)
    assert time.monotonic() - began < PROMPTLY
    heads = re.findall(r"aiolots: (deadlock: .*)", out)
    for names in (("'MainThread'",), ("'one'", "'two'"), ("'MainThread'", "'helper'"), ("'first'", "'second'"), ("'main'",)):
        assert any(all(name in head for name in names) for head in heads), (names, heads)
    for mark in ("itself", "one", "two", "helper", "first", "second", "work"):
        assert f"waits at {pytester.path / 'test_it.py'}:{line_of(DEADLOCKS, f'WAITS {mark}')} in" in out, mark
    for mark in ("itself", "one", "two", "helper", "main", "first", "second", "pool"):
        place = rf"{re.escape(str(pytester.path / 'test_it.py'))}:{line_of(DEADLOCKS, f'HOLDS {mark}')} in"
        assert re.search(rf"(inside the `with` at|asked for at) {place}", out), mark
    assert "advice: locks are taken in different orders" in out


def test_a_deadlock_of_others_is_not_the_next_tests(pytester: pytest.Pytester) -> None:
    source = """
    import aiolots, threading, time, pytest
    lock = aiolots.Mutex(name="lock")

    @pytest.mark.aiolots(deadlock="off", held="off")
    def test_makes_one():
        def stuck():
            with lock, lock:
                pass
        threading.Thread(target=stuck, daemon=True).start()
        while not aiolots.lowlevel.waiters(lock):
            time.sleep(0.001)

    def test_innocent():
        time.sleep(0.5)
    """
    run(pytester, source, passed=2)


def test_warn_tells_of_a_deadlock_at_once(pytester: pytest.Pytester) -> None:
    source = """
    import aiolots, threading, time
    lock = aiolots.Mutex(name="doomed")

    def test_makes_one():
        def stuck():
            with lock, lock:
                pass
        threading.Thread(target=stuck, daemon=True).start()
        time.sleep(1)
    """
    out = run(pytester, source, "--aiolots-deadlock=warn", "--aiolots-held=warn", passed=1, warnings=1)
    assert "test_makes_one: aiolots: deadlock: one owner waits for itself" in out
    assert "a lock is left held: <aiolots.Mutex 'doomed' write-locked waiters=1>" in out


HANGS = """
import aiolots, asyncio, threading, time, pytest

lock = aiolots.RwLock(name="slow")
event = aiolots.Event()

@pytest.fixture
def reader():
    done = threading.Event()
    def read():
        with lock.read():  # HOLDS
            done.wait()
    thread = threading.Thread(target=read, name="reader")
    thread.start()
    while not lock.reader_count():
        time.sleep(0.001)
    yield
    done.set()
    thread.join()

def test_lock(reader):
    with lock.write():  # WAITS
        pass

def test_join(reader):
    waiting = threading.Thread(target=lambda: lock.try_write_for(20).acquire(), name="patient", daemon=True)
    waiting.start()
    waiting.join()  # JOIN

def test_task(reader):
    async def main():
        asyncio.current_task().set_name("stuck")
        async with lock.write():  # TASK
            pass
    asyncio.run(main())

def test_sleep():
    time.sleep(60)

def test_one_that_is_fast(reader):
    assert lock.reader_count() == 1
"""


def test_hang_fails_with_what_everybody_does(pytester: pytest.Pytester) -> None:
    began = time.monotonic()
    out = run(pytester, HANGS, "--aiolots-timeout=0.7", passed=1, failed=4)
    assert time.monotonic() - began < PROMPTLY
    assert len(re.findall(r"aiolots: did not end within 0.7 s", out)) >= 4
    assert "no deadlock: nobody is in a cycle of waits without a limit" in out
    assert re.search(r"<aiolots.RwLock 'slow' readers=1 writer-waiting waiters=1>, word 0x1\w+: readers=1 writer-waiting", out)
    path = pytester.path / "test_it.py"
    assert f"held: <aiolots.RwLock 'slow' readers=1 writer-waiting waiters=1> (read), asked for at {path}:" in out
    assert f"waits: thread 'MainThread' (write), at {path}:{line_of(HANGS, 'WAITS')} in test_lock" in out
    assert "waits: thread 'patient' (write, with a timeout)" in out
    assert f"waits: task 'stuck' (write), at {path}:{line_of(HANGS, 'TASK')} in" in out
    assert "thread 'reader', innermost call first:" in out


def test_hang_that_no_signal_gets_to_ends_the_process(pytester: pytest.Pytester) -> None:
    source = """
    import aiolots, signal, threading, time

    def test_deaf():
        print("so far, so good")
        signal.signal(signal.SIGURG, signal.SIG_IGN)
        with aiolots.Mutex(name="deaf").lock():
            time.sleep(60)
    """
    pytester.makepyfile(test_it=source)
    ended = pytester.runpytest_subprocess("-p", "no:cacheprovider", "--aiolots-timeout=0.5", timeout=60)
    assert ended.ret == 1
    err = ended.stderr.str()
    assert "test_it.py::test_deaf: aiolots: did not end within 0.5 s" in err
    assert "so far, so good" in err
    assert "thread 'MainThread', innermost call first:" in err


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="pytest-timeout has its other method then")
def test_beside_pytest_timeout_and_faulthandler(pytester: pytest.Pytester) -> None:
    source = """
    import aiolots, pytest, time
    lock = aiolots.Mutex(name="lock")

    @pytest.mark.timeout(2, method="signal")
    def test_theirs():
        time.sleep(30)

    @pytest.mark.timeout(30, method="signal")
    def test_ours():
        with lock, lock:
            pass
    """
    # While both sleep: faulthandler reads the frames of threads that run, without the GIL, and CPython 3.13 crashed of that.
    out = run(pytester, source, "-o", "faulthandler_timeout=1", failed=2)
    assert "from pytest-timeout" in out
    assert "deadlock: one owner waits for itself" in out


ASYNC = """
import aiolots, asyncio, pytest

lock = aiolots.Mutex(name="lock")
kept = []

@pytest.mark.asyncio
async def test_asyncio_deadlock():
    async with lock:
        async with lock:  # ASYNCIO
            pass

@pytest.mark.asyncio
async def test_asyncio_left():
    kept.append(await lock.lock())  # LEFT

@pytest.mark.asyncio
async def test_asyncio_fine():
    kept.pop().release()
    async with lock:
        await asyncio.sleep(0)

@pytest.fixture
def anyio_backend():
    return "asyncio"

@pytest.mark.anyio
async def test_anyio_deadlock():
    async with lock:
        async with lock:  # ANYIO
            pass

@pytest.mark.anyio
async def test_anyio_fine():
    async with lock:
        await asyncio.sleep(0)
"""


def test_with_the_plugins_of_asyncio_and_anyio(pytester: pytest.Pytester) -> None:
    out = run(pytester, ASYNC, LIMIT, "-o", "asyncio_mode=strict", passed=3, failed=2, errors=1)
    for mark in ("ASYNCIO", "ANYIO"):
        assert re.search(rf"waits at \S*test_it.py:{line_of(ASYNC, mark)} in", out), mark
    assert re.search(rf"left held: .*asked for at \S*test_it.py:{line_of(ASYNC, 'LEFT')} in test_asyncio_left", out)


def test_uvloop(pytester: pytest.Pytester) -> None:
    pytest.importorskip("uvloop")
    source = """
    import aiolots, uvloop

    lock = aiolots.Mutex(name="lock")

    def test_deadlock():
        async def main():
            async with lock:
                async with lock:
                    pass
        uvloop.run(main())

    def test_free():
        assert not lock.locked()
    """
    out = run(pytester, source, LIMIT, failed=1, passed=1)
    assert "deadlock: one owner waits for itself" in out


TRIO = """
import aiolots, pytest, trio

lock = aiolots.Mutex(name="lock")

def test_main_task():
    async def main():
        async with lock:
            async with lock:  # MAIN
                pass
    trio.run(main)

def test_children():
    async def child():
        async with lock:  # CHILD
            pass
    async def main():
        async with lock, trio.open_nursery() as nursery:
            nursery.start_soon(child)
    trio.run(main)

def test_sync():
    async def main():
        async with trio.open_nursery():
            with lock, lock:  # SYNC
                pass
    trio.run(main)

@pytest.mark.aiolots(timeout=0.5)
def test_hang():
    trio.run(trio.sleep_forever)

def test_trio_works_still():
    async def main():
        async with lock:
            await trio.lowlevel.checkpoint()
    trio.run(main)

@pytest.fixture
def anyio_backend():
    return "trio"

@pytest.mark.anyio
async def test_anyio():
    async with lock:
        async with lock:  # ANYIO
            pass

@pytest.mark.anyio
async def test_anyio_works_still():
    async with lock:
        pass
"""


def test_trio_and_anyio_with_it(pytester: pytest.Pytester) -> None:
    pytest.importorskip("trio")
    out = run(pytester, TRIO, LIMIT, "-W", "ignore::aiolots.LoopBlockedWarning", passed=2, failed=5)
    for mark in ("MAIN", "CHILD", "SYNC", "ANYIO"):
        assert re.search(rf"waits at \S*test_it.py:{line_of(TRIO, mark)} in", out), mark
    assert "TrioInternalError" not in out
    assert "aiolots: did not end within 0.5 s" in out


def test_workers_of_xdist(pytester: pytest.Pytester) -> None:
    pytest.importorskip("xdist")
    source = """
    import aiolots, threading, time, pytest
    lock = aiolots.Mutex(name="lock")

    @pytest.mark.parametrize("n", range(6))
    def test_fine(n):
        with lock:
            pass

    def test_deadlock():
        with lock, lock:
            pass

    @pytest.mark.aiolots(timeout=0.5)
    def test_hang():
        time.sleep(30)

    def test_left():
        aiolots.Mutex(name="left").acquire()
        globals()["kept"] = aiolots.Mutex(name="kept")
        kept.acquire()
    """
    out = run(pytester, source, "-n", "2", passed=7, failed=2, errors=1)
    assert "deadlock: one owner waits for itself" in out
    assert "did not end within 0.5 s" in out
    assert "<aiolots.Mutex 'kept' write-locked> (lock), taken without a guard, by thread 'MainThread'" in out
