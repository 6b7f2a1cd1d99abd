"""How many things become one line: a count, a few examples and how many more there are, an exception."""

from __future__ import annotations

from collections.abc import Sequence

SHOWN = 3
"""Examples in one line (assumption: enough to recognise a pattern, short enough for one line)."""
SHOWN_CHARACTERS = 80
"""Longest example; hostile cells and names may be megabytes long (assumption)."""

SHOWN_OF_FAULT = 300
"""Longest text of a library's exception (assumption: what it says later explains what it said first)."""


def some(items: Sequence[object], shown: int = SHOWN) -> str:
    """The first few of many: `a, b, c and 15,558 more`."""
    listed = ", ".join(brief(item) for item in items[:shown])
    more = len(items) - shown
    return f"{listed} and {more:,} more" if more > 0 else listed


def visible(item: object) -> str:
    r"""Text that cannot steer a terminal: control, direction and undecodable characters become `\x1b`, `\n`, ….

    File names, labels and table cells are strangers' text.
    """
    text = str(item)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def brief(item: object) -> str:
    """Text that stays on one line, whatever is in it."""
    text = visible(item)
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"


def place_of(steps: Sequence[object]) -> str:
    """A place in nested values, `stage.0.lr`, on one line; its keys may be a stranger's text."""
    return brief(".".join(map(str, steps)))


def cause(fault: OSError) -> str:
    """What the system says, without the path, which the message around it names."""
    return fault.strerror or str(fault) or type(fault).__name__


def one_line(fault: BaseException) -> str:
    """An exception of a library on one line: `ValueError: …`."""
    text = " ".join(str(fault).split())
    named = f"{type(fault).__name__}: {text}" if text else type(fault).__name__
    return named if len(named) <= SHOWN_OF_FAULT else named[: SHOWN_OF_FAULT - 1] + "…"


def count(number: int, noun: str, plural: str | None = None) -> str:
    """`1 photo`, `15,561 photos`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
