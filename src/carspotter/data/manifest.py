"""Which photos a batch answers: a Parquet table with the text columns `id` and `uri`, as long as it likes.

It is looked through once before any work starts, and then read a chunk at a time; it is never whole in memory. What
is kept of each row meanwhile is a hash of eight bytes, to find ids that stand twice.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from carspotter.data.disk import hash_file
from carspotter.data.files import NotAFile, open_regular
from carspotter.data.remote import check_driver
from carspotter.data.uri import parse_uri, scheme_of
from carspotter.data.wording import brief, cause, count, some
from carspotter.errors import ManyProblems, SourceError
from carspotter.records import Location, Photo

COLUMNS = ("id", "uri")
MAX_ROWS = 200_000_000
"""Assumption: their hashes take 3.2 GB while they are sorted; split a longer manifest."""
MAX_CELL_BYTES = 4096
"""Longest id or uri (assumption; S3 allows keys of 1,024 bytes)."""
MAX_GROUP_BYTES = 2**30
"""What one row group may unpack to (assumption; pyarrow puts 1,048,576 rows into one, 120 MB here)."""
BATCH_ROWS = 8192
"""Rows in memory while it is looked through (assumption; with the longest cells 67 MB)."""
MAX_SUSPECTS = 10_000
"""Hashes met twice that are looked into. Among `MAX_ROWS` different ids less than one pair would share its hash."""

Hashes = npt.NDArray[np.uint64]
Row = tuple[int, bytes | None, bytes | None]
"""Number, counted from 1; id; uri."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest that was looked through. Plain values: it may be sent to other processes and machines.

    Attributes:
        path: absolute.
        rows: photos.
        chunk_rows: rows of each chunk but the last.
        fingerprint: sha256 of the file, hex.
        folder: that its relative places start from; empty where all are absolute.
        groups: rows of each row group.
        stamp: size and time of change of the file that was looked through.
    """

    path: str
    rows: int
    chunk_rows: int
    fingerprint: str
    folder: str
    groups: tuple[int, ...]
    stamp: tuple[int, int]

    @property
    def chunks(self) -> int:
        """How many there are."""
        return -(-self.rows // self.chunk_rows)

    def read(self, chunk: int) -> tuple[Photo, ...]:
        """The photos of one chunk, in their order.

        Raises:
            SourceError: the file changed since it was looked through, or cannot be read.
        """
        start = chunk * self.chunk_rows
        stop = min(start + self.chunk_rows, self.rows)
        with _opened(self.path, lengths_known=True) as (file, stamp):
            if stamp != self.stamp:
                raise SourceError(f"{brief(self.path)} changed while it was worked through; start again with it")
            rows = list(_rows(file, *_cover(self.groups, start, stop)))
        return tuple(Photo(_text(name), parse_uri(_text(uri), self.folder)) for _, name, uri in rows)

    def ids(self, chunk: int) -> tuple[str, ...]:
        """The ids of one chunk."""
        return tuple(photo.id for photo in self.read(chunk))


def open_manifest(path: str | Path, *, chunk_rows: int) -> Manifest:
    """Look through a manifest: columns, ids, uris, and whether its stores can be read.

    Raises:
        SourceError: every problem at once, with row numbers; the first row behind the header is row 1.
        MissingExtra: it names photos in S3, whose driver is not installed.
    """
    place, name = str(Path(path).absolute()), brief(path)
    with _opened(place) as (file, stamp):
        groups = _checked(file, name)
        seen = _Seen(name, sum(groups))
        for row in _rows(file):
            seen.take(row)
        problems = [*seen.problems(), *_twice(file, name, seen.hashes)]
        if problems:
            raise SourceError(problems)
        _check_drivers(seen.schemes)
        fingerprint = hash_file(Path(place))
    folder = str(Path(place).parent) if seen.relative else ""
    return Manifest(place, sum(groups), chunk_rows, fingerprint, folder, groups, stamp)


# ---- the file -------------------------------------------------------------------------------------------------------


@contextmanager
def _opened(path: str, lengths_known: bool = False) -> Iterator[tuple[Any, tuple[int, int]]]:
    """The Parquet file, and its size and time of change.

    Args:
        path: absolute.
        lengths_known: of all texts. Until then they stay as the dictionary they are stored in (five times slower): a
            text stored once may stand in every row.

    Raises:
        SourceError: also for what goes wrong inside the block because the file is damaged.
    """
    import pyarrow

    name = brief(path)
    try:
        with os.fdopen(open_regular(path), "rb") as stream:
            found = os.fstat(stream.fileno())
            yield _parquet(stream, () if lengths_known else COLUMNS), (found.st_size, found.st_mtime_ns)
    except NotAFile as fault:
        raise SourceError(f"{name} is {fault}; expected a manifest, a Parquet file") from None
    except (pyarrow.ArrowException, ValueError, OSError) as fault:
        if isinstance(fault, OSError) and fault.errno is not None:
            raise SourceError(f"cannot read {name}: {cause(fault)}") from None
        raise SourceError(f"{name} is no sound Parquet file ({type(fault).__name__}); write it again") from None


def _parquet(stream: Any, dictionary: Sequence[str]) -> Any:
    import pyarrow.parquet

    try:
        # The buffer lets a column be read in pieces, not a whole row group at once.
        return pyarrow.parquet.ParquetFile(stream, read_dictionary=dictionary, buffer_size=2**20, pre_buffer=False)
    except KeyError:  # a column that is not there, which is about to be said
        return pyarrow.parquet.ParquetFile(stream)


def _checked(file: Any, name: str) -> tuple[int, ...]:
    """Rows of each group, when columns and sizes are as they should be."""
    meta, schema = file.metadata, file.schema_arrow
    problems = [f"{name} has {fault}" for fault in _column_faults(schema)]
    groups = [meta.row_group(at) for at in range(meta.num_row_groups)]
    rows = sum(group.num_rows for group in groups)
    if not rows:
        problems.append(f"{name} has no rows; expected one for each photo")
    if rows > MAX_ROWS:
        problems.append(f"{name} has {rows:,} rows; expected at most {MAX_ROWS:,}: split it")
    if (largest := max((group.total_byte_size for group in groups), default=0)) > MAX_GROUP_BYTES:
        problems.append(
            f"{name} has a row group of {largest:,} bytes; expected at most {MAX_GROUP_BYTES:,}: write it with fewer "
            "rows in each, as pyarrow's row_group_size=100_000"
        )
    if problems:
        raise SourceError(problems)
    return tuple(group.num_rows for group in groups)


def _column_faults(schema: Any) -> Iterator[str]:
    times = Counter(schema.names)
    for column in COLUMNS:
        if not times[column]:
            yield f"no column {column}, but {some(schema.names) or 'none'}; expected the text columns id and uri"
        elif times[column] > 1:
            yield f"{times[column]} columns called {column}; expected one"
        elif not _is_text(kind := _kind(schema.field(column).type)):
            yield f"{kind} in its column {column}; expected text"


def _kind(kind: Any) -> Any:
    import pyarrow.types as kinds

    return kind.value_type if kinds.is_dictionary(kind) else kind


def _is_text(kind: Any) -> bool:
    import pyarrow.types as kinds

    return bool(kinds.is_string(kind) or kinds.is_large_string(kind))


def _rows(file: Any, groups: Sequence[int] | None = None, skip: int = 0, most: int = MAX_ROWS) -> Iterator[Row]:
    """All rows, or at most so many of some row groups, behind those that are skipped; numbers count from the first."""
    number = 0
    for batch in file.iter_batches(BATCH_ROWS, row_groups=groups, columns=list(COLUMNS)):
        inside = batch.slice(max(0, skip - number), max(0, skip + most - max(skip, number)))
        before, number = max(skip, number), number + batch.num_rows
        names, uris = (_cells(inside.column(column), column, before) for column in COLUMNS)
        for at, (name, uri) in enumerate(zip(names, uris, strict=True), before + 1):
            yield at, name, uri
        if number >= skip + most:
            return


def _cells(column: Any, title: str, before: int) -> list[bytes | None]:
    """The texts of a column, as bytes: whether they are UTF-8 is not known yet.

    Raises:
        SourceError: one is too long; a text stored once may stand in every row, so this is known before it does.
    """
    import pyarrow
    import pyarrow.compute

    if pyarrow.types.is_dictionary(column.type):
        lengths = pyarrow.compute.binary_length(column.dictionary).take(column.indices)
        long = pyarrow.compute.index(pyarrow.compute.greater(lengths, MAX_CELL_BYTES), True).as_py()
        if long >= 0:
            raise SourceError(
                f"the {title} of row {before + long + 1:,} has {lengths[long].as_py():,} bytes; expected at most "
                f"{MAX_CELL_BYTES:,}"
            )
        column = column.dictionary_decode()
    cells: list[bytes | None] = column.cast(pyarrow.large_binary()).to_pylist()
    return cells


def _cover(groups: Sequence[int], start: int, stop: int) -> tuple[list[int], int, int]:
    """The row groups that hold the rows from `start` to `stop`, how many to skip in them, and how many to take."""
    ends = np.cumsum(groups)
    low, high = (int(np.searchsorted(ends, at, side="right")) for at in (start, stop - 1))
    return list(range(low, high + 1)), start - (int(ends[low - 1]) if low else 0), stop - start


def _text(cell: bytes | None) -> str:
    return "" if cell is None else cell.decode()


# ---- its rows -------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Faults:
    """Rows with one kind of fault: the first few, and how many there are."""

    shown: list[str] = field(default_factory=list)
    rows: int = 0

    def add(self, row: int, what: str = "") -> None:
        self.rows += 1
        if len(self.shown) < 3:
            self.shown.append(f"row {row:,}{what}")

    def __str__(self) -> str:
        more = self.rows - len(self.shown)
        return ", ".join(self.shown) + (f" and {more:,} more" if more else "")


class _Seen:
    """What is known of a manifest's rows while it is looked through.

    Attributes:
        hashes: (rows,) of the ids.
        schemes: of the stores that are named.
        relative: whether any place starts from the manifest's folder.
    """

    def __init__(self, name: str, rows: int) -> None:
        self.hashes: Hashes = np.zeros(rows, dtype=np.uint64)
        self.schemes: set[str] = set()
        self.relative = False
        self._name = name
        self._faults: dict[str, _Faults] = {}

    def take(self, row: Row) -> None:
        number, name, uri = row
        self.hashes[number - 1] = _hash(name or b"")
        if (fault := _text_fault(name)) is not None:
            self._fault(f"id {fault}", number)
        if (fault := _text_fault(uri)) is not None:
            self._fault(f"uri {fault}", number)
        else:
            self._place(number, _text(uri))

    def problems(self) -> list[str]:
        return [f"{self._name}: the {kind} in {rows}" for kind, rows in self._faults.items()]

    def _place(self, number: int, uri: str) -> None:
        try:
            place = parse_uri(uri, "")
        except ValueError as fault:
            self._fault("uri names no place", number, f" ({brief(uri)} {fault})")
        else:
            self.schemes.add(scheme_of(uri))
            self.relative |= isinstance(place, Location) and not os.path.isabs(place.path)  # noqa: PTH117 - as in `uri.py`

    def _fault(self, kind: str, number: int, what: str = "") -> None:
        self._faults.setdefault(kind, _Faults()).add(number, what)


def _text_fault(cell: bytes | None) -> str | None:
    if cell is None or not cell.strip():
        return "is empty"
    try:
        cell.decode()
    except UnicodeDecodeError:
        return "is not UTF-8"
    return None


def _hash(name: bytes) -> int:
    return int.from_bytes(blake2b(name, digest_size=8).digest(), "little")


def _twice(file: Any, name: str, hashes: Hashes) -> list[str]:
    """A sentence when ids stand in several rows; hashes only say where to look."""
    ordered = np.sort(hashes)
    suspects = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    if not suspects.size:
        return []
    looked_at = np.isin(hashes, suspects[:MAX_SUSPECTS])
    first: dict[bytes, int] = {}
    faults = _Faults()
    for number, id_, _ in _rows(file):
        if id_ and looked_at[number - 1] and (before := first.setdefault(id_, number)) != number:
            faults.add(number, f" ({brief(id_.decode(errors='backslashreplace'))}, as row {before:,})")
    if not faults.rows:
        return []
    least = "at least " if suspects.size > MAX_SUSPECTS else ""
    return [f"{name}: {least}{count(faults.rows, 'row')} with an id that stands before: {faults}; ids must differ"]


def _check_drivers(schemes: set[str]) -> None:
    problems: list[str] = []
    for scheme in sorted(schemes - {"", "file"}):
        try:
            check_driver(scheme)
        except ManyProblems as fault:
            problems += fault.problems
    if problems:
        raise SourceError(problems)
