"""Text tables: bytes in any usual encoding become rows of cells, each cell exactly as written."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator
from itertools import islice

from carspotter.data.wording import brief
from carspotter.errors import SourceError

DELIMITERS = (",", ";", "\t")
SAMPLE_ROWS = 20
"""Rows that decide the delimiter (assumption)."""

Line = tuple[int, list[str]]
"""Line number (from 1) of a row's first character, and its cells."""

_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_BINARY = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")


def decode_text(data: bytes, name: str) -> tuple[str, tuple[str, ...]]:
    """The text and notes on how it was read.

    UTF-8 and UTF-16 by their marks, then UTF-8, then cp1251 (what Russian Excel writes as CSV).

    Raises:
        SourceError: NUL or other control characters, or UTF-8 with damage; names the line.
    """
    encoding = next((name for mark, name in _BOMS if data.startswith(mark)), None)
    notes: tuple[str, ...] = ()
    try:
        text = data.decode(encoding or "utf-8")
    except UnicodeDecodeError as fault:
        if encoding or _is_damaged_utf8(data):
            line = data.count(b"\n", 0, fault.start) + 1
            raise SourceError(
                f"{name}: line {line} is not {fault.encoding} ({fault.reason}); save the table as UTF-8"
            ) from None
        text, notes = _cp1251(data, name), (f"{name} is not UTF-8 and was read as cp1251",)
    _refuse_binary(text, name)
    return text, notes


def parse_rows(text: str, name: str, max_rows: int) -> tuple[list[Line], list[str]]:
    """Every row that is not blank, and the problem that stopped the reading, if any."""
    rows: list[Line] = []
    try:
        for line, cells in _rows(text, find_delimiter(text)):
            if len(rows) > max_rows:
                return rows, [f"{name} has more than {max_rows:,} rows; split the table"]
            if cells:
                rows.append((line, cells))
    except csv.Error as fault:
        line = rows[-1][0] + 1 if rows else 1
        what = f"the quotes do not match or a cell is too long ({fault})"
        return rows, [f"{name}: from line {line} on, {what}; double a quote inside a quoted cell"]
    return rows, []


def find_delimiter(text: str) -> str:
    """The delimiter with which the header and the first rows agree on the most columns."""
    head = "".join(islice(io.StringIO(text, newline=""), SAMPLE_ROWS + 1))

    def agreement(delimiter: str) -> tuple[int, int]:
        widths = [len(cells) for _, cells in _rows(head, delimiter, strict=False) if cells]
        if not widths or widths[0] == 1:
            return (0, 0)
        return (sum(width == widths[0] for width in widths), widths[0])

    return max(DELIMITERS, key=agreement)  # the first of equals, so a comma where nothing decides


def _rows(text: str, delimiter: str, *, strict: bool = True) -> Iterator[Line]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=strict)
    start = 1
    for cells in reader:
        yield start, cells
        start = reader.line_num + 1


def _is_damaged_utf8(data: bytes) -> bool:
    """Whether most of what is beyond ASCII is sound UTF-8; in cp1251 text hardly anything is."""
    text = data.decode("utf-8", errors="replace")
    broken = text.count("\ufffd")
    return sum(c > "\x7f" for c in text) - broken > broken


def _cp1251(data: bytes, name: str) -> str:
    try:
        return data.decode("cp1251")
    except UnicodeDecodeError as fault:
        line = data.count(b"\n", 0, fault.start) + 1
        raise SourceError(f"{name}: line {line} is neither UTF-8 nor cp1251; save the table as UTF-8") from None


def _refuse_binary(text: str, name: str) -> None:
    if (found := _BINARY.search(text)) is None:
        return
    line = text.count("\n", 0, found.start()) + 1
    what = "a NUL character" if found[0] == "\0" else f"the control character {brief(found[0])}"
    raise SourceError(f"{name}: line {line} holds {what}; expected a text table, save it as UTF-8 CSV")
