"""Locks that are taken in both orders, as aiolots.tracking notes them."""

from __future__ import annotations

import importlib
from typing import Any


class Orders:
    """What a test takes in an order that is the reverse of one seen before in this run."""

    def __init__(self) -> None:
        self._tracking: Any = None
        self._seen: list[Any] = []
        self._wanted = False

    def begin(self, *, wanted: bool) -> None:
        """A test begins, that is to be looked at or not."""
        self._wanted = wanted
        if not wanted:
            return
        if self._tracking is None:
            self._tracking = importlib.import_module("aiolots.tracking")
            self._tracking.enable()
        self._seen = list(self._tracking.inversions())

    def found(self) -> list[str]:
        """Return a report for each inversion that is new."""
        return [str(new) for new in self._tracking.inversions() if new not in self._seen] if self._wanted else []

    def end(self) -> None:
        """No test comes any more."""
        if self._tracking is not None:
            self._tracking.disable()
