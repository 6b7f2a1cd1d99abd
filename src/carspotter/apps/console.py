"""Printing: results to stdout, everything else to stderr; rich is imported only when something is drawn with it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from carspotter.errors import EXIT_BROKEN_PIPE
from carspotter.progress import Progress, silent

if TYPE_CHECKING:
    from rich.progress import TaskID


def plain(text: object) -> str:
    r"""Text that cannot steer a terminal: control, direction and undecodable characters become `\x1b`, `\n`, ….

    File names, labels and table cells are strangers' text.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def say(text: object = "") -> None:
    """Print one line to stdout."""
    _write(plain(text), sys.stdout)


def note(text: object) -> None:
    """Print one line to stderr: remarks and errors, so that stdout stays the result."""
    _write(plain(text), sys.stderr)


def notes(lines: Sequence[object], limit: int = 20) -> None:
    """Print remarks to stderr, the first `limit` of them and how many more there are."""
    for line in lines[:limit]:
        note(line)
    if len(lines) > limit:
        note(f"… and {len(lines) - limit} more")


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table to stdout: drawn on a terminal, tab-separated for the next program."""
    if sys.stdout.isatty():
        _draw(columns, rows)
        return
    for row in (columns, *rows):
        _write("\t".join(_cell(cell, absent="") for cell in row), sys.stdout)


@contextmanager
def progress() -> Iterator[Progress]:
    """A bar per phase on stderr where it is a terminal; nothing where it is not (logs, CI)."""
    if not sys.stderr.isatty():
        yield silent
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    words = TextColumn("{task.description}", markup=False)
    columns = (words, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Bars(*columns, console=Console(file=sys.stderr)) as bars:
        tasks: dict[str, TaskID] = {}

        def show(phase: str, done: int, total: int) -> None:
            if phase not in tasks:
                tasks[phase] = bars.add_task(plain(phase))
            bars.update(tasks[phase], completed=done, total=total)

        yield show


def _draw(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A cell that is a number, or None, stands to the right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for i, name in enumerate(columns):
        numeric = all(isinstance(row[i], int | float | None) for row in rows)
        drawn.add_column(Text(name), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(_cell(cell, absent="–")) for cell in row))
    Console(highlight=False).print(drawn)


def _cell(value: object, absent: str) -> str:
    if value is None:
        return absent
    return f"{value:.3f}" if isinstance(value, float) else plain(value)


def _write(line: str, stream: TextIO) -> None:
    try:
        stream.write(f"{line}\n")
    except BrokenPipeError:  # typer would make exit code 1 of it, our fault
        raise SystemExit(EXIT_BROKEN_PIPE) from None
