"""What the console's answers look like: lines of spans, each with a style. How they are shown is in _console_screens.py."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

Answer = dict[str, Any]


class Span(NamedTuple):
    """Some text, and what it is: "", "dim", "bold", "good", "warn" or "bad"."""

    text: str
    style: str = ""


Line = tuple[Span, ...]
EMPTY: Line = ()


def ps(answer: Answer, width: int, *, everything: bool = True) -> Iterator[Line]:
    """Lay out the locks, and what is wrong."""
    yield from head(answer, width)
    yield EMPTY
    locks = answer["locks"]
    shown = [lock for lock in locks if everything or lock["waiting"] or lock["holders"] or lock["problems"] or lock["past"]]
    if shown:
        yield from _table(shown, width)
    else:
        yield (Span("no lock is held or waited for, of those that anybody ever had to wait for", "dim"),)
    left_out = len(locks) - len(shown) + answer["locks_left_out"]
    if left_out and shown:
        yield (Span(f"and {left_out} more that nobody holds or waits for", "dim"),)
    yield EMPTY
    yield from wrong(answer, width)


def head(answer: Answer, width: int) -> Iterator[Line]:
    """Lay out which process it is."""
    process = answer["process"]
    about = f"aiolots {process['aiolots']} {process['front']}, Python {process['python']}"
    room = max(10, width - len(about) - len(f"{process['pid']}") - 6)
    yield Span(f"{process['pid']}", "bold"), Span(f"  {short(process['command'], room)}"), Span(f"  {about}", "dim")


def _table(locks: Sequence[Answer], width: int) -> Iterator[Line]:
    past = any(lock["past"] for lock in locks)
    heads = ["WAIT", "LONGEST", *(["PAST"] if past else []), "LOCK", "STATE", "HELD BY"]
    rows = [[*_numbers(lock, past), _name(lock), lock["state"], _held_by(lock)] for lock in locks]
    fixed = len(heads) - 3  # numbers, to the right
    widths = [max(len(row[i]) for row in (heads, *rows)) for i in range(len(heads))]
    rest = width - sum(widths[:fixed]) - 2 * (len(heads) - 1)
    widths[fixed:] = _shares(rest, widths[fixed:])
    yield (Span(_row(heads, widths, fixed), "dim"),)
    for lock, row in zip(locks, rows, strict=True):
        folded = [textwrap.wrap(cell, widths[i]) or [""] for i, cell in enumerate(row)]
        style = "bad" if lock["problems"] else "warn" if lock["longest"] >= 1 else "" if lock["waiting"] else "dim"
        for number in range(max(map(len, folded))):
            cells = [cell[number] if number < len(cell) else "" for cell in folded]
            yield (Span(_row(cells, widths, fixed), style),)


def _shares(room: int, wanted: list[int]) -> list[int]:
    """Give each column what it wants, or the widest less of it."""
    given = list(wanted)
    while sum(given) > max(room, 30):
        given[given.index(max(given))] -= 1
    return given


def _row(cells: Sequence[str], widths: Sequence[int], to_the_right: int) -> str:
    return "  ".join(
        cell.rjust(widths[i]) if i < to_the_right else cell.ljust(widths[i]) for i, cell in enumerate(cells)
    ).rstrip()


def _numbers(lock: Answer, past: bool) -> list[str]:
    longest = _seconds(lock["longest"]) if lock["waiting"] else ""
    return [str(lock["waiting"]), longest, *([str(lock["past"])] if past else [])]


def _name(lock: Answer) -> str:
    return f"{lock['kind']} {lock['address'] if lock['name'] is None else repr(lock['name'])}"


def _held_by(lock: Answer) -> str:
    holders = lock["holders"]
    count = len(holders) + lock["holders_left_out"]
    named = ", ".join(f"{holder['holder']} ({holder['mode']})" for holder in holders[:3])
    return named if count <= 3 else f"{named}, and {count - 3} more"


def _seconds(number: float) -> str:
    return f"{number:.1f} s" if number < 100 else f"{number:.0f} s"


def wrong(answer: Answer, width: int) -> Iterator[Line]:
    """Lay out the causes: what is wrong, and where to look."""
    if not answer["causes"]:
        yield (Span("nothing is wrong", "good"),)
    for cause in answer["causes"]:
        style = "bad" if cause["trouble"] else "warn"
        text = f"{cause['kind']}: {shortened(cause['text'])}"
        yield from _folded(text, width, style, first="", later="    ")
        for place in cause["places"]:
            if shortened(place) not in text:
                yield from _folded(f"at {shortened(place)}", width, "", first="    ", later="        ")


def _folded(text: str, width: int, style: str, first: str, later: str) -> Iterator[Line]:
    for line in textwrap.wrap(text, max(width, 40), initial_indent=first, subsequent_indent=later, break_on_hyphens=False):
        yield (Span(line, style),)


def tree(answer: Answer, width: int) -> Iterator[Line]:
    """Lay out who waits for whom."""
    yield from head(answer, width)
    yield EMPTY
    if not answer["tree"]:
        yield (Span("nobody waits", "good"),)
    for root in answer["tree"]:
        at = "" if root["now_at"] is None else f"  at {shortened(root['now_at'])}"
        yield Span(root["owner"], "bold"), Span(short(at, max(10, width - len(root["owner"]))), "dim")
        yield from branches(root, "", width)
    yield EMPTY
    yield from wrong(answer, width)


def branches(node: Answer, guide: str, width: int) -> Iterator[Line]:
    """Lay out who waits for a node, and for those."""
    bar, tee, end = ("│  ", "├─ ", "└─ ") if _can_draw() else ("|  ", "|- ", "`- ")
    waits = node["waiters"]
    for number, wait in enumerate(waits):
        is_last = number == len(waits) - 1 and not node.get("left_out")
        below = guide + ("   " if is_last else bar)
        by = wait["by"]
        since = f" since {_seconds(wait['seconds'])}" if wait["seconds"] else ""
        circle = " - and so the circle closes" if by.get("closes_the_circle") else ""
        above = " - see above" if by.get("shown_above") and not circle else ""
        text = f"{by['owner']} waits for {wait['for']}{since}{circle}{above}"
        style = "bad" if circle else ""
        for i, line in enumerate(textwrap.wrap(text, max(30, width - len(below)), break_on_hyphens=False)):
            yield Span(guide + (end if is_last else tee) if i == 0 else below, "dim"), Span(line, style)
        if not circle and not above:
            deeper = bar if by["waiters"] else "   "
            details = [f"at {shortened(wait['at'])}"] if wait["at"] else []
            details += [f"which was asked for at {shortened(wait['asked_for_at'])}"] if wait["asked_for_at"] else []
            for detail in details:
                for line in textwrap.wrap(detail, max(30, width - len(below) - 3), break_on_hyphens=False):
                    yield (Span(f"{below}{deeper}{line}", "dim"),)
        yield from branches(by, below, width)
    if node.get("left_out"):
        yield (Span(f"{guide}{end}and {node['left_out']} more", "dim"),)


def _can_draw() -> bool:
    try:
        "│├└─".encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def shortened(text: str) -> str:
    """Return a text with paths as they look from here."""
    here = f"{os.getcwd()}{os.sep}"
    return text.replace(here, "")


def short(text: str, room: int) -> str:
    return text if len(text) <= room else f"{text[: room - 3]}..."
