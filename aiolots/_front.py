"""Which front is in use: the C types of `aiolots._native` where they exist; else, and under AIOLOTS_PURE=1, `_pure`.

Both have the same surface. Type checkers are shown the one in Python.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiolots._pure import PureLock as LockBase
    from aiolots._pure import Request
    from aiolots._pure_locks import FairMutexFront, MutexFront, RwLockFront
    from aiolots._pure_reentrant import ReentrantFront

    NATIVE = False
else:
    NATIVE = os.environ.get("AIOLOTS_PURE", "0") in ("", "0")
    if NATIVE:
        try:
            import aiolots._native  # noqa: F401
        except ModuleNotFoundError:  # PyPy, or a build without it
            NATIVE = False
    if NATIVE:
        from aiolots._native_front import FairMutexFront, LockBase, MutexFront, ReentrantFront, Request, RwLockFront
    else:
        from aiolots._pure import PureLock as LockBase
        from aiolots._pure import Request
        from aiolots._pure_locks import FairMutexFront, MutexFront, RwLockFront
        from aiolots._pure_reentrant import ReentrantFront

__all__ = ["NATIVE", "FairMutexFront", "LockBase", "MutexFront", "ReentrantFront", "Request", "RwLockFront"]
