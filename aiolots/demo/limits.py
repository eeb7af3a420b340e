"""Open files: each client costs four sockets, and the usual limit of 1024 is reached by 250 clients."""

from __future__ import annotations

import sys

from aiolots.demo.errors import DemoError

SOCKETS_PER_CLIENT = 4
OTHER_FILES = 128


def allow_open_files(clients: int) -> None:
    """Raise the soft limit as far as needed. Raises DemoError when the hard limit is too low."""
    if sys.platform == "win32":
        # There is no such limit, nor the module that asks for it.
        return
    import resource

    needed = clients * SOCKETS_PER_CLIENT + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise DemoError(f"{clients} clients need {needed} open files, but the limit is {hard} (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
