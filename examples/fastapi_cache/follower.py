"""The background thread: it follows the rate, and has no event loop."""

from __future__ import annotations

import sys
import threading

from aiolots import RwLock

from .catalog import Catalog

PATIENCE = 1.0  # seconds


def rate_after(rate: int) -> int:
    """Return the next rate. Stands for a feed, a file, a database."""
    return rate % 9 + 1


class Follower(threading.Thread):
    """Reprices the catalog again and again, `pause` seconds apart."""

    def __init__(self, catalog: RwLock[Catalog], pause: float) -> None:
        super().__init__(name="follower", daemon=True)
        self.changes = 0
        self._catalog = catalog
        self._pause = pause
        self._stopped = threading.Event()

    def run(self) -> None:
        """Reprice until stopped. A write that has to wait too long is skipped, and says who is in the way."""
        while not self._stopped.wait(self._pause):
            with self._catalog.try_write_for(PATIENCE) as guard:
                if guard is None:
                    print(f"no write within {PATIENCE} s: {self._catalog!r}", file=sys.stderr)
                    continue
                rate = rate_after(guard.value.rate)
                guard.value.reprice(rate, guard.value.at_rate(rate))
                self.changes += 1

    def stop(self) -> None:
        """End the thread; blocks until it has ended."""
        self._stopped.set()
        self.join()
