"""The console's socket: one thread, one JSON line for a question, one for the answer.

    question    {"aiolots": 1, "command": "ps"}
    answer      {"aiolots": 1, "pid": ..., ...}   or   {"aiolots": 1, "error": "..."}

    connection   by                                                             to
    asking       accepted: of this user, and fewer than MOST connections        a line is read, within PATIENCE seconds
                 what is no line within LONGEST bytes, no JSON, no question     an error is answered, then it is closed
                 its line is complete: the command is run, here                 answering
    answering    all of it was taken, or PATIENCE seconds are over              closed

Whoever connects can at worst keep this thread busy with questions. It takes no lock but those of the interpreter's own modules
and never waits for a connection: each of them is read and written only as far as that goes at once. Questions are answered from
this thread, whatever the others are doing, as long as it gets the GIL.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from aiolots import _console_path

PROTOCOL = 1
LONGEST = 4096  # bytes of a question
MOST = 16  # connections at a time
PATIENCE = 3.0  # seconds for a connection to ask, and to take the answer
TICK = 0.5  # seconds between two calls of `tick`

Answer = Callable[[dict[str, Any]], dict[str, Any]]


class _Connection:
    """One client: what it has sent so far, what it is still to be sent, and until when."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self.read = bytearray()
        self.unsent: memoryview | None = None  # None: it has not asked yet
        self.end = time.monotonic() + PATIENCE

    def say(self, answer: dict[str, Any]) -> None:
        try:
            text = json.dumps({"aiolots": PROTOCOL, **answer}, default=str)
        except BaseException as error:  # noqa: BLE001  # of what a user's str() does, and what is no JSON at all
            text = json.dumps({"aiolots": PROTOCOL, "error": _text_of(error)})
        self.unsent = memoryview(text.encode() + b"\n")
        self.end = time.monotonic() + PATIENCE

    def refuse(self, why: str) -> None:
        self.say({"error": why})


class Server:
    """Serves one socket from one daemon thread, until it is closed."""

    def __init__(self, path: Path, answer: Answer, tick: Callable[[], object]) -> None:
        self.path = path
        self._answer = answer
        self._tick = tick
        self._connections: dict[int, _Connection] = {}
        self._listener = _listen(path)
        self._bell, self._ringer = socket.socketpair()
        self._ended = False
        self._process = os.getpid()
        self._thread = threading.Thread(target=self._run, name="aiolots-console", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving, and remove the socket. Does nothing the second time. Never waits: an answer may be cut off."""
        if self._ended or self._process != os.getpid():  # forked before anybody could tell it to forget
            return
        self._ended = True
        with contextlib.suppress(OSError):
            self.path.unlink()
        with contextlib.suppress(OSError):
            self._ringer.send(b"x")

    def forget(self) -> None:
        """In a forked child: the sockets are the parent's, and there is no thread to serve them."""
        self._ended = True
        for kept in (self._listener, self._bell, self._ringer, *(c.socket for c in self._connections.values())):
            with contextlib.suppress(OSError):
                kept.close()
        self._connections.clear()

    # --- the thread ---------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        next_tick = 0.0
        try:
            while not self._ended:
                if (now := time.monotonic()) >= next_tick:
                    next_tick = now + TICK
                    with contextlib.suppress(Exception):
                        self._tick()
                self._step(max(0.0, next_tick - time.monotonic()))
        finally:
            for kept in (self._listener, self._bell, self._ringer, *(c.socket for c in self._connections.values())):
                kept.close()

    def _step(self, seconds: float) -> None:
        """Wait until some socket is ready, and do what can be done without waiting."""
        poll = select.poll()  # not select(), which knows no descriptor above 1023
        poll.register(self._bell, select.POLLIN)
        poll.register(self._listener, select.POLLIN)
        for number, connection in self._connections.items():
            poll.register(number, select.POLLIN if connection.unsent is None else select.POLLOUT)
        ready = poll.poll(int(seconds * 1000) + 1)
        for number, _ in ready:
            if number == self._listener.fileno():
                self._accept()
            elif number in self._connections:
                self._serve(self._connections[number])
        now = time.monotonic()
        for connection in [c for c in self._connections.values() if c.end <= now]:
            self._drop(connection)

    def _accept(self) -> None:
        try:
            connected, _ = self._listener.accept()
        except OSError:  # it went away again, or no descriptor is left: the tick is slow enough to try again then
            time.sleep(0.01)
            return
        connected.setblocking(False)
        connection = _Connection(connected)
        self._connections[connected.fileno()] = connection
        try:
            if not _is_allowed(connected):
                self._drop(connection)
            elif len(self._connections) > MOST:
                connection.refuse("too many connections")
        except Exception:  # noqa: BLE001  # the system does not say who it is
            self._drop(connection)

    def _serve(self, connection: _Connection) -> None:
        try:
            if connection.unsent is None:
                self._read(connection)
            if connection.unsent is not None:
                sent = connection.socket.send(connection.unsent)
                connection.unsent = connection.unsent[sent:]
                if not connection.unsent:
                    self._drop(connection)
        except (BlockingIOError, InterruptedError):
            pass
        except Exception:  # noqa: BLE001  # whatever it is, it ends this connection and no other
            self._drop(connection)

    def _read(self, connection: _Connection) -> None:
        got = connection.socket.recv(LONGEST + 1)
        if not got:
            self._drop(connection)
            return
        connection.read += got
        line, end, _ = connection.read.partition(b"\n")
        if end and len(line) <= LONGEST:
            connection.say(self._answered(bytes(line)))
        elif len(connection.read) > LONGEST:
            connection.refuse(f"a question has at most {LONGEST} bytes")

    def _answered(self, line: bytes) -> dict[str, Any]:
        try:
            found: object = json.loads(line)
        except (ValueError, RecursionError):
            return {"error": "a question is one JSON object on one line"}
        question = cast("dict[str, Any]", found) if isinstance(found, dict) else dict[str, Any]()
        if question.get("aiolots") != PROTOCOL:
            return {"error": f'a question is {{"aiolots": {PROTOCOL}, "command": ...}}: this process knows no other version'}
        try:
            return self._answer(question)
        except BaseException as error:  # noqa: BLE001  # of a user's repr: this thread goes on
            return {"error": _text_of(error)}

    def _drop(self, connection: _Connection) -> None:
        self._connections.pop(connection.socket.fileno(), None)
        connection.socket.close()


def _text_of(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except BaseException:  # noqa: BLE001  # of its own str()
        return type(error).__name__


def _listen(path: Path) -> socket.socket:
    """Bind the path, which appears only with mode 0600. OSError if another process serves it, or it is no socket."""
    listener = socket.socket(socket.AF_UNIX)
    ours = path.with_name(f"{path.name}.{os.getpid()}")  # its owner alone may get at it, by the time it has its name
    try:
        with contextlib.suppress(OSError):
            os.fchmod(listener.fileno(), 0o600)  # what Linux gives the file; elsewhere it has no meaning
        ours.unlink(missing_ok=True)
        listener.bind(str(ours))
        try:
            ours.chmod(0o600)
            if _console_path.is_stale(path):
                path.unlink(missing_ok=True)
            os.link(ours, path)  # not rename, which would take the place of a socket that is served
        finally:
            ours.unlink(missing_ok=True)
        listener.listen(MOST)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def _is_allowed(connected: socket.socket) -> bool:
    """Whether this user has connected, or root, as far as the system can say. The file's mode says it too."""
    uid = uid_of(connected)
    return uid is None or uid in (os.geteuid(), 0)


def uid_of(connected: socket.socket) -> int | None:
    """Return the user at the other end of a connection; None if the system does not say."""
    if hasattr(socket, "SO_PEERCRED"):
        found = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return int(struct.unpack("3i", found)[1])
    if sys.platform == "darwin" or "bsd" in sys.platform:  # LOCAL_PEERCRED of SOL_LOCAL gives a struct xucred
        with contextlib.suppress(OSError):
            return int(struct.unpack("2I", connected.getsockopt(0, 1, 8)[:8])[1])
    return None
