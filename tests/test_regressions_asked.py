"""What a review of the fronts found: a loop that is asked what its tasks do, and cannot say it."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, NoReturn

import pytest

from aiolots import _telling


def fails() -> NoReturn:
    raise LookupError("a task of a kind of its own")


def assert_logged(caplog: pytest.LogCaptureFixture) -> None:
    assert [record.name for record in caplog.records] == ["aiolots"]
    assert "could not say" in caplog.text
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
