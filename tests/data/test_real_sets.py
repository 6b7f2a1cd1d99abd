"""Each real set is read once, with exact counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from carspotter.data.check import check
from carspotter.data.contact_sheet import contact_sheet
from carspotter.data.known import SF_DL_CAR
from carspotter.data.scan import scan
from carspotter.data.source import list_photos, read_contest, read_source
from carspotter.data.table import read_table
from carspotter.errors import SourceError

pytestmark = pytest.mark.real


def test_contest(shared: Path) -> None:
    dataset = read_source(shared / "contest")
    assert list(dataset.counts.values()) == [84, 124, 39, 78, 40, 45, 56, 39, 60, 51]
    assert dataset.classes[0] == "BMW_3ER"
    assert dataset.codes == tuple("0123456789")
    assert dataset.rejected == dataset.notes == ()
    found = read_contest(shared / "contest")
    assert [photo.id for photo in found.test.photos] == list(found.sample.column("Id"))
    assert len(found.test.photos) == 206


def test_external_labelled(shared: Path) -> None:
    for source in (shared / "external" / "labelled.csv", shared / "external"):
        dataset = read_source(source)
        assert len(dataset.photos) == 594
        assert dataset.classes == tuple("0123456789")
        assert dataset.rejected == ()


def test_external_unlabelled(shared: Path) -> None:
    dataset = read_source(shared / "external" / "unlabelled.zip")
    assert len(dataset.photos) == 1_000
    assert dataset.classes == ()


def test_stanford_cars(shared: Path) -> None:
    dataset = read_source(shared / "external" / "stanford_cars.zip")
    assert (len(dataset.photos), len(dataset.classes)) == (6_898, 166)
    assert dataset.photos[0].label == "AM General Hummer SUV 2000"


def test_inventory(shared: Path) -> None:
    dataset = read_source(shared / "inventory")
    assert (len(dataset.photos), len(dataset.classes), len(dataset.rejected)) == (488, 15, 0)


def test_hard_pairs(shared: Path) -> None:
    dataset = read_source(shared / "hard_pairs")
    assert (len(dataset.photos), len(dataset.classes)) == (822, 20)


def test_unknown(shared: Path) -> None:
    dataset = read_source(shared / "unknown", label_column="Kind")
    assert len(dataset.photos) == 221
    assert dataset.classes == ("not_a_car_exterior", "other_model", "sibling")
    with pytest.raises(SourceError, match="no label column among Id, Kind, What"):
        read_source(shared / "unknown")


def test_the_real_competition_without_its_photos_is_one_line(shared: Path) -> None:
    with pytest.raises(SourceError) as caught:
        read_source(shared / "competition")
    (problem,) = caught.value.problems
    assert "names 15,561 photos (100155.jpg, 100306.jpg, 100379.jpg and 15,558 more)" in problem


def test_the_real_competition_with_a_few_of_its_photos(shared: Path, tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_bytes((shared / "competition" / "train.csv").read_bytes())
    train = read_table(tmp_path / "train.csv")
    for name, category in train.rows[:2_000:100]:
        (tmp_path / "train" / category).mkdir(parents=True, exist_ok=True)
        (tmp_path / "train" / category / name).write_bytes(b"x")
    dataset = read_source(tmp_path)
    assert (len(dataset.photos), len(dataset.rejected)) == (20, 15_541)
    assert dataset.classes == tuple(SF_DL_CAR.names.values())
    assert "sf-dl-car-classification" in dataset.notes[-1]
    problem, *_ = check(scan(dataset)).problems
    assert "15,541 photos missing" in problem


def test_thirty_photos_of_the_competition(shared: Path, tmp_path: Path) -> None:
    dataset = read_source(shared / "competition" / "photos30.zip")
    assert dataset.counts == dict.fromkeys(dataset.classes, 3)
    assert len(dataset.classes) == 10
    contact_sheet(dataset, tmp_path / "sheet.png", per_class=3)
    assert (tmp_path / "sheet.png").stat().st_size > 100_000


def test_bad_photos_as_an_unlabelled_folder(shared: Path) -> None:
    dataset = list_photos([shared / "bad_photos"])
    assert (len(dataset.photos), len(dataset.rejected)) == (192, 0)
    assert "skipped 1 table: MANIFEST.csv" in dataset.notes[0]
    found = scan(dataset)
    assert len(found.facts) + len(found.dataset.rejected) == 192
    assert {fact.id for fact in found.facts}.isdisjoint(refused.id for refused in found.dataset.rejected)
    assert len(check(found).problems) < 40
