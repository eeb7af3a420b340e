"""fasteners.ReaderWriterLock: for threads; owned by the thread that acquired it; no timeouts.

No TURNS: a reader "will wait until no active or pending writers", as its documentation has it.
"""

from __future__ import annotations

import importlib
from typing import Any

from aiolots.testing.conformance import Adapter, Mode, Offer


class ReaderWriterLock(Adapter):
    """fasteners.ReaderWriterLock: acquire_read_lock and the like."""

    name = "fasteners.ReaderWriterLock"
    package = "fasteners"
    offers = Offer.THREAD | Offer.SHARED | Offer.OWNER

    def make(self) -> Any:
        """Return a new lock."""
        return importlib.import_module("fasteners").ReaderWriterLock()

    def acquire(self, lock: Any, mode: Mode, timeout: float | None) -> Any:
        """Acquire in a thread."""
        getattr(lock, f"acquire_{mode}_lock")()
        return True

    def release(self, lock: Any, mode: Mode, held: Any) -> None:
        """Release in that thread."""
        getattr(lock, f"release_{mode}_lock")()
