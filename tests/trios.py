"""trio as a loop of worlds.py: a run of it in a thread of its own, or here."""

from __future__ import annotations

import concurrent.futures
import functools
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Self, TypeVar

import pytest

from tests import tasks
from tests.tasks import trio
from tests.waiting import WATCHDOG, Stuck, outcome_of

T = TypeVar("T")


async def _outcome(coroutine: Coroutine[Any, Any, T], future: concurrent.futures.Future[T]) -> None:
    try:
        future.set_result(await coroutine)
    except BaseException as error:
        future.set_exception(error)
        if isinstance(error, trio.Cancelled):
            raise


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine here; TimeoutError if it does not end."""
    pytest.importorskip("trio")
    future: concurrent.futures.Future[T] = concurrent.futures.Future()

    async def main() -> None:
        with trio.move_on_after(WATCHDOG):
            async with trio.open_nursery() as nursery:
                tasks.nursery.set(nursery)
                await _outcome(coroutine, future)
                nursery.cancel_scope.cancel()

    trio.run(main)
    try:
        return future.result(0)
    except trio.Cancelled:
        raise TimeoutError from None


class TrioThread:
    """What LoopThread is for asyncio's loops."""

    kind = "trio"

    def __init__(self) -> None:
        pytest.importorskip("trio")
        self._nursery: Any = None
        self._token: Any = None
        self._go_on = threading.Event()
        self._stopped = False
        began = threading.Event()

        async def main() -> None:
            async with trio.open_nursery() as self._nursery:
                tasks.nursery.set(self._nursery)
                self._token = trio.lowlevel.current_trio_token()
                began.set()
                await trio.sleep_forever()

        self.thread = threading.Thread(target=trio.run, args=(main,), name="loop-trio", daemon=True)
        self.thread.start()
        assert began.wait(WATCHDOG)

    def start(self) -> None:
        """Let it go on, if it was stopped."""
        self._stopped = False
        self._go_on.set()

    def start_task(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Start a task; on its thread."""
        return tasks.TrioTask(coroutine, self._nursery)

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Start a task on it."""
        future: concurrent.futures.Future[T] = concurrent.futures.Future()
        self._token.run_sync_soon(functools.partial(self._nursery.start_soon, _outcome, coroutine, future))
        return future

    def run(self, coroutine: Coroutine[Any, Any, T], seconds: float = WATCHDOG) -> T:
        """Run a task on it to its end: its result or exception, or Stuck."""
        return outcome_of(self.submit(coroutine), seconds)

    def call(self, function: Callable[[], T], seconds: float = WATCHDOG) -> T:
        """Call a plain function on its thread, between two steps of its tasks."""
        future: concurrent.futures.Future[T] = concurrent.futures.Future()

        def call() -> None:
            try:
                future.set_result(function())
            except BaseException as error:  # noqa: BLE001
                future.set_exception(error)

        self._token.run_sync_soon(call)
        return outcome_of(future, seconds)

    def stop(self) -> None:
        """Let none of its tasks run any more. A run cannot be left and entered again: its thread stands still."""
        if self._stopped:
            return
        self._stopped = True
        stands = threading.Event()
        self._go_on.clear()

        def stand_still() -> None:
            stands.set()
            self._go_on.wait()

        self._token.run_sync_soon(stand_still)
        assert stands.wait(WATCHDOG)

    def close(self, *, cancel: bool = True) -> None:
        """Cancel the tasks, and end the run. There is no other way to end one."""
        self.start()
        if self.thread.is_alive():
            self._token.run_sync_soon(self._nursery.cancel_scope.cancel)
            self.thread.join(WATCHDOG)
            if self.thread.is_alive():
                raise Stuck("a run of trio does not end")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
