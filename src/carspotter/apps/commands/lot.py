"""`lot`: a table of ads, each declared model checked against its photos, good offers and disguised ones first."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from carspotter.apps import options
from carspotter.apps.console import note, notes, progress, say, table
from carspotter.errors import EXIT_SOME_REFUSED

if TYPE_CHECKING:
    from carspotter.apps.lot_check import Tally
    from carspotter.apps.places import Place

Ads = Annotated[
    str,
    typer.Argument(
        metavar="TABLE|URL",
        help="Ads, one per row: .csv, .tsv, .xlsx, .parquet, or a database with --query: postgresql://…, "
        "sqlite:///PATH, duckdb:///PATH.",
        show_default=False,
    ),
]
Query = Annotated[
    str | None,
    typer.Option(metavar="SQL", help="What to read from a database: SELECT …; nothing is changed.", show_default=False),
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
Checked = Annotated[
    str,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE|URL#TABLE",
        help="Write .csv, .jsonl or .parquet, or into a table of a database.",
        show_default=False,
    ),
]
KeyColumn = Annotated[
    str, typer.Option(help="Column that tells ads apart; in a table of a database a row of the same key is replaced.")
]
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
    query: Query = None,
    key_column: KeyColumn = "id",
    as_given: AsGiven = False,
    runtime: options.Runtime = "onnxruntime",
) -> None:
    """Check a table of ads against their photos: one row in, one row out.

    Adds verdict (match, mismatch, cannot tell, not this car's exterior), the recognised model, the probability of the
    declared one, a suspicion from 0 to 1 and the reason; with prices also how far the ad lies below the median of ads
    of the same recognised model. Suspicious ads come first, then those far below the median. Photos that are missing
    or cannot be used make the exit code 3.

    A database is read piece by piece and a table written in transactions of as many ads, in their order; killed, the
    command ends in the same table when it is run again.
    """
    from carspotter.apps.lot_check import Wanted, check_ads, read_ads
    from carspotter.apps.places import Place
    from carspotter.data.listing import list_place
    from carspotter.inference.predictor import load

    wanted = Wanted(model_column, photo_column, price_column, year_column, key_column, as_given)
    place = Place(output, reads=[ads])
    predictor, listing = load(model, runtime=runtime), list_place(photos)
    notes(listing.notes)
    with closing(read_ads(ads, query, wanted, place)) as pieces, progress() as show:
        tally = check_ads(predictor, pieces, listing, wanted, place, show)
    _say(tally, place)


def _say(tally: Tally, place: Place) -> None:
    from carspotter.data.wording import count

    table(("verdict", "ads"), list(tally.verdicts.most_common()))
    say(f"{count(tally.verdicts.total(), 'ad')} in {place}")
    if tally.refused:
        note(f"{count(tally.refused, 'ad')} with photos that are missing or cannot be used; their rows say so")
        raise typer.Exit(EXIT_SOME_REFUSED)
