"""The catalog proxy: the job that aiolots was written for, as a program that checks itself.

`python -m aiolots demo` runs all of it. The parts live in the package, and not beside examples/, so that the command
works from an installed wheel; examples/catalog_proxy is the same proxy as a program of one page.

    store       the SQLite file that holds the routes, and the log of changes that any process may append to
    catalog     the routes in memory, as one value behind one `RwLock`
    updater     OS threads without a loop: tail the file, change the catalog under `try_write_for`
    proxy       asyncio: looks a host up under `read()`, suspends inside the guard, forwards the request
    history     what the catalog named and when, so that every single response can be judged
    run         starts everything, ends everything, says what was wrong

Importing this package imports nothing else: the command line must be able to say that aiohttp is missing.
"""
