"""The conformance kit: sound locks pass, locks with a known fault fail where it shows, what is not offered is n/a."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from aiolots.testing import conformance, scoreboard
from aiolots.testing.adapters import SHIPPED
from aiolots.testing.conformance import TITLES, Offer, Outcome, load, play, variants_of
from tests import toy_conditions, toy_counts, toy_locks, toy_onces, toy_owners, toy_upgrades

pytestmark = [pytest.mark.once, pytest.mark.slow, pytest.mark.timeout(300)]

NA, PASS, HANG, FAIL = Outcome.NOT_APPLICABLE, Outcome.PASS, Outcome.HANG, Outcome.FAIL
EAGER = {"R42"} if sys.version_info >= (3, 12) else set[str]()
SHARED = {"R01", "R02", "R03", "R04", "R28", "R30", "R39", "U01"}  # need readers
UNOWNED = {"R13", "R22", "R29", "R31"}  # n/a where nobody knows who holds it
LEGAL = {"R32", "R33"}  # asked of every lock
UPGRADABLE = {"R16", "R17", "R18", "R19"}
CONDITION = {"R09", "R10", "R11", "R34"}
EVENT = {"E01", "E02", "E03", "E04"}
REENTRANT = {"M01", "M02", "M03"}
SEMAPHORE = {"S01", "S02"}
BARRIER = {"B01", "B02", "B03"}
ONCE = {"R43"}
LOCK = set(TITLES) - UPGRADABLE - CONDITION - EVENT - REENTRANT - SEMAPHORE - BARRIER - ONCE - {"R42"} | EAGER
MUTEX = LOCK - SHARED

# What the locks pass that are always here; and what either. Whether threading.Lock starves in R25 depends on the machine; so
# does, by how many times, what one cancellation among 10,000 costs asyncio.Lock in R41. Which of R09 and R10 a Condition passes
# depends on the version of Python.
EXPECTED: dict[str, tuple[set[str], set[str]]] = {
    "aiolots.RwLock": (LOCK | UPGRADABLE, set()),
    "aiolots.Mutex": (MUTEX, set()),
    "aiolots.FairMutex": (MUTEX, set()),
    "aiolots.ReentrantMutex": (MUTEX - {"R12", "R13", "R31"} | ({"R12"} if EAGER else set()) | REENTRANT, set()),  # see R12
    "aiolots.Condvar": (CONDITION | {"R20", "R24"}, set()),
    "aiolots.Semaphore": (MUTEX - UNOWNED | SEMAPHORE, set()),
    "aiolots.BoundedSemaphore": (MUTEX - UNOWNED | SEMAPHORE, set()),
    "aiolots.Event": (EVENT | {"R20", "R24"}, set()),
    "aiolots.Barrier": (BARRIER | {"R20"}, set()),
    "aiolots.OnceCell": (ONCE, set()),
    "threading.Lock": ({"R05", "R07", "R27", "R36", "R38", "R40"} | LEGAL, {"R25"}),
    "threading.RLock": ({"R05", "R07", "R27", "R29", "R36", "R38", "R40", "M01", "M02"} | LEGAL, {"R25"}),
    "threading.Condition": ({"R34"}, {"R09"}),
    "threading.Event": ({"E01", "E02", "E04"}, set()),
    "threading.Barrier": ({"B01", "B02"}, set()),
    "asyncio.Barrier": ({"B01", "B02", "B03"}, set()),
    "asyncio.Lock": ({"R06", "R07", "R08", "R12", "R14", "R27"} | LEGAL | EAGER, {"R41"}),
    "asyncio.Condition": ({"R11", "R34"}, {"R09", "R10"}),
    "asyncio.Event": ({"E01", "E02", "E03"}, set()),
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
    (toy_owners.Refusing, {"R29": PASS, "R30": PASS, "R31": NA, "R32": PASS, "R33": PASS}),
    (toy_owners.Patient, {"R29": HANG, "R30": HANG, "R31": NA, "R32": PASS}),
    (toy_owners.Sulking, {"R29": HANG, "R30": HANG, "R32": PASS}),
    (toy_owners.Blind, {"R31": HANG}),
    (toy_owners.BlindTask, {"R29": NA, "R31": HANG, "R32": PASS}),
    (toy_owners.Orderly, {"R29": PASS, "R32": FAIL}),
    (toy_owners.Hasty, {"R29": PASS, "R32": FAIL}),
    (toy_owners.Possessive, {"R29": NA, "R32": FAIL}),
    (toy_owners.OneThread, {"R32": FAIL}),
    (toy_owners.Locking, {"R32": PASS, "R33": HANG}),
    (toy_owners.Touchy, {"R33": FAIL}),
    (toy_conditions.SoundCondition, {"R09": PASS, "R10": PASS, "R11": PASS, "R34": PASS}),
    (toy_conditions.LosingCondition, {"R09": HANG, "R10": PASS}),
    (toy_conditions.BareCondition, {"R10": FAIL, "R11": FAIL}),
    (toy_conditions.ImpatientCondition, {"R10": FAIL, "R11": PASS}),
    (toy_conditions.RewordingCondition, {"R10": FAIL, "R11": PASS}),
    (toy_conditions.WhisperingCondition, {"R34": HANG}),
    (toy_conditions.ShoutingCondition, {"R34": FAIL}),
    (toy_conditions.NaiveCondition, {"R20": FAIL, "R24": PASS, "R34": PASS}),
    (toy_conditions.SilentCondition, {"R24": HANG}),
    (toy_conditions.NaiveEvent, {"R20": FAIL, "R24": PASS, "E01": PASS}),
    (toy_conditions.SilentEvent, {"R24": HANG}),
    (toy_upgrades.SoundUpgradable, {"R16": PASS, "R17": PASS, "R18": PASS, "R19": PASS, "U01": PASS}),
    (toy_upgrades.ForgetfulUpgradable, {"R16": HANG}),
    (toy_upgrades.LeakyUpgradable, {"R17": HANG}),
    (toy_upgrades.PoliteUpgradable, {"R18": HANG}),
    (toy_upgrades.StuckUpgradable, {"R19": HANG}),
    (toy_upgrades.LeakyDowngrade, {"U01": HANG}),
    (toy_counts.SoundSemaphore, {"S01": PASS, "S02": PASS, "R07": PASS}),
    (toy_counts.LosingSemaphore, {"S01": FAIL, "R07": HANG}),
    (toy_counts.GenerousSemaphore, {"S02": FAIL}),
    (toy_counts.SoundEvent, {"E01": PASS, "E02": PASS, "E03": PASS}),
    (toy_counts.LazyEvent, {"E01": HANG}),
    (toy_counts.DoubtingEvent, {"E02": HANG}),
    (toy_counts.BrittleEvent, {"E03": HANG}),
    (toy_counts.BoastfulEvent, {"E04": FAIL}),
    (toy_counts.SoundBarrier, {"B01": PASS, "B02": PASS}),
    (toy_counts.EarlyBarrier, {"B01": FAIL}),
    (toy_counts.OpenBarrier, {"B01": FAIL}),
    (toy_counts.LevelBarrier, {"B01": FAIL}),
    (toy_counts.CountingBarrier, {"B01": PASS, "B02": FAIL}),
    (toy_counts.SoundTaskBarrier, {"B01": PASS, "B02": PASS, "B03": PASS}),
    (toy_counts.CountingTaskBarrier, {"B01": PASS, "B02": FAIL}),
    (toy_counts.ForgetfulTaskBarrier, {"B02": HANG, "B03": HANG}),
    (toy_counts.NaiveBarrier, {"B01": PASS, "B02": PASS, "R20": FAIL}),
    (toy_onces.SoundOnce, {"R43": PASS}),
    (toy_onces.HastyOnce, {"R43": FAIL}),
    (toy_onces.StuckOnce, {"R43": HANG}),
    (toy_onces.SelfishOnce, {"R43": HANG}),
    (toy_onces.SoundTaskOnce, {"R43": PASS}),
    (toy_onces.StuckTaskOnce, {"R43": HANG}),
    (toy_onces.LosingTaskOnce, {"R43": HANG}),
    (toy_upgrades.OnlyOnce, {"M01": HANG}),
    (toy_upgrades.ByThread, {"M01": FAIL, "M02": FAIL, "M03": FAIL}),
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
    assert all(found[scenario][0] is not NA for scenario in either)


@pytest.mark.parametrize(("toy", "expected"), FAULTS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_fault_is_found_where_it_shows(toy: type[conformance.Adapter], expected: dict[str, Outcome]) -> None:
    found = outcomes(spec_of(toy), list(expected))
    assert {scenario: answer[0] for scenario, answer in found.items()} == expected, found


def test_a_once_whose_loop_is_closed() -> None:
    """This toy has more faults than that: looked at is the variant alone."""
    result = play(spec_of(toy_onces.NaiveOnce), "R43")
    assert {one.outcome for one in result.variants if "loop of the initialiser" in one.variant} == {HANG}


def test_a_process_that_stands_still_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conformance, "LIMIT", 2.0)
    result = play(spec_of(toy_locks.Frozen), "R25")
    assert result.outcome is HANG
    assert "stood still" in result.reason


def test_what_is_not_offered_is_named() -> None:
    (result,) = conformance.check(SHIPPED["asyncio.Lock"], ["R20"])
    assert (result.outcome, result.reason) == (NA, "not offered: loops, mixed")


def test_another_kind_is_named() -> None:
    (result,) = conformance.check(SHIPPED["asyncio.Event"], ["R18"])
    assert (result.outcome, result.reason) == (NA, "not of this kind: upgradable")


def test_every_title_has_a_scenario_and_every_scenario_a_title() -> None:
    assert all(variants_of(scenario) for scenario in TITLES)
    assert {variant.scenario for variant in conformance.VARIANTS} == set(TITLES)
    names = [(variant.scenario, variant.name) for variant in conformance.VARIANTS]
    assert len(names) == len(set(names))
    with pytest.raises(KeyError):
        play(SHIPPED["threading.Lock"], "R99")


WORDS = {"event": ("wait",), "once": ("once",), "barrier": ("arrive",), "condition": ("acquire", "wait")}  # else acquire alone


def test_adapters_offer_what_they_have_words_for() -> None:
    assert len({load(spec).name for spec in SHIPPED.values()}) == len(SHIPPED)
    for name, spec in SHIPPED.items():
        adapter = load(spec)
        assert adapter.name == name
        own, base = type(adapter), conformance.Adapter
        for word in WORDS.get(own.kinds[0], ("acquire",)):
            for offer, in_its_world in ((Offer.THREAD, word), (Offer.TASK, f"{word}_task")):
                has = getattr(own, in_its_world) is not getattr(base, in_its_world)
                assert (offer in own.offers) == has, (name, in_its_world)


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
