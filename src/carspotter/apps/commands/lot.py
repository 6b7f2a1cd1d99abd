"""`lot`: a table of ads, each declared model checked against its photos, good offers and disguised ones first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from carspotter.apps import options
from carspotter.apps.console import note, notes, progress, say, table
from carspotter.errors import EXIT_SOME_REFUSED

if TYPE_CHECKING:
    from carspotter.inference.lot import Ad
    from carspotter.records import Listed

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
    runtime: options.Runtime = "onnxruntime",
) -> None:
    """Check a table of ads against their photos: one row in, one row out.

    Adds verdict (match, mismatch, cannot tell, not this car's exterior), the recognised model, the probability of the
    declared one, a suspicion from 0 to 1 and the reason; with prices also how far the ad lies below the median of ads
    of the same recognised model. Suspicious ads come first, then those far below the median. Photos that are missing
    or cannot be used make the exit code 3.
    """
    from carspotter.apps.lot_table import find_columns, gaps_of, urgency, written
    from carspotter.data.disk import check_writable
    from carspotter.data.listing import list_place
    from carspotter.data.table import check_ending, read_table, write_table
    from carspotter.inference.lot import check_lot, find_ads
    from carspotter.inference.predictor import load

    check_ending(output)
    check_writable(output)
    predictor, given, place = load(model, runtime=runtime), read_table(ads), list_place(photos)
    notes([*given.notes, *place.notes])
    columns = find_columns(given, model_column, photo_column, price_column, year_column)
    rows = find_ads(given.column(columns.model), given.column(columns.photos), place)
    with progress() as show:
        found = check_lot(predictor, rows, progress=show)
    gaps, remarks = gaps_of(given, found, columns)
    notes(remarks)
    order = range(len(found)) if as_given else sorted(range(len(found)), key=lambda at: urgency(found[at], gaps, at))
    names, cells = written(given, found, gaps)
    write_table(output, names, [cells[at] for at in order])
    _say(found, rows, output)


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
