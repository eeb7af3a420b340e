"""The pytest plugin of aiolots: a test that leaves a lock held, deadlocks, hangs, blocks an event loop, or takes locks in
both orders, fails with a report of who, where and what.

It is loaded in every run of pytest, so it imports nothing of aiolots before a test has, or an option asks for it.
docs/pytest.md has the options.
"""

from __future__ import annotations

import pytest

from pytest_aiolots import settings
from pytest_aiolots.settings import AiolotsWarning

__all__ = ["AiolotsWarning"]

_MARK = (
    "aiolots(timeout=None, deadlock=None, held=None, loop_block=None, order=None): what is to become of the test if its locks "
    'are in trouble: "error", "warn" or "off"; timeout in seconds, 0: none.'
)
_IS_NEW_ENOUGH = pytest.version_tuple >= (8, 0)  # an older one has other wrappers of hooks: it is left alone


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    settings.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Read them, and be there for the tests."""
    config.addinivalue_line("markers", _MARK)
    if _IS_NEW_ENOUGH:
        from pytest_aiolots.hooks import Hooks

        config.pluginmanager.register(Hooks(config), "pytest_aiolots_tests")
