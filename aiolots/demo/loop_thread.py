"""An event loop in a thread of its own, running one service from `start()` to `stop()`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, suppress
from typing import Generic, TypeVar

Service = TypeVar("Service")
LoopFactory = Callable[[], asyncio.AbstractEventLoop]


class LoopThread(Generic[Service]):
    """Enters an async context manager on a new loop in a new thread, and leaves it there when told to stop.

    `start` and `stop` are called by one other thread. Errors of entering come out of `start`, those of leaving out of
    `stop`.
    """

    def __init__(
        self, name: str, make: Callable[[], AbstractAsyncContextManager[Service]], loop_factory: LoopFactory | None
    ) -> None:
        self.name = name
        self._make = make
        self._loop_factory = loop_factory
        self._ready: Future[Service] = Future()
        self._finished: Future[None] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._leave: asyncio.Event | None = None
        self._told_to_stop = False
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)

    def start(self, timeout: float) -> Service:
        """Start the thread and return the service as soon as it is entered. Raises TimeoutError after `timeout` s."""
        self._thread.start()
        return self._ready.result(timeout)

    def stop(self, timeout: float) -> bool:
        """Leave the service and end the thread; False if it still runs after `timeout` seconds."""
        if self._thread.ident is None:
            return True
        self._told_to_stop = True
        if self._loop is not None and self._leave is not None:
            # RuntimeError: the loop has closed already, the service ended by itself.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._leave.set)
        self._thread.join(timeout)
        if self._thread.is_alive():
            return False
        if self._ready.done() and self._ready.exception() is None:
            self._finished.result()
        return True

    def _main(self) -> None:
        try:
            with asyncio.Runner(loop_factory=self._loop_factory) as runner:
                runner.run(self._serve())
        except Exception as error:  # noqa: BLE001 - start() or stop() raises it
            self._fail(error)
        except BaseException as error:
            self._fail(error)
            raise
        else:
            self._finished.set_result(None)

    def _fail(self, error: BaseException) -> None:
        for future in (self._ready, self._finished):
            if not future.done():
                future.set_exception(error)

    async def _serve(self) -> None:
        self._leave = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        if self._told_to_stop:
            # stop() came before there was a loop to tell, for instance with a Ctrl-C during start().
            return
        async with self._make() as service:
            self._ready.set_result(service)
            await self._leave.wait()
