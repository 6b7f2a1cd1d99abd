"""What the pages ask for, through a real pool with the tiny net."""

from __future__ import annotations

import asyncio
import io
import shutil
import zipfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from string import Formatter
from typing import TypeVar

import pytest
from PIL import Image

from carspotter.apps.lot_table import ADDED, LotColumns
from carspotter.apps.serving.api import Api
from carspotter.apps.serving.limits import Limits
from carspotter.apps.serving.registry import ModelRegistry
from carspotter.apps.serving.worker import Model
from carspotter.apps.web import service as module
from carspotter.apps.web.held import Upload
from carspotter.apps.web.service import PageService
from carspotter.apps.web.texts import CELLS, COLUMNS, KINDS, LISTINGS, REASONS, STANDINGS, TEXTS, VERBS, VERDICTS
from carspotter.apps.web.words import Said, Words, choose_language
from carspotter.data.source import read_source
from carspotter.errors import Reason, SourceError
from carspotter.records import Kind, ListingVerdict, Rejected, Verb, Verdict
from carspotter.tracking import leaderboard
from helpers.tiny import colour_photo, write_remembering_bundle, write_tiny_bundle

T = TypeVar("T")
RED, BLUE = Upload("r.png", colour_photo(250, 0, 0)), Upload("b.png", colour_photo(0, 0, 250))
BAD = Upload("x.png", b"no photo")


def fields(text: str) -> set[str]:
    """What is filled into a text."""
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def model_that_remembers(place: Path) -> tuple[Path, Path]:
    """A model with a linear head, and the class folders of the six photos that it remembers."""
    source = place / "cars"
    for name, colour in (("red", (200, 40, 0)), ("green", (0, 200, 40)), ("blue", (0, 40, 200))):
        (source / name).mkdir(parents=True)
        for at in range(2):
            (source / name / f"{at}.png").write_bytes(colour_photo(*(min(255, c + 20 * at) for c in colour)))
    return write_remembering_bundle(place / "model", source), source


@pytest.fixture
def at_the_desk(tmp_path: Path) -> Callable[[Callable[[PageService], Awaitable[T]]], T]:
    """Runs work with a service whose server has one worker."""
    api = Api(ModelRegistry([write_tiny_bundle(tmp_path / "tiny").folder]), Limits(workers=1).resolved())

    async def served(work: Callable[[PageService], Awaitable[T]]) -> T:
        await api.pool.start()
        try:
            return await work(PageService(api))
        finally:
            await api.pool.stop()

    return lambda work: asyncio.run(served(work))


def test_photos_and_listings(at_the_desk: Callable[..., None]) -> None:
    async def ask(service: PageService) -> None:
        assert service.models == ("tiny",)
        assert service.accuracy("tiny") is None
        assert (await service.identify("tiny", RED)).top[0].label == "red"
        assert (await service.identify("tiny", BAD)).verdict is Verdict.BAD_PHOTO
        assert (await service.check("tiny", "red", [RED, BAD])).verdict is ListingVerdict.MATCH
        assert (await service.check("tiny", "red", [BLUE])).verdict is ListingVerdict.MISMATCH
        with pytest.raises(Said, match="51 photos; an ad may have 50") as found:
            await service.check("tiny", "red", [RED] * 51)
        assert Words("ru")(found.value.key, **found.value.values) == "Снимков: 51; в объявлении может быть 50."

    at_the_desk(ask)


def test_pictures_are_drawn_anew(at_the_desk: Callable[..., None]) -> None:
    async def ask(service: PageService) -> None:
        marked = io.BytesIO()
        exif = Image.Exif()
        exif[0x010E] = "where it was taken"
        Image.new("RGB", (900, 600), (250, 0, 0)).save(marked, "JPEG", exif=exif)
        small = await service.picture("tiny", Upload("m.jpg", marked.getvalue()), "thumbnail")
        assert isinstance(small, bytes)
        assert b"where it was taken" not in small
        with Image.open(io.BytesIO(small)) as image:
            assert image.size == (240, 160)
        refused = await service.picture("tiny", BAD, "thumbnail")
        assert isinstance(refused, Rejected)
        assert refused.reason is Reason.NOT_A_PHOTO
        # The tiny net's head lies nowhere as rows, so a map would need torch.
        undrawn = await service.picture("tiny", RED, "why")
        assert isinstance(undrawn, Rejected)
        assert undrawn.reason is Reason.MISSING_EXTRA

    at_the_desk(ask)


def test_a_lot(at_the_desk: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for one in (RED, BLUE, BAD):
            file.writestr(one.name, one.data)
    photos = Upload("photos.zip", archive.getvalue())
    table = Upload("ads.csv", b"model,photos,price\nred,r.png,=1+1\nred,b.png,5\nblue,b.png;x.png;gone.png,7\n")

    async def ask(service: PageService) -> None:
        given = await service.read_lot(table)
        seen: list[tuple[int, int]] = []
        columns = LotColumns("model", "photos", "price")
        ready = await service.check_lot("tiny", given, [photos], columns, lambda *done: seen.append(done))
        assert seen == [(1, 3), (2, 3), (3, 3)]  # photos; one is in two ads
        assert [row[3] for row in ready.rows] == ["mismatch", "match", "match"]
        assert ready.columns[:4] == ("model", "photos", "price", "verdict")
        assert any("without a number" in sentence for sentence in ready.notes)
        assert (ready.given, [one.verdict.value for one in ready.listed]) == (3, ["mismatch", "match", "match"])
        assert b"'=1+1" in ready.as_csv()  # a spreadsheet runs nothing of it
        with pytest.raises(SourceError, match="has no column 'preis'"):
            await service.check_lot("tiny", given, [photos], LotColumns("model", "photos", "preis"), lambda *_: None)
        loose = await service.check_lot("tiny", given, [RED, BLUE, BAD], columns, lambda *_: None)
        assert loose.rows == ready.rows
        with pytest.raises(Said, match=r"p\.zip: this zip cannot be used"):
            await service.check_lot("tiny", given, [Upload("p.zip", b"PK\x03\x04 no zip")], columns, lambda *_: None)
        monkeypatch.setattr(module, "MAX_ADS", 2)
        with pytest.raises(Said, match="3 ads; this page takes 2"):
            await service.read_lot(table)
        with pytest.raises(Said, match=r"no table that can be read(.|\n)*line 2 has 1"):
            await service.read_lot(Upload("ads.csv", b"model,photos\nred\n"))
        monkeypatch.setattr(module, "MAX_TABLE_BYTES", 10)
        with pytest.raises(Said, match=r"ads\.csv: too large"):
            await service.read_lot(table)

    at_the_desk(ask)


def test_a_model_that_no_worker_can_open_is_said_in_words(tmp_path: Path) -> None:
    folder = write_tiny_bundle(tmp_path / "tiny").folder
    api = Api(ModelRegistry([folder]), Limits(workers=2).resolved())
    sent = [Upload(f"{at}.png", RED.data) for at in range(4)]
    table = Upload("ads.csv", f"model,photos\nred,{';'.join(one.name for one in sent)}\n".encode())

    async def ask() -> None:
        async def opens(_: Model) -> None:
            """As long as nobody looks."""

        await api.pool.start()
        try:
            service = PageService(api)
            write_tiny_bundle(folder, ("red", "green", "navy"))
            assert await api.registry.refresh(opens) == ("tiny",)
            shutil.rmtree(api.registry.bundles["tiny"].folder)  # before any worker has opened it
            with pytest.raises(Said, match="cannot be asked just now"):
                await service.identify("tiny", RED)
            given = await service.read_lot(table)
            with pytest.raises(Said, match="cannot be asked just now"):
                await service.check_lot("tiny", given, sent, LotColumns("model", "photos"), lambda *_: None)
        finally:
            await api.pool.stop()

    asyncio.run(ask())


def test_as_many_photos_of_a_lot_are_in_work_as_there_are_workers(tmp_path: Path) -> None:
    api = Api(ModelRegistry([write_tiny_bundle(tmp_path / "tiny").folder]), Limits(workers=2).resolved())
    sent = [Upload(f"{at}.png", colour_photo(250, 0, at, (1500, 1000))) for at in range(8)]
    named = ";".join(one.name for one in sent)
    most = 0

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, api.pool.working)
            await asyncio.sleep(0)

    async def ask() -> None:
        await api.pool.start()
        watching = asyncio.create_task(watch())
        try:
            while api.pool.ready < 2:
                await asyncio.sleep(0.01)
            service = PageService(api)
            given = await service.read_lot(Upload("ads.csv", f"model,photos\nred,{named}\n".encode()))
            ready = await service.check_lot("tiny", given, sent, LotColumns("model", "photos"), lambda *_: None)
            assert [row[2] for row in ready.rows] == ["match"]
        finally:
            watching.cancel()
            await api.pool.stop()

    asyncio.run(ask())
    assert most == 2


def test_like_training_photos_are_shown_as_far_as_they_are_there(tmp_path: Path) -> None:
    model, source = model_that_remembers(tmp_path)
    api = Api(ModelRegistry([model]), Limits(workers=1, wait=9).resolved())
    training = {photo.id: photo for photo in read_source(source).photos}

    async def ask() -> None:
        await api.pool.start()
        try:
            service = PageService(api, training)
            assert await service.like("model", BAD) == ()
            near, other = await service.like("model", RED)
            assert (near.label, near.absent, near.others) == ("red", 0, 0)
            assert [name for name, _, _ in near.shown] == ["red/0.png", "red/1.png"]
            assert near.shown[0][1] < near.shown[1][1]
            with Image.open(io.BytesIO(near.shown[0][2])) as image:
                assert (image.format, image.getpixel((9, 9))[0] > 180) == ("JPEG", True)
            assert {name.split("/")[0] for name, _, _ in other.shown} == {other.label}
            (source / "red" / "0.png").write_bytes(colour_photo(0, 0, 255))  # another photo under the name
            (source / "red" / "1.png").unlink()
            near, _ = await service.like("model", RED)
            assert (near.shown, near.absent, near.others) == ((), 1, 1)
            near, _ = await PageService(api, {}).like("model", RED)
            assert (near.shown, near.absent, near.others) == ((), 2, 0)
        finally:
            await api.pool.stop()

    asyncio.run(ask())


def test_every_word_is_there_in_both_languages() -> None:
    named = (TEXTS, VERDICTS, LISTINGS, REASONS, KINDS, VERBS, CELLS, COLUMNS)
    for english, russian in (*STANDINGS, *(pair for texts in named for pair in texts.values())):
        assert english
        assert any("а" <= letter <= "я" for letter in russian.casefold())
        assert fields(english) == fields(russian)
    for texts, nouns in (
        (VERDICTS, Verdict),
        (LISTINGS, ListingVerdict),
        (CELLS, ListingVerdict),
        (REASONS, Reason),
        (KINDS, Kind),
        (VERBS, Verb),
    ):
        assert set(texts) == set(nouns)
    assert set(COLUMNS) == {*ADDED, "price_gap", *leaderboard.COLUMNS}
    assert Words("ru").standing("worse, p .01") == "хуже, p .01"
    assert (
        Words("ru").standing("intervals overlap, no answers to pair") == "интервалы перекрываются, нет ответов для пары"
    )
    assert Words("ru").verdict(Verdict.ONE_OF, ["A", "B"]) == "Одна из этих: A, B."
    assert Words("en").verdict(Verdict.NAMED, []) == "It is a ?."


@pytest.mark.parametrize(
    ("asked", "accepted", "language"),
    [
        ("ru", "en", "ru"),
        ("en", "ru", "en"),
        (None, "ru-RU,ru;q=0.9,en;q=0.8", "ru"),
        (None, "de,en;q=0.5", "en"),
        ("xx", None, "en"),
        (None, None, "en"),
    ],
)
def test_the_language_of_the_reader(asked: str | None, accepted: str | None, language: str) -> None:
    assert choose_language(asked, accepted) == language
