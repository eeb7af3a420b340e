"""The conformance kit: sound locks pass, locks with a known fault fail where it shows, what is not offered is n/a."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from aiolots.testing import conformance, scoreboard
from aiolots.testing.adapters import SHIPPED
from aiolots.testing.conformance import TITLES, Offer, Outcome, load, play, variants_of
from tests import toy_locks

pytestmark = [pytest.mark.once, pytest.mark.slow, pytest.mark.timeout(300)]

NA, PASS, HANG, FAIL = Outcome.NOT_APPLICABLE, Outcome.PASS, Outcome.HANG, Outcome.FAIL
EAGER = {"R42"} if sys.version_info >= (3, 12) else set[str]()
SHARED = {"R01", "R02", "R03", "R04", "R28", "R39"}  # need readers

# What the locks pass that are always here. Whether threading.Lock starves in R25 depends on the machine; so does, by how
# many times, what one cancellation among 10,000 costs asyncio.Lock in R41.
EXPECTED: dict[str, tuple[set[str], set[str]]] = {
    "aiolots.RwLock": (set(TITLES) - {"R42"} | EAGER, set()),
    "aiolots.Mutex": (set(TITLES) - SHARED - {"R42"} | EAGER, set()),
    "threading.Lock": ({"R05", "R07", "R27", "R36", "R38", "R40"}, {"R25"}),
    "asyncio.Lock": ({"R06", "R07", "R08", "R12", "R14", "R27"} | EAGER, {"R41"}),
}

# A fault, and what of it shows in which scenario.
FAULTS = [
    (toy_locks.Sound, {"R06": PASS, "R07": PASS, "R08": PASS, "R12": PASS, "R14": PASS, "R26": NA, "R28": NA}),
    (toy_locks.Polite, {"R06": HANG, "R07": PASS, "R12": PASS}),
    (toy_locks.Losing, {"R06": HANG, "R07": HANG, "R12": PASS}),  # R06 in every order: so also granted, then cancelled
    (toy_locks.Generous, {"R08": FAIL, "R12": PASS}),
    (toy_locks.Boastful, {"R26": HANG}),
    (toy_locks.Forgetful, {"R02": HANG, "R03": HANG, "R04": HANG, "R25": PASS, "R27": PASS, "R28": PASS}),
    (toy_locks.Open, {"R05": HANG, "R07": FAIL, "R27": FAIL}),
    (toy_locks.Crashing, {"R25": FAIL}),
]


def spec_of(toy: type[conformance.Adapter]) -> str:
    return f"{toy.__module__}:{toy.__name__}"


def outcomes(spec: str, scenarios: list[str]) -> dict[str, tuple[Outcome, str]]:
    with ThreadPoolExecutor(2) as pool:
        results = pool.map(lambda scenario: play(spec, scenario), scenarios)
        return {result.scenario: (result.outcome, result.reason) for result in results}


@pytest.mark.parametrize("lock", EXPECTED)
def test_locks_that_are_always_here(lock: str) -> None:
    passes, either = EXPECTED[lock]
    found = outcomes(SHIPPED[lock], list(TITLES))
    unexpected = {
        scenario: answer
        for scenario, answer in found.items()
        if answer[0] is not (PASS if scenario in passes else NA) and scenario not in either
    }
    assert not unexpected
    assert all(found[scenario][0] in (PASS, FAIL) for scenario in either)


@pytest.mark.parametrize(("toy", "expected"), FAULTS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_fault_is_found_where_it_shows(toy: type[conformance.Adapter], expected: dict[str, Outcome]) -> None:
    found = outcomes(spec_of(toy), list(expected))
    assert {scenario: answer[0] for scenario, answer in found.items()} == expected, found


def test_a_process_that_stands_still_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conformance, "LIMIT", 2.0)
    result = play(spec_of(toy_locks.Frozen), "R25")
    assert result.outcome is HANG
    assert "stood still" in result.reason


def test_what_is_not_offered_is_named() -> None:
    (result,) = conformance.check(SHIPPED["asyncio.Lock"], ["R20"])
    assert (result.outcome, result.reason) == (NA, "not offered: loops, mixed")


def test_every_title_has_a_scenario_and_every_scenario_a_title() -> None:
    assert all(variants_of(scenario) for scenario in TITLES)
    assert {variant.scenario for variant in conformance.VARIANTS} == set(TITLES)
    names = [(variant.scenario, variant.name) for variant in conformance.VARIANTS]
    assert len(names) == len(set(names))
    with pytest.raises(KeyError):
        play(SHIPPED["threading.Lock"], "R99")


def test_adapters_offer_what_they_have_words_for() -> None:
    assert len({load(spec).name for spec in SHIPPED.values()}) == len(SHIPPED)
    for name, spec in SHIPPED.items():
        adapter = load(spec)
        assert adapter.name == name
        own = type(adapter)
        assert (Offer.THREAD in own.offers) == (own.acquire is not conformance.Adapter.acquire)
        assert (Offer.TASK in own.offers) == (own.acquire_task is not conformance.Adapter.acquire_task)


def test_scoreboard_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    status = scoreboard.main(["--only", "threading", "--only", spec_of(toy_locks.Crashing), "--scenario", "R27"])
    printed = capsys.readouterr()
    assert status == 0, "only the locks of aiolots must pass"
    row = next(line for line in printed.out.splitlines() if line.startswith("R27"))
    assert row.split()[-2:] == ["pass", "fail"]
    assert "R27 fail: everybody at once (thread): the process died with status 3" in printed.out


def test_scoreboard_in_json_skips_who_is_not_here(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--json", "--only", "aiolots.Mutex", "--only", spec_of(toy_locks.Missing), "--scenario", "R24"]
    assert scoreboard.main(arguments) == 0
    printed = capsys.readouterr()
    assert "toy.Missing: skipped, there_is_no_such_package is not installed" in printed.err
    report = json.loads(printed.out)
    assert [(one["lock"], one["outcome"]) for one in report["results"]] == [("aiolots.Mutex", "pass")]
    assert len(report["results"][0]["variants"]) == len(variants_of("R24"))
    assert list(report["versions"]) == ["aiolots.Mutex"]


def test_scoreboard_refuses_what_it_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--only", "nobody"], ["--only", "no.such.module:Lock"], ["--scenario", "R99"]):
        with pytest.raises(SystemExit) as stop:
            scoreboard.main(arguments)
        assert stop.value.code == 2
    assert "no lock 'nobody'" in capsys.readouterr().err
