"""A lot of any length checked: ads come piece by piece, and what was found goes where it shall."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain

from carspotter.apps.console import notes
from carspotter.apps.lot_table import Gaps, find_columns, gaps_of, kinds, urgency, written
from carspotter.apps.places import Place
from carspotter.data.database import CHUNK, check_keys, in_one_file, is_database, read_query, rows
from carspotter.data.listing import Listing
from carspotter.data.table import MAX_ROWS, Cell, Table, read_table
from carspotter.data.wording import brief
from carspotter.errors import SourceError
from carspotter.inference.lot import check_lot, find_ads
from carspotter.inference.predictor import Predictor
from carspotter.progress import Progress
from carspotter.records import Listed


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for.

    Attributes:
        model: column of the declared model, None: found by its name; likewise the photos.
        photos: column of the photos.
        price: column of the price; None: prices are not asked about.
        year: column of the year.
        key: column that tells ads apart; only a table of a database needs one.
        as_given: leave the rows of a file in their order.
    """

    model: str | None
    photos: str | None
    price: str | None = None
    year: str | None = None
    key: str = "id"
    as_given: bool = False


@dataclass(slots=True)
class Tally:
    """What became of a lot.

    Attributes:
        verdicts: how often each was given.
        refused: ads of whose photos some are missing or cannot be used.
    """

    verdicts: Counter[str] = field(default_factory=Counter)
    refused: int = 0

    def add(self, found: Iterable[Listed]) -> None:
        """Count a piece."""
        for one in found:
            self.verdicts[one.verdict.value] += 1
            self.refused += one.evidence.unusable > 0


def read_ads(ads: str, query: str | None, wanted: Wanted, place: Place) -> Generator[Table]:
    """The ads, in as many pieces as where they go allows: at least one.

    All at once: for a file, which is sorted; for prices, whose medians need every ad; and from the file of a database
    into that same file, which nobody may write while it is read.

    Raises:
        SourceError: they cannot be read, or two ads for a table have one key.
    """
    key = wanted.key if place.target else None
    if is_database(ads) != (query is not None):
        told = "is a database; say what to read with --query" if query is None else "is no database; leave --query out"
        raise SourceError(f"{brief(ads) if query is not None else 'the table of ads'} {told}")
    if query is None:
        whole = read_table(ads)
    elif place.target is None or wanted.price is not None or in_one_file(ads, place.target):
        whole = read_query(ads, query, key=key, max_rows=MAX_ROWS)
    else:
        yield from rows(ads, query, key=key, chunk=CHUNK)
        return
    if key in whole.columns:
        check_keys(whole.column(key), key)
    yield whole


def check_ads(
    predictor: Predictor, pieces: Iterator[Table], listing: Listing, wanted: Wanted, place: Place, show: Progress
) -> Tally:
    """Check every ad against its photos and write what was found: one row in, one row out.

    Raises:
        SourceError: a column is not there, or what was found cannot be written.
        BundleError: the network itself fails.
    """
    tally, first = Tally(), next(pieces)
    columns = find_columns(first, wanted.model, wanted.photos, wanted.price, wanted.year)
    with place.open(kinds(first, priced=columns.price is not None), wanted.key) as write:
        for given in chain([first], pieces):
            notes(given.notes)
            ads = find_ads(given.column(columns.model), given.column(columns.photos), listing)
            found = check_lot(predictor, ads, progress=show) if ads else ()
            gaps, remarks = gaps_of(given, found, columns)
            notes(remarks)
            write(_ordered(given, found, gaps, as_given=wanted.as_given or place.target is not None))
            tally.add(found)
    return tally


def _ordered(given: Table, found: tuple[Listed, ...], gaps: Gaps, *, as_given: bool) -> list[tuple[Cell, ...]]:
    order = range(len(found)) if as_given else sorted(range(len(found)), key=lambda at: urgency(found[at], gaps, at))
    cells = written(given, found, gaps)[1]
    return [cells[at] for at in order]
