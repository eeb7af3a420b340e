"""The adapters that come with the kit, by the name of their lock. Each shows how to write another."""

from __future__ import annotations

_HERE = "aiolots.testing.adapters"

SHIPPED: dict[str, str] = {
    "aiolots.RwLock": f"{_HERE}.own:RwLock",
    "aiolots.Mutex": f"{_HERE}.own:Mutex",
    "aiolots.FairMutex": f"{_HERE}.own:FairMutex",
    "aiologic.Lock": f"{_HERE}.aiologic:Lock",
    "aiorwlock.RWLock": f"{_HERE}.aiorwlock:RWLock",
    "readerwriterlock.RWLockFair": f"{_HERE}.readerwriterlock:RWLockFair",
    "readerwriterlock.RWLockFairD": f"{_HERE}.readerwriterlock:RWLockFairD",
    "readerwriterlock.async.RWLockFair": f"{_HERE}.readerwriterlock:AsyncRWLockFair",
    "fasteners.ReaderWriterLock": f"{_HERE}.fasteners:ReaderWriterLock",
    "anyio.Lock": f"{_HERE}.anyio:Lock",
    "asyncio.Lock": f"{_HERE}.stdlib:AsyncioLock",
    "threading.Lock": f"{_HERE}.stdlib:ThreadingLock",
    "aiolots.ReentrantMutex": f"{_HERE}.own:ReentrantMutex",
    "aiologic.RLock": f"{_HERE}.aiologic:RLock",
    "threading.RLock": f"{_HERE}.stdlib_waits:ThreadingRLock",
    "aiolots.Condvar": f"{_HERE}.own_waits:Condvar",
    "aiologic.Condition": f"{_HERE}.aiologic:Condition",
    "anyio.Condition": f"{_HERE}.anyio:Condition",
    "asyncio.Condition": f"{_HERE}.stdlib_waits:AsyncioCondition",
    "threading.Condition": f"{_HERE}.stdlib_waits:ThreadingCondition",
    "aiolots.Semaphore": f"{_HERE}.own_waits:Semaphore",
    "aiolots.BoundedSemaphore": f"{_HERE}.own_waits:BoundedSemaphore",
    "aiologic.Semaphore": f"{_HERE}.aiologic:Semaphore",
    "anyio.Semaphore": f"{_HERE}.anyio:Semaphore",
    "asyncio.Semaphore": f"{_HERE}.stdlib_waits:AsyncioSemaphore",
    "threading.Semaphore": f"{_HERE}.stdlib_waits:ThreadingSemaphore",
    "aiolots.Event": f"{_HERE}.own_waits:Event",
    "aiologic.REvent": f"{_HERE}.aiologic:REvent",
    "anyio.Event": f"{_HERE}.anyio:Event",
    "asyncio.Event": f"{_HERE}.stdlib_waits:AsyncioEvent",
    "threading.Event": f"{_HERE}.stdlib_waits:ThreadingEvent",
    "aiolots.Barrier": f"{_HERE}.own_waits:Barrier",
    "aiologic.Barrier": f"{_HERE}.aiologic:Barrier",
    "asyncio.Barrier": f"{_HERE}.stdlib_waits:AsyncioBarrier",
    "threading.Barrier": f"{_HERE}.stdlib_waits:ThreadingBarrier",
    "aiolots.OnceCell": f"{_HERE}.own_waits:OnceCell",
}
