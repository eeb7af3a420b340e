"""A thread that watches a mailbox for a loop that cannot do so itself."""

from __future__ import annotations

import select
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiolots._loops import Port

_LOOK_EVERY = 200  # ms: how often it looks whether the loop is there still


def watch_from_a_thread(
    loop: Any, port: Port, has_ended: Callable[[Any], bool], call: Callable[[Any, Callable[[], None]], object]
) -> None:
    """Watch the port's descriptor, and have it drained on the loop: `call(loop, drain)`, RuntimeError if it has ended.

    Keeps neither alive, and closes the port when the loop has ended or is gone.
    """
    loop_ref, port_ref = weakref.ref(loop), weakref.ref(port)
    descriptor = port.descriptor
    answered = threading.Event()
    answered.set()

    def ring() -> None:
        answered.set()
        ours = port_ref()
        if ours is not None:
            ours.drain(rung=True)

    def call_it(ours: Any) -> bool:
        if ours is None or has_ended(ours):
            return False
        try:
            if answered.is_set():  # else it has been called, and has not come to it yet
                answered.clear()
                call(ours, ring)
        except RuntimeError:  # closed just now
            return False
        return True

    def watch() -> None:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        while True:
            readable = poll.poll(_LOOK_EVERY)
            if readable and not call_it(loop_ref()):
                break
            if readable:
                answered.wait(_LOOK_EVERY / 1000)
            elif (ours := loop_ref()) is None or has_ended(ours):
                break
            else:
                del ours
        close_port(port_ref)

    threading.Thread(target=watch, name="aiolots-bell", daemon=True).start()


def close_port(port: weakref.ref[Port]) -> None:
    """The loop has ended."""
    found = port()
    if found is not None:  # else the port went first, and so did its waiters
        found.close()
