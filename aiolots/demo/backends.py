"""The servers behind the proxy. Each says its own name, so that a client can tell where its request went."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from aiohttp import web

from aiolots.demo.proxy import start_server

BACKEND_HEADER = "X-Backend"


def backend_names(count: int) -> list[str]:
    """Return the names of the demo's own backends."""
    return [f"backend-{number}" for number in range(count)]


@asynccontextmanager
async def serve_backends(names: Sequence[str], host: str = "127.0.0.1") -> AsyncGenerator[dict[str, str]]:
    """Run one server for each name on this loop, on free ports; yields name -> base URL."""
    async with AsyncExitStack() as stack:
        urls: dict[str, str] = {}
        for name in names:
            port, runner = await start_server(_application(name), host, 0)
            stack.push_async_callback(runner.cleanup)
            urls[name] = f"http://{host}:{port}"
        yield urls


def _application(name: str) -> web.Application:
    async def answer(request: web.Request) -> web.Response:
        body = await request.read()
        text = f"{name}: {request.method} {request.rel_url} for {request.host}, {len(body)} bytes of body\n"
        return web.Response(text=text, headers={BACKEND_HEADER: name})

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    return application
