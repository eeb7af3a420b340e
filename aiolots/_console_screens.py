"""How the console's answers are shown: in colours if there is a terminal and rich, else as plain text of the same layout."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

from aiolots._console_dump import dumped
from aiolots._console_layout import Answer, Line, Span, ps, tree

_STYLES = {"dim": "dim", "bold": "bold", "good": "green", "warn": "yellow", "bad": "bold red"}
_Show = Callable[[Answer, bool], None]


def show(name: str, answer: Answer, *, everything: bool) -> None:
    """Print an answer: in colours, if there is a terminal and rich."""
    if name == "dump":
        sys.stdout.write(dumped(answer))
        return
    width = shutil.get_terminal_size((120, 24)).columns
    lines = tree(answer, width) if name == "tree" else ps(answer, width, everything=everything)
    rich = _rich() if sys.stdout.isatty() else None
    if rich is not None:
        rich.print(_text(lines), soft_wrap=True)
    else:
        sys.stdout.write(plain(lines))


def plain(lines: Iterator[Line]) -> str:
    """Return lines as text alone."""
    text = "".join("".join(span.text for span in line).rstrip() + "\n" for line in lines)
    return text.encode(sys.stdout.encoding or "ascii", "backslashreplace").decode(sys.stdout.encoding or "ascii")


def _rich() -> Any:
    """Return a console of rich; None where it is not installed."""
    try:
        from rich.console import Console
    except ModuleNotFoundError:
        return None
    return Console(highlight=False)


def _text(lines: Iterator[Line]) -> Any:
    from rich.text import Text

    return Text("\n").join(Text.assemble(*((span.text, _STYLES.get(span.style, "")) for span in line)) for line in lines)


@contextmanager
def live() -> Generator[_Show]:
    """Yield what shows the locks in place, as a terminal's whole screen if rich is there; else one below the other."""
    console = _rich()
    if console is None:
        yield lambda answer, everything: show("ps", answer, everything=everything)
        return
    from rich.live import Live

    with Live(console=console, screen=True, auto_refresh=False) as screen:

        def draw(answer: Answer, everything: bool) -> None:
            lines = list(ps(answer, console.width, everything=everything))
            room = console.height - 1
            if len(lines) > room:
                lines[room - 1 :] = [(Span(f"and {len(lines) - room + 1} more lines: see ps", "dim"),)]
            screen.update(_text(iter(lines)), refresh=True)

        yield draw
