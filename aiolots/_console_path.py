"""Where a process's console is: a socket in a folder that belongs to its user alone. Server and client agree here.

AIOLOTS_CONSOLE, in both of them: "1" for the folder below, the path of a folder, or the path of the socket itself. The folder
is $XDG_RUNTIME_DIR/aiolots, else aiolots-UID beside the other temporary files; a socket in a folder is called PID.sock.
"""

from __future__ import annotations

import os
import socket
import stat
import sys
import tempfile
from pathlib import Path

VARIABLE = "AIOLOTS_CONSOLE"
_LONGEST = 100  # bytes of a unix socket's path; Linux takes 107, others some less


def only_asks() -> bool:
    """Whether this process is one that looks into another one: `python -m aiolots ps`. With the same environment, perhaps."""
    words = sys.orig_argv[1:]
    return any(words[i : i + 2] == ["-m", "aiolots"] and words[i + 2 :][:1] != ["demo"] for i in range(len(words)))


def default_folder() -> Path:
    """Return the user's folder for consoles. It need not exist."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and Path(runtime).is_absolute() and _is_private(Path(runtime)):
        return Path(runtime) / "aiolots"
    return Path(tempfile.gettempdir()) / f"aiolots-{os.geteuid()}"


def _is_private(folder: Path) -> bool:
    try:
        found = os.lstat(folder)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077


def private_folder() -> Path:
    """Make the user's folder if it is not there. PermissionError if it is another's, a link, or open to others."""
    folder = default_folder()
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        _check_private(folder, "nothing is served there")
    return folder


def _check_private(folder: Path, so: str) -> None:
    if not _is_private(folder):
        raise PermissionError(f"{folder} is not a folder of this user alone (mode 0700): {so}; remove it, or give a path")


def socket_path(place: str | os.PathLike[str] | None = None) -> Path:
    """Return where this process is to serve: `place`, or what the environment says, or the default.

    The default folder is made; others have to exist. PermissionError as above, ValueError for a path that is too long.
    """
    given = os.environ.get(VARIABLE, "") if place is None else os.fspath(place)
    if given in ("", "0", "1"):
        path = private_folder() / f"{os.getpid()}.sock"
    else:
        path = Path(given).absolute()
        if path.is_dir():
            path /= f"{os.getpid()}.sock"
    if len(os.fsencode(path)) > _LONGEST:
        raise ValueError(f"the path of a socket has at most {_LONGEST} bytes, which {path} has not")
    return path


def is_stale(path: Path) -> bool:
    """Whether it is a socket that nobody serves any more."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return False
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1.0)
            probe.connect(str(path))
    except ConnectionRefusedError:
        return True
    except OSError:  # gone, not ours, or busy
        return False
    return False


def sockets(place: str | os.PathLike[str] | None = None) -> list[Path]:
    """Return the sockets that processes may serve, of the folder that is given or agreed on. Stale ones are removed.

    PermissionError if the one that is agreed on is open to others, or another's: whoever made it may have put anything there.
    """
    given = os.environ.get(VARIABLE, "") if place is None else os.fspath(place)
    folder = Path(given)
    if given in ("", "0", "1"):
        folder = default_folder()
        if not os.path.lexists(folder):
            return []
        _check_private(folder, "nobody is asked there")
    if not folder.is_dir():
        return [folder] if folder.exists() else []
    found: list[Path] = []
    for path in sorted(folder.glob("*.sock")):
        if is_stale(path):
            path.unlink(missing_ok=True)
        else:
            found.append(path)
    return found
