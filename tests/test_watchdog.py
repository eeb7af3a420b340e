"""aiolots.watchdog: what is late is reported once, with its cause; what is in time is not; and how a report gets out."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aiolots import FairMutex, Mutex, ReentrantMutex, RwLock, Semaphore, _outlets, _probes, lowlevel, watchdog
from tests.consoles import folder
from tests.waiting import WATCHDOG, assert_idle, in_thread, wait_until
from tests.worlds import EVERY_KIND, new_loop

TIMEOUT = 0.15


@pytest.fixture(autouse=True)
def nobody_watches() -> Iterator[None]:
    yield
    watchdog.stop()
    wait_until(lambda: not [t for t in threading.enumerate() if t.name in ("aiolots-watchdog", "aiolots-probe", "aiolots-log")])


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What would be logged."""
    found: list[str] = []
    monkeypatch.setattr(_outlets.Log, "__call__", lambda _self, text: found.append(text))
    return found


def start(*probes: Any, timeout: float = TIMEOUT, **more: Any) -> None:
    watchdog.start(timeout, probes=probes, interval=0.02, **more)


def rounds(count: int = 3) -> None:
    """Wait until the probes were begun some more times."""
    running: Any = watchdog._watchdog
    begun: list[float] = []
    before = running.probes[0].begin

    def begin(timeout: float) -> None:
        begun.append(timeout)
        before(timeout)

    running.probes[0].begin = begin
    wait_until(lambda: len(begun) > count)


@pytest.mark.parametrize("make", [RwLock, Mutex, FairMutex, ReentrantMutex])
def test_a_lock_that_is_late_and_in_time_again(make: Any, reports: list[str]) -> None:
    lock = make(name="catalog")
    start(lock)
    rounds()
    assert reports == []
    with lock.write() if make is RwLock else lock.lock():
        wait_until(lambda: reports)
        rounds()
        assert len(reports) == 1
    mode = "read" if make is RwLock else "lock"
    assert reports[0].startswith(f"aiolots watchdog: not within {TIMEOUT} s: {mode} of <aiolots.{make.__name__} 'catalog'>\n")
    assert "contention: " in reports[0]
    assert f"held ({'write' if make is RwLock else 'lock'}) by thread 'MainThread'" in reports[0]
    assert "contention: " in reports[0]
    assert f"now at {Path(__file__).parent}" in reports[0]
    if make is not ReentrantMutex:
        assert f"asked for at {__file__}" in reports[0]
    assert re.search(rf"== threads\n(.*\n)*thread 'MainThread'\n    {re.escape(str(Path(__file__).parent))}", reports[0])
    running: Any = watchdog._watchdog
    wait_until(lambda: not running._reported)
    with lock.write() if make is RwLock else lock.lock():  # late once more: reported once more
        wait_until(lambda: len(reports) == 2)
    watchdog.stop()
    wait_until(lambda: not lock.is_locked())
    assert_idle(lock)


def test_readers_do_not_make_a_read_late_but_a_waiting_writer_does(reports: list[str]) -> None:
    lock: RwLock[None] = RwLock(name="catalog")
    start(lock)
    with lock.read():
        rounds(10)
        assert reports == []
        writer = in_thread(lock.write().acquire)
        wait_until(lambda: reports)
        assert "waits (write)" in reports[0]
    writer.join().release()


def test_a_write_probe_leaves_the_queue_when_its_time_is_over(reports: list[str]) -> None:
    lock: RwLock[None] = RwLock(name="catalog")
    start(watchdog.probe(lock, "write"))
    with lock.read():
        wait_until(lambda: reports)
        wait_until(lambda: not lowlevel.waiters(lock))
        with lock.read(timeout=WATCHDOG):
            pass
    assert "write of <aiolots.RwLock 'catalog'>" in reports[0]


def test_every_probe_has_its_own_thread(reports: list[str]) -> None:
    locks = [Mutex(name=f"number {i}") for i in range(5)]
    start(*locks)
    for lock in locks:
        lock.acquire()
    began = time.monotonic()
    wait_until(lambda: sum(report.count("not within") for report in reports) == 5)
    assert time.monotonic() - began < 4 * TIMEOUT + 2
    for lock in locks:
        lock.release()


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_a_loop_that_is_stuck(kind: str, reports: list[str]) -> None:
    go_on = threading.Event()
    with new_loop(kind) as loop:
        start(loop.call(_running_loop), timeout=0.3)
        rounds()
        assert reports == []
        stuck = in_thread(loop.call, lambda: go_on.wait(WATCHDOG))
        wait_until(lambda: reports)
        go_on.set()
        stuck.join()
        running: Any = watchdog._watchdog
        wait_until(lambda: not running._reported)
        watchdog.stop()
    assert "not within 0.3 s: event loop" in reports[0]
    assert "\nstuck loop: " in reports[0]
    assert f"its thread is at {__file__}" in reports[0]


def _running_loop() -> Any:
    from aiolots import _loops

    return _loops.running()


def test_a_loop_that_is_not_run_is_not_late(reports: list[str]) -> None:
    import asyncio

    loop = asyncio.new_event_loop()
    start(loop)
    rounds(20)
    loop.close()
    rounds()
    assert reports == []


@pytest.mark.parametrize("what", ["is stuck", "raises", "returns False"])
def test_a_function(what: str, reports: list[str]) -> None:
    go_on, late = threading.Event(), threading.Event()

    def is_alive() -> object:
        if not late.is_set():
            return None
        if what == "raises":
            raise ZeroDivisionError
        return go_on.wait(WATCHDOG) if what == "is stuck" else False

    start(is_alive)
    rounds()
    assert reports == []
    late.set()
    wait_until(lambda: reports)
    assert f"function {is_alive.__qualname__}" in reports[0]
    late.clear()
    go_on.set()
    running: Any = watchdog._watchdog
    wait_until(lambda: not running._reported)


def test_a_probe_whose_release_fails_keeps_no_later_guard(reports: list[str]) -> None:
    mutex: Mutex[None] = Mutex()
    probe = _probes.LockProbe(mutex)
    request = mutex.try_lock_for

    class Meddled:
        """Somebody releases the mutex, as anybody may, before the probe does."""

        def __init__(self, timeout: float) -> None:
            self._request = request(timeout)

        def acquire(self) -> Any:
            guard = self._request.acquire()
            mutex.release()
            return guard

    probe._method = Meddled
    with pytest.raises(RuntimeError):
        probe._try(1.0)
    probe._method = request
    for _ in range(2):
        assert probe._try(1.0)
        assert not mutex.is_locked()
    probe.end()
    assert reports == []


def test_without_probes_no_lock_is_taken(reports: list[str]) -> None:
    lock: Mutex[None] = Mutex(name="busy")
    watchdog.start(TIMEOUT, interval=0.02)
    with lock:
        waiting = in_thread(lock.acquire)
        wait_until(lambda: reports)
        assert len(lowlevel.waiters(lock)) == 1
    waiting.join()
    lock.release()
    assert "not within 0.15 s: <aiolots.Mutex 'busy'>, for somebody who waits for it" in reports[0]


def test_what_cannot_be_probed_and_settings_that_are_wrong() -> None:
    for thing in (Semaphore(1), 7, "lock"):
        with pytest.raises(TypeError, match="watchdog probes locks"):
            watchdog.start(probes=[thing])
    with pytest.raises(TypeError, match=r"no write\(\)"):
        watchdog.probe(Mutex(), "write")
    for settings in ({"timeout": 0}, {"timeout": -1.0}, {"interval": 0}, {"action": "shout"}):
        with pytest.raises(ValueError):
            watchdog.start(**settings)  # type: ignore[arg-type]
    assert not watchdog.is_running()


def test_start_again_and_stop(reports: list[str]) -> None:
    lock: Mutex[None] = Mutex()
    with lock:
        watchdog.start(WATCHDOG, probes=[lock])
        start(lock)
        assert watchdog.is_running()
        wait_until(lambda: reports)
        watchdog.stop()
        watchdog.stop()
        assert not watchdog.is_running()


# --- how a report gets out ----------------------------------------------------------------------------------------------


def test_log(caplog: pytest.LogCaptureFixture) -> None:
    lock: Mutex[None] = Mutex(name="catalog")
    with lock:
        start(lock)
        wait_until(lambda: caplog.records)
    [record] = caplog.records
    assert (record.name, record.levelno) == ("aiolots", logging.CRITICAL)
    assert "lock of <aiolots.Mutex 'catalog'>" in record.getMessage()


def test_a_handler_that_is_stuck_does_not_keep_the_report(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_outlets, "_PATIENCE", 0.1)
    go_on = threading.Event()

    class Stuck(logging.Handler):
        def emit(self, _record: logging.LogRecord) -> None:
            go_on.wait(WATCHDOG)

    handler = Stuck()
    logging.getLogger("aiolots").addHandler(handler)
    lock: Mutex[None] = Mutex(name="catalog")
    try:
        with lock:
            start(lock)
            read = []
            wait_until(lambda: "catalog" in read[-1] if not read.append(capfd.readouterr().err) else False)
    finally:
        go_on.set()
        logging.getLogger("aiolots").removeHandler(handler)


def test_dump(capfd: pytest.CaptureFixture[str]) -> None:
    lock: Mutex[None] = Mutex(name="catalog")
    with folder() as place:
        file = place / "reports"
        with lock:
            start(lock, action="dump", file=file)
            wait_until(lambda: file.exists() and "== threads" in file.read_text())
        assert "lock of <aiolots.Mutex 'catalog'>" in file.read_text()
        assert file.stat().st_mode & 0o777 == 0o600
        watchdog.stop()
        running = [t for t in threading.enumerate() if t.name == "aiolots-watchdog"]
        wait_until(lambda: not any(t.is_alive() for t in running))
        assert f"the report is in {file}" in capfd.readouterr().err
        link = place / "link"
        link.symlink_to(place / "other")
        _outlets.to_file(link)("what it says\n")  # a link is not followed
        assert not (place / "other").exists()
        assert "what it says" in capfd.readouterr().err


def test_abort() -> None:
    program = (
        "import time, aiolots\nlock = aiolots.Mutex(name='doomed')\nlock.acquire()\n"
        "aiolots.watchdog.start(0.2, 'abort', [lock])\ntime.sleep(60)\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == -signal.SIGABRT
    assert "not within 0.2 s: lock of <aiolots.Mutex 'doomed'>" in ran.stderr
    assert "held (lock) by thread 'MainThread', now at <string>:5" in ran.stderr
    assert "most recent call first" in ran.stderr  # faulthandler's


def test_abort_though_nobody_reads_the_report() -> None:
    program = (
        "import os, time, aiolots\nlock = aiolots.Mutex(name='doomed')\nlock.acquire()\nos.set_blocking(2, False)\n"
        "try:\n    while True: os.write(2, b'x' * 65536)\nexcept BlockingIOError: pass\n"
        "os.set_blocking(2, True)\naiolots.watchdog.start(0.2, 'abort', [lock])\ntime.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE) as process:
        assert process.wait(30) == -signal.SIGABRT


def test_environment() -> None:
    def ran(value: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", "import aiolots; print(aiolots.watchdog.is_running())"],
            env=os.environ | {"AIOLOTS_WATCHDOG": value},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )

    assert ran("2.5").stdout == "True\n"
    assert ran("0").stdout == ran("").stdout == "False\n"
    for wrong in ("yes", "-1", "nan"):
        assert "nobody watches" in ran(wrong).stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_has_no_watchdog_and_no_lock_of_a_probe() -> None:
    locks = [Mutex() for _ in range(4)]
    start(*locks)
    for _ in range(20):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of a fork with threads
            pid = os.fork()
        if not pid:
            ok = not watchdog.is_running() and all(lock.acquire(timeout=5) for lock in locks)
            os._exit(0 if ok else 1)
        assert os.waitpid(pid, 0)[1] == 0


def test_it_takes_no_lock_of_logging_or_threading_to_report() -> None:
    """Everybody waits for logging's lock, and for threading's: the report gets out by the standard error."""
    program = (
        "import logging, threading, time, aiolots\n"
        "lock = aiolots.Mutex(name='doomed')\nlock.acquire()\n"
        "aiolots.watchdog.start(0.3, 'log', [lock])\n"
        "logging._acquireLock() if hasattr(logging, '_acquireLock') else logging._lock.acquire()\n"
        "logging.lastResort.acquire()\nthreading._active_limbo_lock.acquire()\n"
        "time.sleep(6)\nimport os\nos._exit(0)\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert "not within 0.3 s: lock of <aiolots.Mutex 'doomed'>" in ran.stderr


def test_reports_name_no_file_of_ours_first(reports: list[str]) -> None:
    lock: Mutex[None] = Mutex()
    with lock:
        start(lock)
        wait_until(lambda: reports)
    assert not any(Path(place).name.startswith("_") for place in re.findall(r"now at (\S+?):\d+", reports[0]))
