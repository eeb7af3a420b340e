"""The mutation tester itself: it finds places to be wrong at, sees who notices, and is not fooled by the same code."""

from __future__ import annotations

import pytest

from tests.mutants import __main__ as mutants
from tests.mutants.bench import Bench
from tests.mutants.operators import Mutant, blanked, mutants_of

pytestmark = pytest.mark.once

SAMPLE = """\
/* a comment: if (x == 0) */
#define SIZE 1
static int f(int a, int b)
{
    int c = a | PARKED;
    if (!a && b < 2) /* 1 */
        g("if (1)", a);
    while (a == b && c)
        ;
    return c ? a : 0;
}
"""
CHANGES = {
    (5, "term dropped", "int c = a;"),
    (5, "term dropped", "int c = PARKED;"),
    (5, "term dropped", "int c = a & PARKED;"),
    (5, "name swapped", "int c = a | WRITER_PARKED;"),
    (5, "name swapped", "int c = a | 0;"),
    (6, "condition", "if (!(!a && b < 2)) /* 1 */"),
    (6, "condition", "if (0) /* 1 */"),
    (6, "condition", "if (1) /* 1 */"),
    (6, "term dropped", "if (!a) /* 1 */"),
    (6, "term dropped", "if (b < 2) /* 1 */"),
    (6, "term dropped", "if (!a || b < 2) /* 1 */"),
    (6, "relation", "if (!a && b <= 2) /* 1 */"),
    (6, "relation", "if (!a && b > 2) /* 1 */"),
    (6, "negation", "if (a && b < 2) /* 1 */"),
    (7, "statement removed", ";"),
    (8, "condition", "while (!(a == b && c))"),
    (8, "condition", "while (0)"),
    (8, "term dropped", "while (a == b)"),
    (8, "term dropped", "while (c)"),
    (8, "term dropped", "while (a == b || c)"),
    (8, "relation", "while (a != b && c)"),
    (10, "statement removed", ";"),
    (10, "branches swapped", "return !(c) ? a : 0;"),
    (10, "constant", "return c ? a : 1;"),
}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"), check=False)


def mutant(bench: Bench, file: str, old: str, new: str) -> Mutant:
    text = bench.originals[file]
    assert text.count(old) == 1, f"csrc/{file} has changed: choose another mutant"
    return Mutant(file, 0, "by hand", old, new, text.replace(old, new))


def test_operators_find_their_places_and_no_others() -> None:
    found = [(m.line, m.operator, " ".join(m.new.split())) for m in mutants_of("a.c", SAMPLE)]
    assert sorted(found) == sorted(CHANGES)


def test_comments_strings_and_the_bug_corpus_are_left_alone() -> None:
    code = blanked('a /* b\n c */ d "e" \'f\' // g\n#define h \\\n i\nif (BUG_465 && j)\nk\n')
    assert code.split() == ["a", "d", "k"]


def test_a_mutant_that_hangs_or_breaks_the_queues_is_killed_by_the_explorer(bench: Bench) -> None:
    fate, who = bench.judge(mutant(bench, "admit.c", "        lot_unlink(b, w);\n        w->next", "        w->next"))
    assert (fate, who.partition(":")[0]) == ("killed", "explorer")


def test_what_the_explorer_cannot_see_the_c_tests_kill(bench: Bench) -> None:
    fate, who = bench.judge(mutant(bench, "unpark.c", "if (what == LOT_STOP)", "if (0)"))
    assert (fate, who) == ("killed", "C tests: test_parking_lot")


def test_the_same_code_is_no_mutant_and_what_does_not_compile_is_none(bench: Bench) -> None:
    condition = "if (!gives && !lot_queue(b, key))"
    assert bench.judge(mutant(bench, "admit.c", condition, "if (!(gives || lot_queue(b, key)))")) == ("same", "")
    assert bench.judge(mutant(bench, "admit.c", condition, "if (!gives && !lot_queue(b, key)")) == ("refused", "")
    assert bench.judge(mutant(bench, "admit.c", condition, condition + " ")) == ("same", ""), "the original is back in place"


def test_every_known_survivor_has_a_reason_of_a_kind() -> None:
    for name, reason in mutants.reasons().items():
        assert reason.partition(":")[0] in mutants.KINDS, name
        assert name.split(": ")[0] in mutants.FILES, name
        assert " => " in name


def test_a_survivor_without_a_reason_counts(capsys: pytest.CaptureFixture[str]) -> None:
    one, two, three = (Mutant("admit.c", line, "by hand", "old", f"new {line}", "") for line in (1, 2, 3))
    known = {three.name: "equivalent: really"}
    share = mutants.report([(one, "killed", "explorer: R | W"), (two, "survived", ""), (three, "survived", "")], known)
    printed = capsys.readouterr().out
    assert printed.endswith("killed 1 of 2\n")
    assert "admit.c: old\n=> new 2\n" in printed
    assert share == 0.5
