"""`train --decisions --families`: what a person said of a source is carried out first, and again on resuming."""

from __future__ import annotations

from pathlib import Path

import pytest

from carspotter.apps.cli import main
from carspotter.apps.training import named_as, read_labelled, read_recorded
from carspotter.data.scan import scan
from carspotter.data.table import write_table
from carspotter.errors import EXIT_UNUSABLE, SourceError
from carspotter.recipe import load_recipe
from carspotter.records import Birth, Run
from carspotter.tracking.decisions import COLUMNS
from carspotter.tracking.runs import open_store
from helpers.tiny import colour_photo

HEADER = ",".join(COLUMNS[:-1])


@pytest.fixture
def cars(tmp_path: Path) -> Path:
    """Two classes of three photos; one red is among the blue, and one of these is no photo."""
    for label in ("red", "blue"):
        (tmp_path / "cars" / label).mkdir(parents=True)
    for at in range(3):
        (tmp_path / "cars" / "red" / f"{at}.png").write_bytes(colour_photo(200 + at, 0, 0))
        (tmp_path / "cars" / "blue" / f"{at}.png").write_bytes(colour_photo(9 * at, 0, 0 if at == 2 else 200))
    (tmp_path / "cars" / "blue" / "broken.png").write_bytes(b"nothing")
    return tmp_path / "cars"


@pytest.fixture
def decisions(tmp_path: Path) -> Path:
    path = tmp_path / "decisions.csv"
    rows = [
        ("blue/2.png", "label_error", "relabel", "red", "ann", "2026-11-22", "it is red", "red"),
        ("blue/broken.png", "outlier", "drop", "", "ann", "2026-11-22", "", ""),
    ]
    write_table(path, COLUMNS, rows)
    return path


def begun(source: Path, decisions: Path, families: Path | None = None) -> Run:
    """A run as a training begins it."""
    looked = scan(read_labelled(source, None, decisions, families))
    birth = Birth(source=looked.dataset.reading)
    with open_store().start(load_recipe("fast"), looked.dataset, birth=birth) as writer:
        return open_store().get(writer.id)


@pytest.mark.usefixtures("runs_db")
def test_decisions_are_carried_out_and_counted(cars: Path, decisions: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain, decided = read_labelled(cars), read_labelled(cars, None, decisions)
    assert {photo.id: photo.label for photo in decided.photos} == {
        photo.id: "red" if photo.id == "blue/2.png" else photo.label
        for photo in plain.photos
        if photo.id != "blue/broken.png"
    }
    err = capsys.readouterr().err
    assert "1 photo relabelled by decisions: blue/2.png" in err
    assert "1 photo dropped by decisions: blue/broken.png" in err
    assert scan(decided).dataset.fingerprint != scan(plain).dataset.fingerprint
    decisions.write_text(f"{HEADER}\nblue/1.png,dark,keep,,ann,2026-11-22,\n", encoding="utf-8")
    assert read_labelled(cars, None, decisions).photos == plain.photos
    assert " changes no photo of " in capsys.readouterr().err


@pytest.mark.usefixtures("runs_db")
def test_a_run_is_read_again_with_its_decisions(cars: Path, decisions: Path, tmp_path: Path) -> None:
    run = begun(cars, decisions)
    again, _ = read_recorded(run)
    assert scan(again).dataset.fingerprint == run.dataset
    elsewhere = decisions.rename(tmp_path / "elsewhere.csv")
    with pytest.raises(SourceError, match=r"decisions\.csv"):
        read_recorded(run)
    moved, _ = read_recorded(run, {"decisions": str(elsewhere)})
    assert scan(moved).dataset.fingerprint == run.dataset
    elsewhere.write_text(f"{HEADER}\nblue/1.png,outlier,drop,,ann,2026-11-22,\n", encoding="utf-8")
    other, _ = read_recorded(run, {"decisions": str(elsewhere)})
    assert scan(other).dataset.fingerprint != run.dataset


@pytest.mark.usefixtures("runs_db")
def test_a_run_is_read_again_with_its_families(cars: Path, decisions: Path, tmp_path: Path) -> None:
    families = tmp_path / "families.csv"
    families.write_text("class,parent\nred,warm\nblue,cold\n", encoding="utf-8")
    run = begun(cars, decisions, families)
    again, _ = read_recorded(run)
    assert again.parents == {"red": "warm", "blue": "cold"}
    assert scan(again).dataset.fingerprint == run.dataset
    moved = families.rename(tmp_path / "elsewhere.csv")
    assert read_recorded(run, {"families": str(moved)})[0].parents == again.parents


@pytest.mark.usefixtures("runs_db")
def test_a_resumed_run_keeps_its_names_whatever_recipe_is_given(cars: Path, decisions: Path) -> None:
    run, asked = begun(cars, decisions), load_recipe("demo")
    named = named_as(run, asked)
    assert (named.name, named.about) == (run.recipe.name, run.recipe.about) != (asked.name, asked.about)
    assert named.stage == asked.stage
    assert named_as(run, None) == run.recipe


def test_wrong_decisions_are_refused_with_their_lines_before_anything_trains(
    cars: Path, decisions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = f"{HEADER}\nblue/9.png,outlier,drop,,ann,2026-11-22,\nred/0.png,label_error,relabel,green,ann,2026-11-22,\n"
    decisions.write_text(text, encoding="utf-8")
    assert main(["train", str(cars), "--decisions", str(decisions)]) == EXIT_UNUSABLE
    err = capsys.readouterr().err
    assert "line 2:" in err
    assert "has no photo 'blue/9.png'" in err
    assert "line 3: no class 'green'" in err
