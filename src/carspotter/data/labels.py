"""A table's rows and a place's photos become labelled photos; everything that does not fit is said at once."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from carspotter.data.known import recognise
from carspotter.data.listing import Listing
from carspotter.data.table import Table, read_table
from carspotter.data.wording import brief, count, some
from carspotter.errors import Reason, SourceError
from carspotter.records import Photo, Rejected

ID_COLUMNS = ("id", "file", "photo", "path")
LABEL_COLUMNS = ("category", "label", "model", "class")
GROUP_COLUMNS = ("group",)
NAME_COLUMNS = ("name",)
_INTEGER = re.compile(r"[+-]?[0-9]+")


@dataclass(frozen=True, slots=True)
class Columns:
    """Column names, as asked for or as found; None: not asked for, or not there."""

    id: str | None = None
    label: str | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a label table; texts exactly as written, `line` from 1."""

    id: str
    code: str | None
    group: str | None
    line: int


# ---- columns and rows -----------------------------------------------------------------------------------------------


def find_columns(table: Table, asked: Columns) -> Columns:
    """The columns to use: those asked for, else by their usual names, whatever their case.

    Raises:
        SourceError: a column that is asked for or needed is not there, or several could be meant.
    """
    faults: list[str] = []
    found = Columns(
        _column(table, asked.id, ID_COLUMNS, "id", faults),
        _column(table, asked.label, LABEL_COLUMNS, "label", faults),
        _column(table, asked.group, GROUP_COLUMNS, "group", faults),
    )
    if faults:
        raise SourceError(faults)
    return found


def find_ids(table: Table, asked: str | None) -> tuple[str, ...]:
    """The photo's id of every row, whatever the other columns are called.

    Raises:
        SourceError: as `find_columns`.
    """
    faults: list[str] = []
    name = _column(table, asked, ID_COLUMNS, "id", faults)
    if name is None or faults:
        raise SourceError(faults)
    return table.column(name)


def sample_columns(sample: Table) -> tuple[str, str]:
    """The columns of a contest's sample: the id and the category; of two columns, one known name tells both.

    Raises:
        SourceError: they cannot be told apart.
    """
    ids, categories = (
        [column for column in sample.columns if column.strip().casefold() in usual]
        for usual in (ID_COLUMNS, LABEL_COLUMNS)
    )
    if len(sample.columns) == 2 and len(ids) + len(categories) == 1:
        other = next(column for column in sample.columns if column not in (*ids, *categories))
        ids, categories = ids or [other], categories or [other]
    if len(ids) != 1 or len(categories) != 1:
        raise SourceError(
            f"{brief(sample.path)} has the columns {some(sample.columns, 8)}; expected one id "
            f"({', '.join(ID_COLUMNS)}) and one category ({', '.join(LABEL_COLUMNS)}): rename them"
        )
    return ids[0], categories[0]


def _column(table: Table, asked: str | None, usual: Sequence[str], role: str, faults: list[str]) -> str | None:
    name = brief(table.path)
    if asked is not None:
        if asked not in table.columns:
            faults.append(f"{name} has no column {asked!r}; it has {some(table.columns, 10)}")
        return asked
    found = [column for column in table.columns if column.strip().casefold() in usual]
    if len(found) > 1:
        faults.append(f"{name}: the {role} could be {some(found, 5)}; name one with --{role}-column")
    elif not found and role != "group":
        faults.append(
            f"{name} has no {role} column among {some(table.columns, 10)}; "
            f"expected one of {', '.join(usual)}, or name it with --{role}-column"
        )
    return found[0] if found else None


def table_rows(table: Table, columns: Columns) -> list[Row]:
    """The rows as written."""
    cells = [
        table.column(name) if name is not None else (None,) * len(table.rows)
        for name in (columns.id, columns.label, columns.group)
    ]
    return [Row(str(i), code, group, line) for i, code, group, line in zip(*cells, table.lines, strict=True)]


def row_faults(name: str, rows: Sequence[Row]) -> list[str]:
    """Empty ids, ids given twice, and empty labels, each kind as one line with its line numbers."""
    lines: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        lines[row.id].append(row.line)
    twice = [f"{brief(i)} (lines {some(at)})" for i, at in lines.items() if len(at) > 1 and i.strip()]
    no_id = [row.line for row in rows if not row.id.strip()]
    no_label = [row.line for row in rows if row.code is not None and not row.code.strip()]
    faults = []
    if no_id:
        faults.append(f"{name}: {count(len(no_id), 'row')} without an id: line {some(no_id)}; fill or remove them")
    if twice:
        faults.append(f"{name}: {count(len(twice), 'id')} given more than once: {some(twice)}; keep one row of each")
    if no_label:
        faults.append(f"{name}: {count(len(no_label), 'row')} without a label: line {some(no_label)}; fill or remove")
    return faults


# ---- classes --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Classes:
    """Codes in class order and the name of each; `notes` say where the names are from."""

    codes: tuple[str, ...]
    names: Mapping[str, str]
    notes: tuple[str, ...] = ()


def read_names(path: Path) -> dict[str, str]:
    """`classes.csv`: code → name.

    Raises:
        SourceError: columns are missing, a code or a name is empty or given twice.
    """
    table, faults = read_table(path), list[str]()
    code = _column(table, None, (*LABEL_COLUMNS, "code"), "label", faults)
    name = _column(table, None, NAME_COLUMNS, "name", faults)
    if code is None or name is None or faults:
        raise SourceError(faults)
    for column in (code, name):
        cells = table.column(column)
        if empty := [line for line, cell in zip(table.lines, cells, strict=True) if not cell.strip()]:
            faults.append(f"{brief(path)}: an empty {column}: line {some(empty)}")
        if twice := [cell for cell, times in Counter(cells).items() if times > 1 and cell.strip()]:
            faults.append(f"{brief(path)}: {column} given more than once: {some(twice)}; classes need different names")
    if faults:
        raise SourceError(faults)
    return dict(zip(table.column(code), table.column(name), strict=True))


def find_classes(origin: str, codes: Iterable[str], ids: Iterable[str], names: Mapping[str, str] | None) -> Classes:
    """The classes behind the codes in use: named by `classes.csv`, by a contest known by its ids, or by themselves.

    Raises:
        SourceError: `classes.csv` does not name a code that is used.
    """
    used = set(codes)
    order = (
        tuple(sorted(used, key=lambda c: (int(c), c))) if all(map(_INTEGER.fullmatch, used)) else tuple(sorted(used))
    )
    notes = _look_alikes(order)
    if names is not None:
        if unnamed := [code for code in order if code not in names]:
            raise SourceError(
                f"{origin}: classes.csv gives no name to the label {some(unnamed, 10)}; add a row for each"
            )
        if unused := [name for code, name in names.items() if code not in used]:
            notes += (f"{origin}: classes without a photo left out: {some(unused, 10)}",)
        return Classes(order, names, notes)
    contest = recognise(ids)
    if contest is not None and used <= contest.names.keys():
        return Classes(
            order, contest.names, (*notes, f"{origin}: class names are those of {contest.title}, by its ids")
        )
    return Classes(order, {code: code for code in order}, notes)


def _look_alikes(codes: Sequence[str]) -> tuple[str, ...]:
    spellings: dict[str, list[str]] = defaultdict(list)
    for code in codes:
        spellings[" ".join(code.split()).casefold()].append(repr(code))
    alike = [" and ".join(group) for group in spellings.values() if len(group) > 1]
    return (f"labels that differ only by case or spaces are different classes: {some(alike)}",) if alike else ()


# ---- photos ---------------------------------------------------------------------------------------------------------


class PhotoIndex:
    """Finds a table's ids among a place's photos: by the exact path, by a path's end, by a name without ending."""

    def __init__(self, photos: Sequence[Photo]) -> None:
        self._by_path = {photo.id: photo for photo in photos}
        self._by_name: dict[str, list[Photo]] = defaultdict(list)
        self._by_stem: dict[str, list[Photo]] = defaultdict(list)
        for photo in photos:
            self._by_name[PurePosixPath(photo.id).name].append(photo)
            self._by_stem[PurePosixPath(photo.id).stem].append(photo)

    def find(self, text: str) -> list[Photo]:
        """The photos that an id can mean; more than one is for the caller to refuse."""
        path = text.replace("\\", "/")
        if path in self._by_path:
            return [self._by_path[path]]
        name = PurePosixPath(path).name
        same_end = [p for p in self._by_name.get(name, ()) if _ends(p.id, path) or _ends(path, p.id)]
        return same_end or (self._by_stem.get(path, []) if "/" not in path else [])


def _ends(long: str, short: str) -> bool:
    return long == short or long.endswith("/" + short)


@dataclass(frozen=True, slots=True)
class Match:
    """Rows with their photos, rows without, and what contradicts the table."""

    photos: tuple[Photo, ...]
    missing: tuple[Rejected, ...]
    faults: tuple[str, ...]
    notes: tuple[str, ...]


def match(origin: str, place: str, rows: Sequence[Row], listing: Listing, classes: Classes) -> Match:
    """Every row's photo in the place; ids are the table's text.

    Faults are an id with several photos, one photo for several ids, a label folder that contradicts its row, and a
    place with none of the photos. A single photo that is not there is `missing`.
    """
    index = PhotoIndex(listing.photos)
    pairs = [(row, index.find(row.id)) for row in rows]
    found = [(row, photos[0]) for row, photos in pairs if len(photos) == 1]
    absent = [row.id for row, photos in pairs if not photos]
    faults = _match_faults(origin, place, pairs) + _contradictions(origin, found, classes)
    if len(absent) == len(rows):
        held = f"it holds {some([photo.id for photo in listing.photos])}" if listing.photos else "it holds no photo"
        faults.append(f"{place} has none of the {len(rows):,} photos that {origin} names: {some(absent)}; {held}")
    photos = tuple(
        Photo(row.id, photo.where, None if row.code is None else classes.names[row.code], row.group or None)
        for row, photo in found
    )
    sentence = f"is named by {origin} and not in {place}; add the photo or remove its row"
    missing = tuple(Rejected(i, Reason.MISSING, sentence) for i in absent)
    return Match(photos, missing, tuple(faults), _left_over(origin, place, pairs, listing))


def _match_faults(origin: str, place: str, pairs: Sequence[tuple[Row, list[Photo]]]) -> list[str]:
    several = [f"{brief(row.id)} ({some([p.id for p in photos])})" for row, photos in pairs if len(photos) > 1]
    owners: dict[str, list[str]] = defaultdict(list)
    for row, photos in pairs:
        if len(photos) == 1:
            owners[photos[0].id].append(brief(row.id))
    shared = [" and ".join(ids[:3]) for ids in owners.values() if len(ids) > 1]
    faults = []
    if several:
        faults.append(f"{place} has several photos for {count(len(several), 'id')} of {origin}: {some(several)}")
    if shared:
        faults.append(f"{origin}: {count(len(shared), 'photo')} of {place} named by more than one id: {some(shared)}")
    return faults


def _contradictions(origin: str, found: Sequence[tuple[Row, Photo]], classes: Classes) -> list[str]:
    known = {*classes.codes, *classes.names.values()}
    wrong = []
    for row, photo in found:
        folder = PurePosixPath(photo.id).parent.name
        if row.code is not None and folder in known and folder not in (row.code, classes.names[row.code]):
            wrong.append(f"{brief(row.id)} (line {row.line}: {brief(row.code)}, folder {brief(folder)})")
    if not wrong:
        return []
    return [
        f"{origin}: {count(len(wrong), 'label')} contradicted by the photo's folder: {some(wrong)}; correct one side"
    ]


def _left_over(origin: str, place: str, pairs: Sequence[tuple[Row, list[Photo]]], listing: Listing) -> tuple[str, ...]:
    named = {photo.id for _, photos in pairs for photo in photos}
    extra = [photo.id for photo in listing.photos if photo.id not in named]
    verb = "is" if len(extra) == 1 else "are"
    line = f"{place}: {count(len(extra), 'photo')} {verb} not named by {origin} and left out: {some(extra)}"
    return (line,) if extra else ()
