"""The adapters that come with the kit, by the name of their lock. Each shows how to write another."""

from __future__ import annotations

_HERE = "aiolots.testing.adapters"

SHIPPED: dict[str, str] = {
    "aiolots.RwLock": f"{_HERE}.own:RwLock",
    "aiolots.Mutex": f"{_HERE}.own:Mutex",
    "aiologic.Lock": f"{_HERE}.aiologic:Lock",
    "aiorwlock.RWLock": f"{_HERE}.aiorwlock:RWLock",
    "readerwriterlock.RWLockFair": f"{_HERE}.readerwriterlock:RWLockFair",
    "readerwriterlock.async.RWLockFair": f"{_HERE}.readerwriterlock:AsyncRWLockFair",
    "fasteners.ReaderWriterLock": f"{_HERE}.fasteners:ReaderWriterLock",
    "asyncio.Lock": f"{_HERE}.stdlib:AsyncioLock",
    "threading.Lock": f"{_HERE}.stdlib:ThreadingLock",
}
