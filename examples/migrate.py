"""Before and after: the same program with asyncio's locks, and with those of aiolots. One import is changed.

A lock is a module's global, and two event loops use it, one after the other. Run it: python examples/migrate.py
"""

import asyncio as before
from typing import Any

from aiolots.compat import asyncio as after


def program(asyncio: Any) -> str:
    """Let three tasks on each of two loops count to 60 together."""
    lock = asyncio.Lock()
    counted = 0

    async def work() -> None:
        nonlocal counted
        for _ in range(10):
            async with lock:
                number = counted
                await asyncio.sleep(0)  # others run meanwhile, and must stay out
                counted = number + 1

    async def serve() -> None:
        for result in await asyncio.gather(work(), work(), work(), return_exceptions=True):
            if result is not None:
                raise result

    try:
        asyncio.run(serve())
        asyncio.run(serve())
    except RuntimeError as error:
        return f"counted to {counted}, then: {str(error)[-32:]}"
    return f"counted to {counted}"


if __name__ == "__main__":
    print("import asyncio:                     ", program(before))
    print("from aiolots.compat import asyncio: ", program(after))
