"""A table of ads as given, and as it is written after its photos were looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from carspotter.data.table import Cell, Table
from carspotter.data.wording import brief, count, some
from carspotter.errors import SourceError
from carspotter.evaluation.listing import price_gaps, read_price
from carspotter.records import Listed, ListingVerdict

PHOTO_COLUMNS = ("photos", "photo", "images", "image", "files", "file", "path", "фото")
MODEL_COLUMNS = ("model", "declared", "category", "label", "модель")
ADDED = {"verdict": str, "recognised": str, "probability": float, "suspicion": float, "reason": str}
GAP = {"price_gap": float}
OURS = "carspotter_"
Gaps = tuple[float | None, ...] | None


@dataclass(frozen=True, slots=True)
class LotColumns:
    """Columns of a table of ads.

    Attributes:
        model: declared.
        photos: names or folders.
        price: None where prices are not asked about.
        year: None likewise.
    """

    model: str
    photos: str
    price: str | None = None
    year: str | None = None


def find_columns(
    given: Table, model: str | None, photos: str | None, price: str | None = None, year: str | None = None
) -> LotColumns:
    """The columns that are named, or found by their usual names.

    Raises:
        SourceError: one is not there, or cannot be told.
    """
    faults = [
        f"{brief(given.path)} has no column {name!r}; it has {some(given.columns, 10)}"
        for name in (model, photos, price, year)
        if name is not None and name not in given.columns
    ]
    chosen_model = model or _usual(given, MODEL_COLUMNS, "model", faults)
    chosen_photos = photos or _usual(given, PHOTO_COLUMNS, "photo", faults)
    if faults or chosen_model is None or chosen_photos is None:
        raise SourceError(faults)
    return LotColumns(chosen_model, chosen_photos, price, year)


def gaps_of(given: Table, found: Sequence[Listed], columns: LotColumns) -> tuple[Gaps, tuple[str, ...]]:
    """How far each ad lies below the median of its recognised model, and what must be said of the prices."""
    if columns.price is None:
        return None, ()
    cells = given.column(columns.price)
    prices = [read_price(cell) for cell in cells]
    unread = [
        line for line, cell, price in zip(given.lines, cells, prices, strict=True) if price is None and cell.strip()
    ]
    years = None if columns.year is None else given.column(columns.year)
    what = f"{count(len(unread), 'cell')} of {columns.price} without a number, line {some(unread)}: no price_gap there"
    return price_gaps(prices, [one.recognised for one in found], years), (what,) if unread else ()


def urgency(one: Listed, gaps: Gaps, at: int) -> tuple[float, float, int]:
    """A key to sort by: mismatches first, the most suspicious at the top; then good offers, or else suspicious ads."""
    if one.verdict is ListingVerdict.MISMATCH:
        return 0, -one.suspicion, at
    gap = None if gaps is None else gaps[at]
    worth = one.suspicion if gaps is None else (gap if gap is not None else float("-inf"))
    return 1, -worth, at


def kinds(given: Table, *, priced: bool) -> dict[str, type]:
    """The columns of what is written, with the kinds of their cells; an added name that is taken gets a prefix."""
    found: dict[str, type] = dict.fromkeys(given.columns, str) | dict(zip(given.columns, given.kinds, strict=False))
    for name, kind in (ADDED | GAP if priced else ADDED).items():
        while name in found:
            name = f"{OURS}{name}"  # noqa: PLW2901 - until it is free
        found[name] = kind
    return found


def written(given: Table, found: Sequence[Listed], gaps: Gaps) -> tuple[list[str], list[tuple[Cell, ...]]]:
    """The table with what was added, under the names of `kinds`."""
    columns = list(kinds(given, priced=gaps is not None))
    rows: list[tuple[Cell, ...]] = []
    for at, (row, one) in enumerate(zip(given.rows, found, strict=True)):
        cells: tuple[Cell, ...] = (one.verdict.value, one.recognised, one.probability, one.suspicion, one.reason)
        rows.append((*row, *cells, *(() if gaps is None else (gaps[at],))))
    return columns, rows


def _usual(given: Table, usual: Sequence[str], what: str, faults: list[str]) -> str | None:
    found = [column for column in given.columns if column.strip().casefold() in usual]
    if len(found) == 1:
        return found[0]
    told = f"could be {some(found, 5)}" if found else f"is not among {some(given.columns, 10)}"
    faults.append(f"{brief(given.path)}: the column of the {what} {told}; name one with --{what}-column")
    return None
