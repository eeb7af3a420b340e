"""One run: start everything, let it work, end everything, and say what was wrong.

Everything that is started goes onto one ExitStack the moment before it starts, so an error or a Ctrl-C at any point
takes down exactly what is up, in the opposite order. Threads and loops:

    main         the clients and the progress display, on a loop; the ends of the run without one
    proxy-N      a loop and a proxy each, and a worker thread that reads the file for it
    backends     a loop with all the backends
    updater-N    no loop
    (process)    the change writer, which knows only the file

The clients, the proxies and the updaters meet at one lock.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

from aiolots import RwLock, lowlevel
from aiolots._word import decode
from aiolots.demo.backends import backend_names, serve_backends
from aiolots.demo.catalog import Catalog
from aiolots.demo.display import Display, Moment, display_for
from aiolots.demo.errors import DemoError
from aiolots.demo.limits import allow_open_files
from aiolots.demo.load import Load
from aiolots.demo.loop_thread import LoopFactory, LoopThread
from aiolots.demo.options import DemoOptions
from aiolots.demo.proxy import Proxy, serve_proxy
from aiolots.demo.store import Snapshot, Store, plain_hosts
from aiolots.demo.summary import Summary, percentile
from aiolots.demo.troubles import collected_troubles
from aiolots.demo.updater import Tail, Updater
from aiolots.demo.writer_process import WriterProcess, Written

START_SECONDS = 20.0
STOP_SECONDS = 20.0
CATCH_UP_SECONDS = 30.0


def run_demo(options: DemoOptions) -> Summary:
    """Run the demo and return what came of it. Raises DemoError when the surroundings do not allow it."""
    allow_open_files(options.clients)
    loop_factory, loop_name = loop_factory_for(uvloop=options.uvloop)
    with collected_troubles() as troubles:
        run = _Run(options, loop_factory)
        with ExitStack() as stack:
            run.run(stack)
        # Everything is down now: no late request can blur the numbers, and nobody is left who may hold the lock.
        summary = run.summary(loop_name)
    summary.problems.extend(troubles)
    return summary


@contextmanager
def database(options: DemoOptions) -> Generator[Path]:
    """Yield the file to work on, checked. A file that nobody named is temporary."""
    names = backend_names(options.backends)
    with ExitStack() as stack:
        path = options.database
        if path is None:
            path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aiolots-demo-"))) / "routes.sqlite"
        if options.database is None or (options.create and not path.exists()):
            hosts = plain_hosts(options.hosts)
            Store.create(path, {host: names[number % len(names)] for number, host in enumerate(hosts)}, {})
        elif not path.exists():
            raise DemoError(f"there is no database at {path}; add --create to make one")
        with Store.open(path) as store:
            store.check()
            used = store.backend_names()
        if not used:
            raise DemoError(f"{path} has no routes")
        strangers = sorted(used - set(names))
        if strangers:
            raise DemoError(f"{path} names backends that the demo does not start: {', '.join(strangers[:5])}")
        yield path


def loop_factory_for(*, uvloop: bool) -> tuple[LoopFactory, str]:
    """Return what makes the event loops, and its name. Raises DemoError when uvloop is wanted and missing."""
    if not uvloop:
        return asyncio.new_event_loop, "asyncio"
    try:
        import uvloop as module
    except ModuleNotFoundError:
        raise DemoError("--uvloop needs uvloop: python -m pip install 'aiolots[demo]'") from None
    return module.new_event_loop, "uvloop"


class _Stoppable(Protocol):
    name: str

    def stop(self, timeout: float) -> bool: ...


class _Run:
    """The parts of one run."""

    def __init__(self, options: DemoOptions, loop_factory: LoopFactory) -> None:
        self._options = options
        self._loop_factory = loop_factory
        self._problems: list[str] = []
        self._revoked_before = lowlevel.revocations()
        self._proxies: list[Proxy] = []
        self._updaters: list[Updater] = []

    def run(self, stack: ExitStack) -> None:
        """Start everything on `stack`, put the load on it, and compare the file with the catalog at the end."""
        options = self._options
        path = stack.enter_context(database(options))
        backends = LoopThread("backends", lambda: serve_backends(backend_names(options.backends)), self._loop_factory)
        stack.callback(self._end, backends)
        urls = backends.start(START_SECONDS)
        with Store.open(path) as store:
            store.register_backends(urls.items())
            self._before = store.snapshot()
        self._lock = RwLock(Catalog(self._before.routes, version=self._before.version, keep_history=True), name="catalog")
        for number in range(options.loops):
            self._start_proxy(number, path, stack)
        display = stack.enter_context(display_for(json=options.json))
        for number in range(options.updaters):
            self._start_updater(number, path, display, stack)
        ports = [proxy.port for proxy in self._proxies]
        display.headline(f"routes in {path}: edit them as you like, while this runs")
        display.headline("proxies at " + " and ".join(f"http://127.0.0.1:{port}" for port in ports))
        writer = None
        if options.changes_per_second > 0:
            writer = stack.enter_context(WriterProcess(path, options.changes_per_second, options.seed))
            writer.wait_until_ready()
        hosts = sorted(self._before.routes)
        self._load = Load(self._lock, hosts, ports, hang_ups=options.hang_ups, seed=options.seed)
        began = time.monotonic()
        with asyncio.Runner(loop_factory=self._loop_factory) as runner:
            runner.run(self._load_and_show(display))
        self._lasted = time.monotonic() - began
        self._compare(path, None if writer is None else writer.finish())

    def summary(self, loop_name: str) -> Summary:
        """Return what came of it, when everything is down."""
        options, load = self._options, self._load
        latencies = sorted(load.latencies)
        counters = [proxy.counters for proxy in self._proxies]
        problems = list(self._problems)
        if load.wrong:
            problems += load.wrong_texts
            if load.wrong > len(load.wrong_texts):
                problems.append(f"and {load.wrong - len(load.wrong_texts)} more wrong responses")
        if not latencies:
            problems.append("not one request was answered")
        torn = sum(counter.torn for counter in counters)
        if torn:
            problems.append(f"the catalog changed during {torn} look-ups that held a read guard")
        problems += [problem for updater in self._updaters for problem in updater.problems]
        word = self._lock.word
        if word != 0:
            problems.append(f"everybody has left, but the lock is not free: {word:#x}, {decode(word)}")
        return Summary(
            seconds=self._lasted,
            event_loop=loop_name,
            clients=options.clients,
            hosts=len(self._before.routes),
            proxies=len(self._proxies),
            updaters=len(self._updaters),
            requests=len(latencies),
            requests_per_second=len(latencies) / self._lasted,
            p50=percentile(latencies, 0.50),
            p99=percentile(latencies, 0.99),
            longest_request=latencies[-1] if latencies else 0.0,
            hang_ups=load.hung_up,
            wrong_responses=load.wrong,
            changes_logged=self._logged,
            changes_applied=self._applied(),
            write_timeouts=sum(updater.timeouts for updater in self._updaters),
            longest_writer_wait=max(updater.longest_wait for updater in self._updaters),
            most_readers=max(counter.most_readers for counter in counters),
            longest_reader_wait=max(counter.longest_read_wait for counter in counters),
            revoked_wakes=lowlevel.revocations() - self._revoked_before,
            lock_word=word,
            lock=str(decode(word)),
            problems=problems,
            timeouts=[timeout for updater in self._updaters for timeout in updater.recent_timeouts],
        )

    def _start_proxy(self, number: int, path: Path, stack: ExitStack) -> None:
        name = f"proxy-{number}"
        port = self._options.port if number == 0 else 0
        thread = LoopThread(name, lambda: serve_proxy(self._lock, path, name=name, port=port), self._loop_factory)
        stack.callback(self._end, thread)
        self._proxies.append(thread.start(START_SECONDS))

    def _start_updater(self, number: int, path: Path, display: Display, stack: ExitStack) -> None:
        options = self._options
        updater = Updater(
            self._lock,
            path,
            version=self._before.version,
            share=number,
            shares=options.updaters,
            tail=Tail(write_timeout=options.write_timeout, patience=options.patience),
            on_timeout=display.note_timeout,
        )
        stack.callback(self._end, updater)
        self._updaters.append(updater)
        updater.start()

    def _end(self, thread: _Stoppable) -> None:
        if not thread.stop(STOP_SECONDS):
            self._problems.append(f"thread {thread.name} did not end within {STOP_SECONDS:g} s")

    def _applied(self) -> int:
        return sum(updater.applied for updater in self._updaters)

    async def _load_and_show(self, display: Display) -> None:
        options = self._options
        showing = asyncio.create_task(self._show(display))
        try:
            await self._load.run(options.clients, options.seconds)
        finally:
            showing.cancel()
            await asyncio.wait([showing])
        if not showing.cancelled():
            showing.result()

    async def _show(self, display: Display) -> None:
        load, began = self._load, time.monotonic()
        seen, seen_at = 0, began
        while True:
            await asyncio.sleep(display.interval)
            now = time.monotonic()
            fresh = sorted(load.latencies[seen:])
            moment = Moment(
                elapsed=now - began,
                of=self._options.seconds,
                requests=len(load.latencies),
                rate=len(fresh) / (now - seen_at),
                p50=percentile(fresh, 0.50),
                p99=percentile(fresh, 0.99),
                wrong=load.wrong,
                changes=self._applied(),
                timeouts=sum(updater.timeouts for updater in self._updaters),
                longest_wait=max(updater.longest_wait for updater in self._updaters),
                readers=self._lock.reader_count(),
                most_readers=max(proxy.counters.most_readers for proxy in self._proxies),
                lock=repr(self._lock),
            )
            seen, seen_at = len(load.latencies), now
            display.show(moment)

    def _compare(self, path: Path, written: Written | None) -> None:
        """Wait until the updaters have seen all that is in the file, and note every difference that is left."""
        with Store.open(path) as store:
            snapshot, routes = self._at_rest(store)
        self._logged = snapshot.version - self._before.version
        differing = sorted(
            host for host in snapshot.routes.keys() | routes.keys() if snapshot.routes.get(host) != routes.get(host)
        )
        if differing:
            host = differing[0]
            self._problems.append(
                f"{len(differing)} hosts differ in the end: {host} is at {snapshot.routes.get(host)} in the file, "
                f"at {routes.get(host)} in the catalog"
            )
        if self._applied() != self._logged and not any(updater.resyncs for updater in self._updaters):
            self._problems.append(f"{self._logged} changes were logged, but {self._applied()} applied")
        if written is None:
            return
        if written.changes > self._logged:
            self._problems.append(f"the writer made {written.changes} changes, but only {self._logged} were logged")
        if written.changes == self._logged:
            # Nobody else edited the file, so the writer's last word on a host is the last word.
            lost = sorted(host for host, backend in written.final.items() if routes.get(host) != backend)
            if lost:
                self._problems.append(f"the writer's last change to {lost[0]} and {len(lost) - 1} others was lost")

    def _at_rest(self, store: Store) -> tuple[Snapshot, dict[str, str]]:
        """Return the file and the catalog from one moment, both as of the same change."""
        deadline = time.monotonic() + CATCH_UP_SECONDS
        while True:
            late = time.monotonic() > deadline or not all(updater.is_alive() for updater in self._updaters)
            if late or all(updater.position >= store.last_change() for updater in self._updaters):
                snapshot = store.snapshot()
                with self._lock.read() as guard:
                    routes = guard.value.plain_routes()
                # Somebody else may be editing the file right now: then look again.
                if late or snapshot.version == store.last_change() == min(u.position for u in self._updaters):
                    if late:
                        self._problems.append(f"the updaters died, or did not catch up within {CATCH_UP_SECONDS:g} s")
                    return snapshot, routes
            time.sleep(0.01)
