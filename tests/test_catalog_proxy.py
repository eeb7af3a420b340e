"""The catalog proxy on real sockets, and as one program whose routes another process edits."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("aiohttp")

import aiohttp
from aiohttp import web

from aiolots import RwLock
from aiolots.demo.backends import BACKEND_HEADER, backend_names, serve_backends
from aiolots.demo.catalog import Catalog, Change
from aiolots.demo.load import judge
from aiolots.demo.options import DemoOptions
from aiolots.demo.proxy import REFUSAL_HEADER, Proxy, end_to_end, host_name, serve_proxy, start_server
from aiolots.demo.run import run_demo
from aiolots.demo.store import Store

ROOT = Path(__file__).resolve().parent.parent
BOUND = 20.0
POLL = 0.005
PARKED = 1


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, at most BOUND seconds."""
    deadline = time.monotonic() + BOUND
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(POLL)


def edit(path: Path, *statements: str) -> None:
    """Edit the file from another process, with nothing but the standard library."""
    program = "import sqlite3, sys\nwith sqlite3.connect(sys.argv[1]) as file:\n    file.executescript(sys.argv[2])"
    subprocess.run([sys.executable, "-c", program, path, ";".join(statements)], check=True, timeout=BOUND)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with three routes."""
    path = tmp_path / "routes.sqlite"
    Store.create(path, {"a.example": "one", "b.example": "two", "c.example": "one"}, {"one": "http://1", "two": "u2"})
    return path


def catalog_of(path: Path) -> RwLock[Catalog]:
    """Return the catalog of a file as it is now."""
    with Store.open(path) as store:
        snapshot = store.snapshot()
    return RwLock(Catalog(snapshot.routes, version=snapshot.version, keep_history=True), name="catalog")


# --- the proxy -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "name"),
    [("A.Example:80", "a.example"), (" a.example ", "a.example"), ("[::1]:8080", "::1"), (":80", ""), ("", "")],
)
def test_host_name(header: str, name: str) -> None:
    assert host_name(header) == name


def test_hop_by_hop_headers_stay_behind() -> None:
    headers = [("Connection", "close, X-Secret"), ("x-secret", "1"), ("TE", "trailers"), ("Set-Cookie", "a")]
    assert end_to_end([*headers, ("Set-Cookie", "b")]) == [("Set-Cookie", "a"), ("Set-Cookie", "b")]


async def ask(proxy: Proxy, host: str, method: str = "GET", where: str = "/", **more: Any) -> tuple[int, Any, bytes]:
    """Send one request to a proxy."""
    headers = {"Host": host, **more.pop("headers", {})}
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, f"http://127.0.0.1:{proxy.port}{where}", headers=headers, **more) as response,
    ):
        return response.status, response.headers, await response.read()


async def test_requests_go_where_the_catalog_says(path: Path) -> None:
    catalog = catalog_of(path)
    edit(path, "UPDATE routes SET prefix = '/shop' WHERE host = 'a.example'")
    async with serve_backends(["one", "two"]) as urls, serve_proxy(catalog, path, name="proxy") as proxy:
        with Store.open(path) as store:
            store.register_backends(urls.items())
        status, headers, body = await ask(proxy, "A.example:99", "POST", "/x%2Fy?q=1", data=b"z" * 100_000)
        assert (status, headers[BACKEND_HEADER]) == (200, "one")
        assert body == b"one: POST /shop/x%2Fy?q=1 for A.example:99, 100000 bytes of body\n"
        status, headers, body = await ask(proxy, "b.example", "HEAD")
        assert (status, headers[BACKEND_HEADER], body) == (200, "two", b"")
        status, headers, _ = await ask(proxy, "unknown.example")
        assert status == 404
        assert "unknown.example" in headers[REFUSAL_HEADER]
        assert proxy.counters.requests == 3
        assert proxy.counters.most_readers == 1
        assert proxy.counters.torn == 0
    assert catalog.word == 0


async def test_what_lies_behind_may_be_missing(path: Path) -> None:
    edit(path, "UPDATE routes SET backend = 'nobody' WHERE host = 'a.example'")
    catalog = catalog_of(path)
    async with serve_proxy(catalog, path, name="proxy") as proxy:
        async with serve_backends(["two"]) as urls:
            with Store.open(path) as store:
                store.register_backends(urls.items())
        status, headers, _ = await ask(proxy, "a.example")
        assert (status, "'nobody'" in headers[REFUSAL_HEADER]) == (502, True)
        status, headers, _ = await ask(proxy, "b.example")
        assert (status, urls["two"] in headers[REFUSAL_HEADER]) == (502, True)
    assert catalog.word == 0


async def test_a_large_answer_streams_and_a_broken_one_is_not_passed_as_whole(path: Path) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Set-Cookie": "a=1", "Keep-Alive": "x"})
        await response.prepare(request)
        for _ in range(100):
            await response.write(b"0123456789" * 1000)
        if request.path == "/broken":
            assert request.transport is not None
            request.transport.abort()
        return response

    backend = web.Application()
    backend.router.add_get("/{path:.*}", answer)
    port, runner = await start_server(backend, "127.0.0.1", 0)
    with Store.open(path) as store:
        store.register_backends([("one", f"http://127.0.0.1:{port}")])
    catalog = catalog_of(path)
    try:
        async with serve_proxy(catalog, path, name="proxy") as proxy:
            status, headers, body = await ask(proxy, "a.example")
            assert (status, len(body), headers["Set-Cookie"], "Keep-Alive" in headers) == (200, 10**6, "a=1", False)
            with pytest.raises(aiohttp.ClientError):
                await ask(proxy, "a.example", where="/broken")
    finally:
        await runner.cleanup()
    assert catalog.word == 0


async def test_a_client_that_hangs_up_leaves_no_trace_in_the_lock(path: Path) -> None:
    catalog = catalog_of(path)
    async with serve_backends(["one", "two"]) as urls, serve_proxy(catalog, path, name="proxy") as proxy:
        with Store.open(path) as store:
            store.register_backends(urls.items())
        guard = await catalog.write()
        asked = asyncio.create_task(ask(proxy, "a.example"))
        await asyncio.to_thread(until, lambda: catalog.word & PARKED != 0)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        # The proxy notices that its client has gone, and the request leaves the queue of the lock.
        await asyncio.to_thread(until, lambda: catalog.word & PARKED == 0)
        guard.release()
        assert (await ask(proxy, "a.example"))[0] == 200
    assert catalog.word == 0


@pytest.mark.parametrize(
    ("status", "backend", "refusal", "body", "allowed", "right"),
    [
        (200, "one", None, b"one: GET", {"one"}, True),
        (200, "one", None, b"one: GET", {"two", "one"}, True),
        (200, "one", None, b"one: GET", {"two"}, False),
        (200, "one", None, b"two: GET", {"one"}, False),
        (200, "one", None, b"one: GET", {None}, False),
        (404, None, "no route", b"", {None, "one"}, True),
        (404, None, "no route", b"", {"one"}, False),
        (404, "one", None, b"", {"one", None}, False),
        (502, None, "gone", b"", {"one"}, False),
        (200, None, None, b"", {"one"}, False),
    ],
)
def test_judge(
    status: int, backend: str | None, refusal: str | None, body: bytes, allowed: set[str | None], right: bool
) -> None:
    assert (judge(status, backend, refusal, body, allowed) is None) is right


# --- all of it -------------------------------------------------------------------------------------------------------


async def test_an_edit_by_another_process_changes_where_the_running_proxy_sends_the_next_request(
    tmp_path: Path,
) -> None:
    path = tmp_path / "routes.sqlite"
    program = [sys.executable, "-m", "examples.catalog_proxy"]
    async with serve_backends(["blue", "green"]) as urls:
        options = ["--route", "shop.example=blue", *(f"--backend={name}={url}" for name, url in urls.items())]
        await asyncio.to_thread(subprocess.run, [*program, "create", path, *options], cwd=ROOT, check=True)
        proxy = await asyncio.create_subprocess_exec(
            *program, "serve", path, "--port=0", cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True
        )
        try:
            assert proxy.stdout is not None
            port = int((await asyncio.wait_for(proxy.stdout.readline(), BOUND)).rpartition(b":")[2])

            async def served_by() -> str:
                async with (
                    aiohttp.ClientSession() as session,
                    session.get(f"http://127.0.0.1:{port}/", headers={"Host": "shop.example"}) as response,
                ):
                    return response.headers.get(BACKEND_HEADER, str(response.status))

            assert await served_by() == "blue"
            for statement, expected in [
                ("UPDATE routes SET backend = 'green'", "green"),
                ("DELETE FROM routes", "404"),
                ("INSERT INTO routes (host, backend) VALUES ('shop.example', 'blue')", "blue"),
            ]:
                await asyncio.to_thread(edit, path, statement)
                async with asyncio.timeout(BOUND):
                    while await served_by() != expected:
                        pass
        finally:
            proxy.send_signal(2)
            assert await asyncio.wait_for(proxy.wait(), BOUND) == 130
    assert os.listdir(tmp_path) == ["routes.sqlite"], "the last one out folds the -wal file back"


SMALL = {"seconds": 1.0, "clients": 8, "hosts": 200, "json": True}


@pytest.mark.parametrize("uvloop", [False, True], ids=["asyncio", "uvloop"])
def test_the_demo_finds_nothing_wrong(uvloop: bool) -> None:
    if uvloop:
        pytest.importorskip("uvloop")
    threads = threading.active_count()
    # Everybody may hang up, and no write is given the time to succeed at once.
    summary = run_demo(DemoOptions(**SMALL, uvloop=uvloop, hang_ups=0.3, write_timeout=0.0005, patience=2))
    assert summary.problems == []
    assert summary.requests > 0
    assert summary.changes_applied == summary.changes_logged > 0
    assert summary.lock_word == 0
    assert threading.active_count() == threads


def test_the_demo_notices_a_change_that_was_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    apply = Catalog.apply

    def forgetful(catalog: Catalog, changes: Sequence[Change]) -> None:
        apply(catalog, [change for change in changes if zlib.crc32(change.host.encode()) % 8 != 0])

    monkeypatch.setattr(Catalog, "apply", forgetful)
    summary = run_demo(DemoOptions(**SMALL))
    assert not summary.ok
    assert "is at" in "".join(summary.problems)
    assert "the writer's last change" in "".join(summary.problems)


def test_the_demo_notices_a_wrong_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    find = Store.target
    monkeypatch.setattr(Store, "target", lambda self, host, backend: find(self, host, backend_names(4)[0]))
    summary = run_demo(DemoOptions(**SMALL))
    assert summary.wrong_responses > 0
    assert "answered by backend-0, but the catalog named" in "".join(summary.problems)


class LetsWritersInBesideReaders(RwLock[Catalog]):
    """A lock with the fault that a lock must not have."""

    def try_write_for(self, seconds: float) -> Any:
        return self.read_recursive()


def test_the_demo_notices_a_lock_that_does_not_exclude(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiolots.demo.run.RwLock", LetsWritersInBesideReaders)
    summary = run_demo(DemoOptions(**{**SMALL, "hosts": 10_000}, changes_per_second=1000.0))
    assert "look-ups that held a read guard" in "".join(summary.problems)
