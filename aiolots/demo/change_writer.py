"""A process of its own that edits the routes, as an operator or another service would: `python -m ... PATH`.

It knows the file and nothing else: no lock, no proxy. It says on a line of its own that it begins. It ends when its standard
input does, so it cannot outlive the process that started it, and then says as one JSON object what it did.
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import sys
import threading
import time
from pathlib import Path

from aiolots.demo.errors import StoreError
from aiolots.demo.store import Store

# Some hosts get several changes right after each other: an updater that swaps two of them leaves a wrong end.
BURST = 3
READY = "ready"


class ChangeWriter:
    """Makes one change after another, each in a transaction of its own. What it did is in `changes` and `final`."""

    def __init__(self, connection: sqlite3.Connection, routes: dict[str, str], backends: list[str], seed: int) -> None:
        self.changes = 0
        self.final: dict[str, str | None] = {}
        self._connection = connection
        self._routes: dict[str, str | None] = dict(routes)
        self._hosts = sorted(routes)
        self._backends = backends
        self._random = random.Random(seed)
        self._burst: list[str] = []
        self._prefixes: dict[str, str] = {}

    def make_one(self) -> None:
        """Move a host to another backend, or remove it, or bring a removed one back."""
        if not self._burst:
            again = BURST if self._random.random() < 0.1 else 1
            self._burst = [self._random.choice(self._hosts)] * again
        host = self._burst.pop()
        now = self._routes[host]
        if now is None:
            self._bring_back(host)
        elif self._random.random() < 0.1:
            self._remove(host)
        else:
            backend = self._random.choice([name for name in self._backends if name != now] or self._backends)
            self._connection.execute("UPDATE routes SET backend = ? WHERE host = ?", (backend, host))
            self._made(host, backend)

    def bring_all_back(self) -> None:
        """Add the hosts that are still removed, so that a file that is used again and again does not run dry."""
        for host, backend in self._routes.items():
            if backend is None:
                self._bring_back(host)

    def _remove(self, host: str) -> None:
        removed = self._connection.execute("DELETE FROM routes WHERE host = ? RETURNING prefix", (host,)).fetchall()
        self._prefixes[host] = removed[0][0] if removed else ""
        self._made(host, None)

    def _bring_back(self, host: str) -> None:
        backend = self._random.choice(self._backends)
        statement = "INSERT INTO routes (host, backend, prefix) VALUES (?, ?, ?)"
        self._connection.execute(statement, (host, backend, self._prefixes.pop(host)))
        self._made(host, backend)

    def _made(self, host: str, backend: str | None) -> None:
        self._routes[host] = self.final[host] = backend
        self.changes += 1

    def run(self, rate: float, stop: threading.Event) -> None:
        """Make `rate` changes a second until told to stop; a writer that fell behind catches up."""
        began = time.monotonic()
        while not stop.wait(max(0.0, began + self.changes / rate - time.monotonic())):
            self.make_one()


def main() -> int:
    """Edit the routes of a database until standard input ends."""
    parser = argparse.ArgumentParser(prog="python -m aiolots.demo.change_writer", description=main.__doc__)
    parser.add_argument("database", type=Path)
    parser.add_argument("--rate", type=float, default=200.0, help="changes a second")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    stop = threading.Event()
    threading.Thread(target=_stop_at_end_of_input, args=(stop,), daemon=True).start()
    try:
        with Store.open(options.database) as store:
            routes = store.snapshot().routes
            if not routes:
                raise StoreError(f"{options.database} has no routes to change")
            writer = ChangeWriter(store.connection, routes, sorted(store.backend_names()), options.seed)
            print(READY, flush=True)
            writer.run(options.rate, stop)
            writer.bring_all_back()
    except (StoreError, sqlite3.Error) as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps({"changes": writer.changes, "final": writer.final}))
    return 0


def _stop_at_end_of_input(stop: threading.Event) -> None:
    sys.stdin.read()
    stop.set()


if __name__ == "__main__":
    sys.exit(main())
