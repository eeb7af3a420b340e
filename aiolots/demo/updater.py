"""Threads without an event loop that tail the file and change the catalog.

Every updater reads the whole log and applies the changes of its own share of the hosts. So no host is ever in two
hands, its changes stay in order without any coordination between the threads, and none is skipped: an updater goes on
to the next change when the one before is in the catalog, and not sooner.

It asks for the write lock with a timeout, not to give up, but to know: a writer that waits in silence looks the same as
a deadlock from outside. Each timeout is counted and reported, with who waited, how long, and how many readers were in.
Then it tries again. After `patience` timeouts in a row each further try waits twice as long, up to a second: a waiting
writer keeps new readers out, so a try that outlasts the readers that are in cannot fail.
"""

from __future__ import annotations

import sqlite3
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aiolots import RwLock
from aiolots.demo.catalog import Catalog, Change, OutOfOrder
from aiolots.demo.errors import StoreError
from aiolots.demo.store import PrunedLog, Store

# The longest that one try waits, so that a thread that is told to stop does so within this time.
LONGEST_TRY_SECONDS = 1.0
SHORTEST_SECOND_TRY_SECONDS = 0.001
# How many changes go in under one write guard. Each guard drains the readers once; a bulk edit of the whole file
# should not do that ten thousand times.
BATCH = 64
REMEMBERED_TIMEOUTS = 1000


@dataclass(frozen=True, slots=True)
class WriteTimeout:
    """One `try_write_for` that gave up."""

    who: str
    waited: float
    readers: int
    change: int
    attempt: int
    lock: str

    def __str__(self) -> str:
        return (
            f"{self.who} waited {self.waited * 1000:.1f} ms for change {self.change} (try {self.attempt}), "
            f"{self.readers} readers were in; {self.lock}"
        )


@dataclass(frozen=True, slots=True)
class Tail:
    """How to tail: seconds between looks at the file, seconds to ask for the lock, timeouts until that grows."""

    poll: float = 0.01
    write_timeout: float = 0.01
    patience: int = 10


class Updater(threading.Thread):
    """Tails `path` and applies the changes of share `share` out of `shares` to the catalog.

    `version` is the last change that the catalog already has. `on_timeout` is called on this thread. The counters may
    be read by any thread at any time; only this one writes them.
    """

    def __init__(
        self,
        catalog: RwLock[Catalog],
        path: Path,
        *,
        version: int,
        share: int = 0,
        shares: int = 1,
        tail: Tail | None = None,
        on_timeout: Callable[[WriteTimeout], None] | None = None,
    ) -> None:
        super().__init__(name=f"updater-{share}", daemon=True)
        self.position = version
        self.applied = 0
        self.timeouts = 0
        self.longest_wait = 0.0
        self.resyncs = 0
        self.recent_timeouts: deque[WriteTimeout] = deque(maxlen=REMEMBERED_TIMEOUTS)
        self.problems: list[str] = []
        self._catalog = catalog
        self._path = path
        self._share = share
        self._shares = shares
        self._tail = Tail() if tail is None else tail
        self._on_timeout = on_timeout
        # Not named _stop: threading.Thread has a method of that name.
        self._told_to_stop = threading.Event()

    def run(self) -> None:
        """Tail until told to stop. A trouble with the file is noted, and the file tried again."""
        while not self._told_to_stop.is_set():
            try:
                with Store.open(self._path) as store:
                    self._follow(store)
            except (StoreError, sqlite3.Error, OutOfOrder) as error:
                self._note(f"{self.name}: {error}")
            self._told_to_stop.wait(0.2)

    def stop(self, timeout: float) -> bool:
        """Tell the thread to stop and wait for it; False if it still runs after `timeout` seconds."""
        self._told_to_stop.set()
        if self.ident is not None:
            self.join(timeout)
        return not self.is_alive()

    def _follow(self, store: Store) -> None:
        while not self._told_to_stop.is_set():
            try:
                changes = store.changes_after(self.position, BATCH)
            except PrunedLog:
                self._resync(store)
                continue
            mine = [change for change in changes if self._is_mine(change.host)]
            if mine and not self._apply(mine):
                return
            if changes:
                self.position = changes[-1].id
            if len(changes) < BATCH:
                self._told_to_stop.wait(self._tail.poll)

    def _apply(self, changes: list[Change]) -> bool:
        """Put changes into the catalog, however many tries it takes; False if told to stop before."""
        began = time.monotonic()
        patience, timeout = self._tail.patience, self._tail.write_timeout
        attempt = 0
        while not self._told_to_stop.is_set():
            attempt += 1
            tried = time.monotonic()
            with self._catalog.try_write_for(timeout) as guard:
                if guard is not None:
                    self.longest_wait = max(self.longest_wait, time.monotonic() - began)
                    guard.value.apply(changes)
                    self.applied += len(changes)
                    return True
            self._report(time.monotonic() - tried, changes[0].id, attempt)
            if attempt >= patience:
                timeout = max(timeout, min(max(timeout * 2, SHORTEST_SECOND_TRY_SECONDS), LONGEST_TRY_SECONDS))
        return False

    def _report(self, waited: float, change: int, attempt: int) -> None:
        self.timeouts += 1
        readers = self._catalog.reader_count()
        timeout = WriteTimeout(self.name, waited, readers, change, attempt, repr(self._catalog))
        self.recent_timeouts.append(timeout)
        if self._on_timeout is not None:
            self._on_timeout(timeout)

    def _resync(self, store: Store) -> None:
        """Compare the file with the catalog and apply the difference: somebody cut the log short."""
        snapshot = store.snapshot()
        # Nobody else changes the hosts of this share, so what is read here still holds when it is written.
        with self._catalog.read() as guard:
            known = {host: backend for host, backend in guard.value.plain_routes().items() if self._is_mine(host)}
        wanted = {host: backend for host, backend in snapshot.routes.items() if self._is_mine(host)}
        difference = [
            Change(snapshot.version, host, wanted.get(host))
            for host in sorted(known.keys() | wanted.keys())
            if known.get(host) != wanted.get(host)
        ]
        if not difference or self._apply(difference):
            self.position = snapshot.version
            self.resyncs += 1

    def _is_mine(self, host: str) -> bool:
        # Not hash(): it differs from process to process, and a share should be the same in every log that is compared.
        return zlib.crc32(host.encode()) % self._shares == self._share

    def _note(self, problem: str) -> None:
        # A file that stays broken says the same every 0.2 s.
        if problem not in self.problems:
            self.problems.append(problem)
