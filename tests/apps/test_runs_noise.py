"""`runs compare`, `best`, `effect` and `plot` from a store with answers to their pictures."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from carspotter.apps.cli import main
from carspotter.evaluation.metrics import evaluate
from carspotter.recipe import load_recipe
from carspotter.records import Dataset, EpochRecord, Photo, Scores, Split
from carspotter.tracking.held_out import NAME
from carspotter.tracking.runs import RunStore, open_store

IDS = tuple(f"{i}.jpg" for i in range(200))
DATASET = Dataset(
    photos=tuple(Photo(photo, b"", "ab"[i % 2], None, f"{i:064x}") for i, photo in enumerate(IDS)),
    classes=("a", "b"),
    codes=("a", "b"),
    origin="cars",
)


def keep_run(store: RunStore, settings: Sequence[str], wrong: int) -> Path:
    """A finished run with answers, the first `wrong` of them wrong; its folder."""
    labels = DATASET.labels
    logits = np.eye(2, dtype=np.float32)[np.r_[1 - labels[:wrong], labels[wrong:]]]
    scores = Scores(IDS, logits, np.zeros((len(IDS), 1), np.float32))
    with store.start(load_recipe("fast", ["split.seed=0", *settings]), DATASET) as run:
        run.split(Split((), IDS, "all of them"))
        run.epoch(
            EpochRecord(stage="head", epoch=0, lr=0.1, train_loss=1, train_accuracy=0.5, val_accuracy=0.5, seconds=9)
        )
        run.answers(scores, labels)
        run.finish(evaluate(scores, labels, DATASET.classes), bundle_hash="|".join(settings))
    return run.folder


@pytest.fixture(scope="module")
def kept(template: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[str]]:
    """A store that is only read, and ids of two seeds of two values of head.dropout; the second value is better."""
    file = shutil.copy(template, tmp_path_factory.mktemp("noise") / "runs.db")
    store = open_store(f"sqlite:///{file}")
    made = [(0.0, 0, 60), (0.0, 1, 64), (0.5, 0, 20), (0.5, 1, 24)]
    folders = [keep_run(store, [f"head.dropout={value}", f"seed={seed}"], wrong) for value, seed, wrong in made]
    return f"sqlite:///{file}", [folder.parent.name for folder in folders]


@pytest.fixture
def trained(kept: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("CARSPOTTER_RUNS", kept[0])
    return kept[1]


def test_compare_is_paired_and_pools(trained: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "compare", trained[2], trained[3]]) == 0
    assert f"not distinguishable: {trained[2][:8]} is right on 4 photos more of 200" in capsys.readouterr().out
    assert main(["runs", "compare", ",".join(trained[:2]), ",".join(trained[2:])]) == 0
    out = capsys.readouterr().out
    assert "is +20.0 points" in out
    assert ": distinguishable: " in out
    assert "head.dropout\t0.0\t0.5" in out


def test_best_ranks_and_says_what_the_photos_cannot_tell(
    trained: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["runs", "best"]) == 0
    out, err = capsys.readouterr()
    lines = [line.split("\t") for line in out.splitlines()[2:]]
    assert [line[0] for line in lines] == [trained[n][:8] for n in (2, 3, 0, 1)]
    assert [line[-1] for line in lines][:2] == ["best", "not distinguishable, p = .13"]
    assert all(line[-1].startswith("worse") for line in lines[2:])
    assert "p allows for choosing the best among 4 by these photos" in err
    assert main(["runs", "best", "--by", "log_loss"]) == 0
    assert capsys.readouterr().out.splitlines()[2].startswith(trained[2][:8])


def test_damaged_answers_are_named_and_the_rest_goes_on(runs_db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [keep_run(open_store(), [f"seed={seed}"], 20 + seed) for seed in range(2)]
    (folders[1] / NAME).write_bytes(b"damaged")
    assert main(["runs", "best"]) == 0
    out, err = capsys.readouterr()
    assert "intervals overlap, no answers to pair" in out
    assert f"{NAME} is damaged" in err


def test_effect_tells_and_draws(trained: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "effect.png"
    assert main(["runs", "effect", "head.dropout", "-o", str(picture)]) == 0
    out, err = capsys.readouterr()
    assert "A\t0.0\t0.690\t2\t2\t0.0141\tbase\t" in out
    assert "A: distinguishable: 0.5 minus 0.0 is +20.0 points [" in out
    assert "400 and 400 answers, those of one photo kept together); 2 and 2 runs, 2 shared seeds" in out
    assert "another seed alone moves one run by 1.4 points" in out
    assert "A: 200 validation photos" in err
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_plot_draws(trained: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "plot.png"
    assert main(["runs", "plot", trained[0][:9], trained[2], "-o", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert f"picture in {picture}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["effect", "lr"], "'lr' is the end of"),
        (["effect", "fit"], "no two runs differ in fit alone"),
        (["effect", "nonsense"], "there is no setting 'nonsense'"),
        (["compare", "a,", "b"], "an id is missing beside a comma"),
        (["plot", "nowhere", "-o", "x.png"], "there is no run 'nowhere'"),
    ],
)
def test_what_cannot_be_is_one_line(
    trained: list[str], capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main(["runs", *words]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert said in lines[0]


def test_an_empty_store_has_no_best(runs_db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "best"]) == 0
    assert capsys.readouterr().out == ""
