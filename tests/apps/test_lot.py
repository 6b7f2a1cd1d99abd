"""The command `lot` with the tiny net that knows red, green and blue."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from carspotter.apps.cli import main
from carspotter.data.listing import list_place
from carspotter.data.table import Table, read_table
from carspotter.errors import Reason
from carspotter.inference.lot import MAX_NAMES, MAX_PHOTOS, find_ads
from helpers.tiny import colour_photo, write_tiny_bundle

ADS = """ad,model,photos,price,reason
1,red,red1.png;red2.png,1 000 ₽,cheap
2,blue,red1.png,2000,
3,green,green,3000,
4,red,red3.png | gone.png,4000,
5,red,,5000,
6,lilac,red1.png,on request,
7,red,broken.png,100,
"""


@pytest.fixture
def lot(tmp_path: Path) -> Path:
    write_tiny_bundle(tmp_path / "model")
    photos = {"red1": (250, 0, 0), "red2": (200, 10, 0), "red3": (240, 0, 20), "green/a": (0, 250, 0)}
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for name, colour in photos.items():
            archive.writestr(f"lot/{name}.png", colour_photo(*colour))
        archive.writestr("lot/broken.png", b"\x89PNG broken")
    (tmp_path / "ads.csv").write_text(ADS, encoding="utf-8")
    return tmp_path


def words(lot: Path) -> list[str]:
    place = ["--photos", str(lot / "photos.zip"), "-o", str(lot / "c.csv")]
    return ["lot", str(lot / "model"), str(lot / "ads.csv"), *place]


def run(lot: Path, *more: str) -> tuple[int, Table]:
    code = main([*words(lot), "--model-column", "model", *more])
    return code, read_table(lot / "c.csv")


def test_one_row_out_per_row_in(lot: Path) -> None:
    code, found = run(lot, "--price-column", "price", "--as-given")
    assert code == 3  # a photo is missing, one is broken
    assert found.columns == (
        "ad", "model", "photos", "price", "reason",
        "verdict", "recognised", "probability", "suspicion", "carspotter_reason", "price_gap",
    )  # fmt: skip
    assert found.column("ad") == tuple("1234567")
    assert found.column("verdict") == (
        "match", "mismatch", "match", "match", "cannot tell", "cannot tell", "cannot tell",
    )  # fmt: skip
    assert found.column("recognised") == ("red", "red", "green", "red", "", "red", "")
    # 1,000, 2,000 and 4,000 are asked for what is red; the fourth says "on request".
    assert found.column("price_gap") == ("0.5", "0.0", "", "-1.0", "", "", "")
    reasons = found.column("carspotter_reason")
    assert "1 unusable" in reasons[3]
    assert reasons[4] == "no photo"
    assert reasons[5].startswith("the model was not taught lilac; 1 photo: red")
    assert reasons[6] == "1 unusable"
    assert found.column("reason") == ("cheap", *[""] * 6)


def test_photos_are_refused_by_what_they_are_and_not_by_a_word(lot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (lot / "ads.csv").write_text("model,photos\nunusable,red1.png\n", encoding="utf-8")
    assert run(lot)[0] == 0
    (lot / "ads.csv").write_text("model,photos\nred,gone.png\nred,broken.png\nred,red1.png\n", encoding="utf-8")
    assert run(lot)[0] == 3
    assert "2 ads with photos that are missing or cannot be used" in capsys.readouterr().err


def test_disguised_ads_come_first_then_good_offers(lot: Path) -> None:
    _, found = run(lot, "--price-column", "price")
    assert found.column("ad")[:4] == ("2", "1", "4", "3")
    _, plain = run(lot)
    assert plain.column("ad")[0] == "2"
    assert sorted(plain.column("ad")) == list("1234567")
    suspicions = [float(cell) for cell in plain.column("suspicion")]
    assert suspicions[1:] == sorted(suspicions[1:], reverse=True)


def test_a_price_is_compared_within_its_year(lot: Path) -> None:
    text = (lot / "ads.csv").read_text(encoding="utf-8").replace("reason\n", "reason,year\n")
    years = iter(("2010", "2011", "2010", "2010", "2010", "2010", "2010"))
    head, *rows = text.splitlines()
    (lot / "ads.csv").write_text("\n".join([head, *(f"{row},{next(years)}" for row in rows)]), encoding="utf-8")
    _, found = run(lot, "--price-column", "price", "--year-column", "year")
    assert set(found.column("price_gap")) == {""}  # two red ones of 2010 make no median


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (("--model-column", "modell"), "has no column 'modell'"),
        (("--photo-column", "pictures"), "has no column 'pictures'"),
        (("--price-column", "cost"), "has no column 'cost'"),
        (("-o", "checked.txt"), "the ending must be"),
    ],
)
def test_what_cannot_be_used_is_said_before_the_work(
    lot: Path, more: tuple[str, ...], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words(lot), "--model-column", "model", *more]) == 2
    assert why in capsys.readouterr().err
    assert not (lot / "c.csv").exists()


def test_no_column_of_photos_can_be_guessed(lot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (lot / "ads.csv").write_text("model,what\nred,red1.png\n")
    assert main([*words(lot), "--model-column", "model"]) == 2
    assert "name one with --photo-column" in capsys.readouterr().err
    assert main([*words(lot), "--model-column", "model", "--photo-column", "what"]) == 0


def test_folders_and_names_of_many_photos(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    for i in range(MAX_PHOTOS + 3):
        (tmp_path / "a" / "b" / f"{i:03}.png").write_bytes(b"x")
    (tmp_path / "one.png").write_bytes(b"x")
    for place in ("c/same", "d/same", "d/own"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / f"{place[0]}.png").write_bytes(b"x")
    (tmp_path / "c" / "twice.png").write_bytes(b"x")
    (tmp_path / "d" / "twice.png").write_bytes(b"x")
    (double,) = find_ads(["m"], ["twice.png"], list_place(tmp_path))
    assert (double.photos, double.missing[0].sentence) == (
        (),
        "names several photos (c/twice.png, d/twice.png); give the path of one",
    )
    cells = ["a", "a/b/001.png\na\\b\\002", "one.png; one.png;./", " ; ", "own;same"]
    whole, part, twice, none, ends = find_ads(["m"] * len(cells), cells, list_place(tmp_path))
    assert len(whole.photos) == MAX_PHOTOS
    assert [(one.reason, one.sentence) for one in whole.missing] == [
        (Reason.TOO_MANY, "more than 50 photos, the first 50 of which were looked at")
    ]
    cells = [";".join(["one.png", *(f"c{at}" for at in range(more))]) for more in (MAX_NAMES - 1, MAX_NAMES)]
    most, beyond = find_ads(["m"] * 2, cells, list_place(tmp_path))
    assert {one.reason for one in most.missing} == {Reason.MISSING}
    assert beyond.missing[-1].sentence == "more than 200 names, the first 200 of which were looked at"
    (just,) = find_ads(["m"], [";".join(f"a/b/{at:03}.png" for at in range(MAX_PHOTOS))], list_place(tmp_path))
    assert (len(just.photos), just.missing) == (MAX_PHOTOS, ())
    assert [photo.id for photo in part.photos] == ["a/b/001.png"]
    assert [one.id for one in part.missing] == ["a\\b\\002"]
    assert [photo.id for photo in twice.photos] == ["one.png"]
    assert (none.photos, none.missing) == ((), ())
    assert [photo.id for photo in ends.photos] == ["d/own/d.png"]
    assert [one.id for one in ends.missing] == ["same"]  # two folders have that name
