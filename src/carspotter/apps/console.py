"""Printing: results to stdout, everything else to stderr; rich is imported only for bars."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from carspotter.data.wording import visible
from carspotter.errors import EXIT_BROKEN_PIPE
from carspotter.progress import Progress

if TYPE_CHECKING:
    from rich.progress import TaskID

LOG_SECONDS = 30.0
"""Between two lines of progress in a log; assumption: short commands stay silent, long ones are seen to live."""


def say(text: object = "") -> None:
    """Print one line to stdout."""
    _write(visible(text), sys.stdout)


def note(text: object) -> None:
    """Print one line to stderr: remarks and errors, so that stdout stays the result."""
    _write(visible(text), sys.stderr)


def notes(lines: Sequence[object], limit: int = 20) -> None:
    """Print remarks to stderr, the first `limit` of them and how many more there are."""
    for line in lines[:limit]:
        note(line)
    if len(lines) > limit:
        note(f"… and {len(lines) - limit} more")


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table to stdout: aligned on a terminal, tab-separated for the next program.

    A line that is too long for the terminal is the terminal's to wrap: columns folded into towers of letters cannot be
    read, cut ones cannot be copied.
    """
    aligned = sys.stdout.isatty()
    cells = [[_cell(cell, absent="–" if aligned else "") for cell in row] for row in (columns, *rows)]
    if not aligned:
        for line in cells:
            _write("\t".join(line), sys.stdout)
        return
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    right = [all(isinstance(row[i], int | float | None) for row in rows) for i in range(len(columns))]
    for line in cells:
        padded = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(line, widths, right, strict=True))
        _write("  ".join(padded).rstrip(), sys.stdout)


@contextmanager
def progress() -> Iterator[Progress]:
    """A bar per phase on stderr where it is a terminal; else (logs, CI) a line now and then while work is long."""
    if not sys.stderr.isatty():
        yield _now_and_then(time.monotonic)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    words = TextColumn("{task.description}", markup=False)
    columns = (words, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Bars(*columns, console=Console(file=sys.stderr)) as bars:
        tasks: dict[str, TaskID] = {}

        def show(phase: str, done: int, total: int, said: str = "") -> None:
            if phase not in tasks:
                tasks[phase] = bars.add_task(visible(phase))
            bars.update(tasks[phase], completed=done, total=total)
            if said:
                line = f"{phase} {done}/{total}: {said}" if total else f"{phase}: {said}"
                bars.console.print(visible(line), markup=False, highlight=False)

        yield show


def _now_and_then(clock: Callable[[], float]) -> Progress:
    spoken = clock()

    def show(phase: str, done: int, total: int, said: str = "") -> None:
        nonlocal spoken
        if said or clock() - spoken >= LOG_SECONDS:
            spoken = clock()
            counted = [f"{done:,} of {total:,}"] if total else []  # a remark of no known length is no count
            note(": ".join([phase, *counted, *([said] if said else [])]))

    return show


def _cell(value: object, absent: str) -> str:
    if value is None:
        return absent
    if not isinstance(value, float):
        return visible(value)
    return f"{value:.3f}" if abs(value) >= 0.1 or value == 0 else f"{value:.4g}"  # 7e-4 is not 0.001


def _write(line: str, stream: TextIO) -> None:
    try:
        stream.write(f"{line}\n")
    except BrokenPipeError:  # typer would make exit code 1 of it, our fault
        raise SystemExit(EXIT_BROKEN_PIPE) from None
