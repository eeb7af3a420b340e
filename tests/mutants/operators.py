"""Small wrong changes to C: each operator finds the places in a file where it applies.

They work on the text, with comments and strings blanked out: no parser, so some mutants do not compile, and are not counted.
The same change at the same place is made once.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

Edit = tuple[int, int, str]  # from, to, what comes there instead


class Mutant(NamedTuple):
    """One file with one change."""

    file: str
    line: int
    operator: str
    old: str  # the line, or lines, before
    new: str  # and after
    text: str  # the whole file
    place: str  # the function it is in, and which of the changes there that look the same

    @property
    def name(self) -> str:
        """Return what the list of survivors calls it: line numbers would not last."""
        return f"{self.file} {self.place}: {self.old} => {self.new}"


def blanked(text: str) -> str:
    """Blank out comments, strings, characters and the preprocessor's lines; every place stays where it is."""
    comment, string, character = r"/\*.*?\*/|//[^\n]*", r"\"(?:\\.|[^\"\\\n])*\"", r"'(?:\\.|[^'\\\n])+'"
    preprocessor, corpus = r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", r"[^\n]*\bBUG_\w+[^\n]*"
    skip = re.compile(f"{comment}|{string}|{character}|{preprocessor}|{corpus}", re.DOTALL | re.MULTILINE)
    return skip.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)


def words(pattern: str, into: dict[str, list[str]]) -> Callable[[str], Iterator[Edit]]:
    """Replace each match of a pattern by each of its replacements."""

    def operator(code: str) -> Iterator[Edit]:
        for match in re.finditer(pattern, code):
            for new in into.get(match[0], []):
                yield match.start(), match.end(), new

    return operator


def closing(code: str, start: int) -> int:
    """Return the place of the parenthesis that closes the one at `start`."""
    depth = 0
    for end in range(start, len(code)):
        depth += {"(": 1, ")": -1}.get(code[end], 0)
        if not depth:
            return end
    return len(code)


def conditions(code: str) -> Iterator[Edit]:
    """Negate the condition of an if or a while; make it always, or never, true."""
    for match in re.finditer(r"\b(?:if|while) (?=\()", code):
        start, end = match.end(), closing(code, match.end())
        inner = code[start + 1 : end]
        if not re.fullmatch(r"!\w+(\(.*\))?", inner):  # the operator for negations does those
            yield start, end + 1, f"(!({inner}))"
        yield start, end + 1, "(0)"
        if match[0] == "if ":  # an endless loop is found by any test
            yield start, end + 1, "(1)"


def is_relation(code: str, place: int) -> bool:
    """Tell == != <= >= from an assignment, at one of their characters."""
    return code[place - 1] in "=!<>" or code[place + 1 : place + 2] == "="


def operand(code: str, start: int, step: int) -> int:
    """Return where the operand of a logical or bitwise operator ends, going from `start` in direction `step`."""
    depth, place = 0, start
    opens, closes = ("([{", ")]}") if step > 0 else (")]}", "([{")
    while 0 <= place < len(code):
        here = code[place]
        pair = code[place : place + 2] if step > 0 else code[max(0, place - 1) : place + 1]
        if here in opens:
            depth += 1
        elif here in closes:
            if not depth:
                break
            depth -= 1
        elif not depth:
            ends = here in ",;?:{}|" or pair == "&&" or (here == "=" and not is_relation(code, place))
            if ends or (step < 0 and code[place - 5 : place + 1] == "return"):
                break
        place += step
    return place if step > 0 else place + 1


def terms(code: str) -> Iterator[Edit]:
    """Drop one side of && || | &; use the other operator."""
    for match in re.finditer(r"(?<= )(\|\||&&|\||&)(?= )", code):
        left, right = operand(code, match.start() - 1, -1), operand(code, match.end(), 1)
        before, after = code[left : match.start()].strip(), code[match.end() : right].strip()
        lead = " " if code[left : left + 1] == " " else ""
        yield left, right, lead + before
        yield left, right, lead + after
        yield match.start(), match.end(), {"||": "&&", "&&": "||", "|": "&", "&": "|"}[match[0]]


def ternaries(code: str) -> Iterator[Edit]:
    """Swap the branches of a conditional expression, by negating its condition."""
    for match in re.finditer(r" \? ", code):
        left = operand(code, match.start() - 1, -1)
        while (before := re.search(r"(\|\||&&|\|) ?$", code[:left])) is not None:
            left = operand(code, before.start() - 1, -1)
        condition = code[left : match.start()]
        yield left, match.start(), f"{condition[: len(condition) - len(condition.lstrip())]}!({condition.strip()})"


HEAD = re.compile(r"(?:if|while|for|switch) (?=\()|(?:else|do)\b\s*")
DECLARATION = re.compile(r"(?!return)(?:static |const |unsigned |struct |typedef )?[a-z]\w* \**\w+( =|,|;|\[|\()")


def statements(code: str) -> Iterator[Edit]:
    """Remove a statement that is not a declaration."""
    for match in re.finditer(r"(?<=[;{})\n])([ \t]+)([^\s;{}][^;{}]*;)", code):
        text = match[2]
        while (head := HEAD.match(text)) is not None:  # what it stands under stays
            end = closing(text, head.end()) + 1 if head[0].endswith(" ") and text[head.end() :].startswith("(") else head.end()
            text = text[end:].lstrip()
        if text not in ("", ";") and not DECLARATION.match(text) and text.count("(") == text.count(")"):
            yield match.end() - len(text), match.end(), ";"


SWAPS = {
    "PARKED": ["WRITER_PARKED", "0"], "WRITER_PARKED": ["PARKED", "0"], "WRITER": ["UPGRADABLE", "0"],
    "UPGRADABLE": ["WRITER", "0"], "READERS": ["ONE_READER", "0"], "ONE_READER": ["READERS"],
    "PHASE_ENTER": ["PHASE_DRAIN"], "PHASE_DRAIN": ["PHASE_ENTER"], "PHASE_NOTIFY": ["PHASE_ENTER"],
    "LOTS_NORMAL": ["LOTS_HANDOFF"],
    "LOTS_HANDOFF": ["LOTS_NORMAL"], "LOTS_QUEUED": ["LOTS_NORMAL"], "LOTS_HELD": ["LOTS_RELEASED"],
    "LOTS_RELEASED": ["LOTS_HELD"], "LOTS_GONE": ["LOTS_RELEASED"], "LOTS_ACQUIRING": ["LOTS_PENDING"],
    "LOTS_PENDING": ["LOTS_ACQUIRING"], "LOTS_READY": ["LOTS_MISUSE"], "LOTS_MISUSE": ["LOTS_READY"],
    "LOTS_PARKED": ["LOTS_READY"], "LOTS_CLOSED": ["LOTS_READY"], "LOTS_TIMED_OUT": ["LOTS_READY"],
    "LOTS_INTERRUPTED": ["LOTS_TIMED_OUT"], "LOTS_WITHDRAWN": ["LOTS_READY"], "LOTS_MAIL": ["0"],
    "LOTS_CHANGING": ["LOTS_HELD"],
    "LOTS_BY_TIMEOUT": ["LOTS_BY_CANCEL"], "LOTS_BY_CANCEL": ["LOTS_BY_TIMEOUT"], "LOT_TAKE": ["LOT_SKIP"],
    "LOT_SKIP": ["LOT_STOP"], "LOT_STOP": ["LOT_SKIP"], "BATCH_THREADS": ["(BATCH_THREADS - 1)"],
    "woken_last": ["woken"], "woken": ["woken_last"], "next": ["prev"], "prev": ["next"],
}  # fmt: skip
RELATIONS = {"==": ["!="], "!=": ["=="], "<": ["<=", ">"], ">": [">=", "<"], "<=": ["<", ">"], ">=": [">", "<"]}
ARITHMETIC = {" + ": [" - "], " - ": [" + "], " += ": [" -= "], " -= ": [" += "], "++": ["--"], "--": ["++"], " % ": [" / "],
              " << ": [" >> "], " >> ": [" << "], " ^= ": [" = "], " |= ": [" = ", " &= "]}  # fmt: skip
ORDERS = {"ACQUIRE": ["RELAXED"], "RELEASE": ["RELAXED"], "ACQ_REL": ["RELAXED", "ACQUIRE", "RELEASE"], "SEQ_CST": ["ACQ_REL"]}

OPERATORS: dict[str, Callable[[str], Iterator[Edit]]] = {
    "statement removed": statements,
    "condition": conditions,
    "term dropped": terms,
    "branches swapped": ternaries,
    "relation": words(r"(?<= )(?:==|!=|<=|>=|<|>)(?= )", RELATIONS),
    "arithmetic": words(r" (?:<<|>>|[-+%]|[-+^|]=) |\+\+|--", ARITHMETIC),
    "constant": words(r"(?<![\w.])(?:0|1)\b(?!x)", {"0": ["1"], "1": ["0"]}),
    "name swapped": words(r"\b[A-Za-z]\w*", SWAPS),
    "negation": words(r"[!~](?=[(\w])", {"~": [""], "!": [""]}),
    "memory order": words(r"\b(?:ACQUIRE|RELEASE|ACQ_REL|SEQ_CST)\b", ORDERS),
}


TOP_LEVEL = re.compile(
    r"^(?:__attribute__\(\(\w+\)\) )?(?:static |extern |typedef )?(?:\w[\w ]* \**)?(\w+)(?:\(|\[| =| \{)", re.MULTILINE
)


def place_of(code: str, start: int) -> str:
    """Return the function (or table, or struct) that a place is in: what the last line with no indent before it names."""
    names = [match[1] for match in TOP_LEVEL.finditer(code, 0, code.find("\n", start))]
    return names[-1] if names else "top"


def numbered(mutants: list[Mutant]) -> list[Mutant]:
    """Tell apart the changes that look the same: the second of a name gets a 2."""
    seen, told = Counter[str](), []
    for mutant in mutants:
        seen[mutant.name] += 1
        nth = seen[mutant.name]
        told.append(mutant._replace(place=f"{mutant.place} {nth}") if nth > 1 else mutant)
    return told


def mutants_of(file: str, text: str) -> list[Mutant]:
    """Return every mutant of a file, in the order of its lines."""
    code, found = blanked(text), dict[str, Mutant]()
    for name, operator in OPERATORS.items():
        for start, end, new in operator(code):
            mutated = text[:start] + new + text[end:]
            first, last = text.rfind("\n", 0, start) + 1, text.find("\n", end)
            old_lines = " ".join(text[first:last].split())
            new_lines = " ".join((text[first:start] + new + text[end:last]).split())
            if mutated != text and mutated not in found:
                line, place = text.count("\n", 0, start) + 1, place_of(code, start)
                found[mutated] = Mutant(file, line, name, old_lines, new_lines, mutated, place)
    return numbered(sorted(found.values(), key=lambda mutant: mutant.line))
