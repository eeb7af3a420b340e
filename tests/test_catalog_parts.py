"""The parts of the catalog proxy that need no network: history, catalog, file, updaters."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from aiolots import RwLock
from aiolots.demo.catalog import Catalog, Change, OutOfOrder, Route
from aiolots.demo.errors import StoreError
from aiolots.demo.history import HORIZON_SECONDS, History
from aiolots.demo.store import PrunedLog, Store, Target
from aiolots.demo.updater import Tail, Updater, WriteTimeout

BOUND = 20.0
POLL = 0.005


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, at most BOUND seconds."""
    deadline = time.monotonic() + BOUND
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(POLL)


def edit(path: Path, *statements: str) -> None:
    """Edit the file from another process, with nothing but the standard library."""
    program = "import sqlite3, sys\nwith sqlite3.connect(sys.argv[1]) as file:\n    file.executescript(sys.argv[2])"
    subprocess.run([sys.executable, "-c", program, path, ";".join(statements)], check=True, timeout=BOUND)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with three routes."""
    path = tmp_path / "routes.sqlite"
    Store.create(path, {"a.example": "one", "b.example": "two", "c.example": "one"}, {"one": "http://1", "two": "u2"})
    return path


# --- history and catalog ---------------------------------------------------------------------------------------------


def test_history_allows_what_was_named_between_start_and_end() -> None:
    history = History([("a", "one")], at=10.0)
    history.record("a", 20.0, "two")
    history.record("a", 30.0, None)
    history.record("a", 40.0, "three")
    assert history.allowed("a", 12.0, 13.0) == {"one"}
    assert history.allowed("a", 12.0, 25.0) == {"one", "two"}
    assert history.allowed("a", 21.0, 29.0) == {"two"}
    assert history.allowed("a", 29.0, 41.0) == {"two", None, "three"}
    assert history.allowed("a", 31.0, 32.0) == {None}
    assert history.allowed("a", 50.0, 51.0) == {"three"}


def test_history_of_an_unknown_host_is_no_host_until_it_is_added() -> None:
    history = History([], at=10.0)
    assert history.allowed("a", 11.0, 12.0) == {None}
    history.record("a", 20.0, "one")
    assert history.allowed("a", 11.0, 12.0) == {None}
    assert history.allowed("a", 11.0, 21.0) == {None, "one"}
    assert history.allowed("a", 21.0, 22.0) == {"one"}


def test_history_forgets_only_what_no_request_can_have_seen() -> None:
    history = History([("a", "one")], at=0.0)
    history.record("a", 1.0, "two")
    history.record("a", 2.0 + HORIZON_SECONDS, "three")
    assert history.allowed("a", 1.5, 3.0 + HORIZON_SECONDS) == {"two", "three"}
    assert "one" not in history.allowed("a", 0.0, 3.0 + HORIZON_SECONDS)


def test_catalog_applies_in_order_and_refuses_to_go_back() -> None:
    catalog = Catalog({"a": "one"}, version=5, keep_history=True)
    catalog.apply([Change(6, "a", "two"), Change(7, "b", "one"), Change(8, "a", None)])
    assert catalog.routes == {"b": Route("one", 7)}
    assert catalog.revision == 2
    with pytest.raises(OutOfOrder):
        catalog.apply([Change(6, "b", "two")])
    assert catalog.plain_routes() == {"b": "one"}
    assert catalog.revision % 2 == 0


# --- the file --------------------------------------------------------------------------------------------------------


def test_any_edit_from_another_process_is_logged(path: Path) -> None:
    with Store.open(path) as store:
        assert store.last_change() == 0
        assert store.changes_after(0, 10) == []
        edit(
            path,
            "UPDATE routes SET backend = 'two' WHERE host = 'A.Example'",
            "INSERT INTO routes (host, backend) VALUES ('New.example', 'one')",
            "DELETE FROM routes WHERE host = 'b.example'",
            "UPDATE routes SET host = 'd.example' WHERE host = 'c.example'",
            "INSERT INTO routes (host, backend) VALUES ('d.example', 'x') ON CONFLICT DO UPDATE SET backend = 'two'",
        )
        expected = [
            Change(1, "a.example", "two"),
            Change(2, "new.example", "one"),
            Change(3, "b.example", None),
            Change(4, "c.example", None),
            Change(5, "d.example", "one"),
            Change(6, "d.example", "two"),
        ]
        assert store.changes_after(0, 10) == expected
        assert store.changes_after(2, 2) == expected[2:4]
        assert store.last_change() == 6
        snapshot = store.snapshot()
    assert snapshot.version == 6
    assert snapshot.routes == {"a.example": "two", "new.example": "one", "d.example": "two"}


def test_a_shortened_log_is_noticed(path: Path) -> None:
    with Store.open(path) as store:
        edit(path, *["UPDATE routes SET backend = 'two'"] * 2, "DELETE FROM changes WHERE id < 5")
        assert [change.id for change in store.changes_after(4, 10)] == [5, 6]
        with pytest.raises(PrunedLog):
            store.changes_after(3, 10)
        edit(path, "DELETE FROM changes")
        assert store.changes_after(6, 10) == []
        with pytest.raises(PrunedLog):
            store.changes_after(4, 10)


def test_targets(path: Path) -> None:
    edit(path, "UPDATE routes SET prefix = '/shop' WHERE host = 'a.example'")
    with Store.open(path) as store:
        store.register_backends([("one", "http://elsewhere")])
        assert store.target("a.example", "one") == Target("http://elsewhere", "/shop")
        assert store.target("gone.example", "two") == Target("u2", "")
        assert store.target("a.example", "nobody") is None


def test_open_explains_what_is_wrong(path: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no database"):
        Store.open(tmp_path / "missing")
    assert not (tmp_path / "missing").exists()
    with pytest.raises(StoreError, match="directory"):
        Store.open(tmp_path)
    (tmp_path / "text").write_text("not a database " * 100)
    with pytest.raises(StoreError, match="not a database"):
        Store.open(tmp_path / "text")
    other = sqlite3.connect(tmp_path / "other")
    other.execute("CREATE TABLE routes (host)")
    other.close()
    with pytest.raises(StoreError, match="no table backends, changes"):
        Store.open(tmp_path / "other")
    with pytest.raises(StoreError, match="exists already"):
        Store.create(path, {}, {})
    damaged = bytearray(path.read_bytes())
    damaged[4096:] = bytes(len(damaged) - 4096)
    path.write_bytes(damaged)
    with Store.open(path) as store, pytest.raises(StoreError, match=re.escape(str(path))):
        store.check()


# --- the updaters ----------------------------------------------------------------------------------------------------


@contextmanager
def updating(catalog: RwLock[Catalog], path: Path, shares: int = 1, **more: Any) -> Generator[list[Updater]]:
    """Run updaters that start from the file's beginning, and see that they end."""
    threads = [Updater(catalog, path, version=0, share=share, shares=shares, **more) for share in range(shares)]
    for thread in threads:
        thread.start()
    try:
        yield threads
    finally:
        stopped = [thread.stop(BOUND) for thread in threads]
    assert all(stopped)
    assert [problem for thread in threads for problem in thread.problems] == []
    assert catalog.word == 0


def catalog_of(path: Path) -> RwLock[Catalog]:
    """Return the catalog of a file as it is now."""
    with Store.open(path) as store:
        snapshot = store.snapshot()
    return RwLock(Catalog(snapshot.routes, version=snapshot.version, keep_history=True), name="catalog")


def routes_in(catalog: RwLock[Catalog]) -> dict[str, str]:
    """Return what the catalog says, read under its lock."""
    with catalog.read() as guard:
        return guard.value.plain_routes()


def test_a_write_timeout_is_reported_and_the_change_is_not_lost(path: Path) -> None:
    catalog = catalog_of(path)
    reports: list[WriteTimeout] = []
    thrice = threading.Event()

    def report(timeout: WriteTimeout) -> None:
        reports.append(timeout)
        if len(reports) == 3:
            thrice.set()

    tail = Tail(write_timeout=0.001, patience=2)
    with updating(catalog, path, tail=tail, on_timeout=report) as (updater,):
        with catalog.read() as guard:
            edit(path, "UPDATE routes SET backend = 'two' WHERE host = 'a.example'")
            assert thrice.wait(BOUND)
            assert guard.value.routes["a.example"].backend == "one"
        until(lambda: updater.position == 1)
        assert routes_in(catalog)["a.example"] == "two"
    first, _, third = reports[:3]
    assert (first.who, first.readers, first.change, first.attempt) == ("updater-0", 1, 1, 1)
    assert first.waited >= 0.001
    assert third.attempt == 3
    assert third.waited >= 0.002, "out of patience, it waits longer"
    assert updater.timeouts == len(reports)
    assert updater.longest_wait >= third.waited
    assert "1 readers were in" in str(first)


def test_an_updater_gets_in_between_readers_that_never_pause(path: Path) -> None:
    catalog = catalog_of(path)
    stop = threading.Event()
    pause = 0.01

    def read_on() -> None:
        while not stop.is_set():
            with catalog.read():
                time.sleep(pause)

    readers = [threading.Thread(target=read_on) for _ in range(3)]
    with updating(catalog, path, tail=Tail(write_timeout=0.001, patience=3)) as (updater,):
        for reader in readers:
            reader.start()
        try:
            edit(path, *["UPDATE routes SET backend = 'two'", "UPDATE routes SET backend = 'one'"] * 5)
            until(lambda: updater.position == 30)
        finally:
            stop.set()
            for reader in readers:
                reader.join()
    assert updater.applied == 30


def test_two_updaters_keep_the_changes_of_a_host_in_order(path: Path) -> None:
    catalog = catalog_of(path)
    hosts = [f"host-{number}" for number in range(8)]
    assert len({zlib.crc32(host.encode()) % 2 for host in hosts}) == 2
    # Every batch is larger than what goes in at once, and ends at another backend than it passed through.
    changes = [f"INSERT OR REPLACE INTO routes (host, backend) VALUES ('{host}', 'temporary')" for host in hosts]
    changes += [f"UPDATE routes SET backend = 'step-{step}' WHERE host LIKE 'host-%'" for step in range(40)]
    with updating(catalog, path, shares=2) as threads:
        edit(path, *changes)
        until(lambda: all(thread.position == 8 * 41 for thread in threads))
        assert sum(thread.applied for thread in threads) == 8 * 41
        assert all(thread.applied > 0 for thread in threads)
    with Store.open(path) as store:
        assert routes_in(catalog) == store.snapshot().routes
    assert routes_in(catalog)["host-0"] == "step-39"


def test_an_updater_that_missed_lines_of_the_log_compares_the_whole_file(path: Path) -> None:
    catalog = catalog_of(path)
    edit(
        path,
        "UPDATE routes SET backend = 'two' WHERE host = 'a.example'",
        "DELETE FROM routes WHERE host = 'b.example'",
        "INSERT INTO routes (host, backend) VALUES ('new.example', 'one')",
        "DELETE FROM changes",
    )
    with updating(catalog, path, shares=2) as threads:
        until(lambda: all(thread.position == 3 for thread in threads))
        assert all(thread.resyncs == 1 for thread in threads)
    assert routes_in(catalog) == {"a.example": "two", "c.example": "one", "new.example": "one"}


def test_an_updater_notes_a_broken_file_and_comes_back(path: Path, tmp_path: Path) -> None:
    catalog = catalog_of(path)
    path.rename(tmp_path / "away")
    updater = Updater(catalog, path, version=0)
    updater.start()
    until(lambda: bool(updater.problems))
    (tmp_path / "away").rename(path)
    edit(path, "UPDATE routes SET backend = 'two' WHERE host = 'a.example'")
    until(lambda: updater.position == 1)
    assert updater.stop(BOUND)
    assert updater.problems == [f"updater-0: there is no database at {path}"]
    assert routes_in(catalog)["a.example"] == "two"
