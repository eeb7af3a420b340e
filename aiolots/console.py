"""Look into a process from outside: `python -m aiolots ps | top | tree | dump`, while it runs, hangs, or is deadlocked.

    console = aiolots.console.serve()       # in the process; or AIOLOTS_CONSOLE=1 in its environment
    console.close()

The process answers on a unix socket of mode 0600, in a folder that only its user can enter, and looks at who has connected
besides; who asks looks at who serves, too. One daemon thread serves it. It takes no lock of yours and none of aiolots, so it
answers in a deadlock too; it needs the GIL, so it cannot while native code keeps that. What it can be asked for, is to look: no
question changes anything.

A forked child does not serve unless it calls serve().
"""

from __future__ import annotations

import atexit
import os
import warnings
from pathlib import Path
from typing import Self

from aiolots import _console_data, _console_path, _console_server

__all__ = ["Console", "serve"]


class Console:
    """What this process serves. The same one until it is closed."""

    def __init__(self, server: _console_server.Server) -> None:
        self._server = server

    @property
    def path(self) -> Path:
        """Where the socket is."""
        return self._server.path

    def close(self) -> None:
        """Stop serving and remove the socket. Does nothing the second time. Never waits."""
        global _console  # noqa: PLW0603
        if _console is self:
            _console = None
        atexit.unregister(self._server.close)
        self._server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_console: Console | None = None


def serve(path: str | os.PathLike[str] | None = None) -> Console:
    """Serve the console of this process from a daemon thread; what it returns can be closed, by `with` too.

    `path`: of the socket, or of a folder for a socket named PID.sock; by default what AIOLOTS_CONSOLE says, else
    $XDG_RUNTIME_DIR/aiolots or aiolots-UID beside the temporary files, which is made with mode 0700. Called again it returns
    what is served already. PermissionError if the default folder is open to other users, ValueError for a path that is too
    long, OSError if it cannot be made or another process serves there. Never waits.
    """
    global _console  # noqa: PLW0603
    if _console is None:
        data = _console_data.Source()
        server = _console_server.Server(_console_path.socket_path(path), data.answer, data.tick)
        atexit.register(server.close)
        _console = Console(server)
    return _console


def _forget() -> None:
    global _console
    served, _console = _console, None
    if served is not None:
        served._server.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def serve_as_environment_says() -> None:
    """AIOLOTS_CONSOLE=1 serves where the default is, =PATH there; "" and "0" do not. Warns if it cannot, and goes on."""
    if os.environ.get(_console_path.VARIABLE, "") in ("", "0") or _console_path.only_asks():
        return
    try:
        serve()
    except (OSError, ValueError) as error:
        warnings.warn(f"{_console_path.VARIABLE}: no console is served: {error}", stacklevel=2)
