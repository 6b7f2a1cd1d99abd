"""`evaluate` from a model and labelled photos to a page and figures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from carspotter.apps.cli import main
from carspotter.data.classes import same_classes
from carspotter.data.scan import scan
from carspotter.data.source import read_source
from carspotter.data.table import read_table
from carspotter.errors import SourceError, TrackingError
from carspotter.inference.bundle import read_bundle, write_bundle
from carspotter.inference.examination import examine, examine_answers
from carspotter.inference.predictor import load
from carspotter.recipe import load_recipe
from carspotter.records import Birth, Calibration, Dataset, HeldOut, Reading, Scores, Split
from carspotter.tracking.out_of_fold import out_of_fold
from carspotter.tracking.runs import open_store
from carspotter.tracking.unseen import leave_out_trained
from helpers.tiny import (
    COLOURS,
    as_if_in_integers,
    png,
    tiny_card,
    tiny_files,
    write_remembering_bundle,
    write_tiny_bundle,
)


def paint(path: Path, colour: int, *, strength: int = 200, size: tuple[int, int] = (320, 240)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(path.name)).integers(0, 40, (size[1], size[0], 3), dtype=np.uint8)
    pixels[..., colour] += strength
    Image.fromarray(pixels).save(path)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for number, name in enumerate(COLOURS):
        for at in range(4):
            paint(folder / name.upper() / f"{at}.png", number)
    paint(folder / "RED" / "wrong.png", 2)
    paint(folder / "RED" / "dark portrait.png", 0, strength=20, size=(120, 160))
    paint(folder / "violet" / "0.png", 2)
    return folder


def figures(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


@pytest.mark.usefixtures("runs_db")
def test_a_model_is_judged(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, out = write_tiny_bundle(tmp_path / "tiny").folder, tmp_path / "report"
    assert main(["evaluate", str(model), str(photos), "-o", str(out)]) == 0
    found = figures(out)
    assert (found["n"], found["accuracy"]) == (14, 13 / 14)
    assert (found["slice_portrait_n"], found["slice_small_n"]) == (1, 1)
    assert found["slice_dark_n"] == 6  # pure blue has the luma of a night
    assert found["photos_per_second"] > 0
    html = (out / "report.html").read_text(encoding="utf-8")
    assert "RED/wrong.png" in html
    assert "red taken for blue: 1 of 6 photos" in html
    assert "data:image/jpeg;base64," in html
    heard = capsys.readouterr()
    assert "1 photos of classes that the model does not know are left out" in heard.err
    assert "photos that trained it may be among these" in heard.err
    assert "copies under other names would not be noticed" in heard.err
    assert "accuracy 0.929" in heard.out


@pytest.mark.usefixtures("runs_db")
def test_photos_of_one_ad_are_one_witness(tmp_path: Path) -> None:
    """Twelve ads of three different photos each: the accuracy counts 36, its interval those that ads allow."""
    folder, rng = tmp_path / "photos", np.random.default_rng(0)
    folder.mkdir()
    rows = ["file,model,ad"]
    for at in range(36):
        ad = at // 3
        colour = ad % 3 if ad else 1  # every photo of the first ad is wrong
        pixels = rng.integers(0, 40, (24, 32, 3), dtype=np.uint8).repeat(10, 0).repeat(10, 1)
        pixels[..., colour] += 200
        Image.fromarray(pixels).save(folder / f"{at}.png")
        rows.append(f"{at}.png,{tuple(COLOURS)[ad % 3]},ad {ad}")
    (tmp_path / "ads.csv").write_text("\n".join(rows), encoding="utf-8")
    model = str(write_tiny_bundle(tmp_path / "tiny").folder)
    ads = [str(tmp_path / "ads.csv"), "--photos", str(folder)]
    assert main(["evaluate", model, *ads, "-o", str(tmp_path / "alone"), "--group-column", "file"]) == 0
    assert main(["evaluate", model, *ads, "-o", str(tmp_path / "report"), "--group-column", "ad"]) == 0
    alone, found = figures(tmp_path / "alone"), figures(tmp_path / "report")
    assert (alone["n"], alone["groups"], found["n"], found["groups"]) == (36, 36, 36, 12)
    assert alone["accuracy"] == found["accuracy"] == 33 / 36
    assert found["accuracy_high"] - found["accuracy_low"] > 1.5 * (alone["accuracy_high"] - alone["accuracy_low"])
    assert "36 photos in 12 groups" in (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "in 36 groups" not in (tmp_path / "alone" / "report.html").read_text(encoding="utf-8")


@pytest.mark.usefixtures("runs_db")
def test_unreadable_photos_are_counted(photos: Path, tmp_path: Path) -> None:
    (photos / "BLUE" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    model, out = write_tiny_bundle(tmp_path / "tiny").folder, tmp_path / "report"
    assert main(["evaluate", str(model), str(photos), "-o", str(out)]) == 3
    assert (figures(out)["n"], figures(out)["rejected"]) == (14, 1)
    table = read_table(out / "answers.csv")
    assert len(table.rows) == 15
    assert table.rows[-1][:4] == ("BLUE/broken.jpg", "blue", "", "bad_photo")
    assert table.column("reason")[-1].startswith("truncated: ")
    assert "1 photos could not be read" in (out / "report.html").read_text(encoding="utf-8")


@pytest.mark.usefixtures("runs_db")
def test_photos_of_other_cars_judge_nothing(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = write_tiny_bundle(tmp_path / "tiny").folder
    for name in COLOURS:
        (photos / name.upper()).rename(photos / f"no {name}")
    assert main(["evaluate", str(model), str(photos), "-o", str(tmp_path / "report")]) == 2
    assert "shares no class with" in capsys.readouterr().err
    assert not list((tmp_path / "report").iterdir())


def test_a_place_that_cannot_be_written_is_found_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main(["evaluate", "no model", "no photos", "-o", str(tmp_path / "file" / "report")]) == 2
    assert "cannot write" in capsys.readouterr().err


@pytest.mark.usefixtures("runs_db")
def test_photos_that_trained_are_left_out_and_those_that_fitted_are_told(photos: Path, tmp_path: Path) -> None:
    dataset = scan(read_source(photos)).dataset
    ids = [photo.id for photo in dataset.photos]
    birth = Birth(source=Reading(source=str(photos), decisions="decided.csv"))
    with open_store().start(load_recipe("fast"), dataset, birth=birth) as run:
        run.split(Split(tuple(ids[:8]), tuple(ids[8:11]), "by hand"))
        run.finish()
    card = read_bundle(write_tiny_bundle(tmp_path / "tiny").folder).card
    origin = card.provenance.model_copy(update={"run_id": run.id})
    calibration = Calibration(temperature=1.0, method="by hand", photos=3)
    ours = card.model_copy(update={"provenance": origin, "calibration": calibration})
    unseen, told = leave_out_trained(ours, dataset)
    assert [photo.id for photo in unseen.photos] == ids[8:]
    both = "8 photos with names of photos that trained the model are left out. 3 photos validated the training"
    missed = "It was trained after the decisions in decided.csv, which these photos lack: judge it with --decisions."
    assert told == f"{both} and fitted its calibration, which looks too good on them. {missed}"
    decided = replace(dataset, reading=birth.source)
    assert leave_out_trained(ours.model_copy(update={"calibration": None}), decided)[1] == f"{both}."
    assert leave_out_trained(ours, dataset.subset(range(11, 15)))[1] == ""
    assert "photos that fitted its calibration may be among" in leave_out_trained(card, dataset, remembers=True)[1]
    with pytest.raises(SourceError, match=r"all 8 photos of .* trained this model; .* judge it with --decisions"):
        leave_out_trained(ours, dataset.subset(range(8)))


def write_views(table: Path, photos: Path) -> None:
    """A table of photos in class folders; the name of each is its view."""
    rows = [f"{one.relative_to(photos)},{one.parent.name},{one.stem}" for one in sorted(photos.rglob("*.png"))]
    table.write_text("\n".join(["file,what,view", *rows]), encoding="utf-8")


@pytest.mark.usefixtures("runs_db")
def test_a_table_tells_by_what_its_photos_are_judged_too(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, out, table = write_tiny_bundle(tmp_path / "tiny").folder, tmp_path / "report", tmp_path / "photos.csv"
    write_views(table, photos)
    words = ["evaluate", str(model), str(table), "-o", str(out), "--label-column", "what", "--slice-column", "view"]
    assert main(words) == 0
    views = {one["value"]: (one["photos"], one["accuracy"]) for one in figures(out)["columns"]["view"]}
    assert views == {**{str(at): (3, 1.0) for at in range(4)}, "dark portrait": (1, 1.0), "wrong": (1, 0.0)}
    capsys.readouterr()
    assert main([*words[:-1], "colour"]) == 2
    assert capsys.readouterr().err.strip().endswith("has no column 'colour'; it has file, what, view")
    assert main(["evaluate", str(model), str(photos), "-o", str(out), "--slice-column", "view"]) == 2
    assert "is no table, so it has no column view" in capsys.readouterr().err


def daub(path: Path, *colour: int) -> None:
    """One colour, in whose middle another is; views of it therefore differ in their mean."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((48, 64, 3), colour, dtype=np.uint8)
    pixels[16:32, 20:44] = 255 - pixels[16:32, 20:44]
    path.write_bytes(png(pixels))


@pytest.mark.usefixtures("runs_db")
@pytest.mark.parametrize("tta", ["1", "8"])
def test_photos_that_trained_are_known_by_their_content(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tta: str
) -> None:
    taught, asked = tmp_path / "taught", tmp_path / "asked"
    for at, name in enumerate(COLOURS):
        for shade in (40, 43):  # so near that a view of one is neither
            daub(taught / name / f"{shade}.png", *np.roll((200, shade, 0), at))
            daub(asked / name / f"copy of {shade}.png", *np.roll((200, shade, 0), at))
        daub(asked / name / "new.png", *np.roll((200, 0, 60), at))
    model, out = write_remembering_bundle(tmp_path / "tiny", taught), tmp_path / "report"
    assert main(["evaluate", str(model), str(asked), "-o", str(out), "--tta", tta]) == 0
    assert figures(out)["n"] == 3
    told = "6 photos that trained the model are left out: it remembers them under other names"
    assert told in capsys.readouterr().err
    assert told in (out / "report.html").read_text(encoding="utf-8")
    as_if_in_integers(model)
    assert main(["evaluate", str(model), str(asked), "-o", str(out), "--tta", tta]) == 0
    assert "copies under other names are not noticed" in capsys.readouterr().err
    for name in COLOURS:
        (asked / name / "new.png").unlink()
    assert main(["evaluate", str(model), str(asked), "-o", str(out), "--tta", tta]) == 2
    assert "all 6 photos of" in capsys.readouterr().err


@pytest.fixture
def joined(photos: Path, tmp_path: Path) -> Path:
    """A model of two networks, which answered the photos that they had not seen, all but one right; one always trained.

    What the joined network would answer differs: it takes red for blue.
    """
    (photos / "violet" / "0.png").unlink()
    dataset = scan(read_source(photos)).dataset
    ids, labels = [photo.id for photo in dataset.photos], dataset.labels
    halves, runs = (ids[1::2], ids[2::2]), []
    for half in halves:
        with open_store().start(load_recipe("fast"), dataset) as run:
            run.split(Split(tuple(one for one in ids if one not in half), tuple(half), "by hand"))
            truth = np.array([labels[ids.index(one)] for one in half])
            logits = 5 * np.eye(3, dtype=np.float32)[truth]
            if not runs:
                logits[0] = np.roll(logits[0], 1)
            run.answers(Scores(tuple(half), logits, np.zeros((len(half), 1), np.float32)), truth)
            run.finish()
        runs.append(run.id)
    files = tiny_files(tmp_path / "parts")
    card = tiny_card(tmp_path / "parts", dataset.classes)
    origin = card.provenance.model_copy(update={"run_id": runs[0], "also": (runs[1],)})
    card = card.model_copy(update={"members": 2, "dataset": dataset.fingerprint, "provenance": origin})
    return write_bundle(tmp_path / "joined", card, files).folder


@pytest.mark.usefixtures("runs_db")
def test_a_model_of_every_fold_is_judged_by_what_its_networks_had_answered(
    photos: Path, joined: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, table = tmp_path / "report", tmp_path / "photos.csv"
    write_views(table, photos)
    words = ["--label-column", "what", "--slice-column", "view", "--tta", "2"]
    assert main(["evaluate", str(joined), str(table), "-o", str(out), *words]) == 0
    found, heard = figures(out), capsys.readouterr().err
    assert (found["n"], found["accuracy"], found["out_of_fold"]) == (13, 12 / 13, True)
    assert found["slice_portrait_n"] == 1
    assert sum(one["photos"] for one in found["columns"]["view"]) == 13
    assert len(read_table(out / "answers.csv").rows) == 13
    told = "The answers are out of fold: every photo trained this model, so each is answered by those of its 2 networks"
    assert told in heard
    assert told in (out / "report.html").read_text(encoding="utf-8")
    assert "1 photos trained every network and are left out" in heard
    assert "views (--tta) are not judged" in heard

    (photos / "GREEN" / "0.png").unlink()  # of another set its names tell, and the joined network answers
    assert main(["evaluate", str(joined), str(photos), "-o", str(out)]) == 2
    assert "of its own set, whole and read as for the training, it is judged out of fold" in capsys.readouterr().err


@pytest.mark.usefixtures("runs_db")
def test_a_model_is_judged_by_the_labels_that_were_decided(
    photos: Path, joined: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paint(photos / "BLUE" / "interior.png", 1)
    drop = "BLUE/interior.png,outlier,drop,,me,2026-11-27"
    (tmp_path / "decided.csv").write_text(f"id,kind,decision,label,who,when\n{drop}\n")
    words = ["evaluate", str(joined), str(photos), "-o", str(tmp_path / "report")]
    assert main(words) == 2  # it alone is none of those that trained, and one judges nothing
    assert main([*words, "--decisions", str(tmp_path / "decided.csv")]) == 0
    assert (figures(tmp_path / "report")["n"], figures(tmp_path / "report")["out_of_fold"]) == (13, True)
    assert "1 photo dropped by decisions: BLUE/interior.png" in capsys.readouterr().err


@pytest.mark.usefixtures("runs_db")
def test_without_its_runs_a_model_of_every_fold_is_not_judged_on_its_own_set(
    photos: Path, joined: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CARSPOTTER_RUNS", f"sqlite:///{tmp_path / 'none' / 'runs.db'}")
    assert main(["evaluate", str(joined), str(photos), "-o", str(tmp_path / "report")]) == 2
    heard = capsys.readouterr().err.strip()
    assert "all 14 photos of" in heard
    assert "is not at hand: there is no run" in heard
    assert "\n" not in heard


@pytest.mark.usefixtures("runs_db")
def test_only_the_runs_of_a_joined_model_answer_for_it(joined: Path) -> None:
    card, store = read_bundle(joined).card, open_store()
    assert len(out_of_fold(store, card).ids) == 13
    first = card.provenance.run_id
    twice = card.model_copy(update={"provenance": card.provenance.model_copy(update={"also": (first,)})})
    with pytest.raises(TrackingError, match="has 2 networks and names the runs of 1"):
        out_of_fold(store, twice)
    with pytest.raises(TrackingError, match=f"run {first[:8]} was trained on other photos"):
        out_of_fold(store, card.model_copy(update={"dataset": "1" * 64}))


def test_one_photo_judges_nothing(photos: Path, tmp_path: Path) -> None:
    predictor = load(write_tiny_bundle(tmp_path / "tiny").folder)
    looked = scan(same_classes(read_source(photos), Dataset((), COLOURS, COLOURS)))
    with pytest.raises(SourceError, match="1 photos can be used; judging needs 2 or more"):
        examine(predictor, looked.dataset.subset([0]))
    kept = HeldOut((looked.dataset.photos[0].id,), np.zeros((1, 3), np.float32), np.zeros(1, np.int64))
    with pytest.raises(SourceError, match="1 photos can be used; judging needs 2 or more"):
        examine_answers(predictor.card, looked, kept)
