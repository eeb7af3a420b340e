"""aiolots: parking_lot for Python. Locks whose whole state is one 64-bit word, shared by threads and event loops.

catalog = RwLock({}, name="catalog")

with catalog.write() as guard:              # a thread
    guard.value["a.example"] = "10.0.0.1"

async with catalog.read() as guard:         # a task, on any event loop
    backend = guard.value.get(host)
"""

from __future__ import annotations

from aiolots import _suspended, console, deadlock, lowlevel, telemetry, tracking, watchdog
from aiolots import _timeout_report as _timeout_report
from aiolots._audit import Finding, audit
from aiolots._barrier import Barrier
from aiolots._blocking import LoopBlockPolicy, loop_block_policy, set_loop_block_policy
from aiolots._condvar import Condvar
from aiolots._errors import DeadlockError, LockCorruption, LockTimeout, LoopBlockedWarning, SuspendedGuardWarning
from aiolots._event import Event
from aiolots._front import Request
from aiolots._guards import (
    AsyncMutexGuard,
    AsyncReadGuard,
    AsyncUpgradableGuard,
    AsyncWriteGuard,
    Guard,
    MutexGuard,
    ReadGuard,
    ReentrantGuard,
    UpgradableGuard,
    WriteGuard,
)
from aiolots._include import get_include
from aiolots._mapping import MappedGuard, MappedPlace
from aiolots._mutex import FairMutex, Mutex
from aiolots._once import LazyLock, Once, OnceCell
from aiolots._reentrant import ReentrantMutex
from aiolots._rwlock import RwLock
from aiolots._semaphore import BoundedSemaphore, Semaphore
from aiolots._statistics import LockStatistics
from aiolots._suspended import SuspendPolicy, set_suspend_policy, suspend_policy
from aiolots._transitions import Transition
from aiolots._word import DecodedWord, decode

__version__ = "0.1.0"

__all__ = [
    "AsyncMutexGuard",
    "AsyncReadGuard",
    "AsyncUpgradableGuard",
    "AsyncWriteGuard",
    "Barrier",
    "BoundedSemaphore",
    "Condvar",
    "DeadlockError",
    "DecodedWord",
    "Event",
    "FairMutex",
    "Finding",
    "Guard",
    "LazyLock",
    "LockCorruption",
    "LockStatistics",
    "LockTimeout",
    "LoopBlockPolicy",
    "LoopBlockedWarning",
    "MappedGuard",
    "MappedPlace",
    "Mutex",
    "MutexGuard",
    "Once",
    "OnceCell",
    "ReadGuard",
    "ReentrantGuard",
    "ReentrantMutex",
    "Request",
    "RwLock",
    "Semaphore",
    "SuspendPolicy",
    "SuspendedGuardWarning",
    "Transition",
    "UpgradableGuard",
    "WriteGuard",
    "audit",
    "console",
    "deadlock",
    "decode",
    "get_include",
    "loop_block_policy",
    "lowlevel",
    "set_loop_block_policy",
    "set_suspend_policy",
    "suspend_policy",
    "telemetry",
    "tracking",
    "watchdog",
]

deadlock.start_as_environment_says()
tracking.start_as_environment_says()
console.serve_as_environment_says()
watchdog.start_as_environment_says()
_suspended.set_as_environment_says()
