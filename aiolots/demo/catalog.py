"""The catalog: which backend serves a host. One plain value, made to live behind one `RwLock`.

Nothing in here locks. Every method that changes something is called inside a write guard, every look inside a read
guard, and the catalog notices when that was not so: `revision` is odd while a change is under way, and stays the same
for as long as any reader is in.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aiolots.demo.history import History


@dataclass(frozen=True, slots=True)
class Route:
    """Where the requests for a host go, and the number of the change that said so."""

    backend: str
    version: int


@dataclass(frozen=True, slots=True)
class Change:
    """One line of the change log: from change `id` on, `host` belongs to `backend`; `None` removes the host."""

    id: int
    host: str
    backend: str | None


class OutOfOrder(Exception):
    """A change arrived after a later change of the same host had been applied. Says which."""


class Catalog:
    """Routes by host, and how often they have changed.

    `history` is optional: a proxy that runs for months does not keep one, the demo does, to judge responses by.
    """

    def __init__(self, routes: Mapping[str, str], *, version: int = 0, keep_history: bool = False) -> None:
        self.routes: dict[str, Route] = {host: Route(backend, version) for host, backend in routes.items()}
        self.revision = 0
        self.history: History | None = History(routes.items(), time.monotonic()) if keep_history else None

    def apply(self, changes: Sequence[Change]) -> None:
        """Apply changes in the order given. Call it inside the write guard.

        Raises OutOfOrder, having applied what came before, when a host would go back in time.
        """
        self.revision += 1
        try:
            now = time.monotonic()
            for change in changes:
                known = self.routes.get(change.host)
                if known is not None and known.version >= change.id:
                    raise OutOfOrder(f"{change} came after version {known.version} of the same host")
                if change.backend is None:
                    self.routes.pop(change.host, None)
                else:
                    self.routes[change.host] = Route(change.backend, change.id)
                if self.history is not None:
                    self.history.record(change.host, now, change.backend)
        finally:
            self.revision += 1

    def plain_routes(self) -> dict[str, str]:
        """Return host -> backend, to compare with the file."""
        return {host: route.backend for host, route in self.routes.items()}
