"""`def` endpoints run in FastAPI's thread pool, `async def` ones on its event loop. They share one lock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query

from aiolots import RwLock

from .catalog import Catalog
from .follower import Follower, rate_after

catalog = RwLock(Catalog(), name="catalog")  # bound to no event loop, so a module's global
PAUSE = 1.0  # seconds between two changes of the background thread


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
    """Run the background thread as long as the app."""
    follower = app.state.follower = Follower(catalog, PAUSE)
    follower.start()
    try:
        yield
    finally:
        await asyncio.to_thread(follower.stop)


app = FastAPI(lifespan=lifespan)


@app.get("/lookup/{key}")
async def lookup(key: str) -> dict[str, int]:
    """One entry, from a task. Other tasks run while this one waits for the lock."""
    async with catalog.read() as guard:
        entry = guard.value.entries.get(key)
        if entry is None:
            raise HTTPException(404, f"no entry {key!r}")
        return {"version": guard.value.version, "rate": guard.value.rate, **asdict(entry)}


@app.get("/report")
def report() -> dict[str, int]:
    """All entries, from a thread: nothing changes while it adds them up."""
    with catalog.read() as guard:
        entries = guard.value.entries.values()
        return {
            "version": guard.value.version,
            "rate": guard.value.rate,
            "amount": sum(entry.amount for entry in entries),
            "worth": sum(entry.worth for entry in entries),
        }


@app.put("/entries/{key}")
def put(key: str, amount: int) -> dict[str, int]:
    """Set an entry, from a thread."""
    with catalog.write() as guard:
        guard.value.set(key, amount)
        return {"version": guard.value.version}


@app.patch("/entries/{key}")
async def add(key: str, amount: int, within: Annotated[float, Query(ge=0)] = 1.0) -> dict[str, int]:
    """Add to an entry, from a task, within so many seconds: 503 instead of a request that hangs."""
    async with catalog.try_write_for(within) as guard:
        if guard is None:
            raise HTTPException(503, f"no write within {within} s: {catalog!r}", {"Retry-After": "1"})
        guard.value.add(key, amount)
        return {"version": guard.value.version}


@app.post("/refresh")
async def refresh() -> dict[str, int]:
    """Go over to the next rate. Lookups and reports go on while it is computed; nobody changes the catalog meanwhile."""
    async with catalog.upgradable_read() as guard:
        rate = rate_after(guard.value.rate)
        await asyncio.sleep(0)  # stands for a request to whoever knows the rate
        entries = guard.value.at_rate(rate)
        writer = await guard.upgrade()  # no other writer in between: what was computed is still right
        writer.value.reprice(rate, entries)
        return {"version": writer.value.version}


@app.get("/health")
async def health() -> dict[str, Any]:
    """Who is in and who waits. Takes no lock, so it answers whatever the lock does."""
    return {"word": catalog.word, **asdict(catalog.statistics())}
