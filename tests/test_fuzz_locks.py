"""L7: Hypothesis against the public API. What is run, and what for, is said in tests/fuzz/__init__.py."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, Phase, settings

from tests.fuzz.machine import Machine
from tests.fuzz.surface import Surface
from tests.fuzz.toy import FAULTS, toy

FOR_LONG = os.environ.get("AIOLOTS_FUZZ") == "long"  # minutes, and other examples each time
EXAMPLES = int(os.environ.get("AIOLOTS_FUZZ_EXAMPLES", "6000" if FOR_LONG else "150"))
# Threads interleave as they like, so a failure may not come again when Hypothesis tries to make it smaller: the message
# tells all that was done. A stage that hangs costs WATCHDOG seconds each time, so shrinking is for the long run.
SETTINGS = settings(
    max_examples=EXAMPLES,
    stateful_step_count=40,
    deadline=None,
    derandomize=not FOR_LONG,
    database=None,
    print_blob=True,
    report_multiple_bugs=False,
    phases=[Phase.generate, Phase.shrink] if FOR_LONG else [Phase.generate],
    suppress_health_check=list(HealthCheck),
)


class ToyMachine(Machine):
    patience = 2.0  # seconds: some faults show in that somebody hangs


@pytest.mark.timeout(1800 if FOR_LONG else 120)
def test_locks_agree_with_the_model() -> None:
    Surface.play(SETTINGS)
    assert Surface.examples >= EXAMPLES


def test_the_machine_finds_nothing_in_a_sound_toy() -> None:
    ToyMachine.subject = toy("")
    ToyMachine.play(settings(SETTINGS, max_examples=30))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(fault: str) -> None:
    ToyMachine.subject = toy(fault)
    with pytest.raises(AssertionError, match=r"after\n"):
        ToyMachine.play(settings(SETTINGS, max_examples=150, phases=[Phase.generate], derandomize=True))
