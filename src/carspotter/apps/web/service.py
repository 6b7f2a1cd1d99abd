"""What the pages ask for, without a page: photos and ads through the server's pool, within its bounds."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from carspotter.apps.lot_table import LotColumns, find_columns, gaps_of, urgency, written
from carspotter.apps.serving.api import Api, answers_of, listed_of
from carspotter.apps.serving.fair_queue import Turn
from carspotter.apps.serving.pool import Full
from carspotter.apps.serving.worker import Gone, Model, Seen, Task, Want
from carspotter.apps.web.held import MAX_HELD, Held, Upload
from carspotter.apps.web.words import Said
from carspotter.data.archive import forget_archives
from carspotter.data.listing import Listing, list_place
from carspotter.data.photo import read_bytes
from carspotter.data.table import Cell, Table, read_table, write_table
from carspotter.data.wording import brief
from carspotter.errors import PhotoRefused, Reason, SourceError
from carspotter.inference.bundle import Bundle
from carspotter.inference.lot import Ad, find_ads
from carspotter.inference.reference import Neighbour
from carspotter.records import Answer, Listed, Photo, Rejected

MAX_TABLE_BYTES = 10 * 2**20
"""Of a table that is uploaded. Assumption: thousands of ads take less."""
MAX_ADS = 2_000
"""Of one lot on the page; the command line takes any number. Assumption: more than a manager looks through."""
MAX_READ = 20_000
"""Of a table, so that it can be said how many ads it has (assumption: read in a second or two)."""
PATIENCE = 60.0
"""Seconds that a photo of the page waits for its turn (assumption: longer, and nobody looks any more)."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A lot that was checked.

    Attributes:
        columns: of the table, ours last.
        rows: suspicious ads first.
        notes: remarks, a sentence each.
        given: how many columns the table had.
        listed: what was found, for each row.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...]
    given: int
    listed: tuple[Listed, ...]

    def as_csv(self) -> bytes:
        """The table as a file, safe to open in a spreadsheet."""
        with tempfile.TemporaryDirectory(prefix="carspotter-") as place:
            path = Path(place) / "checked.csv"
            write_table(path, self.columns, self.rows)
            return path.read_bytes()


@dataclass(frozen=True, slots=True)
class Like:
    """Training photos of one class that are like a photo, the nearest first.

    Attributes:
        label: the class.
        shown: id, distance (0: the same to the net, 2: opposite) and a small JPEG of those that can be shown.
        absent: how many are not among the source's photos, or cannot be read there.
        others: how many of the source's photos only bear the name of one.
    """

    label: str
    shown: tuple[tuple[str, float, bytes], ...]
    absent: int
    others: int


class PageService:
    """Asks the server's workers.

    Args:
        api: of the server.
        training: photos by id, among them those that trained its models; None where none are shown.

    Attributes:
        held: visitors' files that may be asked about again.
    """

    def __init__(self, api: Api, training: Mapping[str, Photo] | None = None) -> None:
        self._api = api
        self.held = Held(MAX_HELD)
        self._training = training

    @property
    def shows_training(self) -> bool:
        """Whether training photos are shown."""
        return self._training is not None

    @property
    def models(self) -> tuple[str, ...]:
        """Their names, the default first."""
        return tuple(self._api.registry.bundles)

    def accuracy(self, model: str) -> tuple[float, int] | None:
        """On photos that did not train the model, and on how many."""
        evaluation = self._api.registry.bundles[model].card.evaluation
        return None if evaluation is None else (evaluation.accuracy.value, evaluation.accuracy.n)

    async def identify(self, model: str, photo: Upload) -> Answer:
        """Name the car in one photo.

        Raises:
            SourceError: too many photos wait already.
        """
        (found,) = answers_of(*await self._ask(model, [photo.data]))
        return found

    async def check(self, model: str, declared: str, photos: Sequence[Upload]) -> Listed:
        """Whether photos show the model that an ad declares.

        Raises:
            SourceError: too many photos, or too many wait already.
        """
        if len(photos) > self._api.limits.photos:
            raise Said("too_many", count=len(photos), most=self._api.limits.photos)
        bundle, seen = await self._ask(model, [photo.data for photo in photos])
        return listed_of(bundle, declared, seen)

    async def picture(self, model: str, photo: Upload, want: Want) -> bytes | Rejected:
        """A small picture of a photo, or of why it was named so; the reason where there is none."""
        _, (seen,) = await self._ask(model, [photo.data], want)
        return seen.rejected or seen.picture or b""

    async def like(self, model: str, photo: Upload) -> tuple[Like, ...]:
        """The training photos that are most like a photo: of its class, then of the runner-up.

        Returns:
            Nothing where the model remembers none, or where the photo cannot be used.

        Raises:
            SourceError: too many photos wait already.
        """
        _, (seen,) = await self._ask(model, [photo.data], "near")
        return tuple([await self._like(model, label, near) for label, near in seen.near])

    async def _like(self, model: str, label: str, near: Sequence[Neighbour]) -> Like:
        found = [(one, data) for one in near if (data := await self._training_bytes(one.id)) is not None]
        names = [one.id for one, _ in found]
        _, seen = await self._ask(model, [data for _, data in found], "training", names) if found else (None, [])
        shown = tuple(
            (one.id, one.distance, drawn.picture)
            for (one, _), drawn in zip(found, seen, strict=True)
            if drawn.picture is not None
        )
        others = sum(one.rejected is not None and one.rejected.reason is Reason.MISSING for one in seen)
        return Like(label, shown, len(near) - len(shown) - others, others)

    async def _training_bytes(self, name: str) -> bytes | None:
        if self._training is None or name not in self._training:
            return None
        try:
            return await asyncio.to_thread(read_bytes, self._training[name].where)
        except PhotoRefused:
            return None

    async def read_lot(self, upload: Upload) -> Table:
        """A table of ads.

        Raises:
            Said: it is none, or too large.
        """
        if len(upload.data) > MAX_TABLE_BYTES:
            raise Said("too_large", names=brief(upload.name), megabytes=MAX_TABLE_BYTES // 2**20)
        try:
            found = await asyncio.to_thread(_table, upload)
        except SourceError as fault:
            raise Said("bad_table", fault.problems, name=brief(upload.name)) from None
        if len(found.rows) > MAX_ADS:
            raise Said("too_many_ads", name=brief(upload.name), count=len(found.rows), most=MAX_ADS)
        return found

    async def check_lot(
        self,
        model: str,
        given: Table,
        sent: Sequence[Upload],
        columns: LotColumns,
        progress: Callable[[int, int], None],
    ) -> Ready:
        """Every ad of a table against its photos; a photo of several ads is answered once.

        Args:
            model: that is asked.
            given: the table.
            sent: photos, and zips of photos.
            columns: of the table.
            progress: told how many photos of how many are answered.

        Raises:
            SourceError: the columns are not there, or a zip is refused.
        """
        find_columns(given, columns.model, columns.photos, columns.price, columns.year)
        with tempfile.TemporaryDirectory(prefix="carspotter-") as place:
            try:
                listing = await asyncio.to_thread(_listing, sent, Path(place))
                ads = await asyncio.to_thread(
                    find_ads, given.column(columns.model), given.column(columns.photos), listing
                )
                found = await self._all(model, ads, progress)
            finally:
                forget_archives()  # they would hold the deleted file
        gaps, remarks = gaps_of(given, found, columns)
        order = sorted(range(len(found)), key=lambda at: urgency(found[at], gaps, at))
        names, rows = await asyncio.to_thread(written, given, found, gaps)
        return Ready(
            columns=tuple(names),
            rows=tuple(rows[at] for at in order),
            notes=(*listing.notes, *remarks),
            given=len(given.columns),
            listed=tuple(found[at] for at in order),
        )

    async def _all(self, model: str, ads: Sequence[Ad], progress: Callable[[int, int], None]) -> list[Listed]:
        """By one version of the model, whatever replaces it meanwhile."""
        photos = {photo.id: photo for ad in ads for photo in ad.photos}
        bundle, current = self._api.registry.now(model)
        answered = await self._answered(current, photos.values(), progress)
        return await asyncio.to_thread(_judged, bundle, ads, answered)

    async def _answered(
        self, current: Model, photos: Collection[Photo], progress: Callable[[int, int], None]
    ) -> dict[str, Seen]:
        """What each shows, as many at a time as there are workers."""
        turn, left = Turn(), iter(photos)
        answered: dict[str, Seen] = {}

        async def one_after_another() -> None:
            for photo in left:
                answered[photo.id] = await self._read(current, photo, turn)
                progress(len(answered), len(photos))

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._api.limits.workers):
                    group.create_task(one_after_another())
        except ExceptionGroup as given_up:  # one failed, the others were given up for it
            raise given_up.exceptions[0] from None
        return answered

    async def _read(self, current: Model, photo: Photo, turn: Turn) -> Seen:
        """One photo of an archive; it waits for its turn among everybody's."""
        try:
            data = await asyncio.to_thread(read_bytes, photo.where)
        except PhotoRefused as fault:
            return Seen(rejected=Rejected(photo.id, fault.reason, fault.sentence))
        return await self._run(Task(current, data), turn)

    async def _run(self, task: Task, turn: Turn) -> Seen:
        said = await self._api.pool.run(task, turn)
        if isinstance(said, Gone):
            raise Said("no_answer")
        return said

    async def _ask(
        self, model: str, photos: Sequence[bytes], want: Want = "answer", known_as: Sequence[str] = ()
    ) -> tuple[Bundle, list[Seen]]:
        """All photos by one version of the model, which is given too; a page waits where a program is refused."""
        names = known_as or [""] * len(photos)
        self._api.pool.came()
        until = asyncio.get_running_loop().time() + PATIENCE
        while self._api.pool.full and asyncio.get_running_loop().time() < until:
            await asyncio.sleep(0.05)
        try:
            with self._api.pool.admitting(len(photos)) as turn:
                bundle, current = self._api.registry.now(model)
                tasks = [Task(current, one, want, name) for one, name in zip(photos, names, strict=True)]
                return bundle, list(await asyncio.gather(*(self._run(task, turn) for task in tasks)))
        except Full:
            raise Said("busy") from None


def _judged(bundle: Bundle, ads: Sequence[Ad], answered: Mapping[str, Seen]) -> list[Listed]:
    return [
        listed_of(
            bundle,
            ad.declared,
            [*(answered[photo.id] for photo in ad.photos), *(Seen(rejected=one) for one in ad.missing)],
        )
        for ad in ads
    ]


@contextmanager
def _named(path: Path, name: str) -> Iterator[None]:
    """Whoever sent a file knows it by its name, and where it lay for a moment is nobody's business."""
    try:
        yield
    except SourceError as fault:
        raise SourceError([problem.replace(str(path), brief(name)) for problem in fault.problems]) from None


def _listing(sent: Sequence[Upload], place: Path) -> Listing:
    """The photos that were sent, and those in zips, which are written to a folder."""
    photos: list[Photo] = []
    notes: list[str] = []
    for number, one in enumerate(sent):
        if not is_zip_name(one.name):
            photos.append(Photo(one.name, one.data))
            continue
        path = place / f"{number}.zip"
        path.write_bytes(one.data)
        try:
            with _named(path, one.name):
                found = list_place(path)
        except SourceError as fault:
            raise Said("bad_zip", fault.problems, name=brief(one.name)) from None
        photos += found.photos
        notes += [note.replace(str(path), brief(one.name)) for note in found.notes]
    return Listing(tuple(photos), notes=tuple(notes))


def is_zip_name(name: str) -> bool:
    """Whether a file that was sent is one of many photos."""
    return name.casefold().endswith(".zip")


def _table(upload: Upload) -> Table:
    suffix = Path(upload.name).suffix.casefold()
    with tempfile.NamedTemporaryFile(suffix=suffix if suffix in {".csv", ".tsv", ".xlsx"} else ".csv") as file:
        file.write(upload.data)
        file.flush()
        with _named(Path(file.name), upload.name):
            found = read_table(file.name, max_rows=MAX_READ)
    return Table(brief(upload.name), found.columns, found.rows, found.lines, found.notes)
