"""`lot`: a table of ads, each declared model checked against its photos, good offers and disguised ones first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from carspotter.apps import options
from carspotter.apps.console import note, notes, progress, say, table
from carspotter.errors import EXIT_SOME_REFUSED, SourceError

if TYPE_CHECKING:
    from carspotter.data.table import Cell, Table
    from carspotter.inference.lot import Ad
    from carspotter.records import Listed

PHOTO_COLUMNS = ("photos", "photo", "images", "image", "files", "file", "path", "фото")
ADDED = ("verdict", "recognised", "probability", "suspicion", "reason")
OURS = "carspotter_"
Ads = Annotated[
    Path, typer.Argument(metavar="TABLE", help="Ads, one per row: .csv, .tsv, .xlsx or .parquet.", show_default=False)
]
LotPhotos = Annotated[
    Path, typer.Option("--photos", metavar="DIR|ZIP", help="Where the ads' photos are.", show_default=False)
]
ModelColumn = Annotated[str, typer.Option(help="Column of the declared model.", show_default=False)]
PhotoColumn = Annotated[
    str | None,
    typer.Option(
        help="Column of the photos: names or folders, several parted by ; or |.  [default: photos, file, …]",
        show_default=False,
    ),
]
PriceColumn = Annotated[
    str | None, typer.Option(help="Column of the price: adds how far it lies below the median.", show_default=False)
]
YearColumn = Annotated[
    str | None, typer.Option(help="Column of the year: prices are compared within it.", show_default=False)
]
Checked = Annotated[Path, typer.Option("--output", "-o", help="Write .csv, .jsonl or .parquet.", show_default=False)]
AsGiven = Annotated[bool, typer.Option("--as-given", help="Leave the rows in their order.")]


def lot(
    model: options.Model,
    ads: Ads,
    *,
    photos: LotPhotos,
    model_column: ModelColumn,
    output: Checked,
    photo_column: PhotoColumn = None,
    price_column: PriceColumn = None,
    year_column: YearColumn = None,
    as_given: AsGiven = False,
) -> None:
    """Check a table of ads against their photos: one row in, one row out.

    Adds verdict (match, mismatch, cannot tell, not this car's exterior), the recognised model, its probability, a
    suspicion from 0 to 1 and the reason; with prices also how far the ad lies below the median of ads of the same
    recognised model. Suspicious ads come first, then those far below the median. Photos that are missing or cannot be
    used make the exit code 3.
    """
    from carspotter.data.disk import check_writable
    from carspotter.data.listing import list_place
    from carspotter.data.table import check_ending, read_table, write_table
    from carspotter.inference.lot import check_lot, find_ads
    from carspotter.inference.predictor import load

    check_ending(output)
    check_writable(output)
    predictor, given, place = load(model), read_table(ads), list_place(photos)
    notes([*given.notes, *place.notes])
    named = _columns(given, model_column, photo_column, price_column, year_column)
    rows = find_ads(given.column(model_column), given.column(named), place)
    with progress() as show:
        found = check_lot(predictor, rows, progress=show)
    gaps = None if price_column is None else _gaps(given, found, price_column, year_column)
    order = range(len(found)) if as_given else sorted(range(len(found)), key=lambda at: _urgency(found[at], gaps, at))
    columns, cells = _written(given, found, gaps)
    write_table(output, columns, [cells[at] for at in order])
    _say(found, rows, output)


def _columns(given: Table, model: str, photo: str | None, *others: str | None) -> str:
    """The column of the photos.

    Raises:
        SourceError: a column is not there, or none can be found.
    """
    asked = [name for name in (model, photo, *others) if name is not None]
    faults = [
        f"{given.path} has no column {name!r}; it has {', '.join(given.columns)}"
        for name in asked
        if name not in given.columns
    ]
    found = [column for column in given.columns if column.strip().casefold() in PHOTO_COLUMNS]
    if photo is None and len(found) != 1:
        what = f"the photos could be {', '.join(found)}" if found else f"no column of photos among {given.columns}"
        faults.append(f"{given.path}: {what}; name one with --photo-column")
    if faults:
        raise SourceError(faults)
    return photo or found[0]


def _gaps(given: Table, found: tuple[Listed, ...], price: str, year: str | None) -> tuple[float | None, ...]:
    from carspotter.data.wording import count
    from carspotter.evaluation.listing import price_gaps, read_price

    prices = [read_price(cell) for cell in given.column(price)]
    unread = [
        line
        for line, cell, number in zip(given.lines, given.column(price), prices, strict=True)
        if number is None and cell.strip()
    ]
    if unread:
        note(
            f"{count(len(unread), 'price')} that are no numbers, the first in line {unread[0]}; these have no price_gap"
        )
    return price_gaps(prices, [one.recognised for one in found], None if year is None else given.column(year))


def _urgency(one: Listed, gaps: tuple[float | None, ...] | None, at: int) -> tuple[float, float, int]:
    """Mismatches first, the most suspicious at the top; then the rest by how good an offer they are."""
    from carspotter.records import ListingVerdict

    gap = None if gaps is None else gaps[at]
    if one.verdict is ListingVerdict.MISMATCH:
        return (0, -one.suspicion, at)
    return (1, -(gap if gap is not None else -1e9), at) if gaps is not None else (1, -one.suspicion, at)


def _written(
    given: Table, found: tuple[Listed, ...], gaps: tuple[float | None, ...] | None
) -> tuple[list[str], list[tuple[Cell, ...]]]:
    """The table with what was added; a name that is taken gets a prefix."""
    added = (*ADDED, *(() if gaps is None else ("price_gap",)))
    columns = [*given.columns, *(f"{OURS}{name}" if name in given.columns else name for name in added)]
    rows: list[tuple[Cell, ...]] = []
    for at, (row, one) in enumerate(zip(given.rows, found, strict=True)):
        cells: tuple[Cell, ...] = (one.verdict.value, one.recognised, one.probability, one.suspicion, one.reason)
        rows.append((*row, *cells, *(() if gaps is None else (gaps[at],))))
    return columns, rows


def _say(found: tuple[Listed, ...], ads: tuple[Ad, ...], output: Path) -> None:
    from collections import Counter

    from carspotter.data.wording import count

    counts = Counter(one.verdict.value for one in found)
    table(("verdict", "ads"), list(counts.most_common()))
    say(f"{len(found):,} ads in {output}")
    refused = sum("unusable" in one.reason for one in found)
    if refused or any(ad.missing for ad in ads):
        note(f"{count(refused, 'ad')} with photos that are missing or cannot be used; their rows say so")
        raise typer.Exit(EXIT_SOME_REFUSED)
