"""`runs` reads what the store holds."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from carspotter.apps.cli import main
from carspotter.errors import EXIT_UNUSABLE
from carspotter.recipe import Recipe, load_recipe
from carspotter.records import Dataset, EpochRecord, Photo, Split
from carspotter.tracking.runs import RunStore, open_store

DATASET = Dataset(
    photos=tuple(Photo(f"{i}.jpg", b"", "ab"[i % 2], None, f"{i:064x}") for i in range(10)),
    classes=("a", "b"),
    codes=("a", "b"),
    origin="cars/[red]\x1b[2J",
)


def keep_run(store: RunStore, recipe: Recipe, accuracy: float) -> str:
    """A run with a split and two epochs, as a training leaves it; its id."""
    with store.start(recipe, DATASET) as writer:
        ids = tuple(photo.id for photo in DATASET.photos)
        writer.split(Split(ids[:8], ids[8:], "holdout of 0.2"))
        for epoch in range(2):
            writer.epoch(
                EpochRecord(
                    stage="head",
                    epoch=epoch,
                    lr=0.001,
                    train_loss=1.0,
                    train_accuracy=accuracy,
                    val_loss=1.2,
                    val_accuracy=accuracy,
                    seconds=0.5,
                )
            )
        writer.finish()
    return writer.id


@dataclass(frozen=True)
class Kept:
    """A store that is only read: making its tables takes seconds."""

    uri: str
    finished: tuple[str, str]
    interrupted: str


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    uri = f"sqlite:///{tmp_path_factory.mktemp('runs') / 'runs.db'}"
    store = open_store(uri)
    first = keep_run(store, load_recipe("fast"), 0.5)
    second = keep_run(store, load_recipe("fast", ["stage.0.lr=0.5"]), 0.6)
    with pytest.raises(KeyboardInterrupt), store.start(load_recipe("fast"), DATASET) as writer:
        raise KeyboardInterrupt
    return Kept(uri, (first, second), writer.id)


@pytest.fixture
def two_runs(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    monkeypatch.setenv("CARSPOTTER_RUNS", kept.uri)
    return kept.finished


def test_an_empty_store_is_a_header_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "ls"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_ls_lists_every_run_whatever_its_end(
    two_runs: tuple[str, str], kept: Kept, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["runs", "ls"]) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()[1:]]
    ends = {cells[0]: cells[2] for cells in lines}
    assert ends == {run_id[:8]: "finished" for run_id in two_runs} | {kept.interrupted[:8]: "interrupted"}


def test_show_takes_the_beginning_of_an_id(two_runs: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "show", two_runs[1][:12]]) == 0
    shown = capsys.readouterr().out
    assert two_runs[1] in shown
    assert "stage.0.lr\t0.5" in shown
    assert "holdout of 0.2" in shown
    assert "cars/[red]\\x1b[2J" in shown
    assert "\x1b" not in shown


def test_show_as_json_holds_everything(two_runs: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "show", two_runs[0], "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == open_store().get(two_runs[0]).model_dump(mode="json")


def test_compare_prints_what_differs_and_draws(
    two_runs: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "curves.png"
    assert main(["runs", "compare", *two_runs, "--curves", str(picture)]) == 0
    out = capsys.readouterr().out
    assert "stage.0.lr\t0.002\t0.5" in out
    assert "stage.1.lr" not in out
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("words", [["compare", "--curves"], ["effect", "lr", "-o"], ["plot", "-o"]])
@pytest.mark.parametrize("name", ["table.csv", "plain", "picture.jpg"])
def test_a_picture_replaces_no_other_file(
    two_runs: tuple[str, str], words: list[str], name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / name
    table.write_text("id,price\n")
    more = list(two_runs) if words[0] == "compare" else []
    assert main(["runs", *words, str(table), *more]) == EXIT_UNUSABLE
    said = capsys.readouterr()
    assert "a picture ends in .png, .svg, .pdf; name it " in said.err
    assert said.out == ""
    assert table.read_text() == "id,price\n"


@pytest.mark.parametrize(("name", "begins"), [("a.SVG", b"<?xml"), ("a.pdf", b"%PDF"), ("a.png", b"\x89PNG")])
def test_the_ending_decides_the_kind_of_picture(
    two_runs: tuple[str, str], name: str, begins: bytes, tmp_path: Path
) -> None:
    assert main(["runs", "compare", *two_runs, "--curves", str(tmp_path / name)]) == 0
    assert (tmp_path / name).read_bytes().startswith(begins)


@pytest.mark.parametrize("words", [["show", "nowhere"], ["compare", "nowhere", "there"], ["rerun", "nowhere"]])
def test_an_unknown_run_is_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", *words]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "nowhere" in lines[0]


def test_compare_needs_two(two_runs: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "compare", two_runs[0]]) == 2
    assert "two or more" in capsys.readouterr().err
