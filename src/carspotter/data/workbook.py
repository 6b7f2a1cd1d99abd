"""Parquet and XLSX as rows of text; nothing in them is ever evaluated, and both are capped."""

from __future__ import annotations

import io
import math
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from datetime import date, datetime, time
from typing import Any
from xml.etree.ElementTree import ParseError

from carspotter.data.delimited import Line
from carspotter.data.wording import some
from carspotter.errors import SourceError

MAX_INSIDE_BYTES = 200_000_000
"""What a workbook or Parquet file may unpack to (assumption; a million rows of ids and labels are 30 MB)."""
MAX_ENTRIES = 2_000
"""Files inside an XLSX (assumption; a workbook with a chart on each of 100 sheets has about 500)."""
MAX_COLUMNS = 1_000
"""Columns of any table (assumption)."""

# What openpyxl, zipfile and the XML parser were seen to raise on damaged workbooks.
_WORKBOOK_FAULTS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    ParseError,
    AttributeError,
    EOFError,
    IndexError,
    KeyError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
)


def read_workbook(data: bytes, name: str, max_rows: int) -> tuple[list[Line], tuple[str, ...]]:
    """Rows of an XLSX's first sheet, with notes; a formula is its stored result, an unsaved result is empty.

    Raises:
        SourceError: not a workbook, damaged, or beyond a cap.
    """
    import openpyxl

    _cap_zip(data, name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # openpyxl warns about styles and validations that it drops
            book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True, keep_links=False)
            sheet = book.worksheets[0]
            sheet.reset_dimensions()  # the declared size may lie, and costs memory when it does
            rows = list(_capped(_sheet_rows(sheet, name, max_rows), name))
    except _WORKBOOK_FAULTS as fault:
        raise SourceError(f"{name} is a damaged workbook ({type(fault).__name__}); save it again as CSV") from None
    others = [other.title for other in book.worksheets[1:]]
    width = max((len(cells) for _, cells in rows), default=0)  # a sheet does not store empty cells at a row's end
    rows = [(line, cells + [""] * (width - len(cells))) for line, cells in rows]
    return rows, ((f"{name}: only the sheet {sheet.title!r} was read, not {some(others)}",) if others else ())


def read_parquet(data: bytes, name: str, max_rows: int) -> list[Line]:
    """Header and rows of a Parquet file; an empty value is an empty text.

    Raises:
        SourceError: damaged, nested columns, or beyond a cap.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(io.BytesIO(data))
        _cap_parquet(file.metadata, file.schema_arrow, name, max_rows)
        columns = [str(column) for column in file.schema_arrow.names]
        # Texts stay as the dictionary they are stored in: spelled out, one of 100 KB in each of a million rows of a
        # file of 8 KB would take 100 GB.
        file = pyarrow.parquet.ParquetFile(io.BytesIO(data), read_dictionary=columns)
        return [(1, columns), *_capped(_parquet_rows(file), name)]
    except (pyarrow.ArrowException, OSError, OverflowError, ValueError) as fault:  # a date may lie beyond the year 9999
        raise SourceError(f"{name} is a damaged Parquet file ({type(fault).__name__}); write it again") from None


def _cap_zip(data: bytes, name: str) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as inside:
            entries = inside.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, struct.error, NotImplementedError) as fault:
        raise SourceError(f"{name} is not a sound XLSX ({type(fault).__name__}); save it again as CSV") from None
    if not any(entry.filename.casefold() == "xl/workbook.xml" for entry in entries):
        raise SourceError(f"{name} is a zip without a workbook; expected CSV, TSV, Parquet or XLSX")
    total = sum(entry.file_size for entry in entries)  # zipfile never reads more of an entry than it declares
    if total > MAX_INSIDE_BYTES or len(entries) > MAX_ENTRIES:
        raise SourceError(
            f"{name} unpacks to {total:,} bytes in {len(entries):,} files; expected at most {MAX_INSIDE_BYTES:,} "
            f"in {MAX_ENTRIES:,}; save it as CSV"
        )


def _sheet_rows(sheet: Any, name: str, max_rows: int) -> Iterator[Line]:
    for line, values in enumerate(sheet.iter_rows(values_only=True), 1):
        if line > max_rows + 1:  # a gap before a far row counts too: openpyxl fills it with empty rows
            raise SourceError(f"{name} has rows beyond line {max_rows + 1:,}; split the table")
        if len(values) > MAX_COLUMNS:
            raise SourceError(f"{name}: line {line} has {len(values):,} columns; expected at most {MAX_COLUMNS:,}")
        yield line, [cell_text(value) for value in values]


def _capped(lines: Iterator[Line], name: str) -> Iterator[Line]:
    """The same lines while their texts together stay within the cap: a text stored once may stand in every row."""
    total = 0
    for line, cells in lines:
        total += sum(map(len, cells))
        if total > MAX_INSIDE_BYTES:
            raise SourceError(
                f"{name}: up to line {line:,} its cells hold {total:,} characters; expected at most "
                f"{MAX_INSIDE_BYTES:,} in all; leave long columns out"
            )
        yield line, cells


def _cap_parquet(meta: Any, schema: Any, name: str, max_rows: int) -> None:
    import pyarrow.types as kinds

    inside = sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))
    if meta.num_rows > max_rows or inside > MAX_INSIDE_BYTES or len(schema) > MAX_COLUMNS:
        raise SourceError(
            f"{name} has {meta.num_rows:,} rows, {len(schema):,} columns, {inside:,} bytes; expected at "
            f"most {max_rows:,}, {MAX_COLUMNS:,} and {MAX_INSIDE_BYTES:,}; split the table"
        )
    odd = [f"{f.name} ({f.type})" for f in schema if kinds.is_nested(f.type) or _is_bytes(f.type)]
    if odd:
        raise SourceError(f"{name}: the columns {some(odd)} hold neither text nor numbers; leave them out")


def _is_bytes(kind: Any) -> bool:
    import pyarrow.types as kinds

    return bool(kinds.is_binary(kind) or kinds.is_large_binary(kind) or kinds.is_fixed_size_binary(kind))


def _parquet_rows(file: Any) -> Iterator[Line]:
    line = 2
    for batch in file.iter_batches():
        for cells in zip(*(_texts(column) for column in batch.columns), strict=True):
            yield line, list(cells)
            line += 1


def _texts(column: Any) -> list[str]:
    """A column as text; equal texts of a dictionary are one text in memory."""
    import pyarrow

    if not isinstance(column, pyarrow.DictionaryArray):
        return [cell_text(value) for value in column.to_pylist()]
    words = [cell_text(value) for value in column.dictionary.to_pylist()]
    return ["" if at is None else words[at] for at in column.indices.to_pylist()]


def cell_text(value: Any) -> str:
    """A cell as a person would type it; text stays as it is, to the letter."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    return str(value)
