"""The only door to the C core: nothing else imports the cffi module.

Names of csrc/api.h, given Python types. No logic lives here.
"""

from __future__ import annotations

from typing import Any, Final

from aiolots._core import ffi, lib

VERSION: Final = 1
if lib.LOTS_API_VERSION != VERSION:  # a stale build beside newer sources
    raise ImportError(
        f"aiolots._core was built for API {lib.LOTS_API_VERSION}, this is {VERSION}: build it again (pip install -e .)"
    )

READ: Final[int] = lib.LOTS_READ
READ_RECURSIVE: Final[int] = lib.LOTS_READ_RECURSIVE
WRITE: Final[int] = lib.LOTS_WRITE
MUTEX: Final[int] = lib.LOTS_MUTEX
UPGRADABLE: Final[int] = lib.LOTS_UPGRADABLE
UPGRADE: Final[int] = lib.LOTS_UPGRADE
PARK: Final[int] = lib.LOTS_PARK
FAIR_MUTEX: Final[int] = lib.LOTS_FAIR_MUTEX

READY: Final[int] = lib.LOTS_READY
PARKED: Final[int] = lib.LOTS_PARKED
TIMED_OUT: Final[int] = lib.LOTS_TIMED_OUT
INTERRUPTED: Final[int] = lib.LOTS_INTERRUPTED
MISUSE: Final[int] = lib.LOTS_MISUSE
WITHDRAWN: Final[int] = lib.LOTS_WITHDRAWN
CLOSED: Final[int] = lib.LOTS_CLOSED
MAIL: Final[int] = lib.LOTS_MAIL

BY_TIMEOUT: Final[int] = lib.LOTS_BY_TIMEOUT
BY_CANCEL: Final[int] = lib.LOTS_BY_CANCEL

PENDING: Final[int] = lib.LOTS_PENDING
QUEUED: Final[int] = lib.LOTS_QUEUED
HELD: Final[int] = lib.LOTS_HELD
RELEASED: Final[int] = lib.LOTS_RELEASED
GONE: Final[int] = lib.LOTS_GONE
CHANGING: Final[int] = lib.LOTS_CHANGING

WAIT_BUCKETS: Final[int] = lib.LOTS_WAIT_BUCKETS
TRAIL_ROOM: Final[int] = lib.LOTS_TRAIL

NEVER: Final[int] = lib.LOTS_NEVER
NULL: Final[Any] = ffi.NULL

# Any of these in a word: somebody may be queued, so a release has somebody to wake.
QUEUE_FLAGS: Final = 3

# The C types that are made at run time, looked up once: by name cffi takes a lock of its own each time, without the GIL even
# one that another thread may hold while this one forks.
OP: Final[Any] = ffi.typeof("lots_op *")
WORD: Final[Any] = ffi.typeof("lots_word *")
CONTENTION: Final[Any] = ffi.typeof("lots_contention *")
TRAIL: Final[Any] = ffi.typeof("lots_trail *")
STEPS: Final[Any] = ffi.typeof("lots_transition[]")
INFOS: Final[Any] = ffi.typeof("lots_waiter_info[]")
COOKIES: Final[Any] = ffi.typeof("uint64_t[]")
ADDRESS: Final[Any] = ffi.typeof("uintptr_t")
FLAG: Final[Any] = ffi.typeof("int *")
COUNT: Final[Any] = ffi.typeof("size_t *")

# What a struct is made of, cffi finds out when that is asked for the first time: here, while there is one thread. With the GIL
# off it does so in a way that a second one may see the half of. (A mailbox is opaque: there is nothing to find out.)
STRUCTS: Final = tuple(of.item for of in (OP, WORD, CONTENTION, TRAIL, STEPS, INFOS))
_fields = [struct.fields for struct in STRUCTS]

__all__ = ["ffi", "lib"]
