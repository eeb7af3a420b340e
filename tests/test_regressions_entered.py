"""What a review of the fronts found: what is noted of who entered a mutex, and who may change that."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from aiolots import Mutex, _watched
from aiolots.compat import threading as compat


def test_a_condition_notes_who_entered_before_anybody_may_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was noted after what looks at guards had run: of a mutex that somebody else had by then, or nobody."""
    mutex: Any = Mutex()
    condition = compat.Condition(mutex)
    let_go: list[Any] = []

    def look(held: Any) -> None:
        if not let_go:
            let_go.append(held)
            held.release()

    monkeypatch.setattr(_watched, "_taken_by_thread", look)
    before = _watched.watch(_watched.SUSPENDS, on=True)
    try:
        condition.__enter__()
    finally:
        _watched.watch(_watched.SUSPENDS, on=before)
    assert let_go == [mutex]
    assert not mutex.locked()
    assert mutex._entered_in(sys._getframe().f_code) == -1
