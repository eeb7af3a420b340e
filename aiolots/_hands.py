"""The guards that hold locks now, of either front: without a reference to them, so that looking keeps none of them alive."""

from __future__ import annotations

from typing import Any, NamedTuple

from aiolots import _living
from aiolots._refusals import place


class HeldGuard(NamedTuple):
    """One guard."""

    address: int  # of its lock's word
    identity: int  # its id()
    token: int  # of the thread that acquired it
    is_task: bool
    place: str | None  # where it was asked for


def held_guards(locks: list[Any]) -> list[HeldGuard]:
    """Return the guards that hold any of these locks. A walk through all objects: some milliseconds."""
    found: list[HeldGuard] = []
    for lock in locks:
        for identity, holder in list(getattr(lock, "_holders", {}).items()):
            if identity:  # 0: held without a guard
                site = getattr(holder, "site", None)
                found.append(
                    HeldGuard(lock.address, identity, holder.thread, holder.is_task, None if site is None else place(site))
                )
    addresses = {lock.address for lock in locks}
    for guard, token, is_task in _living.held_guards():
        if (address := guard._lock.address) in addresses:
            found.append(HeldGuard(address, id(guard), token, is_task, place(guard._site)))
    return found
