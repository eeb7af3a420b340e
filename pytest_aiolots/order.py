"""Locks that are taken in both orders, as aiolots.tracking notes them."""

from __future__ import annotations

from aiolots import tracking


class Orders:
    """What a test takes in an order that is the reverse of one seen before in this run."""

    def __init__(self) -> None:
        self._is_on = False
        self._seen: list[tracking.Inversion] = []
        self._wanted = self._was_on = False

    def begin(self, *, wanted: bool) -> None:
        """A test begins, that is to be looked at or not."""
        self._wanted = wanted
        if not wanted:
            return
        if not self._is_on:
            self._is_on, self._was_on = True, tracking.is_enabled()
            tracking.enable()
        self._seen = list(tracking.inversions())

    def found(self) -> list[str]:
        """Return a report for each inversion that is new."""
        return [str(new) for new in tracking.inversions() if new not in self._seen] if self._wanted else []

    def end(self) -> None:
        """No test comes any more."""
        if self._is_on and not self._was_on:
            tracking.disable()
