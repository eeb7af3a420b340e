"""What the demo can tell its user instead of a traceback."""

from __future__ import annotations


class DemoError(Exception):
    """The surroundings do not allow the demo to run: exit status 2, and the message is all that is printed."""


class StoreError(DemoError):
    """The database is missing, is not a database, or is not one of ours."""
