"""The house rules, each a test that says why.

A rule is a function from a file's path and text to the lines that break it; `SAMPLES` shows each rule biting, so that a
rule which no longer sees anything fails too.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("csrc", "aiolots", "pytest_aiolots", "tests", "examples", "tools", "bench")
LONGEST = 450

Rule = Callable[[str, str], Iterator[int]]


class HouseRule(NamedTuple):
    """What a rule checks, where, and why."""

    check: Rule
    globs: tuple[str, ...]
    why: str


# --- C ------------------------------------------------------------------------------------------------------------


@cache
def c_code(text: str) -> str:
    """Blank out comments, keeping the line structure."""
    token = re.compile(r"""(/\*.*?\*/|//[^\n]*)|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])+'""", re.DOTALL)
    return token.sub(lambda match: re.sub(r"[^\n]", " ", match[0]) if match[1] else match[0], text)


def c_lines(pattern: str, text: str) -> Iterator[int]:
    """Yield the numbers of the lines of code that match."""
    expression = re.compile(pattern)
    for number, line in enumerate(c_code(text).splitlines(), 1):
        if expression.search(line):
            yield number


def atomics_have_one_home(path: str, text: str) -> Iterator[int]:
    if path != "csrc/atomics.h":
        yield from c_lines(r"stdatomic|__atomic|_Atomic|__sync_", text)


def sleeping_has_few_homes(path: str, text: str) -> Iterator[int]:
    if not re.fullmatch(r"csrc/(parker_\w+\.[ch]|bucket_lock\.h|keeper\.c)", path):
        yield from c_lines(r"\bfutex\s*\(|\bSYS_futex|\bFUTEX_|linux/futex\.h|\busleep\b|nanosleep\b|\bsched_yield\b", text)


def python_has_one_home(path: str, text: str) -> Iterator[int]:
    if not path.startswith("csrc/python/"):
        yield from c_lines(r"\bPython\.h\b", text)


def arithmetic_is_explained(path: str, text: str) -> Iterator[int]:
    if path == "csrc/atomics.h":
        return
    lines = text.splitlines()
    for number in c_lines(r"\w*fetch_(?:add|sub)\w*\s*\(", text):
        nearby = lines[max(0, number - 4) : number]
        if not any("/*" in line or "*/" in line or "//" in line for line in nearby):
            yield number


def orders_are_spelled_out(path: str, text: str) -> Iterator[int]:
    code = c_code(text)
    if path == "csrc/atomics.h":
        yield from c_lines(r"\batomic_(?:load|store|exchange|compare_exchange_(?:weak|strong)|fetch_[a-z]+)\s*\(", text)
        return
    for call in re.finditer(r"\ba(?:32|64)_\w+\s*\(", code):
        if not re.search(r"\b(?:RELAXED|ACQUIRE|RELEASE|ACQ_REL|SEQ_CST)\s*$", arguments(code, call.end())):
            yield code.count("\n", 0, call.start()) + 1


def arguments(code: str, start: int) -> str:
    """Return what stands between the parenthesis that ends at `start` and the one that closes it."""
    depth = 1
    for end in range(start, len(code)):
        depth += {"(": 1, ")": -1}.get(code[end], 0)
        if depth == 0:
            return code[start:end]
    return code[start:]


# --- Python -------------------------------------------------------------------------------------------------------


def no_await_in_and_or(_path: str, text: str) -> Iterator[int]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.BoolOp) and any(isinstance(inner, ast.Await) for inner in ast.walk(node)):
            yield node.lineno


def imports(text: str, package: str) -> Iterator[tuple[int, str]]:
    """Yield line and full dotted name of all that is imported for more than typing."""
    tree = ast.parse(text)
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            anchor = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*anchor, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def package_of(path: str) -> str:
    """Return the package that relative imports of a file start from."""
    return ".".join(Path(path).parent.parts)


def knows_the_core(path: str, text: str) -> Iterator[int]:
    for line, name in imports(text, package_of(path)):
        if f"{name}.".startswith("aiolots._core."):
            yield line


def knows_event_loops(path: str, text: str) -> Iterator[int]:
    if re.match(r"aiolots/(_(asyncio|trio)_port\.py$|_(asyncio|trio)_graph\.py$|_?demo(/|\.py|_)|testing/)", path):
        return
    for line, name in imports(text, package_of(path)):
        if name.split(".")[0] in ("asyncio", "uvloop", "selectors", "trio", "anyio", "sniffio"):
            yield line


def looks_through_the_heap(_path: str, text: str) -> Iterator[int]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute) and node.attr in ("get_objects", "get_referrers"):
            yield node.lineno


def sleeps_for_a_time(_path: str, text: str) -> Iterator[int]:
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if not (isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant)):
            continue
        name = ast.unparse(node.func).rpartition(".")[2]
        if name == "sleep" and node.args[0].value and "# time itself is tested" not in lines[node.lineno - 1]:
            yield node.lineno


def too_long(_path: str, text: str) -> Iterator[int]:
    if (length := text.count("\n")) > LONGEST:
        yield length


# --- the rules, and samples that break them -----------------------------------------------------------------------

C = ("csrc/**/*.c", "csrc/**/*.h")
PYTHON = tuple(f"{room}/**/*.py" for room in ROOMS)

RULES = [
    HouseRule(atomics_have_one_home, C, "the explorer swaps csrc/atomics.h: an atomic named elsewhere escapes it"),
    HouseRule(sleeping_has_few_homes, C, "only parkers, the bucket lock and the keeper sleep: elsewhere it holds the GIL"),
    HouseRule(python_has_one_home, C, "the core compiles without Python; Python.h belongs under csrc/python/"),
    HouseRule(arithmetic_is_explained, C, "invariant W1: arithmetic on an atomic needs a comment close by on why it is safe"),
    HouseRule(orders_are_spelled_out, C, "the memory order is spelled out at each call, as the last argument"),
    HouseRule(no_await_in_and_or, PYTHON, "CPython 3.11.7 miscompiles `x or await y` inside `try`: write an `if`"),
    HouseRule(
        knows_event_loops,
        ("aiolots/**/*.py",),
        "one file for each library knows its event loops, behind the interface of aiolots/_loops.py",
    ),
    HouseRule(
        looks_through_the_heap,
        ("aiolots/**/*.py",),
        "a list of all objects holds tuples that other threads are making: `tuple(generator)` fails there",
    ),
    HouseRule(sleeps_for_a_time, ("tests/**/*.py",), "wait until everybody is parked, or say `# time itself is tested`"),
    HouseRule(
        too_long,
        tuple(f"{room}/**/*.{ending}" for room in ROOMS for ending in ("c", "h", "py", "pyi", "sh")),
        f"over {LONGEST} lines there is more than one idea in the room",
    ),
]

SAMPLES: list[tuple[Rule, str, str, list[int]]] = [
    (atomics_have_one_home, "csrc/a.c", "/* _Atomic */\n#include <stdatomic.h>\n", [2]),
    (atomics_have_one_home, "csrc/atomics.h", "#include <stdatomic.h>\n", []),
    (sleeping_has_few_homes, "csrc/a.c", "/* a futex */\nparker_futex_wait(p);\nusleep(1);\n", [3]),
    (sleeping_has_few_homes, "csrc/parker_futex.c", "syscall(SYS_futex, p);\n", []),
    (python_has_one_home, "csrc/a.c", '#include "Python.h"\n', [1]),
    (python_has_one_home, "csrc/python/a.c", "#include <Python.h>\n", []),
    (arithmetic_is_explained, "csrc/a.c", "/* own bits */\n\na64_fetch_add(p, 1, RELAXED);\n", []),
    (arithmetic_is_explained, "csrc/a.c", "/* far */\n\n\n\na64_fetch_add(p, 1, RELAXED);\n", [5]),
    (
        orders_are_spelled_out,
        "csrc/a.c",
        "a64_load(f(p), RELAXED);\na64_load(p);\na64_cas(p, &w,\n  g(w), ACQ_REL);\n",
        [2],
    ),
    (orders_are_spelled_out, "csrc/atomics.h", "atomic_load_explicit(p, o)\natomic_load(p)\n", [2]),
    (no_await_in_and_or, "a.py", "async def f(x, y):\n    x or await y\n    return x and (await y)[0]\n", [2, 3]),
    (no_await_in_and_or, "a.py", "async def f(x, y):\n    return await (x or y)\n", []),
    (
        knows_the_core,
        "aiolots/a.py",
        "from aiolots._core import lib\nfrom . import _core\nimport aiolots._core\n",
        [1, 2, 3],
    ),
    (knows_the_core, "aiolots/sub/a.py", "from .._core import lib\nfrom . import _core\n", [1]),
    (knows_event_loops, "aiolots/a.py", "import asyncio.events\nfrom selectors import EVENT_READ\n", [1, 2]),
    (knows_event_loops, "aiolots/a.py", "if TYPE_CHECKING:\n    import asyncio\nelse:\n    import uvloop\n", [4]),
    (knows_event_loops, "aiolots/_loops.py", "from aiolots import _asyncio_port\nimport trio\n", [2]),
    (knows_event_loops, "aiolots/_trio_port.py", "import trio\n", []),
    (knows_event_loops, "aiolots/demo/run.py", "import asyncio\n", []),
    (knows_event_loops, "aiolots/testing/_world.py", "import asyncio\n", []),
    (knows_event_loops, "aiolots/testing_.py", "import asyncio\n", [1]),
    (looks_through_the_heap, "aiolots/a.py", "import gc\ngc.collect()\nfor x in gc.get_objects():\n    pass\n", [3]),
    (
        sleeps_for_a_time,
        "a.py",
        "time.sleep(0.1)\nasyncio.sleep(0)\nsleep(x)\nsleep(1)  # time itself is tested\n",
        [1],
    ),
    (too_long, "a.c", "\n" * (LONGEST + 1), [LONGEST + 1]),
    (too_long, "a.c", "\n" * LONGEST, []),
]


def files(globs: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield path, as from the root, and text of the files of the tree."""
    for path in sorted({path for glob in globs for path in ROOT.glob(glob)}):
        yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.check.__name__)
def test_rule_holds(rule: HouseRule) -> None:
    found = [f"{path}:{line}" for path, text in files(rule.globs) for line in rule.check(path, text)]
    assert not found, f"{rule.why}\n  " + "\n  ".join(found)


def test_one_file_knows_the_core() -> None:
    found = [path for path, text in files(("aiolots/**/*.py",)) if any(knows_the_core(path, text))]
    assert len(found) <= 1, f"only one file imports aiolots._core, the others import that file: {found}"


@pytest.mark.parametrize(("rule", "path", "text", "broken"), SAMPLES)
def test_rule_bites(rule: Rule, path: str, text: str, broken: list[int]) -> None:
    assert list(rule(path, text)) == broken
