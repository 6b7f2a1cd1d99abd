"""The seed's log as typed rows: names of columns made regular, cells parsed, every problem named with its line."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from carspotter.data.disk import read_capped
from carspotter.data.table import Table, read_table
from carspotter.data.wording import brief, some
from carspotter.errors import SourceError

DESCRIPTIONS = "descriptions.json"
MAX_DESCRIPTIONS = 1 << 20
"""Bytes (assumption): the seed's has 4 KB."""
CURVES = ("R_EPOCH_TIME", "R_LOSS", "R_ACC", "R_VAL_LOSS", "R_VAL_ACC")
"""One value per epoch."""
LISTS = (*CURVES, "R_BATCH_TIME", "R_TRAIN_TIME")
"""Cells that hold a list, as numpy (`[1. 2. ... 9.]`) or Python (`[1.0, 2.0]`) prints it."""
COLUMNS = (
    *("NUM_EXP", "TIME", *LISTS, "R_EVA_VAL_ACC", "R_EVA_VAL_LOSS"),
    *("AUG_ROTATION_RANGE", "AUG_BRIGHTNES_RANGE", "AUG_WIDTH_SHIFT_RANGE", "AUG_HEIGHT_SHIFT_RANGE"),
    *("AUG_HORIZONTAL_FLIP", "AUG_RESCALE", "AUG_VAL_SPLIT", "AUG_IMG_SIZE", "AUG_BATCH_SIZE", "AUG_TYPE"),
    *("M_BASE_TYPE", "M_EPOCHS", "M_CALLBACKS_TYPE", "M_EPOCHS_DROP", "M_LR_UPDATE"),
    *("H_DROPOUT_RATE", "H_USE_BIAS", "H_KERNEL_REG", "H_BATCHNORM"),
    *("C_LR", "C_OPTIMIZER_TYPE", "C_LOSS_TYPE"),
)
ALIASES = {"H_BATHNORM": "H_BATCHNORM"}
"""What the notebook also wrote, by a typing error → the column that is meant."""
LOOK_ALIKES = str.maketrans("АВЕЅІЈКМНОРСТУХΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "ABESIJKMHOPCTYXABEZHIKMNOPTYX")
"""Cyrillic and Greek capitals that look like Latin ones; a keyboard left in Russian types them unseen."""
ELLIPSIS = "..."


@dataclass(frozen=True, slots=True)
class Row:
    """One experiment of the log.

    Attributes:
        line: where it stands in the file.
        number: NUM_EXP, `7` where the log writes `7.0`.
        cells: column → text as written, all of `COLUMNS`.
        lists: column → its values as text, for `LISTS`; empty where the cell is. `...` stands for what numpy left out.
    """

    line: int
    number: str
    cells: Mapping[str, str]
    lists: Mapping[str, tuple[str, ...]]

    def values(self, column: str) -> tuple[float, ...]:
        """A list cell's numbers; what numpy left out is left out."""
        return tuple(float(text) for text in self.lists[column] if text != ELLIPSIS)

    def is_whole(self, column: str) -> bool:
        """Whether the list cell was written without `...`."""
        return ELLIPSIS not in self.lists[column]


@dataclass(frozen=True, slots=True)
class Log:
    """The whole log.

    Attributes:
        path: of the table.
        rows: in the order of the file; numbers are unique.
        descriptions: column → what the log says it is; empty texts are left out.
    """

    path: Path
    rows: tuple[Row, ...]
    descriptions: Mapping[str, str]


def read_log(place: str | Path) -> Log:
    """Read a log: a folder with one CSV and its `descriptions.json`, or the CSV with that beside it.

    Raises:
        SourceError: every problem at once, with line numbers.
    """
    path = _find_table(Path(place))
    faults: list[str] = []
    descriptions = _descriptions(path.with_name(DESCRIPTIONS), faults)
    try:
        rows = _rows(read_table(path), faults)
    except SourceError as fault:
        faults.extend(fault.problems)
    if faults:
        raise SourceError(faults)
    return Log(path, tuple(rows), descriptions)


def canonical(column: str) -> str:
    """A column's regular name: Latin letters, capitals, and the name that was meant."""
    letters = unicodedata.normalize("NFKC", column).strip().upper().translate(LOOK_ALIKES)
    return ALIASES.get(letters, letters)


def _find_table(place: Path) -> Path:
    if not place.is_dir():
        return place
    tables = sorted(path for path in place.iterdir() if path.suffix.casefold() == ".csv")
    if len(tables) != 1:
        found = some([path.name for path in tables]) if tables else "none"
        raise SourceError(f"{place} holds {len(tables)} CSV tables ({found}); expected one, or name the file itself")
    return tables[0]


def _descriptions(path: Path, faults: list[str]) -> dict[str, str]:
    try:
        stored = json.loads(read_capped(path, MAX_DESCRIPTIONS))
    except SourceError as fault:
        faults.extend(f"{problem}; it describes the columns, put it beside the table" for problem in fault.problems)
        return {}
    except ValueError as fault:
        faults.append(f"{path} is not JSON ({fault}); expected column names and a text for each")
        return {}
    if not isinstance(stored, dict) or not all(isinstance(text, str) for text in stored.values()):
        faults.append(f"{path} is not a JSON object of texts; expected column names and a text for each")
        return {}
    return {canonical(column): text for column, text in stored.items() if text.strip()}


def _rows(table: Table, faults: list[str]) -> list[Row]:
    name = brief(table.path)
    meant = [canonical(column) for column in table.columns]
    if lacking := [column for column in COLUMNS if column not in meant]:
        faults.append(f"{name} lacks {some(lacking, 40)}; expected the columns of the seed's log")
    if strange := [column for column, known in zip(table.columns, meant, strict=True) if known not in COLUMNS]:
        faults.append(f"{name} has columns of unknown meaning, {some(strange, 40)}; rename or remove them")
    if lacking or strange:
        return []
    rows = []
    for line, cells in zip(table.lines, table.rows, strict=True):
        where = f"{name}: line {line}"
        rows.append(_row(where, line, _merge(where, meant, cells, faults), faults))
    faults.extend(_number_faults(name, rows))
    return rows


def _merge(where: str, meant: Sequence[str], cells: Sequence[str], faults: list[str]) -> dict[str, str]:
    """One text for each column, also where a typing error gave it two."""
    merged = dict.fromkeys(COLUMNS, "")
    for column, cell in zip(meant, (cell.strip() for cell in cells), strict=True):
        if merged[column] and cell and merged[column] != cell:
            faults.append(f"{where} gives {column} twice, {brief(merged[column])} and {brief(cell)}; leave one of them")
        merged[column] = merged[column] or cell
    return merged


def _row(where: str, line: int, cells: dict[str, str], faults: list[str]) -> Row:
    number = _regular(cells["NUM_EXP"])
    lists = {}
    for column in LISTS:
        try:
            lists[column] = _list(cells[column])
        except ValueError as fault:
            faults.append(f"{where}: {column} {fault}")
            lists[column] = ()
    lengths = {column: len(lists[column]) for column in CURVES if lists[column]}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{column} {length}" for column, length in lengths.items())
        faults.append(f"{where}: a history needs one value per epoch in each column, got {shown}")
    return Row(line, number, cells, lists)


def _list(cell: str) -> tuple[str, ...]:
    """The values of a printed list, as text.

    Raises:
        ValueError: what is wrong with it.
    """
    if not cell:
        return ()
    if not (cell.startswith("[") and cell.endswith("]")):
        raise ValueError(f"is {brief(cell)!r}, a list without its brackets; it may have been cut off")
    items = tuple(item for item in re.split(r"[\s,]+", cell[1:-1]) if item)
    for item in items:
        if item != ELLIPSIS and number(item) is None:
            raise ValueError(f"holds {brief(item)!r}, expected numbers between its brackets")
    return items


def number(text: str) -> float | None:
    """A finite number, or None where the text is none."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _regular(text: str) -> str:
    """`7.0` and `7` are one experiment."""
    value = number(text)
    return str(int(value)) if value is not None and value == int(value) else text


def _number_faults(name: str, rows: Sequence[Row]) -> list[str]:
    seen: dict[str, int] = {}
    faults = []
    for row in rows:
        if not row.number:
            faults.append(f"{name}: line {row.line} has no NUM_EXP; number the experiment")
        elif row.number in seen:
            faults.append(f"{name}: lines {seen[row.number]} and {row.line} are both NUM_EXP {row.number}")
        seen.setdefault(row.number, row.line)
    return faults
