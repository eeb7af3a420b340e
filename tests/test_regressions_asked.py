"""What a review of the fronts found: looks that fail. The loop that was asked for its tasks goes on, and so does an acquire."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, NoReturn

import pytest

from aiolots import Mutex, _telling, _watched, set_suspend_policy
from tests.worlds import assert_idle


def fails() -> NoReturn:
    raise LookupError("a task of a kind of its own")


def assert_logged(caplog: pytest.LogCaptureFixture, text: str = "could not say") -> None:
    assert [record.name for record in caplog.records] == ["aiolots"]
    assert text in caplog.text
    assert "LookupError" in caplog.text


def test_asyncio_goes_on(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Its handler of exceptions, which may be the application's, hears nothing of it."""
    monkeypatch.setattr(_telling, "_loops_here", fails)
    unhandled: list[Any] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: unhandled.append(context))
        question = _telling._question_to(loop, 60)
        assert question is not None
        while question.is_open:  # noqa: ASYNC110  # no event tells
            await asyncio.sleep(0)
        assert question.answer is None

    with caplog.at_level(logging.ERROR):
        asyncio.run(main())
    assert unhandled == []
    assert_logged(caplog)


def test_trio_goes_on(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """It was ended, with everything that ran in it, by TrioInternalError."""
    trio = pytest.importorskip("trio")
    monkeypatch.setattr(_telling, "_loops_here", fails)

    async def main() -> None:
        question = _telling._question_to(trio.lowlevel.current_trio_token(), 60)
        assert question is not None
        while question.is_open:
            await trio.sleep(0)
        assert question.answer is None

    with caplog.at_level(logging.ERROR):
        trio.run(main)
    assert_logged(caplog)


class Odd(Mutex[None]):
    def __repr__(self) -> str:
        fails()


def test_a_look_at_a_suspended_guard_does_not_end_trio(caplog: pytest.LogCaptureFixture) -> None:
    """The warning says which lock it is, and the lock could not."""
    trio = pytest.importorskip("trio")
    mutex = Odd(None)

    async def main() -> None:
        with mutex:
            for _ in range(5):
                await trio.sleep(0)

    before = set_suspend_policy("warn")
    try:
        with caplog.at_level(logging.ERROR):
            trio.run(main)
    finally:
        set_suspend_policy(before)
    assert_idle(mutex)
    assert_logged(caplog, "over a suspension failed")


@pytest.mark.parametrize("take", [lambda mutex: mutex, lambda mutex: mutex.lock()])
def test_a_look_that_fails_leaves_the_mutex_held(
    take: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The front in Python let go of it, and raised what the look had raised."""
    monkeypatch.setattr(_watched, "_taken_by_thread", lambda _: fails())
    mutex = Mutex(None)
    before = _watched.watch(_watched.SUSPENDS, on=True)
    try:
        with caplog.at_level(logging.ERROR), take(mutex):
            assert mutex.locked()
    finally:
        _watched.watch(_watched.SUSPENDS, on=before)
    assert_idle(mutex)
    assert_logged(caplog, "it is held")
