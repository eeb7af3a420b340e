"""The reverse proxy: one HTTP server on one event loop. Any number of them, in any threads, read the same catalog."""

from __future__ import annotations

import errno
import sqlite3
import time
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from aiolots import RwLock
from aiolots.demo.catalog import Catalog
from aiolots.demo.errors import DemoError, StoreError
from aiolots.demo.store import Target
from aiolots.demo.targets import Targets

# RFC 9110, 7.6.1: these speak of one connection, not of the message. Expect was answered by our own server.
HOP_BY_HOP = frozenset(
    {"connection", "expect", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection"}
    | {"te", "trailer", "transfer-encoding", "upgrade"}
)
# What aiohttp's client would add by itself. A proxy adds nothing that the client did not say.
ADDED_BY_CLIENT = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
UPSTREAM_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=5.0, sock_read=60.0)
REFUSAL_HEADER = "X-Proxy-Error"


@dataclass(slots=True)
class ProxyCounters:
    """What one proxy has seen. Written on its own loop, readable from any thread."""

    requests: int = 0
    most_readers: int = 0
    longest_read_wait: float = 0.0
    # Look-ups during which the catalog changed, although they held a read guard. Must stay 0.
    torn: int = 0


class Proxy:
    """Looks up the host of each request in the catalog and forwards it to the backend that the catalog names."""

    def __init__(self, catalog: RwLock[Catalog], targets: Targets, session: aiohttp.ClientSession) -> None:
        self.counters = ProxyCounters()
        self.port = 0
        self._catalog = catalog
        self._targets = targets
        self._session = session

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request: with what the backend said, or with a refusal of our own (400, 404, 502, 503, 504)."""
        self.counters.requests += 1
        host = host_name(request.host)
        if not host:
            return refusal(400, "the request names no host")
        try:
            found = await self._look_up(host)
        except (StoreError, sqlite3.Error) as error:
            return refusal(503, f"the route cannot be read: {error}")
        if isinstance(found, web.Response):
            return found
        return await self._forward(request, found)

    async def _look_up(self, host: str) -> Target | web.Response:
        counters = self.counters
        asked = time.monotonic()
        async with self._catalog.read() as guard:
            counters.longest_read_wait = max(counters.longest_read_wait, time.monotonic() - asked)
            counters.most_readers = max(counters.most_readers, self._catalog.reader_count())
            catalog = guard.value
            revision = catalog.revision
            route = catalog.routes.get(host)
            if route is None:
                return refusal(404, f"no route for host {host!r}")
            # Suspended here with the guard held: other requests come in beside us, a writer has to wait.
            target = await self._targets.find(host, route)
            if catalog.revision != revision or revision % 2 == 1:
                counters.torn += 1
            if target is None:
                return refusal(502, f"nobody knows where backend {route.backend!r} is")
            return target

    async def _forward(self, request: web.Request, target: Target) -> web.StreamResponse:
        response: web.StreamResponse | None = None
        try:
            async with self._session.request(
                request.method,
                URL(target.url + target.prefix + request.rel_url.raw_path_qs, encoded=True),
                headers=forwarded_headers(request),
                data=request.content if request.can_read_body else None,
                skip_auto_headers=ADDED_BY_CLIENT,
                allow_redirects=False,
            ) as upstream:
                response = web.StreamResponse(status=upstream.status, reason=upstream.reason)
                response.headers.extend(end_to_end(upstream.headers.items()))
                await response.prepare(request)
                async for chunk in upstream.content.iter_any():
                    await response.write(chunk)
                await response.write_eof()
                return response
        except (aiohttp.ClientError, OSError) as error:
            if response is None or not response.prepared:
                status = 504 if isinstance(error, TimeoutError) else 502
                return refusal(status, f"{target.url}: {type(error).__name__}")
            # Half of the answer is out. Only a broken connection can still say that it is not whole.
            if request.transport is not None:
                request.transport.abort()
            return response


def host_name(host: str) -> str:
    """Return the name in a Host header, in lower case and without a port; "" if there is none."""
    host = host.strip().lower()
    if host.startswith("["):
        return host.partition("]")[0][1:]
    return host.partition(":")[0]


def refusal(status: int, reason: str) -> web.Response:
    """Return an answer of the proxy itself, told from a backend's by a header."""
    plain = reason.encode("ascii", "backslashreplace").decode("ascii")
    printable = "".join(letter if letter.isprintable() else "?" for letter in plain)
    return web.Response(status=status, text=printable + "\n", headers={REFUSAL_HEADER: printable})


def end_to_end(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the headers that a proxy passes on, repeated ones too."""
    pairs = list(headers)
    named = {name.strip().lower() for key, value in pairs if key.lower() == "connection" for name in value.split(",")}
    return [(key, value) for key, value in pairs if key.lower() not in HOP_BY_HOP and key.lower() not in named]


def forwarded_headers(request: web.Request) -> CIMultiDict[str]:
    """Return the request's own headers, with the client's address added where proxies put it."""
    headers = CIMultiDict(end_to_end(request.headers.items()))
    came_through = headers.popall("X-Forwarded-For", [])
    headers["X-Forwarded-For"] = ", ".join([*came_through, request.remote or "unknown"])
    headers.setdefault("X-Forwarded-Host", request.host)
    headers.setdefault("X-Forwarded-Proto", request.scheme)
    return headers


@asynccontextmanager
async def serve_proxy(
    catalog: RwLock[Catalog], path: Path, *, name: str, host: str = "127.0.0.1", port: int = 0
) -> AsyncGenerator[Proxy]:
    """Run a proxy on this loop for the time of the `async with`; port 0 takes a free one.

    Raises DemoError when the port cannot be had.
    """
    targets = Targets(path, name)
    try:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(
            connector=connector, timeout=UPSTREAM_TIMEOUT, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
        ) as session:
            proxy = Proxy(catalog, targets, session)
            application = web.Application()
            application.router.add_route("*", "/{path:.*}", proxy.handle)
            proxy.port, runner = await start_server(application, host, port)
            try:
                yield proxy
            finally:
                await runner.cleanup()
    finally:
        await targets.close()


async def start_server(application: web.Application, host: str, port: int) -> tuple[int, web.AppRunner]:
    """Serve an application; return the port and the runner to clean up. Raises DemoError if the port cannot be had."""
    # A client that hangs up cancels its handler, wherever that waits: in the queue of the lock, or inside the guard.
    runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=5.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        await runner.cleanup()
        reason = "it is in use" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
        raise DemoError(f"cannot listen on {host} port {port}: {reason}") from error
    except BaseException:
        await runner.cleanup()
        raise
    address: tuple[str, int] = runner.addresses[0]
    return address[1], runner
