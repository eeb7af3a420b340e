"""The explorer: the C core under every interleaving, up to a bound. `python -m tests.explorer --help`."""
