"""The contract of telemetry's callbacks: each wait that ends is told once, by another thread, and nobody who waits notices."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Self

import pytest

from aiolots import Mutex, RwLock, _events, lowlevel, telemetry
from tests.test_contract_statistics_kept import contend
from tests.test_scenarios_fork import in_child
from tests.test_scenarios_reentry import Injected, at_check, at_every_check
from tests.worlds import (
    LOOPS,
    WATCHDOG,
    WORLDS,
    World,
    assert_idle,
    in_thread,
    until_parked,
    wait_until,
    wait_until_parked,
)

EVERY_WORLD = tuple(WORLDS)


@pytest.fixture(autouse=True)
def nobody_listens() -> Iterator[None]:
    """After each test; and before it nobody did."""
    assert _events.wanted == 0
    yield
    assert _events.wanted == 0, "a test has not unsubscribed"
    wait_until(lambda: "now" not in _events._deliverers, "the thread does not end")
    assert not _events._rows


class Heard:
    """What somebody has heard of some locks."""

    def __init__(self, subscribe: Callable[..., Callable[[], None]], *names: str) -> None:
        self.names = names
        self.events: list[telemetry.LockEvent] = []
        self.threads: set[str] = set()
        self.unsubscribe = subscribe(self.hear)

    def hear(self, event: telemetry.LockEvent) -> None:
        if event.lock_name in self.names:
            self.threads.add(threading.current_thread().name)
            self.events.append(event)

    def wait_for(self, count: int) -> list[telemetry.LockEvent]:
        """Return so many events, once they have come, and no others have."""
        wait_until(lambda: len(self.events) >= count and not _events._rows, lambda: f"not {count}: {self.events}")
        assert len(self.events) == count
        return self.events

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.unsubscribe()
        self.unsubscribe()  # again: nothing


# --- what is told -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("world", EVERY_WORLD)
def test_how_a_wait_ended(world: str) -> None:
    lock = RwLock(name="told")
    with Heard(telemetry.on_contention, "told") as all_, Heard(telemetry.on_timeout, "told") as timeouts, World(world) as here:
        guard = lock.write().acquire()
        reader = here.attempt(lock.read)
        wait_until_parked(lock, 1)
        late = here.attempt(lambda: lock.try_write_for(0.003))
        assert late.guard() is None
        cancelled = here.attempt(lock.write)
        wait_until_parked(lock, 2)
        cancelled.cancel()
        all_.wait_for(2)
        guard.release()
        reader.release()
        events = all_.wait_for(3)
        assert [e.outcome for e in events] == ["timed_out", "cancelled", "acquired"]
        assert [e.waiter for e in events] == ["task" if a.is_task else "thread" for a in (late, cancelled, reader)]
        assert [e.mode for e in events] == ["write", "write", "read"]
        for event in events:
            assert event.lock == "<aiolots.RwLock 'told'>"
            assert event.label == "told"
            assert event.holders == ()
            assert "worlds.py" in event.place
            assert 0 < event.waited < WATCHDOG
            assert abs(event.time - time.time()) < WATCHDOG
            assert event.mode in str(event)
            assert event.place in str(event)
        assert [(w.mode, w.lock_name) for w in events[0].queued] == [("read", "told")]
        assert events[0].word.write_locked
        assert timeouts.wait_for(1) == events[:1]
        assert all_.threads == timeouts.threads == {"aiolots-telemetry"}
        statistics = lock.statistics()
        assert (statistics.contended, statistics.timeouts, statistics.cancellations) == (1, 1, 1)
    assert_idle(lock)


def test_of_a_crowd_the_first_few_are_named() -> None:
    lock = Mutex(name="crowd")
    with Heard(telemetry.on_timeout, "crowd") as heard, World("thread") as here:
        guard = lock.lock().acquire()
        attempts = [here.attempt(lock.lock) for _ in range(12)]
        wait_until_parked(lock, 12)
        assert lock.try_lock_for(0.001).acquire() is None
        (event,) = heard.wait_for(1)
        first = lowlevel.waiters(lock)[:8]
        assert [w.ticket for w in event.queued] == [w.ticket for w in first]
        guard.release()
        while attempts:
            wait_until(lambda: any(attempt.done() for attempt in attempts))
            for attempt in [attempt for attempt in attempts if attempt.done()]:
                attempt.release()
                attempts.remove(attempt)


def test_nothing_is_recorded_when_nobody_listens() -> None:
    lock = Mutex(name="alone")
    contend(lock)
    assert not _events._rows
    assert not [thread for thread in threading.enumerate() if thread.name == "aiolots-telemetry"]
    with Heard(telemetry.on_timeout, "alone") as heard:
        contend(lock)  # no timeout
        assert not _events._rows
        assert not heard.events
    contend(lock)
    assert not _events._rows
    assert lock.statistics().contended == 3


def test_who_has_unsubscribed_hears_no_more_and_others_do() -> None:
    lock = Mutex(name="two")
    with Heard(telemetry.on_contention, "two") as one, Heard(telemetry.on_contention, "two") as two:
        contend(lock)
        one.wait_for(1)
        two.wait_for(1)
        one.unsubscribe()
        contend(lock)
        two.wait_for(2)
        assert len(one.events) == 1


def test_what_is_no_callback_is_refused() -> None:
    for subscribe in (telemetry.on_timeout, telemetry.on_contention):
        with pytest.raises(TypeError, match="3 cannot be"):
            subscribe(3)  # type: ignore[arg-type]


# --- who listens harms nobody -----------------------------------------------------------------------------------------


def test_what_a_callback_raises_is_logged_once_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    lock = Mutex(name="raises")
    before = telemetry.counts()

    def raises(event: telemetry.LockEvent) -> None:
        if event.lock_name == "raises":
            raise SystemExit if lock.statistics().contended > 1 else ValueError("of the callback")

    unsubscribe = telemetry.on_contention(raises)
    with Heard(telemetry.on_contention, "raises") as heard, caplog.at_level(logging.ERROR, "aiolots"):
        for count in range(1, 4):
            contend(lock)
            heard.wait_for(count)
        unsubscribe()
    assert telemetry.counts().failed - before.failed == 3
    assert telemetry.counts().delivered - before.delivered >= 3
    (record,) = caplog.records
    assert "raises" in record.getMessage()
    assert record.exc_info is not None
    assert "of the callback" in str(record.exc_info[1])


def test_a_name_that_cannot_be_shown_is_dropped_and_the_next_is_told() -> None:
    class Bad:
        def __repr__(self) -> str:
            raise RuntimeError

    before = telemetry.counts().dropped
    with Heard(telemetry.on_contention, "shown") as heard:
        contend(Mutex(name=Bad()))  # type: ignore[arg-type]
        wait_until(lambda: telemetry.counts().dropped == before + 1)
        contend(Mutex(name="shown"))
        heard.wait_for(1)


def test_a_logger_that_fails_keeps_nobody_from_hearing() -> None:
    def fails(_record: logging.LogRecord) -> bool:
        raise SystemExit

    def raises(_event: telemetry.LockEvent) -> None:
        raise ValueError("of the callback")

    log, before = logging.getLogger("aiolots"), telemetry.counts().failed
    unsubscribe = telemetry.on_contention(raises)
    log.addFilter(fails)
    try:
        with Heard(telemetry.on_contention, "logged") as heard:
            for count in (1, 2):
                contend(Mutex(name="logged"))
                heard.wait_for(count)
            unsubscribe()
    finally:
        log.removeFilter(fails)
    assert telemetry.counts().failed == before + 2


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_was_ended_from_outside_is_replaced() -> None:
    with Heard(telemetry.on_contention, "replaced") as heard:
        contend(Mutex(name="replaced"))
        heard.wait_for(1)
        ended = _events._deliverers["now"]
        assert ended.ident is not None
        assert ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ended.ident), ctypes.py_object(SystemExit)) == 1
        wait_until(lambda: not ended.is_alive())
        contend(Mutex(name="replaced"))
        heard.wait_for(2)


def test_a_thread_that_is_dead_is_replaced_by_who_subscribes() -> None:
    dead = threading.Thread(target=int)
    dead.start()
    dead.join()
    _events._deliverers["now"] = dead
    with Heard(telemetry.on_contention, "subscribed") as heard:
        contend(Mutex(name="subscribed"))
        heard.wait_for(1)


def test_a_callback_may_take_the_lock_and_hears_nothing_of_itself() -> None:
    """It is called by nobody who waits, and outside of any lock: so it can wait for the very lock as long as it likes."""
    lock = Mutex(name="taken in a callback")
    inside, go_on = threading.Event(), threading.Event()

    def take(event: telemetry.LockEvent) -> None:
        if event.lock_name == "taken in a callback":
            inside.set()
            with lock:
                pass
            assert go_on.wait(WATCHDOG)

    with Heard(telemetry.on_contention, "taken in a callback") as heard:
        unsubscribe = telemetry.on_contention(take)
        contend(lock)
        assert inside.wait(WATCHDOG)
        with lock:  # taken and released beside it, whatever it does
            pass
        with World("thread") as here:
            guard = lock.lock().acquire()
            attempt = here.attempt(lambda: lock.try_lock_for(0.001))
            assert attempt.guard() is None
            guard.release()
        go_on.set()
        heard.wait_for(2)
        # Its own wait, if it had to: counted as ever, but not told.
        assert lock.statistics().contended + lock.statistics().timeouts >= 2
        unsubscribe()


def test_what_does_not_fit_is_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_events, "_MOST", 3)
    lock = Mutex(name="dropped")
    inside, go_on = threading.Event(), threading.Event()
    before = telemetry.counts().dropped

    def block(_event: telemetry.LockEvent) -> None:
        inside.set()
        assert go_on.wait(WATCHDOG)

    with Heard(telemetry.on_contention, "dropped") as heard:
        unsubscribe = telemetry.on_contention(block)
        contend(lock)
        assert inside.wait(WATCHDOG)
        for _ in range(5):
            contend(lock)  # nobody waits for who listens
        assert len(_events._rows) == 3
        assert telemetry.counts().dropped - before == 2
        unsubscribe()
        go_on.set()
        heard.wait_for(4)
    assert lock.statistics().contended == 6


def test_what_comes_at_once_when_it_is_full_is_lost_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look at the room and the row there is a bytecode or two, where others put theirs."""
    lock = Mutex(name="at once")
    contend(lock)
    before, most = telemetry.counts().dropped, _events._MOST
    inside, go_on = threading.Event(), threading.Event()

    def block(_event: telemetry.LockEvent) -> None:
        inside.set()
        assert go_on.wait(WATCHDOG)

    def others_are_faster(_lock: object, _count: int) -> Callable[[], list[object]]:
        while len(_events._rows) < most:
            _events._rows.append(_events._rows[0])
        return list

    with Heard(telemetry.on_contention, "at once") as heard:
        unsubscribe = telemetry.on_contention(block)
        contend(lock)
        assert inside.wait(WATCHDOG)
        contend(lock)
        monkeypatch.setattr(_events, "first_infos", others_are_faster)
        contend(lock)
        unsubscribe()
        go_on.set()
        heard.wait_for(most + 2)
        assert telemetry.counts().dropped == before


def test_who_is_told_keeps_no_lock_alive() -> None:
    lock = Mutex(name="kept alive")
    reference = weakref.ref(lock)
    with Heard(telemetry.on_contention, "kept alive") as heard:
        contend(lock)
        del lock
        gc.collect()
        assert reference() is None
        heard.wait_for(1)


class WhileTold:
    """A signal handler that raises, if it comes while a wait is being told; how often it did."""

    def __init__(self) -> None:
        self.raised = 0

    def __call__(self) -> None:
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            if frame.f_code.co_name in ("wait_ended", "wait_is_over"):
                self.raised += 1
                raise Injected
            frame = frame.f_back


@pytest.mark.parametrize("timed_out", [False, True])
def test_a_handler_that_raises_while_a_threads_wait_is_told(timed_out: bool) -> None:
    """Ctrl-C at any point of it: the acquire at the end of which it came is undone."""
    lock = RwLock(name="interrupted")
    handler = WhileTold()

    def run(number: int) -> int:
        holder = in_thread(lock.write().acquire).join()
        helper = None if timed_out else in_thread(lambda: (wait_until_parked(lock, 1), holder.release()))
        seen = [0]
        try:
            with at_check(number, handler) as seen:
                guard = lock.try_read_for(0.0005 if timed_out else WATCHDOG).acquire()
                if guard is not None:
                    guard.release()
        except Injected as error:
            error.__traceback__ = None
        if helper is None:
            holder.release()
        else:
            helper.join()
        assert_idle(lock)
        return seen[0]

    with Heard(telemetry.on_contention):
        assert at_every_check(run) > 0
    assert handler.raised > 0


@pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
def test_a_handler_that_raises_while_a_tasks_wait_is_told(kind: str) -> None:
    """It comes out of that task's acquire, which is undone; who is behind it gets the lock."""
    lock = Mutex(name="interrupted")
    handler = WhileTold()

    async def take() -> None:
        async with lock.lock():
            pass

    def run(number: int) -> int:
        async def body() -> int:
            async with lock:
                tasks = [asyncio.ensure_future(take()) for _ in range(2)]
                await until_parked(lock, 2)
            with at_check(number, handler) as seen:
                results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), WATCHDOG)
            assert [type(result) for result in results if result is not None] in ([], [Injected])
            return seen[0]

        with asyncio.Runner(loop_factory=LOOPS[kind]) as runner:
            checks = runner.run(body())
        assert_idle(lock)
        return checks

    with Heard(telemetry.on_contention):
        assert at_every_check(run) > 0
    assert handler.raised > 0


def test_a_forked_child_is_told_of_its_own_waits() -> None:
    lock = Mutex(name="forked")
    with Heard(telemetry.on_contention, "forked") as heard:
        contend(lock)
        heard.wait_for(1)

        def child() -> None:
            contend(lock)
            heard.wait_for(2)
            assert heard.threads == {"aiolots-telemetry"}

        in_child(child)
        contend(lock)
        heard.wait_for(2)
