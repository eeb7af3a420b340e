"""The mutation tester itself: it finds places to be wrong at, sees who notices, and is not fooled by the same code."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutants import __main__ as mutants
from tests.mutants import known
from tests.mutants.bench import Bench, Workshop
from tests.mutants.known import Cache, all_mutants, reasons
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
    return Bench(Workshop(tmp_path_factory.mktemp("shop")), tmp_path_factory.mktemp("bench"))


def mutant(bench: Bench, file: str, old: str, new: str) -> Mutant:
    text = bench.shop.originals[file]
    assert text.count(old) == 1, f"csrc/{file} has changed: choose another mutant"
    return Mutant(file, 0, "by hand", old, new, text.replace(old, new), "somewhere")


def test_operators_find_their_places_and_no_others() -> None:
    found = [(m.line, m.operator, " ".join(m.new.split())) for m in mutants_of("a.c", SAMPLE)]
    assert sorted(found) == sorted(CHANGES)


def test_comments_strings_and_the_bug_corpus_are_left_alone() -> None:
    code = blanked('a /* b\n c */ d "e" \'f\' // g\n#define h \\\n i\nif (BUG_465 && j)\nk\n')
    assert code.split() == ["a", "d", "k"]


def test_what_looks_the_same_is_told_apart() -> None:
    text = "static int f(int a)\n{\n    g(a);\n    g(a);\n}\n\nint h(void)\n{\n    g(a);\n}\n"
    removed = [m.name for m in mutants_of("a.c", text) if m.operator == "statement removed"]
    assert removed == ["a.c f: g(a); => ;", "a.c f 2: g(a); => ;", "a.c h: g(a); => ;"]
    names = [m.name for m in all_mutants()]
    assert len(names) == len(set(names))


def test_a_mutant_that_hangs_or_breaks_the_queues_is_killed_by_the_explorer(bench: Bench) -> None:
    one = mutant(bench, "admit.c", "        lot_unlink(b, w);\n        w->next", "        w->next")
    fate, who = bench.judge(one, deep=False)
    assert (fate, who.partition(":")[0]) == ("killed", "explorer")


def test_what_the_explorer_cannot_see_the_c_tests_kill(bench: Bench) -> None:
    one = mutant(bench, "unpark.c", "if (what == LOT_STOP)", "if (0)")
    assert bench.judge(one, deep=False) == ("killed", "C tests: test_parking_lot")


def test_what_only_one_parker_has_is_killed_with_that_one(bench: Bench) -> None:
    one = mutant(bench, "parker_pthread.c", "            answer = PARKER_TIMED_OUT;", "            answer = PARKER_WOKEN;")
    fate, who = bench.judge(one, deep=False)
    assert (fate, who.partition(":")[0]) == ("killed", "C tests")


def test_an_inline_function_is_tried_as_a_test_compiles_it(bench: Bench) -> None:
    text = bench.shop.originals["fast_path.h"]
    one = next(m for m in mutants_of("fast_path.h", text) if m.place == "word_looks_free" and m.new == ";")
    fate, who = bench.judge(one, deep=False)
    assert (fate, who) in (("killed", "C tests: test_inlines"), ("refused", ""))  # -Werror=return-type


def test_the_same_code_is_no_mutant_and_what_does_not_compile_is_none(bench: Bench) -> None:
    condition = "if (!gives && !lot_queue(b, key))"
    for new, fate in [
        ("if (!(gives || lot_queue(b, key)))", "same"),
        ("if (!gives && !lot_queue(b, key)", "refused"),
        (condition + " ", "same"),  # the original is back in place
    ]:
        assert bench.judge(mutant(bench, "admit.c", condition, new), deep=False) == (fate, "")


def test_every_known_survivor_has_a_reason_of_a_kind_and_is_a_mutant_still() -> None:
    listed = reasons(known.SURVIVORS.read_text(encoding="utf-8"))
    for name, reason in listed.items():
        assert reason.partition(":")[0] in known.KINDS, name
    stale = listed.keys() - {one.name for one in all_mutants()}
    assert not stale, "csrc has changed: these have to be judged anew, or removed"


def a_mutant(line: int) -> Mutant:
    return Mutant("admit.c", line, "by hand", "old", f"new {line}", f"text {line}", "f")


def test_a_survivor_without_a_reason_counts(capsys: pytest.CaptureFixture[str]) -> None:
    one, two, three, four = map(a_mutant, range(1, 5))
    listed = {three.name: "equivalent: really"}
    verdicts = [(one, "killed", "explorer: R | W"), (two, "survived", ""), (three, "survived", ""), (four, "alive", "")]
    share = mutants.report(verdicts, listed)
    printed = capsys.readouterr().out
    assert printed.endswith("killed 1 of 3\n")
    assert "admit.c f: old\n=> new 2\nnot listed" in printed
    assert "admit.c f: old\n=> new 4\nno time" in printed
    assert share == pytest.approx(1 / 3)


def test_verdicts_are_kept_while_they_hold(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "verdicts.json")
    cache.keep(a_mutant(1), "killed", "explorer: R | W")
    cache.keep(a_mutant(2), "survived", "")
    again = Cache(tmp_path / "verdicts.json")
    assert again.look(a_mutant(1)) == ("killed", "explorer: R | W")
    assert again.look(a_mutant(2)) == ("survived", "")
    assert again.look(a_mutant(3)) is None
    again.suite = "other tests"
    assert again.look(a_mutant(1)) == ("killed", "explorer: R | W"), "more tests do not bring it back to life"
    assert again.look(a_mutant(2)) is None, "they may kill it"
