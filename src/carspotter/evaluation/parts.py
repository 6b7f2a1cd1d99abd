"""The answers of a batch on disk: one Parquet file for each chunk of its manifest, whole or not there.

A part is a pure function of `batch.json`, the rows of its chunk and their photos, so whoever makes it, and however
often, the bytes are the same. A part that is there is believed only when its footer, its checksums, its rows and its
ids say so. Of a part that is believed, the photos that could not be had are asked for again.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from carspotter.data.disk import check_writable, read_capped, whole_file
from carspotter.data.table import Cell, storable
from carspotter.data.wording import brief, some
from carspotter.errors import NOT_HAD, Reason, SourceError
from carspotter.evaluation.answer import COLUMNS
from carspotter.records import Batch, Verdict

PLAN = "batch.json"
MAX_PLAN_BYTES = 100_000
"""Assumption: it takes 400."""
ABANDONED_AFTER = 3600.0
"""Seconds; assumption: a half-written file of this age belongs to a process that was killed."""

_PART = re.compile(r"part-([0-9]{5,})\.parquet")
_UNFINISHED = ".*.part"  # as `data/disk.py` names what is not whole yet

Counts = Mapping[str, int]
"""Verdict, or the reason code of a bad photo → photos."""
Row = tuple[Cell, ...]
"""One of `COLUMNS`, as `answer_rows` gives it."""
KINDS = frozenset(map(str, (*Verdict, *Reason)))


@dataclass(frozen=True, slots=True)
class Parts:
    """The folder of a batch's answers. Plain values: it may be sent to other processes, and machines that see it.

    Attributes:
        folder: absolute.
        batch: what decides the answers.
        again: reasons whose photos are asked for again.
    """

    folder: Path
    batch: Batch
    again: frozenset[Reason] = NOT_HAD

    def path(self, chunk: int) -> Path:
        """The file of a chunk; names sort as the rows do."""
        return self.folder / f"part-{chunk:0{max(5, len(str(self.batch.chunks - 1)))}}.parquet"

    def must_be_here(self) -> None:
        """Pass where the folder is that of this batch, as every process sees it that makes a part; it is never made.

        Raises:
            SourceError: it is not, as on a machine where a shared disk is not mounted.
        """
        if not (plan := self.folder / PLAN).exists() or _read_plan(plan) != self.batch:
            raise SourceError(
                f"{brief(self.folder)} is not the folder of this batch on this machine; let all machines see the same "
                "one under the same path"
            )

    def write(self, chunk: int, rows: Sequence[Row]) -> None:
        """Put the rows of a chunk on disk, in their order; returns when they would survive a power cut.

        Raises:
            SourceError: the folder cannot be written to.
        """
        import pyarrow
        import pyarrow.parquet

        schema = self._schema(chunk)
        columns = [[storable(row[at]) for row in rows] for at in range(len(COLUMNS))]
        table = pyarrow.table(columns, schema=schema)
        with whole_file(self.path(chunk)) as part:
            pyarrow.parquet.write_table(table, part, write_page_checksum=True)

    def read(self, chunk: int, ids: Sequence[str] | None = None) -> Counts:
        """What stands in the part of a chunk.

        Args:
            chunk: its number.
            ids: that the manifest has there; None does not compare them.

        Raises:
            SourceError: it is not there, damaged, or no part of this batch.
        """
        return Counter(_kinds(self._table(chunk, ids)))

    def final(self, chunk: int, ids: Sequence[str]) -> list[Row | None]:
        """The rows of a chunk that stay as they are; None where a photo is to be asked for."""
        try:
            table = self._table(chunk, ids)
        except SourceError:
            return [None] * len(ids)
        rows = zip(*table.to_pydict().values(), strict=True)
        return [None if kind in self.again else row for kind, row in zip(_kinds(table), rows, strict=True)]

    def _table(self, chunk: int, ids: Sequence[str] | None) -> Any:
        import pyarrow
        import pyarrow.parquet

        path = self.path(chunk)
        try:
            file = pyarrow.parquet.ParquetFile(path, page_checksum_verification=True)
            if not file.schema_arrow.equals(self._schema(chunk), check_metadata=True):
                raise SourceError(f"{path.name} is no part of this batch")
            table = file.read()
            found, kinds = table.column("id").to_pylist(), set(_kinds(table))
        except (pyarrow.ArrowException, OSError, ValueError) as fault:
            raise SourceError(f"{path.name} is damaged ({type(fault).__name__})") from None
        if table.num_rows != self.batch.rows_of(chunk) or list(ids or found) != found:
            raise SourceError(f"{path.name} has other rows than the manifest")
        if kinds - KINDS:
            raise SourceError(f"{path.name} has verdicts that there are none of")
        return table

    def there(self) -> list[int]:
        """Chunks with a file, sound or not, in their order."""
        numbers = (int(found[1]) for path in self.folder.iterdir() if (found := _PART.fullmatch(path.name)))
        return sorted(number for number in numbers if number < self.batch.chunks and self.path(number).is_file())

    def _schema(self, chunk: int) -> Any:
        import pyarrow

        kinds = [pyarrow.float64() if name.startswith("probability") else pyarrow.string() for name in COLUMNS]
        schema = pyarrow.schema(list(zip(COLUMNS, kinds, strict=True)))
        return schema.with_metadata({"carspotter.batch": self.batch.hash, "carspotter.chunk": str(chunk)})


def _kinds(table: Any) -> list[str]:
    """Of each row its verdict, or the reason code of a bad photo."""
    cells = zip(table.column("verdict").to_pylist(), table.column("reason").to_pylist(), strict=True)
    return [str(reason).partition(":")[0] if verdict == Verdict.BAD_PHOTO else verdict for verdict, reason in cells]


def open_parts(folder: str | Path, batch: Batch, again: frozenset[Reason] = NOT_HAD) -> Parts:
    """The folder of a batch, made or gone on with; what killed processes left half-written long ago is removed.

    Args:
        folder: named by the user.
        batch: what decides the answers.
        again: reasons whose photos are asked for again.

    Raises:
        SourceError: the folder cannot be written to, or holds parts of another batch; every difference is named.
    """
    place = Path(folder).absolute()
    plan = place / PLAN
    check_writable(plan)
    if plan.exists():
        _compare(_read_plan(plan), batch, folder)
    elif strange := sorted(path.name for path in place.iterdir() if _PART.fullmatch(path.name)):
        raise SourceError(f"{brief(folder)} holds {some(strange)} but no {PLAN}; name another folder")
    else:
        with whole_file(plan) as part:
            part.write_text(batch.model_dump_json(indent=2) + "\n", encoding="utf-8")
        _compare(_read_plan(plan), batch, folder)  # two may have begun at once
    _sweep(place)
    return Parts(place, batch, again)


def _read_plan(path: Path) -> Batch:
    try:
        return Batch.model_validate_json(read_capped(path, MAX_PLAN_BYTES))
    except ValidationError:
        raise SourceError(f"{brief(path)} is damaged or of a newer version; name another folder") from None


def _compare(kept: Batch, batch: Batch, folder: str | Path) -> None:
    before, now = kept.model_dump(), batch.model_dump()
    problems = [
        f"{brief(folder)} holds a batch with {name} {_short(before[name])}, this one has {_short(now[name])}; name "
        "another folder"
        for name in now
        if before[name] != now[name]
    ]
    if problems:
        raise SourceError(problems)


def _short(value: object) -> str:
    text = str(value)
    return text[:12] if len(text) == 64 else text  # a hash


def _sweep(folder: Path) -> None:
    for path in folder.glob(_UNFINISHED):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > ABANDONED_AFTER:
                path.unlink()
