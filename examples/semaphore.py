"""A counting semaphore for threads and tasks at once, on aiolots.lowlevel alone."""

import asyncio
from collections import deque
from itertools import accumulate

from aiolots import lowlevel


class Semaphore:
    """Up to `value` may be in. Permits are the items of a deque: append and pop are one step each."""

    def __init__(self, value: int) -> None:
        self._free = deque([True] * value)

    def _take(self) -> bool:
        try:
            return self._free.pop()
        except IndexError:
            return False

    def acquire(self) -> None:
        """Take a permit; blocks a thread until there is one."""
        while not self._take():
            lowlevel.park(self, validate=lambda: not self._free).acquire()

    async def acquire_async(self) -> None:
        """Take a permit; suspends a task until there is one."""
        while not self._take():
            await lowlevel.park(self, validate=lambda: not self._free)

    def release(self) -> None:
        """Give a permit back, then unpark: who queues looks at the permits before it sleeps."""
        self._free.append(True)
        lowlevel.unpark_one(self)


async def main() -> None:
    semaphore, steps = Semaphore(2), deque[int]()

    def thread() -> None:
        semaphore.acquire()
        steps.append(1)
        steps.append(-1)
        semaphore.release()

    async def task() -> None:
        await semaphore.acquire_async()
        steps.append(1)
        await asyncio.sleep(0)
        steps.append(-1)
        semaphore.release()

    await asyncio.gather(*(visit for _ in range(300) for visit in (asyncio.to_thread(thread), task())))
    print(f"{steps.count(1)} visits by threads and tasks, {max(accumulate(steps))} at a time, {sum(steps)} still there")


if __name__ == "__main__":
    asyncio.run(main())
