"""The model of the lock word (tests/model_lock_word.py) is sound, covers the table, and says what csrc says."""

from __future__ import annotations

import os
import re
import subprocess
from collections import Counter
from itertools import product
from pathlib import Path

import pytest

from tests import model_lock_word as model
from tests.model_lock_word import ACTORS, MODES, PARKED, READERS, UPGRADABLE, WRITER, WRITER_PARKED, Mode, State

pytestmark = pytest.mark.once

CSRC = Path(__file__).resolve().parent.parent / "csrc"
HEADER = (CSRC / "lock_word.h").read_text(encoding="utf-8")
MODES_C = (CSRC / "modes.c").read_text(encoding="utf-8")

# Every step of the model, so that one that can never be taken is seen: with the named functions of csrc that it stands for.
STEPS = {
    "try": "word_try",
    "enter": "enter",
    "park": "park",
    "park to drain": "park",
    "look, and hold": "lots_op_poll",
    "reader out": "word_release_fast",
    "last reader out": "release_reader",
    "wake the drainer": "admit_drainer",
    "wake nobody: it withdrew": "admit_drainer",
    "upgrade: try": "word_try",
    "upgrade: enter": "enter",
    "release": "word_release_fast",
    "release, wake": "step_down",
    "release, hand over": "step_down",
    "release U": "word_release_fast",
    "release U, wake": "step_down",
    "release U, hand over": "step_down",
    "downgrade W to R": "lots_downgrade",
    "downgrade W to R, wake": "lots_downgrade",
    "downgrade W to R, hand over": "lots_downgrade",
    "downgrade W to U": "lots_downgrade",
    "downgrade W to U, wake": "lots_downgrade",
    "downgrade W to U, hand over": "lots_downgrade",
    "downgrade U to R": "lots_downgrade",
    "downgrade U to R, wake": "lots_downgrade",
    "downgrade U to R, hand over": "lots_downgrade",
    "cancel, queued": "withdraw",
    "cancel, woken": "withdraw",
    "cancel, owns": "withdraw",
    "cancel, drains": "withdraw",
    "recall, owns": "disown",
    "recall, drains": "visit_recall",
    "revoke": "revoke",
    "nudge": "take_up",
}


@pytest.fixture(scope="module")
def found() -> tuple[dict[State, str], Counter[str]]:
    return model.search()


def rows() -> list[tuple[str, ...]]:
    """Return the header's table of legal states: P, W_P, U, W, readers."""
    found = re.findall(r"^ \*   ([01p])  ([01])  ([01]) ([01])   (0|n > 0|n) ", HEADER, re.MULTILINE)
    assert len(found) == HEADER.split("legal states\n")[1].split("\n *\n")[0].count("\n") + 1, "a row is not understood"
    return found


def in_table(word: int) -> bool:
    bits = [f"{bool(word & bit):d}" for bit in (PARKED, WRITER_PARKED, UPGRADABLE, WRITER)]
    readers = {"0": word >> 4 == 0, "n": True, "n > 0": word >> 4 > 0}
    return any(row[0] in ("p", bits[0]) and list(row[1:4]) == bits[1:] and readers[row[4]] for row in rows())


def actors_for(word: int) -> int:
    """Return how many it takes, at least, to bring a legal word about."""
    somebody_leaves = word & WRITER_PARKED and not word & READERS
    another_queues = word & PARKED and not word & UPGRADABLE  # the upgradable one itself may be queued, for its upgrade
    return (word >> 4) + bool(another_queues) + bool(word & WRITER) + bool(somebody_leaves)


def test_no_invariant_breaks_in_any_state(found: tuple[dict[State, str], Counter[str]]) -> None:
    assert [(why, state) for state, why in found[0].items() if why] == []
    assert len(found[0]) > 1000


def test_no_step_is_dead_and_each_stands_for_a_function_of_the_core(found: tuple[dict[State, str], Counter[str]]) -> None:
    assert set(found[1]) == set(STEPS)
    core = "\n".join(path.read_text(encoding="utf-8") for path in [*CSRC.glob("*.c"), *CSRC.glob("*.h")])
    for name in STEPS.values():
        assert re.search(rf"^[\w ].*\b{name}\([^;]*\)\n\{{", core, re.MULTILINE), f"csrc has no function {name}"


def test_exactly_the_words_of_the_table_are_reachable(found: tuple[dict[State, str], Counter[str]]) -> None:
    legal = {word for word in range((ACTORS + 1) << 4) if in_table(word) and actors_for(word) <= ACTORS}
    assert {state.word for state in found[0]} == legal


def test_from_every_state_the_lock_becomes_free(found: tuple[dict[State, str], Counter[str]]) -> None:
    """Walked backwards from the free lock, every state is met: none is a trap."""
    before: dict[State, list[State]] = {}
    for state in found[0]:
        for _, after in model.steps(state):
            before.setdefault(after, []).append(state)
    met, todo = {State()}, [State()]
    while todo:
        for state in before.get(todo.pop(), []):
            if state not in met:
                met.add(state)
                todo.append(state)
    assert met == set(found[0])


@pytest.mark.parametrize(
    ("state", "why"),
    [
        (State(word=(1 << 64) - 1), "W1"),
        (State(word=16, readers=1, queue=("W",)), "W2"),
        (State(word=8), "W3"),
        (State(word=4, upgradable=True), "W1"),
        (State(word=28, writer="owns", upgradable=True), "W3"),
        (State(word=20, readers=1), "W3"),
        (State(word=21, upgradable=True, queue=("W", "R")), "W5"),
        (State(word=24, upgradable=True, writer="holds"), "exclusion"),
        (State(word=1, queue=("R",)), "W5"),
        (State(word=10, writer="drains"), "W5"),
        (State(word=24, readers=1, writer="holds"), "exclusion"),
    ],
)
def test_the_checks_bite(state: State, why: str) -> None:
    assert model.fault(state) == why


# --- the model says what csrc says ------------------------------------------------------------------------------------


def test_bits_are_those_of_the_header() -> None:
    defined = {name: int(value) for name, value in re.findall(r"#define (\w+) \(\(uint64_t\)(\d+)\)", HEADER)}
    assert {name: getattr(model, name) for name in defined} == defined
    below = re.search(r"#define READERS \(~\(uint64_t\)(\d+)\)", HEADER)
    assert below is not None
    assert ~int(below[1]) == READERS


def test_modes_are_those_of_the_core() -> None:
    names = {"LOTS_READ": "R", "LOTS_READ_RECURSIVE": "r", "LOTS_WRITE": "W", "LOTS_UPGRADABLE": "U", "LOTS_UPGRADE": "G"}
    rows = {name: dict(re.findall(r"\.(\w+) = ([^,}]+)", text)) for name, text in re.findall(r"\[(\w+)\] = \{(.+?)\}", MODES_C)}
    bits = {name: getattr(model, name) for name in ("PARKED", "WRITER_PARKED", "UPGRADABLE", "WRITER", "ONE_READER", "READERS")}

    def value(text: str) -> int:
        total = 0
        for name in text.split(" | "):
            total |= bits[name] if name in bits else int(name)
        return total

    core = {name: Mode(*(value(row.get(field, "0")) for field in Mode._fields)) for name, row in rows.items() if name in names}
    assert {names[name]: row for name, row in core.items()} == MODES
    # Only mutexes are left out, writers on words that never have readers; and what asks no word at all.
    assert set(rows) - set(names) == {"LOTS_MUTEX", "LOTS_FAIR_MUTEX", "LOTS_PARK"}


def test_functions_of_the_word_answer_as_the_header_s_do(tmp_path: Path) -> None:
    """The header itself is compiled and asked, for every word of up to 7 readers in every mode (but what nobody gives up)."""
    program = tmp_path / "ask.c"
    program.write_text(
        '#include "lock_word.h"\n#include <stdio.h>\n'
        "int main(void) { static const int modes[] = {LOTS_READ, LOTS_READ_RECURSIVE, LOTS_WRITE,\n"
        "LOTS_UPGRADABLE, LOTS_UPGRADE};\n"
        "for (uint64_t w = 0; w < 128; w++) for (int m = 0; m < (w < 16 ? 1 : 5); m++) {\n"
        "const lots_mode *mode = &lots_modes[modes[m]]; printf(\"%d %d %d %d %d\\n\", word_may_enter(w, mode) != 0,\n"
        "(int)word_entered(w, mode), word_is_free(w, mode) != 0, word_is_held(w, mode) != 0, word_is_impossible(w) != 0); } }\n"
    )
    cc = os.environ.get("CC", "cc")
    command: list[str | Path] = [*cc.split(), "-std=gnu11", f"-I{CSRC}", "-o", tmp_path / "ask", program, CSRC / "modes.c"]
    subprocess.run(command, check=True)
    answers = subprocess.run([tmp_path / "ask"], capture_output=True, text=True, check=True).stdout.splitlines()
    words = [*product(range(16), [MODES["R"]]), *product(range(16, 128), MODES.values())]
    for (w, mode), answer in zip(words, answers, strict=True):
        asked = (model.word_may_enter, model.word_entered, model.word_is_free, model.word_is_held)
        says = [f"{function(w, mode):d}" for function in asked] + [f"{model.word_is_impossible(w):d}"]
        assert answer == " ".join(says), f"{w:#x} {mode}"


def test_every_function_of_a_word_is_in_the_model_or_written_out_there() -> None:
    named = {name for name in dir(model) if name.startswith("word_")}
    written_out = {"word_reader_left", "word_without", "word_with_parked", "word_has_readers", "word_drained", "word_is_open"}
    assert set(re.findall(r"^static inline \w+ (word_\w+)\(uint64_t w\b", HEADER, re.MULTILINE)) == named | written_out
