"""Where tables of answers go: a file, whole or not at all, or a table of a database, piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

from carspotter.data.database import CHUNK, Target, Writer, is_database, read_target, upsert
from carspotter.data.disk import check_writable
from carspotter.data.table import Cell, check_ending, write_table

Write = Callable[[Sequence[Sequence[Cell]]], None]


class Place:
    """Where a table goes; made before the work, so that what cannot be used is said then.

    Args:
        output: a file, or `URL#TABLE`.
        reads: files that the work reads.

    Raises:
        SourceError: neither of the two, or a file that cannot be written or is read.

    Attributes:
        target: the table of a database; None for a file.
    """

    def __init__(self, output: str, reads: Iterable[str] = ()) -> None:
        self.target: Target | None = read_target(output) if is_database(output) else None
        self._output = output
        if self.target is None:
            check_ending(output)
            check_writable(output, reads=reads)

    def __str__(self) -> str:
        return self._output if self.target is None else str(self.target)

    @contextmanager
    def open(self, columns: Mapping[str, type], key: str) -> Iterator[Write]:
        """What takes the rows: a file all of them at once, a table as often as one likes.

        Args:
            columns: names and kinds of cells.
            key: the column that tells rows apart in a table.

        Raises:
            SourceError: the table cannot be written.
        """
        if self.target is None:
            yield partial(write_table, self._output, tuple(columns))
            return
        with upsert(self.target, key, columns) as writer:
            yield partial(_write, writer)


def _write(writer: Writer, rows: Sequence[Sequence[Cell]]) -> None:
    """An empty cell is NULL, as NULL was read as an empty one: no column of numbers takes an empty text."""
    for start in range(0, len(rows), CHUNK):
        writer.write([[None if cell == "" else cell for cell in row] for row in rows[start : start + CHUNK]])
