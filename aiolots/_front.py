"""Which front is in use: the C types of `aiolots._native` where they exist, else (and under AIOLOTS_PURE=1) `_pure`."""

from __future__ import annotations

from aiolots._pure import LockBase, MutexRequest, ReadRequest, Request, WriteRequest

__all__ = ["LockBase", "MutexRequest", "ReadRequest", "Request", "WriteRequest"]
