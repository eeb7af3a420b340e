"""What a guard does that may wait, begun where the guard was taken: in that thread, or as a task of that loop."""

from __future__ import annotations

import concurrent.futures
import functools
from collections.abc import Callable
from typing import Any

from tests.worlds import Attempt, TaskAttempt, ThreadAttempt, outcome_of, wait_until


class Change:
    """A waiting method of a guard, on its way."""

    _task: Any

    def __init__(self, attempt: Attempt, begin: Callable[[Any], Any]) -> None:
        self._attempt = attempt
        guard = attempt.guard()
        if isinstance(attempt, TaskAttempt):
            self._outcome: concurrent.futures.Future[Any] = concurrent.futures.Future()
            attempt._loop.call(functools.partial(self._start, attempt, guard, begin))
        else:
            assert isinstance(attempt, ThreadAttempt)
            self._outcome = attempt.later(lambda: begin(guard))

    def _start(self, attempt: TaskAttempt, guard: Any, begin: Callable[[Any], Any]) -> None:
        self._task = attempt._loop.start_task(self._live(guard, begin))

    async def _live(self, guard: Any, begin: Callable[[Any], Any]) -> None:
        try:
            self._outcome.set_result(await begin(guard))
        except BaseException as error:  # noqa: BLE001
            self._outcome.set_exception(error)

    def done(self) -> bool:
        """Whether it has ended, somehow."""
        return self._outcome.done()

    def result(self) -> Any:
        """What it gave, or the exception that it raised; Stuck if it does not end."""
        return outcome_of(self._outcome)

    def cancel(self) -> None:
        """Interrupt it, and wait until it has ended."""
        if isinstance(self._attempt, ThreadAttempt):
            self._attempt.interrupt(self._outcome)
        else:
            task = self._task
            self._attempt._loop.call(task.cancel)  # type: ignore[attr-defined]
            wait_until(self.done, "a cancelled change waits on")
