"""A reverse proxy whose routes are a SQLite file that anybody may edit while it runs.

The parts are those of `aiolots.demo`, which has to be an installed package for `python -m aiolots demo` to work from a
wheel. This is what is left when the load, the checks and the change writer are taken away: one lock, two threads that
write, one event loop that reads.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from aiolots import RwLock
from aiolots.demo.catalog import Catalog
from aiolots.demo.errors import DemoError
from aiolots.demo.proxy import serve_proxy
from aiolots.demo.store import Store
from aiolots.demo.updater import Updater, WriteTimeout

UPDATERS = 2


async def serve(path: Path, port: int) -> None:
    """Serve until cancelled. Prints one line when it is ready, and one for each write that had to wait too long."""
    with Store.open(path) as store:
        store.check()
        snapshot = store.snapshot()
    # The one lock. Updater threads enter it with `with`, the requests of the proxy with `async with`.
    catalog = RwLock(Catalog(snapshot.routes, version=snapshot.version), name="catalog")
    with updaters(catalog, path, snapshot.version):
        async with serve_proxy(catalog, path, name="proxy", port=port) as proxy:
            print(f"{len(snapshot.routes)} routes of {path} at http://127.0.0.1:{proxy.port}", flush=True)
            await asyncio.Event().wait()


@contextmanager
def updaters(catalog: RwLock[Catalog], path: Path, version: int) -> Generator[None]:
    """Run the threads that carry every change of the file, from `version` on, into the catalog."""
    threads = [
        Updater(catalog, path, version=version, share=share, shares=UPDATERS, on_timeout=report) for share in range(UPDATERS)
    ]
    try:
        for thread in threads:
            thread.start()
        yield
    finally:
        for thread in threads:
            thread.stop(timeout=5.0)


def report(timeout: WriteTimeout) -> None:
    """Say who waited, how long, and for how many readers: contention must not look like a hang."""
    print(timeout, file=sys.stderr)


def pair(text: str) -> tuple[str, str]:
    """Return NAME=VALUE as a pair."""
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=VALUE")
    return name, value


def main() -> int:
    """Make a database, or serve one."""
    parser = argparse.ArgumentParser(prog="python -m examples.catalog_proxy", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("create", help="make a database")
    make.add_argument("database", type=Path)
    make.add_argument("--route", type=pair, action="append", default=[], metavar="HOST=BACKEND")
    make.add_argument("--backend", type=pair, action="append", default=[], metavar="NAME=URL")
    run = commands.add_parser("serve", help="run the proxy")
    run.add_argument("database", type=Path)
    run.add_argument("--port", type=int, default=8080, help="0 takes a free one (default %(default)d)")
    options = parser.parse_args()
    try:
        if options.command == "create":
            Store.create(options.database, dict(options.route), dict(options.backend))
        else:
            asyncio.run(serve(options.database, options.port))
    except DemoError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
