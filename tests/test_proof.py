"""The driver of the proof: its table and its exit status, without running the layers themselves."""

from __future__ import annotations

import time

import pytest

from tests.proof import __main__ as proof
from tests.proof.layers import SLICES, Command, Layer

pytestmark = pytest.mark.once


def python(code: str) -> Command:
    return ("-c", code)


def run(*layers: Layer) -> tuple[int, list[str]]:
    told: list[str] = []
    status = proof.prove(layers, told.append)
    return status, "\n".join(told).splitlines()


def rows(lines: list[str]) -> list[str]:
    """Return the table, without its head and its closing line."""
    return lines[lines.index("") + 2 : -1]


GOOD = Layer("good", (python("print('12 found'); print('bye')"),), 30, r"\d+ found")
BAD = Layer("bad", (python("import sys; print('3 found'); sys.exit('it broke')"),), 30, r"\d+ found")


def test_all_layers_good() -> None:
    status, lines = run(GOOD, GOOD)
    assert status == 0
    assert len(rows(lines)) == 2
    assert all(row.split()[-4:] == ["12", "found", "0", "ok"] for row in rows(lines))
    assert lines[-1].startswith("layers 1 failed 0 seconds ")


def test_one_that_fails_fails_all_but_stops_no_other() -> None:
    status, lines = run(BAD, GOOD)
    assert status == 1
    assert rows(lines)[0].endswith("FAILED")
    assert "3 found" in rows(lines)[0]
    assert rows(lines)[1].endswith("ok")
    assert "   it broke" in lines
    assert lines[-1].startswith("layers 2 failed 1 ")


def test_a_module_that_is_not_there_fails_with_its_message() -> None:
    status, lines = run(Layer("gone", (("-m", "tests.no_such_module"),), 30, "never said"))
    assert status == 1
    assert "No module named tests.no_such_module" in rows(lines)[0]


def test_the_commands_of_a_layer_end_with_the_first_that_fails() -> None:
    layer = Layer("two", (*BAD.commands, *GOOD.commands), 30)
    assert [row.ok for row in proof.run_layer(layer, lambda line: None)] == [False]


def test_a_layer_that_takes_too_long_is_stopped_with_what_it_started() -> None:
    child = "import subprocess as s, sys; print('1 found', flush=True); s.Popen(['cat'], stdin=s.PIPE).wait()"
    began = time.monotonic()
    status, lines = run(Layer("slow", (python(child),), 2, r"\d+ found"))
    assert status == 1
    assert "not done in 2 s 1 found" in rows(lines)[0]
    assert time.monotonic() - began < 60


def test_a_variable_in_front_is_the_environment() -> None:
    layer = Layer("fuzz", (("AIOLOTS_X=long", *python("import os; print(os.environ['AIOLOTS_X'])")),), 30)
    (row,) = proof.run_layer(layer, lambda line: None)
    assert (row.ok, row.figure) == (True, "long")
    assert row.command.startswith("AIOLOTS_X=long python -c ")


def test_nothing_proved_is_no_proof() -> None:
    assert run()[0] == 1


@pytest.mark.parametrize(("which", "most"), [("full", 1800), ("ci", 600)])
def test_the_layers_fit_into_their_time(which: str, most: int) -> None:
    assert sum(layer.seconds for layer in SLICES[which](1)) < most


def test_the_slice_runs_layers_of_the_whole() -> None:
    names = [layer.name for layer in SLICES["full"](1)]
    assert len(set(names)) == len(names)
    assert {layer.name for layer in SLICES["ci"](1)} < set(names)


def test_the_seed_is_shown_and_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert proof.main(["--list", "--seed", "4711", "--only", "random modes", "--only", "mutants"]) == 0
    printed = capsys.readouterr().out
    assert "--seed 4711 --pct 3" in printed
    assert "--seed 4712" in printed
    assert "mutants" in printed
    assert "corpus" not in printed


def test_an_unknown_layer_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        proof.main(["--only", "nothing"])
    assert "no layer nothing" in capsys.readouterr().err
