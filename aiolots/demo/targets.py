"""Where a request goes, loaded lazily from the file: the part of a look-up that suspends inside the read guard.

The catalog knows which backend a host belongs to; the address of the backend and the path prefix of the route are
needed only when a request comes, and so are read only then. SQLite may not be called on the loop's thread, hence the
worker thread, and hence the `await`: the caller holds its read guard meanwhile, so that the route cannot change under
it.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from aiolots.demo.catalog import Route
from aiolots.demo.store import Store, Target

CAPACITY = 4096
# A backend may come back at another address without any route having changed.
FRESH_SECONDS = 2.0


class Targets:
    """The targets asked for lately. One for each event loop; belongs to that loop's thread."""

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=f"{name}-store")
        self._store: Store | None = None
        self._known: dict[str, tuple[Route, float, Target]] = {}

    async def find(self, host: str, route: Route) -> Target | None:
        """Return the target of `host`; None when the file does not know the route's backend.

        Suspends unless this host was asked for just before. Raises StoreError or sqlite3.Error when the file cannot be
        read.
        """
        known = self._known.get(host)
        if known is not None and known[0] == route and time.monotonic() - known[1] < FRESH_SECONDS:
            return known[2]
        target = await asyncio.get_running_loop().run_in_executor(self._pool, self._load, host, route.backend)
        self._known.pop(host, None)
        if target is not None:
            if len(self._known) >= CAPACITY:
                # The one loaded longest ago: dicts keep the order of insertion.
                del self._known[next(iter(self._known))]
            self._known[host] = (route, time.monotonic(), target)
        return target

    async def close(self) -> None:
        """Close the file and end the worker thread."""
        await asyncio.get_running_loop().run_in_executor(self._pool, self._close)
        self._pool.shutdown()

    def _load(self, host: str, backend: str) -> Target | None:
        if self._store is None:
            self._store = Store.open(self._path)
        return self._store.target(host, backend)

    def _close(self) -> None:
        if self._store is not None:
            self._store.close()
