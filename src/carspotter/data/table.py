"""Tables in (hostile), tables out (safe). A cell is text exactly as written: `007` and `1e5` are ids, not numbers."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from carspotter.data.delimited import Line, decode_text, parse_rows
from carspotter.data.disk import read_capped, whole_file
from carspotter.data.wording import brief, count, some
from carspotter.data.workbook import MAX_COLUMNS, read_parquet, read_workbook
from carspotter.errors import SourceError

MAX_TABLE_BYTES = 100_000_000
"""A larger table is refused (assumption; the competition's is 200 KB)."""
MAX_ROWS = 1_000_000
"""A longer table is refused unless asked for (assumption; two cores scan that many photos in hours)."""
ENDINGS = (".csv", ".jsonl", ".parquet")
"""What `write_table` writes."""

Cell = str | int | float | None

_RUNS = ("=", "+", "-", "@", "\t", "\r", "\n")  # OWASP, "CSV injection": what makes a spreadsheet run a cell
_NUMBER = re.compile(r"[+-]?[0-9]+([.,][0-9]+)?")


@dataclass(frozen=True, slots=True)
class Table:
    """A table that was read whole.

    Attributes:
        path: as the user gave it.
        columns: names exactly as written; unique.
        rows: cells as text, each row as long as `columns`; blank rows are left out.
        lines: line number of each row in the file (a sheet's or Parquet file's row number, its header being 1).
        notes: what was decided while reading.
        kinds: of the columns, where a database says them: `int`, `float` or `str`; empty: all are text.
    """

    path: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]
    notes: tuple[str, ...] = ()
    kinds: tuple[type, ...] = ()

    def column(self, name: str) -> tuple[str, ...]:
        """All cells of one column, in row order."""
        position = self.columns.index(name)
        return tuple(row[position] for row in self.rows)


def read_table(path: str | Path, *, max_rows: int = MAX_ROWS) -> Table:
    """Read CSV, TSV, Parquet or XLSX, whichever the content is.

    Raises:
        SourceError: every problem at once, with line numbers.
    """
    name = brief(path)
    data = read_capped(path, MAX_TABLE_BYTES)
    notes: tuple[str, ...] = ()
    faults: list[str] = []
    if data.startswith(b"PAR1"):
        lines = read_parquet(data, name, max_rows)
    elif data.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        lines, notes = read_workbook(data, name, max_rows)
    elif data.startswith(b"\xd0\xcf\x11\xe0"):
        raise SourceError(f"{name} is a workbook of the old format; save it as XLSX or CSV")
    else:
        text, notes = decode_text(data, name)
        lines, faults = parse_rows(text, name, max_rows)
    return _table(path, lines, notes, faults)


def _table(path: str | Path, lines: list[Line], notes: tuple[str, ...], faults: list[str]) -> Table:
    name = brief(path)
    filled = [(line, cells) for line, cells in lines if any(cell.strip() for cell in cells)]
    if not filled:
        raise SourceError(faults or f"{name} is empty; expected a header line and rows")
    columns, rows = _drop_unnamed(filled[0][1], filled[1:])
    faults += _header_faults(name, columns) + _ragged(name, len(columns), rows)
    if not rows and not faults:
        faults.append(f"{name} has a header and no rows")
    if faults:
        raise SourceError(faults)
    blank = len(lines) - len(filled)
    notes += (f"{name}: {count(blank, 'row')} without any text left out",) if blank else ()
    return Table(str(path), tuple(columns), tuple(tuple(cells) for _, cells in rows), tuple(n for n, _ in rows), notes)


def _drop_unnamed(columns: list[str], rows: list[Line]) -> tuple[list[str], list[Line]]:
    """Without the nameless, empty columns at the right edge that spreadsheets add; short sheet rows are not cut."""
    width = max((i for i, column in enumerate(columns, 1) if column.strip()), default=0)
    return columns[:width], [
        (line, cells[:width] if not any(cell.strip() for cell in cells[width:]) else cells) for line, cells in rows
    ]


def _header_faults(name: str, columns: list[str]) -> list[str]:
    faults = []
    if len(columns) > MAX_COLUMNS:
        return [f"{name} has {len(columns):,} columns; expected at most {MAX_COLUMNS:,}"]
    if nameless := [number for number, column in enumerate(columns, 1) if not column.strip()]:
        faults.append(f"{name}: line 1 gives no name to column {some(nameless)}; name or remove it")
    counts = Counter(column.strip() for column in columns if column.strip())
    if twice := [column for column, times in counts.items() if times > 1]:
        faults.append(f"{name}: line 1 names a column twice: {some(twice)}; names must differ")
    return faults


def _ragged(name: str, width: int, rows: list[Line]) -> list[str]:
    odd = [f"line {line} has {len(cells)}" for line, cells in rows if len(cells) != width]
    if not odd:
        return []
    return [f"{name}: {count(len(odd), 'row')} do not have the header's {count(width, 'cell')}: {some(odd)}"]


# ---- out ------------------------------------------------------------------------------------------------------------


def check_ending(path: str | Path) -> str:
    """The ending of a table to write, so that a wrong one is found before hours of work.

    Raises:
        SourceError: naming the endings there are.
    """
    ending = Path(path).suffix.casefold()
    if ending not in ENDINGS:
        raise SourceError(f"cannot write {brief(path)}: the ending must be {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}")
    return ending


def write_table(
    path: str | Path, columns: Sequence[str], rows: Sequence[Sequence[Cell]], *, exact: bool = False
) -> None:
    """Write CSV, JSON Lines or Parquet by the ending; the file appears whole or not at all.

    Args:
        path: missing folders are made.
        columns: unique names.
        rows: each as long as `columns`; None and not-a-number are written as empty.
        exact: leave texts in CSV as they are although a spreadsheet would run them; for a submission, whose ids
            must be the sample's to the letter.

    Raises:
        SourceError: an unknown ending, or a place that cannot be written.
    """
    ending = check_ending(path)
    writers = {".csv": _write_csv, ".jsonl": _write_jsonl, ".parquet": _write_parquet}
    table = [[storable(cell) for cell in row] for row in rows]
    assert all(len(row) == len(columns) for row in table), "a row that is not as long as the header"  # noqa: S101
    if ending == ".csv" and not exact:
        columns = [str(neutral(column)) for column in columns]
        table = [[neutral(cell) for cell in row] for row in table]
    with whole_file(path) as part:
        writers[ending](part, columns, table)


def neutral(cell: Cell) -> Cell:
    """The cell with an apostrophe before it where a spreadsheet would run it; numbers stay numbers."""
    if isinstance(cell, str) and cell.startswith(_RUNS) and not _NUMBER.fullmatch(cell):
        return "'" + cell
    return cell


def storable(cell: Cell) -> Cell:
    """None for not-a-number, and text that can be written as UTF-8."""
    if isinstance(cell, float) and not math.isfinite(cell):
        return None
    return cell.encode(errors="backslashreplace").decode() if isinstance(cell, str) else cell


def _write_csv(path: Path, columns: Sequence[str], rows: list[list[Cell]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        for row in (columns, *rows):
            stream.write(_csv_line(row))


def _csv_line(row: Sequence[Cell]) -> str:
    """One row; Python 3.11 quotes a lone carriage return only where it is part of the line's end, so we let it be."""
    line = io.StringIO(newline="")
    csv.writer(line, lineterminator="\r\n").writerow(row)
    return line.getvalue().removesuffix("\r\n") + "\n"


def _write_jsonl(path: Path, columns: Sequence[str], rows: list[list[Cell]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        for row in rows:
            stream.write(json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False) + "\n")


def _write_parquet(path: Path, columns: Sequence[str], rows: list[list[Cell]]) -> None:
    import pyarrow
    import pyarrow.parquet

    arrays = [_array([row[i] for row in rows]) for i in range(len(columns))]
    pyarrow.parquet.write_table(pyarrow.table(arrays, names=list(columns)), path)


def _array(cells: list[Cell]) -> object:
    """A column of one type: numbers where all are numbers, else text."""
    import pyarrow

    given = [cell for cell in cells if cell is not None]
    if given and all(isinstance(cell, int | float) for cell in given):
        whole = all(isinstance(cell, int) for cell in given)
        return pyarrow.array(cells, type=pyarrow.int64() if whole else pyarrow.float64())
    return pyarrow.array([None if cell is None else str(cell) for cell in cells], type=pyarrow.string())
