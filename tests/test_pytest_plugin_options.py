"""The options of the pytest plugin: which of them wins, what is refused, and what a run costs that does not use aiolots."""

from __future__ import annotations

import gc
import os
import signal
import threading
from typing import NoReturn

import pytest

import aiolots
from pytest_aiolots.held import Baseline
from pytest_aiolots.settings import LEVELS, Settings, of_session, of_test
from tests.lines import lines_of

pytest_plugins = ["pytester"]

LEAVES = """
import aiolots
lock = aiolots.Mutex(name="lock")

def test_leaves():
    lock.acquire()
"""


def config_of(pytester: pytest.Pytester, ini: dict[str, str], *options: str) -> pytest.Config:
    lines = [f"{name} = {value}" for name, value in ini.items()]
    pytester.makeini("\n".join(["[pytest]", "asyncio_default_fixture_loop_scope = function", *lines]))
    return pytester.parseconfig(*options)


@pytest.mark.parametrize(
    ("ini", "environment", "option", "mark", "wanted"),
    [
        ("", "", "", "", "error"),
        ("off", "", "", "", "off"),
        ("off", "warn", "", "", "warn"),
        ("off", "warn", "error", "", "error"),
        ("off", "warn", "error", "warn", "warn"),
        ("off", "", "", "error", "error"),
        ("", "off", "", "", "off"),
        ("", "", "warn", "", "warn"),
    ],
)
@pytest.mark.parametrize("name", ["deadlock", "held", "loop_block"])
def test_precedence(
    pytester: pytest.Pytester, name: str, ini: str, environment: str, option: str, mark: str, wanted: str
) -> None:
    flag = f"--aiolots-{name.replace('_', '-')}={option}"
    config = config_of(pytester, {f"aiolots_{name}": ini} if ini else {}, *([flag] if option else []))
    variables = {f"PYTEST_AIOLOTS_{name.upper()}": environment} if environment else {}
    session = of_session(config, variables)
    item = pytester.getitem(f"import pytest\n{marked(name, repr(mark)) if mark else ''}\ndef test_func(): pass")
    assert getattr(of_test(item, session), name) == wanted
    others = {other for other in ("deadlock", "held", "loop_block", "order", "timeout") if other != name}
    assert all(getattr(of_test(item, session), other) == getattr(Settings(), other) for other in others)


def marked(name: str, value: str) -> str:
    return f"@pytest.mark.aiolots({name}={value})"


@pytest.mark.parametrize(
    ("ini", "environment", "option", "mark", "wanted"),
    [
        ("", "", "", "", 0.0),
        ("3", "", "", "", 3.0),
        ("3", "4.5", "", "", 4.5),
        ("3", "4.5", "0.25", "", 0.25),
        ("3", "4.5", "0.25", "7", 7.0),
        ("3", "", "", "0", 0.0),
        ("3", "", "0", "", 0.0),
    ],
)
def test_precedence_of_timeout(
    pytester: pytest.Pytester, ini: str, environment: str, option: str, mark: str, wanted: float
) -> None:
    config = config_of(pytester, {"aiolots_timeout": ini} if ini else {}, *([f"--aiolots-timeout={option}"] if option else []))
    session = of_session(config, {"PYTEST_AIOLOTS_TIMEOUT": environment} if environment else {})
    item = pytester.getitem(f"import pytest\n{marked('timeout', mark) if mark else ''}\ndef test_func(): pass")
    assert of_test(item, session).timeout == wanted


def test_order_is_asked_for(pytester: pytest.Pytester) -> None:
    assert of_session(config_of(pytester, {}), {}).order == "off"
    assert of_session(config_of(pytester, {}, "--aiolots-order", "."), {}).order == "error"
    assert of_session(config_of(pytester, {"aiolots_order": "warn"}), {}).order == "warn"


def test_the_closest_mark_wins_for_each_option(pytester: pytest.Pytester) -> None:
    item = pytester.getitem(
        """
        import pytest
        pytestmark = [pytest.mark.aiolots(held="off", deadlock="off", timeout=3)]
        @pytest.mark.aiolots(deadlock="warn")
        class TestIt:
            @pytest.mark.aiolots(timeout=5)
            def test_func(self): pass
        """
    )
    assert of_test(item, Settings()) == Settings(deadlock="warn", held="off", timeout=5.0)


@pytest.mark.parametrize(
    ("mark", "complaint"),
    [
        ("held='maybe'", "held is one of error, warn, off, not 'maybe'"),
        ("held=True", "held is one of error, warn, off, not True"),
        ("locks='off'", "locks is none of deadlock, held, loop_block, order, timeout"),
        ("timeout='soon'", "the timeout is a number of seconds, not 'soon'"),
        ("timeout=-1", "the timeout is a number of seconds, not -1"),
        ("5", "it takes no positional arguments"),
    ],
)
def test_a_mark_that_makes_no_sense_ends_the_run(pytester: pytest.Pytester, mark: str, complaint: str) -> None:
    pytester.makepyfile(test_it=f"import pytest\n@pytest.mark.aiolots({mark})\ndef test_func(): pass")
    ended = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    assert ended.ret == pytest.ExitCode.USAGE_ERROR
    ended.stderr.fnmatch_lines([f"*the mark aiolots of test_it.py::test_func: {complaint}"])


@pytest.mark.parametrize(
    ("ini", "options", "environment", "complaint"),
    [
        ("aiolots_held = never", (), {}, "the ini option aiolots_held: held is one of error, warn, off, not 'never'"),
        ("", ("--aiolots-timeout=x",), {}, "--aiolots-timeout: the timeout is a number of seconds, not 'x'"),
        ("", (), {"PYTEST_AIOLOTS_DEADLOCK": "1"}, "the environment variable PYTEST_AIOLOTS_DEADLOCK: deadlock is one of"),
    ],
)
def test_what_makes_no_sense_is_refused(
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    ini: str,
    options: tuple[str, ...],
    environment: dict[str, str],
    complaint: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    pytester.makeini(f"[pytest]\n{ini}")
    ended = pytester.runpytest_subprocess("-p", "no:cacheprovider", *options)
    assert ended.ret == pytest.ExitCode.USAGE_ERROR
    assert complaint in ended.stderr.str()


def test_levels_do_what_they_say(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_it=LEAVES)
    for level in LEVELS:
        ended = pytester.runpytest_subprocess("-p", "no:cacheprovider", f"--aiolots-held={level}")
        ended.assert_outcomes(passed=1, errors=int(level == "error"), warnings=int(level == "warn"))
        assert ("left held" in ended.stdout.str()) == (level != "off")


def test_marks_are_known_and_options_have_help(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_it="import pytest\n@pytest.mark.aiolots(timeout=5)\ndef test_func(): pass")
    pytester.runpytest_inprocess("-p", "no:cacheprovider", "--strict-markers").assert_outcomes(passed=1)
    shown = pytester.runpytest_inprocess("--help").stdout.str()
    for option in ("deadlock", "held", "loop-block", "order", "timeout"):
        assert f"--aiolots-{option}" in shown
        assert f"aiolots_{option.replace('-', '_')} (" in shown
    assert "@pytest.mark.aiolots(timeout=None, deadlock=None" in pytester.runpytest_inprocess("--markers").stdout.str()


def test_no_plugin_where_none_is_wanted(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_it=LEAVES)
    pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:aiolots").assert_outcomes(passed=1)


def test_a_run_without_aiolots_does_not_import_it(pytester: pytest.Pytester) -> None:
    source = """
    import sys, threading

    def test_nothing_is_there():
        assert "pytest_aiolots" in sys.modules
        assert not [name for name in sys.modules if name.split(".")[0] in ("aiolots", "cffi", "_cffi_backend")]
        assert "pytest_aiolots.watch" not in sys.modules
        assert threading.active_count() == 1
    """
    pytester.makepyfile(test_it=source)
    plugins = [option for name in ("anyio", "asyncio", "hypothesispytest", "timeout") for option in ("-p", f"no:{name}")]
    pytester.runpytest_subprocess("-p", "no:cacheprovider", *plugins).assert_outcomes(passed=1)


def test_a_test_that_imports_aiolots_itself_is_looked_at(pytester: pytest.Pytester) -> None:
    source = """
    def test_imports_it():
        import aiolots
        global lock
        lock = aiolots.Mutex(name="late")
        lock.acquire()
    """
    pytester.makepyfile(test_it=source)
    ended = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    ended.assert_outcomes(passed=1, errors=1)
    assert "<aiolots.Mutex 'late' write-locked>" in ended.stdout.str()


def test_nobody_is_there_where_all_is_off(pytester: pytest.Pytester) -> None:
    """A test that forks wants to be alone."""
    source = """
    import aiolots, signal, threading, pytest

    def test_watched():
        assert [thread.name for thread in threading.enumerate()] == ["MainThread", "pytest-aiolots"]

    @pytest.mark.aiolots(deadlock="off")
    def test_alone():
        assert threading.active_count() == 1

    def test_watched_again():
        assert threading.active_count() == 2
        assert signal.getsignal(signal.SIGURG) not in (signal.SIG_DFL, signal.SIG_IGN)
    """
    pytester.makepyfile(test_it=source)
    pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:timeout").assert_outcomes(passed=3)


def test_nothing_is_left_behind_in_the_process(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_it="import aiolots\nlock = aiolots.Mutex()\ndef test_it():\n    with lock: pass")
    before = signal.getsignal(signal.SIGURG), threading.active_count()
    pytester.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)
    assert (signal.getsignal(signal.SIGURG), threading.active_count()) == before


TESTS = 1000


@pytest.mark.slow
def test_cost_of_a_suite_of_empty_tests(pytester: pytest.Pytester) -> None:
    """What the plugin adds to a thousand empty tests, against what pytest takes for them: with locks about, and without."""
    head = {
        "without": "import pytest\n",
        "with": "import pytest, aiolots\nlocks = [aiolots.Mutex(name=str(n)) for n in range(100)]\nlocks[0].acquire()\n",
    }
    took: dict[tuple[str, bool], list[float]] = {}
    for _ in range(3):
        for kind, source in head.items():
            for plugin in (True, False):
                pytester.makepyfile(test_it=source + f"@pytest.mark.parametrize('n', range({TESTS}))\ndef test_it(n): pass\n")
                before = os.times()
                ended = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-q", *([] if plugin else ["-p", "no:aiolots"]))
                after = os.times()  # of the processor: others may be busy too
                ended.assert_outcomes(passed=TESTS)
                seconds = after.children_user + after.children_system - before.children_user - before.children_system
                took.setdefault((kind, plugin), []).append(seconds)
    for kind in head:
        ratio = min(took[kind, True]) / min(took[kind, False])
        assert ratio < 1.5, (kind, took)


def test_where_the_time_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is walked through as long as nothing is held: what a test costs grows with the locks alone."""

    def look() -> None:
        assert Baseline.now().left() == []

    def walk(*_: object) -> NoReturn:
        raise AssertionError("the heap is walked through")

    for name in ("get_objects", "get_referrers", "get_referents"):
        monkeypatch.setattr(gc, name, walk)
    keep = [aiolots.Mutex() for _ in range(10)]
    few = min(lines_of(look) for _ in range(3))
    ballast = [[] for _ in range(10_000)]
    assert 0 < few <= min(lines_of(look) for _ in range(3)) < few + 100
    assert (len(keep), len(ballast)) == (10, 10_000)  # alive until now
