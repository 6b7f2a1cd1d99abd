"""One rule for every source: a contest, a table with photos, class folders, or photos without labels."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import ParamSpec, TypeVar

from carspotter.data.labels import (
    Classes,
    Columns,
    Row,
    find_classes,
    find_columns,
    find_ids,
    match,
    read_names,
    row_faults,
    sample_columns,
    table_rows,
)
from carspotter.data.listing import Listing, is_zip, list_photos, list_place
from carspotter.data.table import Table, read_table
from carspotter.data.wording import brief, cause, count, some
from carspotter.errors import Reason, SourceError
from carspotter.records import Dataset, Photo, Reading

__all__ = [
    "Contest",
    "find_contest",
    "list_photos",
    "read_again",
    "read_columns",
    "read_contest",
    "read_source",
    "tables_of",
]

READABLE_TABLES = frozenset({".csv", ".tsv", ".parquet", ".xlsx"})
TRAIN_TABLE = "train.csv"
CLASSES_TABLE = "classes.csv"
SAMPLE_TABLES = ("sample-submission.csv", "sample_submission.csv")
TEST_PLACES = ("test.zip", "test", "test_upload.zip", "test_upload")
SPLIT_NAMES = frozenset({"train", "training", "val", "valid", "validation", "test"})
"""Folders of these names are parts of a set, never classes."""

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Contest:
    """What a submission is made for.

    Attributes:
        test: one photo per row of the sample, in its order, without labels.
        sample: the sample submission as written.
    """

    test: Dataset
    sample: Table


def read_source(
    source: str | Path,
    *,
    photos: str | Path | None = None,
    id_column: str | None = None,
    label_column: str | None = None,
    group_column: str | None = None,
) -> Dataset:
    """Read a training source; which form it has is found out.

    Args:
        source: a contest's folder, a folder with one table and its photos, a table, a folder or zip of class folders,
            or photos without labels.
        photos: the folder or zip of a table's photos, where it does not lie beside it.
        id_column: else Id, file, photo or path, whatever their case.
        label_column: else Category, label, model or class.
        group_column: else `group` where there is one.

    Raises:
        SourceError: all problems that make the source unusable. Single photos that are not there are
            `Dataset.rejected` instead.
    """
    path, asked = Path(source), Columns(id_column, label_column, group_column)
    reading = Reading(
        source=str(path.absolute()),
        photos=None if photos is None else str(Path(photos).absolute()),
        id_column=id_column,
        label_column=label_column,
        group_column=group_column,
    )
    return replace(_read(path, source, photos, asked), reading=reading)


def read_again(reading: Reading) -> Dataset:
    """The same source, read in the same way, without what a person added to it.

    Those are decisions on its photos (`tracking/decisions.py`) and families of its classes (`hierarchy.py`).

    Raises:
        SourceError: as for `read_source`.
    """
    return read_source(**reading.model_dump(exclude={"decisions", "families"}))


def _read(path: Path, source: str | Path, photos: str | Path | None, asked: Columns) -> Dataset:
    if not os.path.lexists(path):
        raise SourceError(f"there is no {brief(path)}; give a folder, a zip or a table")
    if (ruling := _ruling_table(path, photos)) is not None:
        table, place, notes = ruling
        return _with_notes(_read_labelled(table, place, asked), str(source), notes)
    if photos is not None or asked != Columns():
        raise SourceError(f"{brief(path)}: columns or photos were named, but it is no table and holds not exactly one")
    return _with_notes(_read_places(path), str(source))


def read_columns(
    source: str | Path, names: Sequence[str], *, photos: str | Path | None = None, id_column: str | None = None
) -> dict[str, dict[str, str]]:
    """Further columns of a source's table: its name → photo id → the cell as written.

    Args:
        source: that `read_source` has read.
        names: of the columns; none asks for nothing, whatever the source.
        photos: as for `read_source`.
        id_column: as for `read_source`.

    Raises:
        SourceError: the source is no table, or has no such column.
    """
    if not names:
        return {}
    ruling = _ruling_table(Path(source), photos)
    if ruling is None:
        raise SourceError(f"{brief(source)} is no table, so it has no column {some(names)}; give the table itself")
    table = read_table(ruling[0])
    if missing := [name for name in names if name not in table.columns]:
        have = some(table.columns, 10)
        raise SourceError(f"{brief(table.path)} has no column {some([repr(n) for n in missing])}; it has {have}")
    ids = find_ids(table, id_column)
    return {name: dict(zip(ids, table.column(name), strict=True)) for name in names}


def find_contest(source: str | Path) -> Path | None:
    """The contest's folder that a training source is, or lies in; None where it belongs to none.

    A contest has a sample submission and test photos; one of them alone, as a class folder `test`, makes none.
    """
    folder = Path(source) if Path(source).is_dir() else Path(source).parent
    whole = _first(folder, SAMPLE_TABLES) is not None and _first(folder, TEST_PLACES) is not None
    return folder if whole else None


def _first(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((folder / name for name in names if (folder / name).exists()), None)


def tables_of(*sources: Path) -> Iterator[Path]:
    """Files that sources are or are ruled by, which nothing may be written over.

    Raises:
        SourceError: a folder cannot be opened.
    """
    for path in sources:
        folder = path if path.is_dir() else path.parent
        yield from (path, *(folder / name for name in (CLASSES_TABLE, *SAMPLE_TABLES)))
        if path.exists() and (table := _find_table(path)) is not None:
            yield table


def read_contest(source: str | Path) -> Contest:
    """Read the sample submission and the test photos of a contest's folder.

    Raises:
        SourceError: no sample, no test photos, or any test photo that the sample names is not there.
    """
    folder = Path(source)
    sample_path, place = _first(folder, SAMPLE_TABLES), _first(folder, TEST_PLACES)
    faults: list[str] = []
    if sample_path is None:
        faults.append(f"{brief(folder)} has no {SAMPLE_TABLES[0]}; expected the contest's folder with it")
    sample = _attempt(faults, read_table, sample_path) if sample_path else None
    if place is None:
        named = f"the {len(sample.rows):,} test photos" if sample else "test photos"
        faults.append(f"{brief(folder)} has neither test.zip nor a folder test with {named}; put one there")
    listing = _attempt(faults, list_place, place) if place else None
    if sample is None or listing is None or place is None:
        raise SourceError(faults)
    test = _read_test(sample, listing, place)
    return Contest(_with_notes(test, str(source)), sample)


# ---- which form -----------------------------------------------------------------------------------------------------


def _ruling_table(path: Path, photos: str | Path | None) -> tuple[Path, Path | None, tuple[str, ...]] | None:
    """The table that rules a source, where its photos are, and notes; None where no table rules it."""
    table = _find_table(path)
    if table is None:
        return None
    place, notes = (Path(photos), ()) if photos is not None else _beside(table)
    rules = place is not None or path.is_file() or table.name == TRAIN_TABLE
    return (table, place, notes) if rules else None


def _find_table(path: Path) -> Path | None:
    """The table that rules the source: itself, a contest's `train.csv`, or a folder's only one."""
    if path.is_file():
        return path if path.suffix.casefold() in READABLE_TABLES else None
    if (path / TRAIN_TABLE).is_file():
        return path / TRAIN_TABLE
    tables = _tables(path)
    return tables[0] if len(tables) == 1 else None


def _tables(folder: Path) -> list[Path]:
    return [
        file
        for file in _visible(folder)
        if file.is_file()
        and file.suffix.casefold() in READABLE_TABLES
        and file.name not in (CLASSES_TABLE, *SAMPLE_TABLES)
    ]


def _visible(folder: Path) -> list[Path]:
    try:
        return sorted(item for item in folder.iterdir() if not item.name.startswith("."))
    except OSError as fault:
        raise SourceError(f"cannot open {brief(folder)}: {cause(fault)}; give it read rights") from None


def _beside(table: Path) -> tuple[Path | None, tuple[str, ...]]:
    """The photos of a table: `x.zip` or the folder `x` beside `x.csv`, else the only zip beside the only table."""
    own_zip, own_folder = table.with_suffix(".zip"), table.with_suffix("")
    if own_zip.is_file():
        note = f"{brief(own_zip)} was read and the folder {own_folder.name} beside it left aside"
        return own_zip, ((note,) if own_folder.is_dir() else ())
    if own_folder.is_dir():
        return own_folder, ()
    zips = [file for file in _visible(table.parent) if is_zip(file)]
    alone = len(zips) == 1 and _tables(table.parent) == [table] and table.name != TRAIN_TABLE
    return (zips[0] if alone else None), ()


def _with_notes(dataset: Dataset, origin: str, notes: tuple[str, ...] = ()) -> Dataset:
    return replace(dataset, origin=origin, notes=(*dataset.notes, *notes))


def _attempt(faults: list[str], read: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
    """What `read` gives, or None and its problems among `faults`, so that the other parts are still looked at."""
    try:
        return read(*args, **kwargs)
    except SourceError as fault:
        faults += fault.problems
        return None


# ---- a table with photos --------------------------------------------------------------------------------------------


def _read_labelled(path: Path, place: Path | None, asked: Columns) -> Dataset:
    faults: list[str] = []
    table = _attempt(faults, read_table, path)
    columns = _attempt(faults, find_columns, table, asked) if table else None
    names_path = path.with_name(CLASSES_TABLE)
    names = _attempt(faults, read_names, names_path) if names_path.is_file() else None
    listing = _attempt(faults, list_place, place) if place else None
    rows = table_rows(table, columns) if table and columns else []
    faults += row_faults(path.name, rows)
    if place is None:
        faults.append(_no_place(path, rows))
    codes = {row.code for row in rows if row.code is not None and row.code.strip()}
    classes = _attempt(faults, find_classes, path.name, codes, [row.id for row in rows], names)
    if faults or table is None or listing is None or classes is None:
        raise SourceError(faults)
    return _joined(path, place or path, rows, listing, classes, table.notes)


def _no_place(path: Path, rows: list[Row]) -> str:
    named = f"{count(len(rows), 'photo')} ({some([row.id for row in rows])})" if rows else "photos"
    stem = path.stem
    return (
        f"{path.name} names {named}, but neither {stem}.zip nor a folder {stem} lies beside it; add or name the photos"
    )


def _joined(
    path: Path, place: Path, rows: list[Row], listing: Listing, classes: Classes, notes: tuple[str, ...]
) -> Dataset:
    matched = match(path.name, place.name or str(place), rows, listing, classes)
    if matched.faults:
        raise SourceError(matched.faults)
    return Dataset(
        photos=matched.photos,
        classes=tuple(classes.names[code] for code in classes.codes),
        codes=classes.codes,
        rejected=(*matched.missing, *listing.rejected),
        notes=(*notes, *listing.notes, *classes.notes, *matched.notes),
    )


def _read_test(sample: Table, listing: Listing, place: Path) -> Dataset:
    name = Path(sample.path).name
    rows = table_rows(sample, Columns(id=sample_columns(sample)[0]))
    if faults := row_faults(name, rows):
        raise SourceError(faults)
    test = _joined(Path(sample.path), place, rows, listing, Classes((), {}), sample.notes)
    missing = [refused.id for refused in test.rejected if refused.reason is Reason.MISSING]
    if missing:
        raise SourceError(
            f"{place.name} lacks {count(len(missing), 'photo')} of {len(rows):,} that {name} names: {some(missing)}; "
            "a submission answers every id"
        )
    return test


# ---- folders and zips -----------------------------------------------------------------------------------------------


def _read_places(path: Path) -> Dataset:
    """Class folders, or photos without labels."""
    place = _only_zip(path) or path
    if not place.is_dir() and not is_zip(place):
        return list_photos([path])
    listing = list_place(place)
    _refuse_packed_contest(place, listing)
    if not listing.photos:
        raise SourceError([f"{brief(path)} holds no photos", *listing.notes])
    depth = _common_depth(listing.photos)
    inside = [photo for photo in listing.photos if len(PurePosixPath(photo.id).parts) > depth + 1]
    if not inside:
        return Dataset(listing.photos, rejected=listing.rejected, notes=listing.notes)
    return _read_class_folders(place, listing, inside, depth)


def _only_zip(path: Path) -> Path | None:
    if not path.is_dir():
        return None
    items = _visible(path)
    return items[0] if len(items) == 1 and is_zip(items[0]) else None


def _refuse_packed_contest(place: Path, listing: Listing) -> None:
    packed = [photo.id for photo in listing.photos if photo.id.casefold().endswith(".zip")]
    if packed and len(packed) == len(listing.photos):
        where = (
            "unpack this outer one first" if place.is_file() else "give one of them, or a table that names its photos"
        )
        raise SourceError(f"{brief(place)} holds only zips: {some(packed)}; {where}")


def _common_depth(photos: tuple[Photo, ...]) -> int:
    """How many folders all nested photos have in common; they are no classes."""
    folders = [PurePosixPath(photo.id).parent for photo in photos if "/" in photo.id]
    return len(PurePosixPath(os.path.commonpath(folders)).parts) if folders else 0


def _read_class_folders(place: Path, listing: Listing, inside: list[Photo], depth: int) -> Dataset:
    codes = {photo.id: PurePosixPath(photo.id).parts[depth] for photo in inside}
    if {code.casefold() for code in codes.values()} <= SPLIT_NAMES:
        parts = some(sorted(set(codes.values())))
        raise SourceError(f"{brief(place)} holds the folders {parts}, parts of a set and not classes; give one of them")
    names_path = place / CLASSES_TABLE
    names = read_names(names_path) if names_path.is_file() else None
    ids = [PurePosixPath(photo.id).name for photo in inside]
    classes = find_classes(place.name, codes.values(), ids, names)
    outside = [photo.id for photo in listing.photos if photo.id not in codes]
    note = f"{brief(place)}: {count(len(outside), 'file')} outside the class folders left out: {some(outside)}"
    return Dataset(
        photos=tuple(replace(photo, label=classes.names[codes[photo.id]]) for photo in inside),
        classes=tuple(classes.names[code] for code in classes.codes),
        codes=classes.codes,
        rejected=listing.rejected,
        notes=(*listing.notes, *classes.notes, *((note,) if outside else ())),
    )
