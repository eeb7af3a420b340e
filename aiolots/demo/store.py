"""The SQLite file: the one place where routes are edited, by whoever likes, while proxies run.

Three tables. `routes` (host, backend, prefix) is what people edit. `changes` is a log that triggers fill, so that an
UPDATE typed into the sqlite3 shell counts as much as one made here; its ids are handed out in the order of the
commits, without holes, since SQLite lets one transaction write at a time and AUTOINCREMENT never repeats an id.
Whoever tails the file only remembers the last id that it has seen. `backends` (name, url) says where a backend listens.

The file is in WAL mode: a reader never waits for an editor, nor an editor for a reader. A `Store` is one connection
and stays in the thread that opened it.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from aiolots.demo.catalog import Change
from aiolots.demo.errors import StoreError

# "aiol" in ASCII. Tells our files from other people's databases, which the demo must not touch.
APPLICATION_ID = 0x61696F6C
BUSY_SECONDS = 5.0

SCHEMA = """
CREATE TABLE backends (
    name TEXT PRIMARY KEY CHECK (typeof(name) = 'text'),
    url TEXT NOT NULL CHECK (typeof(url) = 'text')
);
CREATE TABLE routes (
    host TEXT PRIMARY KEY COLLATE NOCASE CHECK (typeof(host) = 'text'),
    backend TEXT NOT NULL CHECK (typeof(backend) = 'text'),
    prefix TEXT NOT NULL DEFAULT '' CHECK (typeof(prefix) = 'text')
);
CREATE TABLE changes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    host TEXT NOT NULL,
    backend TEXT
);
"""

# Made after the first routes are in, which therefore are no changes. A renamed host is one removed and one added.
TRIGGERS = """
CREATE TRIGGER route_added AFTER INSERT ON routes BEGIN
    INSERT INTO changes (host, backend) VALUES (lower(NEW.host), NEW.backend);
END;
CREATE TRIGGER route_removed AFTER DELETE ON routes BEGIN
    INSERT INTO changes (host, backend) VALUES (lower(OLD.host), NULL);
END;
CREATE TRIGGER route_changed AFTER UPDATE ON routes BEGIN
    INSERT INTO changes (host, backend) SELECT lower(OLD.host), NULL WHERE lower(OLD.host) <> lower(NEW.host);
    INSERT INTO changes (host, backend) VALUES (lower(NEW.host), NEW.backend);
END;
"""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All routes, host -> backend, as they were right after the change `version`."""

    version: int
    routes: dict[str, str]


@dataclass(frozen=True, slots=True)
class Target:
    """Where to send a request: the base URL of a backend and the path prefix of the host's route."""

    url: str
    prefix: str


class PrunedLog(Exception):
    """Somebody deleted lines of the change log that had not been read yet: load a snapshot instead."""


class Store:
    """One connection to the file, in autocommit mode. Close it, or use it in a `with`."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.path = path
        self.connection = connection

    @classmethod
    def open(cls, path: Path) -> Store:
        """Open an existing file. Raises StoreError when it is missing or not one of ours."""
        if path.is_dir():
            raise StoreError(f"{path} is a directory, not a database")
        if not path.exists():
            raise StoreError(f"there is no database at {path}")
        store = cls(_connect(path, "rw"), path)
        try:
            with store._explained():
                store._recognise()
        except BaseException:
            store.close()
            raise
        return store

    @classmethod
    def create(cls, path: Path, routes: Mapping[str, str], backends: Mapping[str, str]) -> None:
        """Make a new file with these routes and backends. Raises StoreError when it cannot; never overwrites one."""
        if path.exists():
            raise StoreError(f"{path} exists already")
        store = cls(_connect(path, "rwc"), path)
        try:
            with store._explained():
                execute = store.connection.execute
                execute("PRAGMA journal_mode = WAL")
                execute(f"PRAGMA application_id = {APPLICATION_ID}")
                store.connection.executescript(SCHEMA)
                execute("BEGIN")
                store.connection.executemany("INSERT INTO routes (host, backend) VALUES (?, ?)", routes.items())
                store.connection.executemany("INSERT INTO backends (name, url) VALUES (?, ?)", backends.items())
                execute("COMMIT")
                store.connection.executescript(TRIGGERS)
        except BaseException:
            store.close()
            for leftover in (path, *side_files(path)):
                leftover.unlink(missing_ok=True)
            raise
        store.close()

    def check(self) -> None:
        """Read through the whole file. Raises StoreError at the first thing that is damaged."""
        with self._explained():
            (verdict,) = self.connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise StoreError(f"{self.path} is damaged: {verdict}")

    def snapshot(self) -> Snapshot:
        """Return all routes and the number of the last change in them, from one moment."""
        with self._explained():
            self.connection.execute("BEGIN")
            try:
                version = self.last_change()
                rows = self.connection.execute("SELECT lower(host), backend FROM routes").fetchall()
            finally:
                self.connection.execute("COMMIT")
        return Snapshot(version, dict(rows))

    def last_change(self) -> int:
        """Return the number of the last change ever logged, 0 before the first."""
        query = "SELECT seq FROM sqlite_sequence WHERE name = 'changes'"
        row: tuple[int] | None = self.connection.execute(query).fetchone()
        return 0 if row is None else row[0]

    def changes_after(self, version: int, limit: int) -> list[Change]:
        """Return the next changes in order, at most `limit` of them. Raises PrunedLog if some are gone."""
        last = self.last_change()
        if last <= version:
            return []
        query = "SELECT id, host, backend FROM changes WHERE id > ? ORDER BY id LIMIT ?"
        changes = [Change(*row) for row in self.connection.execute(query, (version, limit))]
        if not changes or changes[0].id != version + 1:
            raise PrunedLog(f"the change log of {self.path} no longer has change {version + 1}")
        return changes

    def target(self, host: str, backend: str) -> Target | None:
        """Return where `backend` listens, with the path prefix of `host`; None if nobody knows that backend."""
        query = "SELECT url, coalesce((SELECT prefix FROM routes WHERE host = ?), '') FROM backends WHERE name = ?"
        row = self.connection.execute(query, (host, backend)).fetchone()
        return None if row is None else Target(*row)

    def backend_names(self) -> set[str]:
        """Return the backends that any route names."""
        with self._explained():
            return {name for (name,) in self.connection.execute("SELECT DISTINCT backend FROM routes")}

    def register_backends(self, backends: Iterable[tuple[str, str]]) -> None:
        """Say where backends listen now: (name, url) pairs, replacing what the file said of these names."""
        query = "INSERT INTO backends (name, url) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET url = excluded.url"
        with self._explained():
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                self.connection.executemany(query, backends)
            finally:
                self.connection.execute("COMMIT")

    def close(self) -> None:
        """Close the connection; the last one to close a file folds its -wal file back into it."""
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _recognise(self) -> None:
        (application,) = self.connection.execute("PRAGMA application_id").fetchone()
        tables = {name for (name,) in self.connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        missing = sorted({"routes", "changes", "backends"} - tables)
        if application != APPLICATION_ID or missing:
            without = f" (it has no table {', '.join(missing)})" if missing else ""
            raise StoreError(f"{self.path} is a database, but not one of a catalog proxy{without}")
        (mode,) = self.connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise StoreError(f"{self.path} cannot be put into WAL mode, it stays in mode {mode}")

    @contextlib.contextmanager
    def _explained(self) -> Generator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(f"{self.path}: {error}") from error


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    """Connect by URI, because a plain path would create an empty file where there was none."""
    try:
        return sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=BUSY_SECONDS, isolation_level=None)
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}") from error


def side_files(path: Path) -> tuple[Path, Path]:
    """Return the files that SQLite keeps beside a database in WAL mode while somebody has it open."""
    return path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")


def plain_hosts(count: int) -> list[str]:
    """Return the names of the demo's own hosts."""
    return [f"host-{number:05d}.example" for number in range(count)]
