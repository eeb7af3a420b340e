"""Initialisers that a test can watch and steer, and calls that make either colour of them: for the tests of _once.py."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Generator
from typing import Any

from aiolots import LazyLock, Once, OnceCell
from tests.worlds import Attempt, until, wait_until

WORLDS = ("thread", "asyncio", "uvloop", "mixed", "two_loops", "trio", "trio_mixed")


class Initialiser:
    """Makes the values 1, 2, ...; waits for `go`, if there is one; raises what `errors` says, in turn."""

    def __init__(self, *errors: BaseException | None, go: threading.Event | None = None) -> None:
        self._numbers = itertools.count(1)
        self._errors = list(errors)
        self._go = go
        self.begun: list[int] = []
        self.made: list[int] = []
        self.inside = 0

    def plain(self) -> int:
        """In a thread."""
        number = self._begin()
        try:
            if self._go is not None:
                wait_until(self._go.is_set)
            return self._make(number)
        finally:
            self.inside -= 1

    async def coloured(self) -> int:
        """In a task."""
        number = self._begin()
        try:
            if self._go is not None:
                await until(self._go.is_set)
            return self._make(number)
        finally:
            self.inside -= 1

    def _begin(self) -> int:
        self.inside += 1
        assert self.inside == 1, "two initialise at a time"
        number = next(self._numbers)
        self.begun.append(number)
        return number

    def _make(self, number: int) -> int:
        error = self._errors.pop(0) if self._errors else None
        if error is not None:
            raise error
        self.made.append(number)
        return number


class Asked:
    """A call that initialises, made to look like a request: `acquire()` in a thread, `await` in a task."""

    def __init__(self, call: Callable[[Any], Any], initialiser: Initialiser) -> None:
        self._call = call
        self._initialiser = initialiser

    def acquire(self) -> Any:
        return self._call(self._initialiser.plain)

    def __await__(self) -> Generator[Any, None, Any]:
        return self._call(self._initialiser.coloured).__await__()  # type: ignore[no-any-return]


def asks(cell: Any, initialiser: Initialiser) -> Callable[[], Asked]:
    """Return what World.attempt() takes."""
    call = cell.call_once if isinstance(cell, Once) else cell.get_or_init
    return lambda: Asked(call, initialiser)


def first_of(attempt: Attempt, initialiser: Initialiser) -> Attempt:
    """Wait until an attempt has begun to initialise."""
    wait_until(lambda: initialiser.begun, "nobody initialises")
    return attempt


def wait_until_waiting(cell: Any, count: int) -> None:
    """Return as soon as that many wait for another's initialiser."""
    wait_until(lambda: cell.waiting == count, lambda: f"not {count} wait: {cell!r}")


def assert_at_rest(*cells: Any) -> None:
    """Nobody initialises, nobody waits, nothing is remembered of those who did."""
    for cell in cells:
        assert cell.waiting == 0, repr(cell)
        assert cell._word.bits == 0, repr(cell)
        assert not cell._tries, repr(cell)


__all__ = ["WORLDS", "Asked", "Initialiser", "LazyLock", "Once", "OnceCell", "asks", "assert_at_rest", "first_of"]
