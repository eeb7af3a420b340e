"""A catalog proxy on one page: requests are tasks that read the catalog, updates come from threads that write it.

It answers with the address of the backend instead of forwarding to it; aiolots/demo has one that forwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from aiolots import LockCorruption, Mutex, RwLock

ROUTES = {"shop.example": "blue", "blog.example": "green"}
ADDRESSES = {"blue": "10.0.0.1", "green": "10.0.0.2"}


@dataclass
class Backend:
    """Where a backend is."""

    address: str


async def find_at_once(_backend: str) -> None:
    """Look a backend up: it is known already."""


@dataclass
class Proxy:
    """The catalog says which backend serves a host, the other table where a backend is. Each has a lock of its own.

    `look_up` is awaited while the catalog is held: as in the real one, the address of a backend is loaded when it is needed.
    """

    look_up: Callable[[str], Awaitable[None]] = find_at_once
    catalog: RwLock[dict[str, str]] = field(default_factory=lambda: RwLock(dict(ROUTES), name="catalog"))
    backends: Mutex[dict[str, str]] = field(default_factory=lambda: Mutex(dict(ADDRESSES), name="backends"))
    port: int = 0
    open: int = 0  # requests that have no answer yet

    async def answer(self, host: str) -> tuple[int, str]:
        """Return status and text for a request: the catalog first, the backends within."""
        async with self.catalog.read() as routes:
            backend = routes.value.get(host)
            if backend is None:
                return 404, f"no route for {host}"
            await self.look_up(backend)
            async with self.backends.lock() as addresses:
                return 200, addresses.value[backend]

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection, of one request."""
        self.open += 1
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            host = next((line[5:].strip() for line in head.splitlines() if line.lower().startswith("host:")), "")
            try:
                status, text = await self.answer(host)
            except LockCorruption as error:
                status, text = 500, f"LockCorruption: {str(error).splitlines()[0]}"  # the rest is for the log
            writer.write(f"HTTP/1.1 {status} \r\nConnection: close\r\n\r\n{text}\n".encode())
            await writer.drain()
        except asyncio.CancelledError:  # the proxy ends; asyncio's streams would complain of a handler that was cancelled
            return
        finally:
            self.open -= 1
            writer.close()

    def retire(self, host: str) -> None:
        """Take a host out, from a thread: in the order in which requests take the locks."""
        with self.catalog.write() as routes, self.backends.lock() as addresses:
            addresses.value.pop(routes.value.pop(host, ""), None)


class Served:
    """A proxy that runs, on an event loop in a thread of its own."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)

    def __enter__(self) -> Proxy:
        self._thread.start()
        self._ready.wait()
        return self.proxy

    def __exit__(self, *_error: object) -> None:
        self._loop.call_soon_threadsafe(self._stop)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:  # whose end cancels what waits still
            with contextlib.suppress(asyncio.CancelledError):
                runner.run(self._serve())

    def _stop(self) -> None:
        for task in asyncio.all_tasks(self._loop):
            task.cancel()

    async def _serve(self) -> None:
        async with await asyncio.start_server(self.proxy.handle, "127.0.0.1", 0) as server:
            self.proxy.port = server.sockets[0].getsockname()[1]
            self._ready.set()
            await asyncio.Event().wait()


async def get(port: int, host: str) -> str:
    """Ask the proxy, as a browser would; return what it answers, without the head."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        answer = (await reader.read()).decode()
        return answer.partition("\r\n\r\n")[2].strip()
    finally:
        writer.close()
