"""Ghost state: what the locks are there to protect, unprotected by design, and checked at every step."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field


class Ghost:
    """Who is in, as those who are in see it. The single steps are atomic under the GIL; what they make up is not.

    A writer reads `count`, lets others run, and writes it back plus one: whoever else was in meanwhile loses an update.
    """

    def __init__(self, name: str, wrong: list[str]) -> None:
        self.name = name
        self.count = 0
        self.writer: str | None = None
        self.readers: set[str] = set()
        self._wrong = wrong

    def complain(self, what: str) -> None:
        self._wrong.append(f"{self.name}: {what}")

    def read_in(self, who: str) -> int:
        self.readers.add(who)
        if (writer := self.writer) is not None:
            self.complain(f"{who} reads beside the writer {writer}")
        return self.count

    def read_out(self, who: str, seen: int) -> None:
        if (writer := self.writer) is not None:
            self.complain(f"{writer} writes beside the reader {who}")
        if self.count != seen:
            self.complain(f"the value changed from {seen} to {self.count} under the reader {who}")
        self.readers.discard(who)

    def write_in(self, who: str) -> int:
        if (writer := self.writer) is not None:
            self.complain(f"two writers: {writer} and {who}")
        if readers := sorted(self.readers):
            self.complain(f"{who} writes beside the readers {readers}")
        self.writer = who
        return self.count

    def write_out(self, who: str, seen: int) -> None:
        if self.writer != who:
            self.complain(f"two writers: {who} leaves, but {self.writer} is in")
        if readers := sorted(self.readers):
            self.complain(f"the readers {readers} entered beside the writer {who}")
        if self.count != seen:
            self.complain(f"lost update: {seen} became {self.count} under the writer {who}")
        self.count = seen + 1
        self.writer = None


@dataclass
class Worker:
    """One thread or task of a round, and what it has done. `since` and `at` are the watchdog's to read."""

    name: str
    operations: int = 0
    timeouts: int = 0
    cancellations: int = 0
    forks: int = 0
    loop_deaths: int = 0
    writes: dict[str, int] = field(default_factory=dict)
    longest: float = 0.0
    since: float = field(default_factory=time.monotonic)
    at: str = "starts"

    def begins(self, what: str) -> None:
        self.at = what
        self.since = time.monotonic()

    def entered(self) -> None:
        self.longest = max(self.longest, time.monotonic() - self.since)
        self.since = time.monotonic()

    def wrote(self, ghost: Ghost) -> None:
        self.writes[ghost.name] = self.writes.get(ghost.name, 0) + 1

    def done(self) -> None:
        self.operations += 1
        self.since = time.monotonic()


class Crew:
    """The workers of a round, and its end. A worker that fails is a violation, and ends the round."""

    def __init__(self, wrong: list[str]) -> None:
        self.wrong = wrong
        self.workers: list[Worker] = []
        self.stop = threading.Event()
        self._made = threading.Lock()

    def worker(self, name: str) -> Worker:
        worker = Worker(name)
        with self._made:
            self.workers.append(worker)
        return worker

    def failed(self, worker: Worker, error: BaseException) -> None:
        self.wrong.append(f"{worker.name} ({worker.at}) failed: {error!r}")
        self.stop.set()

    def stuck(self, patience: float) -> list[Worker]:
        """Return the workers that have got nowhere for so many seconds."""
        late = time.monotonic() - patience
        return [worker for worker in self.workers if worker.since < late and worker.at != "ended"]
