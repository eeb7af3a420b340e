"""Which backends the catalog named for a host, and when: the oracle for every response.

The updaters write it inside the write guard that changes the catalog, and clients read it inside a read guard, so it
is exactly as consistent as the lock is. Times are seconds of `time.monotonic()`.

A change is stamped inside the write guard. A reader that saw the old value left before the stamp, a reader that sees
the new one enters after it. A request that lasted from `start` to `end` may hence have seen the value that was in
force at `start`, and each one that came into force until `end`; any other answer proves that a reader and a writer
were in at once, that an update was lost, or that the proxy invented something.
"""

from __future__ import annotations

from collections.abc import Iterable

# Entries that were replaced longer ago than this are dropped. No request may last so long: the client's own timeout
# is far below it.
HORIZON_SECONDS = 120.0
REMEMBERED_HOSTS = 64


class History:
    """For each host the backends that it had, oldest first; `None` stands for "no such host"."""

    def __init__(self, routes: Iterable[tuple[str, str]], at: float) -> None:
        self._entries: dict[str, list[tuple[float, str | None]]] = {host: [(at, backend)] for host, backend in routes}
        self._began = at
        # The hosts that changed last, for clients that want to ask where it hurts: a ring, replaced slot by slot.
        self.recent_hosts: list[str] = []
        self._records = 0

    def record(self, host: str, at: float, backend: str | None) -> None:
        """Note that `host` belongs to `backend` from now on. Call it inside the write guard."""
        entries = self._entries.setdefault(host, [(self._began, None)])
        entries.append((at, backend))
        forgotten = at - HORIZON_SECONDS
        while entries[1][0] < forgotten:
            del entries[0]
        if len(self.recent_hosts) < REMEMBERED_HOSTS:
            self.recent_hosts.append(host)
        else:
            self.recent_hosts[self._records % REMEMBERED_HOSTS] = host
        self._records += 1

    def allowed(self, host: str, start: float, end: float) -> set[str | None]:
        """Return every backend that `host` had at some moment of [start, end]. Call it inside a read guard."""
        entries = self._entries.get(host)
        if entries is None:
            return {None}
        found: set[str | None] = set()
        for index in range(len(entries) - 1, -1, -1):
            since, backend = entries[index]
            if since <= end:
                found.add(backend)
            if since < start:
                break
        return found
