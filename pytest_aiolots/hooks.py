"""The hooks around tests. What they do is in tools.py, which is imported once there is something to do."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

from pytest_aiolots import settings
from pytest_aiolots.settings import Settings

if TYPE_CHECKING:
    from pytest_aiolots.tools import Tools


class Hooks:
    """The hooks around tests."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._session = settings.of_session(config)
        self._tools: Tools | None = None
        self._item: pytest.Item | None = None  # whose turn it is
        self._settings = self._session
        self._of_marked: dict[pytest.Item, Settings] = {}
        self._is_begun = False
        try:
            self._stderr = os.dup(2)  # before it is captured
        except OSError:
            self._stderr = -1

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Say at once what is wrong with marks."""
        for item in items:
            if item.get_closest_marker("aiolots") is not None:
                self._of_marked[item] = settings.of_test(item, self._session)

    def pytest_unconfigure(self) -> None:
        """Leave no thread and no signal handler behind."""
        if self._tools is not None:
            self._tools.end()
        if self._stderr >= 0:
            os.close(self._stderr)
            self._stderr = -1

    # --- a test ---------------------------------------------------------------------------------------------------------

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """From before its setup to after its teardown."""
        self._item, self._is_begun = item, False
        self._settings = self._of_marked.get(item, self._session)
        try:
            return (yield)
        finally:
            self._item = None
            if self._tools is not None:
                self._tools.over()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """The first phase."""
        return (yield from self._phase(item, "setup"))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """The second."""
        return (yield from self._phase(item, "call"))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """The last: when it is over, the test's own fixtures are gone."""
        return (yield from self._phase(item, "teardown"))

    def _phase(self, item: pytest.Item, phase: str) -> Generator[None, Any, Any]:
        tools = self._tools_for(item, phase)
        return (yield) if tools is None else (yield from tools.runs(phase))

    def _tools_for(self, item: pytest.Item, phase: str) -> Tools | None:
        """Return what looks at this test; None while there is nothing to look at."""
        if item is not self._item:  # a plugin that runs tests its own way
            return None
        wanted = self._settings
        if self._tools is None and wanted.wants_aiolots("aiolots" in sys.modules):
            from pytest_aiolots.tools import Tools

            self._tools = Tools(self._write, self._give_up)
        if self._tools is not None and (phase == "setup" or not self._is_begun):  # some plugins run a test again
            self._is_begun = True
            self._tools.begin(item, wanted, imported_it=phase == "teardown")
        return self._tools

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Generator[None, Any, Any]:
        """What a fixture of wider scope takes, no test has left held."""
        if fixturedef.scope == "function" or self._tools is None or not self._is_begun:
            return (yield)
        with self._tools.wide_fixture():
            return (yield)

    def pytest_enter_pdb(self) -> None:
        """It takes as long as it takes."""
        if self._tools is not None:
            self._tools.debugged()

    def pytest_exception_interact(self) -> None:
        """A test failed: with --pdb somebody looks at it now."""
        if self._config.getoption("usepdb", default=False):
            self.pytest_enter_pdb()

    # --- what is to be seen at once ---------------------------------------------------------------------------------------

    def _write(self, text: str) -> None:
        if self._stderr >= 0:
            os.write(self._stderr, text.encode(errors="backslashreplace"))

    def _give_up(self, report: str) -> None:
        """End the process: the thread that runs the tests cannot be made to go on."""
        capture: Any = self._config.pluginmanager.getplugin("capturemanager")
        captured = ("", "")
        if capture is not None:
            try:
                capture.suspend_global_capture(in_=True)
                captured = capture.read_global_capture()
            except Exception as error:  # noqa: BLE001  # it is not made for other threads
                self._write(f"what the test printed is lost: {error!r}\n")
        self._write("".join(f"{text}\n" for text in (*captured, report) if text))
        os._exit(1)
