"""The answers of a batch on disk: one Parquet file for each chunk of its manifest, whole or not there.

A part is a pure function of `batch.json` and the rows of its chunk, so whoever makes it, and however often, the bytes
are the same. A part that is there is believed only when its footer, its checksums, its rows and its ids say so.
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
from carspotter.data.table import storable
from carspotter.data.wording import brief, some
from carspotter.errors import SourceError
from carspotter.evaluation.answer import COLUMNS, answer_rows
from carspotter.records import Answer, Batch, Verdict

PLAN = "batch.json"
MAX_PLAN_BYTES = 100_000
"""Assumption: it takes 400."""
ABANDONED_AFTER = 3600.0
"""Seconds; assumption: a half-written file of this age belongs to a process that was killed."""

_PART = re.compile(r"part-([0-9]{5,})\.parquet")
_UNFINISHED = ".*.part"  # as `data/disk.py` names what is not whole yet

Counts = Mapping[str, int]
"""Verdict → photos."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The folder of a batch's answers. Plain values: it may be sent to other processes, and machines that see it.

    Attributes:
        folder: absolute.
        batch: what decides the answers.
    """

    folder: Path
    batch: Batch

    def path(self, chunk: int) -> Path:
        """The file of a chunk; names sort as the rows do."""
        return self.folder / f"part-{chunk:0{max(5, len(str(self.batch.chunks - 1)))}}.parquet"

    def write(self, chunk: int, answers: Sequence[Answer]) -> Counts:
        """Put the answers of a chunk on disk, in their order; returns when they would survive a power cut.

        Raises:
            SourceError: the folder cannot be written to.
        """
        import pyarrow
        import pyarrow.parquet

        _, rows = answer_rows(answers)
        schema = self._schema(chunk)
        columns = [[storable(row[at]) for row in rows] for at in range(len(COLUMNS))]
        table = pyarrow.table(columns, schema=schema)
        with whole_file(self.path(chunk)) as part:
            pyarrow.parquet.write_table(table, part, write_page_checksum=True)
        return Counter(answer.verdict.value for answer in answers)

    def read(self, chunk: int, ids: Sequence[str]) -> Counts:
        """The verdicts in the part of a chunk.

        Args:
            chunk: its number.
            ids: that the manifest has there.

        Raises:
            SourceError: it is not there, damaged, or no part of this batch.
        """
        import pyarrow
        import pyarrow.parquet

        path = self.path(chunk)
        try:
            file = pyarrow.parquet.ParquetFile(path, page_checksum_verification=True)
            if not file.schema_arrow.equals(self._schema(chunk), check_metadata=True):
                raise SourceError(f"{path.name} is no part of this batch")
            table = file.read()
            columns = {name: table.column(name).to_pylist() for name in ("id", "verdict")}
        except (pyarrow.ArrowException, OSError, ValueError) as fault:
            raise SourceError(f"{path.name} is damaged ({type(fault).__name__})") from None
        if columns["id"] != list(ids):
            raise SourceError(f"{path.name} has other rows than the manifest")
        counts = Counter(columns["verdict"])
        if counts.keys() - set(Verdict):
            raise SourceError(f"{path.name} has verdicts that there are none of")
        return counts

    def there(self) -> list[int]:
        """Chunks with a file, sound or not, in their order."""
        numbers = (int(found[1]) for path in self.folder.iterdir() if (found := _PART.fullmatch(path.name)))
        return sorted(number for number in numbers if number < self.batch.chunks and self.path(number).is_file())

    def _schema(self, chunk: int) -> Any:
        import pyarrow

        kinds = [pyarrow.float64() if name.startswith("probability") else pyarrow.string() for name in COLUMNS]
        schema = pyarrow.schema(list(zip(COLUMNS, kinds, strict=True)))
        return schema.with_metadata({"carspotter.batch": self.batch.hash, "carspotter.chunk": str(chunk)})


def open_parts(folder: str | Path, batch: Batch) -> Parts:
    """The folder of a batch, made or gone on with; what killed processes left half-written long ago is removed.

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
    return Parts(place, batch)


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
