"""What a training leaves in its bundle for strangers, and what a joined model makes of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.training.test_train import recipe

from carspotter.data.cache import PhotoCache
from carspotter.data.scan import scan
from carspotter.errors import BackboneError
from carspotter.inference.bundle import FINDER
from carspotter.inference.finder import NetFinder
from carspotter.inference.predictor import load
from carspotter.inference.reference import MAX_ID, REFERENCE
from carspotter.inference.strangers import Strangers
from carspotter.records import Calibration, Dataset, Reading
from carspotter.tracking.runs import open_store
from carspotter.training import memory
from carspotter.training.finder import make_finder
from carspotter.training.folds import _bounds_of, join, train_folds
from carspotter.training.job import Job
from carspotter.training.memory import remember
from carspotter.training.train import train

pytestmark = pytest.mark.usefixtures("runs_db")


@pytest.mark.slow
def test_a_bundle_remembers_what_trained_it_and_knows_strangers(
    lot: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("carspotter.evaluation.calibration.FEWEST", 4)
    monkeypatch.setattr(memory, "REFUSED", 0.2)
    run = train(lot, recipe(), out=tmp_path / "model")
    predictor = load(tmp_path / "model")
    calibration, split = predictor.card.calibration, open_store().split(run.id)
    assert predictor.reference is not None
    assert set(predictor.reference.ids) == set(split.train)
    assert predictor.reference.rows is not None  # the head is linear, so maps need no torch
    assert (calibration.detector, calibration.refused) == ("knn", 0.2)
    assert FINDER in predictor.card.files

    # The bound is that of held-out photos, of which at most a fifth lie above it.
    held_out = lot.subset([at for at, photo in enumerate(lot.photos) if photo.id in split.validation])
    scores = predictor.scores(held_out)
    how_strange = Strangers(predictor.reference).strangeness(scores)
    assert calibration.strange_at == pytest.approx(np.sort(how_strange)[5], abs=1e-6)  # 7 · .8, rounded up, of 6
    assert len(predictor.strangers(held_out, scores)) <= 0.2 * len(held_out.photos)
    evidence = [make_finder().evidence_in(photo) for photo in held_out.photos]
    assert min(evidence) <= calibration.no_car_at <= sorted(evidence)[1]


def test_too_few_photos_tell_no_stranger(lot: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("carspotter.evaluation.calibration.FEWEST", 4)
    train(lot, recipe(), out=tmp_path / "model")  # a bound of 5 % needs 19
    card = load(tmp_path / "model").card
    assert (card.calibration.detector, card.calibration.strange_at) == ("", None)
    assert REFERENCE in card.files  # for neighbours
    assert FINDER not in card.files


def test_of_many_photos_an_even_draw_is_remembered(
    lot: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(lot, recipe(), out=tmp_path / "model")
    predictor, cache = load(tmp_path / "model"), PhotoCache(None)
    monkeypatch.setattr(memory, "REMEMBERED", 6)
    assert len(remember(predictor, lot, None, cache).ids) == 6
    # Photos from outside may have the names of the source's own.
    twice = replace(lot, photos=(lot.photos[0], lot.photos[0], lot.photos[-1]))
    found = remember(predictor, twice, None, cache)
    assert found.ids == (lot.photos[0].id, f"{lot.photos[0].id} (2)", lot.photos[-1].id)
    assert found.labels.tolist() == [*lot.labels[[0, 0]], lot.labels[-1]]
    third = replace(lot.photos[1], id=f"{lot.photos[0].id} (2)")  # a name that is taken
    long = replace(lot.photos[2], id="x" * (MAX_ID + 10))
    some = remember(predictor, replace(lot, photos=(lot.photos[0], lot.photos[0], third, long)), None, cache)
    assert len(set(some.ids)) == 4
    assert max(map(len, some.ids)) <= MAX_ID
    # A photo that is gone since it trained is forgotten, not the training.
    place = Path(lot.photos[0].where.path)
    place.rename(tmp_path / "gone.png")
    assert len(remember(predictor, twice, None, cache).ids) == 1


def test_a_joined_model_takes_the_mean_bound_of_its_members() -> None:
    one = Calibration(temperature=1, method="m", photos=40, detector="knn", strange_at=0.5, refused=0.05, no_car_at=2)
    other = one.model_copy(update={"strange_at": 0.7, "no_car_at": 4.0})
    assert _bounds_of([one, other]) == {"detector": "knn", "strange_at": 0.6, "refused": 0.05, "no_car_at": 3.0}
    assert _bounds_of([one, other.model_copy(update={"no_car_at": None})])["no_car_at"] is None
    assert _bounds_of([one, None]) == {}
    assert _bounds_of([one, other.model_copy(update={"detector": "vim"})]) == {}


@pytest.mark.slow
def test_a_joined_model_knows_strangers_by_what_its_members_found(
    lot: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("carspotter.evaluation.calibration.FEWEST", 4)
    monkeypatch.setattr(memory, "REFUSED", 0.2)
    looked = scan(lot)
    folds = recipe(split={"method": "folds", "folds": 2})
    joined = train_folds(looked, folds, out=tmp_path / "m")
    predictor, alone = load(tmp_path / "m"), [load(run.bundle).card.calibration for run in joined.runs]
    assert set(predictor.reference.ids) == {photo.id for photo in lot.photos}
    assert predictor.card.calibration.strange_at == pytest.approx(np.mean([one.strange_at for one in alone]))
    assert predictor.strangers(lot, predictor.scores(lot)) == {}  # all of them trained it

    # A pretrained backbone says what it has seen; photos that train beside the source's own are not remembered.
    runs = [run.model_copy(update={"extra": ("backbone net: ImageNet, then 40 photos of lot",)}) for run in joined.runs]
    again = join(looked, runs, tmp_path / "pretrained", store=open_store())
    assert again.card.outside == runs[0].extra
    assert again.card.calibration.strange_at == predictor.card.calibration.strange_at
    more = {"extra": (Reading(source="other"),)}
    runs = [run.model_copy(update={"birth": run.birth.model_copy(update=more)}) for run in runs]
    assert join(looked, runs, tmp_path / "extra", store=open_store()).card.calibration.strange_at is None

    soup = train_folds(looked, folds, out=tmp_path / "m", job=Job(join="soup"))
    assert soup.trained == 0
    assert soup.bundle.card.calibration.strange_at is None  # its embedding is none of theirs
    assert load(tmp_path / "m").reference is not None


def test_without_the_second_network_strangers_are_unknown(
    lot: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone() -> NetFinder:
        raise BackboneError("the packaged weights are not here")

    monkeypatch.setattr("carspotter.evaluation.calibration.FEWEST", 4)
    monkeypatch.setattr(memory, "REFUSED", 0.2)
    monkeypatch.setattr(memory, "make_finder", gone)
    said: list[str] = []
    train(lot, recipe(), out=tmp_path / "model", progress=lambda *words: said.append(str(words[3:])))
    card = load(tmp_path / "model").card
    assert (card.calibration.detector, card.calibration.no_car_at) == ("knn", None)
    assert FINDER not in card.files
    assert any("none will be called not_a_car" in line for line in said)


def test_numbers_that_half_precision_cannot_hold_cost_the_memory_alone(
    lot: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "HALF_MAX", 1e-9)
    train(lot, recipe(), out=tmp_path / "model")
    assert load(tmp_path / "model").reference is None
