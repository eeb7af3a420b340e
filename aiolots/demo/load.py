"""The load: clients that ask the proxies, hang up now and then, and judge every answer they get."""

from __future__ import annotations

import asyncio
import random
import time
from array import array
from collections.abc import Sequence

import aiohttp

from aiolots import RwLock
from aiolots.demo.backends import BACKEND_HEADER
from aiolots.demo.catalog import Catalog
from aiolots.demo.proxy import REFUSAL_HEADER

# Not a target, but the time after which an answer counts as missing.
ANSWER_SECONDS = 30.0
LONGEST_PATIENCE_OF_A_CALLER = 0.03
KEPT_TEXTS = 20


class Load:
    """All clients of one run, on one loop, and what they found."""

    def __init__(
        self, catalog: RwLock[Catalog], hosts: Sequence[str], ports: Sequence[int], *, hang_ups: float, seed: int
    ) -> None:
        self.latencies = array("d")
        self.hung_up = 0
        self.wrong = 0
        # What was wrong with the first ones, in words.
        self.wrong_texts: list[str] = []
        self._catalog = catalog
        self._hosts = hosts
        self._ports = ports
        self._hang_ups = hang_ups
        self._seed = seed

    async def run(self, clients: int, seconds: float) -> None:
        """Ask for `seconds`; return when every answer that was asked for is in and judged."""
        deadline = time.monotonic() + seconds
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        ) as session:
            async with asyncio.TaskGroup() as group:
                for number in range(clients):
                    group.create_task(self._client(session, number, deadline))

    async def _client(self, session: aiohttp.ClientSession, number: int, deadline: float) -> None:
        chance = random.Random(f"{self._seed} {number}")
        url = f"http://127.0.0.1:{self._ports[number % len(self._ports)]}/client/{number}"
        recent: list[str] = []
        while time.monotonic() < deadline:
            # Half of the requests go where routes have just changed: that is where a wrong answer would come from.
            host = chance.choice(recent if recent and chance.random() < 0.5 else self._hosts)
            hurry = chance.random() * LONGEST_PATIENCE_OF_A_CALLER if chance.random() < self._hang_ups else None
            changed = await self._ask(session, url, host, hurry)
            if changed:
                recent = changed

    async def _ask(self, session: aiohttp.ClientSession, url: str, host: str, hurry: float | None) -> list[str]:
        """Ask once and judge the answer; return hosts that changed of late, or nothing if there was no answer."""
        start = time.monotonic()
        # `None` is no limit: such a caller waits until the answer comes.
        patience = asyncio.timeout(hurry)
        try:
            async with patience:
                async with session.get(url, headers={"Host": host}, allow_redirects=False) as response:
                    body = await response.read()
        except TimeoutError:
            if patience.expired():
                self.hung_up += 1
            else:
                self._is_wrong(f"{host}: no answer within {ANSWER_SECONDS:g} s")
            return []
        except aiohttp.ClientError as error:
            self._is_wrong(f"{host}: no answer, {type(error).__name__}: {error}")
            return []
        end = time.monotonic()
        async with self._catalog.read() as guard:
            history = guard.value.history
            if history is None:
                raise ValueError("a load can only judge a catalog that keeps a history")
            allowed = history.allowed(host, start, end)
            recent = list(history.recent_hosts)
        self.latencies.append(end - start)
        backend = response.headers.get(BACKEND_HEADER)
        fault = judge(response.status, backend, response.headers.get(REFUSAL_HEADER), body, allowed)
        if fault is not None:
            self._is_wrong(f"{host}: {fault}")
        return recent

    def _is_wrong(self, text: str) -> None:
        self.wrong += 1
        if len(self.wrong_texts) < KEPT_TEXTS:
            self.wrong_texts.append(text)


def judge(status: int, backend: str | None, refusal: str | None, body: bytes, allowed: set[str | None]) -> str | None:
    """Return what is wrong with an answer, or None.

    `backend` and `refusal` are what a backend and the proxy say of themselves in headers, `allowed` is what the catalog
    named while the request was under way, with None for "no such host".
    """
    if status == 200 and backend is not None and refusal is None:
        if backend not in allowed:
            return f"answered by {backend}, but the catalog named {names(allowed)}"
        if not body.startswith(backend.encode() + b":"):
            return f"answered by {backend} with a body that is not its own: {body[:80]!r}"
        return None
    if status == 404 and refusal is not None:
        return None if None in allowed else f"answered 404, but the catalog named {names(allowed)}"
    return f"answered {status} ({refusal or backend or 'by nobody that we know'})"


def names(backends: set[str | None]) -> str:
    """Return a set of backends in words."""
    return " and ".join(sorted("no backend" if name is None else name for name in backends))
