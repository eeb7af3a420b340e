"""What telemetry's events say of who holds a tracked lock: with a timeout, as LockTimeout does."""

from __future__ import annotations

import threading

from aiolots import RwLock, telemetry
from tests.tracking_world import line
from tests.waiting import in_thread, wait_until


def test_an_event_of_a_timeout_says_who_holds_it() -> None:
    lock = RwLock(name="catalog", track=True)
    events: list[telemetry.LockEvent] = []
    unsubscribe = telemetry.on_timeout(events.append)
    taken, done = threading.Event(), threading.Event()
    places: list[str] = []

    def updater() -> None:
        threading.current_thread().name = "updater"
        with lock.write():
            places.append(line(-1))
            taken.set()
            done.wait()

    try:
        holder = in_thread(updater)
        taken.wait()
        with lock.try_read_for(0.01) as late:
            assert late is None
        wait_until(lambda: events)
        done.set()
        holder.join()
        with lock.write(), lock.try_read_for(0.01) as late:
            assert late is None
        wait_until(lambda: len(events) == 2)
    finally:
        unsubscribe()
        done.set()
    (held,), (own,) = events[0].holders, events[1].holders
    assert "thread 'updater' holds it (write), since" in held
    assert f"acquired at {places[0]}" in held
    assert "now at" in held
    assert "thread 'MainThread'" in own
    assert held in str(events[0])


def test_an_untracked_lock_has_no_holders_to_tell_of() -> None:
    lock = RwLock(name="catalog")
    events: list[telemetry.LockEvent] = []
    unsubscribe = telemetry.on_timeout(events.append)
    try:
        with lock.write(), lock.try_read_for(0.01) as late:
            assert late is None
        wait_until(lambda: events)
    finally:
        unsubscribe()
    assert events[0].holders == ()
