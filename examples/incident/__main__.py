"""Make the proxy stand still, and find out why. From outside all three look the same: nobody gets an answer."""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import os
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from aiolots import lowlevel

from .diagnose import diagnose
from .proxy import Proxy, Served, get

HOSTS = ["shop.example", "blog.example"] * 3
PATIENCE = 0.5  # seconds that a client waits until it complains


@asynccontextmanager
async def contention() -> AsyncGenerator[Proxy]:
    """A look-up that takes its time, with the catalog held. One update waits for it, and all requests wait for the update."""
    slow = threading.Event()

    async def look_up(_backend: str) -> None:
        await asyncio.to_thread(slow.wait)

    with Served(Proxy(look_up=look_up)) as proxy:
        first = asyncio.create_task(get(proxy.port, "shop.example"))
        update = threading.Thread(target=proxy.retire, args=("blog.example",), name="updater")
        await until(lambda: proxy.catalog.reader_count() == 1)
        update.start()
        await until(lambda: len(lowlevel.waiters(proxy.catalog)) == 1)
        yield proxy
        slow.set()
        print(f"\nthe look-up ends: {await first}")
        await until(lambda: proxy.open == 0 and not update.is_alive())


@asynccontextmanager
async def deadlock() -> AsyncGenerator[Proxy]:
    """An update that takes the locks the other way round: first the backends, then the catalog."""
    with Served(Proxy()) as proxy:

        def retire_backend(name: str) -> None:
            with proxy.backends.lock() as addresses:
                addresses.value.pop(name, None)
                until_true(lambda: proxy.catalog.reader_count() > 0)  # the moment in which it goes wrong, made certain
                with proxy.catalog.write() as routes:
                    for host in [host for host, backend in routes.value.items() if backend == name]:
                        del routes.value[host]

        update = threading.Thread(target=retire_backend, args=("blue",), name="updater", daemon=True)
        update.start()
        await until(proxy.backends.locked)
        yield proxy
    update.join()  # the requests were cancelled, so it has the catalog now


@asynccontextmanager
async def corruption() -> AsyncGenerator[Proxy]:
    """An update that times out while a request reads; then what a subtraction too many left in the word on 2025-05-28."""
    slow = threading.Event()

    async def look_up(_backend: str) -> None:
        await asyncio.to_thread(slow.wait)

    with Served(Proxy(look_up=look_up)) as proxy:
        first = asyncio.create_task(get(proxy.port, "shop.example"))
        await until(lambda: proxy.catalog.reader_count() == 1)
        update = threading.Thread(target=lambda: proxy.catalog.try_write_for(0.1).acquire(), name="updater")
        update.start()
        await until(lambda: not update.is_alive())
        slow.set()
        print(await first, "is what a request gets while all is well")
        # lock.address is where the word lies, for native code. Nothing but a bug writes there without the core's verbs.
        ctypes.c_uint64.from_address(proxy.catalog.address).value = 0xFFFFFFFFFFFFFFFE
        yield proxy


async def until(condition: Callable[[], bool]) -> None:
    """Wait for the next step of the story, on the client's loop."""
    await asyncio.to_thread(until_true, condition)


def until_true(condition: Callable[[], bool]) -> None:
    """Wait for the next step of the story; give up after some seconds."""
    end = time.monotonic() + 10
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("the story went another way")
        time.sleep(0.001)


INCIDENTS = {"contention": contention, "deadlock": deadlock, "corruption": corruption}


async def incident(name: str, hold: float) -> str:
    """Play one, and return the cause that the tools found."""
    requests: list[asyncio.Task[str]] = []
    async with INCIDENTS[name]() as proxy:
        requests += [asyncio.create_task(get(proxy.port, host)) for host in HOSTS]
        done, _ = await asyncio.wait(requests, timeout=PATIENCE)
        answers = [request.result() for request in done]
        print(f"{served(answers)} of {len(requests)} requests are served within {PATIENCE} s")
        for error in sorted({answer for answer in answers if answer.startswith("LockCorruption")}):
            print(f"the proxy says {error}")
        cause = await asyncio.to_thread(diagnose, proxy.catalog, proxy.backends)
        if hold:
            print(f"\nprocess {os.getpid()} stays so for {hold:g} s", flush=True)
            await asyncio.sleep(hold)
    answers = [answer for answer in await asyncio.gather(*requests, return_exceptions=True) if isinstance(answer, str)]
    print(f"\n{served(answers)} of {len(requests)} requests are served in the end")
    return cause


def served(answers: list[str]) -> int:
    """Return how many answers are one: not of a proxy that ended, or whose lock is corrupt."""
    return sum(bool(answer) and not answer.startswith("LockCorruption") for answer in answers)


def main() -> int:
    """Run one incident; 0 if the tools named its cause."""
    parser = argparse.ArgumentParser(prog="python -m examples.incident", description=__doc__)
    which = parser.add_mutually_exclusive_group(required=True)
    for name, make in INCIDENTS.items():
        which.add_argument(f"--{name}", dest="name", action="store_const", const=name, help=make.__doc__)
    parser.add_argument("--hold", type=float, default=0, metavar="SEC", help="stay so for a while, to look from elsewhere")
    wanted = parser.parse_args()
    cause = asyncio.run(incident(wanted.name, wanted.hold))
    print(f"cause: {cause}")
    return 0 if cause == wanted.name else 1


if __name__ == "__main__":
    sys.exit(main())
