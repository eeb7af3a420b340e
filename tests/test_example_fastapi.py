"""The FastAPI example under uvicorn: tasks, pool threads and a background thread at one lock, driven over HTTP."""

from __future__ import annotations

import asyncio
import random
import re
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
pytest.importorskip("httpx")

import httpx
import uvicorn

from aiolots import RwLock, set_loop_block_policy
from examples.fastapi_cache import app as example
from examples.fastapi_cache.catalog import Catalog
from tests.waiting import WATCHDOG, YIELD, assert_idle, in_thread, until, until_parked, wait_until

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parent.parent
COMMAND = "python -m uvicorn examples.fastapi_cache.app:app"
CLIENTS, ROUNDS = 24, 25


class Slow(Catalog):
    """Lets other threads run in the middle of each change, so that a lock that does not exclude is noticed."""

    def __setattr__(self, name: str, value: object) -> None:
        time.sleep(YIELD / 5)
        super().__setattr__(name, value)

    def set(self, key: str, amount: int) -> None:
        """Put an entry in."""
        time.sleep(YIELD / 5)
        super().set(key, amount)


class Served(NamedTuple):
    """A server that runs, in a thread with an event loop of its own."""

    url: str
    stop: Callable[[], None]


@pytest.fixture(autouse=True)
def nobody_blocks_the_loop() -> Iterator[None]:
    """A sync acquire that would park the server's loop fails, and its request with it."""
    before = set_loop_block_policy("raise")
    yield
    set_loop_block_policy(before)


@pytest.fixture
def catalog(monkeypatch: pytest.MonkeyPatch) -> RwLock[Catalog]:
    """A catalog of its own for the app."""
    lock = RwLock[Catalog](Slow(), name="catalog")
    monkeypatch.setattr(example, "catalog", lock)
    return lock


@pytest.fixture
def pause(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds between two changes of the background thread: none, unless a test asks for them."""
    monkeypatch.setattr(example, "PAUSE", getattr(request, "param", 1e6))


@pytest.fixture
def server(catalog: RwLock[Catalog], pause: None) -> Iterator[Served]:
    """The app under uvicorn on a free port; stopped at the end, and nothing may be left of it then."""
    threads = threading.active_count()
    listener = socket.create_server(("127.0.0.1", 0))
    serving = uvicorn.Server(uvicorn.Config(example.app, log_level="warning", lifespan="on"))
    thread = in_thread(serving.run, [listener])

    def stop() -> None:
        serving.should_exit = True
        thread.join()

    try:
        wait_until(lambda: serving.started or thread.done())
        yield Served(f"http://127.0.0.1:{listener.getsockname()[1]}", stop)
    finally:
        stop()
        listener.close()
    assert_idle(catalog)
    # The pool's threads end with the loop that they served.
    wait_until(lambda: threading.active_count() <= threads)


@pytest.fixture
async def client(server: Served) -> AsyncGenerator[httpx.AsyncClient]:
    """Speaks to the server. No proxies: it is on this machine."""
    async with httpx.AsyncClient(base_url=server.url, timeout=WATCHDOG, trust_env=False) as speaking:
        yield speaking


def body_of(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, f"{response.request.method} {response.request.url}: {response.text}"
    found: dict[str, Any] = response.json()
    return found


def is_whole(seen: dict[str, Any]) -> bool:
    """Whether what a reader saw belongs together."""
    return bool(seen["worth"] == seen["amount"] * seen["rate"])


# --- everybody at once -------------------------------------------------------------------------------------------------


class Client:
    """Sends requests one after the other, and remembers what they changed."""

    def __init__(self, http: httpx.AsyncClient, number: int) -> None:
        self._http = http
        self._random = random.Random(number)
        self._seen = 0  # the last version
        self.added = Counter[str]()
        self.put: dict[int, tuple[str, int]] = {}  # by version
        self.changes: list[int] = []  # versions

    async def run(self) -> None:
        for _ in range(ROUNDS):
            await self._random.choice(
                [self._look, self._look, self._report, self._put, self._add, self._refresh, self._health]
            )()

    def _sees(self, version: int) -> None:
        assert version >= self._seen, "a change that was answered is gone again"
        self._seen = version

    def _changed(self, response: httpx.Response) -> int:
        version: int = body_of(response)["version"]
        assert version > self._seen
        self._seen = version
        self.changes.append(version)
        return version

    def _key(self, prefix: str) -> str:
        return f"{prefix}{self._random.randrange(5)}"

    async def _look(self) -> None:
        response = await self._http.get(f"/lookup/{self._key(self._random.choice(['put', 'add']))}")
        if response.status_code != 404:
            seen = body_of(response)
            assert is_whole(seen), seen
            self._sees(seen["version"])

    async def _report(self) -> None:
        seen = body_of(await self._http.get("/report"))
        assert is_whole(seen), seen
        self._sees(seen["version"])

    async def _put(self) -> None:
        key, amount = self._key("put"), self._random.randrange(1000)
        self.put[self._changed(await self._http.put(f"/entries/{key}", params={"amount": amount}))] = key, amount

    async def _add(self) -> None:
        key, within = self._key("add"), self._random.choice([0.0, 0.001, WATCHDOG])
        response = await self._http.patch(f"/entries/{key}", params={"amount": 1, "within": within})
        if response.status_code != 503 or within == WATCHDOG:
            self._changed(response)
            self.added[key] += 1

    async def _refresh(self) -> None:
        self._changed(await self._http.post("/refresh"))

    async def _health(self) -> None:
        assert body_of(await self._http.get("/health"))["readers"] < 2**32


@pytest.mark.parametrize("pause", [0.001], indirect=True)
async def test_no_change_is_lost_and_none_is_seen_half_made(
    client: httpx.AsyncClient, server: Served, catalog: RwLock[Catalog]
) -> None:
    clients = [Client(client, number) for number in range(CLIENTS)]
    async with asyncio.timeout(3 * WATCHDOG):
        async with asyncio.TaskGroup() as group:
            for one in clients:
                group.create_task(one.run())
    await asyncio.to_thread(server.stop)
    changes = [version for one in clients for version in one.changes]
    follower = example.app.state.follower
    assert follower.changes > 0
    with catalog.read() as guard:
        end = guard.value
        assert len(set(changes)) == len(changes), "two changes made the same version"
        assert end.version == len(changes) + follower.changes
        added: Counter[str] = sum((one.added for one in clients), Counter[str]())
        assert added == {key: entry.amount for key, entry in end.entries.items() if key.startswith("add")}
        last = dict(change for _, change in sorted(change for one in clients for change in one.put.items()))
        assert last == {key: entry.amount for key, entry in end.entries.items() if key.startswith("put")}
        assert end.entries == end.at_rate(end.rate)


# --- step by step ------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def half_made_change(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[None]:
    """A PUT stays in the middle of its change, in its thread, meanwhile: another rate, and still the old worths."""
    body_of(await client.put("/entries/a", params={"amount": 10}))
    inside, leave = threading.Event(), threading.Event()

    def in_two_steps(catalog: Catalog, key: str, amount: int) -> None:
        rate = catalog.rate = catalog.rate + 1
        inside.set()
        assert leave.wait(WATCHDOG)
        catalog.reprice(rate, catalog.at_rate(rate))

    with monkeypatch.context() as patch:
        patch.setattr(Slow, "set", in_two_steps)
        change = asyncio.ensure_future(client.put("/entries/b", params={"amount": 0}))
        try:
            await until(inside.is_set)
            yield
        finally:
            leave.set()
            body_of(await change)


async def test_the_loop_goes_on_while_a_def_endpoint_holds_the_lock(
    client: httpx.AsyncClient, catalog: RwLock[Catalog], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with half_made_change(client, monkeypatch):
        paths = ["/report"] * 3 + ["/lookup/a"] * 4
        readers = [asyncio.ensure_future(client.get(path)) for path in paths]
        await until_parked(catalog, 7)
        refresh = asyncio.ensure_future(client.post("/refresh"))
        await until_parked(catalog, 8)
        health = body_of(await client.get("/health"))
        expected = {
            "word": catalog.word,
            "locked": True,
            "readers": 0,
            "write_locked": True,
            "threads_waiting": 3,
            "tasks_waiting": 5,
        }
        assert {key: health[key] for key in expected} == expected
        for within in (0, 0.01):
            late = await client.patch("/entries/a", params={"amount": 1, "within": within})
            assert (late.status_code, late.headers["Retry-After"]) == (503, "1")
            assert f"no write within {float(within)} s: <aiolots.RwLock 'catalog' write-locked" in late.json()["detail"]
        assert not any(reader.done() for reader in readers)
    seen = [body_of(await reader) for reader in readers]
    assert all(is_whole(one) for one in seen), seen
    assert body_of(await refresh) == {"version": 3}
    assert body_of(await client.get("/health"))["word"] == 0


class LetsWritersInBesideReaders(RwLock[Catalog]):
    """A lock with the fault that a lock must not have."""

    def write(self, timeout: float | None = None) -> Any:
        return self.read_recursive()


@pytest.mark.parametrize("path", ["/report", "/lookup/a"])
async def test_a_lock_that_does_not_exclude_would_be_noticed(
    path: str, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty = LetsWritersInBesideReaders(Slow(), name="faulty")
    monkeypatch.setattr(example, "catalog", faulty)
    async with half_made_change(client, monkeypatch):
        assert not is_whole(body_of(await client.get(path)))
    assert_idle(faulty)


async def test_odd_requests(client: httpx.AsyncClient) -> None:
    assert (await client.get("/lookup/nothing")).status_code == 404
    for within in ("-1", "nan", "soon"):
        assert (await client.patch("/entries/a", params={"amount": 1, "within": within})).status_code == 422
    assert body_of(await client.patch("/entries/a", params={"amount": 1, "within": "inf"})) == {"version": 1}


async def test_a_shutdown_lets_those_who_wait_finish(
    client: httpx.AsyncClient, server: Served, catalog: RwLock[Catalog], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with half_made_change(client, monkeypatch):
        waiting = [asyncio.ensure_future(client.get(path)) for path in ("/report", "/lookup/a")]
        await until_parked(catalog, 2)
        stopping = asyncio.ensure_future(asyncio.to_thread(server.stop))
        host, port = server.url.removeprefix("http://").split(":")
        await until(lambda: refused(host, int(port)))
        assert not stopping.done()
    for one in waiting:
        assert is_whole(body_of(await one))
    await stopping


def refused(host: str, port: int) -> bool:
    """Whether nobody listens there any more."""
    with socket.socket() as attempt:
        return attempt.connect_ex((host, port)) != 0


# --- as the README says ------------------------------------------------------------------------------------------------


async def test_the_readme_s_command_serves_until_it_is_interrupted() -> None:
    assert f"    {COMMAND}\n" in (ROOT / "examples" / "fastapi_cache" / "README.md").read_text(encoding="utf-8")
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-X", "dev", "-W", "error", *COMMAND.split()[1:], "--port", "0"),
        cwd=ROOT,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    assert program.stderr is not None
    said = ""
    try:
        async with asyncio.timeout(3 * WATCHDOG):
            while (url := re.search(r"http://127\.0\.0\.1:\d+", said)) is None:
                line = await program.stderr.readline()
                assert line, said
                said += line.decode()
        async with httpx.AsyncClient(base_url=url[0], timeout=WATCHDOG, trust_env=False) as client:
            body_of(await client.put("/entries/apple", params={"amount": 3}))
            body_of(await client.post("/refresh"))
            assert is_whole(body_of(await client.get("/lookup/apple")))
            assert body_of(await client.get("/health"))["locked"] is False
        program.send_signal(signal.SIGINT)
        _, rest = await asyncio.wait_for(program.communicate(), WATCHDOG)
    finally:
        if program.returncode is None:
            program.kill()
            await program.wait()
    said += rest.decode()
    assert "Application shutdown complete" in said
    assert not re.search("Warning|Traceback|ERROR", said), said
